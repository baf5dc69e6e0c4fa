//! The shell on real files: random lives with crashes against a model, and the disk's bad days.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use ulid::Ulid;

use super::figures::State;
use super::store::{OpenError, Store};
use super::{Command, Moment, Report, Settings, Ticket, Worker, connect};
use crate::envelope::Class;
use crate::ledger::{Ledger, Shed};
use crate::spool::index::Limits;
use crate::spool::record::Draft;
use crate::spool::seal::Seal;

/// One rule broken on purpose; the tests must notice each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The kernel says that a sync failed.
    SyncFails,
    /// What was handed out counts as settled at once.
    SettleOnHandOut,
    /// No promise is written ahead.
    NoPromise,
    /// The disk says that it is full, or read-only.
    DiskSays(std::io::ErrorKind),
}

impl Sabotage {
    /// What the disk says to a write.
    pub(super) fn spoil(chosen: Option<Self>) -> std::io::Result<()> {
        match chosen {
            Some(Self::DiskSays(kind)) => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

/// A directory of its own, deleted at the end.
pub(super) struct Dir(pub(super) PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name =
            format!("crossfade-spool-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    pub(super) fn settings(&self, total: u64) -> Settings {
        let limits = Limits { total, segment: 2_000 };
        Settings { dir: self.0.clone(), limits, seal: None, instance: "test".to_owned() }
    }

    pub(super) fn open(&self, total: u64) -> Store {
        Store::open(self.settings(total), Arc::default()).unwrap()
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = all.filter(|path| path.extension().is_some_and(|ext| ext == "seg")).collect();
        all.sort();
        all
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) fn draft(number: u64, class: Class) -> Draft {
    let body = format!("body {number} {}", "x".repeat(usize::try_from(number * 37 % 300).unwrap()));
    Draft {
        batch: Ulid(u128::from(number)),
        class,
        at_ms: 1_000 + number,
        messages: u32::try_from(number % 5 + 1).unwrap(),
        body: Bytes::from(body),
    }
}

pub(super) fn account(ledger: &Ledger) -> Command {
    let account = ledger.account();
    Command::Account(Box::new(Moment { account, sessions: 1, lost_heard: 0, urgent: false }))
}

pub(super) fn turn(store: &mut Store, commands: Vec<Command>) -> Vec<Report> {
    for command in commands {
        store.apply(command, 5_000);
    }
    store.finish_turn(5_000);
    store.take_reports()
}

#[derive(Clone, Debug)]
enum Op {
    Append { class: usize, held: bool },
    Settle(prop::sample::Index),
    Release(prop::sample::Index),
    Next,
    Done(prop::sample::Index),
    Return(prop::sample::Index),
    Crash { torn: u16 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0usize..4, any::<bool>()).prop_map(|(class, held)| Op::Append { class, held }),
        2 => any::<prop::sample::Index>().prop_map(Op::Settle),
        2 => any::<prop::sample::Index>().prop_map(Op::Release),
        4 => Just(Op::Next),
        3 => any::<prop::sample::Index>().prop_map(Op::Done),
        1 => any::<prop::sample::Index>().prop_map(Op::Return),
        1 => (0u16..60).prop_map(|torn| Op::Crash { torn }),
    ];
    prop::collection::vec(op, 1..60)
}

/// What must be on the disk: (class, number of the batch) → messages.
#[derive(Default)]
struct Model {
    open: BTreeMap<u64, (Class, u64)>,
    held: BTreeSet<u64>,
    out: BTreeMap<u64, Ticket>,
    lost: u64,
}

fn pick<T: Copy + Ord>(all: impl Iterator<Item = T>, index: &prop::sample::Index) -> Option<T> {
    let all: Vec<T> = all.collect();
    (!all.is_empty()).then(|| *index.get(&all))
}

fn lives(ops: &[Op], total: u64, sabotage: Option<Sabotage>) -> Result<(), String> {
    let dir = Dir::new();
    let mut store = dir.open(total);
    store.sabotage = sabotage;
    drop(store.take_reports());
    let mut model = Model::default();
    for (number, op) in (1u64..).zip(ops) {
        let commands = match op {
            Op::Append { class, held } => {
                vec![Command::Append { draft: draft(number, Class::ALL[*class]), held: *held }]
            }
            Op::Settle(index) => match pick(model.held.iter().copied(), index) {
                Some(batch) => {
                    model.held.remove(&batch);
                    model.open.remove(&batch);
                    vec![Command::Settle(Ulid(batch.into()))]
                }
                None => continue,
            },
            Op::Release(index) => match pick(model.held.iter().copied(), index) {
                Some(batch) => {
                    model.held.remove(&batch);
                    vec![Command::Release(Ulid(batch.into()), u64::from(draft(batch, Class::Low).messages))]
                }
                None => continue,
            },
            Op::Next => vec![Command::Next],
            Op::Done(index) | Op::Return(index) => match pick(model.out.keys().copied(), index) {
                Some(batch) => {
                    let ticket = model.out.remove(&batch).unwrap();
                    if matches!(op, Op::Done(_)) {
                        model.open.remove(&batch);
                        vec![Command::Done(ticket)]
                    } else {
                        vec![Command::Return(ticket)]
                    }
                }
                None => continue,
            },
            Op::Crash { torn } => {
                drop(store);
                if let Some(last) = dir.segments().last() {
                    let mut bytes = fs::read(last).unwrap();
                    bytes.extend(vec![0xFF; usize::from(*torn)]);
                    fs::write(last, bytes).unwrap();
                }
                store = dir.open(total);
                store.sabotage = sabotage;
                (model.held, model.out) = Default::default();
                vec![]
            }
        };
        for report in turn(&mut store, commands) {
            hear(&mut model, report, number, op, total)?;
        }
    }
    finish(store, &dir, &model, total)
}

fn hear(model: &mut Model, report: Report, number: u64, op: &Op, total: u64) -> Result<(), String> {
    match report {
        Report::Synced(batches) => {
            let Op::Append { class, held } = op else { return Err("synced what?".to_owned()) };
            if batches != [Ulid(number.into())] {
                return Err(format!("{batches:?} synced"));
            }
            let class = Class::ALL[*class];
            model.open.insert(number, (class, u64::from(draft(number, class).messages)));
            if *held {
                model.held.insert(number);
            }
        }
        Report::Backlog(backlog) => {
            let number = u64::try_from(backlog.batch.0).unwrap();
            let Some((class, _)) = model.open.get(&number) else {
                return Err(format!("{number} was not there"));
            };
            if backlog.body != draft(number, *class).body || model.held.contains(&number) {
                return Err(format!("{number} came altered, or while it was held"));
            }
            // The oldest of its class that is neither held nor out.
            let mut mine = model.open.iter().filter(|(other, (one, _))| {
                one == class && !model.held.contains(other) && !model.out.contains_key(other)
            });
            if mine.next().map(|(first, _)| *first) != Some(number) && total > 1_000_000 {
                return Err(format!("{number} came out of order"));
            }
            if model.out.insert(number, backlog.ticket).is_some() {
                return Err(format!("{number} was handed out twice"));
            }
        }
        Report::Lost { messages, .. } => model.lost += messages,
        Report::Opened { messages, .. } => {
            let open: u64 = model.open.values().map(|(_, messages)| messages).sum();
            if messages + model.lost != open && total > 1_000_000 {
                return Err(format!("{messages} messages found, {open} stored"));
            }
        }
        Report::Failed(_, Shed::SpoolFull) if total < 1_000_000 => {}
        Report::Failed(_, why) => return Err(format!("{why:?}")),
        Report::Empty | Report::Closed { .. } => {}
    }
    Ok(())
}

/// Whatever happened: a new process finds everything that was synced and not settled, and nothing else.
fn finish(store: Store, dir: &Dir, model: &Model, total: u64) -> Result<(), String> {
    drop(store);
    let mut store = dir.open(total);
    let mut found = BTreeMap::new();
    loop {
        let reports = turn(&mut store, vec![Command::Next]);
        let mut given = None;
        for report in reports {
            match report {
                Report::Backlog(backlog) => given = Some(backlog),
                Report::Lost { .. } => return Err("lost at rest".to_owned()),
                _ => {}
            }
        }
        let Some(backlog) = given else { break };
        found.insert(u64::try_from(backlog.batch.0).unwrap(), u64::from(backlog.messages));
        turn(&mut store, vec![Command::Done(backlog.ticket)]);
    }
    let expected: BTreeMap<u64, u64> = model.open.iter().map(|(n, (_, messages))| (*n, *messages)).collect();
    if total > 1_000_000 && found != expected {
        return Err(format!("found {:?}, stored {:?}", found.keys(), expected.keys()));
    }
    if total < 1_000_000 {
        let sum = found.values().sum::<u64>();
        let stored = expected.values().sum::<u64>();
        if !found.keys().all(|number| expected.contains_key(number)) || sum > stored {
            return Err("something settled came back".to_owned());
        }
    }
    if !dir.segments().is_empty() && store.index.bytes() == 0 {
        return Err("files are left".to_owned());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_was_synced_is_found_once(ops in ops()) {
        prop_assert_eq!(lives(&ops, 10_000_000, None), Ok(()));
    }

    #[test]
    fn a_small_spool_never_brings_back_what_is_settled(ops in ops()) {
        prop_assert_eq!(lives(&ops, 5_000, None), Ok(()));
    }
}

#[test]
fn settling_before_the_arrival_is_noticed() {
    let append = || Op::Append { class: 1, held: false };
    let ops = vec![append(), append(), Op::Next, Op::Crash { torn: 0 }, Op::Next];
    assert_eq!(lives(&ops, 10_000_000, None), Ok(()));
    assert!(lives(&ops, 10_000_000, Some(Sabotage::SettleOnHandOut)).is_err());
}

#[test]
fn a_failed_sync_is_final_and_nothing_is_called_spooled() {
    let dir = Dir::new();
    let mut store = dir.open(100_000);
    turn(&mut store, vec![Command::Append { draft: draft(1, Class::High), held: false }]);
    store.sabotage = Some(Sabotage::SyncFails);
    let reports = turn(&mut store, vec![Command::Append { draft: draft(2, Class::High), held: false }]);
    assert_eq!(reports, [Report::Failed(vec![Ulid(2)], Shed::SpoolBroken)]);
    assert_eq!(store.figures.state(0), State::Broken);
    store.sabotage = None;
    let reports = turn(&mut store, vec![Command::Append { draft: draft(3, Class::High), held: false }]);
    assert_eq!(reports, [Report::Failed(vec![Ulid(3)], Shed::SpoolBroken)], "it stays broken");
    let reports = turn(&mut store, vec![Command::Next]);
    assert!(
        matches!(&reports[..], [Report::Backlog(one)] if one.batch == Ulid(1)),
        "and still hands out: {reports:?}"
    );
}

#[test]
fn a_directory_has_one_owner_and_must_be_writable() {
    let dir = Dir::new();
    let store = dir.open(100_000);
    assert!(matches!(Store::open(dir.settings(100_000), Arc::default()), Err(OpenError::Locked { .. })));
    drop(store);
    drop(dir.open(100_000));
    let file = Dir::new();
    fs::write(&file.0, "a file").unwrap();
    assert!(matches!(Store::open(file.settings(1_000), Arc::default()), Err(OpenError::Directory { .. })));
    fs::remove_file(&file.0).unwrap();
}

#[test]
fn damage_costs_its_record_and_is_counted() {
    let dir = Dir::new();
    let mut store = dir.open(1_000_000);
    let appends = (1..=6).map(|n| Command::Append { draft: draft(n, Class::Medium), held: false }).collect();
    turn(&mut store, appends);
    drop(store);
    let path = dir.segments().remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[70] ^= 1; // in the body of the first
    fs::write(&path, &bytes).unwrap();
    let mut store = dir.open(1_000_000);
    let reports = turn(&mut store, vec![Command::Next]);
    let lost = Report::Lost { messages: 2, why: Shed::SpoolDamaged };
    assert!(reports.contains(&lost), "{reports:?}");
    assert!(
        reports.iter().any(|one| matches!(one, Report::Backlog(one) if one.batch == Ulid(2))),
        "{reports:?}"
    );
    assert_eq!(store.figures.damaged(), 1);
}

#[test]
fn another_key_hands_nothing_out_and_deletes_nothing() {
    let dir = Dir::new();
    let sealed = |digit: &str| {
        let seal = Seal::parse(&digit.repeat(64));
        Store::open(Settings { seal, ..dir.settings(1_000_000) }, Arc::default()).unwrap()
    };
    let mut store = sealed("1");
    turn(&mut store, vec![Command::Append { draft: draft(1, Class::Low), held: false }]);
    drop(store);
    for digit in ["2", "not a key"] {
        let mut store = sealed(digit);
        assert!(turn(&mut store, vec![Command::Next]).contains(&Report::Empty));
        assert_eq!(store.figures.state(0), State::Sealed);
    }
    let reports = turn(&mut sealed("1"), vec![Command::Next]);
    assert!(reports.iter().any(|one| matches!(one, Report::Backlog(_))), "{reports:?}");
}

#[test]
fn a_process_that_ended_without_a_word_is_declared() {
    let dir = Dir::new();
    let ledger = Ledger::new();
    let key = |seq| crate::session::Key {
        session: crate::session::SessionNo(1),
        dir: crate::session::Direction::Down,
        seq: crate::session::Seq(seq),
    };
    let entries: Vec<_> = (1..=9).map(|seq| ledger.open(key(seq))).collect();
    let mut store = dir.open(1_000_000);
    let held = Command::Append { draft: draft(3, Class::Critical), held: true }; // 4 messages
    turn(&mut store, vec![held, account(&ledger)]);
    drop(store);
    let mut store = dir.open(1_000_000);
    match &store.take_reports()[..] {
        [Report::Opened { messages: 4, crash: Some(crash) }] => assert_eq!(crash.messages, 5),
        other => panic!("{other:?}"),
    }
    let reports = turn(&mut store, vec![account(&ledger), Command::Close]);
    assert_eq!(reports, [Report::Closed { messages: 4 }]);
    drop(store);
    assert!(matches!(dir.open(1_000_000).take_reports()[..], [Report::Opened { messages: 4, crash: None }]));
    for entry in entries {
        entry.shed(Shed::Crash);
    }
}

#[test]
fn a_full_queue_refuses_instead_of_waiting() {
    let dir = Dir::new();
    let (port, plug) = connect(Arc::default());
    let mut worker = Worker::open(dir.settings(1 << 30), plug).unwrap();
    let big = || Draft { body: Bytes::from(vec![b'x'; 1 << 20]), ..draft(1, Class::High) };
    let taken =
        (0..20).filter(|_| port.try_send(Command::Append { draft: big(), held: false }).is_ok()).count();
    assert_eq!(taken, 16, "16 MiB may wait");
    assert!(worker.turn(None, 1));
    assert!(port.try_send(Command::Append { draft: big(), held: false }).is_ok());
    drop(port);
    assert!(!worker.turn(None, 1), "nobody listens any more");
}
