//! How handshakes end, on either side. The words are metric labels and rows of `docs/tls.md`.

use std::io;

use rustls::{Error, HandshakeKind, ProtocolVersion};

use crate::proxy::counters::Count;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// From nothing.
    Full,
    /// With a ticket of an earlier one.
    Resumed,
    /// Not in time.
    Timeout,
    /// The peer left or was cut off.
    Gone,
    /// The peer does not speak TLS.
    NotTls,
    /// No version, cipher suite, signature or protocol in common.
    Incompatible,
    /// The peer's certificate is missing or not believed.
    PeerCertificate,
    /// The peer ended it with an alert; most often it does not believe our certificate.
    Alert,
    /// Anything else.
    Failed,
}

impl Handshake {
    /// Every outcome, in label order.
    pub const ALL: [Self; 9] = [
        Self::Full,
        Self::Resumed,
        Self::Timeout,
        Self::Gone,
        Self::NotTls,
        Self::Incompatible,
        Self::PeerCertificate,
        Self::Alert,
        Self::Failed,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Timeout => "timeout",
            Self::Gone => "gone",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::PeerCertificate => "peer_certificate",
            Self::Alert => "alert",
            Self::Failed => "failed",
        }
    }

    /// The outcome that an error of tokio-rustls stands for.
    pub(in crate::proxy) fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::Gone;
        };
        match error {
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Self::NotTls,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => Self::PeerCertificate,
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Failed,
        }
    }
}

/// The version that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl TlsVersion {
    /// Every version, in label order.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// Handshakes of one side.
#[derive(Debug, Default)]
pub struct TlsCounters {
    outcomes: [Count; Handshake::ALL.len()],
    versions: [Count; TlsVersion::ALL.len()],
    /// Changes of the files that were put to use.
    pub reloaded: Count,
    /// Changes of the files that could not be used.
    pub refused: Count,
}

impl TlsCounters {
    /// Handshakes that ended so.
    #[must_use]
    pub fn outcome(&self, outcome: Handshake) -> &Count {
        &self.outcomes[outcome as usize]
    }

    /// Handshakes that agreed on this version.
    #[must_use]
    pub fn version(&self, version: TlsVersion) -> &Count {
        &self.versions[version as usize]
    }

    /// Counts a handshake that succeeded.
    pub(in crate::proxy) fn succeeded(&self, connection: &rustls::CommonState) {
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        self.outcome(if resumed { Handshake::Resumed } else { Handshake::Full }).add();
        let v13 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        self.version(if v13 { TlsVersion::V13 } else { TlsVersion::V12 }).add();
    }
}
