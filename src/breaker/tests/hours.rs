//! Hours of traffic on a virtual clock with seeded faults, and the decision that is expected of each.
//!
//! A [`Spell`] says what Realtime does for a while; [`Hours`] lives through it second by second, as the wiring would:
//! samples while traffic flows, a sentinel every five seconds where it is thin, probes while half-open. What the
//! breaker said, and when, is the result.

use super::*;

const HOUR: u64 = 3_600;

/// What Realtime does.
#[derive(Clone, Copy)]
struct Spell {
    /// Round trips each second; 0 leaves the sentinel alone.
    rate: u32,
    /// So many of a thousand fail.
    bad: u32,
    /// Evenly spread, or drawn: a true rate with its luck.
    drawn: bool,
    /// A round trip, give or take a tenth.
    took: Duration,
}

const HEALTHY: Spell = Spell { rate: 4, bad: 0, drawn: false, took: Duration::from_millis(40) };
const DEAD: Spell = Spell { bad: 1_000, ..HEALTHY };
/// Nothing but sentinels.
const THIN: Spell = Spell { rate: 0, ..HEALTHY };

/// What the breaker said.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Opened(Trigger),
    Latched(Trigger),
    HalfOpen,
    Closed,
    Would(Trigger),
}

struct Hours {
    world: World,
    dice: u64,
    /// Thousandths of a failure that are owed.
    owed: u32,
    second: u64,
    said: Vec<(u64, Said)>,
}

impl Hours {
    fn new(config: Config) -> Self {
        Self { world: World::closed(config), dice: 1, owed: 0, second: 0, said: Vec::new() }
    }

    /// Below a bound (splitmix64).
    fn dice(&mut self, below: u32) -> u32 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(below)).unwrap()
    }

    fn fails(&mut self, spell: Spell) -> bool {
        if spell.drawn {
            return self.dice(1_000) < spell.bad;
        }
        self.owed += spell.bad;
        let fails = self.owed >= 1_000;
        self.owed -= if fails { 1_000 } else { 0 };
        fails
    }

    fn sample(&mut self, spell: Spell) {
        if self.fails(spell) {
            return self.world.bad(1);
        }
        let took = spell.took.mul_f64(0.9 + f64::from(self.dice(200)) / 1_000.0);
        self.world.record(Outcome::ReadBack { took });
    }

    /// One second.
    fn second(&mut self, spell: Spell) {
        let publish = self.world.breaker.admits(self.world.now).publish;
        let sentinel = u32::from(spell.rate == 0 && self.second.is_multiple_of(5));
        match publish {
            Publish::All => (0..spell.rate + sentinel).for_each(|_| self.sample(spell)),
            Publish::ProbesOnly => {
                if let Some(probe) = self.world.breaker.take_probe(self.world.now) {
                    let bad = ProbeEnd::Bad(Fault::NotReadBack);
                    let end = if self.fails(spell) { bad } else { ProbeEnd::Good };
                    self.world.record(Outcome::Probe { probe, end });
                }
            }
            Publish::Nothing => {}
        }
        self.hear();
        self.world.wait(SECOND);
        self.second += 1;
        self.hear();
    }

    fn hear(&mut self) {
        for change in self.world.drain() {
            let said = match change {
                Change::Opened { trip, latched: false, .. } => Said::Opened(trip.trigger),
                Change::Opened { trip, .. } => Said::Latched(trip.trigger),
                Change::HalfOpened => Said::HalfOpen,
                Change::Closed { .. } => Said::Closed,
                Change::WouldTrip(trip) => Said::Would(trip.trigger),
                Change::Share { .. } | Change::Mode(_) => continue,
            };
            self.said.push((self.second, said));
        }
    }

    fn live(&mut self, seconds: u64, spell: Spell) -> &mut Self {
        (0..seconds).for_each(|_| self.second(spell));
        self
    }

    /// What was said, without the times.
    fn words(&self) -> Vec<Said> {
        self.said.iter().map(|(_, said)| *said).collect()
    }

    /// Nothing at all was said.
    fn quiet(&self, what: &str) {
        assert!(self.said.is_empty(), "{what}: {:?}", self.said);
    }

    /// The first word is this trip, within these seconds.
    fn first_trip(&self, trigger: Trigger, within: std::ops::RangeInclusive<u64>, what: &str) {
        let first = self.said.first();
        let right = first.is_some_and(|(at, said)| *said == Said::Opened(trigger) && within.contains(at));
        assert!(right, "{what}: {first:?}, expected {trigger:?} in {within:?}");
    }
}

