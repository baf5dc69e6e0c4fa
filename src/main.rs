//! The binary: environment and arguments in, exit code out. Everything else is the library's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crossfade::cli::{self, Exit, Look, Streams};
use crossfade::config::Strings;
use crossfade::telemetry;

fn main() -> ExitCode {
    // Rustls takes its cryptography from the process; docs/decisions/0004-tls-provider.md says why it is ring.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Exit::Bug.into();
    }
    let strings = Strings::from_env();
    // Unlocked streams: the log's thread writes to standard error too.
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut streams = Streams::new(&mut out, &mut err);
    (streams.out_look, streams.err_look) = (Look::of_stdout(), Look::of_stderr());
    let run = || cli::main(std::env::args_os(), &strings, &mut streams);
    let exit = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Exit::Bug);
    telemetry::flush();
    exit.into()
}
