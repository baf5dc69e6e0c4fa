//! Parsers of figures: durations, shares, sizes, counts.
//! Shares are whole thousandths of a percent, so that no float decides who is in a cohort.

use std::fmt;
use std::time::Duration;

use super::var::{Value, choose};

/// A wait longer than this is a mistake.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A share in thousandths of a percent: 0 ..= 100,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(100_000);

    /// The share in units of 0.001 %.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl std::str::FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Value for Percent {
    const KIND: &'static str = "percentage";
    const UNIT: &'static str = "%";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "is not a percentage from 0 to 100 with at most three decimals".to_owned();
        let figure = text.strip_suffix('%').unwrap_or(text);
        let (whole, decimals) = figure.split_once('.').unwrap_or((figure, "0"));
        if whole.is_empty() || decimals.is_empty() || decimals.len() > 3 {
            return Err(wrong());
        }
        let digits = format!("{whole}{decimals:0<3}");
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        digits.parse().ok().filter(|units| *units <= Self::ALL.0).map(Self).ok_or_else(wrong)
    }
}

impl Value for Duration {
    const KIND: &'static str = "duration";

    fn parse(text: &str) -> Result<Self, String> {
        let duration = humantime::parse_duration(text)
            .map_err(|_| "is not a duration; give a number with a unit: ms, s, m, h".to_owned())?;
        if duration > TIMEOUT_MAX { Err("is longer than a day".to_owned()) } else { Ok(duration) }
    }
}

/// A duration of at least a millisecond: a wait of nothing would refuse everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(pub Duration);

impl Value for Timeout {
    const KIND: &'static str = Duration::KIND;

    fn parse(text: &str) -> Result<Self, String> {
        let duration = Duration::parse(text)?;
        if duration < Duration::from_millis(1) {
            return Err("is shorter than 1ms".to_owned());
        }
        Ok(Self(duration))
    }
}

/// A number of bytes, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Value for Size {
    const KIND: &'static str = "size";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "is not a size; give bytes, or a whole number of KiB, MiB or GiB".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (figure, unit) = text.split_at(digits);
        let scale = choose(
            unit.trim_start(),
            &[("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)],
        )
        .map_err(|_| wrong())?;
        let bytes = figure.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(wrong)?;
        if bytes == 0 { Err("is no room at all".to_owned()) } else { Ok(Self(bytes)) }
    }
}

/// A whole number from 1 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

impl Value for Count {
    const KIND: &'static str = "count";

    fn parse(text: &str) -> Result<Self, String> {
        let count = text.parse().ok().filter(|n| (1..=10_000).contains(n));
        count.map(Self).ok_or_else(|| "is not a whole number from 1 to 10000".to_owned())
    }
}

/// A whole number from 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountOrZero(pub u32);

impl Value for CountOrZero {
    const KIND: &'static str = "count";

    fn parse(text: &str) -> Result<Self, String> {
        let count = text.parse().ok().filter(|n| *n <= 10_000);
        count.map(Self).ok_or_else(|| "is not a whole number from 0 to 10000".to_owned())
    }
}

/// A number of threads, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(pub Option<u16>);

impl Value for Workers {
    const KIND: &'static str = "auto | COUNT";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        let count = text.parse().ok().filter(|n| (1..=256).contains(n));
        count
            .map(|n| Self(Some(n)))
            .ok_or_else(|| "is neither auto nor a whole number from 1 to 256".to_owned())
    }
}

/// A confidence: from one half to below one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(pub f64);

impl Value for Ratio {
    const KIND: &'static str = "confidence";

    fn parse(text: &str) -> Result<Self, String> {
        let ratio = text.parse().ok().filter(|ratio| (0.5..1.0).contains(ratio));
        ratio.map(Self).ok_or_else(|| "is not a confidence from 0.5 to below 1".to_owned())
    }
}

/// A close code that an endpoint may send (RFC 6455 section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl Value for CloseCode {
    const KIND: &'static str = "close code";

    fn parse(text: &str) -> Result<Self, String> {
        let sendable = |code: &u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let wrong = || "is not a close code that may be sent: 1000-1003, 1007-1014 or 3000-4999".to_owned();
        text.parse().ok().filter(sendable).map(Self).ok_or_else(wrong)
    }
}

impl Value for bool {
    const KIND: &'static str = "on | off";

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("on", true), ("off", false)])
    }
}
