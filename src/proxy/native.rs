//! The native lane: an upgrade that a client of the service sent, rewritten into one for Supabase Realtime, and
//! its answer rewritten back. Only the fields on a short list go to Supabase, so that nothing of the service's
//! (cookies, tokens, addresses) can leak there, and only an anon key is ever put in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{
    ALT_SVC, HOST, ORIGIN, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, SET_COOKIE, STRICT_TRANSPORT_SECURITY, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;
use url::form_urlencoded;

use super::headers::{ask_for_websocket, tokens};
use super::target::{Target, TargetError};

/// The subprotocol by which a client says that it can speak Realtime's protocol instead of the service's.
pub const SUBPROTOCOL: &str = "realtime";

/// The protocol version when the client names none (`[join_ref, ref, topic, event, payload]`).
const VSN_DEFAULT: &str = "2.0.0";
/// The longest `vsn` taken from a client; longer ones are not versions.
const VSN_BYTES_MAX: usize = 16;
/// The only fields of the client's that Supabase sees.
const PASSED: [HeaderName; 5] =
    [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS, ORIGIN, USER_AGENT];
/// Fields of Supabase's edge that say something about its origin, not about the service's.
const EDGE: [HeaderName; 3] = [SET_COOKIE, ALT_SVC, STRICT_TRANSPORT_SECURITY];

/// A key that carries the rights of an anonymous visitor and no more.
#[derive(Clone, PartialEq, Eq)]
pub struct AnonKey(String);

/// Why a key is not an anon key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A service_role or secret key: it would give every client all rights.
    #[error("this key carries more rights than anon; use the anon or publishable key")]
    Privileged,
    /// Neither `sb_publishable_…` nor a JWT with a role.
    #[error("not recognisable as an anon key (a JWT with role anon, or sb_publishable_…)")]
    Unknown,
}

impl AnonKey {
    /// Accepts a publishable key or a JWT whose role is `anon`.
    ///
    /// # Errors
    /// [`KeyError`] for everything else; the key is not in the error.
    pub fn parse(key: &str) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Claims {
            role: String,
        }
        if key.starts_with("sb_publishable_") {
            return Ok(Self(key.to_owned()));
        }
        if key.starts_with("sb_secret_") {
            return Err(KeyError::Privileged);
        }
        let payload = key.split('.').nth(1).ok_or(KeyError::Unknown)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| KeyError::Unknown)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| KeyError::Unknown)?;
        if claims.role == "anon" { Ok(Self(key.to_owned())) } else { Err(KeyError::Privileged) }
    }
}

impl fmt::Debug for AnonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnonKey(***)")
    }
}

/// Where native clients go and with what key.
#[derive(Clone, Debug)]
pub struct Native {
    target: Target,
    path: String,
    key: AnonKey,
}

impl Native {
    /// Takes the project's URL (`https://x.supabase.co`, a gateway), or the URL of a bare Realtime server's socket
    /// (`ws://realtime:4000/socket`). Without a path the hosted one, `/realtime/v1/websocket`, is meant.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong with the URL.
    pub fn new(url: &str, key: AnonKey) -> Result<Self, TargetError> {
        let target = Target::with_path(url)?;
        let path = match target.path().trim_end_matches('/') {
            "" => "/realtime/v1/websocket".to_owned(),
            whole if whole.ends_with("/websocket") => whole.to_owned(),
            base => format!("{base}/websocket"),
        };
        Ok(Self { target, path, key })
    }

