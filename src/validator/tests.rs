//! Hours of traffic on a virtual clock, whose every fate is known beforehand, and memory that stays bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ulid::Ulid;

use super::noise::{Allow, Noise, Rule};
use super::pairing::{BATCHES_MAX, EXPIRY, MESSAGES_MAX, Sent, Validator, mark};
use super::verdict::{GATE, Verdict, judge};
use super::{Kind, NotCompared};
use crate::envelope::{Class, Envelope, Header, Message, Received, To, crc32};
use crate::session::{Direction, Key, Opcode, Seq, SessionNo};

const SRC: &str = "pod-1-00000001";

#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
fn origin() -> Instant {
    Instant::now()
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % end
    }
}

/// A batch of our own making: records as (sessions, body).
struct Parcel {
    id: Ulid,
    records: Vec<(Vec<Key>, Vec<u8>)>,
}

impl Parcel {
    fn messages(&self) -> u64 {
        self.records.iter().map(|(keys, _)| keys.len() as u64).sum()
    }

    fn sent(&self, at: Instant) -> Vec<Sent> {
        let one = |(keys, body): &(Vec<Key>, Vec<u8>)| Sent {
            keys: keys.clone(),
            crc: crc32(body),
            len: body.len() as u32,
            op: Opcode::Text,
            class: Class::Medium,
            event: Arc::from("tick"),
            mark: mark("tick", "/ws"),
            redacted: false,
            part: None,
            at,
        };
        self.records.iter().map(one).collect()
    }

    fn back(&self, validator: &mut Validator, spoil: bool, now: Instant) {
        let mut messages = Vec::new();
        for (keys, body) in &self.records {
            let mut body = body.clone();
            if spoil {
                body[7] ^= 1;
            }
            let to: Vec<To> = keys.iter().map(|key| To(key.session, key.seq)).collect();
            messages.push(Received::sent(Message {
                to: to.into(),
                dir: keys[0].dir,
                op: Opcode::Text,
                kind: "tick".into(),
                class: Class::Medium,
                path: "/ws".into(),
                at_ms: 0,
                id: "x".into(),
                crc: crc32(&body),
                body: body.into(),
                part: None,
                redacted: false,
            }));
        }
        let header = Header { src: SRC.into(), batch: self.id, at_ms: 0, replay: false };
        let envelope = Envelope { header, messages, sessions: Vec::new() };
        let bodies: Vec<&[u8]> = self.records.iter().map(|(_, body)| body.as_slice()).collect();
        validator.returned(&envelope, |place| bodies.get(place).copied(), now);
    }
}

/// Makes parcels to some sessions, each with its own numbers.
#[derive(Default)]
struct Maker {
    seqs: BTreeMap<u32, u64>,
    made: u128,
}

impl Maker {
    fn parcel(&mut self, dice: &mut Dice) -> Parcel {
        self.made += 1;
        let records = (0..=dice.below(3)).map(|_| {
            let first = dice.below(50) as u32;
            let keys = (0..=dice.below(3) as u32).map(|n| {
                let session = (first + n * 7) % 50;
                let seq = self.seqs.entry(session).or_default();
                *seq += 1;
                Key { session: SessionNo(session), dir: Direction::Down, seq: Seq(*seq) }
            });
            let keys: Vec<Key> = keys.collect();
            let body = format!("{{\"n\":  {}}}", keys[0].seq.0).into_bytes();
            (keys, body)
        });
        let records = records.collect();
        Parcel { id: Ulid(self.made), records }
    }
}