#[test]
fn six_hours_just_under_each_ratio_trip_nothing_and_just_over_it_trips_at_once() {
    let only_burn = || Config { error_ratio: 1.0, ..Config::default() };
    for (what, config, bad, trigger) in [
        ("error ratio", Config::default(), 48, Trigger::ErrorRatio),
        ("fast burn", only_burn(), 480, Trigger::FastBurn),
    ] {
        let mut under = Hours::new(config.clone());
        under.live(60, HEALTHY).live(6 * HOUR, Spell { bad, ..HEALTHY });
        under.quiet(what);
        let mut over = Hours::new(config);
        over.live(60, HEALTHY).live(10 * 60, Spell { bad: bad + bad / 5, ..HEALTHY });
        over.first_trip(trigger, 61..=60 + 300, what);
    }
}

#[test]
fn a_confidence_rides_out_bad_luck_and_still_sees_a_bad_rate() {
    let sure = || Config { confidence: Some(0.95), ..Config::default() };
    for seed in 0..2 {
        let mut lucky = Hours::new(sure());
        lucky.dice = seed;
        lucky.live(HEALTHY_MINUTES * 60, HEALTHY).live(2 * HOUR, Spell { bad: 30, drawn: true, ..HEALTHY });
        lucky.quiet("a true 3 %");
        let mut bad = Hours::new(sure());
        bad.dice = seed;
        bad.live(HEALTHY_MINUTES * 60, HEALTHY).live(10 * 60, Spell { bad: 100, drawn: true, ..HEALTHY });
        let begins = HEALTHY_MINUTES * 60;
        bad.first_trip(Trigger::ErrorRatio, begins..=begins + 600, "a true 10 %");
    }
}

const HEALTHY_MINUTES: u64 = 10;

#[test]
fn pauses_under_two_seconds_are_no_stall_for_hours_and_one_over_it_is() {
    let silent = |hours: &mut Hours, pause: Duration| {
        let waiting = Outcome::Waiting { batches: 3, last_readback: Some(hours.world.now) };
        hours.world.record(waiting);
        hours.world.wait(pause);
        hours.world.record(Outcome::Waiting { batches: 0, last_readback: Some(hours.world.now) });
        hours.hear();
    };
    let mut hours = Hours::new(Config::default());
    for _ in 0..3 * 60 {
        hours.live(58, HEALTHY);
        silent(&mut hours, 1_999 * MS);
    }
    hours.quiet("pauses of 1.999 s, once a minute");
    silent(&mut hours, 2_000 * MS);
    assert_eq!(hours.words(), [Said::Opened(Trigger::Stall)]);
}

/// The baseline follows what is slow enough to be the new normal, and only up to its ceiling.
#[test]
fn a_drift_is_followed_if_slow_trips_if_fast_and_cannot_teach_that_slow_is_healthy() {
    let drift = |per_minute_us: u64, minutes: u64| {
        let mut hours = Hours::new(Config::default());
        hours.live(HOUR, Spell { rate: 2, ..HEALTHY });
        for minute in 1..=minutes {
            let took = HEALTHY.took + Duration::from_micros(per_minute_us * minute);
            hours.live(60, Spell { rate: 2, took, ..HEALTHY });
            if !hours.said.is_empty() {
                break;
            }
        }
        hours
    };
    drift(200, 6 * 60).quiet("40 ms become 112 ms within six hours");
    drift(5_000, 3 * 60).first_trip(Trigger::Latency, HOUR + 300..=HOUR + 3_600, "5 ms each minute");
    // Up to 700 ms within 22 hours: slow enough to be followed, but the ceiling is 250 ms.
    let slow = drift(500, 22 * 60);
    let (at, _) = slow.said[0];
    let reached = 40.0 + 0.5 * ((at - HOUR) as f64 / 60.0);
    slow.first_trip(Trigger::Latency, HOUR..=23 * HOUR, "0.5 ms each minute");
    assert!(
        (430.0..620.0).contains(&reached),
        "{reached} ms: about twice the ceiling, with a tenth of noise"
    );
}

