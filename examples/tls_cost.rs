//! What TLS costs: handshakes per second, echoes per second with TLS on no side, on the client's and on both, and what
//! sessions cost to open and to keep (in a process of its own, by its resident memory).
//! Prints figures and judges nothing: `cargo run --release --example tls_cost`. All runs are interleaved in one
//! process, so that the ratio means something on a noisy machine; the certificates are made on the spot.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use crossfade::proxy::tls::Live;
use crossfade::proxy::{Config, Mirroring, Running, Server, Target, Verdict};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

const HANDSHAKES: u32 = 500;
const ROUNDS: u32 = 5;
const ECHOES: u32 = 4_000;
/// Sessions that are opened and kept.
const IDLE: u32 = 2_000;
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

type Failure = Box<dyn Error + Send + Sync>;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<(), Failure> {
    if let Ok(service) = std::env::var("TLS_COST_SERVICE") {
        return alone(&service);
    }
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let own = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let mut believes = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    believes.resumption = rustls::client::Resumption::disabled();
    let (own, believes) = (Arc::new(own), Arc::new(believes));

    let setups =
        [("plain", false, false), ("TLS to clients", true, false), ("TLS on both sides", true, true)];
    let mut stages = Vec::new();
    for (name, near, far) in setups {
        stages.push((name, Stage::open(near, far, &own, &believes)?, 0.0));
    }
    let secure = &stages[1].1;
    let began = now();
    for _ in 0..HANDSHAKES {
        let mut connection =
            ClientConnection::new(Arc::clone(&believes), ServerName::try_from("localhost")?)?;
        connection.complete_io(&mut TcpStream::connect(secure.running.local_addr())?)?;
    }
    let rate = f64::from(HANDSHAKES) / began.elapsed().as_secs_f64();
    println!(
        "{rate:.0} full handshakes/s (TLS 1.3, ECDSA P-256, one after the other, both ends on this machine)"
    );
    for _ in 0..ROUNDS {
        for (_, stage, seconds) in &mut stages {
            let began = now();
            stage.echo(ECHOES)?;
            *seconds += began.elapsed().as_secs_f64();
        }
    }
    let rate = |seconds: f64| f64::from(ROUNDS * ECHOES) / seconds;
    let plain = rate(stages[0].2);
    for (name, _, seconds) in &stages {
        println!("{name:18} {:8.0} echoes/s  {:.2} of plain", rate(*seconds), rate(*seconds) / plain);
    }
    let pem = (made.cert.pem(), made.signing_key.serialize_pem());
    let figures = [kept(None, &believes)?, kept(Some(&pem), &believes)?];
    for (name, (seconds, bytes)) in ["plain", "TLS to clients"].iter().zip(figures) {
        println!(
            "{name:18} {:8.0} sessions/s opened, {:.2} times plain; {:.1} KiB each, idle",
            f64::from(IDLE) / seconds,
            seconds / figures[0].0,
            bytes / f64::from(IDLE) / 1024.0
        );
    }
    Ok(())
}

