//! Every number of the breaker, with the contract's defaults. A demo shortens them; nothing else in the room
//! contains a threshold.

use std::time::Duration;

use super::outcome::Trigger;

/// One step of the paced return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which part of the cohort may use Realtime, in 0.1 % (0 to 1,000).
    pub share_permille: u16,
    /// How long this step lasts.
    pub hold: Duration,
}

/// The settings of one breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Length of the sliding window of the error ratio.
    pub error_window: Duration,
    /// Trips when more than this part of the samples is bad.
    pub error_ratio: f64,
    /// Fewer samples than this say nothing about the ratio.
    pub error_samples_min: u64,
    /// `Some(0.95)`: compare the one-sided 95 % Wilson lower bound instead of the plain ratio. A true rate of 3 %
    /// exceeds 5 % by chance in one of twelve windows of 100 samples; the bound does not.
    pub confidence: Option<f64>,
    /// Length of the window of the fast burn.
    pub burn_window: Duration,
    /// Trips when more than this part of the samples in the fast window is bad.
    pub burn_ratio: f64,
    /// Fewer samples than this say nothing about the fast window.
    pub burn_samples_min: u64,
    /// Trips when nothing was read back for this long while batches wait.
    pub stall_after: Duration,
    /// How many batches must wait for a stall.
    pub stall_batches_min: u32,
    /// Length of the latency window.
    pub latency_window: Duration,
    /// Trips when p95 exceeds the baseline by this factor …
    pub latency_factor: f64,
    /// … and by more than this.
    pub latency_excess: Duration,
    /// Fewer round trips than this say nothing about p95.
    pub latency_samples_min: u64,
    /// The learnt part of the baseline never exceeds this, so a slow start cannot teach that slow is healthy.
    pub baseline_max: Duration,
    /// A round trip longer than this is counted as slow (shown, never an error).
    pub slow_after: Duration,
    /// Trips after so many failed connection attempts in a row …
    pub connect_failures: u32,
    /// … if the first and the last are at least this far apart.
    pub connect_span: Duration,
    /// Length of the validator's window.
    pub match_window: Duration,
    /// Trips when less than this part of the compared pairs matches.
    pub match_gate: f64,
    /// Fewer pairs than this say nothing (2,995 without a mismatch prove 99.9 % at 95 % confidence).
    pub match_samples_min: u64,
    /// How long the first opening lasts; doubles with every further one.
    pub cooldown: Duration,
    /// The longest cool-down before jitter.
    pub cooldown_max: Duration,
    /// Each cool-down is changed by up to this part in either direction.
    pub jitter: f64,
    /// So many good probes in a row close the breaker.
    pub probes: u32,
    /// Least time between the start of two probes.
    pub probe_interval: Duration,
    /// A probe that has not ended by then is bad.
    pub probe_deadline: Duration,
    /// Half-open longer than this opens again.
    pub half_open_max: Duration,
    /// The paced return after a trip; after the last step the share is 1,000 and the cool-down starts anew.
    pub pace: Vec<Step>,
    /// So many trips …
    pub latch_trips: usize,
    /// … within this time latch the breaker until a person resets it.
    pub latch_window: Duration,
    /// Triggers that are switched off.
    pub off: Vec<Trigger>,
}

impl Default for Config {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let step = |share_permille, count| Step { share_permille, hold: minutes(count) };
        Self {
            error_window: minutes(5),
            error_ratio: 0.05,
            error_samples_min: 20,
            confidence: None,
            burn_window: Duration::from_secs(30),
            burn_ratio: 0.5,
            burn_samples_min: 20,
            stall_after: Duration::from_secs(2),
            stall_batches_min: 2,
            latency_window: minutes(10),
            latency_factor: 2.0,
            latency_excess: Duration::from_millis(50),
            latency_samples_min: 200,
            baseline_max: Duration::from_millis(250),
            slow_after: Duration::from_millis(500),
            connect_failures: 3,
            connect_span: Duration::from_secs(10),
            match_window: minutes(60),
            match_gate: 0.999,
            match_samples_min: 2_995,
            cooldown: minutes(1),
            cooldown_max: minutes(30),
            jitter: 0.2,
            probes: 10,
            probe_interval: Duration::from_secs(1),
            probe_deadline: Duration::from_secs(5),
            half_open_max: minutes(15),
            pace: vec![step(10, 10), step(250, 5), step(500, 5), step(1_000, 5)],
            latch_trips: 3,
            latch_window: minutes(24 * 60),
            off: Vec::new(),
        }
    }
}

