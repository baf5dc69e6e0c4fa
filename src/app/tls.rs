//! TLS from the environment's words: which files are read, and who looks at them again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;

use crate::admin::Snapshot;
use crate::config::{self, Config};
use crate::proxy::tls::{
    ClientAuth, Handshake, LOOK_EVERY, Live, Look, Named, ServerFiles, TlsCounters, TlsProblem, TlsVersion,
    UpstreamFiles,
};
use crate::proxy::{Count, Shared};

/// Both sides, each where it is configured.
pub(super) struct Sides {
    pub(super) clients: Option<Arc<Live<rustls::ServerConfig>>>,
    pub(super) upstream: Option<Arc<Live<rustls::ClientConfig>>>,
}

fn named(variable: &'static str, path: &str) -> Named {
    Named { variable, path: path.into() }
}

/// Reads every file that the configuration names.
///
/// # Errors
/// Every problem of every file.
pub(super) fn open(config: &Config) -> Result<Sides, Vec<TlsProblem>> {
    let tls = &config.tls;
    let now = now();
    let clients = (!tls.pairs.is_empty()).then(|| {
        let auth = match tls.client_auth {
            config::ClientAuth::Required => ClientAuth::Required,
            config::ClientAuth::Optional => ClientAuth::Optional,
        };
        let pairs = tls.pairs.iter();
        let files = ServerFiles {
            pairs: pairs
                .map(|(cert, key)| (named("CROSSFADE_TLS_CERT", cert), named("CROSSFADE_TLS_KEY", key)))
                .collect(),
            http2: tls.http2,
            client_ca: tls.client_ca.as_ref().map(|ca| (named("CROSSFADE_TLS_CLIENT_CA", ca), auth)),
        };
        files.open(now)
    });
    let upstream = (tls.upstream_ca.is_some() || tls.upstream_pair.is_some()).then(|| {
        let pair = tls.upstream_pair.as_ref();
        let files = UpstreamFiles {
            ca: tls.upstream_ca.as_ref().map(|ca| named("CROSSFADE_UPSTREAM_CA", ca)),
            pair: pair.map(|(cert, key)| {
                (named("CROSSFADE_UPSTREAM_CERT", cert), named("CROSSFADE_UPSTREAM_KEY", key))
            }),
        };
        files.open(now)
    });
    match (clients.transpose(), upstream.transpose()) {
        (Ok(clients), Ok(upstream)) => Ok(Sides { clients, upstream }),
        (clients, upstream) => {
            let both = [clients.err(), upstream.err()];
            Err(both.into_iter().flatten().flatten().collect())
        }
    }
}

/// Looks at the files for as long as the process lives. The disk is waited for on a thread of its own: the breaker,
/// on the thread that calls this, must never wait for one.
pub(super) async fn keep(shared: Arc<Shared>) {
    let clients = shared.config.tls.clone();
    let upstream = shared.config.upstream_tls.clone();
    if clients.is_none() && upstream.is_none() {
        return;
    }
    for problem in clients
        .iter()
        .flat_map(|live| live.warnings())
        .chain(upstream.iter().flat_map(|live| live.warnings()))
    {
        tracing::warn!(
            variable = problem.variable,
            problem = problem.sentence(),
            "certificate is used all the same"
        );
    }
    let mut turn = tokio::time::interval(LOOK_EVERY);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        let (clients, upstream) = (clients.clone(), upstream.clone());
        let looked = tokio::task::spawn_blocking(move || {
            (clients.map(|live| live.look(now())), upstream.map(|live| live.look(now())))
        });
        let Ok((clients, upstream)) = looked.await else { return };
        tell("clients", clients, &shared.counters.tls);
        tell("service", upstream, shared.upstream.figures());
    }
}

fn tell(side: &'static str, look: Option<Look>, figures: &TlsCounters) {
    match look {
        None | Some(Look::Same) => {}
        Some(Look::Applied) => {
            figures.reloaded.add();
            tracing::info!(side, "TLS files have changed: new connections use them");
        }
        Some(Look::Restored) => tracing::info!(side, "TLS files are as they were"),
        Some(Look::Refused(problems)) => {
            figures.refused.add();
            for problem in problems {
                tracing::error!(
                    side,
                    variable = problem.variable,
                    problem = problem.sentence(),
                    "TLS files have changed and cannot be used: the last good ones stay in use"
                );
            }
        }
    }
}

/// What the metrics show of both sides.
pub(super) fn figures(shared: &Shared) -> Snapshot {
    let (clients, upstream) = (&shared.counters.tls, shared.upstream.figures());
    let outcomes = |side: &TlsCounters| {
        Handshake::ALL.map(|outcome| (outcome.as_str(), side.outcome(outcome).value())).to_vec()
    };
    let both = |of: fn(&TlsCounters) -> &Count| of(clients).value() + of(upstream).value();
    let expires = [
        shared.config.tls.as_ref().and_then(|live| live.expires()),
        shared.config.upstream_tls.as_ref().and_then(|live| live.expires()),
    ];
    Snapshot {
        handshakes: outcomes(clients),
        tls_versions: TlsVersion::ALL
            .map(|version| (version.as_str(), clients.version(version).value()))
            .to_vec(),
        upstream_handshakes: outcomes(upstream),
        tls_reloads: vec![("applied", both(|side| &side.reloaded)), ("refused", both(|side| &side.refused))],
        tls_expires: expires.into_iter().flatten().min(),
        ..Snapshot::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the wall clock")]
fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixTime::since_unix_epoch(since)
}
