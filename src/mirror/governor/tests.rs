//! The governor against a service that always wants more: by seed, with an oracle that keeps its own list of what
//! was sent when and reckons the budget from the contract's words.

use std::time::{Duration, Instant};

use super::machine::{HOT_SPACING_BACK, HOT_SPACING_MAX};
use super::{Governor, Plan, Relief, Sabotage, Shift, Terms, Verdict, forecast, preview};
use crate::mirror::faults::Dice;
use crate::mirror::tests::start;

const MINUTE: Duration = Duration::from_secs(60);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn terms(limit: u32, pods: u32, readers: u32) -> Terms {
    Terms { plan: Plan { messages_per_second: limit, ..Plan::CUSTOM }, pods, readers }
}

fn governor(terms: Terms, sabotage: Option<Sabotage>) -> Governor {
    let mut governor = Governor::new(terms, start());
    governor.sabotage = sabotage;
    governor
}

/// What was sent when, and the budget that was in force then.
#[derive(Default)]
struct Oracle {
    sent: Vec<(Instant, f64)>,
    budgets: Vec<(Instant, f64)>,
}

impl Oracle {
    /// No window of 60 s holds more than 60 × the largest budget in force in it (or one broadcast), and none of 5 s
    /// as much as 5 × the plan's limit, however many pods do the same.
    fn check(&self, limit: f64, pods_min: f64, dearest: f64) -> Result<(), String> {
        let sums: Vec<f64> = std::iter::once(0.0)
            .chain(self.sent.iter().scan(0.0, |sum, (_, n)| {
                *sum += n;
                Some(*sum)
            }))
            .collect();
        for (first, (begin, _)) in self.sent.iter().enumerate() {
            let within =
                |span: Duration| sums[self.sent.partition_point(|(at, _)| *at < *begin + span)] - sums[first];
            let from = self.budgets.partition_point(|(at, _)| at <= begin).saturating_sub(1);
            let to = self.budgets.partition_point(|(at, _)| *at < *begin + MINUTE);
            let budget = self.budgets[from..to].iter().map(|(_, b)| *b).fold(0.0, f64::max);
            let allowed = (60.0 * budget).max(dearest) + 1e-3;
            if within(MINUTE) > allowed {
                return Err(format!("{} messages in a minute, {allowed} allowed", within(MINUTE)));
            }
            let bucket = 5.0 * limit / pods_min;
            if within(secs(5)) >= bucket.max(dearest + 1e-3) && budget * 5.0 > dearest {
                return Err(format!("{} messages in 5 s trip a counter of {bucket}", within(secs(5))));
            }
        }
        Ok(())
    }
}

/// One life: minutes of a service whose appetite changes.
fn live(seed: u64, sabotage: Option<Sabotage>) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let limit = [20, 100, 500, 2_500][dice.below(4) as usize];
    let readers = dice.below(3) as u32;
    let mut pods = 1 + dice.below(4) as u32;
    let mut pods_min = pods;
    let (mut governor, mut oracle) = (governor(terms(limit, pods, readers), sabotage), Oracle::default());
    let (mut now, end) = (start(), start() + secs(200));
    let mut serving: Option<Instant> = None;
    let dearest = f64::from(2 + readers);
    while now < end {
        let share = if serving.is_some_and(|at| now < at + secs(10)) { 0.8 } else { 0.5 };
        let budget = f64::from(limit) * share / f64::from(pods);
        if oracle.budgets.last().is_none_or(|(_, last)| *last != budget) {
            oracle.budgets.push((now, budget));
        }
        match dice.below(400) {
            0 => {
                pods = 1 + dice.below(6) as u32;
                pods_min = pods_min.min(pods);
                governor.set_pods(pods, now);
                continue;
            }
            1..=10 => {
                serving = Some(now);
                governor.handle_awaited(now);
                continue;
            }
            11 => now += secs(dice.below(70)),
            _ => {}
        }
        // A burst, a steady demand, or a pause.
        for _ in 0..dice.below(40) {
            let mut patience = 0;
            while let Verdict::Defer { until } = governor.verdict(now) {
                patience += 1;
                if until <= now || patience > 3 {
                    return Err(format!("withheld {patience} times in a row, until {:?}", until - now));
                }
                now = until;
            }
            let read_back = dice.chance(70);
            governor.spend(read_back, now);
            oracle.sent.push((now, f64::from(1 + readers + u32::from(read_back))));
        }
        now += Duration::from_millis(dice.below(300));
    }
    oracle.check(f64::from(limit), f64::from(pods_min), dearest)
}