#[test]
fn one_outage_is_one_trip_and_comes_back_in_steps() {
    let mut hours = Hours::new(Config { jitter: 0.0, ..Config::default() });
    hours.live(HOUR, HEALTHY).live(90, DEAD).live(4 * HOUR, HEALTHY);
    // Dead for 90 s: the first probe after 60 s fails, the next ten after two minutes are good.
    let words = hours.words();
    assert!(matches!(words[0], Said::Opened(trigger) if trigger.is_evidence()), "{words:?}");
    let then = [Said::HalfOpen, Said::Opened(Trigger::Probe), Said::HalfOpen, Said::Closed];
    assert_eq!(words[1..], then);
    let at: Vec<u64> = hours.said.iter().map(|(at, _)| at - HOUR).collect();
    assert!(at[0] < 60 && at[1] == at[0] + 60 && at[2] <= at[1] + 1 && at[3] == at[2] + 120, "{at:?}");
    assert_eq!(hours.world.share(), 1_000, "the return is complete");
}

#[test]
fn flapping_latches_at_the_third_trip_and_waits_for_a_person_for_hours() {
    let mut hours = Hours::new(Config::default());
    for _ in 0..6 * 4 {
        // Two bad minutes in every quarter of an hour.
        hours.live(13 * 60, HEALTHY).live(2 * 60, DEAD);
    }
    let words = hours.words();
    let trips: Vec<Said> =
        words.iter().copied().filter(|said| matches!(said, Said::Opened(t) if t.is_evidence())).collect();
    assert_eq!(trips.len(), 2, "{words:?}");
    let Some((latched_at, Said::Latched(_))) = hours.said.last().copied() else { panic!("{words:?}") };
    assert!(latched_at < 2 * HOUR, "{latched_at} s");
    hours.said.clear();
    hours.live(12 * HOUR, HEALTHY);
    hours.quiet("a latch waits for a person");
    hours.world.breaker.force(Force::Reset, hours.world.now);
    hours.live(60, HEALTHY);
    assert_eq!(hours.words(), [Said::HalfOpen, Said::Closed]);
    assert_eq!(hours.world.share(), 10, "and even then it returns in steps");
}

#[test]
fn thin_traffic_is_judged_by_its_sentinels() {
    let mut hours = Hours::new(Config::default());
    hours.live(6 * HOUR, Spell { bad: 33, ..THIN });
    hours.quiet("one sentinel of thirty");
    let mut hours = Hours::new(Config::default());
    hours.live(10 * 60, THIN).live(10 * 60, Spell { bad: 100, ..THIN });
    hours.first_trip(Trigger::ErrorRatio, 600..=900, "one sentinel of ten");
    let mut hours = Hours::new(Config::default());
    hours.live(10 * 60, THIN).live(5 * 60, DEAD_AND_THIN);
    // Four of sixty: the window has sixty sentinels, 5 % of them are three.
    hours.first_trip(Trigger::ErrorRatio, 610..=630, "every sentinel");
}

const DEAD_AND_THIN: Spell = Spell { bad: 1_000, ..THIN };

/// A restart that Realtime announces (1012) costs what was in flight and one or two attempts to connect.
#[test]
fn announced_restarts_every_hour_trip_nothing_and_a_long_one_does() {
    let restart = |hours: &mut Hours, attempts: u64| {
        for _ in 0..4 {
            hours.world.record(Outcome::Failed(Fault::Disconnected));
        }
        for _ in 0..attempts {
            hours.world.record(Outcome::ConnectFailed);
            hours.world.wait(4 * SECOND);
        }
        hours.world.record(Outcome::Connected);
        hours.hear();
    };
    let mut hours = Hours::new(Config::default());
    for _ in 0..12 {
        hours.live(HOUR, HEALTHY);
        restart(&mut hours, 2);
    }
    hours.quiet("twelve announced restarts of eight seconds");
    restart(&mut hours, 4);
    assert_eq!(hours.words(), [Said::Opened(Trigger::Connect)], "twelve seconds without a connection");
}

#[test]
fn hours_over_the_quota_and_every_other_fault_of_ours_move_nothing() {
    let mut hours = Hours::new(Config::default());
    for _ in 0..6 * 60 {
        hours.live(60, HEALTHY);
        for fault in OwnFault::ALL {
            (0..500).for_each(|_| hours.world.record(Outcome::Own(fault)));
        }
    }
    hours.quiet("own faults");
    let own = hours.world.breaker.figures(hours.world.now).own_total;
    assert_eq!(own, [6 * 60 * 500; OwnFault::ALL.len()]);
}

