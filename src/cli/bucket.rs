//! `crossfade bucket`: where a user key falls, and whether that is inside the cohort.
//! Salt and percentage come from the environment unless given, so the answer is the running proxy's.

use clap::Args;
use sha2::{Digest as _, Sha256};

use super::{Exit, Streams};
use crate::config::{Percent, Rollout, Strings};

/// Arguments of `bucket`.
#[derive(Clone, Debug, Args)]
pub struct BucketArgs {
    /// User keys
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    /// The salt, instead of CROSSFADE_ROLLOUT_SALT
    #[arg(long)]
    pub salt: Option<String>,
    /// The percentage, instead of CROSSFADE_ROLLOUT_PERCENT
    #[arg(long, value_name = "PERCENT")]
    pub percent: Option<Percent>,
}

pub(super) fn run(args: &BucketArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let settings = match Rollout::load(strings) {
        Ok(settings) => settings,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let salt = args.salt.as_deref().unwrap_or(&settings.salt);
    let percent = args.percent.unwrap_or(settings.percent);
    let line = |key: &String| {
        let bucket = bucket(salt, key);
        let verdict = if bucket < percent.thousandths() { "in" } else { "out" };
        format!("{key}\t{bucket}\t{verdict}\n")
    };
    streams.answer(&args.keys.iter().map(line).collect::<String>())
}

/// The frozen bucket function: 0 ..= 99,999, in units of 0.001 %.
fn bucket(salt: &str, key: &str) -> u32 {
    let digest = Sha256::new().chain_update(salt).chain_update(":").chain_update(key).finalize();
    let head = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    // The product is below 100,000 x 2^64, so the high half fits.
    u32::try_from((u128::from(head) * 100_000) >> 64).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/bucket.json");
        let vectors: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(vectors.len(), 1000);
        for vector in &vectors {
            let text = |name: &str| vector[name].as_str().unwrap().to_owned();
            assert_eq!(u64::from(bucket(&text("salt"), &text("key"))), vector["bucket"], "{vector}");
        }
    }
}
