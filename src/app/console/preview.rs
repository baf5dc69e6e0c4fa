//! What a change of the rollout would amount to: messages, the plan's quota, money. Pure; what there is no evidence for
//! is `None`.

use super::super::open::{OpenSessions, Rollout};
use crate::mirror::governor::forecast::{Shift, preview};
use crate::mirror::governor::{Figures, Terms};
use crate::proxy::Tally;
use crate::rollout::RealtimeLane;

/// Sessions that would move must have been watched for so long altogether before their rates are believed.
const WATCHED_SECONDS_MIN: f64 = 10.0;
/// Above this part of the limit a step is warned of; the plan's gate holds there too.
const QUOTA_WARNED: f64 = 0.8;

/// What is known about the present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// The plan, and the pods that share it; `None` without Supabase settings.
    pub(super) terms: Option<Terms>,
    /// What the governor has measured.
    pub(super) quota: Figures,
    /// Pods that the change reaches.
    pub(super) reaches: u32,
    /// What the cohort would get.
    pub(super) lane: RealtimeLane,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Foresight {
    /// Messages a second that would be published in addition, on this pod.
    pub(super) messages_per_s_more: Option<f64>,
    /// Part of the plan's limit.
    pub(super) quota_ratio: Option<f64>,
    /// US dollars in 30 days.
    pub(super) month_cost_usd: Option<f64>,
}

/// What a step would amount to. Quota and price are upper bounds: messages that come together share a publish, and what
/// goes back to legacy is not taken off.
pub(super) fn foresee(tally: &Tally, present: &Present) -> Foresight {
    let moving = tally.to_realtime + tally.to_legacy;
    if moving > 0 && tally.watched_s < WATCHED_SECONDS_MIN {
        return Foresight::default();
    }
    let mut seen = Foresight { messages_per_s_more: Some(tally.messages_per_s_more), ..Foresight::default() };
    // The plan of a governor that has not measured yet is not known; and what Supabase would deliver to native and
    // cold clients that have yet to connect, nobody can know.
    let Some(terms) = present.terms.filter(|_| present.quota.forecast.limit > 0) else { return seen };
    if present.lane != RealtimeLane::Hot {
        return seen;
    }
    let shift =
        Shift { awaited_per_second: tally.awaited_per_s * f64::from(present.reaches), ..Shift::default() };
    let then = preview(&terms, present.quota.forecast.per_second, &shift);
    seen.quota_ratio = Some(then.used);
    seen.month_cost_usd = then.cost;
    seen
}

/// How long the moves take at the stated rate, in seconds; `None` where nobody states one, or moves.
pub(super) fn takes_s(tally: &Tally, rollout: &Rollout) -> Option<f64> {
    let rate = rollout.moves_per_second.filter(|_| tally.to_realtime > 0)?;
    Some(tally.to_realtime as f64 / f64::from(rate.get()))
}

/// What to know before.
pub(super) fn warnings(seen: &Foresight, open: OpenSessions) -> Vec<String> {
    let mut told = Vec::new();
    match open {
        OpenSessions::Move => {}
        OpenSessions::NextConnect => told.push(
            "open sessions go to Realtime when they connect again ([rollout] open_sessions = \"next_connect\")"
                .to_owned(),
        ),
        OpenSessions::Keep => told.push(
            "open sessions stay where they are until they connect again ([rollout] open_sessions = \"keep\"); only \
             0 %, a deny, the breaker and the emergency switch take them back"
                .to_owned(),
        ),
    }
    if let Some(used) = seen.quota_ratio.filter(|used| *used > QUOTA_WARNED) {
        told.push(format!(
            "this may use {:.0} % of the plan's messages per second: publishes are spaced, and above the limit Realtime \
             drops messages",
            used * 100.0
        ));
    }
    told
}

