//! W3C trace context: what a request's `traceparent` says, for the log and for spans. The fields themselves pass
//! untouched: the service sees the client's span as its parent, as it would without us.

use std::fmt;

use http::HeaderMap;

use crate::spans::SpanId;

/// The trace that an upgrade belongs to (W3C Trace Context section 3.2.2.3). Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// The id of these bits, which are not zero.
    pub(super) const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u128 {
        self.0
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceParent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// Whoever came before us records it (section 3.2.2.5.1).
    pub(super) sampled: bool,
}

impl TraceParent {
    /// Reads the one `traceparent` of a request. What the specification calls invalid is no trace: two fields,
    /// capitals, version `ff`, a version 00 of another length, an id of zeros.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all("traceparent").iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return None };
        let mut parts = field.as_bytes().split(|byte| *byte == b'-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = SpanId::from_bits(u64::try_from(hex(parts.next()?, 16)?).ok()?)?;
        let sampled = hex(parts.next()?, 2)? & 1 == 1;
        // Later versions may append fields.
        let known = version != 0xFF && (version > 0 || parts.next().is_none());
        (known && trace != 0).then_some(Self { trace: TraceId(trace), span, sampled })
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
        TraceParent::of(&headers).map(|parent| parent.trace.to_string())
    }

    #[test]
    fn the_parent_and_its_decision_are_read() {
        let read = |flags: &str| {
            let mut headers = HeaderMap::new();
            let field = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            headers.append("traceparent", field.parse().unwrap());
            TraceParent::of(&headers).map(|parent| (parent.span.to_string(), parent.sampled))
        };
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true)] {
            assert_eq!(read(flags), Some(("b7ad6b7169203331".to_owned(), sampled)), "{flags}");
        }
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