impl Config {
    /// Everything that is wrong with these numbers, one sentence each; empty when they can be used.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let ratios = [
            ("error_ratio", self.error_ratio),
            ("burn_ratio", self.burn_ratio),
            ("match_gate", self.match_gate),
            ("jitter", self.jitter),
        ];
        for (name, value) in ratios {
            if !(0.0..=1.0).contains(&value) {
                found.push(format!("{name} is {value}, but must be between 0 and 1"));
            }
        }
        if self.confidence.is_some_and(|c| !(0.5..1.0).contains(&c)) {
            found.push("confidence must be at least 0.5 and below 1, for example 0.95".to_owned());
        }
        if self.latency_factor.is_nan() || self.latency_factor < 1.0 {
            found.push(format!("latency_factor is {}, but must be at least 1", self.latency_factor));
        }
        for (name, value) in self.durations() {
            if value.is_zero() || value > LONGEST {
                found.push(format!("{name} is {value:?}, but must be above 0 and at most 366 days"));
            }
        }
        if self.probes == 0 {
            found.push("probes is 0: the breaker would close without a proof".to_owned());
        }
        if self.pace.iter().any(|step| step.share_permille > 1_000) {
            found.push("a pace step is above 1000 permille".to_owned());
        }
        if self.pace.windows(2).any(|pair| pair[0].share_permille > pair[1].share_permille) {
            found.push("the pace steps must not fall".to_owned());
        }
        found
    }

    /// The same numbers with every duration cut to the longest that counts, so that no sum of times can overflow
    /// even if nobody has asked for the problems.
    pub(super) fn bounded(mut self) -> Self {
        let durations = [
            &mut self.error_window,
            &mut self.burn_window,
            &mut self.stall_after,
            &mut self.latency_window,
            &mut self.latency_excess,
            &mut self.baseline_max,
            &mut self.match_window,
            &mut self.cooldown,
            &mut self.cooldown_max,
            &mut self.probe_interval,
            &mut self.probe_deadline,
            &mut self.half_open_max,
            &mut self.latch_window,
        ];
        for duration in durations.into_iter().chain(self.pace.iter_mut().map(|step| &mut step.hold)) {
            *duration = (*duration).min(LONGEST);
        }
        // `max` first: unlike `clamp` it replaces what is not a number.
        self.latency_factor = self.latency_factor.max(1.0).clamp(1.0, 1_000.0);
        self.jitter = self.jitter.max(0.0).clamp(0.0, 1.0);
        self
    }

    fn durations(&self) -> [(&'static str, Duration); 12] {
        [
            ("error_window", self.error_window),
            ("burn_window", self.burn_window),
            ("stall_after", self.stall_after),
            ("latency_window", self.latency_window),
            ("match_window", self.match_window),
            ("cooldown", self.cooldown),
            ("cooldown_max", self.cooldown_max),
            ("probe_interval", self.probe_interval),
            ("probe_deadline", self.probe_deadline),
            ("half_open_max", self.half_open_max),
            ("latch_window", self.latch_window),
            ("baseline_max", self.baseline_max),
        ]
    }
}

/// No duration of the breaker counts beyond this; keeps every sum of times far from overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problems() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_told_at_once_by_name() {
        let bad = Config {
            error_ratio: 5.0,
            confidence: Some(1.0),
            cooldown: Duration::ZERO,
            probes: 0,
            latency_factor: f64::NAN,
            pace: vec![
                Step { share_permille: 500, hold: Duration::ZERO },
                Step { share_permille: 10, hold: Duration::ZERO },
            ],
            ..Config::default()
        };
        let problems = bad.problems().join("\n");
        for name in ["error_ratio", "confidence", "cooldown", "probes", "latency_factor", "pace"] {
            assert!(problems.contains(name), "{name} is missing from:\n{problems}");
        }
    }
}
