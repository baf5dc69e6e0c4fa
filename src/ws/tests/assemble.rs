//! The assembler: what goes in as messages comes out as messages, whatever the cuts, and every byte is paid for.

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::budget::Budget;
use crate::ledger::Shed;
use crate::session::SessionNo;
use crate::ws::assemble::Sabotage;

pub(super) type Seen = (Opcode, Result<Vec<u8>, Shed>);

/// One direction with its walker, its assembler and what came out.
pub(super) struct Line {
    pub(super) walker: Walker,
    pub(super) assembler: Assembler,
    pub(super) budget: Arc<Budget>,
    pub(super) seen: Vec<Seen>,
    now: Instant,
}

impl Line {
    pub(super) fn new(dir: Direction, limits: Limits, extensions: Negotiated) -> Self {
        Self {
            walker: Walker::new(dir).negotiated(extensions),
            assembler: Assembler::new(SessionNo(7), dir, limits, extensions),
            budget: Budget::new(64 << 20),
            seen: Vec::new(),
            now: start(),
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], sizes: &[usize]) {
        for chunk in cut(bytes, sizes) {
            for step in self.walker.feed(chunk) {
                let Some(captured) = self.assembler.step(&step, self.now, &self.budget) else { continue };
                assert_eq!(captured.key.session, SessionNo(7));
                assert_eq!(captured.key.seq, Seq(self.seen.len() as u64 + 1), "numbered without gaps");
                assert_eq!(captured.at, self.now);
                if let Ok(body) = &captured.body {
                    assert_eq!(body.bytes().len(), body.len());
                }
                self.seen.push((captured.op, captured.body.map(|body| body.to_vec())));
            }
        }
    }

