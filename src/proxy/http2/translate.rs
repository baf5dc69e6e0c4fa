//! A request of HTTP/2 as HTTP/1.1 would have it, and an answer the other way round. The service must see what the
//! proxy saw: one Host, one framing, and a handshake of our own making where HTTP/2 has none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Uri, Version};

use crate::proxy::error::Fault;
use crate::proxy::headers::{ask_for_websocket, strip_hop_by_hop};

/// Makes the head one of HTTP/1.1, in place. `key` is for a handshake, if this is one; the answer says whether it is.
///
/// # Errors
/// [`Fault::HostInvalid`], [`Fault::HeadMalformed`], [`Fault::MethodConnect`], [`Fault::ConnectProtocol`].
pub(super) fn request(parts: &mut Parts, key: [u8; 16]) -> Result<bool, Fault> {
    let protocol = parts.extensions.remove::<Protocol>();
    let handshake = match (&protocol, parts.method == Method::CONNECT) {
        (None, true) => return Err(Fault::MethodConnect),
        (None, false) => false,
        (Some(protocol), true) if protocol.as_str() == "websocket" => true,
        (Some(_), _) => return Err(Fault::ConnectProtocol),
    };
    one_host(parts)?;
    one_length(parts)?;
    one_cookie(parts);
    strip_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
    if handshake {
        parts.method = Method::GET;
        ask_for_websocket(&mut parts.headers);
        let key = HeaderValue::from_str(&STANDARD.encode(key)).map_err(|_| Fault::NoRandomness)?;
        parts.headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    Ok(handshake)
}

/// `:authority` becomes Host (RFC 9113 section 8.3.1). A Host that says something else is one too many: somebody
/// between us and the service may go by either.
fn one_host(parts: &mut Parts) -> Result<(), Fault> {
    if let Some(authority) = parts.uri.authority() {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
        if !hosts.all(same) {
            return Err(Fault::HostInvalid);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Fault::HostInvalid)?;
        parts.headers.insert(HOST, host);
    }
    let origin = parts.uri.path_and_query().cloned();
    parts.uri = origin.map(Uri::from).unwrap_or_default();
    Ok(())
}

/// A length that is said twice is said once; two that differ are two messages (RFC 9110 section 8.6). `h2` looks at
/// the first alone.
fn one_length(parts: &mut Parts) -> Result<(), Fault> {
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(()) };
    if !lengths.all(|other| other == first) {
        return Err(Fault::HeadMalformed);
    }
    let first = first.clone();
    parts.headers.insert(CONTENT_LENGTH, first);
    Ok(())
}

/// HTTP/2 may cut a cookie into crumbs; whoever reads HTTP/1.1 takes the first for the whole (RFC 9113 section 8.2.3).
fn one_cookie(parts: &mut Parts) {
    let crumbs: Vec<&[u8]> = parts.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        parts.headers.insert(COOKIE, whole);
    }
}

/// Makes an answer's head one of HTTP/2: no field of a hop, and 200 where HTTP/1.1 has a 101.
pub(super) fn answer(answer: &mut Response<()>) {
    strip_hop_by_hop(answer.headers_mut());
    *answer.version_mut() = Version::HTTP_2;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        *answer.status_mut() = StatusCode::OK;
        answer.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::handshake::{Asks, classify};
    use http::Request;

    fn head(method: &str, uri: &str, lines: &[(&str, &str)], protocol: Option<&'static str>) -> Parts {
        let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        if let Some(protocol) = protocol {
            parts.extensions.insert(Protocol::from_static(protocol));
        }
        parts
    }

    #[test]
    fn the_authority_is_the_only_host() {
        let uri = "https://chat.example:8443/a?b=%20c";
        for host in [&[][..], &[("host", "CHAT.example:8443")]] {
            let mut parts = head("GET", uri, host, None);
            assert_eq!(request(&mut parts, [0; 16]), Ok(false));
            assert_eq!(parts.headers[HOST], "chat.example:8443");
            assert_eq!((parts.uri.to_string().as_str(), parts.version), ("/a?b=%20c", Version::HTTP_11));
        }
        for host in [&[("host", "evil.example")][..], &[("host", "chat.example:8443"), ("host", "b")]] {
            assert_eq!(request(&mut head("GET", uri, host, None), [0; 16]), Err(Fault::HostInvalid));
        }
        let mut parts = head("OPTIONS", "*", &[("host", "a")], None);
        assert_eq!(request(&mut parts, [0; 16]), Ok(false));
        assert_eq!(
            (parts.uri.to_string().as_str(), &parts.headers[HOST]),
            ("*", &HeaderValue::from_static("a"))
        );
    }

    #[test]
    fn cookies_are_whole_again() {
        let mut parts = head("GET", "http://a/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")], None);
        assert_eq!(request(&mut parts, [0; 16]), Ok(false));
        assert_eq!(parts.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn a_length_is_said_once_and_two_that_differ_are_refused() {
        let post = |lines: &[(&str, &str)]| {
            let mut request = Request::builder().method("POST").uri("http://a/");
            for (name, value) in lines {
                request = request.header(*name, *value);
            }
            request.body(()).unwrap().into_parts().0
        };
        let mut parts = post(&[("content-length", "5"), ("x", "y"), ("content-length", "5")]);
        assert_eq!(request(&mut parts, [0; 16]), Ok(false));
        assert_eq!(parts.headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["5"]);
        for other in ["6", "05", "+5"] {
            let mut parts = post(&[("content-length", "5"), ("content-length", other)]);
            assert_eq!(request(&mut parts, [0; 16]), Err(Fault::HeadMalformed), "{other}");
        }
    }

    #[test]
    fn an_extended_connect_is_a_handshake_and_any_other_none() {
        let lines = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")];
        let mut parts = head("CONNECT", "https://a/chat?x=1", &lines, Some("websocket"));
        assert_eq!(request(&mut parts, *b"the sample nonce"), Ok(true));
        // RFC 6455 section 1.3.
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        assert_eq!(classify(&parts, false), Asks::WebSocket { accept });
        assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("GET", "/chat?x=1"));
        let mut parts = head("CONNECT", "https://a/chat", &lines[1..], Some("websocket"));
        assert_eq!(request(&mut parts, [7; 16]), Ok(true));
        assert_eq!(classify(&parts, false), Asks::Malformed, "the service shall refuse it");
        let refused = |method, protocol| request(&mut head(method, "https://a/", &[], protocol), [0; 16]);
        assert_eq!(refused("CONNECT", None), Err(Fault::MethodConnect));
        assert_eq!(refused("CONNECT", Some("connect-udp")), Err(Fault::ConnectProtocol));
        assert_eq!(refused("CONNECT", Some("WebSocket")), Err(Fault::ConnectProtocol));
        assert_eq!(refused("GET", Some("websocket")), Err(Fault::ConnectProtocol));
    }

    #[test]
    fn an_upgrade_of_http1_says_nothing_in_http2() {
        let lines = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
        let mut parts = head("GET", "http://a/", &lines, None);
        assert_eq!(request(&mut parts, [0; 16]), Ok(false));
        assert_eq!(classify(&parts, false), Asks::Plain);
    }
}
