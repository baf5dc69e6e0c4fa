//! The native lane, with a second scripted service in Supabase's place.

use std::sync::Arc;

use super::super::*;
use super::world::*;

fn offering(protocols: &str) -> String {
    UPGRADE.replace(
        "Sec-WebSocket-Version: 13\r\n",
        &format!(
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocols}\r\nCookie: sid=1\r\n\
             Authorization: Bearer x\r\nX-Forwarded-For: 203.0.113.9\r\n"
        ),
    )
}

fn native_world(lane: Lane) -> (World, Service) {
    let supabase = Service::start();
    let url = format!("http://{}/socket", supabase.address);
    let decide: Decide = Arc::new(move |_, _| Verdict { lane, ..Verdict::passthrough("test") });
    let world = World::deciding(decide, |config| {
        config.native = Some(Native::new(&url, AnonKey::parse("sb_publishable_k").unwrap()).unwrap());
    });
    (world, supabase)
}

#[test]
fn a_native_client_reaches_supabase_and_nothing_of_the_service_does() {
    let (world, supabase) = native_world(Lane::Native);
    let mut client = world.client_says([offering("chat, realtime").as_bytes(), b"up"].concat());
    let mut realtime = supabase.accept();
    let head = realtime.head();
    assert!(
        head.starts_with("GET /socket/websocket?apikey=sb_publishable_k&vsn=2.0.0 HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(field(&head, "host"), supabase.address.to_string());
    for name in ["cookie", "authorization", "x-forwarded-for", "x-forwarded-host", "sec-websocket-protocol"] {
        assert!(fields(&head, name).is_empty(), "{name} in {head}");
    }
    realtime
        .send([SWITCH.replace("\r\n\r\n", "\r\nSet-Cookie: edge=1\r\n\r\n").as_bytes(), b"down"].concat());
    let answer = client.head();
    assert_eq!(field(&answer, "sec-websocket-protocol"), "realtime");
    assert!(fields(&answer, "set-cookie").is_empty());
    assert_eq!(client.exactly(4), b"down");
    assert_eq!(realtime.exactly(2), b"up");
    assert!(world.service.is_left_alone());
    assert_eq!(world.running.counters().sessions_open(Lane::Native).value(), 1);
}

#[test]
fn outside_the_cohort_the_service_answers_and_never_sees_the_offer() {
    let (world, supabase) = native_world(Lane::Legacy);
    let _client = world.client_says(offering("chat, realtime"));
    let head = world.service.accept().head();
    assert_eq!(field(&head, "sec-websocket-protocol"), "chat");
    assert_eq!(field(&head, "cookie"), "sid=1");
    assert!(supabase.is_left_alone());
}

#[test]
fn a_client_that_does_not_offer_realtime_stays_with_the_service() {
    for protocols in ["chat", "realtime"] {
        let (world, supabase) = native_world(Lane::Native);
        let mut client = world.client_says(offering(protocols));
        let mut service = world.service.accept();
        assert_eq!(field(&service.head(), "sec-websocket-protocol"), protocols);
        service.send(SWITCH);
        client.head();
        world.until("a legacy session", |counters| counters.sessions_open(Lane::Legacy).value() == 1);
        assert!(supabase.is_left_alone());
    }
}

#[test]
fn without_supabase_the_offer_is_none_of_our_business() {
    let world = World::deciding(
        Arc::new(|_, _| Verdict { lane: Lane::Native, ..Verdict::passthrough("test") }),
        |_| {},
    );
    let _client = world.client_says(offering("chat, realtime"));
    assert_eq!(field(&world.service.accept().head(), "sec-websocket-protocol"), "chat, realtime");
}

#[test]
fn supabase_may_refuse() {
    let (world, supabase) = native_world(Lane::Native);
    let mut client = world.client_says(offering("chat, realtime"));
    let mut realtime = supabase.accept();
    realtime.head();
    realtime.send("HTTP/1.1 401 Unauthorized\r\nSet-Cookie: edge=1\r\nContent-Length: 2\r\n\r\n{}");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 401 "));
    assert!(fields(&head, "set-cookie").is_empty());
    assert_eq!(client.exactly(2), b"{}");
}
