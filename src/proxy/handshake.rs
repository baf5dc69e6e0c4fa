//! Which requests are WebSocket upgrades, and which answers really open one (RFC 6455 sections 4.2.1 and 4.1).
//! A tunnel after anything less would let a client speak to the service past the proxy's HTTP.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::headers::has_token;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// An ordinary answer.
    Plain,
    /// A WebSocket, validly; the answer must prove itself with this `Sec-WebSocket-Accept`.
    WebSocket {
        /// Base64 of the SHA-1 of the client's key and the protocol's GUID.
        accept: String,
    },
    /// A WebSocket, but not as RFC 6455 wants it asked for. The service shall refuse it in its own words.
    Malformed,
}

/// Reads a request head. `has_body` is true if the message's framing announces content.
pub(super) fn classify(parts: &Parts, has_body: bool) -> Asks {
    let headers = &parts.headers;
    let asks = parts.version == Version::HTTP_11
        && has_token(headers, &UPGRADE, "websocket")
        && has_token(headers, &CONNECTION, "upgrade");
    if !asks {
        return Asks::Plain;
    }
    let version = sole(headers, &SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    match sole(headers, &SEC_WEBSOCKET_KEY) {
        Some(key) if version && !key.is_empty() && parts.method == Method::GET && !has_body => {
            Asks::WebSocket { accept: derive_accept_key(key.as_bytes()) }
        }
        _ => Asks::Malformed,
    }
}

/// True if the answer opens the WebSocket that was asked for.
pub(super) fn proves(status: StatusCode, headers: &HeaderMap, accept: &str) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
        && has_token(headers, &UPGRADE, "websocket")
        && has_token(headers, &CONNECTION, "upgrade")
        && !headers.contains_key(TRANSFER_ENCODING)
        && sole(headers, &SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value == accept)
}

/// The value of a field that may appear only once.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const GOOD: &[(&str, &str)] = &[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
    ];

    fn head(method: &str, version: Version, lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).version(version).uri("/ws");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_complete_upgrade_is_one() {
        let valid = Asks::WebSocket { accept: ACCEPT.to_owned() };
        let check = |method, version, lines: &[(&str, &str)], body, expect: &Asks| {
            assert_eq!(classify(&head(method, version, lines), body), *expect, "{method} {lines:?}");
        };
        check("GET", Version::HTTP_11, GOOD, false, &valid);
        check("GET", Version::HTTP_11, GOOD, true, &Asks::Malformed);
        check("POST", Version::HTTP_11, GOOD, false, &Asks::Malformed);
        check("GET", Version::HTTP_10, GOOD, false, &Asks::Plain);
        check("GET", Version::HTTP_11, &GOOD[1..], false, &Asks::Plain);
        check("GET", Version::HTTP_11, &GOOD[..1], false, &Asks::Plain);
        check("GET", Version::HTTP_11, &GOOD[..3], false, &Asks::Malformed);
        let with = |extra| [GOOD, &[extra]].concat();
        check("GET", Version::HTTP_11, &with(("sec-websocket-version", "8")), false, &Asks::Malformed);
        check("GET", Version::HTTP_11, &with(("sec-websocket-key", KEY)), false, &Asks::Malformed);
        let other = [GOOD[0], GOOD[1], GOOD[2], ("sec-websocket-version", "12")];
        check("GET", Version::HTTP_11, &other, false, &Asks::Malformed);
        let keyless = [GOOD[0], GOOD[1], GOOD[3], ("sec-websocket-key", "")];
        check("GET", Version::HTTP_11, &keyless, false, &Asks::Malformed);
        let h2c = [("connection", "upgrade, http2-settings"), ("upgrade", "h2c")];
        check("GET", Version::HTTP_11, &h2c, false, &Asks::Plain);
    }

    #[test]
    fn a_101_has_to_prove_itself() {
        let check = |status: u16, lines: &[(&str, &str)], expect| {
            let parts = head("GET", Version::HTTP_11, lines);
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(proves(status, &parts.headers, ACCEPT), expect, "{status} {lines:?}");
        };
        let good = [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", ACCEPT)];
        check(101, &good, true);
        check(200, &good, false);
        check(101, &good[..2], false);
        check(101, &[good[0], good[2]], false);
        check(101, &good[1..], false);
        check(101, &[good[0], good[1], ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOx=")], false);
        check(101, &[good[0], good[1], good[2], good[2]], false);
        check(101, &[good[0], good[1], good[2], ("transfer-encoding", "chunked")], false);
        check(101, &[("upgrade", "h2c"), good[1], good[2]], false);
    }
}
