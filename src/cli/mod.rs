//! The command line: what was typed becomes one call.
//!
//! **Problem.** Operators meet this program through its exit code and the first line on standard error.
//!
//! **Decision.** Settings come from the environment (`config`), so commands have few arguments and `crossfade`
//! alone means `run`. [`main`] takes arguments, environment and output streams as values and returns an [`Exit`],
//! so that tests need no process. A configuration error ends with 64 before a port is bound. One file per command.
//!
//! **Streams.** What was asked for goes to standard output; everything else, the log included, to standard error.
//!
//! **Limits.** A command that this build does not carry says so and ends with 69. Commands that need a running
//! process are not declared before they exist.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::config::Strings;

mod ask;
mod bucket;
mod check;
mod demo;
mod drain;
mod drill;
mod emulator;
mod explain;
mod health;
mod inject;
mod list;
mod plan;
mod reconcile;
mod replay;
mod report;
mod run;
mod spool;
mod types;

#[cfg(test)]
mod tests;

pub use bucket::BucketArgs;
pub use check::CheckArgs;
pub use demo::{DemoArgs, Fault};
pub use drain::DrainArgs;
pub use drill::DrillArgs;
pub use explain::ExplainArgs;
pub use health::HealthArgs;
pub use list::ConfigArgs;
pub use plan::PlanArgs;
pub use reconcile::ReconcileArgs;
pub use replay::ReplayArgs;
pub use report::ReportArgs;
pub use spool::SpoolArgs;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Fine,
    /// The configuration or the command line is wrong; nothing was started.
    Config,
    /// Something that is needed is not there.
    Unavailable,
    /// A broken promise or a bug of ours.
    Bug,
}

impl Exit {
    /// The exit code (`sysexits.h`).
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Config => 64,
            Self::Unavailable => 69,
            Self::Bug => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[derive(Debug, Parser)]
#[command(name = "crossfade", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "Settings come from the environment: `crossfade config` lists all variables.\n\
    Exit codes: 0 fine, 64 configuration, 69 unavailable, 70 broken promise or bug.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (what `crossfade` alone does)
    Run,
    /// See it work: service, Realtime emulator, proxy and clients in one process
    Demo(DemoArgs),
    /// Stop the running process without cutting anyone off, and wait for it (needs CROSSFADE_ADMIN_TOKEN)
    Drain(DrainArgs),
    /// Rehearse the trip on a small part of the hot sessions, and say how long it took (needs CROSSFADE_ADMIN_TOKEN)
    Drill(DrillArgs),
    /// Show the running process's plan, start it, pause it, go on, end it (changes need CROSSFADE_ADMIN_TOKEN)
    Plan(PlanArgs),
    /// Ask the running process whether it is well: exit code 0 or 69
    Health(HealthArgs),
    /// Say what works for the configured project, what does not, and what to change
    Check(CheckArgs),
    /// List every variable with type, default and meaning
    Config(ConfigArgs),
    /// Show the rollout bucket of user keys
    Bucket(BucketArgs),
    /// Show the validator's reports, what the flight recorder saved at a trip, and what drills have shown
    Report(ReportArgs),
    /// Find messages of the spool that are no rows of the table, and post them
    Reconcile(ReconcileArgs),
    /// Look at what waits on disk: `ls`, `export`
    Spool(SpoolArgs),
    /// Play exported sessions against a test service (executes what clients sent, once more), or into a topic
    Replay(ReplayArgs),
    /// Say what becomes of a message, or which lane an upgrade would get, and why
    Explain(ExplainArgs),
    /// Run a Realtime-compatible server for development and tests
    Emulator(crate::emulator::cli::Options),
    /// Answer a Kubernetes API server that asks what to add to pods: the sidecar (admission webhook)
    Inject,
}

/// Where a command writes.
pub struct Streams<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// Everything else.
    pub err: &'a mut dyn Write,
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

impl Streams<'_> {
    /// Answers a question. A reader that has gone away (`crossfade config | head`) is no failure.
    fn answer(&mut self, text: &str) -> Exit {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Unavailable,
            _ => Exit::Fine,
        }
    }

    /// Says why a command ends early. When even standard error is gone, the exit code has to do.
    fn refuse(&mut self, exit: Exit, why: &dyn std::fmt::Display) -> Exit {
        writeln!(self.err, "crossfade: {why}").map_or(exit, |()| exit)
    }
}

/// Runs the command that `args` (with the program's name first) ask for.
pub fn main<I>(args: I, strings: &Strings, streams: &mut Streams<'_>) -> Exit
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, streams),
    };
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run::run(strings, streams),
        Command::Demo(args) => demo::run(&args, streams),
        Command::Drain(args) => drain::run(&args, strings, streams),
        Command::Drill(args) => drill::run(&args, strings, streams),
        Command::Plan(args) => plan::run(&args, strings, streams),
        Command::Health(args) => health::run(args, strings, streams),
        Command::Check(args) => check::run(&args, strings, streams),
        Command::Config(args) => list::run(&args, streams),
        Command::Bucket(args) => bucket::run(&args, strings, streams),
        Command::Report(args) => report::run(&args, strings, streams),
        Command::Reconcile(args) => reconcile::run(&args, strings, streams),
        Command::Spool(args) => spool::run(&args, strings, streams),
        Command::Replay(args) => replay::run(&args, strings, streams),
        Command::Explain(args) => explain::run(&args, strings, streams),
        Command::Emulator(args) => emulator::run(args, streams),
        Command::Inject => inject::run(strings, streams),
    }
}

fn usage(error: &clap::Error, streams: &mut Streams<'_>) -> Exit {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => streams.answer(&text),
        _ => write!(streams.err, "{text}").map_or(Exit::Config, |()| Exit::Config),
    }
}
