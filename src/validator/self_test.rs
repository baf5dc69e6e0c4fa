//! Known faults for a copy of the validator: one of each kind, with the noise rules in force. What goes unseen, or is
//! called by another name, is told; then no figure of the real one means anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ulid::Ulid;

use super::noise::Noise;
use super::pairing::{EXPIRY, LATENESS, Sent, Validator, mark};
use super::{Kind, NotCompared};
use crate::envelope::{Class, Envelope, Header, Message, Received, To, crc32, decode, encode};
use crate::session::{Direction, Key, Opcode, Seq, SessionNo};

/// How often the test is made.
pub const EVERY: Duration = Duration::from_secs(60);

const SRC: &str = "self-test";
const EVENT: &str = "crossfade.self_test";
const PATH: &str = "/self-test";
const STEP: Duration = Duration::from_millis(5);

/// A fault that went unseen, or was called otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// What was injected.
    pub injected: Kind,
    /// How many messages it hit …
    pub expected: u64,
    /// … and how many were found.
    pub found: u64,
}

/// Makes the test at the instant `now`, which is only a point of departure.
///
/// # Errors
/// Every kind whose count is not what was injected.
pub fn run(noise: &Noise, now: Instant) -> Result<(), Vec<Unseen>> {
    run_on(Validator::new(SRC, noise.fresh(), (now, 0)), now)
}

/// The test on this validator, which must be new.
pub(crate) fn run_on(validator: Validator, now: Instant) -> Result<(), Vec<Unseen>> {
    let mut bench = Bench { validator, now: now + EXPIRY + STEP, number: 0 };
    bench.validator.advance(bench.now);
    // In this order: clean, twice, overtaken, altered in three ways, nobody's, late, lost.
    let mut expected = [0; Kind::ALL.len()];
    let mut expect = |kind: Kind, messages: u64| expected[kind as usize] += messages;
    bench.round_trip();
    let again = bench.round_trip();
    bench.back(&again);
    expect(Kind::Matched, 4);
    expect(Kind::Duplicate, 2);
    let (first, second) = (bench.publish(), bench.publish());
    bench.back(&second);
    bench.back(&first);
    expect(Kind::Matched, 2);
    expect(Kind::Reordered, 2);
    for how in [spoil_body, spoil_json, spoil_list] {
        let sent = bench.publish();
        bench.back(&how(&sent));
        expect(Kind::Altered, 2);
    }
    let nobody = bench.envelope(Ulid(7), 1_000_000);
    bench.back(&nobody);
    expect(Kind::Extra, 2);
    let late = bench.publish();
    bench.now += LATENESS + STEP;
    bench.back(&late);
    expect(Kind::Late, 2);
    bench.publish();
    bench.now += EXPIRY + STEP;
    bench.validator.advance(bench.now);
    expect(Kind::Missing, 2);
    let total = bench.validator.book().total();
    debug_assert_eq!(total.left_out(NotCompared::Full), 0, "the bench is small");
    let unseen: Vec<Unseen> = Kind::ALL
        .into_iter()
        .zip(expected)
        .map(|(injected, expected)| Unseen { injected, expected, found: total.of(injected) })
        .filter(|one| one.expected != one.found)
        .collect();
    if unseen.is_empty() { Ok(()) } else { Err(unseen) }
}

/// A publisher and its read-back in small: each batch is one message to two sessions.
struct Bench {
    validator: Validator,
    now: Instant,
    number: u64,
}

impl Bench {
    fn publish(&mut self) -> Vec<u8> {
        self.number += 1;
        self.now += STEP;
        let (batch, seq) = (Ulid(1_000 + u128::from(self.number)), self.number);
        let body = body(seq);
        let key = |session| Key { session: SessionNo(session), dir: Direction::Down, seq: Seq(seq) };
        let sent = Sent {
            keys: vec![key(1), key(2)],
            crc: crc32(&body),
            len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            op: Opcode::Text,
            class: Class::Medium,
            event: Arc::from(EVENT),
            mark: mark(EVENT, PATH),
            redacted: false,
            part: None,
            at: self.now,
        };
        self.validator.sent(batch, 1, vec![sent], self.now);
        self.envelope(batch, seq)
    }

