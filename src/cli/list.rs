//! `crossfade config`: every variable, as a table, as Markdown or as JSON.
//! It reads nothing, so it also works where the configuration is wrong.

use clap::Args;

use super::{Exit, Streams};
use crate::config::table;

/// Arguments of `config`.
#[derive(Clone, Copy, Debug, Args)]
pub struct ConfigArgs {
    /// Print the text of docs/configuration.md
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &ConfigArgs, streams: &mut Streams<'_>) -> Exit {
    let text = match args {
        ConfigArgs { markdown: true, .. } => table::markdown(),
        ConfigArgs { json: true, .. } => table::json(),
        ConfigArgs { .. } => table::text(),
    };
    streams.answer(&text)
}
