//! Fields that belong to one hop (RFC 9110 section 7.6.1) and lists of tokens. Everything that is not removed here
//! passes as it came.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields for one hop, whether nominated by `Connection` or not.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The items of a comma-separated field over all its lines, trimmed, empty ones left out. Values need not be UTF-8.
pub(super) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// True if one of the items is `token`, in any case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// Removes what must not pass a proxy, including the fields that `Connection` nominates. `TE: trailers` is said
/// again, because the next hop may send trailers and this one passes them on.
///
/// `Host` and `Content-Length` stay even when nominated: removing them would change what the message means, which
/// is what a sender who nominates them is after.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let trailers = tokens(headers, &TE).any(|item| {
        let coding = item.split(|byte| *byte == b';').next().unwrap_or_default();
        coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
    });
    let nominated: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH && !is_handshake(name))
        .collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Says `Connection: Upgrade` and `Upgrade: websocket`, the only fields for one hop that an upgrade carries on.
pub(super) fn ask_for_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// `Sec-WebSocket-*` is end to end; nobody may have it removed by nominating it.
fn is_handshake(name: &HeaderName) -> bool {
    name.as_str().starts_with("sec-websocket-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn only_fields_of_this_hop_go() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "close, X-Private"),
            ("connection", "host, content-length, sec-websocket-key"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip, Trailers;q=0.5"),
            ("trailer", "x-sum"),
            ("x-private", "1"),
            ("x-public", "2"),
            ("content-length", "3"),
            ("sec-websocket-key", "k"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "content-length=3",
                "host=a",
                "sec-websocket-key=k",
                "te=trailers",
                "trailer=x-sum",
                "x-public=2"
            ]
        );
    }

    #[test]
    fn tokens_are_found_in_any_line_and_case() {
        let headers = map(&[("connection", "keep-alive,, "), ("connection", " UPGRADE ")]);
        assert!(has_token(&headers, &CONNECTION, "upgrade"));
        assert!(!has_token(&headers, &CONNECTION, "up"));
        assert_eq!(tokens(&headers, &CONNECTION).count(), 2);
    }
}
