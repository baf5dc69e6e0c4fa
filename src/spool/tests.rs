//! The pure core against models: any crash point, any damaged byte, any order of filling and settling.

use bytes::Bytes;
use proptest::prelude::*;
use ulid::Ulid;

use super::Sabotage;
use super::index::{ACK_LEN, Index, Limits, Room, Segment, settled_by, settled_entry};
use super::record::{Damage, Draft, HEADER_LEN, Header, open, write};
use super::scan::{Found, Scanner};
use super::seal::Seal;
use crate::envelope::Class;

fn draft(number: u64, body: &str) -> Draft {
    Draft {
        batch: Ulid(u128::from(number) << 40 | 7),
        class: Class::ALL[usize::try_from(number % 4).unwrap()],
        at_ms: 1_700_000_000_000 + number,
        messages: u32::try_from(number).unwrap() + 1,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn seal() -> Seal {
    Seal::parse(&"0123456789abcdef".repeat(4)).unwrap()
}

/// Records one after another, and where each ends.
fn stream(bodies: &[String], sealed: bool) -> (Vec<u8>, Vec<usize>) {
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    for (number, body) in (0..).zip(bodies) {
        let key = seal();
        let seal = sealed.then_some((&key, [u8::try_from(number).unwrap(); 12]));
        write(&mut out, &draft(number, body), number, seal).unwrap();
        ends.push(out.len());
    }
    (out, ends)
}

/// What a reader gets: the whole bodies by number, and everything else that was found.
fn read(bytes: &[u8], seal: Option<&Seal>) -> (Vec<(u64, Bytes)>, Vec<Found>, Vec<u64>) {
    let mut scanner = Scanner::new(0, bytes.len() as u64);
    let (mut good, mut other, mut spoilt) = (Vec::new(), Vec::new(), Vec::new());
    let mut steps = 0;
    while let Some((at, len)) = scanner.wants() {
        steps += 1;
        assert!(steps < 10_000, "the walk does not end");
        let at = usize::try_from(at).unwrap();
        match scanner.feed(&bytes[at..at + len]) {
            Some(Found::Record { at, header }) => {
                let from = usize::try_from(at).unwrap() + HEADER_LEN;
                let body = bytes[from..from + header.body_len as usize].to_vec();
                match open(&header, body, seal) {
                    Ok(body) => good.push((header.seq, body)),
                    Err(_) => spoilt.push(header.seq),
                }
            }
            Some(found) => other.push(found),
            None => {}
        }
    }
    (good, other, spoilt)
}

fn bodies() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ -~é]{0,90}", 1..8)
}

