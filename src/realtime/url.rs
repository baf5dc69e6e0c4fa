//! From the project's URL to the endpoints of Realtime: the WebSocket and the two HTTP broadcast forms.
//! Behind a gateway (hosted, Kong) the key is a query parameter; a bare server takes it as a header, which keeps it
//! out of access logs. Nothing here shows a key in `Debug` or `Display`.

use std::fmt;

use thiserror::Error;
use url::Url;

use super::key::ApiKey;
use super::message::Vsn;

/// Who answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A gateway that maps `/realtime/v1`: hosted Supabase, or Kong in front of a self-hosted one.
    Gateway,
    /// Realtime itself: `/socket/websocket` and `/api/broadcast`. The tenant is the first label of `Host`.
    Bare,
}

/// Where Realtime is.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`, authority, and the path prefix without a slash at its end.
    base: Url,
    layout: Layout,
    host_header: Option<String>,
}

/// Why a text is not the URL of a project. Never quotes the text: it may hold credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Not an absolute URL.
    #[error("not a URL such as https://REF.supabase.co or http://kong:8000")]
    NotUrl,
    /// A scheme other than http, https, ws, wss.
    #[error("the scheme must be https, wss, http or ws")]
    Scheme,
    /// User name or password in it.
    #[error("the URL must not carry a user name or password")]
    Credentials,
    /// A query or fragment, often a pasted key.
    #[error("the URL must not carry a query or fragment; the key has a variable of its own")]
    Query,
    /// No host.
    #[error("the URL has no host")]
    Host,
}

/// What to ask for when opening a socket. Holds the key: never print its fields.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// `ws://` or `wss://` with path and query; on a gateway the key is in the query.
    pub url: String,
    /// Header fields to add: `x-api-key` on a bare server, `Host` when another one was set.
    pub headers: Vec<(&'static str, String)>,
    /// The name or address to connect to.
    pub host: String,
    /// The port to connect to.
    pub port: u16,
    /// Whether to speak TLS.
    pub tls: bool,
}

impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectRequest({}:{}, tls {})", self.host, self.port, self.tls)
    }
}

