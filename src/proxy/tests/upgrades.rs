//! Upgrades: what becomes a tunnel, and everything that must not.

use std::sync::{Arc, Mutex};

use super::super::*;
use super::world::*;
use proptest::prelude::*;

#[test]
fn a_session_carries_bytes_and_half_closes() {
    let world = World::start();
    let (mut client, mut service) = world.session();
    client.send(b"\x81\x85maskXXXXX");
    assert_eq!(service.exactly(11), b"\x81\x85maskXXXXX");
    service.send(b"\x81\x05hello");
    assert_eq!(client.exactly(7), b"\x81\x05hello");
    client.finish();
    assert_eq!(service.rest(), (vec![], End::Fin));
    service.send(b"late");
    drop(service);
    assert_eq!(client.rest(), (b"late".to_vec(), End::Fin));
    world.until("the session to end", |counters| counters.sessions() == 0);
    let counters = world.running.counters();
    assert_eq!(counters.upgrades(UpgradeOutcome::Tunnelled).value(), 1);
    assert_eq!(counters.sessions_total(Lane::Legacy).value(), 1);
    let bytes: [u64; 2] = std::array::from_fn(|dir| {
        let shared = world.running.shared();
        shared.sessions.iter().map(|one| one.bytes[dir].load(std::sync::atomic::Ordering::Relaxed)).sum()
    });
    assert_eq!(bytes, [11, 11]);
}

#[test]
fn bytes_with_the_101_are_not_lost() {
    let world = World::start();
    // The client does not wait for the 101, the service does not wait after it.
    let mut client = world.client_says([UPGRADE.as_bytes(), b"early up"].concat());
    let mut service = world.service.accept();
    service.head();
    service.send([SWITCH.as_bytes(), b"early down"].concat());
    client.head();
    assert_eq!(client.exactly(10), b"early down");
    assert_eq!(service.exactly(8), b"early up");
    client.send("more up");
    service.send("more down");
    assert_eq!(service.exactly(7), b"more up");
    assert_eq!(client.exactly(9), b"more down");
}

#[test]
fn an_early_end_is_carried_over_too() {
    let world = World::start();
    let mut client = world.client_says([UPGRADE.as_bytes(), b"bye"].concat());
    client.finish();
    let mut service = world.service.accept();
    service.head();
    service.send(SWITCH);
    assert_eq!(service.rest(), (b"bye".to_vec(), End::Fin));
    service.send("answer");
    drop(service);
    client.head();
    assert_eq!(client.rest(), (b"answer".to_vec(), End::Fin));
}

#[test]
fn refusals_are_relayed_with_their_bodies_and_the_connection_lives_on() {
    let world = World::start();
    let mut client = world.client();
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found", "429 Slow Down", "503 Later"] {
        client.send(UPGRADE);
        let mut service = world.service.accept();
        assert_eq!(field(&service.head(), "upgrade"), "websocket");
        service.send(format!("HTTP/1.1 {status}\r\nX-Why: because\r\nContent-Length: 4\r\n\r\nnope"));
        let head = client.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
        assert_eq!(field(&head, "x-why"), "because");
        assert_eq!(client.exactly(4), b"nope");
    }
    client.send(UPGRADE);
    let mut service = world.service.accept();
    service.head();
    service.send(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
    );
    let head = client.head();
    assert_eq!(field(&head, "sec-websocket-version"), "13");
    assert_eq!(field(&head, "upgrade"), "websocket");
    assert_eq!(world.running.counters().upgrades(UpgradeOutcome::Refused).value(), 6);
    assert_eq!(world.running.counters().sessions(), 0);
}

