//! One HTTP request on a connection of its own, with or without asking for a WebSocket.
//! Of the answer only the status, the date and the rate limit are kept, and of a small body what is judged.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, DATE, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::doctor::judge::Answer;
use crate::doctor::judge_rows::Reply;
use crate::proxy::{self, Dialer, Io, Target, Tcp};

/// Nobody checks that it is random, and here nothing depends on it (RFC 6455 section 1.3 uses the same).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Most of a body that is looked at.
const BODY_MAX: usize = 64 * 1024;

/// Asks `target` for `path`.
///
/// `own` is the proxy's own way to the service; without it the way is made from the target alone.
pub(super) async fn ask(
    own: Option<&proxy::Config>,
    target: Target,
    path: &str,
    upgrade: bool,
    patience: Duration,
) -> Answer {
    let host = target.host_field();
    let request = Request::get(path).header(HOST, host);
    let request = if upgrade {
        request
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, KEY)
    } else {
        request.header(CONNECTION, "close")
    };
    let Ok(request) = request.body(Empty::new()) else {
        return Answer::Unreachable(format!("{path:?} is not a path"));
    };
    let tls = own.and_then(|own| own.upstream_tls.clone());
    let dialer = match Dialer::new(target, tls, patience, Tcp::default()) {
        Ok(dialer) => dialer
            .named(own.and_then(|own| own.upstream_name.clone()))
            .announcing(own.and_then(|own| own.announce)),
        Err(error) => return Answer::Unreachable(error.to_string()),
    };
    let io = match dialer.dial().await {
        Ok(io) => io,
        Err(error) => return Answer::Unreachable(error.to_string()),
    };
    tokio::time::timeout(patience, exchange(io, request)).await.ok().flatten().unwrap_or(Answer::NoHttp)
}

/// Sends one request to `url`; nothing when no HTTP comes back.
pub(super) async fn send(
    (method, url): (&str, &str),
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    patience: Duration,
) -> Option<Reply> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let target = Target::with_path(place).ok()?;
    let path = if query.is_empty() { target.path().to_owned() } else { format!("{}?{query}", target.path()) };
    let mut request = Request::builder().method(method).uri(path).header(CONNECTION, "close");
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header(HOST, target.host_field());
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(body)).ok()?;
    let exchange = async {
        let io = Dialer::new(target, None, patience, Tcp::default()).ok()?.dial().await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.ok()?;
        let answered = async {
            let answer = sender.send_request(request).await.ok()?;
            let (status, rate) = (answer.status().as_u16(), answer.headers().get("x-rate-limit").cloned());
            let rate = rate.and_then(|rate| rate.to_str().ok()?.parse().ok());
            let body = Limited::new(answer.into_body(), BODY_MAX).collect().await.ok()?.to_bytes();
            Some(Reply { status, rate, body: String::from_utf8_lossy(&body).into_owned() })
        };
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            biased;
            reply = &mut answered => reply,
            _ = connection => answered.await,
        }
    };
    tokio::time::timeout(patience, exchange).await.ok().flatten()
}

async fn exchange(io: Io, request: Request<Empty<Bytes>>) -> Option<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.ok()?;
    let mut asked = std::pin::pin!(sender.send_request(request));
    // The connection may end with the answer: then the answer waits already.
    let answer = tokio::select! {
        biased;
        answer = &mut asked => answer,
        _ = connection.with_upgrades() => asked.await,
    };
    let answer = answer.ok()?;
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
    Some(Answer::Http { status: answer.status().as_u16(), date })
}

/// For other commands: status and body of one request; nothing when no HTTP comes back.
pub(crate) async fn request_once(
    place: (&str, &str),
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    patience: Duration,
) -> Option<(u16, String)> {
    send(place, headers, body, patience).await.map(|reply| (reply.status, reply.body))
}
