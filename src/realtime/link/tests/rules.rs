//! The rules of the link, one by one. The names of the tests are the rows of docs/realtime.md.

use std::time::Duration;

use super::super::{ConnectFailure, Input, Join, LinkEvent, Order, Outcome, PushError, PushRef};
use super::{A, B, Bench, config, key};
use crate::realtime::key::unsigned;
use crate::realtime::message::{Message, Vsn};
use crate::realtime::reason::{Cause, Reason};

const SECOND: Duration = Duration::from_secs(1);

fn left(events: &[LinkEvent]) -> Option<(Reason, Option<Duration>)> {
    events.iter().find_map(|event| match event {
        LinkEvent::Left { reason, retry_in, .. } => Some((*reason, *retry_in)),
        _ => None,
    })
}

fn outcomes(events: &[LinkEvent]) -> Vec<(u64, Outcome)> {
    let ack = |event: &LinkEvent| match event {
        LinkEvent::Ack { push, outcome, .. } => Some((push.0, *outcome)),
        _ => None,
    };
    events.iter().filter_map(ack).collect()
}

#[test]
fn a_join_sends_its_whole_configuration_and_the_token() {
    let mut bench = Bench::new(config(Vsn::V2));
    bench.link.join(A, Join::new("a", true), bench.now).expect("fits");
    assert_eq!(bench.orders(), [Order::Connect]);
    bench.link.handle_connected(bench.now);
    let sent = bench.sent();
    let [Message::Text(head, payload)] = sent.as_slice() else { panic!("one join: {sent:?}") };
    assert_eq!((head.topic.as_str(), head.event.as_str()), ("realtime:a", "phx_join"));
    let payload: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
    let config = &payload["config"];
    assert_eq!(config["private"], true);
    assert_eq!(config["broadcast"], serde_json::json!({"ack": true, "self": false}));
    assert_eq!(config["presence"]["enabled"], false);
    assert_eq!(config["postgres_changes"], serde_json::json!([]));
    assert_eq!(payload["access_token"], unsigned("service_role", 4_000_000_000).reveal());
}

#[test]
fn gateway_keys_open_the_socket_but_are_not_sent_as_tokens() {
    let mut config = config(Vsn::V2);
    config.key = key("sb_secret_hush");
    let mut bench = Bench::new(config);
    assert!(bench.link.connect_request().url.contains("apikey=sb_secret_hush"));
    bench.link.join(A, Join::new("a", true), bench.now).expect("fits");
    bench.link.handle_connected(bench.now);
    let join = bench.pass_until("phx_join", SECOND).expect("a join");
    let Message::Text(_, payload) = join else { panic!("text") };
    assert!(!String::from_utf8_lossy(&payload).contains("hush"));
    assert!(!format!("{:?}", bench.link).contains("hush"));
}

#[test]
fn heartbeats_go_out_every_20_s_whatever_else_is_sent() {
    let mut bench = Bench::joined(Vsn::V2);
    let mut beats = Vec::new();
    let begin = bench.now;
    while bench.now < begin + 400 * SECOND {
        let push = bench.push(A, 1, "{}").expect("taken");
        bench.say((None, Some(&push)), "realtime:a", "phx_reply", "{\"status\":\"ok\",\"response\":{}}");
        for message in bench.pass(SECOND) {
            if message.head().event == "heartbeat" {
                let reference = message.head().reference.clone().expect("a real ref");
                bench.say(
                    (None, Some(&reference)),
                    "phoenix",
                    "phx_reply",
                    "{\"status\":\"ok\",\"response\":{}}",
                );
                beats.push(bench.now - begin);
            }
        }
    }
    assert!((18..=22).contains(&beats.len()), "{beats:?}");
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] <= 24 * SECOND), "{beats:?}");
}

