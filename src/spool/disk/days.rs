//! The disk's bad days, and what a kill takes along: bounds, states, recovery, memory at the start.
//! Test code only.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use ulid::Ulid;

use super::figures::{Figures, State};
use super::store::Store;
use super::tests::{Dir, Sabotage, account, draft, turn};
use super::{Command, Moment, Report, connect, spawn};
use crate::envelope::Class;
use crate::ledger::{Entry, Ledger, Shed};
use crate::session::{Direction, Key, Seq, SessionNo};
use crate::spool::record::Draft;

#[derive(Clone, Debug)]
enum Step {
    /// So many messages are seen.
    See(usize),
    /// The oldest of those in memory goes to the disk as one batch.
    Spool,
    /// So many of those in memory arrive.
    Arrive(usize),
    /// Time passes.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..250).prop_map(Step::See),
        2 => Just(Step::Spool),
        2 => (0usize..200).prop_map(Step::Arrive),
        1 => (0u64..400).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

/// Lives through the steps and is killed: the true loss, and what the next process says about it.
fn killed(steps: &[Step], sabotage: Option<Sabotage>) -> (u64, Option<u64>) {
    let (dir, ledger) = (Dir::new(), Ledger::new());
    let mut store = dir.open(10_000_000);
    store.sabotage = sabotage;
    let mut memory: Vec<Entry> = Vec::new();
    let (mut now_ms, mut seq) = (10_000, 0);
    for step in steps {
        match step {
            Step::See(count) => memory.extend((0..*count).map(|_| {
                seq += 1;
                ledger.open(Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) })
            })),
            Step::Spool => {
                let batch = memory.drain(..memory.len().min(50)).collect::<Vec<_>>();
                let messages = u32::try_from(batch.len()).unwrap();
                let draft = Draft { messages, ..draft(seq + 1, Class::High) };
                store.apply(Command::Append { draft, held: false }, now_ms);
                store.finish_turn(now_ms);
                assert!(store.take_reports().iter().any(|one| matches!(one, Report::Synced(_))));
                batch.into_iter().for_each(Entry::spool);
            }
            Step::Arrive(count) => {
                let some = memory.drain(..memory.len().min(*count)).collect::<Vec<_>>();
                some.into_iter().for_each(|one| one.confirm(crate::ledger::Proof::ReadBack));
            }
            Step::Wait(ms) => now_ms += ms,
        }
        // What the side thread does each turn.
        if ledger.seen() >= store.figures.promise_due() || matches!(step, Step::Wait(_)) {
            store.apply(account(&ledger), now_ms);
            store.finish_turn(now_ms);
        }
    }
    drop(store);
    let lost = memory.len() as u64;
    memory.into_iter().for_each(|one| one.shed(Shed::Crash));
    let said = dir.open(10_000_000).take_reports().into_iter().find_map(|report| match report {
        Report::Opened { crash: Some(crash), .. } => Some(crash.lost_at_most),
        _ => None,
    });
    (lost, said.expect("a kill is declared"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_kill_takes_more_along_than_was_promised(steps in steps()) {
        let (lost, said) = killed(&steps, None);
        prop_assert!(said.is_some_and(|most| lost <= most), "{lost} lost, {said:?} said");
    }
}

#[test]
fn without_a_promise_a_kill_takes_more_along_than_was_said() {
    let steps = vec![Step::See(249); 20];
    let (lost, said) = killed(&steps, None);
    assert!(lost == 4_980 && said.unwrap() >= lost && said.unwrap() < 10 * lost, "{said:?}");
    let (lost, said) = killed(&steps, Some(Sabotage::NoPromise));
    assert!(said.unwrap() < lost, "{lost} lost, {said:?} said");
}

#[test]
fn what_gives_way_before_a_kill_is_in_the_bound() {
    let (dir, ledger) = (Dir::new(), Ledger::new());
    let mut store = dir.open(5_000);
    let key = Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(1) };
    let all = (1..=40).map(|number| draft(number, Class::High));
    let messages: u64 = all.clone().map(|one| u64::from(one.messages)).sum();
    let tokens: Vec<Entry> = (0..messages).map(|_| ledger.open(key)).collect();
    tokens.into_iter().for_each(Entry::spool);
    // The account says that all of it is on disk; then the spool turns out to be too small, and the process dies.
    turn(&mut store, vec![account(&ledger)]);
    for draft in all {
        store.apply(Command::Append { draft, held: false }, 5_000);
        store.finish_turn(5_000);
    }
    let lost = |one: &Report| if let Report::Lost { messages, .. } = one { *messages } else { 0 };
    let lost: u64 = store.take_reports().iter().map(lost).sum();
    assert!(store.promised.at_risk >= lost, "{:?}, {lost} gave way", store.promised);
    drop(store);
    let said = dir.open(5_000).take_reports().into_iter().find_map(|report| match report {
        Report::Opened { crash: Some(crash), .. } => crash.lost_at_most,
        _ => None,
    });
    assert!(lost > 50 && said.is_some_and(|said| said >= lost), "{lost} gave way, {said:?} said");
}

