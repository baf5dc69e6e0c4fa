//! permessage-deflate against real compressors that keep their own side of the agreement.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::assemble::Line;
use super::*;
use crate::budget::Budget;
use crate::ledger::Shed;
use crate::ws::deflate::Sabotage;

/// How a sender ends a message (RFC 7692 section 7.2.1 and 7.2.3.4).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// Sync flush, last four bytes cut off.
    Sync,
    /// A final block and the header of an empty stored one.
    Final,
    /// A final block and nothing.
    BareFinal,
}

/// One end of the connection.
struct Sender {
    compress: Compress,
    takeover: bool,
    sent: Vec<u8>,
}

impl Sender {
    fn new(takeover: bool, window_bits: u8) -> Self {
        let compress = Compress::new_with_window_bits(Compression::new(6), false, window_bits);
        Self { compress, takeover, sent: Vec::new() }
    }

    fn message(&mut self, body: &[u8], ending: Ending) -> Vec<u8> {
        let flush = if ending == Ending::Sync { FlushCompress::Sync } else { FlushCompress::Finish };
        let mut out = Vec::with_capacity(body.len() + 100);
        let start = self.compress.total_in();
        loop {
            let rest = &body[(self.compress.total_in() - start) as usize..];
            let status = self.compress.compress_vec(rest, &mut out, flush).unwrap();
            if out.len() < out.capacity() || status == Status::StreamEnd {
                break;
            }
            out.reserve(1000);
        }
        self.sent.extend(body);
        match ending {
            // zlib does not flush twice in one place; senders then write an empty block by hand (section 7.2.3.6).
            Ending::Sync if out.is_empty() => out.push(0),
            Ending::Sync => assert_eq!(out.split_off(out.len() - 4), [0, 0, 0xFF, 0xFF]),
            Ending::Final => out.push(0),
            Ending::BareFinal => {}
        }
        if !self.takeover || ending != Ending::Sync {
            self.compress.reset();
        }
        if self.takeover && ending != Ending::Sync {
            let window = &self.sent[self.sent.len().saturating_sub(32 * 1024)..];
            self.compress.set_dictionary(window).unwrap();
        }
        out
    }
}

fn negotiated(takeover: bool) -> Negotiated {
    Negotiated::Deflate(DeflateParams {
        server_no_context_takeover: !takeover,
        client_no_context_takeover: !takeover,
        ..DeflateParams::default()
    })
}

fn line(takeover: bool, limits: Limits) -> Line {
    Line::new(Direction::Up, limits, negotiated(takeover))
}

/// A compressed message in fragments of about `part` bytes.
fn wrap(compressed: &[u8], part: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut fragments: Vec<Vec<u8>> = compressed.chunks(part.max(1)).map(<[u8]>::to_vec).collect();
    if fragments.is_empty() {
        fragments.push(Vec::new());
    }
    Message { op: Opcode::Text, fragments, pings: true, rsv1: true, mask }.wire()
}

/// Text that refers to itself and to what came before, like the messages of one service do.
fn chatter(seed: u32, size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut state = seed | 1;
    while body.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = ["{\"event\":\"price\",", "\"symbol\":\"", "\"value\":", "true}", "user-", "session"];
        body.extend(word[(state >> 16) as usize % word.len()].bytes());
        body.extend(((state >> 8) % 1000).to_string().bytes());
    }
    body.truncate(size);
    body
}

#[derive(Clone, Debug)]
struct Plan {
    body: Vec<u8>,
    compressed: bool,
    ending: Ending,
    part: usize,
    sleep: bool,
}

prop_compose! {
    fn plans()(
        seed in any::<u32>(),
        size in prop_oneof![4 => 0usize..500, 2 => 0usize..9_000, 1 => 30_000usize..100_000],
        compressed in prop::bool::weighted(0.8),
        ending in prop_oneof![5 => Just(Ending::Sync), 1 => Just(Ending::Final), 1 => Just(Ending::BareFinal)],
        part in prop_oneof![1usize..20, 100usize..5_000, Just(usize::MAX)],
        sleep in any::<bool>(),
    ) -> Plan {
        Plan { body: chatter(seed, size), compressed, ending, part, sleep }
    }
}

