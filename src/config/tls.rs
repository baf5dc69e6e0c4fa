//! TLS and the PROXY protocol in the configuration: words, section, and the rules between their variables.
//! Files are only named here; the proxy reads and judges them.

use rustls::pki_types::ServerName;

use super::checks::Check;
use super::places::Upstream;
use super::reader::{Problem, Reader, problem};
use super::var::{About, Value, choose};
use super::vars;

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// It is refused without one.
    Required,
    /// It may come without one.
    Optional,
}

impl Value for ClientAuth {
    const KIND: &'static str = "required | optional";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("required", Self::Required), ("optional", Self::Optional)])
    }
}

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// All do.
    Accept,
}

impl Value for ProxyProtocol {
    const KIND: &'static str = "off | accept";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("off", Self::Off), ("accept", Self::Accept)])
    }
}

/// What connections to the service begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProxyProtocol {
    /// The request.
    Off,
    /// A line.
    V1,
    /// A binary header.
    V2,
}

impl Value for UpstreamProxyProtocol {
    const KIND: &'static str = "off | v1 | v2";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("off", Self::Off), ("v1", Self::V1), ("v2", Self::V2)])
    }
}

/// Whether connections to us were redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intercept {
    /// They were meant for us.
    Off,
    /// By the packet filter of this machine or pod.
    Redirect,
}

impl Value for Intercept {
    const KIND: &'static str = "off | redirect";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("off", Self::Off), ("redirect", Self::Redirect)])
    }
}

/// A name that a certificate can carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName(pub ServerName<'static>);

impl Value for CertificateName {
    const KIND: &'static str = "name or address";

    fn parse(text: &str) -> Result<Self, String> {
        let name = ServerName::try_from(text.to_owned());
        name.map(Self).map_err(|_| "is no name that a certificate can carry".to_owned())
    }
}

/// Settings of TLS and of the PROXY protocol.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate and key files, by pair; none where the listener speaks plain TCP.
    pub pairs: Vec<(String, String)>,
    /// Authorities of clients.
    pub client_ca: Option<String>,
    /// Whether clients must be vouched for.
    pub client_auth: ClientAuth,
    /// Authorities of the service; `None` means the system's.
    pub upstream_ca: Option<String>,
    /// The service's name in its certificate.
    pub upstream_name: Option<ServerName<'static>>,
    /// Our certificate and key for the service.
    pub upstream_pair: Option<(String, String)>,
    /// PROXY protocol from a load balancer.
    pub proxy_protocol: ProxyProtocol,
    /// PROXY protocol to the service.
    pub upstream_proxy_protocol: UpstreamProxyProtocol,
    /// HTTP/2 with clients.
    pub http2: bool,
    /// Whether connections to us were redirected.
    pub intercept: Intercept,
}

pub(super) fn tls(r: &Reader<'_>) -> Result<Tls, Problem> {
    let certs = r.optional(&vars::TLS_CERT)?.map(|list| list.0).unwrap_or_default();
    let keys = r.optional(&vars::TLS_KEY)?.map(|list| list.0).unwrap_or_default();
    let cert = r.optional(&vars::UPSTREAM_CERT)?.map(|text| text.0);
    let key = r.optional(&vars::UPSTREAM_KEY)?.map(|text| text.0);
    Ok(Tls {
        pairs: certs.into_iter().zip(keys).collect(),
        client_ca: r.optional(&vars::TLS_CLIENT_CA)?.map(|text| text.0),
        client_auth: r.value(&vars::TLS_CLIENT_AUTH)?,
        upstream_ca: r.optional(&vars::UPSTREAM_CA)?.map(|text| text.0),
        upstream_name: r.optional(&vars::UPSTREAM_SERVER_NAME)?.map(|name| name.0),
        upstream_pair: cert.zip(key),
        proxy_protocol: r.value(&vars::PROXY_PROTOCOL)?,
        upstream_proxy_protocol: r.value(&vars::UPSTREAM_PROXY_PROTOCOL)?,
        http2: r.value(&vars::HTTP2)?,
        intercept: r.value(&vars::INTERCEPT)?,
    })
}

/// Rules between these variables.
pub(super) const CHECKS: [Check; 5] = [
    pairs_are_whole,
    client_authorities_need_tls,
    upstream_tls_needs_a_tls_upstream,
    accept_needs_somebody_trusted,
    a_redirect_goes_on_to_a_port,
];

fn broken(about: &About, what: &str) -> Option<Problem> {
    Some(problem(about, what.to_owned()))
}

fn pairs_are_whole(r: &Reader<'_>) -> Option<Problem> {
    let halves = |one: &About, other: &About| match (r.is_set(one), r.is_set(other)) {
        (true, false) => broken(other, &format!("is required with {}", one.name)),
        (false, true) => broken(one, &format!("is required with {}", other.name)),
        _ => None,
    };
    let missing = halves(&vars::TLS_CERT.about, &vars::TLS_KEY.about)
        .or_else(|| halves(&vars::UPSTREAM_CERT.about, &vars::UPSTREAM_KEY.about));
    if missing.is_some() {
        return missing;
    }
    let (certs, keys) = (r.right(&vars::TLS_CERT)?.0.len(), r.right(&vars::TLS_KEY)?.0.len());
    if certs == keys {
        return None;
    }
    broken(&vars::TLS_KEY.about, &format!("names {keys} files, but CROSSFADE_TLS_CERT names {certs}"))
}

