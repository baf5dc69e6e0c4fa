//! TLS towards clients: which certificate for which name, and whether a client has to show one.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::files::{Named, Snapshot, TlsProblem, Validity, pair, roots};
use super::live::{Built, Live};

/// What a client has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A certificate of one of the authorities.
    Required,
    /// The same, or nothing.
    Optional,
}

/// The files of the side towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Certificate chain and key, one pair for each set of names. The first is for clients that name none.
    pub pairs: Vec<(Named, Named)>,
    /// Authorities that vouch for clients.
    pub client_ca: Option<(Named, ClientAuth)>,
    /// Offers HTTP/2, which clients prefer, besides HTTP/1.1.
    pub http2: bool,
}

impl ServerFiles {
    /// Reads them.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn open(self, now: UnixTime) -> Result<Arc<Live<ServerConfig>>, Vec<TlsProblem>> {
        let pairs = self.pairs.iter().flat_map(|(cert, key)| [cert.clone(), key.clone()]);
        let files = pairs.chain(self.client_ca.iter().map(|(ca, _)| ca.clone())).collect();
        Live::open(files, Box::new(move |snapshot, now| self.build(snapshot, now)), now)
    }

    fn build(&self, snapshot: &Snapshot, now: UnixTime) -> Result<Built<ServerConfig>, Vec<TlsProblem>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (mut problems, mut warnings, mut expires) = (Vec::new(), Vec::new(), None::<u64>);
        let mut names = Names::default();
        for (index, (cert, key)) in self.pairs.iter().enumerate() {
            let bytes = |offset, named| snapshot.bytes(index * 2 + offset, named);
            match pair(&provider, (cert, bytes(0, cert)), (key, bytes(1, key))) {
                Err(more) => problems.extend(more),
                Ok(certified) => {
                    if let Some(validity) = certified.cert.first().and_then(Validity::of) {
                        expires = Some(expires.map_or(validity.not_after, |at| at.min(validity.not_after)));
                        warnings.extend(validity.problem(now).map(|what| cert.problem(what)));
                    }
                    names.add(certified);
                }
            }
        }
        let client = self.client_ca.as_ref().map(|(ca, auth)| {
            let bytes = snapshot.bytes(self.pairs.len() * 2, ca)?;
            Ok((ca, roots(ca, bytes)?, *auth))
        });
        let client = client.transpose().map_err(|problem| problems.push(problem)).unwrap_or(None);
        let Some(first) = self.pairs.first().filter(|_| problems.is_empty()) else { return Err(problems) };
        let mut value = server_config(provider, names, client)
            .map_err(|(named, why)| vec![named.unwrap_or(&first.0).problem(why)])?;
        if self.http2 {
            value.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Built { value, expires, warnings })
    }
}

type Client<'a> = (&'a Named, rustls::RootCertStore, ClientAuth);

fn server_config(
    provider: Arc<CryptoProvider>,
    names: Names,
    client: Option<Client<'_>>,
) -> Result<ServerConfig, (Option<&Named>, String)> {
    let refused = |error: rustls::Error| (None, format!("is refused by TLS ({error})"));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some((ca, roots, auth)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier =
                verifier.build().map_err(|error| (Some(ca), format!("cannot be used ({error})")))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(names));
    // A ticket is read only by the settings that wrote it: authorities that were taken away stay away.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Certificates by the names they carry.
#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    first: Vec<Arc<CertifiedKey>>,
}

impl Names {
    fn add(&mut self, certified: Arc<CertifiedKey>) {
        if let Some(cert) = certified.cert.first().and_then(|leaf| EndEntityCert::try_from(leaf).ok()) {
            for name in cert.valid_dns_names() {
                self.by_name.entry(name.to_ascii_lowercase()).or_default().push(Arc::clone(&certified));
            }
        }
        if self.first.is_empty() {
            self.first.push(certified);
        }
    }

    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let exact = name.map(str::to_ascii_lowercase);
        let found = exact.and_then(|name| {
            let wild = || name.split_once('.').and_then(|(_, rest)| self.by_name.get(&format!("*.{rest}")));
            self.by_name.get(&name).or_else(wild)
        });
        found.unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fitting = self.of(hello.server_name());
        let usable = fitting.iter().find(|one| one.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or(fitting.first()).cloned()
    }
}