/// What a life of hours must come to.
fn live(seed: u64, hours: u64) -> ([u64; 7], [u64; 7], Validator) {
    let (start, mut dice, mut maker) = (origin(), Dice(seed), Maker::default());
    let mut validator = Validator::new(SRC, Noise::default(), (start, 0));
    let (mut now, mut expected) = (start, [0; 7]);
    while now < start + Duration::from_secs(hours * 3_600) {
        now += Duration::from_millis(200 + dice.below(300));
        let parcel = maker.parcel(&mut dice);
        let all = parcel.messages();
        validator.sent(parcel.id, 1, parcel.sent(now), now);
        now += Duration::from_millis(5);
        let mut expect = |kind: Kind, count: u64| expected[kind as usize] += count;
        match dice.below(40) {
            0 => expect(Kind::Missing, all),
            1 => {
                parcel.back(&mut validator, false, now);
                parcel.back(&mut validator, false, now);
                expect(Kind::Matched, all);
                expect(Kind::Duplicate, all);
            }
            2 => {
                parcel.back(&mut validator, true, now);
                expect(Kind::Altered, all);
            }
            3 => {
                // Lost once; published again under its name after ten seconds, and back.
                now += Duration::from_millis(10_000);
                validator.sent(parcel.id, 2, parcel.sent(now), now);
                now += Duration::from_millis(20);
                parcel.back(&mut validator, false, now);
                expect(Kind::Late, all);
            }
            4 => {
                // The very same list again, overtaken as a whole.
                let mut twin = Parcel { id: Ulid(u128::MAX - maker.made), records: Vec::new() };
                for (keys, body) in &parcel.records {
                    let keys = keys.iter().map(|key| {
                        let seq = maker.seqs.entry(key.session.0).or_default();
                        *seq += 1;
                        Key { seq: Seq(*seq), ..*key }
                    });
                    twin.records.push((keys.collect(), body.clone()));
                }
                validator.sent(twin.id, 1, twin.sent(now), now);
                twin.back(&mut validator, false, now);
                parcel.back(&mut validator, false, now);
                expect(Kind::Matched, all);
                expect(Kind::Reordered, all);
            }
            5 => {
                let stranger = Parcel { id: Ulid(dice.below(1 << 40).into()), ..maker.parcel(&mut dice) };
                parcel.back(&mut validator, false, now);
                let stranger = Parcel { id: Ulid(u128::from(u64::MAX) + stranger.id.0), ..stranger };
                stranger.back(&mut validator, false, now);
                expect(Kind::Matched, all);
                expect(Kind::Extra, stranger.messages());
            }
            _ => {
                parcel.back(&mut validator, false, now);
                expect(Kind::Matched, all);
            }
        }
        validator.advance(now);
    }
    validator.advance(now + EXPIRY * 2);
    let total = validator.book().total();
    (Kind::ALL.map(|kind| total.of(kind)), expected, validator)
}

#[test]
fn hours_of_traffic_are_judged_as_they_went() {
    for seed in 0..4 {
        let (found, expected, mut validator) = live(seed, 3);
        assert_eq!(found, expected, "seed {seed}: {:?}", Kind::ALL);
        assert!(expected.iter().all(|count| *count > 0), "every kind happens");
        let total = validator.book().total();
        assert_eq!(judge(total.pairs(), total.bad(), GATE), Verdict::Mismatch);
        assert_eq!(validator.held()[..2], [0, 0], "nothing is left");
        assert!(validator.samples().len() <= 5 * 7);
        let (good, bad) = validator.take_evidence();
        assert_eq!((good + bad, bad), (total.pairs(), total.bad()), "the breaker hears of every pair once");
        assert_eq!(validator.take_evidence(), (0, 0));
    }
}

#[test]
fn a_gap_of_our_own_read_back_and_a_refusal_are_no_loss() {
    let (start, mut dice, mut maker) = (origin(), Dice(1), Maker::default());
    let mut validator = Validator::new(SRC, Noise::default(), (start, 0));
    let (lost, again, refused, old) =
        (maker.parcel(&mut dice), maker.parcel(&mut dice), maker.parcel(&mut dice), maker.parcel(&mut dice));
    for parcel in [&lost, &again, &refused] {
        validator.sent(parcel.id, 1, parcel.sent(start), start);
    }
    validator.refused(refused.id);
    validator.interrupted();
    let back = start + Duration::from_secs(30);
    validator.sent(again.id, 2, again.sent(back), back);
    again.back(&mut validator, false, back + Duration::from_millis(5));
    validator.begin_evidence(back);
    validator.sent(old.id, 1, old.sent(back), back);
    validator.advance(back + EXPIRY * 2);
    let total = validator.book().total();
    assert_eq!((total.of(Kind::Matched), total.of(Kind::Late)), (again.messages(), 0));
    assert_eq!(total.of(Kind::Missing), old.messages());
    assert_eq!(total.left_out(NotCompared::Gap), lost.messages());
    assert_eq!(total.left_out(NotCompared::Refused), refused.messages());
    assert_eq!(validator.take_evidence(), (0, old.messages()), "what was before the opening is no evidence");
    lost.back(&mut validator, false, back + EXPIRY * 2);
    assert_eq!(validator.book().total().left_out(NotCompared::Stale), lost.messages(), "nobody's invention");
}

