//! The validator beside the publisher: what it is shown, what it tells the breaker, and when it reports.
//! Files are somebody else's: a report that cannot be handed over at once is lost and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use ulid::Ulid;

use super::Side;
use crate::app::flags::Standing;
use crate::app::ops::Word;
use crate::app::reports::{Outbox, ProofFigures, Proofs};
use crate::breaker::{Outcome, Publish};
use crate::envelope::decode;
use crate::ledger::{Ledger, Shed};
use crate::mirror::flight::Epoch;
use crate::mirror::record::Record;
use crate::mirror::shard::Shard;
use crate::validator::natural::Natural;
use crate::validator::noise::Noise;
use crate::validator::parity::Summary;
use crate::validator::report::{Frame, Matching, NoiseReport, Report, SelfTest, Span};
use crate::validator::{Sent, Validator, pairing, self_test};

/// How often time is let pass, figures are left and the breaker is told.
const TURN_EVERY: Duration = Duration::from_secs(1);
/// How often the rolling report is written.
const ROLLING_EVERY: Duration = Duration::from_secs(60);
const HOUR_MS: u64 = 3_600_000;

/// Who is watched, and where its reports go.
pub(crate) struct Scene {
    /// Service and pod.
    pub(crate) names: (String, String),
    /// The process's name in envelopes.
    pub(crate) src: String,
    pub(crate) noise: Noise,
    pub(crate) epoch: Epoch,
    /// The rollout's settings; a change of the share begins a step.
    pub(crate) standing: Option<watch::Receiver<Arc<Standing>>>,
    pub(crate) outbox: Option<Outbox>,
    /// Knows what the mirror's share has left out.
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) figures: Arc<ProofFigures>,
}

/// See the module.
pub(crate) struct Watch {
    pub(crate) validator: Validator,
    /// What the intake has learnt about the legacy leg.
    natural: Vec<Natural>,
    /// What is known of authorization, where it is compared.
    parity: Option<Summary>,
    scene: Scene,
    /// What was left out of the mirror, as far as the validator has been told.
    unsampled: u64,
    self_test: SelfTest,
    tested: Option<Instant>,
    turned: Instant,
    rolled: Instant,
    /// The hour that is being counted, and from when.
    hour: (u64, u64),
    /// The step that is being counted, and from when.
    step: (u32, u64),
}

impl Watch {
    pub(crate) fn new(scene: Scene) -> Self {
        let epoch = scene.epoch;
        let validator = Validator::new(&scene.src, scene.noise.fresh(), (epoch.at, epoch.unix_ms));
        let share = scene.share().unwrap_or(0);
        Self {
            validator,
            natural: Vec::new(),
            parity: None,
            unsampled: 0,
            self_test: SelfTest::default(),
            tested: None,
            turned: epoch.at,
            rolled: epoch.at,
            hour: (epoch.unix_ms / HOUR_MS, epoch.unix_ms),
            step: (share, epoch.unix_ms),
            scene,
        }
    }

    pub(super) fn interrupted(&mut self) {
        self.validator.interrupted();
    }

    pub(super) fn refused(&mut self, batch: Ulid) {
        self.validator.refused(batch);
    }

    pub(super) const fn begin_evidence(&mut self, now: Instant) {
        self.validator.begin_evidence(now);
    }

    /// The last reports.
    pub(super) fn close(&mut self, now: Instant) {
        self.validator.advance(now);
        let unix_ms = self.scene.epoch.unix_ms(now);
        self.end_hour(unix_ms);
        self.end_step(unix_ms);
    }

    fn turn(&mut self, now: Instant) {
        self.validator.advance(now);
        let left_out = self.scene.ledger.account().shed(Shed::Unsampled);
        self.validator.unsampled(left_out.saturating_sub(self.unsampled));
        self.unsampled = left_out;
        if self.tested.is_none_or(|at| now.saturating_duration_since(at) >= self_test::EVERY) {
            self.tested = Some(now);
            self.test(now);
        }
        let unix_ms = self.scene.epoch.unix_ms(now);
        if unix_ms / HOUR_MS != self.hour.0 {
            self.end_hour(unix_ms);
            self.hour = (unix_ms / HOUR_MS, unix_ms);
        }
        if let Some(share) = self.scene.share().filter(|share| *share != self.step.0) {
            self.end_step(unix_ms);
            self.step = (share, unix_ms);
        }
        if now.saturating_duration_since(self.rolled) >= ROLLING_EVERY {
            self.rolled = now;
            let tally = self.validator.book().rolling();
            let from = unix_ms.saturating_sub(HOUR_MS).max(self.scene.epoch.unix_ms);
            self.post(self.frame(Span::Rolling, (from, unix_ms), None), &tally);
        }
        self.leave_figures(unix_ms);
    }

