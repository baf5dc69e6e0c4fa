//! The process at one moment, in the shapes of the API.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::ops::Look;
use super::super::{adoption, flags};
use super::pulse::Sample;
use super::{Console, clock};
use crate::admin::api::{Problem, model};
use crate::breaker::{State, Trigger};
use crate::ledger::Shed;
use crate::proxy::{EndCause, Lane, Phase};
use crate::rollout::{self, RealtimeLane, Slot, Tier};
use crate::status::Status;

impl Console {
    pub(super) fn unix_ms(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.names.began.at).as_millis();
        self.names.began.unix_ms + u64::try_from(age).unwrap_or(0)
    }

    pub(super) async fn status(&self) -> Result<model::Status, Problem> {
        let breaker = if self.eyes.mirrors { Some(self.breaker().await?) } else { None };
        let now = clock();
        let seen = self.eyes.status(now);
        let pulse = self.pulse();
        Ok(model::Status {
            at: self.unix_ms(now),
            version: env!("CARGO_PKG_VERSION"),
            service: self.names.service.clone(),
            pod: self.names.pod.clone(),
            instance: self.names.instance.clone(),
            uptime_s: now.saturating_duration_since(self.names.began.at).as_secs_f64(),
            phase: if self.drain.phase() == Phase::Serving { "running" } else { "draining" },
            upstream: model::Upstream {
                address: self.names.upstream.clone(),
                reachable: self.eyes.reachable.load(Ordering::Relaxed),
            },
            sessions: self.sessions_brief(&seen),
            flow: pulse.flow(),
            rollout: self.rollout_brief(breaker.as_ref(), now),
            breaker,
            mirror: self.eyes.mirrors.then(|| self.mirror(&seen)),
            latency: model::Latency { legacy: pulse.legacy(), realtime: pulse.realtime() },
            r#match: self.eyes.proofs().and_then(|proofs| serde_json::to_value(&proofs.rolling).ok()),
            parity: self.parity(now),
            quota: self.quota(&seen),
            spool: self.spool(),
            tiers: self.tiers(now),
        })
    }

    fn parity(&self, now: Instant) -> Option<model::Parity> {
        let read = self.eyes.parity(now)?;
        Some(model::Parity {
            watched: read.watched,
            checks: read.checks.into_iter().collect(),
            unknown: read.unknown.into_iter().collect(),
            pairs: read.pairs.into_iter().collect(),
            last_check_s: read.last_check_seconds,
        })
    }

    pub(super) async fn breaker(&self) -> Result<model::Breaker, Problem> {
        if !self.eyes.mirrors {
            return Err(Problem::not_found(
                "there is no breaker without Supabase settings: nothing is mirrored",
            ));
        }
        let look = self.look().await?;
        let returned = Some(self.eyes.returned_us.load(Ordering::Relaxed)).filter(|us| *us > 0);
        let topics_stopped = self.eyes.events.read().topics_stopped;
        Ok(model::Breaker { topics_stopped, ..breaker(&look, returned.map(|us| us as f64 / 1000.0)) })
    }

    fn sessions_brief(&self, seen: &Status) -> model::Sessions {
        let open = |n: i64| u64::try_from(n).unwrap_or(0);
        model::Sessions {
            open: Lane::ALL.iter().zip(seen.open).map(|(lane, n)| (lane.as_str(), open(n))).collect(),
            keyed: open(self.eyes.keyed()),
            opened_total: seen.opened.iter().sum(),
            ended: EndCause::ALL.iter().zip(seen.ended).map(|(why, n)| (why.as_str(), n)).collect(),
            moved_to_hot: seen.hot.moved_to_hot,
            moved_back: crate::hot::Fallback::ALL
                .iter()
                .zip(seen.hot.moved_back)
                .map(|(why, n)| (why.as_str(), n))
                .collect(),
        }
    }

    fn mirror(&self, seen: &Status) -> model::Mirror {
        let account = &seen.ledger;
        model::Mirror {
            connected: seen.mirror.connected,
            write_denied: seen.mirror.write_denied,
            seen: account.seen,
            confirmed: account.confirmed,
            acked_only: account.acked_only,
            in_flight: account.in_flight,
            spooled: self.eyes.disk.as_ref().map(|(disk, _)| disk.messages().iter().sum()),
            unconfirmed: account.shed(Shed::Unconfirmed),
            shed: account.shed_by_reason().map(|(why, n)| (why.as_str(), n)).collect(),
            imbalance: account.imbalance(),
            buffered_bytes: seen.mirror.buffered,
            buffer_limit_bytes: self.names.buffer,
            batches: seen.mirror.batches,
            unacked: u64::from(seen.mirror.waiting),
        }
    }

    /// `None` without Supabase settings.
    pub(super) fn quota(&self, seen: &Status) -> Option<model::Quota> {
        let governor = &seen.quota.governor;
        self.eyes.mirrors.then(|| model::Quota {
            plan: self.names.plan.clone(),
            budget_per_s: governor.budget,
            used_per_s: governor.per_second,
            used_ratio: governor.used,
            spacing_ms: governor.spacing.as_secs_f64() * 1000.0,
            refusals: governor.refusals,
            deferred: governor.deferred,
            hot_refused: seen.quota.hot_refused.as_ref().map(ToString::to_string),
            month_messages: governor.forecast.per_month,
            month_cost_usd: governor.forecast.cost,
        })
    }

    /// `None` without a spool.
    pub(super) fn spool(&self) -> Option<model::Spool> {
        let (disk, _) = self.eyes.disk.as_ref()?;
        let records = disk.messages().iter().sum();
        let age_ms = disk.oldest_age_ms(crate::spool::disk::unix_ms());
        Some(model::Spool {
            state: disk.state(crate::spool::disk::unix_ms()).as_str(),
            records,
            bytes: disk.bytes(),
            limit_bytes: self.names.spool,
            oldest_age_s: (records > 0).then(|| age_ms as f64 / 1000.0),
            damaged: disk.damaged(),
            lost_at_most: disk.lost_at_most(),
            at_risk: disk.at_risk(),
        })
    }

    fn rollout_brief(&self, breaker: Option<&model::Breaker>, now: Instant) -> model::RolloutBrief {
        let standing = self.eyes.standing.borrow().clone();
        let settings = &standing.settings;
        let percent = f64::from(settings.percent().units()) / 1000.0;
        let admitted = breaker.map_or(0.0, |breaker| breaker.share_percent);
        model::RolloutBrief {
            percent,
            effective_percent: percent * admitted / 100.0,
            lane: lane(settings),
            tier: settings.tier.as_str(),
            tier_age_s: settings.confirmed.map(|_| settings.age(now).as_secs_f64()),
            scope: scope(&standing),
            live_percent: self.eyes.live_percent(),
            adoption: adoption::adoptions(&self.eyes.shared.sessions).map(told).to_vec(),
            native_offers_ratio: self.eyes.rollout.native_offers_ratio(),
            moving: adoption::moving(&self.eyes.shared.sessions).iter().sum(),
            version: self.version(standing.version),
            emergency: standing.hands.iter().map(|hand| hand.as_str()).collect(),
        }
    }

    /// A version that another start of the process does not repeat.
    pub(super) fn version(&self, number: u64) -> String {
        format!("{}.{number}", self.names.instance)
    }

    pub(super) fn tiers(&self, now: Instant) -> Vec<model::Tier> {
        let standing = self.eyes.standing.borrow().clone();
        let decides = standing.settings.tier;
        let store = |tier: Tier, slot: &Slot| {
            let (state, age, percent) = match slot {
                Slot::NotConfigured => ("not_configured", None, None),
                Slot::Silent => ("silent", None, None),
                Slot::Known(flags, at) => {
                    ("known", Some(now.saturating_duration_since(*at)), Some(flags.percent))
                }
            };
            model::Tier {
                tier: tier.as_str(),
                configured: !matches!(slot, Slot::NotConfigured),
                state,
                age_s: age.map(|age| age.as_secs_f64()),
                percent: percent.map(units),
                decides: decides == tier,
            }
        };
        let plain = |tier: Tier, percent| model::Tier {
            tier: tier.as_str(),
            configured: true,
            state: "known",
            age_s: None,
            percent,
            decides: decides == tier,
        };
        let tiers = &standing.tiers;
        vec![
            plain(Tier::EmergencyOff, tiers.emergency_off.then_some(0.0)),
            store(Tier::Redis, &tiers.redis),
            store(Tier::Supabase, &tiers.supabase),
            store(Tier::File, &tiers.file),
            plain(Tier::Env, Some(units(tiers.env.percent))),
        ]
    }

    /// The figures of this beat.
    pub(super) fn sample(&self, now: Instant) -> Sample {
        let seen = self.eyes.status(now);
        let open = |lane: Lane| u64::try_from(seen.open[lane as usize]).unwrap_or(0);
        Sample {
            at_unix_ms: self.unix_ms(now),
            bytes: seen.bytes,
            messages: seen.messages,
            hot: open(Lane::Hot) + open(Lane::Cold) + open(Lane::Native),
            open: Lane::ALL.into_iter().map(open).sum(),
            breaker: self.eyes.mirrors.then(|| seen.breaker.phase.as_str()),
            round_trips: self.eyes.figures.snapshot().tally.latency,
            turns: self.eyes.legacy_turns(),
        }
    }
}