proptest! {
    #[test]
    fn at_any_crash_point_the_prefix_survives(bodies in bodies(), sealed: bool, cut: prop::sample::Index) {
        let (bytes, ends) = stream(&bodies, sealed);
        let cut = cut.index(bytes.len() + 1);
        let (good, other, spoilt) = read(&bytes[..cut], Some(&seal()));
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let expected: Vec<_> =
            (0..).zip(bodies.iter().take(whole)).map(|(n, body)| (n, Bytes::from(body.clone()))).collect();
        prop_assert_eq!(good, expected);
        prop_assert!(spoilt.is_empty());
        let torn_from = ends.get(whole.wrapping_sub(1)).copied().unwrap_or(0);
        let torn = (torn_from < cut).then_some(Found::Torn { from: torn_from as u64 });
        prop_assert_eq!(other, torn.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_damaged_byte_costs_its_record_and_is_reported(
        bodies in bodies(), sealed: bool, place: prop::sample::Index, flip in 1u8..=255
    ) {
        let (mut bytes, ends) = stream(&bodies, sealed);
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        let victim = ends.iter().position(|end| place < *end).unwrap();
        let (good, other, spoilt) = read(&bytes, Some(&seal()));
        let expected: Vec<_> = (0..).zip(&bodies).filter(|(n, _)| *n != victim as u64)
            .map(|(n, body)| (n, Bytes::from(body.clone()))).collect();
        prop_assert_eq!(good, expected);
        let begin = if victim == 0 { 0 } else { ends[victim - 1] as u64 };
        match (&other[..], &spoilt[..]) {
            ([], [seq]) => prop_assert_eq!(*seq, victim as u64),
            ([Found::Damaged { from, to }], []) => prop_assert_eq!((*from, *to), (begin, ends[victim] as u64)),
            ([Found::Torn { from }], []) => {
                prop_assert_eq!((*from, victim), (begin, bodies.len() - 1));
            }
            unexpected => prop_assert!(false, "{:?}", unexpected),
        }
    }

    #[test]
    fn long_damage_is_one_range(gap in 1usize..200_000) {
        let (mut bytes, _) = stream(&["first".to_owned()], false);
        let from = bytes.len() as u64;
        bytes.resize(bytes.len() + gap, 0xFF);
        let to = bytes.len() as u64;
        let (rest, _) = stream(&["second".to_owned()], false);
        bytes.extend(rest);
        let (good, other, _) = read(&bytes, None);
        prop_assert_eq!(good.len(), 2);
        prop_assert_eq!(other, vec![Found::Damaged { from, to }]);
    }

    #[test]
    fn settled_lists_survive_any_damage(
        seqs in prop::collection::vec(any::<u64>(), 1..20), place: prop::sample::Index, cut: prop::sample::Index
    ) {
        let whole: Vec<u8> = seqs.iter().flat_map(|seq| settled_entry(*seq)).collect();
        let mut bad = whole.clone();
        let place = place.index(bad.len());
        bad[place] ^= 0x10;
        let expected: Vec<u64> =
            seqs.iter().enumerate().filter(|(n, _)| *n != place / 12).map(|(_, seq)| *seq).collect();
        prop_assert_eq!(settled_by(&bad).collect::<Vec<_>>(), expected);
        let cut = cut.index(whole.len());
        prop_assert_eq!(settled_by(&whole[..cut]).collect::<Vec<_>>(), &seqs[..cut / 12]);
    }
}

#[test]
fn a_sealed_body_needs_its_key_and_its_header() {
    let mut out = Vec::new();
    let header = write(&mut out, &draft(3, "hunter2"), 9, Some((&seal(), [5; 12]))).unwrap();
    assert!(!out.windows(7).any(|seven| seven == b"hunter2"));
    let body = out[HEADER_LEN..].to_vec();
    assert_eq!(open(&header, body.clone(), Some(&seal())).unwrap(), "hunter2");
    assert_eq!(open(&header, body.clone(), None), Err(Damage::Key));
    let other = Seal::parse(&"f".repeat(64)).unwrap();
    assert_eq!(open(&header, body.clone(), Some(&other)), Err(Damage::Key));
    let moved = Header { batch: Ulid(1), ..header };
    assert_eq!(open(&moved, body, Some(&seal())), Err(Damage::Key), "the header is vouched for");
    assert!(Seal::parse("abc").is_none() && Seal::parse(&"g".repeat(64)).is_none());
}

/// The disk that the model pretends: (class, seq, bytes, messages, settled) in order.
#[derive(Default)]
struct Model {
    kept: Vec<(Class, u64, u64, bool)>,
    spared: Vec<String>,
}

const TOTAL: u64 = 20_000;

fn fill(operations: &[(usize, u32, bool)], sabotage: Option<Sabotage>) -> Result<(), String> {
    let mut index = Index::new(Limits { total: TOTAL, segment: 3_000 });
    index.sabotage = sabotage;
    let mut model = Model::default();
    for (number, (class, len, settles)) in operations.iter().enumerate() {
        let class = Class::ALL[*class];
        let header = Header { body_len: *len, seq: index.next_seq(class), class, ..template(number) };
        let mut stored = true;
        loop {
            match index.room_for(class, header.record_len(), false) {
                Room::Here => break,
                Room::NewSegment => drop(index.open_segment(class)),
                Room::Evict(victim) => {
                    let gone = index.evict(victim).ok_or("nothing to evict")?;
                    let duller = model.kept.iter().any(|(one, _, _, settled)| *one > victim && !settled);
                    if duller || victim < class {
                        model.spared.push(format!("{victim:?} gave way to {class:?}, duller was kept"));
                    }
                    let newest = gone.base + 3_000;
                    let older = |seq: u64| seq >= gone.base && seq < newest;
                    let next = index.series(victim).front().map_or(u64::MAX, |one| one.base);
                    model.kept.retain(|(one, seq, _, _)| *one != victim || !older(*seq) || *seq >= next);
                }
                Room::Refused => {
                    if model.kept.iter().any(|(one, _, _, settled)| *one >= class && !settled) {
                        return Err(format!("{class:?} was refused although something duller is there"));
                    }
                    stored = false;
                    break;
                }
            }
        }
        if stored {
            index.appended(&header);
            let base = index.series(class).back().ok_or("no segment")?.base;
            if *settles && !index.settle(class, base, header.seq, header.messages) {
                return Err("a fresh record was settled".to_owned());
            }
            if *settles && index.settle(class, base, header.seq, header.messages) {
                return Err("a record was settled twice".to_owned());
            }
            model.kept.push((class, header.seq, u64::from(header.messages), *settles));
        }
        if let Some(what) = model.spared.pop() {
            return Err(what);
        }
        if index.bytes() > TOTAL + ACK_LEN {
            return Err(format!("{} bytes", index.bytes()));
        }
        for class in Class::ALL {
            let open = model.kept.iter().filter(|(one, _, _, settled)| *one == class && !settled);
            let (records, messages) = open.fold((0, 0), |(n, m), (_, _, messages, _)| (n + 1, m + messages));
            if index.open(class) != (records, messages) {
                return Err(format!("{class:?}: {:?}, not {:?}", index.open(class), (records, messages)));
            }
        }
    }
    Ok(())
}

fn template(number: usize) -> Header {
    Header {
        seq: 0,
        at_ms: number as u64,
        batch: Ulid(number as u128),
        class: Class::Low,
        sealed: false,
        messages: u32::try_from(number % 7).unwrap(),
        body_len: 0,
        body_crc: 0,
    }
}

fn operations() -> impl Strategy<Value = Vec<(usize, u32, bool)>> {
    prop::collection::vec((0usize..4, 0u32..2_000, prop::bool::weighted(0.2)), 1..120)
}

proptest! {
    #[test]
    fn a_full_spool_gives_up_the_dullest_and_oldest(operations in operations()) {
        prop_assert_eq!(fill(&operations, None), Ok(()));
    }
}

#[test]
fn giving_up_what_is_urgent_is_noticed() {
    let operations: Vec<_> = (0..100).map(|n| (n % 4, 700, false)).collect();
    assert_eq!(fill(&operations, None), Ok(()));
    assert!(fill(&operations, Some(Sabotage::EvictUrgentFirst)).is_err());
}

#[test]
fn a_segment_that_was_found_keeps_what_was_settled() {
    let list: Vec<u8> = [5, 7, 4, 99_999].into_iter().flat_map(settled_entry).collect();
    let mut segment = Segment::new(5);
    segment.preset(settled_by(&list), 100);
    let settled: Vec<u64> = (0..200).filter(|seq| segment.is_settled(*seq)).collect();
    assert_eq!(settled, [5, 7]);
}
