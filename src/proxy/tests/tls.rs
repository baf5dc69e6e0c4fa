//! TLS on either side, with an authority made for these tests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, RootCertStore, ServerConnection, StreamOwned};

use super::super::tls::made::{Authority, Made};
use super::super::tls::{Handshake, TlsVersion};
use super::super::*;
use super::world::*;

type SecureClient = StreamOwned<ClientConnection, TcpStream>;
type SecureServer = StreamOwned<ServerConnection, TcpStream>;

/// The authority and its one certificate, for localhost.
static CERTIFIED: LazyLock<(Authority, Made)> = LazyLock::new(|| {
    let authority = Authority::new();
    let made = authority.issue(&["localhost", "127.0.0.1"]);
    (authority, made)
});

pub(super) fn server() -> rustls::ServerConfig {
    CERTIFIED.1.server()
}

pub(super) fn client() -> rustls::ClientConfig {
    CERTIFIED.0.client()
}

pub(super) fn roots() -> RootCertStore {
    CERTIFIED.0.roots()
}

fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn exactly(stream: &mut impl Read, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A proxy that speaks TLS to clients and to a service that claims to be `host`.
fn world(host: &str, roots: RootCertStore) -> World {
    World::with(|config| {
        let port = config.upstream.port();
        config.upstream = Target::service(&format!("wss://{host}:{port}")).unwrap();
        config.upstream_tls = Some(tls::Live::fixed(client_tls(roots).unwrap()));
        config.tls = Some(tls::Live::fixed(server()));
    })
}

fn secure_client(world: &World) -> StreamOwned<ClientConnection, TcpStream> {
    let config = Arc::new(client_tls(roots()).unwrap());
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), world.client().stream)
}

fn secure_service(world: &World) -> StreamOwned<ServerConnection, TcpStream> {
    let connection = ServerConnection::new(Arc::new(server())).unwrap();
    StreamOwned::new(connection, world.service.accept().stream)
}

#[test]
fn sessions_and_plain_requests_pass_under_tls_on_both_sides() {
    let world = world("127.0.0.1", roots());
    let mut client = secure_client(&world);
    client.write_all(GET.as_bytes()).unwrap();
    let mut service = secure_service(&world);
    assert_eq!(field(&head(&mut service), "x-forwarded-proto"), "https");
    service.write_all(OK.as_bytes()).unwrap();
    head(&mut client);
    assert_eq!(exactly(&mut client, 2), b"ok");

    client.write_all(UPGRADE.as_bytes()).unwrap();
    client.write_all(b"early up").unwrap();
    let mut service = secure_service(&world);
    head(&mut service);
    service.write_all(&[SWITCH.as_bytes(), b"early down"].concat()).unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
    assert_eq!(exactly(&mut client, 10), b"early down");
    assert_eq!(exactly(&mut service, 8), b"early up");
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut rest = Vec::new();
    service.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn a_service_whose_certificate_nobody_vouches_for_is_not_spoken_to() {
    let world = World::with(|config| {
        config.upstream = Target::service(&format!("https://127.0.0.1:{}", config.upstream.port())).unwrap();
        config.upstream_tls = Some(tls::Live::fixed(client_tls(RootCertStore::empty()).unwrap()));
    });
    for request in [GET, UPGRADE] {
        let mut client = world.client_says(request);
        let mut service = secure_service(&world);
        assert!(service.read(&mut [0]).is_err());
        client.refusal(502, Fault::UpstreamTls);
    }
}

#[test]
fn a_client_without_tls_costs_only_itself() {
    let world = world("127.0.0.1", roots());
    let mut client = world.client_says(GET);
    client.finish();
    client.rest();
    world.until("it to be counted", |counters| counters.faults(Fault::ClientTls).value() == 1);
    let mut client = secure_client(&world);
    client.write_all(GET.as_bytes()).unwrap();
    head(&mut secure_service(&world));
}

#[test]
fn plain_requests_share_one_connection_under_tls() {
    let world = world("127.0.0.1", roots());
    let mut client = secure_client(&world);
    let mut service = None;
    for _ in 0..3 {
        client.write_all(GET.as_bytes()).unwrap();
        let service = service.get_or_insert_with(|| secure_service(&world));
        head(service);
        service.write_all(OK.as_bytes()).unwrap();
        head(&mut client);
        assert_eq!(exactly(&mut client, 2), b"ok");
    }
    assert!(world.service.is_left_alone());
    let (clients, upstream) = (&world.running.counters().tls, world.running.shared());
    for figures in [clients, upstream.upstream.figures()] {
        assert_eq!(figures.outcome(Handshake::Full).value(), 1);
        assert_eq!(figures.version(TlsVersion::V13).value(), 1);
    }
}

#[test]
fn a_service_must_prove_the_name_that_it_is_asked_for() {
    // The certificate names localhost and 127.0.0.1; the address is another.
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for (name, trusted) in [(None, false), (Some("other.example"), false), (Some("localhost"), true)] {
        let dialer = Dialer::new(
            Target::service(&format!("https://127.0.0.2:{port}")).unwrap(),
            Some(tls::Live::fixed(client_tls(roots()).unwrap())),
            HANG,
            Tcp::default(),
        )
        .unwrap()
        .named(name.map(|name| ServerName::try_from(name).unwrap()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let serving = std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let connection = ServerConnection::new(Arc::new(server())).unwrap();
                let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
                stream.read(&mut [0]).map(drop)
            });
            let dialled = runtime.block_on(dialer.dial());
            match (dialled, trusted) {
                (Ok(io), true) => assert!(io.is_tls()),
                (Err(error), false) => {
                    assert_eq!(error.fault, Fault::UpstreamTls);
                    assert!(error.to_string().contains("not valid for name"), "{error}");
                    assert_eq!(dialer.figures().outcome(Handshake::PeerCertificate).value(), 1);
                }
                (found, _) => panic!("{name:?}: {found:?}"),
            }
            serving.join().unwrap()
        });
        drop(serving);
    }
}

