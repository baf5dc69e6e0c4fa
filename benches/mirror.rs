//! What the mirror costs: from the tap to the encoded batch, and the spool on this machine's disk; time, memory, and
//! the ratios that mean something elsewhere, too. `cargo bench --bench mirror`; nothing is judged.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossfade::budget::{Budget, Payload};
use crossfade::envelope::Class;
use crossfade::ledger::Ledger;
use crossfade::mirror::batch::{Batcher, Limits};
use crossfade::mirror::classify::{Classifier, Fate, Marks, Sample};
use crossfade::mirror::flight::Epoch;
use crossfade::mirror::publish::Publisher;
use crossfade::mirror::record::{Facts, Record};
use crossfade::mirror::redact::{Redactor, Scope};
use crossfade::mirror::report::Ack;
use crossfade::mirror::settings::Settings;
use crossfade::session::{Direction, Key, Opcode, Seq, SessionNo};
use crossfade::spool;
use crossfade::spool::disk::{Command, Report, Worker, connect};
use crossfade::spool::record::Draft;
use ulid::Ulid;

const MESSAGES: u64 = 100_000;
const PER_BATCH: u64 = 200;
const STORED: u128 = 2_000;
const BODY_BYTES: usize = 16 << 10;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    println!("tap to encoded batch: {MESSAGES} messages of 300 bytes, {PER_BATCH} a batch, one thread");
    let different = tap_to_batch(1)?;
    let crowd = tap_to_batch(PER_BATCH)?;
    println!("  one to {PER_BATCH} sessions : each different = 1 : {:.2} (time)", different / crowd);
    println!("spool: {STORED} batches of {} KiB", BODY_BYTES >> 10);
    let plain = plain()?;
    let spooled = spooled()?;
    println!("  spool : plain file, both synced once a turn = {:.2} : 1 (time)", spooled / plain);
    match peak_kib() {
        Some(kib) => println!("peak resident memory of this process: {} MiB", kib >> 10),
        None => println!("peak resident memory: /proc/self/status does not say"),
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn clock() -> Instant {
    Instant::now()
}

/// Runs it; how long it took, and what it allocated.
fn measured<T>(run: impl FnOnce() -> T) -> (T, Duration, allocation_counter::AllocationInfo) {
    let (mut out, mut took) = (None, Duration::ZERO);
    let allocated = allocation_counter::measure(|| {
        let began = clock();
        out = Some(run());
        took = began.elapsed();
    });
    (out.expect("it ran"), took, allocated)
}

/// Seconds per message. `sessions` get the same bytes each.
fn tap_to_batch(sessions: u64) -> Result<f64, Failure> {
    let (bytes, took, allocated) = measured(|| publish_all(sessions));
    let each = took.as_secs_f64() / MESSAGES as f64;
    println!(
        "  {sessions:>3} session(s) a message: {:.2} us and {:.1} allocations a message, {} KiB held at most, {:.0} \
         bytes published for each recipient",
        each * 1e6,
        allocated.count_total as f64 / MESSAGES as f64,
        allocated.bytes_max >> 10,
        bytes? as f64 / MESSAGES as f64,
    );
    Ok(each)
}

fn publish_all(sessions: u64) -> Result<usize, Failure> {
    let now = clock();
    let (ledger, budget) = (Ledger::new(), Budget::new(1 << 26));
    let (mut classifier, redactor) = (Classifier::default(), Redactor::new(Scope::Both));
    let mut batcher = Batcher::new(Limits::default());
    let mut publisher = Publisher::new(Settings::new("bench", 1), Epoch { at: now, unix_ms: 0 });
    publisher.handle_link_up(now);
    let path: Arc<str> = "/ws".into();
    let mut published = 0;
    for number in 0..MESSAGES {
        let body = format!(r#"{{"event":"price","n":{},"text":"{:>260}"}}"#, number / sessions, "x");
        let (dir, op) = (Direction::Down, Opcode::Text);
        let sample = Sample { path: "/ws", subprotocol: None, dir, op, payload: body.as_bytes() };
        let classified = classifier.classify(&sample, now);
        let Fate::Mirror { class, shared } = classified.fate else { continue };
        let bytes = redactor.redact(dir, op, body.as_bytes());
        let payload = Payload::copy_from(&bytes, &budget).ok_or("the budget is used up")?;
        let session = SessionNo(u32::try_from(number % sessions)?);
        let entry = ledger.open(Key { session, dir, seq: Seq(number) });
        let (kind, path, marks) = (classified.kind, Arc::clone(&path), Marks::default());
        let facts = Facts { op, kind, class, path, at: now, shared, marks, redacted: false };
        batcher
            .push(Record::new(payload, facts, entry, true), now)
            .map_err(|refused| refused.why.as_str())?;
        if (number + 1) % PER_BATCH > 0 {
            continue;
        }
        while let Some(batch) = batcher.take(publisher.slots_free(), 1 << 20, now) {
            publisher.submit(batch, now);
        }
        while let Some(push) = publisher.poll_transmit(now) {
            published += push.body.len();
            publisher.handle_sent(push.batch);
            publisher.handle_ack(push.batch, Ack::Ok, now);
            publisher.handle_readback(&push.body, now);
        }
        while publisher.poll_event().is_some() {}
    }
    Ok(published)
}

struct Dir(PathBuf);

impl Dir {
    /// Beside the build, because `/tmp` may be memory.
    fn new(name: &str) -> Result<Self, Failure> {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// How many batches one sync covers.
const TURN: u128 = 64;

fn told(what: &str, took: Duration, allocated: &allocation_counter::AllocationInfo) -> f64 {
    let bytes = STORED as f64 * BODY_BYTES as f64;
    let speed = bytes / took.as_secs_f64() / f64::from(1 << 20);
    println!("  {what}: {speed:.0} MiB/s, {} KiB held at most", allocated.bytes_max >> 10);
    took.as_secs_f64()
}

/// The same bytes into a file, with as many syncs.
fn plain() -> Result<f64, Failure> {
    let (dir, body) = (Dir::new("bench-plain")?, vec![b'x'; BODY_BYTES]);
    let (done, took, allocated) = measured(|| -> std::io::Result<()> {
        let mut file = std::fs::File::create(dir.0.join("file"))?;
        for number in 1..=STORED {
            file.write_all(&body)?;
            if number % TURN == 0 {
                file.sync_data()?;
            }
        }
        file.sync_data()
    });
    done?;
    Ok(told("plain file", took, &allocated))
}

fn spooled() -> Result<f64, Failure> {
    let (dir, body) = (Dir::new("bench-spool")?, Bytes::from(vec![b'x'; BODY_BYTES]));
    let limits = spool::index::Limits::of(256 << 20);
    let settings =
        spool::disk::Settings { dir: dir.0.clone(), limits, seal: None, instance: "bench".to_owned() };
    let (mut port, plug) = connect(Arc::default());
    let mut worker = Worker::open(settings, plug).map_err(|(error, _)| error)?;
    let mut synced = 0;
    let (done, took, allocated) = measured(|| -> Result<(), Failure> {
        for number in 1..=STORED {
            let (batch, class) = (Ulid(number), Class::High);
            let draft = Draft { batch, class, at_ms: 0, messages: 1, body: body.clone() };
            port.try_send(Command::Append { draft, held: false }).map_err(|_| "the queue is full")?;
            if number % TURN == 0 || number == STORED {
                worker.turn(None, 0);
                while let Some(report) = port.try_report() {
                    if let Report::Synced(batches) = report {
                        synced += batches.len();
                    }
                }
            }
        }
        Ok(())
    });
    done?;
    println!("  {synced} reports of {STORED} batches synced");
    Ok(told("spool     ", took, &allocated))
}

/// `VmHWM`, which the kernel keeps.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
