use super::super::{Clock, Config, ConnId, Emulator, Frame, Limits, Out, OutFrame, Secret, UpgradeRequest};
use super::*;
use std::time::{Duration, Instant};

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

/// A sender (A, ack) and a listener (B) on `realtime:t`, and a virtual clock.
struct Pair {
    emulator: Emulator,
    now: Instant,
    pushed: u32,
}

impl Pair {
    fn new() -> Pair {
        #[expect(clippy::disallowed_methods, reason = "one origin for the virtual clock")]
        let now = Instant::now();
        let secret = Secret::new("s");
        let key = secret.mint(&super::super::Claims::of("anon", 4_000_000_000));
        let config = Config { limits: Limits::generous(), ..Config::new(secret) };
        let emulator = Emulator::new(config, 1, Clock { at: now, unix_ms: 1_000_000_000_000 });
        let mut pair = Pair { emulator, now, pushed: 0 };
        for id in [A, B] {
            let query = format!("vsn=2.0.0&apikey={key}");
            let request = UpgradeRequest { path: "/socket/websocket".to_owned(), query, headers: Vec::new() };
            pair.emulator.connect(id, &request, now);
            pair.say(id, r#"["1","1","realtime:t","phx_join",{"config":{"broadcast":{"ack":true}}}]"#);
        }
        pair.heard();
        pair
    }

    fn say(&mut self, id: ConnId, text: &str) {
        self.emulator.handle(id, Frame::Text(text.to_owned()), self.now);
    }

    /// A pushes its next number.
    fn push(&mut self) {
        self.pushed += 1;
        let n = self.pushed;
        self.say(A, &format!(r#"["1","{n}","realtime:t","broadcast",{{"n":{n}}}]"#));
    }

    fn wait(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(due) = self.emulator.poll_timeout().filter(|due| *due <= until) {
            self.emulator.handle_timeout(due);
        }
        self.now = until;
    }

    /// What was heard since: `a1` = ack of push 1, `e1` = its refusal, `d1` = delivery of push 1, other things by name.
    fn heard(&mut self) -> String {
        let mut out = Vec::new();
        while let Some((id, what)) = self.emulator.poll_transmit() {
            let who = if id == A { "A" } else { "B" };
            out.push(match what {
                Out::Frame(OutFrame::Text(bytes)) => short(who, std::str::from_utf8(&bytes).unwrap()),
                Out::Frame(OutFrame::Binary(_)) => "binary".to_owned(),
                Out::Cut(_) => format!("{who}cut"),
                Out::Close { code } => format!("{who}{code}"),
                Out::Reset => format!("{who}reset"),
                Out::Http(answer) => format!("{}", answer.status),
            });
        }
        out.join(" ")
    }

    fn with(fault: &str) -> Pair {
        let mut pair = Pair::new();
        pair.emulator.inject(Fault::parse(fault).unwrap(), pair.now);
        pair
    }
}

fn short(who: &str, text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let (reference, event) = (value[1].as_str().unwrap_or("-"), value[3].as_str().unwrap());
    match event {
        "phx_reply" if value[4]["status"] == "ok" => format!("a{reference}"),
        "phx_reply" => format!("e{reference}"),
        "broadcast" => format!("d{}", value[4]["n"]),
        "system" => format!("{who}:{}", value[4]["message"].as_str().unwrap()),
        other => format!("{who}:{other}"),
    }
}

#[test]
fn without_faults_every_push_is_delivered_and_acked() {
    let mut pair = Pair::new();
    pair.push();
    assert_eq!(pair.heard(), "d1 a1");
}

#[test]
fn counts_choose_the_pushes() {
    let mut pair = Pair::with("drop after_pushes=1 for_pushes=2");
    (0..4).for_each(|_| pair.push());
    assert_eq!(pair.heard(), "d1 a1 a2 a3 d4 a4");
}

#[test]
fn topics_choose_the_pushes() {
    let mut pair = Pair::with("drop topic=other*");
    pair.push();
    assert_eq!(pair.heard(), "d1 a1");
}

#[test]
fn a_duration_ends_on_the_given_clock() {
    let mut pair = Pair::with("lose after_ms=100 for_ms=100");
    pair.push();
    pair.wait(100);
    pair.push();
    pair.wait(100);
    pair.push();
    assert_eq!(pair.heard(), "d1 a1 d3 a3");
}

#[test]
fn a_nack_is_an_error_and_no_delivery() {
    let mut pair = Pair::with("nack for_pushes=1");
    pair.push();
    pair.push();
    assert_eq!(pair.heard(), "e1 d2 a2");
}

#[test]
fn slow_pushes_keep_their_order() {
    let mut pair = Pair::with("slow delay_ms=300 for_pushes=1");
    pair.push();
    pair.push();
    assert_eq!(pair.heard(), "");
    pair.wait(299);
    assert_eq!(pair.heard(), "");
    pair.wait(1);
    assert_eq!(pair.heard(), "d1 a1 d2 a2");
}

#[test]
fn a_stall_of_everything_holds_heartbeats_and_ends_in_order() {
    let mut pair = Pair::with("stall for_ms=1000");
    pair.push();
    pair.say(B, r#"[null,"7","phoenix","heartbeat",{}]"#);
    pair.push();
    pair.wait(999);
    assert_eq!(pair.heard(), "");
    pair.wait(1);
    assert_eq!(pair.heard(), "d1 a1 a7 d2 a2");
}

#[test]
fn a_stall_without_end_goes_on_when_cleared() {
    let mut pair = Pair::with("stall topic=t");
    pair.push();
    pair.say(B, r#"[null,"7","phoenix","heartbeat",{}]"#);
    pair.wait(50_000);
    assert_eq!(pair.heard(), "a7");
    pair.emulator.clear_faults(None, pair.now);
    assert_eq!(pair.heard(), "d1 a1");
}

#[test]
fn duplicates_and_reorders_only_the_delivery() {
    let mut pair = Pair::with("duplicate for_pushes=1");
    pair.push();
    assert_eq!(pair.heard(), "d1 d1 a1");
    let mut pair = Pair::with("reorder for_pushes=1");
    pair.push();
    pair.push();
    assert_eq!(pair.heard(), "a1 d2 d1 a2");
}

#[test]
fn a_reordered_delivery_without_successor_comes_late() {
    let mut pair = Pair::with("reorder for_pushes=1");
    pair.push();
    assert_eq!(pair.heard(), "a1");
    pair.wait(200);
    assert_eq!(pair.heard(), "d1");
}

#[test]
fn corruption_changes_one_character_and_keeps_the_length() {
    let mut pair = Pair::with("corrupt for_pushes=1");
    pair.push();
    assert_eq!(pair.heard(), "d2 a1");
}

#[test]
fn resets_and_cuts_hit_whom_they_name() {
    let mut pair = Pair::with("reset of=listeners after_pushes=1");
    pair.push();
    pair.push();
    assert_eq!(pair.heard(), "d1 a1 d2 a2 Breset");
    let mut pair = Pair::with("cut of=sender");
    pair.push();
    assert_eq!(pair.heard(), "d1 Acut");
    let mut pair = Pair::with("reset");
    pair.wait(0);
    assert_eq!(pair.heard(), "Areset Breset");
}

#[test]
fn a_rate_limit_throws_listeners_out() {
    let mut pair = Pair::with("rate_limit for_pushes=1");
    pair.push();
    assert_eq!(pair.heard(), "d1 a1 B:Too many messages per second B:phx_close");
}

#[test]
fn an_expiry_closes_the_channels_in_scope() {
    let mut pair = Pair::with("expire topic=t after_pushes=1");
    pair.push();
    pair.push();
    let expired = "Token has expired 0 seconds ago";
    assert_eq!(pair.heard(), format!("d1 a1 d2 a2 A:{expired} A:phx_close B:{expired} B:phx_close"));
}

#[test]
fn a_restart_closes_and_comes_back() {
    let mut pair = Pair::with("restart down_ms=100");
    pair.wait(22);
    assert_eq!(pair.heard(), "A1012 B1012");
    assert!(!pair.emulator.is_up());
    pair.wait(78);
    assert!(pair.emulator.is_up());
}

#[test]
fn refused_connects_are_counted_and_answered_late() {
    let mut pair = Pair::with("refuse_connects status=429 for_pushes=1");
    let request = UpgradeRequest { path: String::new(), query: String::new(), headers: Vec::new() };
    pair.emulator.connect(ConnId(3), &request, pair.now);
    pair.emulator.connect(ConnId(4), &request, pair.now);
    pair.wait(2_000);
    assert_eq!(pair.heard(), "429 401");
}

#[test]
fn scripts_read_from_json_and_words_alike() {
    let json =
        Fault::parse(r#"{"kind":"slow","delay_ms":200,"topic":"room:*","after_pushes":10,"for_pushes":5}"#)
            .unwrap();
    let words = Fault::parse("slow delay_ms=200, topic=room:* after_pushes=10 for_pushes=5").unwrap();
    assert_eq!(json, words);
    let again = serde_json::to_string(&json).unwrap();
    assert_eq!(Fault::parse(&again).unwrap(), json);
}

#[test]
fn mistakes_in_scripts_are_told() {
    for (script, told) in [
        ("drop for_push=1", "for_push"),
        ("explode", "explode"),
        ("slow", "delay_ms"),
        ("drop for_pushes=x", "whole number"),
        ("{", "JSON"),
        ("", "empty"),
        (r#"{"kind":"drop","form_ms":1}"#, "form_ms"),
    ] {
        let error = Fault::parse(script).unwrap_err();
        assert!(error.contains(told), "{script}: {error}");
    }
}
