//! Percentages in fixed point and the frozen bucket function. Other programs compute the same buckets from the
//! published vectors, so nothing here may ever change.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// How many buckets there are, and how many units make 100 %.
pub const BUCKETS: u32 = 100_000;

/// A percentage in units of 0.001 %, from 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

impl Percent {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// Everybody with a key.
    pub const FULL: Self = Self(BUCKETS);

    /// A percentage of so many units of 0.001 %; `None` above 100 %.
    #[must_use]
    pub const fn from_units(units: u32) -> Option<Self> {
        if units <= BUCKETS { Some(Self(units)) } else { None }
    }

    /// Units of 0.001 %.
    #[must_use]
    pub const fn units(self) -> u32 {
        self.0
    }

    /// The part of this percentage that a paced return admits, rounded down: the lower buckets come first, so a
    /// growing share never moves anyone out.
    #[must_use]
    pub fn scaled(self, permille: u16) -> Self {
        let permille = u64::from(permille.min(1_000));
        Self(u32::try_from(u64::from(self.0) * permille / 1_000).unwrap_or(self.0))
    }
}

/// Why a text is not a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PercentError {
    /// Not a decimal number.
    #[error("{0:?} is not a percentage; write a number such as 12.5")]
    NotANumber(String),
    /// More than three digits after the point.
    #[error("{0:?} is finer than 0.001 %, the smallest step")]
    TooFine(String),
    /// Above 100.
    #[error("{0:?} is above 100 %")]
    TooLarge(String),
}

impl FromStr for Percent {
    type Err = PercentError;