#[test]
fn an_unanswered_heartbeat_ends_the_socket_after_8_s() {
    let mut bench = Bench::joined(Vsn::V2);
    bench.pass_until("heartbeat", 30 * SECOND).expect("a beat");
    bench.pass(Duration::from_millis(7_900));
    assert!(bench.link.is_joined(A));
    bench.say((None, Some("777")), "phoenix", "phx_reply", "{\"status\":\"ok\",\"response\":{}}");
    bench.pass(Duration::from_millis(200));
    let events = bench.events();
    assert!(bench.orders().contains(&Order::Disconnect), "{events:?}");
    assert_eq!(left(&events).map(|(reason, _)| reason), Some(Reason::HeartbeatTimeout));
}

#[test]
fn a_refused_join_that_blocks_the_socket_does_not_kill_the_heartbeat() {
    let mut bench = Bench::joined(Vsn::V2);
    // The beat goes out just behind a join that the server sits on for 5 s, after a second one likewise.
    bench.pass(17 * SECOND);
    bench.link.join(B, Join::new("b", true), bench.now).expect("fits");
    let join = bench.pass_until("phx_join", SECOND).expect("a join");
    let beat = bench.pass_until("heartbeat", 10 * SECOND).expect("a beat while the join waits");
    bench.pass(9 * SECOND);
    assert!(!bench.orders().contains(&Order::Disconnect), "the answer waits behind the join's");
    let refused = "{\"status\":\"error\",\"response\":{\"reason\":\"Unauthorized: x\"}}";
    bench.say(
        (join.head().join_ref.as_deref(), join.head().reference.as_deref()),
        "realtime:b",
        "phx_reply",
        refused,
    );
    bench.pass(7 * SECOND);
    bench.say((None, beat.head().reference.as_deref()), "phoenix", "phx_reply", "{\"status\":\"ok\"}");
    bench.pass(5 * SECOND);
    assert!(!bench.orders().contains(&Order::Disconnect));
    assert!(bench.link.is_joined(A));
}

#[test]
fn the_close_of_an_older_join_leaves_the_newer_alone() {
    for vsn in [Vsn::V1, Vsn::V2] {
        let mut bench = Bench::joined(vsn);
        bench.say((None, None), "realtime:a", "phx_error", "{\"reason\":\"channel_crash\"}");
        assert_eq!(left(&bench.events()).map(|(reason, _)| reason), Some(Reason::ChannelCrash));
        let new = bench.answer_join("ok");
        let old = "1";
        assert_ne!(new, old);
        bench.say((Some(old), Some(old)), "realtime:a", "phx_close", "{}");
        assert!(bench.link.is_joined(A), "{vsn:?}");
        bench.say((Some(&new), Some(&new)), "realtime:a", "phx_close", "{}");
        assert!(!bench.link.is_joined(A), "{vsn:?}");
        assert_eq!(bench.link.stats().stale, 1);
    }
}

#[test]
fn each_push_gets_the_answer_with_its_ref() {
    let mut bench = Bench::joined(Vsn::V2);
    let refs: Vec<_> = (1..=3).map(|id| bench.push(A, id, "{}").expect("taken")).collect();
    let ok = "{\"status\":\"ok\",\"response\":{}}";
    bench.say((Some("1"), Some(&refs[1])), "realtime:a", "phx_reply", ok);
    let too_large = "{\"status\":\"error\",\"response\":\"payload_size_exceeded\"}";
    bench.say((Some("1"), Some(&refs[0])), "realtime:a", "phx_reply", too_large);
    bench.say((Some("1"), Some("999")), "realtime:a", "phx_reply", ok);
    let (accepted, refused) = (Outcome::Accepted, Outcome::Refused(Reason::PayloadTooLarge));
    assert_eq!(outcomes(&bench.events()), [(2, accepted), (1, refused)]);
    assert_eq!(bench.link.stats().unmatched_replies, 1);
    bench.pass(10 * SECOND);
    assert_eq!(outcomes(&bench.events()), [(3, Outcome::TimedOut)]);
    bench.say((Some("1"), Some(&refs[2])), "realtime:a", "phx_reply", ok);
    assert_eq!(outcomes(&bench.events()), [], "a late answer is no second outcome");
}