#[test]
fn a_match_figure_at_its_gate_holds_for_hours_and_below_it_trips() {
    let compared = |hours: &mut Hours, mismatched: u64, minutes: u64| {
        for _ in 0..minutes {
            hours.live(60, HEALTHY);
            hours.world.record(Outcome::Compared { matched: 1_000 - mismatched, mismatched });
            hours.hear();
        }
    };
    let mut hours = Hours::new(Config::default());
    compared(&mut hours, 1, 6 * 60);
    hours.quiet("99.9 % for six hours");
    compared(&mut hours, 2, 60);
    let within = 6 * HOUR + 60..=6 * HOUR + 120;
    hours.first_trip(Trigger::Match, within, "one minute of 99.8 %");
    // Too few pairs say nothing, however bad.
    let mut hours = Hours::new(Config::default());
    for _ in 0..6 {
        hours.live(HOUR, HEALTHY);
        hours.world.record(Outcome::Compared { matched: 2_000, mismatched: 900 });
        hours.hear();
    }
    hours.quiet("2,900 pairs in the window");
}

#[test]
fn late_for_hours_is_slow_and_never_an_error() {
    let mut hours = Hours::new(Config { off: vec![Trigger::Latency], ..Config::default() });
    hours.live(HOUR, HEALTHY).live(6 * HOUR, Spell { took: 3 * SECOND, ..HEALTHY });
    hours.quiet("every read-back is three seconds late");
    let figures = hours.world.breaker.figures(hours.world.now);
    assert_eq!((figures.error_ratio, figures.slow_total), (0.0, 6 * HOUR * u64::from(HEALTHY.rate)));
}

#[test]
fn observing_an_outage_of_hours_reports_once_a_cool_down_and_moves_nobody() {
    let mut hours = Hours::new(Config::default());
    hours.world.breaker.force(Force::ObserveOnly, hours.world.now);
    hours.live(10 * 60, HEALTHY).live(2 * HOUR, DEAD);
    let words = hours.words();
    assert!(words.iter().all(|said| matches!(said, Said::Would(_))), "{words:?}");
    let minutes = 2 * HOUR / 60;
    assert!((minutes - 2..=minutes).contains(&(words.len() as u64)), "{}: once a cool-down", words.len());
    assert_eq!(hours.world.share(), 1_000);
}

/// A day of mixed weather, as it may come, killed and restarted every two hours: the breaker never serves while
/// Realtime is dead for longer than its triggers need, and is back whenever it has been well for long enough.
#[test]
fn a_day_of_weather_with_restarts_serves_when_it_may_and_only_then() {
    for seed in 0..2_u64 {
        // No latch here: a person would have to be part of the weather.
        let config = || Config { latch_trips: usize::MAX, ..Config::default() };
        let mut hours = Hours::new(config());
        hours.dice = seed;
        let (mut dead_for, mut well_for) = (0, 0);
        for minute in 0..24 * 60_u64 {
            let dead = (minute / 7 + seed).wrapping_mul(0x9E37_79B9) % 13 == 0;
            (dead_for, well_for) = if dead { (dead_for + 1, 0) } else { (0, well_for + 1) };
            hours.live(60, if dead { DEAD } else { HEALTHY });
            let serves = hours.world.breaker.admits(hours.world.now).serves();
            assert!(
                !(serves && dead_for > 0),
                "seed {seed}, minute {minute}: it serves from a dead Realtime"
            );
            // The longest cool-down is 30 minutes and a fifth, then ten probes.
            assert!(serves || well_for < 38, "seed {seed}, minute {minute}: it does not come back");
            if minute % 120 == 119 {
                let (now, wall) = (hours.world.now, 1_700_000_000_000);
                let saved = hours.world.breaker.save(now, wall);
                let paced = saved.paced;
                hours.world.breaker = Breaker::new(config(), seed, now);
                hours.world.breaker.restore(&saved, now, wall);
                assert!(!hours.world.breaker.admits(now).serves(), "a restart begins half-open");
                well_for = 0;
                hours.live(15, if dead { DEAD } else { HEALTHY });
                assert!(!paced || hours.world.share() < 1_000, "a restart is no way around the paced return");
            }
        }
    }
}
