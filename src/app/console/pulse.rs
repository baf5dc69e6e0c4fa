//! Rates and the history, from samples that are taken once a second. Pure: samples and times are arguments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::admin::api::model::{Flow, History, Point, Quantiles};
use crate::mirror::tally::{EDGES_MS, Histogram};
use crate::proxy::TIMING_EDGES;

/// Rates are averaged over so many beats …
const RATE_BEATS: usize = 5;
/// … and a point of the history covers as many.
const STEP: Duration = Duration::from_secs(5);
/// Points of a quarter of an hour.
const POINTS_MAX: usize = 180;
/// Samples for the latency of the last minute.
const MINUTE_BEATS: usize = 60;

/// Counters and gauges at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::app) struct Sample {
    pub(super) at_unix_ms: u64,
    pub(super) bytes: [u64; 2],
    pub(super) messages: [u64; 2],
    pub(super) hot: u64,
    pub(super) open: u64,
    pub(super) breaker: Option<&'static str>,
    pub(super) round_trips: Histogram,
    /// Turns of the legacy leg, by [`TIMING_EDGES`].
    pub(super) legacy: [u64; TIMING_EDGES.len() + 1],
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::app) struct Pulse {
    samples: VecDeque<(Instant, Sample)>,
    points: VecDeque<Point>,
    /// Where the next point begins.
    step: Option<(Instant, Sample)>,
}

impl Pulse {
    /// Takes the next sample in.
    pub(super) fn take(&mut self, sample: Sample, now: Instant) {
        match &self.step {
            None => self.step = Some((now, sample)),
            Some((then, before)) if now.saturating_duration_since(*then) >= STEP => {
                let point = point(before, &sample, now.saturating_duration_since(*then));
                self.points.push_back(point);
                if self.points.len() > POINTS_MAX {
                    self.points.pop_front();
                }
                self.step = Some((now, sample));
            }
            Some(_) => {}
        }
        self.samples.push_back((now, sample));
        if self.samples.len() > MINUTE_BEATS + 1 {
            self.samples.pop_front();
        }
    }

    /// What passes, over the last beats; nothing with a single sample.
    pub(super) fn flow(&self) -> Flow {
        let Some((until, last)) = self.samples.back() else { return Flow::default() };
        let first = self.samples.len().saturating_sub(RATE_BEATS + 1);
        let Some((from, before)) = self.samples.get(first) else { return Flow::default() };
        let seconds = until.saturating_duration_since(*from).as_secs_f64();
        let rate = |now: u64, then: u64| per_second(now, then, seconds);
        Flow {
            messages_up_per_s: rate(last.messages[0], before.messages[0]),
            messages_down_per_s: rate(last.messages[1], before.messages[1]),
            bytes_up_per_s: rate(last.bytes[0], before.bytes[0]),
            bytes_down_per_s: rate(last.bytes[1], before.bytes[1]),
        }
    }

    /// The legacy leg inside this process, over the last minute.
    pub(super) fn legacy(&self) -> Option<Quantiles> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        legacy(&first.1, &last.1)
    }

    /// Round trips of the last minute.
    pub(super) fn realtime(&self) -> Option<Quantiles> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        quantiles(&difference(&first.1.round_trips, &last.1.round_trips))
    }

    /// The last quarter of an hour.
    pub(super) fn history(&self) -> History {
        History { step_s: STEP.as_secs(), points: self.points.iter().copied().collect() }
    }
}

fn per_second(now: u64, then: u64, seconds: f64) -> f64 {
    if seconds <= 0.0 { 0.0 } else { now.saturating_sub(then) as f64 / seconds }
}

fn point(before: &Sample, now: &Sample, took: Duration) -> Point {
    let total = |sample: &Sample| sample.messages.iter().sum();
    let realtime = quantiles(&difference(&before.round_trips, &now.round_trips));
    Point {
        at: now.at_unix_ms,
        legacy_p95_ms: legacy(before, now).map(|found| found.p95_ms),
        realtime_p95_ms: realtime.map(|found| found.p95_ms),
        sessions_hot: now.hot,
        sessions_open: now.open,
        messages_per_s: per_second(total(now), total(before), took.as_secs_f64()),
        breaker: now.breaker,
    }
}

type Buckets = [u64; EDGES_MS.len() + 1];

fn difference(before: &Histogram, now: &Histogram) -> Buckets {
    let mut counts = *now.counts();
    for (count, before) in counts.iter_mut().zip(before.counts()) {
        *count = count.saturating_sub(*before);
    }
    counts
}

fn legacy(before: &Sample, now: &Sample) -> Option<Quantiles> {
    let mut counts = now.legacy;
    for (count, before) in counts.iter_mut().zip(before.legacy) {
        *count = count.saturating_sub(before);
    }
    let at = |part| quantile(&counts, |place| TIMING_EDGES.get(place).map(|seconds| seconds * 1000.0), part);
    (counts.iter().sum::<u64>() > 0).then(|| Quantiles {
        p50_ms: at(0.50),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
    })
}

