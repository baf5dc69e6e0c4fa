//! What the metrics are told of stores, fleet and plan, and what this pod tells the others.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Said;
use crate::app::Eyes;
use crate::rollout::plan::Phase;

impl Eyes {
    pub(in crate::app) fn tiers(&self, now: Instant) -> crate::admin::Tiers {
        let standing = std::sync::Arc::clone(&self.standing.borrow());
        let mut tiers = crate::admin::Tiers::default();
        for one in self.tiers.iter() {
            let label = one.tier.as_str();
            let age = standing.tiers.slot(one.tier).and_then(|slot| slot.age(now));
            tiers.known.push((label, f64::from(u8::from(age.is_some()))));
            tiers.age_seconds.extend(age.map(|age| (label, age.as_secs_f64())));
            tiers.taken.push((label, one.taken.load(Ordering::Relaxed)));
            tiers.refused.push((label, one.refused.load(Ordering::Relaxed)));
            tiers.failed.push((label, one.failed.load(Ordering::Relaxed)));
        }
        let fleet = self.fleet.borrow();
        let gate = |pass: bool| f64::from(u8::from(pass));
        tiers.fleet_pods = (fleet.fleet.live > 0).then(|| f64::from(fleet.fleet.live));
        tiers.fleet_tripped = (fleet.fleet.live > 0).then(|| f64::from(fleet.fleet.tripped));
        tiers.plan_driver = fleet.held.as_ref().map(|_| gate(fleet.drives));
        tiers.plan_step = fleet.held.as_ref().map(|held| match held.progress.phase {
            Phase::Idle => 0.0,
            _ => (held.progress.step + 1) as f64,
        });
        tiers.plan_running = fleet.held.as_ref().map(|held| gate(held.progress.phase == Phase::Running));
        tiers.plan_gate = fleet.gates.as_ref().map(|report| gate(report.pass));
        tiers
    }

    /// What this pod tells the others.
    pub(in crate::app) fn said(&self, now: Instant) -> Said {
        let view = *self.view.borrow();
        let side = self.figures.snapshot();
        let tripped = view.own_trip.map(|at| now.saturating_duration_since(at).as_millis());
        let closed = view.admission.is_closed();
        // While somebody's hand is on the switch nobody is on Realtime, and nothing is learnt about this share.
        let off = self.standing.borrow().tiers.emergency_off;
        Said {
            closed: (self.mirrors && !off).then_some(closed),
            tripped_ms: tripped.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            quota: self.mirrors.then_some(side.quota.used),
            latency: side.tally.latency.counts().to_vec(),
            pairs: self.proofs.read().map(|proofs| {
                let step = &proofs.step;
                let matched = step.ratio.map_or(0.0, |ratio| (ratio * step.pairs as f64).round());
                (step.pairs, matched as u64)
            }),
        }
    }
}
