//! The trip at scale: so many hot sessions under load, Realtime stops delivering, everybody is back on legacy.
//!
//! ```text
//! cargo run --release --example trip -- --sessions 9000
//! ```
//!
//! Service, sidecar (the real binary), Realtime emulator and clients are processes of their own. Service and
//! clients each keep a log of what they wrote and read; whether anything was lost, doubled or reordered is decided
//! by comparing these logs, and whether a socket was closed is the clients' word. Crossfade's own counters only say
//! when to go on, and give the times. Times are printed and never judged.
//!
//! Exit codes: 0 the promise held; 64 wrong arguments; 69 it could not be tried, for example for want of open
//! files; 70 a broken promise.

mod child;
mod ends;
mod oracle;
mod play;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Puts hot sessions under load, takes Realtime away, and checks that nobody notices.
#[derive(Debug, Parser)]
#[command(name = "trip")]
pub(crate) struct Options {
    /// Hot sessions
    #[arg(long, default_value_t = 9_000, value_name = "NUMBER")]
    sessions: usize,
    /// Messages a second that the service writes, all sessions together; clients send a tenth of it
    #[arg(long, default_value_t = 2_000, value_name = "NUMBER")]
    rate: usize,
    /// Seconds of load before and after the trip
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    load: usize,
    /// Longest wait for any step; a bound for a hang, not for a good result
    #[arg(long, default_value_t = 240, value_name = "SECONDS")]
    patience: u64,
    /// The binary, instead of the one that cargo builds in the same profile
    #[arg(long, value_name = "FILE")]
    crossfade: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The other processes of the play; started by the first one.
#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// The legacy service
    #[command(hide = true)]
    Service(ends::Part),
    /// Every client
    #[command(hide = true)]
    Clients(ends::Part),
    /// Realtime
    #[command(hide = true)]
    Emulator,
}

/// Why it ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be tried.
    Unavailable(String),
    /// A promise is broken.
    Broken(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let help = !error.use_stderr();
            return error.print().map_or(ExitCode::from(69), |()| ExitCode::from(if help { 0 } else { 64 }));
        }
    };
    let done = match options.role.clone() {
        None => play::play(&options),
        Some(Role::Service(part)) => ends::service(part),
        Some(Role::Clients(part)) => ends::clients(part),
        Some(Role::Emulator) => ends::emulator(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Unavailable(why)) => {
            eprintln!("trip: {why}");
            ExitCode::from(69)
        }
        Err(Failure::Broken(why)) => {
            eprintln!("trip: BROKEN: {why}");
            ExitCode::from(70)
        }
    }
}

/// The clock of a program that measures time.
#[expect(clippy::disallowed_methods, reason = "this program measures time")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}