#[test]
fn three_unanswered_pushes_join_the_channel_anew() {
    let mut bench = Bench::joined(Vsn::V2);
    for id in 1..=3 {
        bench.push(A, id, "{}").expect("taken");
    }
    bench.pass(10 * SECOND);
    let events = bench.events();
    assert_eq!(left(&events).map(|(reason, _)| reason), Some(Reason::AckTimeout));
    assert_eq!(bench.answer_join("ok").parse::<u64>().map(|new| new > 1), Ok(true));
}

#[test]
fn what_is_in_flight_when_the_socket_ends_is_lost_once() {
    let mut bench = Bench::joined(Vsn::V2);
    bench.push(A, 1, "{}").expect("taken");
    bench.link.handle(Input::Closed { code: 1006 }, bench.now);
    bench.link.handle(Input::Closed { code: 1006 }, bench.now);
    assert_eq!(outcomes(&bench.events()), [(1, Outcome::Lost(Reason::ConnectionLost))]);
    assert_eq!(bench.push(A, 2, "{}"), Err(PushError::NotJoined));
}

#[test]
fn queues_are_bounded_and_say_so() {
    let mut limits = config(Vsn::V2);
    limits.limits.outgoing_bytes_max = 1_000;
    limits.limits.payload_bytes_max = 900;
    let mut bench = Bench::new(limits);
    let quiet = Join { ack: false, ..Join::new("b", false) };
    bench.link.join(A, Join::new("a", false), bench.now).expect("fits");
    bench.link.join(B, quiet, bench.now).expect("fits");
    bench.link.handle_connected(bench.now);
    bench.answer_join("ok");
    bench.answer_join("ok");
    for id in 0..32 {
        bench.push(A, id, "{}").expect("taken");
    }
    assert_eq!(bench.push(A, 32, "{}"), Err(PushError::Full));
    assert_eq!(bench.push(A, 32, "{}"), Err(PushError::Full));
    let body = format!("\"{}\"", "x".repeat(500));
    let mut taken = 0;
    let push = |id| super::Push {
        id: PushRef(id),
        topic: B,
        event: "e".into(),
        body: bytes::Bytes::from(body.clone()),
        encoding: crate::realtime::message::Encoding::Json,
    };
    while bench.link.push(push(taken), bench.now).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 1);
    assert_eq!(bench.link.push(push(9), bench.now), Err(PushError::Backlogged));
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(bench.push(B, 9, &format!("\"{}\"", "x".repeat(900))), Err(PushError::TooLarge));
}

#[test]
fn broadcasts_that_nobody_takes_are_shed_and_counted_but_outcomes_are_not() {
    let mut limits = config(Vsn::V2);
    limits.limits.incoming_bytes_max = 1_000;
    let mut bench = Bench::new(limits);
    bench.link.join(A, Join::new("a", false), bench.now).expect("fits");
    bench.link.handle_connected(bench.now);
    bench.answer_join("ok");
    let push = bench.push(A, 1, "{}").expect("taken");
    for _ in 0..50 {
        bench.say((None, None), "realtime:a", "broadcast", "{\"event\":\"e\",\"payload\":{}}");
    }
    bench.say((None, Some(&push)), "realtime:a", "phx_reply", "{\"status\":\"ok\",\"response\":{}}");
    let events = bench.events();
    let delivered = events.iter().filter(|event| matches!(event, LinkEvent::Broadcast(_))).count() as u64;
    assert_eq!(delivered + bench.link.stats().shed, 50);
    assert!((5..10).contains(&delivered), "{delivered}");
    assert_eq!(outcomes(&events), [(1, Outcome::Accepted)]);
}

