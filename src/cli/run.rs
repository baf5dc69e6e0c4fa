//! `crossfade run`: configuration, log, TLS provider, then the proxy.
//! Everything that can be wrong with the settings is said before a port is bound.

use std::time::Duration;

use super::{Exit, Streams};
use crate::app::{self, App, Hand, StartError, Tuning};
use crate::config::{Config, Strings};
use crate::proxy::{DrainPlan, handed_over};
use crate::telemetry;

pub(super) fn run(strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let config = match app::load(strings) {
        Ok(config) => config,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    if let Err(error) = telemetry::init(&config.log, streams.err_look.colours) {
        return streams.refuse(Exit::Bug, &error);
    }
    for notice in config.notices() {
        tracing::info!("{notice}");
    }
    serve(&config, streams)
}

/// The one place where the proxy is started.
fn serve(config: &Config, streams: &mut Streams<'_>) -> Exit {
    let handed = match handed_over() {
        Ok(handed) => handed,
        Err(error) => return streams.refuse(Exit::Config, &Chain(&error)),
    };
    if handed.is_some() {
        tracing::info!("the listener was handed over: CROSSFADE_LISTEN is not used");
    }
    tracing::info!(service = %config.service, upstream = %config.proxy.upstream, "configuration is fine");
    let app = match App::start_on(handed, config, &Tuning::default()) {
        Ok(app) => app,
        Err(error) => {
            let exit = if matches!(error, StartError::Setting(_)) { Exit::Config } else { Exit::Unavailable };
            return streams.refuse(exit, &Chain(&error));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return streams.refuse(Exit::Unavailable, &error),
    };
    let grace = config.drain.grace;
    let plan = DrainPlan { settle: config.drain.settle.min(grace), finish: grace / 4, grace };
    let report = runtime.block_on(async move {
        let signal = tokio::select! {
            signal = asked_to_stop() => signal,
            () = app.drain_asked() => "POST /drain",
            never = follow_switch(&app) => match never {},
        };
        tracing::info!(signal, grace_ms = millis(grace), "draining");
        app.drain(plan).await
    });
    tracing::info!(
        took_ms = millis(report.took),
        sessions_cut = report.sessions_left,
        requests_cut = report.plain_left,
        "stopped"
    );
    Exit::Fine
}

/// SIGUSR1 puts everybody on legacy, SIGUSR2 ends that.
async fn follow_switch(app: &App) -> std::convert::Infallible {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut on), Ok(mut off)) =
        (signal(SignalKind::user_defined1()), signal(SignalKind::user_defined2()))
    else {
        tracing::error!("SIGUSR1 and SIGUSR2 cannot be received: no emergency switch by signal");
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = on.recv() => app.emergency(Hand::Signal, true),
            _ = off.recv() => app.emergency(Hand::Signal, false),
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub(super) async fn asked_to_stop() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; only SIGKILL will stop this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An error with its causes on one line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