/// A session under TLS on both sides.
fn session(world: &World) -> (SecureClient, SecureServer) {
    let mut client = secure_client(world);
    client.write_all(UPGRADE.as_bytes()).unwrap();
    let mut service = secure_service(world);
    head(&mut service);
    service.write_all(SWITCH.as_bytes()).unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
    (client, service)
}

#[test]
fn an_end_without_close_notify_passes_as_one_after_all_bytes() {
    let world = world("127.0.0.1", roots());
    let cut = |tcp: &TcpStream| tcp.shutdown(std::net::Shutdown::Write).unwrap();
    let rest = |stream: &mut dyn Read| {
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes).map_err(|error| error.kind());
        (bytes, ended.map(drop))
    };
    let many = vec![b'x'; 1 << 20];
    // From the client, with the other direction still open.
    let (mut client, mut service) = session(&world);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&many).unwrap();
            cut(&client.sock);
        });
        let (bytes, ended) = rest(&mut service);
        assert!(bytes == many && ended == Err(std::io::ErrorKind::UnexpectedEof), "{ended:?}");
    });
    service.write_all(b"still here").unwrap();
    assert_eq!(exactly(&mut client, 10), b"still here");
    service.conn.send_close_notify();
    service.flush().unwrap();
    cut(&service.sock);
    assert_eq!(rest(&mut client), (Vec::new(), Ok(())), "an orderly end stays one");
    // From the service.
    let (mut client, mut service) = session(&world);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            service.write_all(&many).unwrap();
            cut(&service.sock);
        });
        let (bytes, ended) = rest(&mut client);
        assert!(bytes == many && ended == Err(std::io::ErrorKind::UnexpectedEof), "{ended:?}");
    });
}

#[test]
fn clients_show_certificates_where_they_must() {
    let folder = std::env::temp_dir().join(format!("crossfade-mtls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |variable, name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        tls::Named { variable, path }
    };
    let clients = Authority::new();
    let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_780_000_000));
    for auth in [tls::ClientAuth::Required, tls::ClientAuth::Optional] {
        let files = tls::ServerFiles {
            pairs: vec![(file("C", "crt", &CERTIFIED.1.cert), file("K", "key", &CERTIFIED.1.key))],
            client_ca: Some((file("A", "ca", &clients.pem()), auth)),
            http2: true,
        };
        let world = World::with(|config| config.tls = Some(files.open(now).unwrap()));
        let own = clients.issue(&["somebody"]);
        let strange = Authority::new().issue(&["somebody"]);
        let optional = auth == tls::ClientAuth::Optional;
        for (shown, let_in) in [(Some(&own), true), (None, optional), (Some(&strange), false)] {
            let pair = shown.map(|made| (file("C", "own.crt", &made.cert), file("K", "own.key", &made.key)));
            let roots = file("R", "roots", &CERTIFIED.0.pem());
            let config = tls::UpstreamFiles { ca: Some(roots), pair }.open(now).unwrap().load();
            let name = ServerName::try_from("localhost").unwrap();
            let connection = ClientConnection::new(config, name).unwrap();
            let mut client = StreamOwned::new(connection, world.client().stream);
            let written = client.write_all(GET.as_bytes()).and_then(|()| client.flush());
            if let_in {
                written.unwrap();
                let mut service = world.service.accept();
                service.head();
                service.send(OK);
                assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
                service.finish();
            } else {
                assert!(written.and_then(|()| client.read(&mut [0]).map(drop)).is_err());
            }
        }
        let refused = |counters: &Counters| counters.tls.outcome(Handshake::PeerCertificate).value();
        world.until("they are counted", |counters| refused(counters) == if optional { 1 } else { 2 });
        assert!(world.service.is_left_alone());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_service_behind_a_unix_socket_is_served_as_any_other() {
    let path = std::env::temp_dir().join(format!("crossfade-unix-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let world =
        World::with(|config| config.upstream = Target::service(&format!("unix:{}", path.display())).unwrap());
    let mut client = world.client_says(GET);
    let (mut service, _) = listener.accept().unwrap();
    service.set_read_timeout(Some(HANG)).unwrap();
    assert!(head(&mut service).contains("\r\nHost: chat.example\r\n"));
    service.write_all(OK.as_bytes()).unwrap();
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.exactly(2), b"ok");
    drop(service);
    client.send([UPGRADE, "up"].concat());
    let (mut service, _) = listener.accept().unwrap();
    service.set_read_timeout(Some(HANG)).unwrap();
    head(&mut service);
    service.write_all(&[SWITCH, "down"].concat().into_bytes()).unwrap();
    client.head();
    assert_eq!((client.exactly(4), exactly(&mut service, 2)), (b"down".to_vec(), b"up".to_vec()));
    client.finish();
    assert_eq!(service.read(&mut [0]).unwrap(), 0);
    drop(service);
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
    std::fs::remove_file(&path).unwrap();
    world.client_says(GET).refusal(502, Fault::ConnectRefused);
}
