//! Files that variables name, read whole and once, and what is in them: certificates, a key, roots. No error
//! repeats what a file holds.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use webpki::{EndEntityCert, KeyUsage};

/// The largest file. Bundles of public roots have a quarter of it.
const FILE_MAX: u64 = 1 << 20;

/// The hash of everything that was read.
pub(super) type Digest = [u8; 32];

/// A file, and the variable that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The variable.
    pub variable: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// What is wrong with a file, and whose variable to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblem {
    /// The variable to change, or whose file to replace.
    pub variable: &'static str,
    path: PathBuf,
    what: String,
}

impl TlsProblem {
    /// The problem without the variable's name.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{} {}", self.path.display(), self.what)
    }
}

impl TlsProblem {
    /// What is wrong, without the figures in it.
    pub(super) fn kind(&self) -> &str {
        self.what.split(|c: char| c.is_ascii_digit()).next().unwrap_or(&self.what)
    }
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.sentence())
    }
}

impl Named {
    pub(super) fn problem(&self, what: impl Into<String>) -> TlsProblem {
        TlsProblem { variable: self.variable, path: self.path.clone(), what: what.into() }
    }
}

/// All files of one side at one moment.
pub(super) struct Snapshot(Vec<Result<Vec<u8>, String>>);

impl Snapshot {
    pub(super) fn take(files: &[Named]) -> Self {
        Self(files.iter().map(|file| read(&file.path)).collect())
    }

    pub(super) fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for file in &self.0 {
            let (mark, content) = match file {
                Ok(bytes) => (0, bytes.as_slice()),
                Err(what) => (1, what.as_bytes()),
            };
            hash.update([mark]);
            hash.update((content.len() as u64).to_be_bytes());
            hash.update(content);
        }
        hash.finalize().into()
    }

    /// What file number `index`, which is `named`, holds.
    pub(super) fn bytes(&self, index: usize, named: &Named) -> Result<&[u8], TlsProblem> {
        match self.0.get(index) {
            Some(Ok(bytes)) if bytes.is_empty() => Err(named.problem("is empty")),
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(what)) => Err(named.problem(what.as_str())),
            None => Err(named.problem("was not read")),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read ({error})");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX { Err("is larger than 1 MiB".to_owned()) } else { Ok(bytes) }
}

/// The certificates of a PEM file, in its order.
pub(super) fn certificates(named: &Named, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = read.map_err(|_| named.problem("is not valid PEM: a block is cut off or garbled"))?;
    if found.is_empty() {
        let key = contains(bytes, b"PRIVATE KEY-----");
        let what =
            if key { "holds a key where a certificate is expected" } else { "holds no certificate in PEM" };
        return Err(named.problem(what));
    }
    Ok(found)
}

fn key(named: &Named, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    if contains(bytes, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(bytes, b"Proc-Type: 4,ENCRYPTED") {
        return Err(named.problem("is encrypted; give the key without a passphrase"));
    }
    PrivateKeyDer::from_pem_slice(bytes)
        .map_err(|_| named.problem("holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1)"))
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// A certificate chain with its key.
pub(super) fn pair(
    provider: &CryptoProvider,
    (cert, cert_bytes): (&Named, Result<&[u8], TlsProblem>),
    (secret, key_bytes): (&Named, Result<&[u8], TlsProblem>),
) -> Result<Arc<CertifiedKey>, Vec<TlsProblem>> {
    let chain = cert_bytes.and_then(|bytes| certificates(cert, bytes));
    let private = key_bytes.and_then(|bytes| key(secret, bytes));
    let (chain, private) = match (chain, private) {
        (Ok(chain), Ok(private)) => (chain, private),
        (chain, private) => return Err([chain.err(), private.err()].into_iter().flatten().collect()),
    };
    if let Some(leaf) = chain.first()
        && EndEntityCert::try_from(leaf).is_err()
    {
        return Err(vec![cert.problem("begins with a block that is no X.509 version 3 certificate")]);
    }
    CertifiedKey::from_der(chain, private, provider).map(Arc::new).map_err(|error| {
        vec![match error {
            rustls::Error::InconsistentKeys(_) => {
                secret.problem(format!("is not the key of the certificate in {}", cert.path.display()))
            }
            _ => secret
                .problem("holds a key of a kind that is not supported (RSA, ECDSA P-256/P-384, Ed25519 are)"),
        }]
    })
}

/// Roots of trust.
pub(super) fn roots(named: &Named, bytes: &[u8]) -> Result<RootCertStore, TlsProblem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(named, bytes)? {
        roots
            .add(certificate)
            .map_err(|_| named.problem("holds a block that is no certificate of an authority"))?;
    }
    Ok(roots)
}

/// When a certificate begins and ceases to be valid, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: u64,
    pub(super) not_after: u64,
}

impl Validity {
    /// Reads it off the refusals of the verifier, who looks at the dates before anything else: far behind and far
    /// ahead of them. `None` where it has another opinion.
    pub(super) fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let cert = EndEntityCert::try_from(leaf).ok()?;
        let judge = |secs| {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(secs));
            cert.verify_for_usage(&[], &[], &[], at, KeyUsage::server_auth(), None, None).err()
        };
        let Some(webpki::Error::CertExpired { not_after, .. }) = judge(u64::MAX) else { return None };
        let not_before = match judge(0) {
            Some(webpki::Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
            _ => 0,
        };
        Some(Self { not_before, not_after: not_after.as_secs() })
    }

    /// What is wrong with it at this time.
    pub(super) fn problem(self, now: UnixTime) -> Option<String> {
        let now = now.as_secs();
        let ago = |secs: u64| humantime::format_duration(Duration::from_secs(secs)).to_string();
        if now > self.not_after {
            Some(format!("has expired {} ago", ago(now - self.not_after)))
        } else if now < self.not_before {
            Some(format!("is valid only in {}", ago(self.not_before - now)))
        } else {
            None
        }
    }
}