/// The end of the sentence: `, +830 messages/s, at most 71 % of the quota, about $25 a month`.
pub(super) fn words(seen: &Foresight) -> String {
    let messages = seen.messages_per_s_more.map_or_else(
        || "; too young to tell their messages".to_owned(),
        |more| format!(", {more:+.0} messages/s"),
    );
    let quota = seen.quota_ratio.map(|used| format!(", at most {:.0} % of the quota", used * 100.0));
    let cost = seen.month_cost_usd.map(|cost| format!(", at most ${cost:.0} a month"));
    [messages, quota.unwrap_or_default(), cost.unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::governor::Plan;
    use crate::mirror::governor::forecast::forecast;

    fn present(plan: Plan, pods: u32, now_per_s: f64) -> Present {
        let terms = Terms { plan, pods, readers: 0 };
        let quota = Figures { forecast: forecast(&terms, now_per_s), ..Figures::default() };
        Present { terms: Some(terms), quota, reaches: pods, lane: RealtimeLane::Hot }
    }

    fn tally(awaited_per_s: f64) -> Tally {
        Tally {
            open: 100,
            to_realtime: 40,
            messages_per_s_more: 12.0,
            awaited_per_s,
            watched_s: 400.0,
            ..Tally::default()
        }
    }

    #[test]
    fn a_step_is_priced_for_all_pods_that_it_reaches() {
        // 2 counts for each awaited message (a send and its read-back), on each of 3 pods, over what is there now.
        let seen = foresee(&tally(50.0), &present(Plan::TEAM, 3, 100.0));
        let used = (100.0 + 50.0 * 3.0 * 2.0) / 2_500.0;
        assert!((seen.quota_ratio.unwrap() - used).abs() < 1e-9, "{seen:?}");
        let month: f64 = 400.0 * 30.0 * 86_400.0 - 5e6;
        assert_eq!(seen.month_cost_usd, Some((month / 1e6).ceil() * 2.5));
        assert_eq!(words(&seen), ", +12 messages/s, at most 16 % of the quota, at most $2580 a month");
        let own = Present { reaches: 1, ..present(Plan::TEAM, 3, 100.0) };
        assert!(foresee(&tally(50.0), &own).quota_ratio < seen.quota_ratio, "this pod's change alone");
    }

    #[test]
    fn what_there_is_no_evidence_for_is_not_said() {
        let full = present(Plan::TEAM, 1, 100.0);
        let young = Tally { watched_s: 9.9, ..tally(50.0) };
        assert_eq!(foresee(&young, &full), Foresight::default());
        let nobody = Tally { open: 5, ..Tally::default() };
        assert!(
            foresee(&nobody, &full).quota_ratio.is_some(),
            "a step that moves nobody costs what is there"
        );
        for unknown in [
            Present { terms: None, ..full },
            Present { quota: Figures::default(), ..full },
            Present { lane: RealtimeLane::Native, ..full },
        ] {
            let seen = foresee(&tally(50.0), &unknown);
            assert_eq!((seen.quota_ratio, seen.month_cost_usd), (None, None), "{unknown:?}");
            assert_eq!(seen.messages_per_s_more, Some(12.0));
        }
        let unsold = foresee(&tally(50.0), &present(Plan::PRO, 1, 100.0));
        assert_eq!((unsold.quota_ratio.is_some(), unsold.month_cost_usd), (true, None), "{unsold:?}");
    }

    #[test]
    fn quota_and_sessions_that_stay_are_warned_of() {
        let seen = foresee(&tally(5_000.0), &present(Plan::FREE, 1, 79.0));
        let told = warnings(&seen, OpenSessions::Keep);
        assert_eq!(told.len(), 1, "the budget of serving ends at 80 %: {told:?}");
        let over = foresee(&tally(0.0), &present(Plan::FREE, 1, 90.0));
        assert!(warnings(&over, OpenSessions::Move)[0].contains("90 %"));
        assert!(warnings(&over, OpenSessions::NextConnect)[0].contains("next_connect"));
    }

    #[test]
    fn the_time_of_the_moves_follows_from_the_stated_rate() {
        let rate = std::num::NonZeroU32::new(10);
        let stated = Rollout { moves_per_second: rate, ..Rollout::default() };
        assert_eq!(takes_s(&tally(0.0), &stated), Some(4.0));
        assert_eq!(takes_s(&tally(0.0), &Rollout::default()), None);
        assert_eq!(takes_s(&Tally::default(), &stated), None);
    }
}
