//! `crossfade demo`: what a session looks like, without any set-up.
//! Only the arguments live here; the room `demo` plays it.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Exit, Streams};
use crate::config::Value as _;

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// End by itself after this time, such as 20s
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,
    /// Print the final account as JSON
    #[arg(long)]
    pub json: bool,
    /// Let Realtime fail half way, to see the trip and the return
    #[arg(long, value_enum, value_name = "KIND", num_args = 0..=1, default_missing_value = "outage")]
    pub fault: Option<Fault>,
    /// How many clients connect
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clients: u32,
}

/// What the demo breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Realtime closes every connection and refuses new ones.
    Outage,
    /// Realtime acknowledges and delivers nothing.
    Stall,
    /// Realtime delivers late.
    Slow,
}

fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text)
}

pub(super) fn run(args: &DemoArgs, streams: &mut Streams<'_>) -> Exit {
    tracing::debug!(?args, "demo");
    streams.refuse(Exit::Unavailable, &"the demo is not in this build")
}