#[test]
fn a_process_that_ends_in_order_declares_nothing() {
    let dir = Dir::new();
    let mut store = dir.open(100_000);
    turn(&mut store, vec![account(&Ledger::new()), Command::Close]);
    drop(store);
    let store = dir.open(100_000);
    assert_eq!((store.figures.lost_at_most(), store.figures.at_risk()), (0, 2_048));
}

#[test]
fn the_last_account_is_whole_also_when_the_end_comes_in_a_turn_of_its_own() {
    let (dir, ledger) = (Dir::new(), Ledger::new());
    let mut store = dir.open(100_000);
    ledger.open(Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(1) }).spool();
    let moment = Moment { account: ledger.account(), sessions: 0, lost_heard: 0, urgent: true };
    turn(&mut store, vec![Command::Account(Box::new(moment))]);
    turn(&mut store, vec![Command::Close]);
    let last = super::checkpoint::read(&dir.0).unwrap().unwrap();
    assert_eq!((last.closed, last.seen, last.spooled), (true, 1, 1));
}

#[test]
fn a_turn_that_takes_long_is_slow_whoever_asks() {
    let figures = Figures::default();
    figures.set_busy(10_000);
    assert_eq!([10_500, 11_001].map(|now| figures.state(now)), [State::Ok, State::Slow]);
    figures.set_state(State::Full);
    assert_eq!(figures.state(20_000), State::Full);
    figures.set_state(State::Ok);
    figures.set_busy(0);
    assert_eq!(figures.state(20_000), State::Ok);
}

#[test]
fn a_disk_that_takes_nothing_now_may_do_so_later() {
    use std::io::{Error, ErrorKind};
    let state = |kind| State::of(&Error::from(kind));
    assert_eq!(state(ErrorKind::StorageFull), State::Full);
    assert_eq!(state(ErrorKind::ReadOnlyFilesystem), State::ReadOnly);
    assert_eq!(state(ErrorKind::PermissionDenied), State::ReadOnly);
    assert_eq!(state(ErrorKind::Other), State::Broken);
}