/// Sends everything; `Err` tells what came out wrong.
fn exchange(line: &mut Line, sender: &mut Sender, plans: &[Plan], sizes: &[usize]) -> Result<(), String> {
    for (at, plan) in plans.iter().enumerate() {
        let mask = (at % 2 == 0).then_some([at as u8, 2, 0xFF, 77]);
        let bytes = if plan.compressed {
            wrap(&sender.message(&plan.body, plan.ending), plan.part, mask)
        } else {
            Message { mask, ..Message::text(&plan.body) }.wire()
        };
        line.feed(&bytes, sizes);
        if line.seen.last().map(|(_, body)| body) != Some(&Ok(plan.body.clone())) {
            return Err(format!("message {at}: {:?} lost {:?}", plan.ending, line.assembler.lost()));
        }
        if plan.sleep {
            assert!(line.assembler.hibernate());
            assert!(!line.assembler.is_awake());
            assert!(line.budget.used() <= 32 * 1024, "only the window is left");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_come_out_as_they_went_in(
        plans in prop::collection::vec(plans(), 1..12), takeover in any::<bool>(), bits in 9u8..=15, sizes in cuts(),
    ) {
        let mut sender = Sender::new(takeover, bits);
        // A window of 32 KiB handed over after a final block is more than a smaller one may refer to.
        let final_allowed = bits == 15 || !takeover;
        let plans: Vec<_> = plans
            .into_iter()
            .map(|plan| Plan { ending: if final_allowed { plan.ending } else { Ending::Sync }, ..plan })
            .collect();
        let mut line = line(takeover, Limits::default());
        exchange(&mut line, &mut sender, &plans, &sizes).map_err(TestCaseError::fail)?;
        drop(line.assembler);
        prop_assert_eq!(line.budget.used(), 0);
    }

    #[test]
    fn any_bytes_are_survived(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 1..12),
        takeover in any::<bool>(),
        sizes in cuts(),
    ) {
        let mut line = line(takeover, Limits::default());
        for (compressed, piece) in &pieces {
            line.feed(&Message { rsv1: *compressed, ..Message::text(piece) }.wire(), &sizes);
        }
        prop_assert_eq!(line.seen.len(), pieces.len(), "every message is numbered");
        drop(line.assembler);
        prop_assert_eq!(line.budget.used(), 0);
    }
}

/// Two hundred messages that refer to one another, with sleeps, final blocks and plain ones in between.
fn long_talk() -> Vec<Plan> {
    (0..200)
        .map(|n| Plan {
            body: chatter(n / 3, 200 + (n as usize * 37) % 700),
            compressed: n % 7 != 6,
            ending: [Ending::Sync, Ending::Sync, Ending::Final, Ending::Sync, Ending::BareFinal]
                [n as usize % 5],
            part: 1 + (n as usize * 13) % 90,
            sleep: n % 4 == 3,
        })
        .collect()
}

#[test]
fn a_long_talk_with_sleeps_and_final_blocks() {
    for takeover in [true, false] {
        let mut line = line(takeover, Limits::default());
        exchange(&mut line, &mut Sender::new(takeover, 15), &long_talk(), &[61]).unwrap();
        assert_eq!(line.seen.len(), 200);
    }
}

/// The long talk; without takeover a corrupt message comes first, which must cost nothing but itself.
fn long_talk_with(takeover: bool, sabotage: Option<Sabotage>) -> Result<(), String> {
    let mut line = line(takeover, Limits::default());
    if let Some(inflater) = line.assembler.inflater_mut() {
        inflater.sabotage = sabotage;
    }
    if !takeover {
        line.feed(&wrap(&[0x07, 0x00], 99, None), &[99]);
    }
    exchange(&mut line, &mut Sender::new(takeover, 15), &long_talk(), &[61])
}

#[test]
fn every_sabotage_is_caught() {
    assert_eq!((long_talk_with(true, None), long_talk_with(false, None)), (Ok(()), Ok(())));
    for sabotage in
        [Sabotage::ForgetTail, Sabotage::TailAfterFinal, Sabotage::ForgetReset, Sabotage::ForgetWindow]
    {
        let caught = [true, false].iter().any(|takeover| long_talk_with(*takeover, Some(sabotage)).is_err());
        assert!(caught, "{sabotage:?} went unseen");
    }
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 7692 section 7.2.3: "Hello" plain, in fragments, again with the window, stored, final, in two blocks.
    let mut line = line(true, Limits::default());
    let examples: [&[u8]; 6] = [
        &[0xC1, 0x07, 0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
        &[0x41, 0x03, 0xF2, 0x48, 0xCD, 0x80, 0x04, 0xC9, 0xC9, 0x07, 0x00],
        &[0xC1, 0x05, 0xF2, 0x00, 0x11, 0x00, 0x00],
        &[0xC1, 0x0B, 0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
        &[0xC1, 0x08, 0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
        &[0xC1, 0x0D, 0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
    ];
    for bytes in examples {
        line.feed(bytes, &[3]);
    }
    assert_eq!(line.bodies(), vec![Ok(b"Hello".to_vec()); 6]);
}

#[test]
fn nothing_is_allocated_before_the_first_compressed_byte() {
    let mut line = line(true, Limits::default());
    line.feed(&Message::text(b"plain").wire(), &[1]);
    assert!(!line.assembler.is_awake());
    assert_eq!(line.budget.used(), 0);
    line.feed(&wrap(&Sender::new(true, 15).message(b"packed", Ending::Sync), 99, None), &[99]);
    assert!(line.assembler.is_awake());
    assert!(line.budget.used() > 48 * 1024 && line.budget.used() < 90 * 1024, "{}", line.budget.used());
}

#[test]
fn no_sleep_inside_a_message() {
    let mut line = line(true, Limits::default());
    let bytes = wrap(&Sender::new(true, 15).message(&chatter(1, 500), Ending::Sync), 50, None);
    line.feed(&bytes[..80], &[9]);
    assert!(!line.assembler.hibernate());
    line.feed(&bytes[80..], &[9]);
    assert_eq!(line.bodies(), [Ok(chatter(1, 500))]);
    assert!(line.assembler.hibernate());
}

#[test]
fn an_empty_body_with_rsv1_is_an_empty_message() {
    let mut line = line(true, Limits::default());
    let mut sender = Sender::new(true, 15);
    line.feed(&wrap(&sender.message(b"before", Ending::Sync), 99, None), &[99]);
    line.feed(&wrap(&[], 99, None), &[99]);
    line.feed(&wrap(&sender.message(b"before and after", Ending::Sync), 99, None), &[99]);
    assert_eq!(line.bodies(), [Ok(b"before".to_vec()), Ok(vec![]), Ok(b"before and after".to_vec())]);
}

#[test]
fn a_large_message_is_followed_for_the_sake_of_the_next() {
    for takeover in [true, false] {
        let mut line = line(takeover, Limits { message_bytes: 10_000, ..Limits::default() });
        let mut sender = Sender::new(takeover, 15);
        for (seed, size) in [(1, 9_000), (2, 60_000), (2, 800)] {
            line.feed(&wrap(&sender.message(&chatter(seed, size), Ending::Sync), 700, None), &[333]);
        }
        let expected = [Ok(chatter(1, 9_000)), Err(Shed::TooLarge), Ok(chatter(2, 800))];
        assert_eq!(line.bodies(), expected, "takeover {takeover}");
    }
}

#[test]
fn bombs_cost_the_direction_or_the_message() {
    let steep = Limits::default();
    let huge =
        Limits { inflate: InflateCaps { message_bytes: 100_000, ratio: u32::MAX }, ..Limits::default() };
    for (limits, why) in [(steep, LostWhy::InflateRatio), (huge, LostWhy::InflateTooLarge)] {
        for takeover in [true, false] {
            let mut line = line(takeover, limits);
            let mut sender = Sender::new(takeover, 15);
            for body in [vec![0; 4 << 20], b"next".to_vec()] {
                line.feed(&wrap(&sender.message(&body, Ending::Sync), 500, Some([1, 2, 3, 4])), &[100]);
            }
            line.feed(&Message::text(b"plain").wire(), &[100]);
            let after = |body: &[u8]| if takeover { Err(Shed::Lost) } else { Ok(body.to_vec()) };
            assert_eq!(line.bodies(), [Err(Shed::TooLarge), after(b"next"), after(b"plain")]);
            assert_eq!(line.assembler.lost(), takeover.then_some(why));
            assert!(!takeover || line.budget.used() == 0, "a lost direction holds nothing");
        }
    }
}

#[test]
fn without_budget_for_the_decompressor() {
    for takeover in [true, false] {
        let mut line = line(takeover, Limits::default());
        let mut sender = Sender::new(takeover, 15);
        let roomy = std::mem::replace(&mut line.budget, Budget::new(40 * 1024));
        line.feed(&wrap(&sender.message(b"first", Ending::Sync), 99, None), &[99]);
        line.budget = roomy;
        line.feed(&wrap(&sender.message(b"first and second", Ending::Sync), 99, None), &[99]);
        let second = if takeover { Err(Shed::Lost) } else { Ok(b"first and second".to_vec()) };
        assert_eq!(line.bodies(), [Err(Shed::Budget), second]);
        assert_eq!(line.assembler.lost(), takeover.then_some(LostWhy::InflateBudget));
    }
}

#[test]
fn without_budget_for_a_copy_the_window_is_kept() {
    let mut line = line(true, Limits::default());
    line.budget = Budget::new(110 * 1024);
    let mut sender = Sender::new(true, 15);
    for (seed, size) in [(1, 300), (2, 60_000), (2, 900)] {
        line.feed(&wrap(&sender.message(&chatter(seed, size), Ending::Sync), 5_000, None), &[999]);
    }
    assert_eq!(line.bodies(), [Ok(chatter(1, 300)), Err(Shed::Budget), Ok(chatter(2, 900))]);
}

#[test]
fn corrupt_data_is_named() {
    let mut line = line(true, Limits::default());
    // Block type 3 does not exist (RFC 1951 section 3.2.3).
    line.feed(&wrap(&[0x07, 0x00], 99, None), &[99]);
    line.feed(&Message::text(b"plain").wire(), &[99]);
    assert_eq!(line.bodies(), [Err(Shed::Lost), Err(Shed::Lost)]);
    assert_eq!(line.assembler.lost(), Some(LostWhy::InflateCorrupt));
}

#[test]
fn endless_final_blocks_are_refused() {
    let mut line = line(false, Limits::default());
    // 03 00 is an empty final block.
    line.feed(&wrap(&[0x03, 0x00].repeat(100), 99, None), &[99]);
    assert_eq!(line.bodies(), [Err(Shed::Lost)]);
}

#[test]
fn joining_late_depends_on_takeover() {
    for takeover in [true, false] {
        let mut line = line(takeover, Limits::default());
        let extensions = negotiated(takeover);
        line.assembler =
            Assembler::joining(crate::session::SessionNo(7), Direction::Up, Limits::default(), extensions);
        line.feed(&wrap(&Sender::new(takeover, 15).message(b"hello", Ending::Sync), 99, None), &[99]);
        let expected = if takeover { Err(Shed::Lost) } else { Ok(b"hello".to_vec()) };
        assert_eq!(line.bodies(), [expected]);
        assert_eq!(line.assembler.lost(), takeover.then_some(LostWhy::MissedStart));
    }
}