fn client_authorities_need_tls(r: &Reader<'_>) -> Option<Problem> {
    if !r.is_set(&vars::TLS_CLIENT_CA.about) || r.is_set(&vars::TLS_CERT.about) {
        return None;
    }
    broken(&vars::TLS_CERT.about, "is required with CROSSFADE_TLS_CLIENT_CA")
}

fn upstream_tls_needs_a_tls_upstream(r: &Reader<'_>) -> Option<Problem> {
    if r.right(&vars::UPSTREAM)?.tls() {
        return None;
    }
    let all = [&vars::UPSTREAM_CA.about, &vars::UPSTREAM_SERVER_NAME.about, &vars::UPSTREAM_CERT.about];
    let set = all.into_iter().find(|about| r.is_set(about))?;
    let mut found = problem(set, "has no effect: CROSSFADE_UPSTREAM is neither wss nor https".to_owned());
    found.example = "for example CROSSFADE_UPSTREAM=wss://chat.internal:8443".to_owned();
    Some(found)
}

fn accept_needs_somebody_trusted(r: &Reader<'_>) -> Option<Problem> {
    let off = r.right(&vars::PROXY_PROTOCOL)? == ProxyProtocol::Off;
    if off || r.is_set(&vars::TRUSTED_PROXIES.about) {
        return None;
    }
    broken(
        &vars::TRUSTED_PROXIES.about,
        "is required with CROSSFADE_PROXY_PROTOCOL=accept: nobody else may send a header",
    )
}

fn a_redirect_goes_on_to_a_port(r: &Reader<'_>) -> Option<Problem> {
    if r.right(&vars::INTERCEPT)? == Intercept::Off || !matches!(r.right(&vars::UPSTREAM)?, Upstream::Unix(_))
    {
        return None;
    }
    broken(
        &vars::UPSTREAM.about,
        "must be a host while CROSSFADE_INTERCEPT=redirect: a Unix socket has no ports",
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Strings};

    fn problems(more: &[(&str, &str)]) -> String {
        let base = [("CROSSFADE_UPSTREAM", "ws://a")]
            .into_iter()
            .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        let strings = Strings::of(base.chain(more.iter().copied()));
        Config::load(&strings).map_or_else(|problems| problems.to_string(), |_| String::new())
    }

    #[test]
    fn halves_and_settings_without_effect_are_refused() {
        let check = |more: &[(&str, &str)], parts: &[&str]| {
            let said = problems(more);
            assert!(!parts.is_empty() || said.is_empty(), "{said}");
            for part in parts {
                assert!(said.contains(part), "{part} in {said}");
            }
        };
        check(&[("CROSSFADE_TLS_CERT", "a")], &["CROSSFADE_TLS_KEY: is required with CROSSFADE_TLS_CERT"]);
        check(&[("CROSSFADE_TLS_KEY", "a")], &["CROSSFADE_TLS_CERT: is required with CROSSFADE_TLS_KEY"]);
        check(
            &[("CROSSFADE_TLS_CERT", "a,b"), ("CROSSFADE_TLS_KEY", "a")],
            &["names 1 files, but CROSSFADE_TLS_CERT names 2"],
        );
        check(&[("CROSSFADE_TLS_CERT", "a,"), ("CROSSFADE_TLS_KEY", "a")], &["has an empty entry"]);
        check(&[("CROSSFADE_TLS_CERT", "a"), ("CROSSFADE_TLS_KEY", "b")], &[]);
        check(&[("CROSSFADE_TLS_CLIENT_CA", "a")], &["CROSSFADE_TLS_CERT: is required"]);
        check(&[("CROSSFADE_UPSTREAM_CA", "a")], &["has no effect"]);
        check(&[("CROSSFADE_UPSTREAM_SERVER_NAME", "a")], &["has no effect"]);
        check(&[("CROSSFADE_UPSTREAM_CERT", "a")], &["CROSSFADE_UPSTREAM_KEY: is required"]);
        let secure = ("CROSSFADE_UPSTREAM", "wss://a");
        check(&[secure, ("CROSSFADE_UPSTREAM_CA", "a")], &[]);
        check(
            &[secure, ("CROSSFADE_UPSTREAM_SERVER_NAME", "a b")],
            &["no name that a certificate can carry"],
        );
        check(&[("CROSSFADE_PROXY_PROTOCOL", "accept")], &["CROSSFADE_TRUSTED_PROXIES: is required"]);
        check(&[("CROSSFADE_PROXY_PROTOCOL", "accept"), ("CROSSFADE_TRUSTED_PROXIES", "10.0.0.0/8")], &[]);
        check(&[("CROSSFADE_UPSTREAM_PROXY_PROTOCOL", "v3")], &["is not one of off, v1, v2"]);
        check(&[("CROSSFADE_UPSTREAM", "unix:/run/a.sock")], &[]);
        check(&[("CROSSFADE_UPSTREAM", "unix:a.sock")], &["absolute"]);
        check(&[("CROSSFADE_INTERCEPT", "redirect")], &[]);
        let unix = ("CROSSFADE_UPSTREAM", "unix:/run/a.sock");
        check(&[unix, ("CROSSFADE_INTERCEPT", "redirect")], &["CROSSFADE_UPSTREAM: must be a host"]);
    }
}