    pub(super) fn bodies(&self) -> Vec<Result<Vec<u8>, Shed>> {
        self.seen.iter().map(|(_, body)| body.clone()).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do; nothing here measures time")]
fn start() -> Instant {
    Instant::now()
}

fn plain(limits: Limits) -> Line {
    Line::new(Direction::Up, limits, Negotiated::None)
}

fn expected(messages: &[Message], limit: usize) -> Vec<Seen> {
    let body = |m: &Message| Some(m.body()).filter(|body| body.len() <= limit).ok_or(Shed::TooLarge);
    messages.iter().map(|m| (m.op, body(m))).collect()
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in(
        messages in prop::collection::vec(messages(), 0..8), sizes in cuts(), limit in 0u32..70_000,
    ) {
        let mut line = plain(Limits { message_bytes: limit, ..Limits::default() });
        line.feed(&wire(&messages), &sizes);
        prop_assert_eq!(&line.seen, &expected(&messages, limit as usize));
        prop_assert_eq!(line.budget.used(), 0, "nothing is held when nobody holds a payload");
    }

    #[test]
    fn joining_anywhere_numbers_everything_and_copies_what_starts_later(
        messages in prop::collection::vec(messages(), 1..6), at in any::<prop::sample::Index>(), sizes in cuts(),
    ) {
        let bytes = wire(&messages);
        let (missed, rest) = bytes.split_at(at.index(bytes.len()));
        let mut line = plain(Limits::default());
        line.walker.pass(missed);
        let seen_before = line.walker.next_seq().0 as usize - 1;
        // A header that began before is completed for us: its message is whole unless a part of a body is gone.
        let mut starts = 0;
        let whole = messages.iter().map(|message| {
            let start = starts;
            starts += message.wire().len();
            start >= missed.len()
        });
        let expected: Vec<_> = messages.iter().zip(whole).skip(seen_before).collect();
        line.assembler = Assembler::joining(SessionNo(7), Direction::Up, Limits::default(), Negotiated::None);
        line.seen = vec![(Opcode::Text, Err(Shed::Lost)); seen_before];
        line.feed(rest, &sizes);
        prop_assert_eq!(line.seen.len(), messages.len());
        for ((op, body), (message, whole)) in line.seen[seen_before..].iter().zip(expected) {
            prop_assert_eq!(*op, message.op);
            match body {
                Ok(body) => prop_assert_eq!(body, &message.body()),
                Err(why) => {
                    prop_assert!(!whole, "began after joining and was not copied");
                    prop_assert_eq!(*why, Shed::Lost);
                }
            }
        }
    }

    #[test]
    fn an_open_message_is_paid_for_and_never_more_than_twice(
        message in messages(), at in any::<prop::sample::Index>(), sizes in cuts(),
    ) {
        let bytes = message.wire();
        let part = &bytes[..at.index(bytes.len())];
        let mut line = plain(Limits::default());
        line.feed(part, &sizes);
        let arrived: usize = walked(Walker::new(Direction::Up), part, &[usize::MAX])
            .map_err(TestCaseError::fail)?
            .iter()
            .scan(false, |data, flat| {
                if let Flat::Header(_, Some(head)) = flat { *data = !head.kind.is_control() }
                Some(if let (Flat::Body(body), true) = (flat, *data) { body.len() } else { 0 })
            })
            .sum();
        prop_assert!(line.budget.used() >= arrived as u64);
        let least = if arrived == 0 { 0 } else { 512 };
        prop_assert!(line.budget.used() <= (2 * arrived as u64).max(least));
        drop(line.assembler);
        prop_assert_eq!(line.budget.used(), 0);
    }
}

#[test]
fn the_exemplary_stream_at_every_cut() {
    let bytes = exemplary();
    for size in 1..=bytes.len() {
        let mut line = plain(Limits::default());
        line.feed(&bytes, &[size]);
        let bodies: Vec<Vec<u8>> = line.bodies().into_iter().map(Result::unwrap).collect();
        let long = [b'x'; 300];
        assert_eq!(bodies, [b"Hello" as &[u8], b"", b"onethree and a little more", &long], "{size}");
    }
}

#[test]
fn a_forgotten_offset_is_caught() {
    let wrong = (1..12).any(|size| {
        let mut line = plain(Limits::default());
        line.assembler.sabotage = Some(Sabotage::ForgetOffset);
        line.feed(&exemplary(), &[size]);
        line.bodies().first() != Some(&Ok(b"Hello".to_vec()))
    });
    assert!(wrong);
}

#[test]
fn a_payload_keeps_its_bytes_paid_until_it_is_dropped() {
    let mut line = plain(Limits::default());
    let bytes = Message::text(&[b'x'; 1000]).masked([1, 2, 3, 4]).wire();
    let (walker, assembler) = (&mut line.walker, &mut line.assembler);
    let now = start();
    let captured = walker.feed(&bytes).find_map(|step| assembler.step(&step, now, &line.budget)).unwrap();
    assert_eq!((captured.wire_len, line.budget.used()), (1000, 1000));
    drop(captured);
    assert_eq!(line.budget.used(), 0);
}

#[test]
fn an_announcement_costs_nothing() {
    let mut line = plain(Limits::default());
    line.feed(&Head::new(FrameKind::Binary, 1 << 20, Some([0; 4])).encode(), &[1]);
    assert_eq!(line.budget.used(), 0);
    line.feed(&[0; 100], &[100]);
    assert_eq!(line.budget.used(), 512);
}

#[test]
fn a_message_too_large_streams_by_unbuffered() {
    let mut line = plain(Limits { message_bytes: 1000, ..Limits::default() });
    let parts = vec![vec![b'x'; 900], vec![b'y'; 101], vec![b'z'; 5000]];
    let big = Message { op: Opcode::Binary, fragments: parts, pings: true, rsv1: false, mask: None };
    let bytes = big.wire();
    line.feed(&bytes[..910], &[64]);
    assert!(line.budget.used() >= 900);
    line.feed(&bytes[910..1000], &[64]);
    assert_eq!(line.budget.used(), 0, "the second header tells that it is too large");
    line.feed(&bytes[1000..], &[64]);
    line.feed(&Message::text(b"next").wire(), &[64]);
    assert_eq!(line.bodies(), [Err(Shed::TooLarge), Ok(b"next".to_vec())]);
}

#[test]
fn without_budget_a_message_is_numbered_and_the_next_one_tried() {
    let mut line = plain(Limits::default());
    line.budget = Budget::new(1000);
    for size in [900, 2000, 1000, 1001] {
        line.feed(&Message::text(&vec![b'x'; size]).wire(), &[usize::MAX]);
    }
    let shape: Vec<_> = line.bodies().into_iter().map(|body| body.map(|b| b.len())).collect();
    assert_eq!(shape, [Ok(900), Err(Shed::Budget), Ok(1000), Err(Shed::Budget)]);
    assert_eq!(line.budget.used(), 0);
}

#[test]
fn unknown_extensions_are_numbered_and_not_read() {
    let mut line = Line::new(Direction::Down, Limits::default(), Negotiated::Unknown);
    let mut strange = Message::text(b"??").wire();
    strange[0] |= 0x70;
    line.feed(&strange, &[1]);
    line.feed(&Message::text(b"plain").wire(), &[1]);
    assert_eq!(line.bodies(), [Err(Shed::Lost), Err(Shed::Lost)]);
    assert_eq!(line.assembler.lost(), Some(LostWhy::UnknownExtension));
}

#[test]
fn a_lost_walker_ends_the_counting_and_frees_the_memory() {
    let mut line = plain(Limits::default());
    line.feed(&[0x02, 3, 1, 2, 3], &[1]);
    assert!(line.budget.used() > 0);
    line.feed(&[0x81, 1, b'x', 0x81, 1, b'y'], &[1]);
    assert_eq!((line.seen.len(), line.budget.used()), (0, 0));
    assert_eq!(line.assembler.lost(), Some(LostWhy::DataInsideMessage));
}
