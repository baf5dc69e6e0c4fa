//! The upgrade of the cold lane: answered by us, and not passed on.
//!
//! Who is let in, and what feeds the client, is decided behind a [`Door`]; what stands there is no part of the proxy.
//! A client that is let in gets a session like any other: behind its tunnel there is one end of a socket pair instead of
//! the service, so that counting, moving, closing and draining need no second form. Whatever goes wrong behind the door
//! leads to the service with a reason of [`Elsewhere`]; only a client that must not be served at all is refused.

use std::os::unix::net::UnixStream;

use bytes::Bytes;
use http::header::{
    CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot};

use super::body::{AnswerBody, ClientBody, ERROR_FIELD, empty, own, relay};
use super::connection::ClientSide;
use super::counters::UpgradeOutcome;
use super::error::{ConnectionError, Fault};
use super::exchange::Origin;
use super::handshake::{Asks, proves};
use super::headers::ask_for_websocket;
use super::io::Io;
use super::plain::clean_answer;
use super::spans::{self, Open};
use super::upgrade::{self, Answered, Service};
use super::verdict::{Follows, Lane, Verdict};
use super::watch::InFlight;
use crate::rollout::KeyHash;
use crate::ws;

/// Upgrades that wait at the door. More go to the service.
const KNOCKS_MAX: usize = 256;
/// The service's 101 is not used: its purpose is fulfilled (RFC 6455 section 7.4.1).
const CLOSE_NORMAL: u16 = 1000;
/// What a client that comes back is told.
const RESUME_FIELD: HeaderName = HeaderName::from_static("x-crossfade-resume");

/// Where upgrades of the cold lane are decided. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    knocks: mpsc::Sender<Knock>,
    /// The service is asked first, with the same upgrade.
    asks_service: bool,
}

/// An upgrade that wants in.
#[derive(Debug)]
pub struct Knock {
    /// The path.
    pub path: String,
    /// The query.
    pub query: String,
    /// The client's fields.
    pub headers: HeaderMap,
    /// Whose it is, so that a client that comes back is known.
    pub key: Option<KeyHash>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Word>,
}

/// The answer.
#[derive(Debug)]
pub enum Word {
    /// Come in.
    Come(Seat),
    /// The lane cannot serve it now: the service shall.
    Elsewhere(Elsewhere),
    /// It must not be served.
    Refused(Refused),
}

/// What a session of the cold lane is fed from.
#[derive(Debug)]
pub struct Seat {
    /// The other end speaks WebSocket as a server does. Non-blocking.
    pub socket: UnixStream,
    /// The subprotocol that is spoken.
    pub subprotocol: Option<String>,
    /// What the client is told about what it missed.
    pub resume: &'static str,
}

/// Why the service gets an upgrade that was to be cold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elsewhere {
    /// `CROSSFADE_COLD_AUTH` or what it needs is not set.
    NotConfigured,
    /// As many sessions or topics as there may be.
    Full,
    /// The topic was not joined in time.
    NotReady,
    /// No topic comes of this upgrade.
    NoTopic,
    /// The thread behind the door has ended, or does not keep up.
    Gone,
}

impl Elsewhere {
    /// Every reason, in label order.
    pub const ALL: [Self; 5] = [Self::NotConfigured, Self::Full, Self::NotReady, Self::NoTopic, Self::Gone];

    /// The session's reason and the metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "cold_not_configured",
            Self::Full => "cold_full",
            Self::NotReady => "cold_not_ready",
            Self::NoTopic => "cold_no_topic",
            Self::Gone => "cold_gone",
        }
    }
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Its page is not on the list of origins.
    Origin,
    /// No token, or none that is accepted.
    Token,
    /// The policies do not let it read its topic.
    Denied,
    /// It wants presence.
    Presence,
}

impl Refused {
    /// Every reason, in label order.
    pub const ALL: [Self; 4] = [Self::Origin, Self::Token, Self::Denied, Self::Presence];

