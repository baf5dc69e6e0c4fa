//! TLS on either side, with an authority made for these tests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, RootCertStore, ServerConnection, StreamOwned};

use super::super::tls::made::{Authority, Made};
use super::super::*;
use super::world::*;

/// The authority and its one certificate, for localhost.
static CERTIFIED: LazyLock<(Authority, Made)> = LazyLock::new(|| {
    let authority = Authority::new();
    let made = authority.issue(&["localhost", "127.0.0.1"]);
    (authority, made)
});

fn server() -> rustls::ServerConfig {
    let made = &CERTIFIED.1;
    let chain = vec![CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFIED.0.pem().as_bytes()).unwrap()).unwrap();
    roots
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