fn quantiles(counts: &Buckets) -> Option<Quantiles> {
    (counts.iter().sum::<u64>() > 0).then(|| Quantiles {
        p50_ms: quantile_ms(counts, 0.50),
        p95_ms: quantile_ms(counts, 0.95),
        p99_ms: quantile_ms(counts, 0.99),
    })
}

/// Of round trips.
pub(in crate::app) fn quantile_ms(counts: &Buckets, part: f64) -> f64 {
    quantile(counts, |place| EDGES_MS.get(place).map(|ms| *ms as f64), part)
}

/// Interpolated inside the bucket that holds this part of all counts; beyond the last edge, twice that edge at most.
fn quantile(counts: &[u64], edge: impl Fn(usize) -> Option<f64>, part: f64) -> f64 {
    let mut left = part * counts.iter().sum::<u64>() as f64;
    let mut lower = 0.0;
    for (place, count) in counts.iter().enumerate() {
        let upper = edge(place).unwrap_or(lower * 2.0);
        if *count > 0 && left <= *count as f64 {
            return lower + (upper - lower) * left / *count as f64;
        }
        left -= *count as f64;
        lower = upper;
    }
    lower
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
mod tests {
    use super::*;

    fn at(second: u64, messages: u64, took_ms: &[u64], before: &Sample) -> Sample {
        let mut sample = Sample { at_unix_ms: second * 1000, messages: [messages, 0], ..*before };
        for ms in took_ms {
            sample.round_trips.record(Duration::from_millis(*ms));
        }
        sample
    }

    #[test]
    fn rates_cover_five_seconds_and_latencies_a_minute() {
        let origin = Instant::now();
        let mut pulse = Pulse::default();
        let mut sample = Sample::default();
        assert_eq!(pulse.realtime(), None);
        for second in 0..=100 {
            // 10 messages a second, then none; one slow round trip in the first second, fast ones at the end.
            let took: &[u64] = if second == 1 {
                &[4000]
            } else if second > 90 {
                &[1]
            } else {
                &[]
            };
            sample = at(second, sample.messages[0] + if second <= 50 { 10 } else { 0 }, took, &sample);
            pulse.take(sample, origin + Duration::from_secs(second));
            match second {
                0 => assert!(pulse.flow().messages_up_per_s.abs() < 1e-9, "one sample is no rate"),
                50 => assert!((pulse.flow().messages_up_per_s - 10.0).abs() < 1e-9),
                53 => assert!((pulse.flow().messages_up_per_s - 4.0).abs() < 1e-9, "two of five seconds"),
                60 => assert!(pulse.realtime().is_some_and(|found| found.p50_ms > 2500.0)),
                62 => assert_eq!(pulse.realtime(), None, "a minute without a sample is unknown, not zero"),
                100 => assert!(pulse.realtime().is_some_and(|found| found.p99_ms <= 1.0)),
                _ => {}
            }
        }
        let history = pulse.history();
        assert_eq!((history.step_s, history.points.len()), (5, 20));
        assert_eq!(history.points[0].at, 5000);
        assert!((history.points[0].messages_per_s - 10.0).abs() < 1e-9);
        assert!(history.points[0].realtime_p95_ms.is_some());
        assert_eq!(history.points[1].realtime_p95_ms, None);
    }

    #[test]
    fn the_legacy_leg_is_of_the_last_minute_and_of_each_step() {
        let origin = Instant::now();
        let mut pulse = Pulse::default();
        let mut sample = Sample::default();
        for second in 0..=100_u64 {
            // Between 25 and 50 µs in the first ten seconds, then nobody is measured.
            sample.legacy[2] += if second <= 10 { 100 } else { 0 };
            pulse.take(sample, origin + Duration::from_secs(second));
            if second == 30 {
                let found = pulse.legacy().unwrap();
                assert!(found.p50_ms > 0.025 && found.p99_ms <= 0.05, "{found:?}");
            }
        }
        assert_eq!(pulse.legacy(), None, "a minute without a sample is unknown, not zero");
        let points = pulse.history().points;
        assert!(points[0].legacy_p95_ms.is_some_and(|ms| ms <= 0.05));
        assert_eq!(points[5].legacy_p95_ms, None);
    }

    #[test]
    fn the_history_is_bounded() {
        let origin = Instant::now();
        let mut pulse = Pulse::default();
        for second in 0..2000 {
            pulse.take(Sample::default(), origin + Duration::from_secs(second));
        }
        assert_eq!(pulse.history().points.len(), POINTS_MAX);
        assert_eq!(pulse.samples.len(), MINUTE_BEATS + 1);
    }
}
