//! `crossfade bucket`: where a user key falls, and whether that is inside the cohort.
//! Salt and percentage come from the environment unless given, so the answer is the running proxy's.

use clap::Args;
use serde::Serialize;

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
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// What is said of one key.
#[derive(Debug, Serialize)]
struct Line<'a> {
    key: &'a str,
    bucket: u32,
    verdict: &'static str,
}

pub(super) fn run(args: &BucketArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let settings = match Rollout::load(strings) {
        Ok(settings) => settings,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let salt = args.salt.as_deref().unwrap_or(&settings.salt);
    let percent = args.percent.unwrap_or(settings.percent);
    let line = |key| {
        let bucket = Bucket::of(salt.as_bytes(), str::as_bytes(key)).number();
        Line { key, bucket, verdict: if bucket < percent.thousandths() { "in" } else { "out" } }
    };
    let lines: Vec<Line<'_>> = args.keys.iter().map(String::as_str).map(line).collect();
    let text = if args.json {
        serde_json::to_string(&lines).unwrap_or_default() + "\n"
    } else {
        lines.iter().map(|Line { key, bucket, verdict }| format!("{key}\t{bucket}\t{verdict}\n")).collect()
    };
    streams.answer(&text)
}
