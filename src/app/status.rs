//! From everybody's figures to one [`Status`], and from that to the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::admin::{MatchReadings, ParityReadings, Snapshot, SpoolReadings};
use crate::breaker::{State, Trigger};
use crate::envelope::Class;
use crate::hot::{Direct, Fallback};
use crate::mirror::tally::{EDGES_MS, Histogram};
use crate::proxy::{EndCause, Fault, Lane, SessionCounters, UpgradeOutcome};
use crate::session::Direction;
use crate::spool::disk;
use crate::status::{BreakerFigures, HotFigures, MirrorFigures, QuotaFigures, Status};

use super::console::quantile_ms;
use super::{Eyes, Proofs};
use crate::validator::verdict::Verdict;
use crate::validator::{Kind, NotCompared};

fn sum(counters: &[std::sync::Arc<SessionCounters>], of: impl Fn(&SessionCounters) -> &AtomicU64) -> u64 {
    counters.iter().map(|one| of(one).load(Ordering::Relaxed)).sum()
}

impl Eyes {
    /// One look at the whole process.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let counters = &self.shared.sessions;
        let open = |lane: usize| counters.iter().map(|one| one.open[lane].load(Ordering::Relaxed)).sum();
        Status {
            open: std::array::from_fn(open),
            opened: std::array::from_fn(|i| sum(counters, |one| &one.opened[i])),
            ended: std::array::from_fn(|i| sum(counters, |one| &one.ended[i])),
            bytes: std::array::from_fn(|i| sum(counters, |one| &one.bytes[i])),
            messages: std::array::from_fn(|i| sum(counters, |one| &one.messages[i])),
            hot: self.hot(),
            mirror: self.mirror(),
            quota: self.quota(),
            ledger: self.ledger.account(),
            breaker: self.breaker(now),
            share: self.standing.borrow().settings.percent().units(),
        }
    }

    fn hot(&self) -> HotFigures {
        let counters = &self.shared.sessions;
        HotFigures {
            via_realtime: sum(counters, |one| &one.via_realtime),
            rescued: sum(counters, |one| &one.rescued),
            altered: sum(counters, |one| &one.altered),
            switched_back: sum(counters, |one| &one.switched_back),
            late: sum(counters, |one| &one.late),
            direct: std::array::from_fn(|i| sum(counters, |one| &one.direct[i])),
            moved_to_hot: sum(counters, |one| &one.moved_to_hot),
            moved_back: std::array::from_fn(|i| sum(counters, |one| &one.moved_back[i])),
            tap_panics: sum(counters, |one| &one.tap_panics),
        }
    }

    fn mirror(&self) -> MirrorFigures {
        let side = self.figures.snapshot();
        let at = |part| quantile(&side.tally.latency, part);
        MirrorFigures {
            connected: side.connected,
            write_denied: side.write_denied,
            batches: side.batches,
            acknowledged: side.acknowledged,
            altered: side.tally.altered,
            duplicates: side.tally.duplicate,
            waiting: u32::try_from(side.waiting).unwrap_or(u32::MAX),
            buffered: self.budget.used(),
            rtt_p50: at(0.50),
            rtt_p95: at(0.95),
            rtt_p99: at(0.99),
        }
    }

    /// What the validator knows, once it has looked; with samples of payloads, for those who may see them.
    #[must_use]
    pub fn proofs(&self) -> Option<Arc<Proofs>> {
        self.proofs.read()
    }

    /// Open sessions with a rollout key.
    pub(super) fn keyed(&self) -> i64 {
        self.shared.sessions.iter().map(|one| one.keyed.load(Ordering::Relaxed)).sum()
    }

    /// The share of them that Realtime feeds, in percent; `None` when there are none.
    pub(super) fn live_percent(&self) -> Option<f64> {
        let keyed = self.keyed();
        let fed: i64 =
            self.shared.sessions.iter().map(|one| one.keyed_realtime.load(Ordering::Relaxed)).sum();
        (keyed > 0).then(|| (fed.max(0) as f64 / keyed as f64 * 100.0).min(100.0))
    }

    fn quota(&self) -> QuotaFigures {
        QuotaFigures { governor: self.figures.snapshot().quota, hot_refused: self.view.borrow().spacing }
    }

    fn spool(&self) -> Option<SpoolReadings> {
        let (disk, _) = self.disk.as_ref()?;
        let classes = Class::ALL.map(Class::as_str);
        Some(SpoolReadings {
            state: disk.state(disk::unix_ms()).as_str(),
            states: disk::State::ALL.map(disk::State::as_str).to_vec(),
            bytes: disk.bytes(),
            messages: classes.into_iter().zip(disk.messages()).collect(),
            oldest_seconds: disk.oldest_age_ms(disk::unix_ms()) as f64 / 1000.0,
            damaged: disk.damaged(),
            syncs: disk.syncs(),
            lost_at_most: disk.lost_at_most(),
            at_risk: disk.at_risk(),
        })
    }

    /// What the comparison of authorization shows, where there is one.
    pub(super) fn parity(&self, now: Instant) -> Option<ParityReadings> {
        let read = self.proofs.parity.read()?;
        Some(ParityReadings {
            checks: read.checks,
            unknown: read.unknown,
            pairs: read.pairs,
            watched: read.watched,
            last_check_seconds: read.last.map(|at| now.saturating_duration_since(at).as_secs_f64()),
        })
    }

    fn breaker(&self, now: Instant) -> BreakerFigures {
        let returned = Some(self.returned_us.load(Ordering::Relaxed)).filter(|us| *us > 0);
        self.view.borrow().figures(returned.map(Duration::from_micros), now)
    }

    /// The flight recorder and the drills; what earlier processes have written counts for the age.
    fn trips(&self, now: Instant) -> crate::admin::TripReadings {
        let passed = self.records.last_passed();
        let unix_ms = self.began.unix_ms(now);
        let way = |name, ms: Option<f64>| ms.map(|ms| (name, ms / 1e3));
        let took =
            |one: &crate::drill::Record| [way("to_legacy", one.to_legacy_ms), way("to_hot", one.to_hot_ms)];
        let outcomes = crate::drill::Outcome::ALL.map(crate::drill::Outcome::as_str);
        crate::admin::TripReadings {
            incidents: self.records.incidents(),
            lost: self.records.lost(),
            drills: labelled(&self.records.outcomes(), outcomes.to_vec()),
            age_seconds: passed.as_ref().map(|one| unix_ms.saturating_sub(one.at_ms) as f64 / 1e3),
            took_seconds: passed.iter().flat_map(took).flatten().collect(),
            latched: self
                .mirrors
                .then(|| matches!(self.view.borrow().state, State::Open { latched: true, .. })),
        }
    }

    /// The figures as the metrics want them.
    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let status = self.status(now);
        let lanes = || Lane::ALL.map(Lane::as_str).to_vec();
        let directions = || Direction::ALL.map(Direction::as_str).to_vec();
        let open = status.open.map(|open| u64::try_from(open).unwrap_or(0));
        let trips = Trigger::ALL.into_iter().zip(self.view.borrow().trips_by_trigger);
        let table = self.table.read();
        Snapshot {
            events: self.events.read(),
            cold: self.cold.as_ref().map(|cold| cold.read()),
            table_rows: table.rows.to_vec(),
            table_requests: table.requests.to_vec(),
            table_waiting_bytes: table.waiting,
            table_proofs: status.ledger.by_table,
            sessions: labelled(&open, lanes()),
            sessions_total: labelled(&status.opened, lanes()),
            sessions_ended: labelled(&status.ended, EndCause::ALL.map(EndCause::as_str).to_vec()),
            connections: self.shared.counters.connections_open.value(),
            faults: Fault::ALL.map(|why| (why.as_str(), self.shared.counters.faults(why).value())).to_vec(),
            inflate_bytes: self.shared.mirroring.inflating.used(),
            hibernated: sum(&self.shared.sessions, |one| &one.hibernated),
            upgrades: UpgradeOutcome::ALL
                .map(|outcome| (outcome.as_str(), self.shared.counters.upgrades(outcome).value()))
                .to_vec(),
            messages: labelled(&status.messages, directions()),
            bytes: labelled(&status.bytes, directions()),
            hot_messages: hot_messages(&status.hot),
            hot_direct: labelled(&status.hot.direct, Direct::ALL.map(Direct::as_str).to_vec()),
            moves_back: labelled(&status.hot.moved_back, Fallback::ALL.map(Fallback::as_str).to_vec()),
            moves_to_hot: status.hot.moved_to_hot,
            tap_panics: status.hot.tap_panics,
            buffered_bytes: status.mirror.buffered,
            batches: status.mirror.batches,
            published: self.figures.snapshot().published,
            breaker_state: if self.mirrors { status.breaker.phase.as_str() } else { "" },
            breaker_trips: trips.map(|(why, n)| (why.as_str(), n)).collect(),
            readback: readings(&self.figures.snapshot().tally.latency),
            realtime_connected: status.mirror.connected,
            realtime_write_denied: status.mirror.write_denied,
            rollout_percent: f64::from(status.share) / 1000.0,
            rollout_live_percent: self.live_percent(),
            quota: self.mirrors.then(|| quota(&status.quota)),
            tiers: self.tiers(now),
            trips: self.trips(now),
            otlp_spans: self.spans.as_ref().map(|spans| spans.read()).unwrap_or_default(),
            notices: self.notices.read(),
            rollout: self.rollout.readings(&self.shared.sessions),
            spool: self.spool(),
            matching: self.proofs().map(|proofs| {
                let (reports_lost, parity) = (self.proofs.reports_lost(), self.parity(now));
                MatchReadings { reports_lost, parity, ..matching(&proofs) }
            }),
            times: self.times(now),
            ..super::tls::figures(&self.shared)
        }
        .with_account(&status.ledger)
    }
}

