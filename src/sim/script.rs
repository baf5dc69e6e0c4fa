//! What one life holds: which messages the service writes when, and what goes wrong in Realtime meanwhile.
//! Everything follows from the seed.

use crate::emulator::{Fault, FaultKind, Who};
use crate::ws::{FrameKind, Head, fragment, frame};

/// SplitMix64: small, even, and the same on every machine.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// 0 to `below` - 1.
    pub(super) const fn number(&mut self, below: u64) -> u64 {
        if below == 0 { 0 } else { (self.bits() >> 16) % below }
    }

    /// `from` to `to`, both possible.
    pub(super) const fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.number(to - from + 1)
    }

    /// True once in `n` times.
    pub(super) const fn one_in(&mut self, n: u64) -> bool {
        self.number(n) == 0
    }
}

/// Bytes that the service writes at one moment.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) at_ms: u64,
    pub(super) bytes: Vec<u8>,
}

/// One session's script and what must come of it.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) writes: Vec<Write>,
    /// The frames of data messages, in order, as they are on the wire.
    pub(super) data: Vec<Vec<u8>>,
    /// The control frames, in order.
    pub(super) control: Vec<Vec<u8>>,
    /// The bodies of the messages, by number.
    pub(super) bodies: Vec<Vec<u8>>,
    /// The service says goodbye at the end.
    pub(super) closes: bool,
}

impl Script {
    /// A whole message in frames, perhaps with pings between them.
    fn message(&mut self, at_ms: u64, body: Vec<u8>, text: bool, dice: &mut Dice) {
        let kind = if text { FrameKind::Text } else { FrameKind::Binary };
        let pieces = if dice.one_in(4) && body.len() >= 4 { dice.between(2, 4) as usize } else { 1 };
        let size = body.len().div_ceil(pieces).max(1);
        let mut bytes = Vec::new();
        for place in 0..pieces {
            let piece = &body[(place * size).min(body.len())..((place + 1) * size).min(body.len())];
            let kind = if place == 0 { kind } else { FrameKind::Continuation };
            let head = Head { fin: place + 1 == pieces, ..Head::new(kind, 0, None) };
            let frame = fragment(&head, piece);
            bytes.extend_from_slice(&frame);
            self.data.push(frame);
            if place + 1 < pieces && dice.one_in(2) {
                bytes.extend(self.ping(dice));
            }
        }
        self.bodies.push(body);
        self.writes.push(Write { at_ms, bytes });
    }

    /// A service that says something of its own every so often.
    pub(super) fn steady(session: usize, every_ms: u64, length_ms: u64, dice: &mut Dice) -> Self {
        let mut script = Self::default();
        let mut at_ms = dice.number(every_ms);
        while at_ms < length_ms {
            script.message(at_ms, unique(session, script.bodies.len(), 40), true, dice);
            at_ms += every_ms;
        }
        script
    }

    fn ping(&mut self, dice: &mut Dice) -> Vec<u8> {
        let kind = if dice.one_in(3) { FrameKind::Pong } else { FrameKind::Ping };
        let ping = frame(kind, format!("p{}", self.control.len()).as_bytes(), None);
        self.control.push(ping.clone());
        ping
    }

    /// Some messages at the end, when everything is well again.
    pub(super) fn epilogue(&mut self, session: usize, at_ms: u64, dice: &mut Dice) {
        for _ in 0..3 {
            let body = unique(session, self.bodies.len(), dice.number(100) as usize);
            self.message(at_ms, body, true, dice);
        }
    }
}

fn unique(session: usize, number: usize, pad: usize) -> Vec<u8> {
    format!("{{\"event\":\"tick\",\"s\":{session},\"n\":{number},\"pad\":\"{}\"}}", "x1".repeat(pad / 2))
        .into_bytes()
}

/// The scripts of all sessions of a life.
pub(super) fn scripts(dice: &mut Dice) -> Vec<Script> {
    let sessions = dice.between(1, 6) as usize;
    let huge = dice.one_in(40);
    let length_ms = dice.between(1_500, 8_000);
    let beats: Vec<u64> = (0..dice.number(12)).map(|_| dice.number(length_ms)).collect();
    let mut all = Vec::new();
    for session in 0..sessions {
        let mut script = Script::default();
        let mut moments: Vec<(u64, Option<usize>)> =
            beats.iter().enumerate().map(|(place, at)| (*at, Some(place))).collect();
        let mut at = dice.number(600);
        while at < length_ms {
            moments.push((at, None));
            at += if dice.one_in(3) { 0 } else { dice.between(1, 900) };
            if moments.len() > 60 {
                break;
            }
        }
        moments.sort_unstable();
        let mut giants = u64::from(huge && session == 0);
        for (at, beat) in moments {
            if dice.one_in(5) {
                let bytes = script.ping(dice);
                script.writes.push(Write { at_ms: at, bytes });
            }
            let number = script.bodies.len();
            let (body, text) = match beat {
                Some(place) => (format!("{{\"type\":\"price\",\"v\":{}}}", place / 2).into_bytes(), true),
                None if giants > 0 && dice.one_in(6) => {
                    giants -= 1;
                    (unique(session, number, 270_000), true)
                }
                None => match dice.number(12) {
                    0 => ((0..dice.number(300)).map(|_| dice.bits() as u8).collect(), false),
                    1 => (unique(session, number, dice.between(2_000, 9_000) as usize), true),
                    2 => (Vec::new(), dice.one_in(2)),
                    _ => (unique(session, number, dice.number(200) as usize), true),
                },
            };
            script.message(at, body, text, dice);
        }
        script.closes = dice.one_in(8);
        if script.closes {
            let close = frame(FrameKind::Close, &[0x03, 0xE8], None);
            script.control.push(close.clone());
            script.writes.push(Write { at_ms: length_ms, bytes: close });
        }
        all.push(script);
    }
    all
}

/// What goes wrong in Realtime in one life.
pub(super) fn faults(dice: &mut Dice) -> Vec<Fault> {
    (0..dice.between(0, 4)).map(|_| fault(dice)).collect()
}

fn fault(dice: &mut Dice) -> Fault {
    let of = [Who::Sender, Who::Listeners, Who::All][dice.number(3) as usize];
    let kind = match dice.number(15) {
        0 => FaultKind::Stall,
        1 => FaultKind::Drop,
        2 => FaultKind::Lose,
        3 => FaultKind::Nack,
        4 => FaultKind::Slow { delay_ms: dice.between(20, 1_500) },
        5 => FaultKind::Reset { of },
        6 => FaultKind::Cut { of },
        7 => FaultKind::Duplicate,
        8 => FaultKind::Reorder,
        9 | 10 => FaultKind::Corrupt,
        11 => FaultKind::RateLimit,
        12 => FaultKind::Restart { down_ms: dice.between(50, 4_000), kill: dice.one_in(2) },
        13 => FaultKind::RefuseConnects { status: [429, 500, 503][dice.number(3) as usize] },
        _ => FaultKind::Expire,
    };
    let mut fault = Fault::new(kind);
    fault.after_ms = if dice.one_in(8) { 0 } else { dice.between(100, 7_000) };
    if dice.one_in(2) {
        fault.after_pushes = dice.number(20);
    }
    if dice.one_in(2) {
        fault.for_pushes = Some(dice.between(1, 20));
    }
    if dice.one_in(2) || fault.for_pushes.is_none() {
        fault.for_ms = Some(dice.between(100, 5_000));
    }
    fault
}