    fn test(&mut self, now: Instant) {
        self.self_test.runs += 1;
        let result = self_test::run(self.validator.noise(), now);
        self.self_test.passed = result.is_ok();
        for unseen in result.err().into_iter().flatten() {
            tracing::error!(
                injected = unseen.injected.as_str(),
                expected = unseen.expected,
                found = unseen.found,
                "the validator does not see a known fault: trust no match figure (a noise rule may hide too much)"
            );
        }
        self.self_test.failures += u64::from(!self.self_test.passed);
    }

    fn end_hour(&mut self, unix_ms: u64) {
        let tally = self.validator.book().take_hour();
        self.post(self.frame(Span::Hourly, (self.hour.1, unix_ms), None), &tally);
    }

    fn end_step(&mut self, unix_ms: u64) {
        let tally = self.validator.book().take_step();
        let percent = f64::from(self.step.0) / 1_000.0;
        self.post(self.frame(Span::Step, (self.step.1, unix_ms), Some(percent)), &tally);
    }

    fn frame(&self, span: Span, ms: (u64, u64), percent: Option<f64>) -> Frame {
        let (service, pod) = self.scene.names.clone();
        let noise = NoiseReport { rules: self.validator.noise().uses(), natural: self.natural.clone() };
        let samples = self.validator.samples();
        Frame { span, service, pod, ms, percent, noise, self_test: self.self_test, samples }
    }

    fn post(&self, frame: Frame, tally: &crate::validator::tally::Tally) {
        let Some(outbox) = &self.scene.outbox else { return };
        let report = Report { parity: self.parity.clone(), ..Report::new(frame, tally) };
        if !outbox.try_send(report) {
            self.scene.figures.report_lost();
        }
    }

    fn leave_figures(&mut self, unix_ms: u64) {
        let (total, rolling, step) = {
            let book = self.validator.book();
            (book.total(), book.rolling(), book.step())
        };
        self.scene.figures.leave(Proofs {
            at_ms: unix_ms,
            rolling: Matching::of(&rolling),
            step: Matching::of(&step),
            total: Matching::of(&total),
            not_compared: crate::validator::NotCompared::ALL.map(|why| total.left_out(why)),
            kinds: crate::validator::Kind::ALL.map(|kind| total.of(kind)),
            behind_legacy: total.behind,
            self_test: self.self_test,
            rules: self.validator.noise().uses(),
            natural: self.natural.clone(),
            discrepancies: self.validator.samples(),
        });
    }
}

impl Scene {
    /// The rollout's share, in 0.001 %.
    fn share(&self) -> Option<u32> {
        self.standing.as_ref().map(|standing| standing.borrow().settings.percent().units())
    }
}

impl Side {
    /// A broadcast of our own event on our own topic.
    pub(super) fn read_back(&mut self, bytes: &[u8], now: Instant) {
        let Ok(envelope) = decode(bytes) else {
            self.watch.validator.malformed();
            return self.publisher.handle_malformed();
        };
        if *envelope.header.src == *self.watch.scene.src {
            self.vouch();
        }
        let records = self.publisher.records(envelope.header.batch);
        let body = |place: usize| records.get(place).map(|record| record.payload());
        self.watch.validator.returned(&envelope, body, now);
        self.publisher.handle_envelope(envelope, now);
    }

    /// A batch has gone to the link.
    pub(super) fn watch_sent(&mut self, shard: Shard, (batch, attempt): (Ulid, u8), now: Instant) {
        let records = self.parts(shard).1.records(batch).iter().map(sent).collect::<Vec<_>>();
        match shard {
            Shard::ReadBack => self.watch.validator.sent(batch, attempt, records, now),
            Shard::Acked if attempt == 1 => self.watch.validator.unread(&records),
            Shard::Acked => {}
        }
    }

    pub(super) fn watch_turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.watch.turned) < TURN_EVERY {
            return;
        }
        self.watch.turned = now;
        self.watch.natural = self.intake.learnt();
        self.watch.parity = self.intake.parity();
        self.figures.note_kinds(self.intake.kinds(now));
        self.watch.turn(now);
        let (matched, mismatched) = self.watch.validator.take_evidence();
        if matched + mismatched > 0 && self.state.mode == Some(Publish::All) {
            self.say(Word::Outcome(Outcome::Compared { matched, mismatched }));
        }
    }
}

fn sent(record: &Record) -> Sent {
    let facts = record.facts();
    Sent {
        keys: record.keys().collect(),
        crc: record.crc(),
        len: u32::try_from(record.payload().len()).unwrap_or(u32::MAX),
        op: facts.op,
        class: facts.class,
        event: facts.kind.shared(),
        mark: pairing::mark(&facts.kind, &facts.path),
        redacted: facts.redacted,
        part: record.part(),
        at: facts.at,
    }
}
