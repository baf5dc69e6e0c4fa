//! The PROXY protocol on the wire: who may say whose connection it is, and what the service is told.

use std::time::Duration;

use super::super::proxy_protocol::{Header, Parser, Version};
use super::super::*;
use super::world::*;

const LINE: &str = "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";

fn accepting(more: impl FnOnce(&mut Config)) -> World {
    World::with(|config| {
        config.proxy_protocol = true;
        config.trusted = Trusted::new(vec!["127.0.0.0/8".parse().unwrap()]);
        more(config);
    })
}

#[test]
fn the_client_is_whom_a_trusted_sender_names() {
    let world = accepting(|_| {});
    // In one segment with the request, and byte by byte.
    for pieces in [1, LINE.len()] {
        let mut client = world.client();
        let sent = [LINE, GET].concat();
        for piece in sent.as_bytes().chunks(sent.len().div_ceil(pieces)) {
            client.send(piece);
        }
        let mut service = world.service.accept();
        assert_eq!(field(&service.head(), "x-forwarded-for"), "203.0.113.9");
        service.send(OK);
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        service.finish();
    }
    // The client's own claims are those of somebody untrusted.
    let mut client =
        world.client_says([LINE, &GET.replace("\r\n\r\n", "\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n")].concat());
    let mut service = world.service.accept();
    assert_eq!(field(&service.head(), "x-forwarded-for"), "203.0.113.9");
    service.send(OK);
    client.head();
    // An upgrade, and bytes behind it: none is taken for the header, none is lost.
    let v2 = proxy_protocol::write(
        Version::V2,
        Header::Proxied {
            source: "[2001:db8::7]:9".parse().unwrap(),
            destination: "[::1]:443".parse().unwrap(),
        },
    );
    let mut client = world.client_says([&v2, UPGRADE.as_bytes(), b"early"].concat());
    let mut service = world.service.accept();
    assert_eq!(field(&service.head(), "x-forwarded-for"), "2001:db8::7");
    service.send(SWITCH);
    assert_eq!(service.exactly(5), b"early");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_health_check_of_the_sender_speaks_for_itself() {
    let world = accepting(|_| {});
    let own = proxy_protocol::write(Version::V2, Header::Own);
    let mut client = world.client_says([&own, GET.as_bytes()].concat());
    let mut service = world.service.accept();
    assert_eq!(field(&service.head(), "x-forwarded-for"), "127.0.0.1");
    service.send(OK);
    client.head();
}

#[test]
fn everybody_else_is_closed_and_counted() {
    let world = accepting(|config| config.deadlines.head = Duration::from_millis(50));
    for bytes in [GET.as_bytes(), b"PROXY TCP4 x\r\n", b"\x16\x03\x01\x02\x00"] {
        assert_eq!(world.client_says(bytes).rest().0, b"", "no answer that could be taken for the service's");
    }
    world.until("they are counted", |counters| counters.faults(Fault::ProxyHeader).value() == 3);
    let mut late = world.client_says("PROXY TC");
    assert_eq!(late.rest().0, b"");
    world.until("it is counted", |counters| counters.faults(Fault::ProxyTimeout).value() == 1);
    drop(world.client());
    world.until("it is counted", |counters| counters.faults(Fault::ClientGone).value() == 1);
    assert!(world.service.is_left_alone());

    let world = accepting(|config| config.trusted = Trusted::new(vec!["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(world.client_says([LINE, GET].concat()).rest().0, b"");
    world.until("it is counted", |counters| counters.faults(Fault::ProxyUntrusted).value() == 1);
    assert!(world.service.is_left_alone());
}

#[test]
fn without_the_setting_a_header_is_no_request() {
    let world = World::start();
    assert!(world.client_says([LINE, GET].concat()).head().starts_with("HTTP/1.1 400 "));
    assert!(world.service.is_left_alone());
}

/// Takes a header off what the service reads.
fn header(service: &mut Peer) -> Header {
    let mut parser = Parser::default();
    loop {
        if let (_, Some(header)) = parser.feed(&service.exactly(1)).unwrap() {
            return header;
        }
    }
}

#[test]
fn the_service_is_told_of_each_client_on_a_connection_of_its_own() {
    for version in [Version::V1, Version::V2] {
        let world = World::with(|config| config.announce = Some(version));
        let listen = world.running.local_addr();
        let mut client = world.client();
        let us = Header::Proxied { source: client.stream.local_addr().unwrap(), destination: listen };
        for _ in 0..2 {
            client.send(GET);
            let mut service = world.service.accept();
            assert_eq!(header(&mut service), us);
            assert!(service.head().starts_with("GET / HTTP/1.1\r\n"));
            service.send(OK);
            assert!(client.head().starts_with("HTTP/1.1 200 "));
            assert_eq!(client.exactly(2), b"ok");
            assert_eq!(service.rest().0, b"", "and not kept alive");
        }
        client.send(UPGRADE);
        let mut service = world.service.accept();
        assert_eq!(header(&mut service), us);
        service.head();
        service.send(SWITCH);
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        // What the proxy does on its own account.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(world.running.probe_upstream()).unwrap();
        assert_eq!(header(&mut world.service.accept()), Header::Own);
    }
}