    /// The host to connect to.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Turns the client's upgrade into one for Supabase, in place. Realtime negotiates no subprotocol, so none is
    /// offered; nothing of the client's query survives but `vsn`.
    pub fn rewrite(&self, parts: &mut Parts) {
        let vsn = vsn(&parts.uri);
        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("apikey", &self.key.0)
            .append_pair("vsn", &vsn)
            .finish();
        // Path and query are percent-encoded ASCII by construction; an upgrade to "/" would be refused, not leak.
        parts.uri = Uri::try_from(format!("{}?{query}", self.path)).unwrap_or_default();
        let mut headers = HeaderMap::with_capacity(PASSED.len() + 3);
        headers.insert(HOST, self.target.host_field());
        for name in PASSED {
            for value in parts.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        ask_for_websocket(&mut headers);
        parts.headers = headers;
    }

    /// Turns Supabase's answer into one for the client: the subprotocol it offered is selected, and what Supabase's
    /// edge says about its own origin is left out.
    pub fn answer(headers: &mut HeaderMap, switched: bool) {
        for name in EDGE {
            headers.remove(name);
        }
        if switched {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
    }
}

/// True if the client offers `realtime` besides a protocol of its own (RFC 6455 section 4.1: names are case-sensitive).
#[must_use]
pub fn offers(headers: &HeaderMap) -> bool {
    let mut realtime = false;
    let mut other = false;
    for name in tokens(headers, &SEC_WEBSOCKET_PROTOCOL) {
        if name == SUBPROTOCOL.as_bytes() {
            realtime = true;
        } else {
            other = true;
        }
    }
    realtime && other
}

/// Takes `realtime` out of what the client offers, so that the service never sees it; the rest stays byte for byte.
pub fn withdraw(headers: &mut HeaderMap) {
    let is_ours = |item: &&[u8]| item.trim_ascii() == SUBPROTOCOL.as_bytes();
    let lines: Vec<HeaderValue> = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    for line in lines {
        let items: Vec<&[u8]> = line.as_bytes().split(|byte| *byte == b',').collect();
        if !items.iter().any(is_ours) {
            headers.append(SEC_WEBSOCKET_PROTOCOL, line);
            continue;
        }
        let left = items.into_iter().filter(|item| !is_ours(item)).collect::<Vec<_>>().join(&b","[..]);
        let left = left.trim_ascii();
        if !left.is_empty()
            && let Ok(value) = HeaderValue::from_bytes(left)
        {
            headers.append(SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

/// The client's own `vsn` if it looks like a version, else the default.
fn vsn(uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "vsn")
        .map(|(_, value)| value.into_owned())
        .filter(|value| (1..=VSN_BYTES_MAX).contains(&value.len()))
        .filter(|value| value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        .unwrap_or_else(|| VSN_DEFAULT.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn anon() -> AnonKey {
        AnonKey::parse("sb_publishable_abc").unwrap()
    }

    #[test]
    fn only_an_anon_key_is_taken() {
        let check = |key: &str, expect: Result<(), KeyError>| {
            assert_eq!(AnonKey::parse(key).map(|_| ()), expect, "{key}");
        };
        check("sb_publishable_abc", Ok(()));
        check(&jwt(r#"{"role":"anon","iss":"supabase"}"#), Ok(()));
        check("sb_secret_abc", Err(KeyError::Privileged));
        check(&jwt(r#"{"role":"service_role"}"#), Err(KeyError::Privileged));
        check(&jwt(r#"{"role":"authenticated"}"#), Err(KeyError::Privileged));
        check(&jwt(r#"{"iss":"x"}"#), Err(KeyError::Unknown));
        check("", Err(KeyError::Unknown));
        check("a.b.c", Err(KeyError::Unknown));
        assert_eq!(format!("{:?}", anon()), "AnonKey(***)");
    }

    #[test]
    fn every_form_of_the_url_leads_to_the_socket() {
        let check = |url: &str, path: &str| assert_eq!(Native::new(url, anon()).unwrap().path, path, "{url}");
        check("https://x.supabase.co", "/realtime/v1/websocket");
        check("https://x.supabase.co/realtime/v1/", "/realtime/v1/websocket");
        check("wss://x.supabase.co/realtime/v1/websocket", "/realtime/v1/websocket");
        check("ws://realtime:4000/socket", "/socket/websocket");
        check("http://realtime:4000/socket/websocket", "/socket/websocket");
    }

    #[test]
    fn the_upgrade_keeps_nothing_of_the_service() {
        let mut parts = Request::builder()
            .uri("/chat?token=s3cret&vsn=1.0.0&apikey=theirs")
            .header("host", "chat.example")
            .header("connection", "keep-alive, upgrade")
            .header("upgrade", "websocket")
            .header("cookie", "sid=1")
            .header("authorization", "Bearer x")
            .header("x-api-key", "service's")
            .header("x-forwarded-for", "10.0.0.1")
            .header("forwarded", "for=10.0.0.1")
            .header("x-user-id", "7")
            .header("origin", "https://chat.example")
            .header("user-agent", "Agent/1")
            .header("sec-websocket-key", "k")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-extensions", "permessage-deflate")
            .header("sec-websocket-protocol", "chat, realtime")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        Native::new("ws://realtime:4000/socket", anon()).unwrap().rewrite(&mut parts);
        assert_eq!(parts.uri, "/socket/websocket?apikey=sb_publishable_abc&vsn=1.0.0");
        let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expect = [
            "connection",
            "host",
            "origin",
            "sec-websocket-extensions",
            "sec-websocket-key",
            "sec-websocket-version",
            "upgrade",
            "user-agent",
        ];
        assert_eq!(names, expect);
        assert_eq!(parts.headers[HOST], "realtime:4000");
    }

    #[test]
    fn a_version_that_is_none_becomes_the_default() {
        let check = |uri: &str, expect: &str| assert_eq!(vsn(&uri.parse().unwrap()), expect, "{uri}");
        check("/chat", "2.0.0");
        check("/chat?vsn=1.0.0", "1.0.0");
        check("/chat?a=b&vsn=2.0.0", "2.0.0");
        check("/chat?vsn=", "2.0.0");
        check("/chat?vsn=1.0.0%26apikey%3Dx", "2.0.0");
        check("/chat?vsn=11111111111111111", "2.0.0");
    }

    #[test]
    fn the_offer_is_seen_and_withdrawn() {
        let check = |lines: &[&'static str], offered: bool, left: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line));
            }
            assert_eq!(offers(&headers), offered, "{lines:?}");
            withdraw(&mut headers);
            let found: Vec<_> =
                headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(|v| v.to_str().unwrap()).collect();
            assert_eq!(found, left, "{lines:?}");
        };
        check(&["chat, realtime"], true, &["chat"]);
        check(&["realtime,chat"], true, &["chat"]);
        check(&["a,  realtime , b"], true, &["a, b"]);
        check(&["chat", "realtime"], true, &["chat"]);
        check(&["realtime"], false, &[]);
        check(&["chat,superchat"], false, &["chat,superchat"]);
        check(&["Realtime, chat"], false, &["Realtime, chat"]);
        check(&["realtime-v2, chat"], false, &["realtime-v2, chat"]);
        check(&[], false, &[]);
    }

    proptest::proptest! {
        #[test]
        fn withdrawing_takes_realtime_and_nothing_else(
            lines in proptest::collection::vec("[ ]?(realtime|chat|a|b2)( ?,[ ]{0,2}(realtime|chat|a|realtime2)){0,3}", 0..4)
        ) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(line).unwrap());
            }
            let names = |headers: &HeaderMap| -> Vec<Vec<u8>> {
                tokens(headers, &SEC_WEBSOCKET_PROTOCOL).map(<[u8]>::to_vec).collect()
            };
            let mut expect = names(&headers);
            expect.retain(|name| name != b"realtime");
            withdraw(&mut headers);
            proptest::prop_assert_eq!(names(&headers), expect);
        }
    }

    #[test]
    fn the_answer_selects_realtime_and_sets_no_cookie() {
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_static("edge=1"));
        let mut refused = headers.clone();
        Native::answer(&mut headers, true);
        assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "realtime");
        assert!(!headers.contains_key(SET_COOKIE));
        Native::answer(&mut refused, false);
        assert!(refused.is_empty());
    }
}
