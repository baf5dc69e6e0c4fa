//! The walker against the model: any stream, cut anywhere.

use super::*;

const EXTENSIONS: [Negotiated; 3] = [
    Negotiated::None,
    Negotiated::Deflate(DeflateParams {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
    }),
    Negotiated::Unknown,
];

fn check(bytes: &[u8], sizes: &[usize]) -> Result<(), TestCaseError> {
    for extensions in EXTENSIONS {
        let walker = Walker::new(Direction::Up).negotiated(extensions);
        let flat = walked(walker, bytes, sizes).map_err(TestCaseError::fail)?;
        prop_assert_eq!(flat, model(bytes, extensions));
    }
    Ok(())
}

/// The one step that says `Lost`, for a header alone and with bytes behind it.
fn lost_by(extensions: Negotiated, bytes: &[u8]) -> Option<LostWhy> {
    let mut walker = Walker::new(Direction::Down).negotiated(extensions);
    let why = walker.feed(bytes).find_map(|step| match step {
        Step::Lost { why, .. } => Some(why),
        _ => None,
    });
    assert_eq!(walker.boundary() == Boundary::Lost, why.is_some());
    why
}

proptest! {
    #[test]
    fn valid_streams(messages in prop::collection::vec(messages(), 0..8), sizes in cuts()) {
        check(&wire(&messages), &sizes)?;
    }

    #[test]
    fn damaged_streams(
        messages in prop::collection::vec(messages(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        sizes in cuts(),
    ) {
        let mut bytes = wire(&messages);
        for (at, value) in damage {
            let at = at.index(bytes.len().min(400));
            bytes[at] = value;
        }
        check(&bytes, &sizes)?;
    }

    #[test]
    fn garbage(bytes in prop::collection::vec(any::<u8>(), 0..300), sizes in cuts()) {
        check(&bytes, &sizes)?;
    }

    #[test]
    fn short_frames_of_every_kind(
        frames in prop::collection::vec((any::<u8>(), 0u8..4, any::<bool>()), 0..30),
        sizes in cuts(),
    ) {
        let mut bytes = Vec::new();
        for (first, len, masked) in frames {
            // Mostly legal bits, so that streams get far enough for the interesting orders.
            let first = if first & 0x30 == 0 { first } else { first & 0x8B };
            bytes.extend([first, len | if masked { 0x80 } else { 0 }]);
            bytes.extend(std::iter::repeat_n(first, usize::from(len) + if masked { 4 } else { 0 }));
        }
        check(&bytes, &sizes)?;
    }

    #[test]
    fn the_boundary_is_where_the_model_says(
        messages in prop::collection::vec(messages(), 1..6), at in any::<prop::sample::Index>(),
    ) {
        let bytes = wire(&messages);
        let bytes = &bytes[..at.index(bytes.len() + 1)];
        let mut walker = Walker::new(Direction::Up);
        walker.pass(bytes);
        let flat = model(bytes, Negotiated::None);
        let seen = flat.iter().filter(|f| matches!(f, Flat::Message { .. })).count() as u64;
        prop_assert_eq!(walker.next_seq(), Seq(seen + 1));
        // A message is open if data frames came after the last message's end.
        let since = flat.rsplit(|f| matches!(f, Flat::Message { .. })).next().unwrap_or(&[]);
        let open = since.iter().any(|f| matches!(f, Flat::FrameEnd(head) if !head.kind.is_control()));
        let expected = match flat.last() {
            None | Some(Flat::Message { .. }) => Boundary::Message,
            Some(Flat::FrameEnd(_)) if open => Boundary::Frame,
            Some(Flat::FrameEnd(_)) => Boundary::Message,
            _ => Boundary::Inside,
        };
        prop_assert_eq!(walker.boundary(), expected);
        let left = match (flat.last(), flat.iter().rev().nth(1)) {
            (Some(Flat::Body(body)), Some(Flat::Header(_, Some(head)))) => head.len - body.len() as u64,
            (Some(Flat::Header(_, Some(head))), _) => head.len,
            _ => 0,
        };
        prop_assert_eq!(walker.body_left(), left);
    }

    #[test]
    fn an_iterator_dropped_early_walks_the_rest(
        messages in prop::collection::vec(messages(), 1..6), sizes in cuts(), looked in 0usize..5,
    ) {
        let bytes = wire(&messages);
        let mut hasty = Walker::new(Direction::Up);
        for chunk in cut(&bytes, &sizes) {
            prop_assert!(hasty.feed(chunk).take(looked).count() <= looked);
        }
        prop_assert_eq!(hasty.next_seq(), Seq(messages.len() as u64 + 1));
        prop_assert_eq!(hasty.boundary(), Boundary::Message);
    }
}

#[test]
fn the_exemplary_stream_at_every_cut() {
    let bytes = exemplary();
    let expected = model(&bytes, Negotiated::None);
    assert_eq!(expected.iter().filter(|f| matches!(f, Flat::Message { .. })).count(), 4);
    assert_eq!(expected.last(), Some(&Flat::Opaque(b"trailing bytes".to_vec())));
    for size in 1..=bytes.len() {
        assert_eq!(walked(Walker::new(Direction::Up), &bytes, &[size]), Ok(expected.clone()), "{size}");
    }
}

#[test]
fn every_sabotage_is_caught() {
    let bytes = exemplary();
    let expected = Ok(model(&bytes, Negotiated::None));
    for sabotage in
        [Sabotage::ForgetPartialHeader, Sabotage::ControlEndsMessage, Sabotage::EveryFrameEndsMessage]
    {
        let caught = [1, 3, 7, usize::MAX].iter().any(|size| {
            let mut walker = Walker::new(Direction::Up);
            walker.sabotage = Some(sabotage);
            walked(walker, &bytes, &[*size]) != expected
        });
        assert!(caught, "{sabotage:?} went unseen");
    }
}

#[test]
fn an_empty_message_ends_at_once() {
    let mut walker = Walker::new(Direction::Down);
    let steps: Vec<_> = walker.feed(&[0x81, 0]).collect();
    let head = Head::new(FrameKind::Text, 0, None);
    let end = Step::MessageEnd { seq: Seq(1), op: Opcode::Text, compressed: false, wire_len: 0 };
    assert_eq!(steps, [Step::Header { bytes: &[0x81, 0], head: Some(head) }, Step::FrameEnd(head), end]);
    assert_eq!(walker.boundary(), Boundary::Message);
}

#[test]
fn a_caller_may_stop_between_steps() {
    let bytes = [0x81, 1, b'a', 0x81, 1, b'b'];
    let mut rest: &[u8] = &bytes;
    let mut walker = Walker::new(Direction::Down);
    while walker.next_seq() == Seq(1) {
        assert!(walker.next_step(&mut rest).is_some());
    }
    assert_eq!((walker.boundary(), rest), (Boundary::Message, &bytes[3..]));
}

#[test]
fn each_violation_has_its_name() {
    let plain = |bytes: &[u8]| lost_by(Negotiated::None, bytes);
    assert_eq!(plain(&[0x80, 0]), Some(LostWhy::ContinuationWithoutStart));
    assert_eq!(plain(&[0x01, 0, 0x81, 0]), Some(LostWhy::DataInsideMessage));
    assert_eq!(plain(&[0x89, 126, 0, 126]), Some(LostWhy::ControlTooLong));
    assert_eq!(plain(&[0x09, 0]), Some(LostWhy::ControlFragmented));
    assert_eq!(plain(&[0x83, 0]), Some(LostWhy::ReservedOpcode));
    assert_eq!(plain(&[0x8B, 0]), Some(LostWhy::ReservedOpcode));
    assert_eq!(plain(&[0xC1, 0]), Some(LostWhy::ReservedBits));
    assert_eq!(plain(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), Some(LostWhy::LengthTooBig));
    assert_eq!(plain(&[0x82, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255, 1, 2]), None);
}

#[test]
fn reserved_bits_follow_the_extensions() {
    let deflate = |bytes: &[u8]| lost_by(EXTENSIONS[1], bytes);
    assert_eq!(deflate(&[0xC1, 0]), None);
    assert_eq!(deflate(&[0x41, 0, 0x80, 0]), None);
    assert_eq!(deflate(&[0x41, 0, 0xC0, 0]), Some(LostWhy::ReservedBits), "only on the first frame");
    assert_eq!(deflate(&[0xC9, 0]), Some(LostWhy::ReservedBits), "not on a ping");
    assert_eq!(deflate(&[0xE1, 0]), Some(LostWhy::ReservedBits));
    assert_eq!(lost_by(Negotiated::Unknown, &[0xF1, 0, 0xF9, 0]), None);
}

#[test]
fn wrong_masking_is_walked_and_counted() {
    let bytes = wire(&[Message::text(b"plain"), Message::text(b"masked").masked([1, 2, 3, 4])]);
    for dir in Direction::ALL {
        let mut walker = Walker::new(dir);
        walker.pass(&bytes);
        assert_eq!((walker.next_seq(), walker.wrong_masks()), (Seq(3), 1));
    }
}

#[test]
fn after_a_close_everything_is_opaque_and_nothing_is_lost() {
    let mut walker = Walker::new(Direction::Down);
    walker.pass(&close(1000, "", None));
    assert_eq!(walker.boundary(), Boundary::Closed);
    let steps: Vec<_> = walker.feed(&[0x81, 0]).collect();
    assert_eq!(steps, [Step::Opaque { bytes: &[0x81, 0] }]);
    assert_eq!((walker.boundary(), walker.next_seq()), (Boundary::Closed, Seq(1)));
}

#[test]
fn a_loss_is_told_once() {
    let mut walker = Walker::new(Direction::Down);
    let first: Vec<_> = walker.feed(&[0x83, 0, 1, 2]).collect();
    let header = Step::Header { bytes: &[0x83, 0], head: None };
    assert_eq!(first, [header, Step::Lost { why: LostWhy::ReservedOpcode, bytes: &[1, 2] }]);
    assert_eq!(walker.feed(&[3]).collect::<Vec<_>>(), [Step::Opaque { bytes: &[3] }]);
    assert_eq!(walker.feed(&[]).count(), 0);
}