fn labelled(values: &[u64], labels: Vec<&'static str>) -> Vec<(&'static str, u64)> {
    labels.into_iter().zip(values.iter().copied()).collect()
}

fn matching(proofs: &Proofs) -> MatchReadings {
    let rolling = &proofs.rolling;
    MatchReadings {
        kinds: Kind::ALL.map(Kind::as_str).into_iter().zip(proofs.kinds).collect(),
        not_compared: NotCompared::ALL
            .map(NotCompared::as_str)
            .into_iter()
            .zip(proofs.not_compared)
            .collect(),
        ratio: rolling.ratio,
        pairs: rolling.pairs,
        needed: rolling.needed,
        coverage: rolling.coverage,
        verdicts: Verdict::ALL.map(Verdict::as_str).to_vec(),
        verdict: rolling.verdict.as_str(),
        self_tests: vec![
            ("passed", proofs.self_test.runs - proofs.self_test.failures),
            ("failed", proofs.self_test.failures),
        ],
        dead_rules: proofs.rules.iter().filter(|rule| rule.dead).count() as u64,
        ..MatchReadings::default()
    }
}

fn quota(figures: &QuotaFigures) -> crate::admin::Quota {
    let QuotaFigures { governor, hot_refused } = figures;
    crate::admin::Quota {
        used_ratio: governor.used,
        budget: governor.budget,
        spacing_seconds: governor.spacing.as_secs_f64(),
        messages: vec![("send", governor.sends), ("delivery", governor.deliveries)],
        deferred: governor.deferred,
        refusals: governor.refusals,
        hot_refused: hot_refused.is_some(),
        month_messages: governor.forecast.per_month,
        month_cost: governor.forecast.cost,
    }
}