    /// `x-crossfade-error` and the metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "cold_origin",
            Self::Token => "cold_token",
            Self::Denied => "cold_denied",
            Self::Presence => "cold_presence",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Origin | Self::Denied => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Presence => StatusCode::NOT_IMPLEMENTED,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Origin => "Pages of this origin may not connect.",
            Self::Token => "A valid token is needed.",
            Self::Denied => "This token may not read that topic.",
            Self::Presence => "Presence is not supported here; connect without it.",
        }
    }

    fn answer(self, in_flight: InFlight) -> Response<AnswerBody> {
        let text = format!("crossfade: {} ({})\n", self.sentence(), self.as_str());
        let mut answer = Response::new(own(Bytes::from(text), in_flight));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(ERROR_FIELD, HeaderValue::from_static(self.as_str()));
        if self == Self::Token {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl Door {
    /// A door, and the end at which knocks are heard.
    #[must_use]
    pub fn new(asks_service: bool) -> (Self, mpsc::Receiver<Knock>) {
        let (knocks, heard) = mpsc::channel(KNOCKS_MAX);
        (Self { knocks, asks_service }, heard)
    }

    async fn knock(&self, parts: &Parts, key: Option<KeyHash>) -> Word {
        let (answer, answered) = oneshot::channel();
        let knock = Knock {
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
            key,
            answer,
        };
        if self.knocks.try_send(knock).is_err() {
            return Word::Elsewhere(Elsewhere::Gone);
        }
        answered.await.unwrap_or(Word::Elsewhere(Elsewhere::Gone))
    }
}

/// How an upgrade fared at the door.
pub(super) enum Outcome {
    /// It is answered.
    Answered(Box<Answered>),
    /// The service gets it.
    Elsewhere(Elsewhere),
}

/// What of the upgrade the session keeps besides its path: the client's address, trace and span.
pub(super) type Whence<'a> = (std::net::SocketAddr, &'a mut Origin);

/// Knocks for a client, and answers it if it gets in or is refused.
///
/// # Errors
/// What went wrong with the service, where it is asked, or with the hand-over.
pub(super) async fn enter(
    client: &ClientSide,
    parts: &Parts,
    (accept, whence): (&str, Whence<'_>),
    verdict: &Verdict,
) -> Result<Outcome, ConnectionError> {
    let config = &client.worker.shared.config;
    let Some(door) = &config.cold else { return Ok(Outcome::Elsewhere(Elsewhere::NotConfigured)) };
    let mut spoken = None;
    if door.asks_service {
        match ask_service(client, parts, accept, whence.1.span.as_deref()).await? {
            Agreed::Yes(subprotocol) => spoken = Some(subprotocol),
            Agreed::No(answer) => return Ok(Outcome::Answered(Box::new(Answered::Answer(*answer)))),
        }
    }
    let key = verdict.subject.as_ref().and_then(|subject| subject.key);
    // The door has a shorter limit of its own; this one is for a door that does not answer.
    let word = tokio::time::timeout(config.deadlines.upgrade, door.knock(parts, key)).await;
    match word.unwrap_or(Word::Elsewhere(Elsewhere::Gone)) {
        Word::Elsewhere(why) => Ok(Outcome::Elsewhere(why)),
        Word::Refused(why) => {
            client.worker.shared.counters.upgrades(UpgradeOutcome::Refused).add();
            let answer = why.answer(InFlight::enter(&client.watch));
            Ok(Outcome::Answered(Box::new(Answered::Answer(answer))))
        }
        Word::Come(mut seat) => {
            if let Some(subprotocol) = spoken {
                seat.subprotocol = subprotocol;
            }
            let path = parts.uri.path().to_owned();
            seated(client, seat, (accept, (path, whence.0, whence.1)), verdict)
                .map(|answered| Outcome::Answered(Box::new(answered)))
        }
    }
}

/// What the service says to an upgrade.
enum Agreed {
    /// A 101, with this subprotocol.
    Yes(Option<String>),
    /// Its refusal, to be relayed.
    No(Box<Response<AnswerBody>>),
}

/// Asks the service whether it would take the client: the same upgrade, without extensions, closed at once.
async fn ask_service(
    client: &ClientSide,
    parts: &Parts,
    accept: &str,
    span: Option<&Open>,
) -> Result<Agreed, ConnectionError> {
    let mut parts = parts.clone();
    parts.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    let asks = Asks::WebSocket { accept: accept.to_owned() };
    let passed = Verdict::LEGACY;
    let asked = upgrade::exchange(client, parts, ClientBody::Empty, &passed);
    let asked = upgrade::in_time(client, &asks, asked);
    let mut answer = spans::asked(span, client, passed.lane, asked).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        client.worker.shared.counters.upgrades(UpgradeOutcome::Refused).add();
        clean_answer(&mut answer)?;
        return Ok(Agreed::No(Box::new(relay(answer, InFlight::enter(&client.watch)))));
    }
    if !proves(answer.status(), answer.headers(), accept) {
        return Err(Fault::SwitchingInvalid.into());
    }
    let spoken = answer.headers().get(SEC_WEBSOCKET_PROTOCOL);
    let spoken = spoken.and_then(|name| name.to_str().ok()).map(str::to_owned);
    let (mut io, _) = upgrade::leave_http(&mut answer).await?;
    let goodbye = ws::close(CLOSE_NORMAL, "", Some(client.worker.mask_key()));
    // Whether it hears the close or only the end of the connection is all the same.
    drop(io.write_all(&goodbye).await);
    Ok(Agreed::Yes(spoken))
}

/// The 101, and the session behind it.
fn seated(
    client: &ClientSide,
    seat: Seat,
    (accept, origin): (&str, (String, std::net::SocketAddr, &mut Origin)),
    verdict: &Verdict,
) -> Result<Answered, ConnectionError> {
    let handover = |error: std::io::Error| ConnectionError::new(Fault::Handover, error);
    let socket = tokio::net::UnixStream::from_std(seat.socket).map_err(handover)?;
    let mut answer = Response::new(empty(InFlight::enter(&client.watch)));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    ask_for_websocket(headers);
    let value = |text: &str| HeaderValue::from_str(text).ok();
    let fields = [
        (SEC_WEBSOCKET_ACCEPT, value(accept)),
        (SEC_WEBSOCKET_PROTOCOL, seat.subprotocol.as_deref().and_then(value)),
        (RESUME_FIELD, Some(HeaderValue::from_static(seat.resume))),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    if client.worker.shared.config.lane_header {
        headers.insert(upgrade::LANE_FIELD, HeaderValue::from_static(Lane::Cold.as_str()));
    }
    // Nothing of it is mirrored, and it never becomes hot: no service speaks behind it.
    let verdict = Verdict { mirrored: false, follows: Follows::Never, ..verdict.clone() };
    let head = upgrade::session_head(client, answer.headers(), origin, &verdict)?;
    client.worker.shared.counters.upgrades(UpgradeOutcome::Tunnelled).add();
    let service = Service { upstream: Io::Unix(socket), upstream_early: Bytes::new(), head };
    Ok(Answered::Switched(answer, Box::new(service)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_words_of_their_own() {
        let mut words: Vec<_> = Elsewhere::ALL.iter().map(|why| why.as_str()).collect();
        words.extend(Refused::ALL.iter().map(|why| why.as_str()));
        assert!(words.iter().all(|word| word.starts_with("cold_")));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Elsewhere::ALL.len() + Refused::ALL.len());
        assert!(Refused::ALL.iter().all(|why| why.status().as_u16() >= 400));
    }
}