    fn round_trip(&mut self) -> Vec<u8> {
        let text = self.publish();
        self.back(&text);
        text
    }

    fn back(&mut self, text: &[u8]) {
        self.now += STEP;
        let original = body(decode(text).map_or(0, |envelope| seq_of(&envelope)));
        match decode(text) {
            Ok(envelope) => self.validator.returned(&envelope, |_| Some(&original), self.now),
            Err(_) => self.validator.malformed(),
        }
        self.validator.advance(self.now);
    }

    /// The batch as it travels.
    fn envelope(&self, batch: Ulid, seq: u64) -> Vec<u8> {
        let body = body(seq);
        let message = Message {
            to: vec![To(SessionNo(1), Seq(seq)), To(SessionNo(2), Seq(seq))].into(),
            dir: Direction::Down,
            op: Opcode::Text,
            kind: EVENT.into(),
            class: Class::Medium,
            path: PATH.into(),
            at_ms: 0,
            id: "0".into(),
            crc: crc32(&body),
            body: body.into(),
            part: None,
            redacted: false,
        };
        encode(&Envelope {
            header: Header { src: SRC.into(), batch, at_ms: 0, replay: false },
            messages: vec![Received::sent(message)],
            sessions: Vec::new(),
        })
    }
}

/// The batch's name says which message it was, whatever became of its list.
fn seq_of(envelope: &Envelope<'_>) -> u64 {
    u64::try_from(envelope.header.batch.0.saturating_sub(1_000)).unwrap_or(0)
}

fn body(seq: u64) -> Vec<u8> {
    format!("{{\"crossfade_self_test\":{seq},\"text\":\"as it was sent\"}}").into_bytes()
}

/// The bytes are others than the checksum says.
fn spoil_body(text: &[u8]) -> Vec<u8> {
    replace(text, "as it was sent", "as it was Sent")
}

/// Another text with a checksum of its own: only what was sent can tell.
fn spoil_json(text: &[u8]) -> Vec<u8> {
    let Ok(mut envelope) = decode(text) else { return text.to_vec() };
    for got in &mut envelope.messages {
        let other = String::from_utf8_lossy(&got.message.body).replace("as it", "as If");
        got.message.crc = crc32(other.as_bytes());
        got.message.body = other.into_bytes().into();
    }
    encode(&envelope)
}

/// The list of those who are to have it is another one.
fn spoil_list(text: &[u8]) -> Vec<u8> {
    replace(text, "[[1,", "[[3,")
}

fn replace(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(text).replace(from, to).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::Sabotage;
    use super::super::noise::{Allow, Rule};
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_validator_that_works_sees_every_fault() {
        assert_eq!(run(&Noise::default(), origin()), Ok(()));
    }

    #[test]
    fn every_sabotage_is_noticed_by_the_kind_that_it_hides() {
        for (sabotage, hidden) in [
            (Sabotage::TrustBytes, Kind::Altered),
            (Sabotage::ForgetOrder, Kind::Reordered),
            (Sabotage::ForgiveCopies, Kind::Duplicate),
            (Sabotage::ForgetMissing, Kind::Missing),
            (Sabotage::PassStrangers, Kind::Extra),
            (Sabotage::ForgetClock, Kind::Late),
        ] {
            let mut validator = Validator::new(SRC, Noise::default(), (origin(), 0));
            validator.sabotage = Some(sabotage);
            let unseen = run_on(validator, origin()).expect_err("a sabotage goes unnoticed");
            assert!(
                unseen.iter().any(|one| one.injected == hidden && one.found < one.expected),
                "{unseen:?}"
            );
        }
    }

    #[test]
    fn a_noise_rule_that_hides_everything_is_noticed() {
        let rule = |pointer: &str| Rule { pointer: pointer.to_owned(), allow: Allow::Ignore, kind: None };
        let fine = Noise::new(vec![rule("/ts")]).unwrap();
        assert_eq!(run(&fine, origin()), Ok(()));
        let blind = Noise::new(vec![rule("/*")]).unwrap();
        let unseen = run(&blind, origin()).unwrap_err();
        assert!(
            unseen.iter().any(|one| one.injected == Kind::Altered && one.found < one.expected),
            "{unseen:?}"
        );
    }
}