#[test]
fn noise_rules_are_heard_and_only_where_they_apply() {
    let rule = Rule { pointer: "/n".to_owned(), allow: Allow::Ignore, kind: None };
    let (now, mut dice, mut maker) = (origin(), Dice(1), Maker::default());
    for (rules, kind) in [(vec![rule], Kind::Matched), (Vec::new(), Kind::Altered)] {
        let mut validator = Validator::new(SRC, Noise::new(rules).unwrap(), (now, 0));
        let mut parcel = maker.parcel(&mut dice);
        for (_, body) in &mut parcel.records {
            *body = b"{\"n\":  2}".to_vec(); // spoiling makes a 3 of it
        }
        validator.sent(parcel.id, 1, parcel.sent(now), now);
        parcel.back(&mut validator, true, now);
        let total = validator.book().total();
        assert_eq!(total.of(kind), parcel.messages());
        assert_eq!(total.by_noise, if kind == Kind::Matched { parcel.messages() } else { 0 });
    }
}

#[test]
fn memory_is_bounded_and_what_is_left_out_is_said() {
    let (start, mut validator) = (origin(), Validator::new(SRC, Noise::default(), (origin(), 0)));
    let (mut made, mut dice, mut maker) = (0, Dice(3), Maker::default());
    let mut last = None;
    for n in 0..BATCHES_MAX as u64 + 5_000 {
        let parcel = maker.parcel(&mut dice);
        made += parcel.messages();
        validator.sent(parcel.id, 1, parcel.sent(start), start + Duration::from_micros(n));
        let [waiting, batches, _] = validator.held();
        assert!(waiting <= MESSAGES_MAX && batches <= BATCHES_MAX);
        last = Some(parcel);
    }
    let now = start + Duration::from_secs(1);
    last.unwrap().back(&mut validator, false, now);
    validator.advance(start + EXPIRY * 3);
    let total = validator.book().total();
    assert_eq!(total.of(Kind::Missing) + total.left_out(NotCompared::Full), made);
    assert_eq!(total.of(Kind::Extra), 0, "what was forgotten is not called invented");
    assert!(total.coverage().unwrap() < 0.9 && total.left_out(NotCompared::Full) > 0);
    assert_eq!(validator.held()[..2], [0, 0]);
}

proptest! {
    /// Whatever happens in whatever order: every published message ends once, or waits.
    #[test]
    fn every_message_ends_once(ops in prop::collection::vec((0_u8..8, 0_usize..30, 0_u64..30_000), 1..120), seed: u64) {
        let (mut now, mut dice, mut maker) = (origin(), Dice(seed), Maker::default());
        let mut validator = Validator::new(SRC, Noise::default(), (now, 0));
        let mut parcels: Vec<Parcel> = Vec::new();
        let mut made = 0;
        for (op, which, ms) in ops {
            now += Duration::from_millis(ms / 10);
            let chosen = if parcels.is_empty() { None } else { Some(which % parcels.len()) };
            match (op, chosen) {
                (0..=2, _) | (_, None) => {
                    let parcel = maker.parcel(&mut dice);
                    made += parcel.messages();
                    validator.sent(parcel.id, 1, parcel.sent(now), now);
                    parcels.push(parcel);
                }
                (3, Some(at)) => parcels[at].back(&mut validator, false, now),
                (4, Some(at)) => parcels[at].back(&mut validator, true, now),
                (5, Some(_)) => validator.interrupted(),
                (6, Some(at)) => validator.refused(parcels[at].id),
                (_, Some(_)) => {
                    now += Duration::from_millis(ms);
                    validator.advance(now);
                }
            }
            let waiting = validator.held()[0] as u64;
            let total = validator.book().total();
            let ended = total.pairs() - total.of(Kind::Duplicate) - total.of(Kind::Extra);
            let out = total.left_out(NotCompared::Gap) + total.left_out(NotCompared::Refused);
            prop_assert_eq!(ended + out + waiting, made);
        }
    }
}