#[test]
fn every_unwanted_close_is_followed_by_a_socket_and_a_join() {
    for (code, reason, longest) in [
        (1000, Reason::IdleClose, 1),
        (1001, Reason::TooManyJoins, 20),
        (1006, Reason::ConnectionLost, 1),
        (1009, Reason::FrameTooLarge, 5),
        (1011, Reason::SocketCrash, 1),
        (1012, Reason::ServerRestart, 5),
        (4321, Reason::OtherClose, 1),
    ] {
        let mut bench = Bench::joined(Vsn::V2);
        bench.link.handle(Input::Closed { code }, bench.now);
        let events = bench.events();
        let Some(LinkEvent::Down { reason: said, retry_in: Some(wait) }) = events.last() else {
            panic!("{code}: {events:?}");
        };
        assert_eq!(*said, reason);
        assert!(*wait <= longest * SECOND, "{code}: {wait:?}");
        bench.pass(longest * SECOND);
        assert_eq!(bench.orders(), [Order::Connect], "{code}");
        bench.link.handle_connected(bench.now);
        bench.answer_join("ok");
        assert!(bench.link.is_joined(A));
    }
}

#[test]
fn an_announced_restart_is_told_before_it_comes() {
    let mut bench = Bench::joined(Vsn::V2);
    let system = "{\"message\":\"Server requested disconnect\",\"status\":\"ok\",\"extension\":\"system\",\"channel\":\"a\"}";
    bench.say((Some("1"), None), "realtime:a", "system", system);
    let events = bench.events();
    assert!(
        matches!(events.as_slice(), [LinkEvent::System { reason: Some(Reason::DisconnectRequested), .. }]),
        "{events:?}"
    );
    bench.link.handle(Input::Closed { code: 1012 }, bench.now);
    let reason = left(&bench.events()).map(|(reason, _)| reason);
    assert_eq!(reason.map(Reason::cause), Some(Cause::AnnouncedRestart));
    assert_eq!(reason, Some(Reason::DisconnectRequested));
}

#[test]
fn a_quota_close_waits_at_least_15_s() {
    let mut bench = Bench::joined(Vsn::V2);
    let system =
        "{\"message\":\"Too many messages per second\",\"status\":\"error\",\"extension\":\"system\"}";
    bench.say((Some("1"), None), "realtime:a", "system", system);
    bench.say((Some("1"), Some("1")), "realtime:a", "phx_close", "{}");
    let (reason, wait) = left(&bench.events()).expect("left");
    assert_eq!((reason, reason.cause()), (Reason::TooManyMessages, Cause::Quota));
    assert!(wait >= Some(15 * SECOND), "{wait:?}");
    let mut early = bench.pass(15 * SECOND - Duration::from_millis(1));
    early.retain(|message| message.head().event == "phx_join");
    assert!(early.is_empty());
    bench.answer_join("ok");
}

#[test]
fn refusals_give_up_wait_or_retry_by_their_reason() {
    for (text, reason, at_least, at_most, gives_up) in [
        ("Unauthorized: You do not have permissions", Reason::Unauthorized, 240, 360, true),
        ("PrivateOnly: This project", Reason::PrivateOnly, 240, 360, true),
        ("ConnectionRateLimitReached: Too many connected users", Reason::TooManyUsers, 30, 120, false),
        ("InitializingProjectConnection: x", Reason::Initializing, 1, 10, false),
        ("UnableToConnectToProject: x", Reason::Database, 2, 5, false),
    ] {
        let mut bench = Bench::new(config(Vsn::V2));
        bench.link.join(A, Join::new("a", true), bench.now).expect("fits");
        bench.link.handle_connected(bench.now);
        bench.answer_join(text);
        let events = bench.events();
        let (said, wait) = left(&events).expect("left");
        assert_eq!(said, reason);
        let wait = wait.expect("a wait");
        assert!(wait >= at_least * SECOND && wait <= at_most * SECOND, "{text}: {wait:?}");
        let told = events.contains(&LinkEvent::GiveUp { topic: Some(A), reason });
        assert_eq!(told, gives_up, "{text}");
        bench.link.leave(A, bench.now);
    }
}

