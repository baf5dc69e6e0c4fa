//! TLS on either side, and the PROXY protocol.

use crate::config::choices::Text;
use crate::config::lists::Paths;
use crate::config::tls::{CertificateName, ClientAuth, Intercept, ProxyProtocol, UpstreamProxyProtocol};
use crate::config::var::{About, Group, Var};

/// Our certificates.
pub static TLS_CERT: Var<Paths> = Var::new(
    Group::Tls,
    "CROSSFADE_TLS_CERT",
    "Certificate chains (PEM files) for clients; the listener speaks TLS then. Several are chosen by SNI.",
)
.unset("plain TCP")
.example("/etc/crossfade/tls/tls.crt");

/// Their keys.
pub static TLS_KEY: Var<Paths> = Var::new(
    Group::Tls,
    "CROSSFADE_TLS_KEY",
    "The keys (PEM files) of `CROSSFADE_TLS_CERT`, in the same order.",
)
.example("/etc/crossfade/tls/tls.key");

/// Authorities of clients.
pub static TLS_CLIENT_CA: Var<Text> = Var::new(
    Group::Tls,
    "CROSSFADE_TLS_CLIENT_CA",
    "Authorities (PEM file) that vouch for client certificates.",
)
.unset("no client certificates")
.example("/etc/crossfade/tls/clients.crt");

/// Whether clients must show a certificate.
pub static TLS_CLIENT_AUTH: Var<ClientAuth> = Var::new(
    Group::Tls,
    "CROSSFADE_TLS_CLIENT_AUTH",
    "With `CROSSFADE_TLS_CLIENT_CA`: whether a client without a certificate is refused.",
)
.default("required");

/// Authorities of the service.
pub static UPSTREAM_CA: Var<Text> = Var::new(
    Group::Tls,
    "CROSSFADE_UPSTREAM_CA",
    "Authorities (PEM file) that vouch for a `wss` or `https` service.",
)
.unset("the system's")
.example("/etc/crossfade/upstream/ca.crt");

/// The service's name in its certificate.
pub static UPSTREAM_SERVER_NAME: Var<CertificateName> = Var::new(
    Group::Tls,
    "CROSSFADE_UPSTREAM_SERVER_NAME",
    "The name that a `wss` or `https` service is asked for and must prove.",
)
.unset("the host of `CROSSFADE_UPSTREAM`")
.example("chat.internal");

/// Our certificate for the service.
pub static UPSTREAM_CERT: Var<Text> = Var::new(
    Group::Tls,
    "CROSSFADE_UPSTREAM_CERT",
    "Certificate chain (PEM file) that is shown to a service that asks for one.",
)
.example("/etc/crossfade/upstream/tls.crt");

/// Its key.
pub static UPSTREAM_KEY: Var<Text> =
    Var::new(Group::Tls, "CROSSFADE_UPSTREAM_KEY", "The key (PEM file) of `CROSSFADE_UPSTREAM_CERT`.")
        .example("/etc/crossfade/upstream/tls.key");

/// PROXY protocol from a load balancer.
pub static PROXY_PROTOCOL: Var<ProxyProtocol> = Var::new(
    Group::Tls,
    "CROSSFADE_PROXY_PROTOCOL",
    "`accept`: every connection begins with a PROXY header (v1 or v2) from one of `CROSSFADE_TRUSTED_PROXIES`.",
)
.default("off");

/// PROXY protocol to the service.
pub static UPSTREAM_PROXY_PROTOCOL: Var<UpstreamProxyProtocol> = Var::new(
    Group::Tls,
    "CROSSFADE_UPSTREAM_PROXY_PROTOCOL",
    "Begins every connection to the service with a PROXY header; connections are not kept alive then.",
)
.default("off");

/// HTTP/2 with clients.
pub static HTTP2: Var<bool> = Var::new(
    Group::Tls,
    "CROSSFADE_HTTP2",
    "HTTP/2 with clients: agreed on under TLS, begun by prior knowledge without. WebSockets in it, too (RFC 8441).",
)
.default("on");

/// Redirected connections.
pub static INTERCEPT: Var<Intercept> = Var::new(
    Group::Tls,
    "CROSSFADE_INTERCEPT",
    "`redirect`: go on to the port that a redirected client meant, at the host of `CROSSFADE_UPSTREAM`.",
)
.default("off");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[
    &TLS_CERT.about,
    &TLS_KEY.about,
    &TLS_CLIENT_CA.about,
    &TLS_CLIENT_AUTH.about,
    &UPSTREAM_CA.about,
    &UPSTREAM_SERVER_NAME.about,
    &UPSTREAM_CERT.about,
    &UPSTREAM_KEY.about,
    &PROXY_PROTOCOL.about,
    &UPSTREAM_PROXY_PROTOCOL.about,
    &HTTP2.about,
    &INTERCEPT.about,
];
