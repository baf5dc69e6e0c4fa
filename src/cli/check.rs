//! `crossfade check`: what works for the configured project, what does not, and what to change.
//! The room `doctor` looks and judges; here are the arguments and the exit code.

use std::time::Duration;

use clap::Args;

use super::{Exit, Streams};
use crate::config::{Strings, Value as _};
use crate::doctor::{self, Blame};

/// Arguments of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Where the service is asked for a WebSocket
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    pub path: String,
    /// A table of the schema public that rows should go to, such as monitoring_events
    #[arg(long, value_name = "NAME", value_parser = table)]
    pub table: Option<String>,
    /// How long each step may take
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = Duration::parse)]
    pub patience: Duration,
}

fn path(text: &str) -> Result<String, String> {
    match text.parse::<http::uri::PathAndQuery>() {
        Ok(_) if text.starts_with('/') => Ok(text.to_owned()),
        _ => Err("is not a path such as /ws".to_owned()),
    }
}

fn table(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.is_empty() && text.chars().all(letter) {
        Ok(text.to_owned())
    } else {
        Err("is not a table such as monitoring_events".to_owned())
    }
}

pub(super) fn run(args: &CheckArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let report = match crate::app::load(strings) {
        Err(problems) => doctor::unreadable(&problems),
        Ok(config) => {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return streams.refuse(Exit::Unavailable, &error),
            };
            let table = args.table.as_deref();
            let asked = doctor::Asked { path: &args.path, table, patience: args.patience };
            runtime.block_on(Box::pin(doctor::examine(&config, asked)))
        }
    };
    let text = if args.json { report.json() } else { report.table() };
    match (streams.answer(&text), report.blame()) {
        (Exit::Fine, Some(Blame::Ours)) => Exit::Config,
        (Exit::Fine, Some(Blame::Theirs)) => Exit::Unavailable,
        (exit, _) => exit,
    }
}
