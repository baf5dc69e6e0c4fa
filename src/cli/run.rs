//! `crossfade run`: configuration, log, TLS provider, then the proxy.
//! Everything that can be wrong with the settings is said before a port is bound.

use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Exit, Streams};
use crate::app::{self, App, Hand, StartError, Tuning};
use crate::config::{Config, Strings};
use crate::proxy::{DrainPlan, DrainReport, handed_over};
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
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return streams.refuse(Exit::Unavailable, &error),
    };
    let report = match runtime.block_on(live(handed, config)) {
        Ok(report) => report,
        Err(error) => {
            let exit = if matches!(error, StartError::Setting(_)) { Exit::Config } else { Exit::Unavailable };
            return streams.refuse(exit, &Chain(&error));
        }
    };
    tracing::info!(
        took_ms = millis(report.took),
        sessions_cut = report.sessions_left,
        requests_cut = report.plain_left,
        "stopped"
    );
    Exit::Fine
}

/// From the start to the end of the drain. Signals are heard from before the first client: while the start still waits
/// for a disk, a SIGTERM must not cut off who is served already.
async fn live(handed: Option<TcpListener>, config: &Config) -> Result<DrainReport, StartError> {
    let (mut stop, mut switch) = (Stop::listen(), Switch::listen());
    tracing::info!(service = %config.service, upstream = %config.proxy.upstream, "configuration is fine");
    let mut starting = pin!(start(handed, config.clone()));
    let grace = config.drain.grace;
    let (app, early) = tokio::select! {
        biased;
        app = &mut starting => (app?, None),
        signal = stop.asked() => {
            tracing::info!(signal, "asked to stop; the start is waited for");
            let asked = Instant::now();
            let app = tokio::time::timeout(grace, starting).await.map_err(|_| StartError::Late)?;
            (app?, Some((signal, grace.saturating_sub(asked.elapsed()))))
        }
    };
    let (signal, left) = match early {
        Some(early) => early,
        None => tokio::select! {
            signal = stop.asked() => (signal, grace),
            () = app.drain_asked() => ("POST /drain", grace),
            never = switch.follow(&app) => match never {},
        },
    };
    let plan = DrainPlan { settle: config.drain.settle.min(left), finish: left / 4, grace: left };
    tracing::info!(signal, grace_ms = millis(left), "draining");
    Ok(app.drain(plan).await)
}

/// Starts everything on a thread of its own, so that signals are heard meanwhile. It is no thread of the runtime's:
/// that would be waited for, whatever it hangs on.
async fn start(handed: Option<TcpListener>, config: Config) -> Result<App, StartError> {
    let (told, started) = oneshot::channel();
    let life = move || drop(told.send(App::start_on(handed, &config, &Tuning::default())));
    let thread =
        std::thread::Builder::new().name("start".to_owned()).spawn(life).map_err(StartError::Thread)?;
    match started.await {
        Ok(app) => app,
        // It has panicked, and so do we.
        Err(_) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Err(StartError::Late),
        },
    }
}

/// SIGUSR1 puts everybody on legacy, SIGUSR2 ends that.
struct Switch(Option<(Signal, Signal)>);

impl Switch {
    /// From now on neither ends the process.
    fn listen() -> Self {
        let both = signal(SignalKind::user_defined1()).ok().zip(signal(SignalKind::user_defined2()).ok());
        if both.is_none() {
            tracing::error!("SIGUSR1 and SIGUSR2 cannot be received: no emergency switch by signal");
        }
        Self(both)
    }

    async fn follow(&mut self, app: &App) -> std::convert::Infallible {
        let Some((on, off)) = &mut self.0 else { return std::future::pending().await };
        loop {
            tokio::select! {
                _ = on.recv() => app.emergency(Hand::Signal, true),
                _ = off.recv() => app.emergency(Hand::Signal, false),
            }
        }
    }
}

/// SIGTERM and SIGINT.
struct Stop(Option<(Signal, Signal)>);

impl Stop {
    /// From now on both are kept until they are asked for.
    fn listen() -> Self {
        let both = signal(SignalKind::terminate()).ok().zip(signal(SignalKind::interrupt()).ok());
        if both.is_none() {
            tracing::error!("signals cannot be received; only SIGKILL will stop this process");
        }
        Self(both)
    }

    async fn asked(&mut self) -> &'static str {
        let Some((term, int)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub(super) async fn asked_to_stop() -> &'static str {
    Stop::listen().asked().await
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