#[test]
fn a_refused_upgrade_is_told_and_tried_again_with_a_new_key_at_once() {
    let mut bench = Bench::new(config(Vsn::V2));
    bench.link.join(A, Join::new("a", true), bench.now).expect("fits");
    let body = "{\"error\":\"Failed to validate JWT signature\"}".to_owned();
    bench.link.handle(Input::Failed(ConnectFailure::Refused { status: 401, body }), bench.now);
    let events = bench.events();
    assert!(
        events.contains(&LinkEvent::GiveUp { topic: None, reason: Reason::TokenSignature }),
        "{events:?}"
    );
    bench.pass(200 * SECOND);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.orders(), [Order::Connect], "the first");
    bench.link.set_key(unsigned("anon", 4_000_000_000), bench.now);
    assert_eq!(bench.orders(), [Order::Connect]);
}

#[test]
fn a_new_token_is_told_to_joined_channels_and_used_for_the_next_join() {
    let mut bench = Bench::joined(Vsn::V2);
    let fresh = unsigned("mirror", 3_000_000_000);
    bench.link.set_token(Some(fresh.clone()), bench.now);
    bench.link.set_token(Some(fresh.clone()), bench.now);
    let sent = bench.sent();
    let [Message::Text(head, payload)] = sent.as_slice() else { panic!("once: {sent:?}") };
    assert_eq!((head.event.as_str(), head.join_ref.as_deref()), ("access_token", Some("1")));
    assert!(String::from_utf8_lossy(payload).contains(fresh.reveal()));
    bench.link.handle(Input::Closed { code: 1006 }, bench.now);
    bench.pass(SECOND);
    bench.link.handle_connected(bench.now);
    let Some(Message::Text(_, payload)) = bench.pass_until("phx_join", SECOND) else { panic!("a join") };
    assert!(String::from_utf8_lossy(&payload).contains(fresh.reveal()));
}

#[test]
fn an_expiring_token_is_asked_for_in_time_and_again() {
    let mut bench = Bench::joined(Vsn::V2);
    let begin = bench.now;
    bench.link.set_clock(1_000_000, begin);
    bench.link.set_token(Some(unsigned("mirror", 1_003_600)), bench.now);
    let quiet = |bench: &mut Bench, time: Duration| {
        let until = bench.now + time;
        while bench.now < until {
            // As the shell does; it must not put the notice off.
            bench.link.set_clock(1_000_000 + (bench.now - begin).as_secs(), bench.now);
            bench.step(until);
            for message in bench.sent() {
                let reference = message.head().reference.clone();
                bench.say((None, reference.as_deref()), "phoenix", "phx_reply", "{\"status\":\"ok\"}");
            }
        }
    };
    quiet(&mut bench, 3_299 * SECOND);
    assert_eq!(bench.events(), []);
    quiet(&mut bench, 2 * SECOND);
    assert_eq!(bench.events(), [LinkEvent::TokenExpiring { left: 300 * SECOND }]);
    quiet(&mut bench, 60 * SECOND);
    let again = bench.events();
    let [LinkEvent::TokenExpiring { left }] = again.as_slice() else { panic!("once: {again:?}") };
    assert!((239..=241).contains(&left.as_secs()), "{left:?}");
    bench.link.set_token(Some(unsigned("mirror", 1_009_000)), bench.now);
    quiet(&mut bench, 600 * SECOND);
    assert_eq!(bench.events(), []);
}

#[test]
fn a_channel_closed_for_its_expired_token_returns_with_the_new_one_at_once() {
    let mut bench = Bench::joined(Vsn::V2);
    let system =
        "{\"message\":\"Token has expired 0 seconds ago\",\"status\":\"error\",\"extension\":\"system\"}";
    bench.say((Some("1"), None), "realtime:a", "system", system);
    bench.say((Some("1"), Some("1")), "realtime:a", "phx_close", "{}");
    let events = bench.events();
    assert_eq!(left(&events).map(|(reason, _)| reason), Some(Reason::TokenExpired));
    assert!(events.contains(&LinkEvent::TokenExpiring { left: Duration::ZERO }), "{events:?}");
    bench.link.set_token(Some(unsigned("mirror", 4_000_000_001)), bench.now);
    assert!(bench.pass_until("phx_join", SECOND).is_some(), "sooner than any wait");
}

