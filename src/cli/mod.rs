//! The command line: what was typed becomes one call.
//!
//! **Problem.** Operators meet this program through its exit code and the first line on standard error.
//!
//! **Decision.** Settings come from the environment (`config`), so commands have few arguments and `crossfade`
//! alone means `run`. [`main`] takes arguments, environment and output streams as values and returns an [`Exit`],
//! so that tests need no process. A configuration error ends with 64 before a port is bound. One file per command.
//!
//! **Streams.** What was asked for goes to standard output; everything else, the log included, to standard error. Under
//! `--json` standard output has JSON whatever happens: the answer, or `{"error":{"exit":69,"message":"…"}}`; standard
//! error has the same words as text. Colours are `look`'s business, alone.
//!
//! **Limits.** A command that this build does not carry says so and ends with 69. Commands that need a running
//! process are not declared before they exist.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{FromArgMatches as _, Parser, Subcommand};

use crate::config::Strings;
use look::Tone;

mod ask;
mod bucket;
mod check;
mod completions;
mod demo;
mod drain;
mod drill;
mod emulator;
mod explain;
mod graduation;
mod health;
mod help;
mod inject;
mod list;
mod look;
mod plan;
mod progress;
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
pub use completions::{CompletionsArgs, ManArgs};
pub use demo::{DemoArgs, Fault};
pub use drain::DrainArgs;
pub use drill::DrillArgs;
pub use explain::ExplainArgs;
pub use health::HealthArgs;
pub use list::ConfigArgs;
pub use look::Look;
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
#[command(name = "crossfade", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

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
    /// Print a script that lets a shell complete commands and options
    Completions(CompletionsArgs),
    /// Print a manual page (roff)
    Man(ManArgs),
}

/// Where a command writes, and how it looks there.
pub struct Streams<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// Everything else.
    pub err: &'a mut dyn Write,
    /// How standard output is written.
    pub out_look: Look,
    /// How standard error is written.
    pub err_look: Look,
    /// `--json` was given: a command that ends early says so on standard output too.
    json: bool,
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

impl<'a> Streams<'a> {
    /// Streams that nobody looks at: without colours.
    #[must_use]
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, out_look: Look::PLAIN, err_look: Look::PLAIN, json: false }
    }

    /// Answers a question. A reader that has gone away (`crossfade config | head`) is no failure.
    fn answer(&mut self, text: &str) -> Exit {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Unavailable,
            _ => Exit::Fine,
        }
    }

    /// Says why a command ends early. When even standard error is gone, the exit code has to do.
    fn refuse(&mut self, exit: Exit, why: &dyn std::fmt::Display) -> Exit {
        if self.json {
            self.told(exit, why);
        }
        let name = self.err_look.paint(Tone::Bad, "crossfade:");
        writeln!(self.err, "{name} {why}").map_or(exit, |()| exit)
    }

    /// The reason for programs.
    fn told(&mut self, exit: Exit, why: &dyn std::fmt::Display) {
        let error = serde_json::json!({ "error": { "exit": exit.code(), "message": why.to_string() } });
        // What could not be said here is said on standard error.
        writeln!(self.out, "{error}").and_then(|()| self.out.flush()).unwrap_or_default();
    }

    /// Ends early where something that was asked for is not there.
    fn answered(&mut self, found: Result<String, (Exit, String)>) -> Exit {
        match found {
            Ok(text) => self.answer(&text),
            Err((exit, why)) => self.refuse(exit, &why),
        }
    }
}

/// Runs the command that `args` (with the program's name first) ask for.
pub fn main<I>(args: I, strings: &Strings, streams: &mut Streams<'_>) -> Exit
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let parsed = help::command().try_get_matches_from(&args);
    // Of a line that cannot be read, the word is all there is.
    streams.json = parsed.as_ref().map_or_else(|_| args.iter().any(|arg| arg == "--json"), wants_json);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
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
        Command::Completions(args) => completions::run(&args, streams),
        Command::Man(args) => completions::man(&args, streams),
    }
}

fn usage(error: &clap::Error, streams: &mut Streams<'_>) -> Exit {
    let text = |look: Look| {
        let text = error.render();
        if look.colours { text.ansi().to_string() } else { text.to_string() }
    };
    if let ErrorKind::DisplayHelp | ErrorKind::DisplayVersion = error.kind() {
        let text = text(streams.out_look);
        return streams.answer(&text);
    }
    if streams.json {
        let plain = error.render().to_string();
        let why = plain.trim().trim_start_matches("error: ");
        streams.told(Exit::Config, &why);
    }
    let text = text(streams.err_look);
    write!(streams.err, "{text}").map_or(Exit::Config, |()| Exit::Config)
}

/// Whether the command that was typed, or one below it, has `--json` and was given it.
fn wants_json(matches: &clap::ArgMatches) -> bool {
    let own = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false);
    own || matches.subcommand().is_some_and(|(_, below)| wants_json(below))
}
