//! Whether so many pairs with so many mismatches prove that at least a given part matches: the exact binomial test,
//! one-sided at 95 %, in either direction.

use serde::{Deserialize, Serialize};

/// How sure a verdict must be.
pub const CONFIDENCE: f64 = 0.95;
/// The contract's gate: this part must match.
pub const GATE: f64 = 0.999;
/// Nothing is asked for beyond so many pairs.
const PAIRS_MAX: u64 = 1 << 40;

/// What the pairs prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// At least the gate's part matches.
    Match,
    /// Less than the gate's part matches.
    Mismatch,
    /// Neither is proved.
    NotEnoughData,
}

impl Verdict {
    /// Every verdict, in label order.
    pub const ALL: [Self; 3] = [Self::Match, Self::Mismatch, Self::NotEnoughData];

    /// The label and the word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Mismatch => "mismatch",
            Self::NotEnoughData => "not_enough_data",
        }
    }
}

/// Judges `pairs` of which `bad` do not match, against `gate` (0.999: 99.9 % must match).
#[must_use]
pub fn judge(pairs: u64, bad: u64, gate: f64) -> Verdict {
    let (bad, doubt) = (bad.min(pairs), 1.0 - CONFIDENCE);
    if pairs == 0 || !(0.0..1.0).contains(&gate) {
        Verdict::NotEnoughData
    } else if at_most(bad, pairs, 1.0 - gate) <= doubt {
        Verdict::Match
    } else if bad > 0 && at_least(bad, pairs, 1.0 - gate) <= doubt {
        Verdict::Mismatch
    } else {
        Verdict::NotEnoughData
    }
}

/// How many pairs would prove the gate with `bad` mismatches among them.
#[must_use]
pub fn needed(bad: u64, gate: f64) -> u64 {
    let proves = |pairs| judge(pairs, bad, gate) == Verdict::Match;
    let (mut low, mut high) = (bad, bad.max(1));
    while !proves(high) {
        if high >= PAIRS_MAX {
            return PAIRS_MAX;
        }
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if proves(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// P(X ≤ k) for X binomial(n, p).
fn at_most(k: u64, n: u64, p: f64) -> f64 {
    // Beyond the mean it is more than enough for any question asked here.
    if k as f64 >= n as f64 * p {
        return 1.0;
    }
    let (mut term, mut sum) = (1.0, 1.0);
    for i in (1..=k).rev() {
        term *= i as f64 * (1.0 - p) / ((n - i + 1) as f64 * p);
        sum += term;
        if term < sum * 1e-12 {
            break;
        }
    }
    (ln_mass(k, n, p) + f64::ln(sum)).exp().min(1.0)
}

/// P(X ≥ k).
fn at_least(k: u64, n: u64, p: f64) -> f64 {
    if k as f64 <= n as f64 * p {
        return 1.0;
    }
    let (mut term, mut sum) = (1.0, 1.0);
    for i in k..n {
        term *= (n - i) as f64 * p / ((i + 1) as f64 * (1.0 - p));
        sum += term;
        if term < sum * 1e-12 {
            break;
        }
    }
    (ln_mass(k, n, p) + f64::ln(sum)).exp().min(1.0)
}

/// ln P(X = k).
fn ln_mass(k: u64, n: u64, p: f64) -> f64 {
    let (k, n) = (k as f64, n as f64);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k) + k * p.ln() + (n - k) * (-p).ln_1p()
}

/// ln n!, summed below 32 and by Stirling's series above (error below 1e-12).
fn ln_factorial(n: f64) -> f64 {
    if n < 32.0 {
        let mut sum = 0.0;
        let mut i = 2.0;
        while i <= n {
            sum += f64::ln(i);
            i += 1.0;
        }
        return sum;
    }
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3))
        + 1.0 / (1260.0 * n.powi(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_exact_binomial_is_met() {
        // One-sided 95 %, from the published table: pairs needed for a number of mismatches.
        for (bad, pairs) in [(0, 2_995), (1, 4_742), (2, 6_294), (5, 10_511), (10, 16_959)] {
            assert_eq!(needed(bad, GATE), pairs, "{bad} mismatches");
            assert_eq!(judge(pairs, bad, GATE), Verdict::Match);
            assert_eq!(judge(pairs - 1, bad, GATE), Verdict::NotEnoughData);
        }
        for (bad, pairs) in [(0, 29_956), (1, 47_437), (10, 169_619)] {
            assert_eq!(needed(bad, 0.9999), pairs, "{bad} mismatches");
        }
    }

    #[test]
    fn a_mismatch_is_only_said_when_it_is_proved() {
        // 1 - 0.999^51 is just below 5 %, 1 - 0.999^52 above.
        assert_eq!(judge(51, 1, GATE), Verdict::Mismatch);
        assert_eq!(judge(52, 1, GATE), Verdict::NotEnoughData);
        assert_eq!(judge(3_000, 8, GATE), Verdict::Mismatch);
        assert_eq!(judge(3_000, 4, GATE), Verdict::NotEnoughData);
        for (pairs, bad) in [(0, 0), (0, 5), (10, 0)] {
            assert_eq!(
                judge(pairs, bad, GATE),
                if bad > 0 && pairs > 0 { Verdict::Mismatch } else { Verdict::NotEnoughData }
            );
        }
        assert_eq!(judge(5, 5, GATE), Verdict::Mismatch);
    }

    #[test]
    fn large_numbers_are_judged_too() {
        assert_eq!(judge(1_000_000_000, 900_000, GATE), Verdict::Match);
        assert_eq!(judge(1_000_000_000, 1_100_000, GATE), Verdict::Mismatch);
        assert_eq!(judge(1_000_000_000, 1_000_000, GATE), Verdict::NotEnoughData);
        assert_eq!(judge(u64::from(u32::MAX), 0, GATE), Verdict::Match);
    }

    #[test]
    fn tails_agree_with_a_plain_sum() {
        // 20 tosses with p = 0.3, by hand from Pascal's triangle in exact arithmetic.
        let mass = |k: u64| {
            let mut choose = 1.0;
            for i in 0..k {
                choose *= (20 - i) as f64 / (i + 1) as f64;
            }
            choose * 0.3_f64.powi(k as i32) * 0.7_f64.powi(20 - k as i32)
        };
        for k in 0..6 {
            let plain: f64 = (0..=k).map(mass).sum();
            assert!((at_most(k, 20, 0.3) - plain).abs() < 1e-12, "{k}");
        }
        for k in 7..=20 {
            let plain: f64 = (k..=20).map(mass).sum();
            assert!((at_least(k, 20, 0.3) - plain).abs() < 1e-12, "{k}");
        }
    }
}
