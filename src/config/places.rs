//! Parsers of places: socket addresses and URLs.
//! A URL with a user or a password is refused, since URLs are shown in logs and reports.

use std::fmt;
use std::net::SocketAddr;

use url::{Host, Url};

use super::var::Value;

impl Value for SocketAddr {
    const KIND: &'static str = "address";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is not an address and port, as in 0.0.0.0:8080 or [::]:8080".to_owned())
    }
}

/// How the URL of a Unix socket begins.
const UNIX: [&str; 3] = ["unix:", "ws+unix:", "http+unix:"];

/// The legacy service: where to connect, and whether with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Over the network.
    Net {
        /// `wss` and `https`.
        tls: bool,
        /// Name or address; IPv6 without brackets.
        host: String,
        /// The port, or the scheme's own.
        port: u16,
    },
    /// A Unix socket, by its absolute path.
    Unix(String),
}

impl Upstream {
    /// True for `wss` and `https`.
    #[must_use]
    pub const fn tls(&self) -> bool {
        matches!(self, Self::Net { tls: true, .. })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, host, port) = match self {
            Self::Unix(path) => return write!(f, "unix:{path}"),
            Self::Net { tls, host, port } => (tls, host, port),
        };
        let scheme = if *tls { "wss" } else { "ws" };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}:{port}")
    }
}

impl Value for Upstream {
    const KIND: &'static str = "ws, wss, http or https URL, or unix:PATH";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = UNIX.iter().find_map(|scheme| text.strip_prefix(scheme)) {
            let path = path.strip_prefix("//").unwrap_or(path);
            let absolute = path.starts_with('/');
            return absolute
                .then(|| Self::Unix(path.to_owned()))
                .ok_or_else(|| "names no absolute path, as in unix:/run/service.sock".to_owned());
        }
        let url = place(text, &["ws", "wss", "http", "https"])?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(
                "has a path or query; each request keeps its own, so give scheme, host and port".to_owned()
            );
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err("has no host".to_owned()),
        };
        let tls = matches!(url.scheme(), "wss" | "https");
        let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self::Net { tls, host, port })
    }
}

/// The base URL of a Supabase project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectUrl(pub Url);

impl Value for ProjectUrl {
    const KIND: &'static str = "http or https URL";

    fn parse(text: &str) -> Result<Self, String> {
        let url = place(text, &["https", "http"])?;
        if url.query().is_some() {
            return Err("has a query; give the project's base URL".to_owned());
        }
        Ok(Self(url))
    }
}

fn place(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|why| format!("is not a URL ({why})"))?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("does not begin with one of {}", schemes.join("://, ") + "://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("has no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries a user or password, which do not belong in a URL".to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a fragment".to_owned());
    }
    Ok(url)
}