impl Endpoint {
    /// Reads `SUPABASE_URL` in any of its usual forms: `https://REF.supabase.co`, `http://kong:8000`, either with
    /// `/realtime/v1` (or a longer path ending in `/websocket`), or a bare server, told by `/socket`.
    ///
    /// # Errors
    /// [`UrlError`] says what to change.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let mut base = Url::parse(text.trim()).map_err(|_| UrlError::NotUrl)?;
        let scheme = match base.scheme() {
            "https" | "wss" => "https",
            "http" | "ws" => "http",
            _ => return Err(UrlError::Scheme),
        };
        if base.host_str().unwrap_or_default().is_empty() {
            return Err(UrlError::Host);
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(UrlError::Credentials);
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(UrlError::Query);
        }
        // `set_scheme` refuses ws to http, so the text is rebuilt.
        let rest = base.as_str().split_once("://").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        base = Url::parse(&format!("{scheme}://{rest}")).map_err(|_| UrlError::NotUrl)?;
        let path = base.path().trim_end_matches('/').to_owned();
        let path = path.strip_suffix("/websocket").unwrap_or(&path);
        let (prefix, layout) = match (path.strip_suffix("/realtime/v1"), path.strip_suffix("/socket")) {
            (Some(prefix), _) => (prefix, Layout::Gateway),
            (None, Some(prefix)) => (prefix, Layout::Bare),
            (None, None) => (path, Layout::Gateway),
        };
        base.set_path(prefix);
        Ok(Self { base, layout, host_header: None })
    }

    /// Sends `Host: host` instead of the URL's: on a bare server its first label names the tenant.
    #[must_use]
    pub fn with_host(mut self, host: &str) -> Self {
        self.host_header = Some(host.to_owned());
        self
    }

    /// Who answers there.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// What to ask for when opening a socket with `key`.
    #[must_use]
    pub fn socket(&self, key: &ApiKey, vsn: Vsn) -> ConnectRequest {
        let path = match self.layout {
            Layout::Gateway => "/realtime/v1/websocket",
            Layout::Bare => "/socket/websocket",
        };
        let mut url = self.at(path);
        let mut headers = Vec::new();
        match self.layout {
            Layout::Gateway => drop(url.query_pairs_mut().append_pair("apikey", key.reveal())),
            Layout::Bare => headers.push(("x-api-key", key.reveal().to_owned())),
        }
        url.query_pairs_mut().append_pair("vsn", vsn.as_str());
        if let Some(host) = &self.host_header {
            headers.push(("host", host.clone()));
        }
        let tls = url.scheme() == "https";
        let rest = url.as_str().split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        ConnectRequest {
            url: format!("{}://{rest}", if tls { "wss" } else { "ws" }),
            headers,
            host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 }),
            tls,
        }
    }

    /// Where a batch of broadcasts is posted.
    #[must_use]
    pub fn broadcast(&self) -> String {
        self.at(self.api()).into()
    }

    /// Where a single broadcast is posted (server 2.97 and later). `topic` without `realtime:`.
    #[must_use]
    pub fn broadcast_event(&self, topic: &str, event: &str, private: bool) -> String {
        let mut url = self.at(self.api());
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend([topic, "events", event]);
        }
        if private {
            url.query_pairs_mut().append_pair("private", "true");
        }
        url.into()
    }

    /// Where rows of `table` are posted: PostgREST beside Realtime. A bare server has none beside it.
    #[must_use]
    pub fn rows(&self, table: &str) -> Option<Url> {
        (self.layout == Layout::Gateway).then(|| self.at(&format!("/rest/v1/{table}")))
    }

    /// The header fields that a broadcast over HTTP needs, besides the content type.
    #[must_use]
    pub fn http_headers(&self, key: &ApiKey) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if self.layout == Layout::Gateway {
            headers.push(("apikey", key.reveal().to_owned()));
        }
        // An sb_ key is not a JWT: the gateway makes the Authorization of it.
        if !key.is_gateway_key() {
            headers.push(("authorization", format!("Bearer {}", key.reveal())));
        }
        if let Some(host) = &self.host_header {
            headers.push(("host", host.clone()));
        }
        headers
    }

    const fn api(&self) -> &'static str {
        match self.layout {
            Layout::Gateway => "/realtime/v1/api/broadcast",
            Layout::Bare => "/api/broadcast",
        }
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}, {:?})", self.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Endpoint {
        Endpoint::parse(text).expect("a good URL")
    }

    #[test]
    fn every_usual_form_leads_to_the_socket_and_the_api() {
        let gateway = "/realtime/v1/websocket?apikey=K&vsn=2.0.0";
        for (given, socket, api) in [
            (
                "https://ref.supabase.co",
                format!("wss://ref.supabase.co{gateway}"),
                "https://ref.supabase.co/realtime/v1/api/broadcast",
            ),
            (
                "https://ref.supabase.co/",
                format!("wss://ref.supabase.co{gateway}"),
                "https://ref.supabase.co/realtime/v1/api/broadcast",
            ),
            (
                "wss://ref.supabase.co/realtime/v1/websocket",
                format!("wss://ref.supabase.co{gateway}"),
                "https://ref.supabase.co/realtime/v1/api/broadcast",
            ),
            (
                "http://kong:8000",
                format!("ws://kong:8000{gateway}"),
                "http://kong:8000/realtime/v1/api/broadcast",
            ),
            (
                "http://kong:8000/realtime/v1/",
                format!("ws://kong:8000{gateway}"),
                "http://kong:8000/realtime/v1/api/broadcast",
            ),
            (
                "https://x.example/supa",
                format!("wss://x.example/supa{gateway}"),
                "https://x.example/supa/realtime/v1/api/broadcast",
            ),
            (
                "http://tenant.host:4000/socket",
                "ws://tenant.host:4000/socket/websocket?vsn=2.0.0".into(),
                "http://tenant.host:4000/api/broadcast",
            ),
            (
                "ws://tenant.host:4000/socket/websocket",
                "ws://tenant.host:4000/socket/websocket?vsn=2.0.0".into(),
                "http://tenant.host:4000/api/broadcast",
            ),
        ] {
            assert_eq!(at(given).socket(&ApiKey::new("K"), Vsn::V2).url, socket, "{given}");
            assert_eq!(at(given).broadcast(), api, "{given}");
        }
    }

    #[test]
    fn a_bare_server_gets_the_key_as_a_header_and_the_tenant_as_host() {
        let request =
            at("http://10.0.0.7:4000/socket").with_host("realtime-dev").socket(&ApiKey::new("K"), Vsn::V1);
        assert_eq!(request.url, "ws://10.0.0.7:4000/socket/websocket?vsn=1.0.0");
        assert_eq!(request.headers, [("x-api-key", "K".into()), ("host", "realtime-dev".into())]);
        assert_eq!((request.host.as_str(), request.port, request.tls), ("10.0.0.7", 4000, false));
        let v6 = at("https://[::1]/").socket(&ApiKey::new("K"), Vsn::V2);
        assert_eq!((v6.host.as_str(), v6.port, v6.tls), ("::1", 443, true));
    }

    #[test]
    fn topics_and_events_are_escaped_in_the_single_form() {
        let url = at("http://kong:8000").broadcast_event("room:1/2 ü", "a?b", true);
        assert_eq!(
            url,
            "http://kong:8000/realtime/v1/api/broadcast/room:1%2F2%20%C3%BC/events/a%3Fb?private=true"
        );
    }

    #[test]
    fn keys_go_where_each_layout_wants_them() {
        let names = |headers: Vec<(&'static str, String)>| {
            headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let (jwt, sb) = (crate::realtime::key::unsigned("anon", 9), ApiKey::new("sb_secret_x"));
        assert_eq!(names(at("https://r.supabase.co").http_headers(&jwt)), ["apikey", "authorization"]);
        assert_eq!(names(at("https://r.supabase.co").http_headers(&sb)), ["apikey"]);
        assert_eq!(names(at("http://t.host:4000/socket").http_headers(&jwt)), ["authorization"]);
    }

    #[test]
    fn wrong_urls_say_why_without_quoting() {
        for (given, error) in [
            ("ref.supabase.co", UrlError::NotUrl),
            ("ftp://ref.supabase.co", UrlError::Scheme),
            ("https://u:hush@ref.supabase.co", UrlError::Credentials),
            ("https://ref.supabase.co/?apikey=hush", UrlError::Query),
            ("", UrlError::NotUrl),
        ] {
            assert_eq!(Endpoint::parse(given), Err(error), "{given}");
            assert!(!error.to_string().contains("hush"));
        }
    }

    #[test]
    fn nothing_shows_the_key() {
        let endpoint = at("https://ref.supabase.co");
        let request = endpoint.socket(&ApiKey::new("sb_secret_hush"), Vsn::V2);
        assert!(request.url.contains("sb_secret_hush"));
        assert!(!format!("{endpoint} {endpoint:?} {request:?}").contains("hush"));
    }
}
