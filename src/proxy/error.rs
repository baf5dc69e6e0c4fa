//! What can go wrong with one connection: whose fault, at which stage, and what the client is told. The list is
//! closed, because it is at once the metric label, the `x-crossfade-error` token and the row in the docs.

use std::error::Error as StdError;
use std::fmt;

use http::StatusCode;

/// Any cause below ours.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The service's, or the way to it.
    Upstream,
    /// Ours.
    Proxy,
}

/// How far the exchange had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Accepting the client's connection, its TLS included.
    Accept,
    /// Reading the client's request.
    Request,
    /// Connecting to the service.
    Connect,
    /// Waiting for, or reading, the service's answer.
    Response,
    /// Between the 101 and the tunnel.
    Upgrade,
}

/// One reason for which a request or a connection fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's TLS handshake failed or took too long.
    ClientTls,
    /// Its address has as many connections as it may (off by default).
    AddressLimit,
    /// A PROXY header is expected, and its sender is no trusted proxy.
    ProxyUntrusted,
    /// A PROXY header is expected, and the connection does not begin with one.
    ProxyHeader,
    /// The PROXY header did not arrive in time.
    ProxyTimeout,
    /// Connections are redirected to us, and this one was meant for ourselves: nobody redirected it.
    RedirectLoop,
    /// Connections are redirected to us, and the system does not say where this one was meant to go.
    RedirectUnknown,
    /// A connection of our own to the service came back to us.
    LoopDetected,
    /// The request head did not arrive in time.
    HeadTimeout,
    /// The request head has too many bytes or fields.
    HeadTooLarge,
    /// The request head is not HTTP/1.1; hyper has answered 400, 414 or 431 by itself.
    HeadMalformed,
    /// The client broke the rules of HTTP/2 (RFC 9113), and its connection had to end.
    Http2Protocol,
    /// The client cancelled nearly all of very many requests of one HTTP/2 connection.
    Http2Resets,
    /// CONNECT for a protocol other than `websocket` (RFC 8441).
    ConnectProtocol,
    /// No `Host`, more than one, or one that is no authority (RFC 9112 section 3.2).
    HostInvalid,
    /// CONNECT: this is not a forward proxy.
    MethodConnect,
    /// A transfer coding other than `chunked` (RFC 9112 section 6.1).
    TransferCoding,
    /// More upgrades in this second than may come (off by default).
    UpgradeRate,
    /// The request body broke off or its chunks are malformed.
    RequestBody,
    /// The client went away in the middle of an exchange.
    ClientGone,
    /// No address for the service's name.
    Resolve,
    /// The service refused the connection, or the network did.
    ConnectRefused,
    /// The service did not accept the connection in time.
    ConnectTimeout,
    /// TLS towards the service failed.
    UpstreamTls,
    /// The service closed the connection before it had answered.
    UpstreamClosed,
    /// The service's answer is not HTTP/1.1.
    UpstreamMalformed,
    /// The service did not answer the upgrade in time.
    UpgradeTimeout,
    /// The service did not answer the request in time (off by default).
    ResponseTimeout,
    /// A 101 whose `Upgrade`, `Connection` or `Sec-WebSocket-Accept` is wrong (RFC 6455 section 4.1).
    SwitchingInvalid,
    /// A 101 that no valid WebSocket upgrade had asked for.
    SwitchingUnasked,
    /// The connection could not be taken out of HTTP after the 101.
    Handover,
    /// No random bits for the session's id.
    NoRandomness,
}

impl Fault {
    /// Every fault, in label order.
    pub const ALL: [Self; 32] = [
        Self::ClientTls,
        Self::AddressLimit,
        Self::ProxyUntrusted,
        Self::ProxyHeader,
        Self::ProxyTimeout,
        Self::RedirectLoop,
        Self::RedirectUnknown,
        Self::LoopDetected,
        Self::HeadTimeout,
        Self::HeadTooLarge,
        Self::HeadMalformed,
        Self::Http2Protocol,
        Self::Http2Resets,
        Self::ConnectProtocol,
        Self::HostInvalid,
        Self::MethodConnect,
        Self::TransferCoding,
        Self::UpgradeRate,
        Self::RequestBody,
        Self::ClientGone,
        Self::Resolve,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::UpstreamTls,
        Self::UpstreamClosed,
        Self::UpstreamMalformed,
        Self::UpgradeTimeout,
        Self::ResponseTimeout,
        Self::SwitchingInvalid,
        Self::SwitchingUnasked,
        Self::Handover,
        Self::NoRandomness,
    ];

