//! W3C trace context: the trace id of a request's `traceparent`, for the log. The fields themselves pass untouched;
//! crossfade adds no span of its own.

use std::fmt;

use http::HeaderMap;

/// The trace that an upgrade belongs to (W3C Trace Context section 3.2.2.3). Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// Reads the one `traceparent` of a request. What the specification calls invalid is no trace: two fields,
    /// capitals, version `ff`, a version 00 of another length, an id of zeros.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all("traceparent").iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return None };
        let mut parts = field.as_bytes().split(|byte| *byte == b'-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let parent = hex(parts.next()?, 16)?;
        hex(parts.next()?, 2)?;
        // Later versions may append fields.
        let known = version != 0xFF && (version > 0 || parts.next().is_none());
        (known && trace != 0 && parent != 0).then_some(Self(trace))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn hex(text: &[u8], digits: usize) -> Option<u128> {
    let lower = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(text).ok().filter(|_| lower && text.len() == digits)?;
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", value.parse().unwrap());
        }
        TraceId::of(&headers).map(|id| id.to_string())
    }

    #[test]
    fn a_trace_id_is_read_as_the_specification_says() {
        const ID: &str = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{ID}-b7ad6b7169203331-01");
        assert_eq!(read(&[&good]).as_deref(), Some(ID));
        let later = format!("cc-{ID}-b7ad6b7169203331-01-what-else");
        assert_eq!(read(&[&later]).as_deref(), Some(ID));
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.replacen("00", "ff", 1),
            format!("{good}-more"),
            good.replace(ID, &"0".repeat(32)),
            good.replace(ID, &ID[1..]),
            good.replace("b7ad6b7169203331", &"0".repeat(16)),
            good.replace("-01", ""),
            good.replace(ID, &format!("+{}", &ID[1..])),
        ] {
            assert_eq!(read(&[&bad]), None, "{bad}");
        }
        assert_eq!(read(&[&good, &good]), None, "two fields");
        assert_eq!(read(&[]), None);
    }
}
