//! `crossfade emulator`: a Realtime-compatible server for development and tests.
//! The room `emulator` is the server and declares the arguments; this is its place on the command line.

use super::run::{Chain, asked_to_stop};
use super::{Exit, Streams};
use crate::emulator::cli::{self, Options};

pub(super) fn run(options: Options, streams: &mut Streams<'_>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return streams.refuse(Exit::Unavailable, &error),
    };
    let mut out = std::io::stdout();
    let served = runtime.block_on(cli::run(options, &mut out, async {
        asked_to_stop().await;
    }));
    match served {
        Ok(()) => Exit::Fine,
        Err(error) => streams.refuse(Exit::Unavailable, &Chain(&error)),
    }
}