#[test]
fn a_101_that_lies_opens_nothing() {
    let lies = [
        SWITCH.replace(ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOx="),
        SWITCH.replace("Sec-WebSocket-Accept", "X-Accept"),
        SWITCH.replace("Upgrade: websocket", "Upgrade: h2c"),
        SWITCH.replace("Upgrade: websocket\r\n", ""),
        SWITCH.replace("Connection: Upgrade\r\n", ""),
        SWITCH.replace("Connection: Upgrade", "Connection: keep-alive"),
    ];
    for lie in lies {
        let world = World::start();
        let mut client = world.client_says([UPGRADE.as_bytes(), b"GET /admin HTTP/1.1\r\n\r\n"].concat());
        let mut service = world.service.accept();
        service.head();
        service.send(&lie);
        client.refusal(502, Fault::SwitchingInvalid);
        let (seen, _) = service.rest();
        assert_eq!(seen, b"", "the service is dropped and sees nothing behind the upgrade: {lie}");
        assert_eq!(world.faults(Fault::SwitchingInvalid), 1);
        assert_eq!(world.running.counters().upgrades(UpgradeOutcome::Failed).value(), 1);
    }
}

#[test]
fn a_malformed_upgrade_is_for_the_service_to_refuse() {
    let ways = [
        UPGRADE.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", ""),
        UPGRADE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        UPGRADE.replace("GET ", "POST "),
    ];
    for way in ways {
        let world = World::start();
        let mut client = world.client_says(&way);
        let mut service = world.service.accept();
        assert_eq!(field(&service.head(), "upgrade"), "websocket", "the service sees what was asked: {way}");
        service
            .send("HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 426 "));
        assert_eq!(world.running.counters().upgrades(UpgradeOutcome::Malformed).value(), 1);

        // Even a service that is fooled opens no tunnel.
        let mut client = world.client_says([way.as_bytes(), b"smuggled"].concat());
        let mut service = world.service.accept();
        service.head();
        service.send(SWITCH);
        client.refusal(502, Fault::SwitchingUnasked);
        assert_eq!(service.rest().0, b"");
    }
}

#[test]
fn a_plain_request_is_never_switched() {
    let world = World::start();
    for request in
        [GET.to_owned(), UPGRADE.replace("HTTP/1.1", "HTTP/1.0"), UPGRADE.replace("websocket", "h2c")]
    {
        let mut client = world.client_says(&request);
        let mut service = world.service.accept();
        let head = service.head();
        assert!(fields(&head, "upgrade").is_empty() && fields(&head, "connection").is_empty(), "{head}");
        service.send(SWITCH);
        let answer = client.head();
        assert!(answer.contains(" 502 Bad Gateway\r\n"), "{answer}");
        assert_eq!(field(&answer, "x-crossfade-error"), "switching_unasked");
        assert_eq!(service.rest().0, b"");
    }
    assert_eq!(world.faults(Fault::SwitchingUnasked), 3);
}

#[test]
fn the_decision_sees_the_head_as_it_came_and_the_real_client() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let decide: Decide = Arc::new(move |parts, client| {
        let connection = parts.headers["connection"].to_str().unwrap().to_owned();
        log.lock().unwrap().push((parts.uri.to_string(), connection, client.ip().to_string()));
        Verdict { lane: Lane::Hot, ..Verdict::passthrough("test") }
    });
    let world = World::deciding(decide, |config| config.lane_header = true);
    let mut client = world.client_says(
        UPGRADE.replace("Connection: Upgrade", "Connection: x, Upgrade\r\nX-Forwarded-For: 203.0.113.9"),
    );
    let mut service = world.service.accept();
    service.head();
    service.send(SWITCH);
    assert_eq!(field(&client.head(), "x-crossfade-lane"), "hot");
    world.until("the session", |counters| counters.sessions_open(Lane::Hot).value() == 1);
    let expect = ("/chat?room=1".to_owned(), "x, Upgrade".to_owned(), "203.0.113.9".to_owned());
    assert_eq!(*seen.lock().unwrap(), [expect]);
}

const ASK_LANE: &str = "GET /.crossfade/lane?path=/chat&room=1 HTTP/1.1\r\nHost: a\r\nX-User-Id: ann\r\nConnection: close\r\n\r\n";