    /// Reads `12.5` or `12.5%`: digits, at most one point, at most three digits after it.
    fn from_str(text: &str) -> Result<Self, PercentError> {
        let trimmed = text.trim();
        let number = trimmed.strip_suffix('%').unwrap_or(trimmed).trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(PercentError::NotANumber(text.to_owned()));
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 3 {
            return Err(PercentError::TooFine(text.to_owned()));
        }
        let thousandths: u32 = format!("{fraction:0<3}").parse().unwrap_or(0);
        let units =
            whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(1_000)?.checked_add(thousandths));
        units.and_then(Self::from_units).ok_or_else(|| PercentError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for Percent {
    /// Without superfluous zeros: `12.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000, self.0 % 1_000);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{fraction:03}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    /// A string or a JSON number; both are read as decimal text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One of the 100,000 buckets, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bucket(u32);

impl Bucket {
    /// The bucket of a key: `h` is the first 8 bytes, big-endian, of SHA-256 of `salt ":" key`, and the bucket is
    /// `(h × 100000) >> 64`. Multiply and shift instead of a remainder, so no bucket is likelier than another.
    #[must_use]
    pub fn of(salt: &[u8], key: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(salt).chain_update(b":").chain_update(key).finalize();
        let first = digest.iter().take(8).fold(0_u64, |h, byte| (h << 8) | u64::from(*byte));
        let bucket = (u128::from(first) * u128::from(BUCKETS)) >> 64;
        Self(u32::try_from(bucket).unwrap_or(BUCKETS - 1))
    }

    /// The number, 0 to 99,999.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// True when this percentage reaches the bucket.
    #[must_use]
    pub const fn is_within(self, percent: Percent) -> bool {
        self.0 < percent.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        #[derive(Deserialize)]
        struct Vector {
            salt: String,
            key: String,
            bucket: u32,
        }
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/vectors/bucket.json")).unwrap();
        assert_eq!(vectors.len(), 1_000);
        for Vector { salt, key, bucket } in vectors {
            assert_eq!(Bucket::of(salt.as_bytes(), key.as_bytes()).0, bucket, "{salt:?} {key:?}");
        }
    }

    #[test]
    fn percentages_are_read_and_written_exactly() {
        let cases = [
            ("0", 0, "0"),
            ("0.001", 1, "0.001"),
            ("0.1", 100, "0.1"),
            ("12.5", 12_500, "12.5"),
            (" 12.500 % ", 12_500, "12.5"),
            ("99.999000", 99_999, "99.999"),
            ("100.0", 100_000, "100"),
            ("007", 7_000, "7"),
        ];
        for (text, units, printed) in cases {
            let percent: Percent = text.parse().unwrap();
            assert_eq!((percent.units(), percent.to_string().as_str()), (units, printed), "{text:?}");
        }
    }

    #[test]
    fn wrong_percentages_are_named_with_their_problem() {
        let not_a_number = ["", " ", "%", "ten", "1,5", "-1", "+1", "1.", ".5", "1e1", "1.2.3", "NaN", "٣"];
        for text in not_a_number {
            assert_eq!(text.parse::<Percent>(), Err(PercentError::NotANumber(text.to_owned())));
        }
        for text in ["100.001", "101", "99999999999999999999", "4294968"] {
            assert_eq!(text.parse::<Percent>(), Err(PercentError::TooLarge(text.to_owned())));
        }
        let error = "0.0001".parse::<Percent>().unwrap_err();
        assert_eq!(error.to_string(), "\"0.0001\" is finer than 0.001 %, the smallest step");
    }

    #[test]
    fn json_may_hold_a_number_or_a_string() {
        let read: Vec<Percent> = serde_json::from_str("[12.5, \"12.5\", 100]").unwrap();
        assert_eq!(read, [Percent(12_500), Percent(12_500), Percent::FULL]);
        assert!(serde_json::from_str::<Percent>("true").is_err());
    }

    /// Chi-squared over 100 classes of 1,000 buckets. With 99 degrees of freedom the value exceeds 149 once in a
    /// thousand; the keys are fixed, so the test cannot flicker.
    #[test]
    fn the_buckets_are_even_for_ordinary_keys() {
        for shape in ["user-", "00000000-0000-4000-8000-", "a@example.com/"] {
            let mut classes = [0_i64; 100];
            for number in 0..30_000 {
                let bucket = Bucket::of(b"crossfade", format!("{shape}{number:012}").as_bytes());
                classes[(bucket.number() / 1_000) as usize] += 1;
            }
            let chi: f64 = classes.iter().map(|n| ((n - 300) * (n - 300)) as f64 / 300.0).sum();
            assert!((55.0..149.0).contains(&chi), "{shape}: {chi}");
        }
    }

    #[test]
    fn two_salts_choose_independent_cohorts() {
        let tenth = Percent(10_000);
        let chosen = |salt: &[u8], n: u32| Bucket::of(salt, n.to_string().as_bytes()).is_within(tenth);
        let both = (0..40_000).filter(|n| chosen(b"crossfade", *n) && chosen(b"mirror", *n)).count();
        // 1 % of 40,000, standard deviation 19.9.
        assert!((320..480).contains(&both), "{both}");
    }

    proptest! {
        #[test]
        fn raising_the_percentage_never_moves_anyone_out(
            key in prop::collection::vec(any::<u8>(), 0..64), low in 0..=BUCKETS, more in 0..=BUCKETS,
        ) {
            let bucket = Bucket::of(b"crossfade", &key);
            prop_assert_eq!(bucket, Bucket::of(b"crossfade", &key), "sticky");
            prop_assert!(!bucket.is_within(Percent::ZERO) && bucket.is_within(Percent::FULL));
            let high = low.saturating_add(more).min(BUCKETS);
            prop_assert!(!bucket.is_within(Percent(low)) || bucket.is_within(Percent(high)));
        }

        #[test]
        fn the_pace_grows_into_the_whole_cohort(units in 0..=BUCKETS, low in 0_u16..=1_000, high in 0_u16..=1_000) {
            let (percent, low, high) = (Percent(units), low.min(high), low.max(high));
            prop_assert!(percent.scaled(low) <= percent.scaled(high));
            prop_assert!(percent.scaled(high) <= percent);
            prop_assert_eq!((percent.scaled(0), percent.scaled(1_000)), (Percent::ZERO, percent));
        }

        #[test]
        fn printing_and_reading_agree(units in 0..=BUCKETS) {
            prop_assert_eq!(Percent(units).to_string().parse::<Percent>().unwrap(), Percent(units));
        }
    }
}