/// What full demand sends within a span, in messages per second.
fn appetite(governor: &mut Governor, now: &mut Instant, span: Duration) -> f64 {
    let (begin, end, mut sent) = (*now, *now + span, 0u32);
    while *now < end {
        match governor.verdict(*now) {
            Verdict::Publish => {
                governor.spend(true, *now);
                sent += governor.terms().cost(true);
            }
            Verdict::Defer { until } => *now = until,
        }
    }
    f64::from(sent) / (*now - begin).as_secs_f64()
}

fn halves_and_recovers(sabotage: Option<Sabotage>) -> Result<(), String> {
    let (mut governor, mut now) = (governor(terms(100, 1, 0), sabotage), start());
    let full = appetite(&mut governor, &mut now, secs(60));
    for _ in 0..3 {
        governor.handle_quota(now); // one refusal, told thrice
    }
    let halved = appetite(&mut governor, &mut now, secs(50));
    let growing = {
        appetite(&mut governor, &mut now, secs(10));
        appetite(&mut governor, &mut now, secs(60))
    };
    appetite(&mut governor, &mut now, secs(120));
    let back = appetite(&mut governor, &mut now, secs(60));
    let good = (45.0..=50.5).contains(&full)
        && (0.45..=0.53).contains(&(halved / full))
        && (0.52..=0.8).contains(&(growing / full))
        && (0.95..=1.05).contains(&(back / full));
    if good { Ok(()) } else { Err(format!("{full:.1} {halved:.1} {growing:.1} {back:.1} messages/s")) }
}

fn backlog_gets_its_share(sabotage: Option<Sabotage>) -> Result<(), String> {
    let (mut governor, mut now) = (governor(terms(100, 1, 0), sabotage), start());
    let (begin, mut sent) = (now, 0);
    while now < begin + secs(60) {
        if governor.backlog_slots(true, now) > 0 {
            return Err("a backlog goes before live traffic".to_owned());
        }
        for _ in 0..governor.backlog_slots(false, now) {
            governor.spend_backlog(true, now);
            sent += 2;
        }
        now += Duration::from_millis(20);
    }
    let allowed = 0.3 * 50.0 * 60.0;
    let part = f64::from(sent) / allowed;
    if (0.9..=1.02).contains(&part) { Ok(()) } else { Err(format!("{sent} of {allowed} messages")) }
}

fn hot_has_hysteresis(sabotage: Option<Sabotage>) -> Result<(), String> {
    // 2 messages × 5 pods / (100 × 0.8) = 125 ms, 6 pods 150 ms, 7 pods 175 ms, 4 pods 100 ms.
    let mut governor = governor(terms(100, 5, 0), sabotage);
    let mut seen = Vec::new();
    for pods in [5, 6, 7, 6, 5, 4, 5] {
        governor.set_pods(pods, start());
        seen.push(governor.hot().is_ok());
    }
    let expected = [true, true, false, false, false, true, true];
    if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
}