/// Opens sessions through a proxy that is alone in its process. Seconds, and the bytes by which it has grown.
fn kept(pem: Option<&(String, String)>, believes: &Arc<ClientConfig>) -> Result<(f64, f64), Failure> {
    let service = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env("TLS_COST_SERVICE", service.local_addr()?.to_string());
    if let Some((cert, key)) = pem {
        command.env("TLS_COST_CERT", cert).env("TLS_COST_KEY", key);
    }
    // It ends when its input does.
    let mut proxy = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut address = String::new();
    BufReader::new(proxy.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let address: SocketAddr = address.trim().parse()?;
    let mut held = Vec::new();
    // Some to warm up, which are no part of the figures.
    for _ in 0..64 {
        held.push(session(address, &service, pem.map(|_| believes))?);
    }
    let (before, began) = (resident(&proxy)?, now());
    for _ in 0..IDLE {
        held.push(session(address, &service, pem.map(|_| believes))?);
    }
    let seconds = began.elapsed().as_secs_f64();
    let grown = resident(&proxy)? - before;
    drop(proxy.stdin.take());
    proxy.wait()?;
    Ok((seconds, grown))
}

type Held = (Box<dyn Stream>, TcpStream);

fn session(to: SocketAddr, service: &TcpListener, tls: Option<&Arc<ClientConfig>>) -> Result<Held, Failure> {
    let tcp = TcpStream::connect(to)?;
    tcp.set_nodelay(true)?;
    let mut client: Box<dyn Stream> = match tls {
        None => Box::new(tcp),
        Some(tls) => {
            let connection = ClientConnection::new(Arc::clone(tls), ServerName::try_from("localhost")?)?;
            Box::new(StreamOwned::new(connection, tcp))
        }
    };
    client.write_all(UPGRADE)?;
    let (mut far, _) = service.accept()?;
    head(&mut far)?;
    far.write_all(SWITCH)?;
    head(&mut *client)?;
    Ok((client, far))
}

fn resident(process: &Child) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

/// The proxy and nothing else, until its input ends.
fn alone(service: &str) -> Result<(), Failure> {
    let mut config = Config::new(Target::service(&format!("ws://{service}"))?);
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.workers = Some(1);
    if let (Ok(cert), Ok(key)) = (std::env::var("TLS_COST_CERT"), std::env::var("TLS_COST_KEY")) {
        let own = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes())?],
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )?;
        config.tls = Some(Live::fixed(own));
    }
    let running = Server::start(config, Arc::new(|_, _| Verdict::LEGACY), Mirroring::off())?;
    println!("{}", running.local_addr());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A proxy, a session through it, and a service that echoes.
struct Stage {
    running: Running,
    client: Box<dyn Stream>,
}

impl Stage {
    fn open(
        near: bool,
        far: bool,
        own: &Arc<ServerConfig>,
        believes: &Arc<ClientConfig>,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let scheme = if far { "wss" } else { "ws" };
        let port = listener.local_addr()?.port();
        let mut config = Config::new(Target::service(&format!("{scheme}://localhost:{port}"))?);
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.workers = Some(1);
        config.tls = near.then(|| Live::fixed(ServerConfig::clone(own)));
        config.upstream_tls = far.then(|| Live::fixed(ClientConfig::clone(believes)));
        let running = Server::start(config, Arc::new(|_, _| Verdict::LEGACY), Mirroring::off())?;
        let own = far.then(|| Arc::clone(own));
        std::thread::spawn(move || serve(&listener, own));
        let tcp = TcpStream::connect(running.local_addr())?;
        tcp.set_nodelay(true)?;
        let mut client: Box<dyn Stream> = if near {
            let connection = ClientConnection::new(Arc::clone(believes), ServerName::try_from("localhost")?)?;
            Box::new(StreamOwned::new(connection, tcp))
        } else {
            Box::new(tcp)
        };
        client.write_all(UPGRADE)?;
        head(&mut *client)?;
        Ok(Self { running, client })
    }

    /// 64-byte frames there and back.
    fn echo(&mut self, times: u32) -> Result<(), Failure> {
        let mut frame = [0_u8; 64];
        (frame[0], frame[1]) = (0x82, 0x80 | 58);
        let mut back = [0; 64];
        for _ in 0..times {
            self.client.write_all(&frame)?;
            self.client.read_exact(&mut back)?;
        }
        Ok(())
    }
}

fn serve(listener: &TcpListener, own: Option<Arc<ServerConfig>>) -> Result<(), Failure> {
    let (tcp, _) = listener.accept()?;
    tcp.set_nodelay(true)?;
    let mut stream: Box<dyn Stream> = match own {
        Some(own) => Box::new(StreamOwned::new(ServerConnection::new(own)?, tcp)),
        None => Box::new(tcp),
    };
    head(&mut *stream)?;
    stream.write_all(SWITCH)?;
    let mut frame = [0; 64];
    loop {
        stream.read_exact(&mut frame)?;
        stream.write_all(&frame)?;
    }
}

fn head(stream: &mut dyn Stream) -> Result<(), Failure> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(())
}
