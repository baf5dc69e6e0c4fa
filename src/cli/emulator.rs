//! `crossfade emulator`: a Realtime-compatible server for development and tests.
//! Only the arguments live here; the room `emulator` is the server.

use std::net::SocketAddr;

use clap::Args;

use super::{Exit, Streams};

/// Arguments of `emulator`.
#[derive(Clone, Debug, Args)]
pub struct EmulatorArgs {
    /// Where clients connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4000")]
    pub listen: SocketAddr,
}

pub(super) fn run(args: &EmulatorArgs, streams: &mut Streams<'_>) -> Exit {
    tracing::debug!(?args, "emulator");
    streams.refuse(Exit::Unavailable, &"the emulator is not in this build")
}