#[test]
fn sockets_of_gateway_keys_are_replaced_before_24_h() {
    let mut config = config(Vsn::V2);
    config.key = key("sb_secret_x");
    let mut bench = Bench::new(config);
    bench.link.join(A, Join::new("a", true), bench.now).expect("fits");
    bench.link.handle_connected(bench.now);
    bench.answer_join("ok");
    let begin = bench.now;
    bench.events();
    while bench.link.is_joined(A) && bench.now < begin + 25 * 3600 * SECOND {
        bench.step(begin + 25 * 3600 * SECOND);
        for message in bench.sent() {
            let reference = message.head().reference.clone();
            bench.say((None, reference.as_deref()), "phoenix", "phx_reply", "{\"status\":\"ok\"}");
        }
    }
    let age = bench.now - begin;
    assert!(age > 22 * 3600 * SECOND && age < 24 * 3600 * SECOND, "{age:?}");
    assert_eq!(left(&bench.events()).map(|(reason, _)| reason), Some(Reason::AgeLimit));
}

#[test]
fn a_clock_that_jumps_ahead_ends_the_socket() {
    let mut bench = Bench::joined(Vsn::V2);
    bench.link.set_clock(1_000_000, bench.now);
    bench.pass(10 * SECOND);
    bench.link.set_clock(1_000_012, bench.now);
    assert!(bench.link.is_joined(A));
    bench.link.set_clock(1_009_000, bench.now);
    let events = bench.events();
    assert!(bench.orders().contains(&Order::Disconnect), "{events:?}");
}

#[test]
fn there_are_never_two_sockets() {
    let mut bench = Bench::joined(Vsn::V2);
    bench.pass_until("heartbeat", 30 * SECOND).expect("a beat");
    bench.pass(300 * SECOND);
    let asked = |orders: &[Order]| orders.iter().filter(|order| **order == Order::Connect).count();
    assert_eq!(asked(&bench.orders()), 0, "the shell has not said that the old one is gone");
    bench.link.handle(Input::Closed { code: 1000 }, bench.now);
    bench.pass(SECOND);
    assert_eq!(asked(&bench.orders()), 1);
    bench.pass(40 * SECOND);
    assert_eq!(asked(&bench.orders()), 0, "one attempt at a time");
}

#[test]
fn without_channels_there_is_no_socket() {
    let mut bench = Bench::joined(Vsn::V2);
    bench.link.leave(A, bench.now);
    let events = bench.events();
    assert!(bench.orders().contains(&Order::Disconnect), "{events:?}");
    bench.link.join(B, Join::new("a", true), bench.now).expect("the name is free again");
    bench.link.handle(Input::Closed { code: 1000 }, bench.now);
    bench.pass(SECOND);
    assert_eq!(bench.orders(), [Order::Connect]);
    bench.link.handle(Input::Failed(ConnectFailure::Unreachable), bench.now);
    bench.link.leave(B, bench.now);
    assert_eq!(bench.link.poll_timeout(), None);
}

#[test]
fn joins_go_one_at_a_time_and_five_a_second() {
    let mut bench = Bench::new(config(Vsn::V2));
    for number in 0..10 {
        bench
            .link
            .join(super::TopicNo(number), Join::new(&format!("t{number}"), false), bench.now)
            .expect("fits");
    }
    bench.link.handle_connected(bench.now);
    let begin = bench.now;
    assert_eq!(bench.sent().len(), 1);
    bench.link.handle_timeout(bench.now + SECOND);
    assert_eq!(bench.sent().len(), 0, "the first is not answered");
    bench.link = {
        let mut link = super::Link::new(config(Vsn::V2), 1);
        for number in 0..10 {
            link.join(super::TopicNo(number), Join::new(&format!("t{number}"), false), begin).expect("fits");
        }
        link.handle_connected(begin);
        link
    };
    for _ in 0..10 {
        bench.answer_join("ok");
    }
    assert!(bench.now - begin >= Duration::from_millis(1_800), "{:?}", bench.now - begin);
}

