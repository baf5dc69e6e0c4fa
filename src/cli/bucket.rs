//! `crossfade bucket`: where a user key falls, and whether that is inside the cohort.
//! Salt and percentage come from the environment unless given, so the answer is the running proxy's.

use clap::Args;

use super::{Exit, Streams};
use crate::config::{Percent, Rollout, Strings};
use crate::rollout::Bucket;

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
        let bucket = Bucket::of(salt.as_bytes(), key.as_bytes()).number();
        let verdict = if bucket < percent.thousandths() { "in" } else { "out" };
        format!("{key}\t{bucket}\t{verdict}\n")
    };
    streams.answer(&args.keys.iter().map(line).collect::<String>())
}
