//! Deadlines, limits and bad behaviour on either side: each costs its own connection only.

use std::net::TcpListener;
use std::time::Duration;

use super::super::*;
use super::world::*;

const SOON: Duration = Duration::from_millis(50);

#[test]
fn a_service_that_refuses_the_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::with(|config| config.upstream = Target::service(&format!("http://{closed}")).unwrap());
    for request in [GET, UPGRADE] {
        world.client_says(request).refusal(502, Fault::ConnectRefused);
    }
    assert_eq!(world.faults(Fault::ConnectRefused), 2);
}

#[test]
fn a_service_whose_name_nobody_knows() {
    let world = World::with(|config| {
        config.upstream = Target::service("http://does-not-exist.invalid:1").unwrap();
        config.deadlines.connect = HANG;
    });
    world.client_says(GET).refusal(502, Fault::Resolve);
}

#[test]
fn a_service_that_never_accepts() {
    // A listener with a full backlog: the kernel drops further SYNs.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _filler = std::net::TcpStream::connect(address).unwrap();
    let world = World::with(|config| {
        config.upstream = Target::service(&format!("http://{address}")).unwrap();
        config.deadlines.connect = SOON;
    });
    for request in [GET, UPGRADE] {
        world.client_says(request).refusal(502, Fault::ConnectTimeout);
    }
}

#[test]
fn a_service_that_does_not_answer_an_upgrade() {
    let world = World::with(|config| config.deadlines.upgrade = SOON);
    let mut client = world.client_says(UPGRADE);
    let mut service = world.service.accept();
    service.head();
    client.refusal(504, Fault::UpgradeTimeout);
    assert_eq!(service.rest().0, b"", "and it is hung up on");
    world.others_are_served();
}

#[test]
fn a_plain_answer_may_take_its_time_unless_told_otherwise() {
    let world = World::with(|config| config.deadlines.response = Some(SOON));
    let mut client = world.client_says(GET);
    let mut service = world.service.accept();
    service.head();
    client.refusal(504, Fault::ResponseTimeout);
    assert_eq!(Deadlines::default().response, None);
}

#[test]
fn a_service_that_talks_nonsense_or_hangs_up() {
    let world = World::start();
    for request in [GET, UPGRADE] {
        for (answer, fault) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", Fault::UpstreamMalformed),
            ("HTTP/1.1 abc\r\n\r\n", Fault::UpstreamMalformed),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Fault::UpstreamMalformed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Fault::UpstreamMalformed),
            ("", Fault::UpstreamClosed),
            ("HTTP/1.1 200 OK\r\nX-Half", Fault::UpstreamClosed),
        ] {
            let mut client = world.client_says(request);
            let mut service = world.service.accept();
            service.head();
            service.send(answer);
            drop(service);
            client.refusal(502, fault);
        }
    }
    world.others_are_served();
}

#[test]
fn an_answer_that_breaks_off_does_not_end_well() {
    let world = World::start();
    let mut client = world.client_says(GET);
    let mut service = world.service.accept();
    service.head();
    service.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    drop(service);
    client.head();
    let (body, _) = client.rest();
    assert_eq!(body, b"half", "the client can tell that bytes are missing");
    world.others_are_served();
}

#[test]
fn a_slow_head_is_answered_and_a_silent_client_is_not() {
    let world = World::with(|config| config.deadlines.head = SOON);
    let mut slow = world.client_says("GET / HTTP/1.1\r\nHost: a\r\n");
    slow.refusal(408, Fault::HeadTimeout);
    assert_eq!(slow.rest(), (vec![], End::Fin));
    let mut silent = world.client();
    assert_eq!(silent.rest(), (vec![], End::Fin));
    assert_eq!(world.faults(Fault::HeadTimeout), 2);
}

#[test]
fn a_connection_may_idle_but_not_dawdle_between_requests() {
    let world = World::with(|config| config.deadlines.head = SOON);
    let mut client = world.client_says(GET);
    let mut service = world.service.accept();
    service.head();
    // Longer than the deadline: an exchange under way is not a late head.
    let mut silent = world.client();
    silent.rest();
    assert!(client.is_quiet());
    service.send(OK);
    client.head();
    client.exactly(2);
    // Longer than the deadline again: nor is an idle connection.
    let mut silent = world.client();
    silent.rest();
    assert!(client.is_quiet());
    client.send("GET /again HTTP/1.1\r\nHost: a\r\n");
    client.refusal(408, Fault::HeadTimeout);
}