#[test]
fn a_join_without_an_answer_for_30_s_ends_the_socket() {
    let mut bench = Bench::new(config(Vsn::V2));
    bench.link.join(A, Join::new("a", true), bench.now).expect("fits");
    bench.link.handle_connected(bench.now);
    bench.pass_until("phx_join", SECOND).expect("a join");
    bench.orders();
    bench.pass(30 * SECOND - Duration::from_millis(1));
    assert_eq!(bench.orders(), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.orders(), [Order::Disconnect]);
    assert!(
        bench
            .events()
            .iter()
            .any(|event| matches!(event, LinkEvent::Down { reason: Reason::JoinTimeout, .. }))
    );
}

#[test]
fn a_socket_whose_joins_are_refused_again_and_again_is_replaced() {
    let mut bench = Bench::new(config(Vsn::V2));
    bench.link.join(A, Join::new("a", true), bench.now).expect("fits");
    bench.link.handle_connected(bench.now);
    bench.orders();
    for refusal in 1..=5 {
        assert_eq!(bench.orders(), [], "before refusal {refusal}");
        let until = bench.now + 70 * SECOND;
        let join = loop {
            assert!(bench.now < until, "a join within a minute");
            let sent = bench.sent();
            for beat in sent.iter().filter(|message| message.head().event == "heartbeat") {
                bench.say(
                    (None, beat.head().reference.as_deref()),
                    "phoenix",
                    "phx_reply",
                    "{\"status\":\"ok\"}",
                );
            }
            match sent.into_iter().find(|message| message.head().event == "phx_join") {
                Some(join) => break join.head().reference.clone(),
                None => bench.step(until),
            }
        };
        let refused = "{\"status\":\"error\",\"response\":{\"reason\":\"UnableToConnectToProject: x\"}}";
        bench.say((join.as_deref(), join.as_deref()), "realtime:a", "phx_reply", refused);
    }
    assert_eq!(bench.orders(), [Order::Disconnect]);
}

#[test]
fn an_unmatched_topic_is_joined_anew_even_without_acks() {
    let mut bench = Bench::new(config(Vsn::V2));
    let quiet = Join { ack: false, ..Join::new("b", false) };
    bench.link.join(B, quiet, bench.now).expect("fits");
    bench.link.handle_connected(bench.now);
    bench.answer_join("ok");
    let push = bench.push(B, 1, "{}").expect("taken");
    let unmatched = "{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}";
    bench.say((None, Some(&push)), "realtime:b", "phx_reply", unmatched);
    bench.say((None, Some(&push)), "realtime:b", "phx_reply", unmatched);
    let events = bench.events();
    assert_eq!(left(&events).map(|(reason, _)| reason), Some(Reason::UnmatchedTopic));
    assert_eq!(events.iter().filter(|event| matches!(event, LinkEvent::Left { .. })).count(), 1, "told once");
    bench.answer_join("ok");
    assert!(bench.link.is_joined(B));
}

const OK: &str = "{\"status\":\"ok\",\"response\":{}}";

/// Answers the heartbeat that goes out next, at once.
fn answer_beat(bench: &mut Bench) {
    let beat = bench.pass_until("heartbeat", SECOND).expect("a heartbeat behind the push");
    bench.say((None, beat.head().reference.as_deref()), "phoenix", "phx_reply", OK);
}

