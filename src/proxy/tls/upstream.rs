//! TLS towards the service: whom we believe, and what we show if we are asked.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::files::{Named, Snapshot, TlsProblem, Validity, pair, roots};
use super::live::{Built, Live};

/// TLS is asked for and cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The host in the URL is not a name a certificate can carry.
    #[error("the host is no valid TLS server name")]
    ServerName,
    /// No root certificate in the system's store.
    #[error("no root certificates found")]
    Roots,
    /// rustls does not want these settings.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The files of the side towards the service. At least one of them is given; without `ca` the system's roots are
/// believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFiles {
    /// Authorities that vouch for the service.
    pub ca: Option<Named>,
    /// Our own certificate and key.
    pub pair: Option<(Named, Named)>,
}

impl UpstreamFiles {
    /// Reads them.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn open(self, now: UnixTime) -> Result<Arc<Live<ClientConfig>>, Vec<TlsProblem>> {
        let pair = self.pair.iter().flat_map(|(cert, key)| [cert.clone(), key.clone()]);
        let files = self.ca.iter().cloned().chain(pair).collect();
        Live::open(files, Box::new(move |snapshot, now| self.build(snapshot, now)), now)
    }

    fn build(&self, snapshot: &Snapshot, now: UnixTime) -> Result<Built<ClientConfig>, Vec<TlsProblem>> {
        let any = self.ca.as_ref().or(self.pair.as_ref().map(|(cert, _)| cert));
        let blame = |error: TlsSetupError| -> Vec<TlsProblem> {
            any.map(|named| named.problem(format!("cannot be used ({error})"))).into_iter().collect()
        };
        let (mut problems, mut warnings, mut expires) = (Vec::new(), Vec::new(), None);
        let believed = match &self.ca {
            Some(ca) => snapshot.bytes(0, ca).and_then(|bytes| roots(ca, bytes)),
            None => Ok(system().map_err(blame)?),
        };
        let believed = believed.map_err(|problem| problems.push(problem)).ok();
        let mut own = None;
        if let Some((cert, key)) = &self.pair {
            let at = usize::from(self.ca.is_some());
            let provider = rustls::crypto::ring::default_provider();
            let read = (snapshot.bytes(at, cert), snapshot.bytes(at + 1, key));
            match pair(&provider, (cert, read.0), (key, read.1)) {
                Err(more) => problems.extend(more),
                Ok(certified) => {
                    let validity = certified.cert.first().and_then(Validity::of);
                    expires = validity.map(|validity| validity.not_after);
                    let wrong = validity.and_then(|validity| validity.problem(now));
                    warnings.extend(wrong.map(|what| cert.problem(what)));
                    own = Some(certified);
                }
            }
        }
        let Some(believed) = believed.filter(|_| problems.is_empty()) else { return Err(problems) };
        let mut value = client_tls(believed).map_err(blame)?;
        if let Some(own) = own {
            value.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::unwrap_or_clone(own)));
        }
        Ok(Built { value, expires, warnings })
    }
}

fn system() -> Result<RootCertStore, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsSetupError::Roots) } else { Ok(roots) }
}

/// TLS towards a service that the system's roots vouch for.
pub(in crate::proxy) fn system_tls() -> Result<ClientConfig, TlsSetupError> {
    client_tls(system()?)
}

/// TLS towards a service whose certificate chains to one of `roots`; ring provider, HTTP/1.1 only.
///
/// # Errors
/// When rustls refuses its own default versions, which a build without them would.
pub fn client_tls(roots: RootCertStore) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
