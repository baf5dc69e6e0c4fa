//! TLS of the real process: certificates change under open sessions, hot sessions lose nothing, and files that cannot
//! be used end the start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::guards::enough_descriptors;
use super::http::value_in;
use super::made::{Authority, Made};
use super::process::{Emulator, Process, Proxy, until};
use super::raw;
use super::shim::{Beyond, door};
use super::shim_http2;
use super::stage::{ALL_HOT, HOT, LEGACY, Stage};

const SESSIONS: usize = 1_000;

/// A folder as the kubelet mounts secrets: files are symlinks into `..data`, which is a symlink itself.
pub(crate) struct Mount(PathBuf);

impl Mount {
    fn new(name: &str, authority: &Authority, made: &Made) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("ca.crt"), authority.pem()).unwrap();
        let this = Self(path);
        this.swap("first", &made.cert, &made.key);
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(format!("..data/{name}"), this.0.join(name)).unwrap();
        }
        this
    }

    /// Puts other files in place at one stroke.
    fn swap(&self, version: &str, cert: &str, key: &str) {
        std::fs::create_dir_all(self.0.join(version)).unwrap();
        std::fs::write(self.0.join(version).join("tls.crt"), cert).unwrap();
        std::fs::write(self.0.join(version).join("tls.key"), key).unwrap();
        std::os::unix::fs::symlink(version, self.0.join("..data_tmp")).unwrap();
        std::fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Said in an environment: sessions are streams of HTTP/2.
const HTTP2: (&str, &str) = ("OVER_HTTP2", "1");

/// Where plain clients of a test connect: TLS is put around them if the proxy has a certificate, and HTTP/2 if asked for.
pub(crate) fn around(proxy: SocketAddr, env: &[(&str, &str)]) -> SocketAddr {
    let http2 = env.contains(&HTTP2);
    let door = secured(proxy, env, http2);
    if http2 { shim_http2::door(door) } else { door }
}

fn secured(proxy: SocketAddr, env: &[(&str, &str)], http2: bool) -> SocketAddr {
    let plain = env.iter().any(|(name, _)| *name == "PLAINLY");
    let Some((_, cert)) = env.iter().find(|(name, _)| *name == "CROSSFADE_TLS_CERT").filter(|_| !plain)
    else {
        return proxy;
    };
    let ca = std::fs::read(Path::new(cert).with_file_name("ca.crt")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let mut config = crossfade::proxy::client_tls(roots).unwrap();
    if http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    door(proxy, Beyond::Tls(Arc::new(config)))
}

async fn connect(proxy: SocketAddr, config: &Arc<rustls::ClientConfig>) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(proxy).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.unwrap()
}

fn shown(client: &TlsStream<TcpStream>) -> Vec<u8> {
    client.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(made: &Made) -> Vec<u8> {
    CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap().to_vec()
}

async fn all_echo(sessions: &mut [(TlsStream<TcpStream>, TcpStream)]) {
    for (number, (client, service)) in sessions.iter_mut().enumerate() {
        let said = u64::try_from(number).unwrap().to_be_bytes();
        let mut heard = [0; 8];
        client.write_all(&said).await.unwrap();
        service.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said, "up, session {number}");
        service.write_all(&heard).await.unwrap();
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said, "down, session {number}");
    }
}