/// A bench whose first push fell silent, joined anew, with the ref of the trial.
fn on_trial() -> (Bench, String) {
    let mut bench = Bench::joined(Vsn::V2);
    bench.push(A, 1, "{}").expect("taken");
    answer_beat(&mut bench);
    bench.pass(Duration::from_millis(149));
    assert_eq!(left(&bench.events()), None, "not before its time");
    let silent = bench.now + Duration::from_millis(1);
    bench.answer_join("ok");
    assert_eq!(bench.now, silent, "joined anew at once");
    let events = bench.events();
    assert_eq!(left(&events), Some((Reason::WriteSilent, Some(Duration::ZERO))));
    assert_eq!(outcomes(&events), [(1, Outcome::Lost(Reason::WriteSilent))]);
    assert!(!events.contains(&LinkEvent::Joined { topic: A }), "which the owner is not told yet");
    let trial = bench.pass_until(super::super::TRIAL_EVENT, SECOND).expect("a broadcast of its own");
    assert_eq!(bench.push(A, 2, "{}"), Err(PushError::NotJoined), "not before it is known to be of use");
    assert_eq!(bench.events(), [], "nor is the owner told of the join");
    (bench, trial.head().reference.clone().expect("a ref"))
}

#[test]
fn a_silent_channel_on_a_live_socket_is_tried_and_called_denied() {
    let (mut bench, _) = on_trial();
    answer_beat(&mut bench);
    bench.pass(Duration::from_millis(2_999));
    assert_eq!(bench.events(), []);
    bench.pass(Duration::from_millis(1));
    let (reason, retry) = left(&bench.events()).expect("given up");
    assert_eq!((reason, reason.cause()), (Reason::WriteDenied, Cause::OurAuthorization));
    assert!(retry.is_some_and(|retry| retry <= 10 * SECOND), "and tried again");
    // The next join is on trial, too, and is told of when it may write.
    bench.answer_join("ok");
    let trial = bench.pass_until(super::super::TRIAL_EVENT, SECOND).expect("a trial");
    bench.say((None, trial.head().reference.as_deref()), "realtime:a", "phx_reply", OK);
    assert_eq!(bench.events(), [LinkEvent::Joined { topic: A }]);
    bench.push(A, 3, "{}").expect("taken");
}

#[test]
fn a_slow_server_passes_the_trial() {
    let (mut bench, trial) = on_trial();
    answer_beat(&mut bench);
    bench.pass(2 * SECOND);
    bench.say((None, Some(&trial)), "realtime:a", "phx_reply", OK);
    assert_eq!(bench.events(), [LinkEvent::Joined { topic: A }]);
}

#[test]
fn a_read_back_ends_the_doubt() {
    let (mut bench, _) = on_trial();
    bench.link.vouch(A);
    assert_eq!(bench.events(), [LinkEvent::Joined { topic: A }]);
    bench.push(A, 3, "{}").expect("taken");
    bench.pass(5 * SECOND);
    assert_eq!(left(&bench.events()), None, "nor does it begin again");
}

#[test]
fn a_channel_that_was_answered_once_is_never_doubted() {
    let mut bench = Bench::joined(Vsn::V2);
    let push = bench.push(A, 1, "{}").expect("taken");
    bench.say((None, Some(&push)), "realtime:a", "phx_reply", OK);
    bench.push(A, 2, "{}").expect("taken");
    assert!(bench.pass_until("heartbeat", SECOND).is_none(), "no question is asked");
    bench.pass(SECOND);
    assert_eq!(left(&bench.events()), None);
}

#[test]
fn a_dead_socket_is_no_silence() {
    let mut bench = Bench::joined(Vsn::V2);
    bench.push(A, 1, "{}").expect("taken");
    bench.pass_until("heartbeat", SECOND).expect("the question");
    bench.pass(9 * SECOND);
    assert_eq!(left(&bench.events()), None, "without an answer there is nothing to doubt");
}

#[test]
fn a_public_channel_is_not_doubted() {
    let mut bench = Bench::new(config(Vsn::V2));
    bench.link.join(A, Join::new("a", false), bench.now).expect("fits");
    bench.link.handle_connected(bench.now);
    bench.answer_join("ok");
    bench.push(A, 1, "{}").expect("taken");
    assert!(bench.pass_until("heartbeat", SECOND).is_none());
}
