//! What the mirror's pure part costs per message: classify, redact, batch, encode, decode, compare, settle.
//! Prints figures and judges nothing: `cargo run --release --example mirror_cost`.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use crossfade::budget::{Budget, Payload};
use crossfade::ledger::Ledger;
use crossfade::mirror::batch::{Batcher, Limits};
use crossfade::mirror::classify::{Classifier, Fate, Sample};
use crossfade::mirror::flight::Epoch;
use crossfade::mirror::publish::Publisher;
use crossfade::mirror::record::{Facts, Record};
use crossfade::mirror::redact::{Redactor, Scope};
use crossfade::mirror::report::Ack;
use crossfade::mirror::settings::Settings;
use crossfade::session::{Direction, Key, Opcode, Seq, SessionNo};

const MESSAGES: u64 = 400_000;
const PER_BATCH: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    println!("300-byte JSON messages, {PER_BATCH} per publish, one thread");
    for (name, sessions) in [("each different", 1), ("one to 200 sessions", PER_BATCH)] {
        let mut mirror = Mirror::new(sessions);
        #[expect(clippy::disallowed_methods, reason = "this program measures time")]
        let clock = Instant::now;
        let started = clock();
        for first in (0..MESSAGES).step_by(PER_BATCH as usize) {
            mirror.round(first, clock())?;
        }
        let took = started.elapsed();
        let account = mirror.ledger.account();
        println!(
            "{name:>20}: {:>6.2} us per message, {:>9.0} messages/s, {} of {} confirmed, {} bytes published",
            took.as_secs_f64() * 1e6 / MESSAGES as f64,
            MESSAGES as f64 / took.as_secs_f64(),
            account.confirmed,
            account.seen,
            mirror.published,
        );
    }
    Ok(())
}

struct Mirror {
    sessions: u64,
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    classifier: Classifier,
    redactor: Redactor,
    batcher: Batcher,
    publisher: Publisher,
    path: Arc<str>,
    published: usize,
}

impl Mirror {
    fn new(sessions: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this program measures time")]
        let at = Instant::now();
        let mut publisher = Publisher::new(Settings::new("cost", 1), Epoch { at, unix_ms: 0 });
        publisher.handle_link_up(at);
        Self {
            sessions,
            ledger: Ledger::new(),
            budget: Budget::new(1 << 26),
            classifier: Classifier::default(),
            redactor: Redactor::new(Scope::Both),
            batcher: Batcher::new(Limits::default()),
            publisher,
            path: Arc::from("/ws"),
            published: 0,
        }
    }

    /// One publish: so many messages in, one broadcast out and back.
    fn round(&mut self, first: u64, now: Instant) -> Result<(), Box<dyn Error>> {
        for number in first..first + PER_BATCH {
            let content = number / self.sessions;
            let body = format!(r#"{{"event":"price","n":{content},"text":"{:>260}"}}"#, "x");
            let sample = Sample {
                path: "/ws",
                subprotocol: None,
                dir: Direction::Down,
                op: Opcode::Text,
                payload: body.as_bytes(),
            };
            let classified = self.classifier.classify(&sample, now);
            let Fate::Mirror { class, shared } = classified.fate else { continue };
            let bytes = self.redactor.redact(Direction::Down, Opcode::Text, body.as_bytes());
            let payload = Payload::copy_from(&bytes, &self.budget).ok_or("the budget is used up")?;
            let session = SessionNo(u32::try_from(number % self.sessions)?);
            let key = Key { session, dir: Direction::Down, seq: Seq(number) };
            let facts = Facts {
                op: Opcode::Text,
                kind: classified.kind,
                class,
                path: Arc::clone(&self.path),
                at: now,
                shared,
                marks: crossfade::mirror::classify::Marks::default(),
                redacted: false,
            };
            let record = Record::new(payload, facts, self.ledger.open(key), true);
            self.batcher.push(record, now).map_err(|refused| refused.why.as_str())?;
        }
        while let Some(batch) = self.batcher.take(self.publisher.slots_free(), 1 << 20, now) {
            self.publisher.submit(batch, now);
        }
        while let Some(push) = self.publisher.poll_transmit(now) {
            self.published += push.body.len();
            self.publisher.handle_sent(push.batch);
            self.publisher.handle_ack(push.batch, Ack::Ok, now);
            self.publisher.handle_readback(&push.body, now);
        }
        while self.publisher.poll_event().is_some() {}
        Ok(())
    }
}