    /// The stable word: metric label and value of `x-crossfade-error`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientTls => "client_tls",
            Self::AddressLimit => "address_limit",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::ProxyHeader => "proxy_header",
            Self::ProxyTimeout => "proxy_timeout",
            Self::RedirectLoop => "redirect_loop",
            Self::RedirectUnknown => "redirect_unknown",
            Self::LoopDetected => "loop_detected",
            Self::HeadTimeout => "head_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadMalformed => "head_malformed",
            Self::Http2Protocol => "http2_protocol",
            Self::Http2Resets => "http2_resets",
            Self::ConnectProtocol => "connect_protocol",
            Self::HostInvalid => "host_invalid",
            Self::MethodConnect => "method_connect",
            Self::TransferCoding => "transfer_coding",
            Self::UpgradeRate => "upgrade_rate",
            Self::RequestBody => "request_body",
            Self::ClientGone => "client_gone",
            Self::Resolve => "resolve",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::UpgradeTimeout => "upgrade_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::SwitchingInvalid => "switching_invalid",
            Self::SwitchingUnasked => "switching_unasked",
            Self::Handover => "handover",
            Self::NoRandomness => "no_randomness",
        }
    }

    /// The sentence in the body of the answer.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ClientTls => "The TLS handshake failed.",
            Self::AddressLimit => "This address has too many connections.",
            Self::ProxyUntrusted => "Only trusted proxies may connect here.",
            Self::ProxyHeader => "The connection does not begin with a PROXY header.",
            Self::ProxyTimeout => "The PROXY header did not arrive in time.",
            Self::RedirectLoop => "The connection was meant for crossfade itself.",
            Self::RedirectUnknown => "Where the connection was meant to go is unknown.",
            Self::LoopDetected => {
                "The way to the service leads back to crossfade: CROSSFADE_UPSTREAM or a redirect rule is wrong."
            }
            Self::HeadTimeout => "The request head did not arrive in time.",
            Self::HeadTooLarge => "The request head has too many bytes or too many fields.",
            Self::HeadMalformed => "The request is not valid HTTP.",
            Self::Http2Protocol => "The connection is not valid HTTP/2.",
            Self::Http2Resets => "Too many requests were cancelled.",
            Self::ConnectProtocol => "CONNECT is supported for WebSocket only.",
            Self::HostInvalid => "The request needs exactly one valid Host.",
            Self::MethodConnect => "CONNECT is not supported: this is not a forward proxy.",
            Self::TransferCoding => "A transfer coding other than chunked is not supported.",
            Self::UpgradeRate => "Too many upgrades at once; try again in a second.",
            Self::RequestBody => "The request body is malformed or was cut off.",
            Self::ClientGone => "The client went away.",
            Self::Resolve => "The service's name could not be resolved.",
            Self::ConnectRefused => "The service refused the connection.",
            Self::ConnectTimeout => "The service did not accept the connection in time.",
            Self::UpstreamTls => "The TLS handshake with the service failed.",
            Self::UpstreamClosed => "The service closed the connection without an answer.",
            Self::UpstreamMalformed => "The service's answer is not valid HTTP/1.1.",
            Self::UpgradeTimeout => "The service did not answer the upgrade in time.",
            Self::ResponseTimeout => "The service did not answer in time.",
            Self::SwitchingInvalid => "The service's 101 is not a valid WebSocket handshake.",
            Self::SwitchingUnasked => "The service switched protocols without being validly asked to.",
            Self::Handover => "The connection could not be handed over to the tunnel.",
            Self::NoRandomness => "The proxy could not name the session.",
        }
    }

    /// The status the client gets, where it gets an answer at all.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::AddressLimit | Self::UpgradeRate => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::ClientTls
            | Self::ProxyUntrusted
            | Self::ProxyHeader
            | Self::ProxyTimeout
            | Self::RedirectLoop
            | Self::RedirectUnknown
            | Self::HeadMalformed
            | Self::Http2Protocol
            | Self::Http2Resets
            | Self::HostInvalid
            | Self::RequestBody
            | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::MethodConnect => StatusCode::METHOD_NOT_ALLOWED,
            Self::TransferCoding | Self::ConnectProtocol => StatusCode::NOT_IMPLEMENTED,
            Self::UpgradeTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Handover | Self::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Resolve
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::UpstreamTls
            | Self::UpstreamClosed
            | Self::UpstreamMalformed
            | Self::SwitchingInvalid
            | Self::SwitchingUnasked => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn side(self) -> Side {
        match self.stage() {
            Stage::Accept | Stage::Request => Side::Downstream,
            Stage::Connect | Stage::Response => Side::Upstream,
            Stage::Upgrade => Side::Proxy,
        }
    }

    /// How far the exchange had come.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::ClientTls
            | Self::AddressLimit
            | Self::ProxyUntrusted
            | Self::ProxyHeader
            | Self::ProxyTimeout
            | Self::RedirectLoop
            | Self::RedirectUnknown => Stage::Accept,
            Self::LoopDetected
            | Self::HeadTimeout
            | Self::HeadTooLarge
            | Self::HeadMalformed
            | Self::Http2Protocol
            | Self::Http2Resets
            | Self::ConnectProtocol
            | Self::HostInvalid
            | Self::MethodConnect
            | Self::TransferCoding
            | Self::UpgradeRate
            | Self::RequestBody
            | Self::ClientGone => Stage::Request,
            Self::Resolve | Self::ConnectRefused | Self::ConnectTimeout | Self::UpstreamTls => Stage::Connect,
            Self::UpstreamClosed
            | Self::UpstreamMalformed
            | Self::UpgradeTimeout
            | Self::ResponseTimeout
            | Self::SwitchingInvalid
            | Self::SwitchingUnasked => Stage::Response,
            Self::Handover | Self::NoRandomness => Stage::Upgrade,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// A fault with its cause. The cause is for logs only; the client is told [`Fault::sentence`].
#[derive(Debug)]
pub struct ConnectionError {
    /// What happened.
    pub fault: Fault,
    source: Option<Cause>,
}

impl ConnectionError {
    /// A fault with what led to it.
    pub fn new(fault: Fault, source: impl Into<Cause>) -> Self {
        Self { fault, source: Some(source.into()) }
    }
}

impl From<Fault> for ConnectionError {
    fn from(fault: Fault) -> Self {
        Self { fault, source: None }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault.as_str())?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for ConnectionError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_and_its_words_are_unique() {
        let mut words = std::collections::HashSet::new();
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault.index(), place, "{} is out of order", fault.as_str());
            assert!(words.insert(fault.as_str()));
            assert!(fault.status().is_client_error() || fault.status().is_server_error());
        }
        assert_eq!(Fault::NoRandomness.index() + 1, Fault::ALL.len());
    }
}