#[test]
fn heads_that_are_too_large() {
    let world = World::with(|config| {
        config.limits = Limits { head_bytes: 9000, head_fields: 10, ..Limits::default() }
    });
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9000));
    world.client_says(long).refusal(431, Fault::HeadTooLarge);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10));
    world.client_says(many).refusal(431, Fault::HeadTooLarge);
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(9));
    let _client = world.client_says(fits);
    world.service.accept().head();
    // Far too large: hyper stops reading and says so by itself.
    let mut endless = world.client();
    endless.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(20_000)));
    assert!(endless.head().starts_with("HTTP/1.1 431 "));
    world.until("the third to be counted", |counters| counters.faults(Fault::HeadTooLarge).value() == 3);
}

#[test]
fn clients_that_talk_nonsense_or_vanish() {
    let world = World::start();
    for nonsense in
        [&b"\x16\x03\x01\x02\x00\x01"[..], b"\0\0\0\0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n"]
    {
        let mut client = world.client_says(nonsense);
        client.finish();
        let (answer, _) = client.rest();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", answer.escape_ascii());
    }
    world.client_says("GET / HTT").reset();
    let client = world.client_says(UPGRADE);
    let mut service = world.service.accept();
    service.head();
    client.reset();
    service.send(SWITCH);
    assert_eq!(service.rest().0, b"");
    let client = world.client_says("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    let mut service = world.service.accept();
    service.head();
    service.exactly(4);
    drop(client);
    assert_eq!(service.rest().0, b"", "the service sees the request break off");
    world.until("all to be gone", |counters| counters.connections_open.value() == 0);
    world.others_are_served();
}

#[test]
fn a_reset_inside_a_session_reaches_the_other_side() {
    let world = World::start();
    let (client, mut service) = world.session();
    client.reset();
    assert_eq!(service.rest(), (vec![], End::Reset));
    let (mut client, service) = world.session();
    service.reset();
    assert_eq!(client.rest(), (vec![], End::Reset));
    world.others_are_served();
}

#[test]
fn a_panic_in_a_decision_costs_one_connection() {
    let decide: Decide = std::sync::Arc::new(|parts, _| {
        assert!(parts.uri.query().is_some(), "a bug in the rules");
        Verdict::LEGACY
    });
    let world = World::deciding(decide, |_| {});
    let (mut client, mut service) = world.session();
    let mut unlucky = world.client_says(UPGRADE.replace("?room=1", ""));
    assert_eq!(unlucky.rest().0, b"");
    client.send("alive");
    assert_eq!(service.exactly(5), b"alive");
    world.others_are_served();
    drop((client, service));
    world.until("all to be gone", |counters| counters.connections_open.value() <= 1);
}

#[test]
fn a_slow_reader_holds_up_the_service_and_not_our_memory() {
    // Far more than all socket buffers together; the proxy itself may hold no more than a few reads of it.
    const BYTES: usize = 64 << 20;
    let world = World::start();
    let mut client = world.client_says(GET);
    let mut service = world.service.accept();
    service.head();
    service.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
    let sent = service.send_until_it_blocks(BYTES);
    assert!(sent < BYTES, "all {sent} bytes were taken although nobody reads");
    client.head();
    assert_eq!(client.exactly(1024), vec![b'x'; 1024], "and they do arrive");
}

#[test]
fn a_full_inbox_sheds_and_counts() {
    // A worker that is busy cannot take from its inbox; a decision that waits makes it busy.
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let (busy, is_busy) = std::sync::mpsc::sync_channel::<()>(1);
    let wait = std::sync::Mutex::new(wait);
    let decide: Decide = std::sync::Arc::new(move |_, _| {
        busy.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        Verdict::LEGACY
    });
    let world = World::deciding(decide, |config| config.inbox = 1);
    let _first = world.client_says(UPGRADE);
    is_busy.recv_timeout(HANG).unwrap();
    let mut queued = world.client_says(GET);
    world.until("the second to be queued", |counters| counters.connections_total.value() == 2);
    let mut shed = world.client();
    let (answer, _) = shed.rest();
    assert_eq!(answer, b"");
    assert_eq!(world.running.counters().connections_shed.value(), 1);
    go.send(()).unwrap();
    for _ in 0..2 {
        let mut service = world.service.accept();
        service.head();
        service.send(OK);
    }
    assert!(queued.head().starts_with("HTTP/1.1 200 "));
}