fn hot_messages(hot: &HotFigures) -> Vec<(&'static str, u64)> {
    vec![
        ("via_realtime", hot.via_realtime),
        ("rescued", hot.rescued),
        ("altered", hot.altered),
        ("switched_back", hot.switched_back),
        ("late", hot.late),
        ("direct", hot.direct.iter().sum()),
    ]
}

/// The tally's buckets are among the exposition's, so that no observation moves across an edge.
pub(super) fn readings(latency: &Histogram) -> crate::admin::Readings {
    let mut readings = crate::admin::Readings::default();
    for (place, count) in latency.counts().iter().enumerate() {
        let edge = EDGES_MS.get(place).map_or(f64::INFINITY, |ms| *ms as f64 / 1000.0);
        let bucket = crate::admin::EDGES.partition_point(|other| *other < edge);
        if let Some(slot) = readings.counts.get_mut(bucket) {
            *slot += count;
        }
    }
    readings.seconds = latency.sum().as_secs_f64();
    readings
}

/// The part of all round trips that took at most this long.
fn quantile(latency: &Histogram, part: f64) -> Duration {
    if latency.count() == 0 {
        return Duration::ZERO;
    }
    Duration::from_secs_f64(quantile_ms(latency.counts(), part) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_in_the_bucket_that_holds_it() {
        let mut latency = Histogram::default();
        assert_eq!(quantile(&latency, 0.95), Duration::ZERO);
        for _ in 0..99 {
            latency.record(Duration::from_millis(2));
        }
        latency.record(Duration::from_millis(400));
        let p50 = quantile(&latency, 0.5);
        assert!(p50 > Duration::from_millis(1) && p50 <= Duration::from_millis(2), "{p50:?}");
        let p999 = quantile(&latency, 0.999);
        assert!(p999 > Duration::from_millis(250) && p999 <= Duration::from_millis(500), "{p999:?}");
    }
}
