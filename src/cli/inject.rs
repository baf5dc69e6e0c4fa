//! `crossfade inject`: settings and files first, then the webhook until it is told to stop.
//! The room `inject` decides and answers.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::run::{Chain, asked_to_stop};
use super::{Exit, Streams};
use crate::admin;
use crate::config::{Inject, Strings};
use crate::inject::server::{self, Watched, Webhook};
use crate::telemetry;

/// A listener that could not be, and why.
type Unheard = (SocketAddr, std::io::Error);

pub(super) fn run(strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let config = match Inject::load(strings) {
        Ok(config) => config,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    if let Err(error) = telemetry::init(&config.log, streams.err_look.colours) {
        return streams.refuse(Exit::Bug, &error);
    }
    let (webhook, watched) = match server::open(&config) {
        Ok(opened) => opened,
        Err(problems) => return streams.refuse(Exit::Config, &problems.join("\ncrossfade: ")),
    };
    // One thread: questions are judged one after the other, which bounds the memory that they take.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return streams.refuse(Exit::Unavailable, &error),
    };
    match runtime.block_on(serve(&config, webhook, watched)) {
        Ok(()) => Exit::Fine,
        Err((listen, error)) => streams
            .refuse(Exit::Unavailable, &format_args!("{listen} cannot be listened on: {}", Chain(&error))),
    }
}

async fn bound(listen: SocketAddr, name: &'static str) -> Result<TcpListener, Unheard> {
    let listener = TcpListener::bind(listen).await.map_err(|error| (listen, error))?;
    let addr = listener.local_addr().map_err(|error| (listen, error))?;
    tracing::info!(listener = name, %addr, "listening");
    Ok(listener)
}

async fn serve(config: &Inject, webhook: Webhook, watched: Watched) -> Result<(), Unheard> {
    let metrics = bound(config.metrics, "metrics").await?;
    let listener = bound(config.listen, "inject").await?;
    let stop = async {
        let signal = asked_to_stop().await;
        tracing::info!(signal, "stopping");
        // The API server still sends questions here until the Service's endpoints have followed.
        tokio::time::sleep(config.settle).await;
    };
    tokio::select! {
        () = webhook.clone().serve(listener, stop) => {}
        // Until the last answer is given.
        () = admin::serve(metrics, webhook.metrics_router(), std::future::pending()) => {}
        never = webhook.keep(watched) => match never {},
    }
    tracing::info!("stopped");
    Ok(())
}
