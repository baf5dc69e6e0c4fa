//! Certificates, keys and roots: from files to what rustls wants, at the start and while serving.
//!
//! **Problem.** Certificates are files that somebody else replaces while thousands of sessions are open: the kubelet
//! by swapping a symlink, an agent by writing one file after the other, a person by copying the wrong one. A new
//! certificate must reach new connections without a restart; a bad one must reach nobody; an open session must not
//! notice either.
//!
//! **Decision.** The files are read again every [`LOOK_EVERY`] and compared by a hash of their content. No inotify:
//! a swapped symlink, a mounted volume and a network file system all look the same to a reader. Content that is
//! new has to stay the same for two looks before it is used, so that a half-written pair is not taken; what was read
//! is what is built, never a second reading. What builds is swapped in for the handshakes that follow ([`Live`]);
//! what does not leaves the last good one in place, is logged once for each content, and counted at each change.
//!
//! **What is judged.** A key that does not belong to its certificate, files that are empty, garbled or encrypted,
//! roots without a certificate: refused, at the start with exit code 64. A certificate that has expired is served at
//! the start with a warning, because not to start would take the service from those who do not look at the date,
//! too; but while a better one is in use it is not taken. See `docs/tls.md`.
//!
//! **Several names.** One pair for each; the client's SNI chooses, exactly first, then by `*.`; with none or an
//! unknown one it gets the first pair. Two pairs for one name (ECDSA and RSA) are told apart by what the client signs.
//!
//! **Limits.** A file of at most 1 MiB; 64 pairs. Revocation (CRL, OCSP) is not checked: the lifetime of a
//! certificate is its revocation here. Sessions that are open keep what they were opened with.

mod figures;
mod files;
mod live;
#[cfg(test)]
pub(in crate::proxy) mod made;
mod server;
#[cfg(test)]
mod tests;
mod upstream;

pub use figures::{Handshake, TlsCounters, TlsVersion};
pub use files::{Named, TlsProblem};
pub use live::{LOOK_EVERY, Live, Look};
pub use server::{ClientAuth, ServerFiles};
pub(super) use upstream::system_tls;
pub use upstream::{TlsSetupError, UpstreamFiles, client_tls};
