//! Limits that are off unless asked for, and what comes when hyper refuses a request before we see it.

use std::time::Duration;

use super::super::*;
use super::world::*;

const SOON: Duration = Duration::from_millis(80);

#[test]
fn nothing_that_the_service_accepts_is_limited_by_default() {
    let (deadlines, limits) = (Deadlines::default(), Limits::default());
    assert_eq!((deadlines.response, deadlines.idle), (None, None));
    assert_eq!((limits.connections_per_address, limits.upgrades_per_second), (None, None));
}

#[test]
fn an_idle_session_is_told_on_both_sides() {
    let world = World::with(|config| config.deadlines.idle = Some(SOON));
    let (mut client, mut service) = world.session();
    let told = crate::ws::close(1001, "", None);
    assert_eq!(client.exactly(told.len()), told);
    client.send(crate::ws::close(1001, "", Some([0; 4])));
    let heard = service.exactly(8);
    assert_eq!(heard[..2], [0x88, 0x82]);
    drop(service);
    assert_eq!(client.rest(), (vec![], End::Fin));
    world.until("the idle one to end", |_| {
        world.running.shared().sessions[0].ended[EndCause::Idle as usize]
            .load(std::sync::atomic::Ordering::Relaxed)
            == 1
    });
}

#[test]
fn an_idle_session_that_does_not_answer_is_cut() {
    let world = World::with(|config| config.deadlines.idle = Some(SOON));
    let (mut client, mut service) = world.session();
    let (told, _) = client.rest();
    assert_eq!(told, crate::ws::close(1001, "", None));
    service.rest();
    world.until("it to be gone", |counters| counters.sessions() == 0);
    world.others_are_served();
}

#[test]
fn an_idle_connection_between_two_requests_is_closed_without_a_word() {
    let world = World::with(|config| config.deadlines.idle = Some(SOON));
    let mut client = world.client_says(GET);
    let mut service = world.service.accept();
    service.head();
    // Longer than the limit: another connection, which is idle after its answer, is closed meanwhile.
    let mut other = world.client_says(GET);
    let mut answering = world.service.accept();
    answering.head();
    answering.send(OK);
    assert!(other.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(other.rest(), (b"ok".to_vec(), End::Fin));
    assert!(client.is_quiet(), "an exchange under way is not idle, however long the service thinks");
    service.send(OK);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.rest(), (b"ok".to_vec(), End::Fin));
    assert_eq!(world.faults(Fault::HeadTimeout), 0);
}

#[test]
fn an_address_has_as_many_connections_as_it_may() {
    let world = World::with(|config| {
        config.limits.connections_per_address = Some(2);
        config.trusted = Trusted::new(vec![]);
    });
    let (mut client, service) = world.session();
    let second = world.client();
    world.until("both to be placed", |counters| counters.connections_open.value() == 2);
    let mut third = world.client();
    assert_eq!(third.rest().0, b"", "closed at once");
    world.until("the third to be gone", |counters| {
        counters.faults(Fault::AddressLimit).value() == 1 && counters.connections_open.value() == 2
    });
    drop(second);
    world.until("one to be gone", |counters| counters.connections_open.value() == 1);
    world.others_are_served();
    // A session has its place until it ends.
    world.until("the plain one to be gone", |counters| counters.connections_open.value() == 1);
    drop(service);
    client.finish();
    client.rest();
    world.until("all to be gone", |counters| counters.connections_open.value() == 0);
    let _both = [world.client(), world.client()];
    world.until("both to be placed", |counters| counters.connections_open.value() == 2);
}

#[test]
fn whom_a_proxy_header_names_is_counted_and_not_its_sender() {
    let world = World::with(|config| {
        config.limits.connections_per_address = Some(1);
        config.proxy_protocol = true;
        config.trusted = Trusted::new(vec!["127.0.0.0/8".parse().unwrap()]);
    });
    let named =
        |host: u8| world.client_says(format!("PROXY TCP4 203.0.113.{host} 192.0.2.1 4711 443\r\n{GET}"));
    let _first = named(1);
    world.service.accept().head();
    assert_eq!(named(1).rest().0, b"", "a second of the same client");
    world.until("it is counted", |counters| counters.faults(Fault::AddressLimit).value() == 1);
    let _other = named(2);
    world.service.accept().head();
    // Its own health checks are its own.
    let own = || world.client_says(["PROXY UNKNOWN\r\n", GET].concat());
    let _own = [own(), own()];
    world.service.accept().head();
    world.service.accept().head();
}

#[test]
fn a_trusted_proxy_may_have_as_many_connections_as_it_likes() {
    let world = World::with(|config| {
        config.limits.connections_per_address = Some(1);
        config.trusted = Trusted::new(vec!["127.0.0.0/8".parse().unwrap()]);
    });
    let _many = [world.client(), world.client(), world.client()];
    world.until("all to be placed", |counters| counters.connections_open.value() == 3);
    assert_eq!(world.faults(Fault::AddressLimit), 0);
}

#[test]
fn more_upgrades_than_a_second_may_bring_are_told_to_come_again() {
    let world = World::with(|config| config.limits.upgrades_per_second = Some(1));
    let _session = world.session();
    // Whoever comes within a second of the last that passed is refused: on any machine one does some time.
    let began = now();
    loop {
        assert!(now() - began < HANG, "nobody was ever refused");
        let mut client = world.client_says(UPGRADE);
        let Some(mut service) = waits_for_either(&world, &mut client) else {
            let head = client.head();
            assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
            assert_eq!(field(&head, "x-crossfade-error"), "upgrade_rate");
            assert_eq!(field(&head, "retry-after"), "1");
            break;
        };
        service.head();
        service.send(SWITCH);
        client.head();
    }
    assert_eq!(world.faults(Fault::UpgradeRate), 1);
    // Plain requests are not upgrades.
    world.others_are_served();
}

/// The service's end if the upgrade reaches it, or nothing once the client has an answer.
fn waits_for_either(world: &World, client: &mut Peer) -> Option<Peer> {
    let began = now();
    loop {
        if let Some(service) = world.service.try_accept() {
            return Some(service);
        }
        if !client.is_quiet() {
            return None;
        }
        assert!(now() - began < HANG, "neither an answer nor an upgrade");
        std::thread::yield_now();
    }
}

#[test]
fn what_hyper_refuses_has_a_status_and_no_body() {
    let world = World::with(|config| config.limits.head_bytes = 9000);
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(20_000));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(65_600));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(400));
    for (request, status) in [
        ("GET /<> HTTP/1.1\r\nHost: a\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", "400 Bad Request"),
        (&endless, "431 Request Header Fields Too Large"),
        (&many, "431 Request Header Fields Too Large"),
        (&long, "414 URI Too Long"),
    ] {
        let roomy = World::start();
        let one = if status.starts_with("414") { &roomy } else { &world };
        let mut client = one.client_says(request);
        client.finish();
        let answer = String::from_utf8(client.rest().0).unwrap();
        let expected = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(answer, expected, "to {}", request.get(..60).unwrap_or(request).escape_debug());
        assert!(one.service.is_left_alone());
    }
}