fn told(one: adoption::Adoption) -> model::Adoption {
    let adoption::Adoption { lane, wanted, there } = one;
    model::Adoption { lane, wanted, there, ratio: one.ratio() }
}

pub(super) fn units(percent: rollout::Percent) -> f64 {
    f64::from(percent.units()) / 1000.0
}

pub(super) fn lane(settings: &rollout::Settings) -> &'static str {
    match &settings.standing {
        rollout::Standing::Flags(flags) => flags.lane.as_str(),
        rollout::Standing::EmergencyOff | rollout::Standing::Unknown => RealtimeLane::Hot.as_str(),
    }
}

/// Whether a change reaches the other pods too.
pub(super) fn scope(standing: &flags::Standing) -> &'static str {
    match (&standing.tiers.redis, &standing.tiers.supabase) {
        (Slot::NotConfigured, Slot::NotConfigured) => "this_pod",
        _ => "fleet",
    }
}

fn breaker(look: &Look, return_to_legacy_ms: Option<f64>) -> model::Breaker {
    let left = |until: Instant| Some(until.saturating_duration_since(look.at).as_secs_f64());
    let (since, left_s, latched, probes_good) = match look.state {
        State::Closed { since, .. } => (since, None, false, 0),
        State::Open { since, latched: true, .. } => (since, None, true, 0),
        State::Open { since, until, .. } => (since, left(until), false, 0),
        State::HalfOpen { since, until, probes_good, .. } => (since, left(until), false, probes_good),
    };
    // What the process before this one was opened by.
    let before = if let State::Open { trip, .. } = look.state { Some(trip) } else { None };
    model::Breaker {
        state: look.state.phase().as_str(),
        mode: look.admission.mode.as_str(),
        trigger: look.trip.map(|trip| trip.trigger).or(before).map(Trigger::as_str),
        measured: look.trip.map(|trip| trip.measured),
        limit: look.trip.map(|trip| trip.limit),
        samples: look.trip.map(|trip| trip.samples),
        since_s: look.at.saturating_duration_since(since).as_secs_f64(),
        left_s,
        latched,
        share_percent: f64::from(look.admission.share_permille) / 10.0,
        probes_good,
        probes_needed: look.config.probes,
        trips: look.trips.iter().sum(),
        trips_24h: look.trips_24h,
        return_to_legacy_ms,
        triggers: triggers(look),
        baseline_ms: look.figures.baseline.map(millis),
        legacy_p95_ms: look.figures.legacy_p95.map(millis),
        topics_stopped: 0,
        saves: look.saves.map(|(written, _)| written),
        saves_failed: look.saves.map(|(_, failed)| failed),
        numbers: crate::breaker::tuning::numbers(&look.config).into_iter().collect(),
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn triggers(look: &Look) -> Vec<model::Trigger> {
    let (figures, config) = (&look.figures, &look.config);
    let seconds = |took: Duration| took.as_secs_f64();
    let latency_limit = figures.baseline.map_or(config.latency_excess, |baseline| {
        baseline.mul_f64(config.latency_factor).max(baseline + config.latency_excess)
    });
    let row = |trigger: Trigger, value: Option<f64>, limit: f64, unit| model::Trigger {
        name: trigger.as_str(),
        value,
        limit,
        unit,
        samples: None,
        min_samples: None,
        trips: look.trips[trigger as usize],
    };
    let ratio = (figures.samples > 0).then_some(figures.error_ratio);
    let burn = (figures.samples > 0).then_some(figures.burn_ratio);
    let pairs = (figures.pairs > 0).then_some(figures.match_ratio);
    let all = vec![
        model::Trigger {
            samples: Some(figures.samples),
            min_samples: Some(config.error_samples_min),
            ..row(Trigger::ErrorRatio, ratio, config.error_ratio, "ratio")
        },
        model::Trigger {
            min_samples: Some(config.burn_samples_min),
            ..row(Trigger::FastBurn, burn, config.burn_ratio, "ratio")
        },
        row(Trigger::Stall, None, seconds(config.stall_after), "s"),
        model::Trigger {
            min_samples: Some(config.latency_samples_min),
            ..row(Trigger::Latency, figures.p95.map(seconds), seconds(latency_limit), "s")
        },
        row(Trigger::Connect, None, f64::from(config.connect_failures), "failures"),
        model::Trigger {
            samples: Some(figures.pairs),
            min_samples: Some(config.match_samples_min),
            ..row(Trigger::Match, pairs, config.match_gate, "ratio")
        },
    ];
    all.into_iter().filter(|one| !config.off.iter().any(|off| off.as_str() == one.name)).collect()
}