#[test]
fn the_lane_is_told_where_that_is_wanted_and_the_service_is_not_asked() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let decide: Decide = Arc::new(move |parts, _| {
        log.lock().unwrap().push((parts.uri.to_string(), parts.headers["x-user-id"].clone()));
        Verdict { lane: Lane::Hot, ..Verdict::passthrough("in_cohort") }
    });
    let world = World::deciding(decide, |config| config.lane_endpoint = true);
    let answer = String::from_utf8(world.client_says(ASK_LANE).rest().0).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("no-store"), "{answer}");
    assert!(answer.ends_with("{\"lane\":\"hot\",\"reason\":\"in_cohort\"}\n"), "{answer}");
    assert_eq!(*seen.lock().unwrap(), [("/chat?room=1".to_owned(), "ann".parse().unwrap())]);
    let script = ASK_LANE.replace("lane?path=/chat&room=1", "indicator.js");
    let answer = String::from_utf8(world.client_says(&script).rest().0).unwrap();
    assert!(answer.contains("text/javascript") && answer.contains("crossfade-lane"), "{answer}");
    let posted = ASK_LANE.replace("GET", "POST");
    let answer = String::from_utf8(world.client_says(&posted).rest().0).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(world.service.is_left_alone(), "the service was asked");
}

#[test]
fn nothing_of_the_service_is_shadowed_unasked() {
    let world = World::deciding(Arc::new(|_, _| Verdict::LEGACY), |_| {});
    let mut client = world.client_says(ASK_LANE);
    let mut service = world.service.accept();
    assert!(service.head().starts_with("GET /.crossfade/lane?path=/chat&room=1 "));
    service.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 404 "));
}

/// One line of an answer: what may stand there, and whether RFC 6455 section 4.1 is met by it.
fn line(
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> impl Strategy<Value = (&'static str, bool)> {
    let good = proptest::sample::select(good).prop_map(|line| (line, true));
    prop_oneof![4 => good, 1 => proptest::sample::select(bad).prop_map(|line| (line, false))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// A tunnel opens for a whole proof and for nothing less, whatever else the answer says.
    #[test]
    fn only_a_whole_proof_opens_a_tunnel(
        status in line(&["101 Switching Protocols", "101 x"], &["200 OK", "426 Upgrade Required", "100 Continue", "201 x"]),
        upgrade in line(
            &["Upgrade: websocket", "upgrade:WebSocket", "Upgrade: x, websocket"],
            &["Upgrade: websockets", "Upgrade: h2c", "X: y"],
        ),
        connection in line(
            &["Connection: Upgrade", "connection: keep-alive, upgrade", "Connection: x\r\nConnection: Upgrade"],
            &["Connection: keep-alive", "X: y", "Connection: upgrades"],
        ),
        accept in line(
            &["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "sec-websocket-accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo= "],
            &[
                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO=",
                "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=",
                "Sec-WebSocket-Accept:",
                "X: y",
            ],
        ),
    ) {
        let world = World::start();
        let mut client = world.client_says(UPGRADE);
        let mut service = world.service.accept();
        service.head();
        let lines = [upgrade.0, connection.0, accept.0].join("\r\n");
        service.send(format!("HTTP/1.1 {}\r\n{lines}\r\n\r\n", status.0));
        let proven = status.1 && upgrade.1 && connection.1 && accept.1;
        if proven {
            prop_assert!(client.head().starts_with("HTTP/1.1 101 "));
            client.send("through");
            prop_assert_eq!(service.exactly(7), b"through");
        } else {
            service.finish();
            client.finish();
            let (answer, _) = client.rest();
            prop_assert!(!answer.starts_with(b"HTTP/1.1 101 "), "{} {}", status.0, lines);
            prop_assert_eq!(world.running.counters().sessions_total(Lane::Legacy).value(), 0);
            prop_assert_eq!(service.rest().0, b"");
        }
    }
}