#[tokio::test]
async fn a_new_certificate_closes_none_of_a_thousand_sessions() {
    if !enough_descriptors() {
        println!("left out: too few descriptors");
        return;
    }
    let authority = Authority::new();
    let [first, second] = [0, 1].map(|_| authority.issue(&["localhost"]));
    let mount = Mount::new("rotation", &authority, &first);
    let (cert, key) = (mount.path("tls.crt"), mount.path("tls.key"));
    let env = [("CROSSFADE_TLS_CERT", cert.as_str()), ("CROSSFADE_TLS_KEY", &key), ("PLAINLY", "1")];
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(service.local_addr().unwrap(), None, &env);
    // No tickets: each session shows the certificate that is in use.
    let mut config = authority.client();
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = connect(proxy.clients, &config).await;
        assert!(shown(&client) == der(&first));
        client.write_all(raw::UPGRADE.as_bytes()).await.unwrap();
        let (upstream, asked) = raw::upgraded(&service, "").await;
        assert_eq!(raw::field(&asked, "x-forwarded-proto").unwrap(), "https");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        sessions.push((client, upstream));
    }
    proxy.until_value(LEGACY, SESSIONS as f64).await;
    all_echo(&mut sessions).await;

    mount.swap("second", &second.cert, &second.key);
    proxy.until_value("crossfade_tls_reloads_total{outcome=\"applied\"}", 1.0).await;
    assert!(shown(&connect(proxy.clients, &config).await) == der(&second));
    all_echo(&mut sessions).await;

    mount.swap("bad", &first.cert, &second.key);
    proxy.until_value("crossfade_tls_reloads_total{outcome=\"refused\"}", 1.0).await;
    let said = proxy
        .process
        .line(|line| line.contains("is not the key of the certificate").then(|| line.to_owned()));
    assert!(said.contains("CROSSFADE_TLS_KEY") && said.contains("the last good ones stay in use"), "{said}");
    assert!(shown(&connect(proxy.clients, &config).await) == der(&second));
    all_echo(&mut sessions).await;

    let scrape = proxy.scrape().await;
    assert_eq!(value_in(&scrape, LEGACY), SESSIONS as f64, "none was closed");
    assert_eq!(value_in(&scrape, "crossfade_sessions_total{lane=\"legacy\"}"), SESSIONS as f64);
    for line in scrape.lines().filter(|line| line.starts_with("crossfade_sessions_ended_total")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
    assert_eq!(value_in(&scrape, "crossfade_tls_handshakes_total{outcome=\"full\"}"), (SESSIONS + 2) as f64);
    assert_eq!(value_in(&scrape, "crossfade_tls_versions_total{version=\"1.3\"}"), (SESSIONS + 2) as f64);
    assert!(value_in(&scrape, "crossfade_tls_certificate_expiry_seconds") > 1e9);
}

#[tokio::test]
async fn hot_sessions_under_tls_go_back_inside_their_sockets_and_lose_nothing() {
    let scrape = taken_back("hot-tls", true, &[]).await;
    assert!(value_in(&scrape, "crossfade_tls_handshakes_total{outcome=\"full\"}") >= 1.0, "{scrape}");
}

#[tokio::test]
async fn hot_sessions_over_http2_go_back_inside_their_streams_and_lose_nothing() {
    taken_back("hot-http2", false, &[HTTP2]).await;
}

#[tokio::test]
async fn hot_sessions_over_http2_under_tls_go_back_inside_their_streams_and_lose_nothing() {
    taken_back("hot-http2-tls", true, &[HTTP2]).await;
}

/// Sessions that become hot, and are put back on legacy by an outage: their logs are the same as the service's.
async fn taken_back(name: &str, tls: bool, more: &[(&str, &str)]) -> String {
    let authority = Authority::new();
    let mount = Mount::new(name, &authority, &authority.issue(&["localhost"]));
    let (cert, key) = (mount.path("tls.crt"), mount.path("tls.key"));
    let emulator = Emulator::start(&[]);
    let mut env = more.to_vec();
    env.extend(ALL_HOT);
    if tls {
        env.extend([("CROSSFADE_TLS_CERT", cert.as_str()), ("CROSSFADE_TLS_KEY", &key)]);
    }
    let stage = Stage::open(20, Some(&emulator), &env).await;
    stage.proxy.until_value(HOT, 20.0).await;
    stage.written(500).await;
    emulator.process.signal("KILL");
    stage.proxy.until_value(HOT, 0.0).await;
    stage.written(1_000).await;
    let scrape = stage.proxy.scrape().await;
    assert!(value_in(&scrape, "crossfade_hot_messages_total{how=\"via_realtime\"}") > 0.0, "{scrape}");
    stage.rest().await;
    stage.close_clean().await;
    scrape
}

#[tokio::test]
async fn files_that_cannot_be_used_end_the_start_with_64_all_at_once() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["a"]), authority.issue(&["a"]));
    let mount = Mount::new("refused", &authority, &Made { cert: one.cert, key: other.key });
    let (cert, key, nowhere) = (mount.path("tls.crt"), mount.path("tls.key"), mount.path("nowhere"));
    let env = [
        ("CROSSFADE_UPSTREAM", "wss://127.0.0.1:1"),
        ("CROSSFADE_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_TLS_CERT", cert.as_str()),
        ("CROSSFADE_TLS_KEY", &key),
        ("CROSSFADE_UPSTREAM_CA", &nowhere),
    ];
    let mut process = Process::start(&["run"], &env);
    assert_eq!(process.ended().await.code(), Some(64));
    let expect = [
        ("CROSSFADE_TLS_KEY", "is not the key of the certificate in"),
        ("CROSSFADE_UPSTREAM_CA", "cannot be read"),
    ];
    for (variable, what) in expect {
        let said = |line: &str| line.contains(variable) && line.contains(what);
        until(variable, async || process.output().lines().any(said).then_some(())).await;
    }
    assert!(!process.output().contains("listening"), "{}", process.output());
}