#[test]
fn a_full_or_read_only_disk_refuses_keeps_what_it_has_and_is_used_again() {
    use std::io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
    let days = [
        (StorageFull, State::Full, Shed::SpoolFull),
        (ReadOnlyFilesystem, State::ReadOnly, Shed::SpoolBroken),
    ];
    for (kind, state, why) in days {
        let dir = Dir::new();
        let mut store = dir.open(100_000);
        let append = |number| Command::Append { draft: draft(number, Class::High), held: false };
        turn(&mut store, vec![append(1)]);
        store.sabotage = Some(Sabotage::DiskSays(kind));
        assert_eq!(turn(&mut store, vec![append(2)]), [Report::Failed(vec![Ulid(2)], why)]);
        assert_eq!(store.figures.state(0), state);
        let reports = turn(&mut store, vec![Command::Next]);
        assert!(matches!(&reports[..], [Report::Backlog(one)] if one.batch == Ulid(1)), "{reports:?}");
        store.sabotage = None;
        assert_eq!(turn(&mut store, vec![append(3)]), [Report::Synced(vec![Ulid(3)])]);
        assert_eq!(store.figures.state(0), State::Ok);
        drop(store);
        // The half-written record is overwritten by the next, and what was refused is not there.
        let mut store = dir.open(100_000);
        let mut found = Vec::new();
        for _ in 0..3 {
            for report in turn(&mut store, vec![Command::Next]) {
                found.extend(if let Report::Backlog(one) = report { Some(one.batch.0) } else { None });
            }
        }
        assert_eq!(found, [1, 3]);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_tried_again_and_everything_is_refused_meanwhile() {
    let dir = Dir::new();
    fs::write(&dir.0, "a file in its place").unwrap();
    let figures = Arc::new(Figures::default());
    let (mut port, plug) = connect(Arc::clone(&figures));
    let thread = spawn(dir.settings(100_000), plug).unwrap();
    let append = |number| Command::Append { draft: draft(number, Class::High), held: false };
    port.try_send(append(1)).unwrap();
    assert_eq!(port.next_report().await, Some(Report::Failed(vec![Ulid(1)], Shed::SpoolBroken)));
    assert_eq!(figures.state(0), State::Broken);
    fs::remove_file(&dir.0).unwrap();
    assert_eq!(port.next_report().await, Some(Report::Opened { messages: 0, crash: None }));
    port.try_send(append(2)).unwrap();
    assert_eq!(port.next_report().await, Some(Report::Synced(vec![Ulid(2)])));
    assert_eq!(figures.state(0), State::Ok);
    drop(port);
    thread.join().unwrap();
}

#[test]
fn a_record_that_is_larger_than_a_segment_has_one_of_its_own() {
    let dir = Dir::new(); // segments of 2,000 bytes
    let mut store = dir.open(20_000);
    let large = |number, len| Draft { body: Bytes::from(vec![b'x'; len]), ..draft(number, Class::High) };
    let append = |draft| Command::Append { draft, held: false };
    let all = vec![append(draft(1, Class::High)), append(large(2, 9_000)), append(draft(3, Class::High))];
    let reports = turn(&mut store, all);
    assert!(reports.iter().all(|one| !matches!(one, Report::Failed(..))), "{reports:?}");
    assert_eq!((dir.segments().len(), store.figures.state(0)), (3, State::Ok));
    let reports = turn(&mut store, vec![append(large(4, 30_000))]);
    assert_eq!(reports, [Report::Failed(vec![Ulid(4)], Shed::SpoolFull)], "nothing gives way for it");
    assert_eq!(store.index.open(Class::High).0, 3);
}

#[test]
fn a_full_spool_is_opened_without_being_loaded() {
    const RECORDS: u64 = 4_200;
    let dir = Dir::new();
    let settings =
        || super::Settings { limits: crate::spool::index::Limits::of(64 << 20), ..dir.settings(1) };
    let mut store = Store::open(settings(), Arc::default()).unwrap();
    let body = Bytes::from(vec![b'x'; 8 << 10]);
    for number in 1..=RECORDS {
        let draft =
            Draft { body: body.clone(), messages: 1, ..draft(number, Class::ALL[(number % 4) as usize]) };
        store.apply(Command::Append { draft, held: false }, 5_000);
        if number % 500 == 0 {
            store.finish_turn(5_000);
        }
    }
    let bytes = store.index.bytes();
    drop(store);
    let mut opened = None;
    let allocated = allocation_counter::measure(|| opened = Store::open(settings(), Arc::default()).ok());
    let reports = opened.unwrap().take_reports();
    assert!(matches!(reports[..], [Report::Opened { messages: RECORDS, .. }]), "{reports:?}");
    assert!(bytes > 32 << 20 && allocated.bytes_max < 512 << 10, "{} of {bytes}", allocated.bytes_max);
    // All of it is never in memory at once, but passes through a window.
    assert!(allocated.bytes_total < bytes / 4, "{} of {bytes}", allocated.bytes_total);
}