#[test]
fn no_minute_exceeds_the_budget_and_something_always_goes() {
    for seed in 0..150 {
        live(seed, None).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn a_refusal_halves_the_rate_and_it_comes_back_slowly() {
    halves_and_recovers(None).unwrap();
}

#[test]
fn a_backlog_gets_thirty_percent_and_only_when_nothing_lives() {
    backlog_gets_its_share(None).unwrap();
}

#[test]
fn the_hot_lane_is_refused_above_150_ms_and_back_below_120() {
    hot_has_hysteresis(None).unwrap();
    assert_eq!((HOT_SPACING_MAX.as_millis(), HOT_SPACING_BACK.as_millis()), (150, 120));
    let refused = Governor::new(terms(100, 7, 0), start());
    let spacing = refused.hot().unwrap_err();
    assert_eq!(
        spacing.to_string(),
        "2 messages × 7 pods / (100 messages/s × 0.8) = 175 ms between publishes"
    );
    // A refusal halves the rate; where that is too slow for hot, hot waits for the recovery.
    let (mut halved, mut now) = (Governor::new(terms(100, 4, 0), start()), start());
    assert!(halved.hot().is_ok());
    halved.handle_quota(now);
    assert!(halved.hot().unwrap_err().to_string().contains("× 0.50 after a refusal"));
    now += secs(60 + 15 * 7);
    halved.handle_timeout(now);
    assert!(halved.hot().is_ok());
}

#[test]
fn every_sabotage_is_noticed() {
    let by_life = |sabotage| (0..150).find_map(|seed| live(seed, Some(sabotage)).err());
    let all = [
        (Sabotage::ForgetDeliveries, by_life as fn(Sabotage) -> Option<String>),
        (Sabotage::NeverDefer, by_life),
        (Sabotage::ForgetTheBurst, by_life),
        (Sabotage::ForgetPods, by_life),
        (Sabotage::NeverRelent, by_life),
        (Sabotage::IgnoreQuota, |by| halves_and_recovers(Some(by)).err()),
        (Sabotage::BacklogUnbounded, |by| backlog_gets_its_share(Some(by)).err()),
        (Sabotage::NoHysteresis, |by| hot_has_hysteresis(Some(by)).err()),
    ];
    for (sabotage, test) in all {
        let what = test(sabotage).unwrap_or_else(|| panic!("{sabotage:?} is not noticed"));
        println!("{sabotage:?}: {what}");
    }
}

#[test]
fn a_budget_below_one_broadcast_a_minute_still_sends() {
    let (mut governor, mut now) = (governor(terms(1, 100, 0), None), start());
    for _ in 0..5 {
        while let Verdict::Defer { until } = governor.verdict(now) {
            assert!(until > now && until - now < secs(3_600));
            now = until;
        }
        governor.spend(true, now);
    }
    assert!(now > start() + MINUTE, "five broadcasts at 0.005 messages/s");
}

#[test]
fn the_ladder_of_relief_needs_a_withheld_batch() {
    let (mut governor, now) = (governor(terms(20, 1, 0), None), start());
    assert_eq!(governor.relief(90, 100), Relief::None, "a full queue is not the governor's doing");
    while governor.verdict(now) == Verdict::Publish {
        governor.spend(true, now);
    }
    let steps = [10, 30, 60].map(|waiting| governor.relief(waiting, 100));
    assert_eq!(steps, [Relief::None, Relief::Spool, Relief::ShedLow]);
    assert_eq!(governor.figures(now).deferred, 1);
}

#[test]
fn a_forecast_is_the_price_list_by_hand() {
    // 1,000 broadcasts/s with one reader: 5,184 M a month, 5,179 started millions beyond, $2.50 each.
    let month = forecast(&Terms { plan: Plan::PRO_NO_CAP, pods: 1, readers: 0 }, 2_000.0);
    assert_eq!((month.per_month, month.cost), (5.184e9, Some(12_947.5)));
    assert!((month.used - 0.8).abs() < 1e-9);
    // 10/s with five readers: 155.52 M, 151 millions.
    assert_eq!(forecast(&Terms { plan: Plan::TEAM, pods: 1, readers: 5 }, 60.0).cost, Some(377.5));
    let free = |rate| forecast(&Terms { plan: Plan::FREE, pods: 1, readers: 0 }, rate);
    assert_eq!((free(0.5).cost, free(1.0).cost), (Some(0.0), None), "Free sells nothing beyond");
    assert_eq!(free(1.0).beyond, 592_000.0);
}

#[test]
fn a_preview_is_bounded_by_what_the_governor_lets_pass() {
    let terms = Terms { plan: Plan::PRO, pods: 3, readers: 0 };
    let shift = |awaited, delivered| Shift { awaited_per_second: awaited, delivered_per_second: delivered };
    assert_eq!(preview(&terms, 100.0, &shift(50.0, 0.0)).per_second, 200.0);
    assert_eq!(preview(&terms, 100.0, &shift(5_000.0, 0.0)).used, 0.8);
    // Realtime's own deliveries to clients are not ours to space.
    assert_eq!(preview(&terms, 100.0, &shift(0.0, 900.0)).used, 2.0);
}

#[test]
fn figures_count_as_realtime_does() {
    let (mut governor, now) = (governor(terms(100, 2, 1), None), start());
    for second in 0..60 {
        governor.spend(true, now + secs(second));
        governor.spend(false, now + secs(second));
    }
    let figures = governor.figures(now + secs(59));
    assert_eq!((figures.sends, figures.deliveries), (120, 180));
    assert!((figures.per_second - 5.0).abs() < 1e-9, "{figures:?}");
    assert!((figures.used - 0.1).abs() < 1e-9, "two pods alike: 10 of 100");
    assert_eq!(governor.figures(now + secs(300)).per_second, 0.0);
}

#[test]
fn presets_are_the_documented_numbers() {
    // The table of Supabase's limits page (free, pro with cap, pro without, team), its payload limits in thousands of
    // bytes, and the included messages and price of its page about usage; as of 2026-08.
    let documented = [
        ("free", [100, 100, 100], 256_000, 2_000_000, None),
        ("pro", [500, 500, 100], 3_000_000, 5_000_000, None),
        ("pro-no-cap", [2_500, 2_500, 100], 3_000_000, 5_000_000, Some(250)),
        ("team", [2_500, 2_500, 100], 3_000_000, 5_000_000, Some(250)),
    ];
    let of = |plan: Plan| {
        let limits = [plan.messages_per_second, plan.joins_per_second, plan.channels_per_connection];
        (plan.name, limits, plan.payload_bytes, plan.included_per_month, plan.cents_per_million)
    };
    assert_eq!(Plan::PRESETS.map(of), documented);
    assert_eq!(Plan { name: "team", ..Plan::CUSTOM }, Plan::TEAM, "where a number is not told, it is Team's");
}
