//! Sessions against a service: each on a socket of its own, which says what its client said when it was said.

use std::error::Error as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::UnixTime;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::read::Session;
use super::{Progress, ReplayArgs, Stop, is_here};
use crate::proxy::tls::{Named, UpstreamFiles};
use crate::proxy::{ConnectionError, Dialer, Fault, Target, Tcp};

/// The service's time to answer our close.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// Name, connection and TLS, and then the upgrade, each.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Where the service is.
pub(super) struct Place {
    url: url::Url,
    dialer: Dialer,
}

impl Place {
    pub(super) fn new(args: &ReplayArgs) -> Result<Self, Stop> {
        let wrong = || {
            let example = "--to is not a ws:// or wss:// URL, for example --to ws://127.0.0.1:8080";
            Stop::Config(example.to_owned())
        };
        let url = args.to.clone().filter(|url| matches!(url.scheme(), "ws" | "wss")).ok_or_else(wrong)?;
        let mut bare = url.clone();
        bare.set_path("/");
        bare.set_query(None);
        let target =
            Target::with_path(bare.as_str()).map_err(|error| Stop::Config(format!("--to: {error}")))?;
        let roots = match &args.ca {
            None => None,
            Some(_) if !target.tls() => {
                return Err(Stop::Config("--ca is for wss://, and --to is ws://".to_owned()));
            }
            Some(path) => {
                let ca = Named { variable: "--ca", path: path.clone() };
                let read = UpstreamFiles { ca: Some(ca), pair: None }.open(UnixTime::now());
                let said = |problem: &crate::proxy::tls::TlsProblem| problem.to_string();
                Some(read.map_err(|all| Stop::Config(all.iter().map(said).collect::<Vec<_>>().join("; ")))?)
            }
        };
        if !is_here(&url, "--to")? && !args.yes_execute_these_messages_again {
            let why = "--to is not this machine. A replay executes what users once did: orders are placed, messages are \
                       sent, once more. If that is a test service and it is wanted, add \
                       --yes-execute-these-messages-again";
            return Err(Stop::Config(why.to_owned()));
        }
        let dialer = Dialer::new(target, roots, CONNECT_WITHIN, Tcp::default())
            .map_err(|error| Stop::Config(format!("--to: {error}")))?;
        Ok(Self { url, dialer })
    }
}

/// Plays them all.
pub(super) async fn play(place: Place, sessions: Vec<Session>, speed: f64, progress: &Progress) {
    let (place, begin) = (&place, Instant::now());
    let one = |session| async move {
        if let Err(why) = one(place, session, (begin, speed), progress).await {
            progress.failed(why);
        }
        progress.ended.fetch_add(1, Ordering::Relaxed);
    };
    sessions.into_iter().map(one).collect::<FuturesUnordered<_>>().collect::<()>().await;
}

/// Plays one session; the error says what went wrong, and nothing of a message.
async fn one(
    place: &Place,
    session: Session,
    (begin, speed): (Instant, f64),
    progress: &Progress,
) -> Result<(), String> {
    let mut to = place.url.clone();
    if to.path() == "/" {
        to.set_path(&session.path);
    }
    let due = |ms: u64| begin + Duration::from_secs_f64(ms as f64 / 1000.0 / speed);
    tokio::time::sleep_until(due(session.says.first().map_or(0, |(at, _)| *at))).await;
    let stream = place.dialer.dial().await.map_err(|error| not_reached(&error))?;
    let upgrade = tokio_tungstenite::client_async(to.as_str(), stream);
    let upgraded = tokio::time::timeout(CONNECT_WITHIN, upgrade).await;
    let (socket, _) =
        upgraded.map_err(|_| Fault::UpgradeTimeout.sentence())?.map_err(|error| not_upgraded(&error))?;
    let (mut write, mut read) = socket.split();
    let listen = async {
        while let Some(Ok(message)) = read.next().await {
            let data = message.is_text() || message.is_binary();
            progress.answered.fetch_add(u64::from(data), Ordering::Relaxed);
        }
    };
    let cut = || "the service ended the session early".to_owned();
    let talk = async {
        for (at, message) in session.says {
            tokio::time::sleep_until(due(at)).await;
            write.send(message).await.map_err(|_| cut())?;
            progress.sent.fetch_add(1, Ordering::Relaxed);
        }
        write.send(Message::Close(None)).await.map_err(|_| cut())
    };
    let mut listen = std::pin::pin!(listen);
    tokio::select! {
        said = talk => said?,
        () = &mut listen => return Err(cut()),
    }
    // What it still says after our close; a service that does not answer it is no failure of the replay.
    tokio::time::timeout(CLOSE_WAIT, listen).await.or(Ok(()))
}

fn not_reached(error: &ConnectionError) -> String {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    let tls = io.and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("the service's certificate is not trusted ({why}); --ca FILE names who vouches for it")
        }
        _ => error.fault.sentence().to_owned(),
    }
}

fn not_upgraded(error: &WsError) -> String {
    match error {
        WsError::Http(response) => {
            format!("the service answers the upgrade with {}", response.status().as_u16())
        }
        _ => "the service's answer to the upgrade is no WebSocket".to_owned(),
    }
}
