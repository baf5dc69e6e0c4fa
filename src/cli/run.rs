//! `crossfade run`: configuration, log, TLS provider, then the proxy.
//! Everything that can be wrong with the settings is said before a port is bound.

use super::{Exit, Streams};
use crate::config::{Config, Strings};
use crate::telemetry;

pub(super) fn run(strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let config = match Config::load(strings) {
        Ok(config) => config,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    if let Err(error) = telemetry::init(&config.log) {
        return streams.refuse(Exit::Bug, &error);
    }
    for notice in config.notices() {
        tracing::info!("{notice}");
    }
    serve(&config, streams)
}

/// The one place where the proxy is started.
fn serve(config: &Config, streams: &mut Streams<'_>) -> Exit {
    tracing::info!(service = %config.service, upstream = %config.proxy.upstream, "configuration is fine");
    streams.refuse(Exit::Unavailable, &"the proxy is not in this build")
}
