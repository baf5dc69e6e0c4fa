//! Where connections go: scheme, host and port of a WebSocket or HTTP URL, or the path of a Unix socket. The proxy
//! never prefixes a path, so a service's URL with one is refused instead of being silently ignored.

use std::fmt;
use std::path::{Path, PathBuf};

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use url::{Host, Url};

/// How the URL of a Unix socket begins; the rest is an absolute path.
const UNIX: [&str; 3] = ["unix:", "ws+unix:", "http+unix:"];

/// One host and port, and whether to speak TLS to it; or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    unix: Option<PathBuf>,
    tls: bool,
    host: String,
    port: u16,
    authority: Authority,
    path: String,
}

/// Why a URL is not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL at all.
    #[error("not a URL; example: ws://127.0.0.1:9000")]
    Url,
    /// A scheme other than ws, wss, http, https.
    #[error("the scheme must be ws, wss, http, https or unix")]
    Scheme,
    /// A Unix socket whose path is not absolute.
    #[error("a Unix socket needs an absolute path; example: unix:/run/service.sock")]
    UnixPath,
    /// No host in it.
    #[error("the URL names no host")]
    Host,
    /// Credentials, a query or a fragment, none of which would be used.
    #[error("the URL may have no user, query or fragment")]
    Extra,
    /// A path, which would not be used.
    #[error("the URL may have no path: each request's own path is passed on as it is")]
    Path,
}

impl Target {
    /// Reads the URL of the service, which has no path of its own.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong with the URL.
    pub fn service(url: &str) -> Result<Self, TargetError> {
        if let Some(path) = UNIX.iter().find_map(|scheme| url.strip_prefix(scheme)) {
            return Self::unix(path);
        }
        let target = Self::with_path(url)?;
        if target.path == "/" { Ok(target) } else { Err(TargetError::Path) }
    }

    /// The socket at `path`; two slashes before it, as URLs have them, are not part of it.
    fn unix(path: &str) -> Result<Self, TargetError> {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.contains('\0') {
            return Err(TargetError::UnixPath);
        }
        let authority = Authority::from_static("localhost");
        let (host, unix) = ("localhost".to_owned(), Some(PathBuf::from(path)));
        Ok(Self { unix, tls: false, host, port: 80, authority, path: "/".to_owned() })
    }

    /// Reads a URL that may have a path.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong with the URL.
    pub fn with_path(url: &str) -> Result<Self, TargetError> {
        let url = Url::parse(url).map_err(|_| TargetError::Url)?;
        let tls = match url.scheme() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(TargetError::Scheme),
        };
        let extra = !url.username().is_empty() || url.password().is_some();
        if extra || url.query().is_some() || url.fragment().is_some() {
            return Err(TargetError::Extra);
        }
        let host = match url.host().ok_or(TargetError::Host)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let port = url.port_or_known_default().ok_or(TargetError::Host)?;
        let shown = url.host_str().ok_or(TargetError::Host)?;
        let authority = match url.port() {
            Some(port) => format!("{shown}:{port}"),
            None => shown.to_owned(),
        };
        let authority = Authority::try_from(authority).map_err(|_| TargetError::Host)?;
        Ok(Self { unix: None, tls, host, port, authority, path: url.path().to_owned() })
    }

    /// The path, where this is a Unix socket; host and port mean nothing then.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_deref()
    }

    /// True for wss and https.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }

    /// The name or address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own if the URL names none.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path of the URL, `/` if it has none.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same host at another port. A Unix socket has none and stays as it is.
    pub(super) fn at_port(&self, port: u16) -> Self {
        if port == self.port || self.unix.is_some() {
            return self.clone();
        }
        let host = self.authority.host();
        let authority = Authority::try_from(format!("{host}:{port}"));
        // An authority's own host and a number make an authority; the old one would only be a wrong Host.
        let authority = authority.unwrap_or_else(|_| self.authority.clone());
        Self { port, authority, ..self.clone() }
    }

    /// `host` or `host:port` as a `Host` field says it.
    #[must_use]
    pub fn host_field(&self) -> HeaderValue {
        // An authority is visible ASCII, so this never takes the empty branch.
        HeaderValue::from_str(self.authority.as_str()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The absolute form of `uri` at this target: what a connection pool needs to know where it belongs.
    ///
    /// # Errors
    /// When the parts do not make a URI, which no parsed request line leads to.
    pub fn absolute(&self, uri: &Uri) -> Result<Uri, http::uri::InvalidUriParts> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query =
            Some(uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")));
        Uri::from_parts(parts)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.unix {
            return write!(f, "unix:{}", path.display());
        }
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_targets() {
        let check = |url: &str, tls: bool, host: &str, port: u16, field: &str| {
            let target = Target::service(url).unwrap();
            assert_eq!((target.tls(), target.host(), target.port()), (tls, host, port), "{url}");
            assert_eq!(target.host_field(), field, "{url}");
        };
        check("ws://127.0.0.1:9000", false, "127.0.0.1", 9000, "127.0.0.1:9000");
        check("http://service", false, "service", 80, "service");
        check("wss://chat.example.com/", true, "chat.example.com", 443, "chat.example.com");
        check("https://[::1]:8443", true, "::1", 8443, "[::1]:8443");
    }

    #[test]
    fn another_port_is_another_target() {
        for (url, field) in [("http://service", "service:81"), ("wss://[::1]:8443", "[::1]:81")] {
            let (target, other) = (Target::service(url).unwrap(), Target::service(url).unwrap().at_port(81));
            assert_eq!((other.host(), other.port(), other.tls()), (target.host(), 81, target.tls()));
            assert_eq!(other.host_field(), field);
            assert_eq!(target.at_port(target.port()), target);
        }
        let unix = Target::service("unix:/run/a.sock").unwrap();
        assert_eq!(unix.at_port(81), unix);
    }

    #[test]
    fn paths_of_sockets_become_targets() {
        for url in
            ["unix:/run/a.sock", "unix:///run/a.sock", "ws+unix:///run/a.sock", "http+unix:/run/a.sock"]
        {
            let target = Target::service(url).unwrap();
            assert_eq!(target.unix_path(), Some(Path::new("/run/a.sock")), "{url}");
            assert_eq!((target.to_string().as_str(), target.tls()), ("unix:/run/a.sock", false));
            assert_eq!(target.host_field(), "localhost");
        }
        for url in ["unix:", "unix://", "unix:run/a.sock", "unix://run/a.sock"] {
            assert_eq!(Target::service(url), Err(TargetError::UnixPath), "{url}");
        }
        assert_eq!(Target::service("ws://a").unwrap().unix_path(), None);
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        let check = |url: &str, why| assert_eq!(Target::service(url), Err(why), "{url}");
        check("localhost", TargetError::Url);
        check("ftp://host", TargetError::Scheme);
        check("ws://user:pass@host", TargetError::Extra);
        check("ws://host?x=1", TargetError::Extra);
        check("ws://host/#top", TargetError::Extra);
        check("ws://host/path", TargetError::Path);
        assert_eq!(Target::with_path("ws://host/socket").unwrap().path(), "/socket");
    }
}
