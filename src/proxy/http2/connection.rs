//! One connection of HTTP/2: its streams, each a task of its own, and how long it may live without any.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::time::{Instant, Sleep, timeout};

use super::cancelled::Cancelled;
use super::due::{Clock, Due, Walked};
use super::stream::Http2Stream;
use super::translate;
use crate::proxy::body::{AnswerBody, ClientBody, refuse};
use crate::proxy::connection::{ClientSide, session};
use crate::proxy::drain::Phase;
use crate::proxy::error::{Cause, ConnectionError, Fault};
use crate::proxy::exchange::exchange;
use crate::proxy::io::Io;
use crate::proxy::tunnel::Upgraded;
use crate::proxy::upgrade::{Answered, compact};
use crate::proxy::watch::{InFlight, Watched};

/// Streams that a connection may have at a time.
const STREAMS_MAX: u32 = 128;
/// Bytes of one stream that may wait for the service; and as many for the client.
const WINDOW: u32 = 64 * 1024;
/// How long a client may take to read that its connection ends.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one connection to its end. Dropping the future closes it and all its streams.
pub(in crate::proxy) async fn serve(client: &Rc<ClientSide>, io: Watched) {
    let config = &client.worker.shared.config;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * STREAMS_MAX)
        .max_send_buffer_size(WINDOW as usize)
        .max_header_list_size(u32::try_from(config.limits.head_bytes * 2).unwrap_or(u32::MAX))
        .enable_connect_protocol();
    let io = Walked::new(io);
    let mut clock = Clock::start(io.frames(), config.deadlines.head);
    let begun = timeout(config.deadlines.head, builder.handshake::<_, Bytes>(io)).await;
    let connection = match begun {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return client.note(&lost(error), None),
        Err(elapsed) => return client.note(&ConnectionError::new(Fault::HeadTimeout, elapsed), None),
    };
    let streams = Rc::new(Streams::new(client));
    Box::pin(accept(client, connection, &streams, &mut clock)).await;
}

/// What ended a connection that was not to end.
fn lost(error: h2::Error) -> ConnectionError {
    let ours = error.is_library() || (error.is_go_away() && !error.is_remote());
    ConnectionError::new(if ours { Fault::Http2Protocol } else { Fault::ClientGone }, error)
}

async fn accept(
    client: &Rc<ClientSide>,
    mut connection: Connection<Walked<Watched>, Bytes>,
    streams: &Rc<Streams>,
    clock: &mut Clock,
) {
    let shared = &client.worker.shared;
    let mut finishing = pin!(shared.drain.reached(Phase::Finishing));
    let mut idle = Idle::new(shared.config.deadlines.idle);
    let (mut told, mut used) = (false, false);
    let mut ending: Option<Pin<Box<Sleep>>> = None;
    let end = |connection: &mut Connection<_, _>, fault: Fault, reason| {
        client.note(&fault.into(), None);
        connection.abrupt_shutdown(reason);
        Some(Box::pin(tokio::time::sleep(LINGER)))
    };
    loop {
        let next = poll_fn(|cx| {
            loop {
                streams.settle();
                let over = idle.poll(cx, client.watch.bytes(), streams);
                if !told && (over || finishing.as_mut().poll(cx).is_ready()) {
                    told = true;
                    connection.graceful_shutdown();
                }
                if ending.is_none() && streams.cancelled.borrow().is_abuse() {
                    ending = end(&mut connection, Fault::Http2Resets, Reason::ENHANCE_YOUR_CALM);
                }
                if let Poll::Ready(next) = connection.poll_accept(cx) {
                    return Poll::Ready(next);
                }
                if let Some(ending) = &mut ending {
                    // A client that does not read does not learn why.
                    return ending.as_mut().poll(cx).map(|()| None);
                }
                let reason = match ready!(clock.poll(cx, used)) {
                    Due::First => Reason::NO_ERROR,
                    Due::Rest(_) => Reason::ENHANCE_YOUR_CALM,
                };
                // Once more round: there is something to say.
                ending = end(&mut connection, Fault::HeadTimeout, reason);
            }
        })
        .await;
        match next {
            Some(Ok((request, respond))) => {
                used = true;
                streams.cancelled.borrow_mut().open();
                let plain = Plain::enter(streams);
                let life = stream(Rc::clone(client), request, respond, plain);
                tokio::task::spawn_local(life);
            }
            Some(Err(error)) => {
                if ending.is_none() {
                    client.note(&lost(error), None);
                }
                return;
            }
            None => return,
        }
    }
}

/// What a connection carries. One that carries nothing but sessions is not waited for when plain requests finish.
struct Streams {
    client: Rc<ClientSide>,
    plain: Cell<u32>,
    sessions: Cell<u32>,
    carries_sessions_only: Cell<bool>,
    cancelled: RefCell<Cancelled>,
}

impl Streams {
    fn new(client: &Rc<ClientSide>) -> Self {
        Self {
            client: Rc::clone(client),
            plain: Cell::new(0),
            sessions: Cell::new(0),
            carries_sessions_only: Cell::new(false),
            cancelled: RefCell::default(),
        }
    }

    const fn is_empty(&self) -> bool {
        self.plain.get() == 0 && self.sessions.get() == 0
    }

    /// Tells the drain what has changed.
    fn settle(&self) {
        let only = self.plain.get() == 0 && self.sessions.get() > 0;
        if self.carries_sessions_only.replace(only) != only {
            let shared = &self.client.worker.shared;
            let carriers = &shared.counters.http2_carriers;
            if only {
                carriers.add()
            } else {
                carriers.sub()
            }
            shared.left.notify_waiters();
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if self.carries_sessions_only.get() {
            self.client.worker.shared.counters.http2_carriers.sub();
        }
    }
}

/// An exchange under way.
struct Plain(Rc<Streams>);

impl Plain {
    fn enter(streams: &Rc<Streams>) -> Self {
        streams.plain.set(streams.plain.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.0.plain.set(self.0.plain.get().saturating_sub(1));
        self.0.settle();
    }
}

/// A session under way.
struct Session(Rc<Streams>);

impl Session {
    fn enter(streams: &Rc<Streams>) -> Self {
        streams.sessions.set(streams.sessions.get() + 1);
        streams.client.worker.shared.counters.http2_sessions.add();
        Self(Rc::clone(streams))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.sessions.set(self.0.sessions.get().saturating_sub(1));
        self.0.client.worker.shared.counters.http2_sessions.sub();
        self.0.settle();
    }
}

/// The limit of a connection without a stream, where there is one. Looked at once in the limit.
struct Idle {
    limit: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    read: u64,
}

impl Idle {
    fn new(limit: Option<Duration>) -> Self {
        Self { limit, sleep: limit.map(|limit| Box::pin(tokio::time::sleep(limit))), read: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>, read: u64, streams: &Streams) -> bool {
        let (Some(limit), Some(sleep)) = (self.limit, &mut self.sleep) else { return false };
        while sleep.as_mut().poll(cx).is_ready() {
            if streams.is_empty() && read == self.read {
                return true;
            }
            self.read = read;
            sleep.as_mut().reset(Instant::now() + limit);
        }
        false
    }
}

/// One stream: its request translated, passed on, answered.
async fn stream(
    client: Rc<ClientSide>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    plain: Plain,
) {
    let in_flight = InFlight::enter(&client.watch);
    let (mut parts, receive) = request.into_parts();
    let mut key = [0; 16];
    let translated = match getrandom::fill(&mut key) {
        Ok(()) => translate::request(&mut parts, key),
        Err(_) => Err(Fault::NoRandomness),
    };
    let mut receive = Some(receive);
    let answered = match translated {
        Err(fault) => {
            client.note(&fault.into(), None);
            Answered::Answer(refuse(fault, in_flight))
        }
        Ok(handshake) => {
            if parts.headers.contains_key(EXPECT) {
                parts.headers.remove(EXPECT);
                let mut go_on = Response::new(());
                *go_on.status_mut() = StatusCode::CONTINUE;
                // A client that is gone shows at the answer.
                drop(respond.send_informational(go_on));
            }
            let announced =
                parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            let body = match receive.take_if(|_| !handshake) {
                Some(receive) => ClientBody::Http2(receive, announced),
                None => ClientBody::Empty,
            };
            let request = Request::from_parts(parts, body);
            let answered = tokio::select! {
                biased;
                answered = Box::pin(exchange(&client, request, in_flight)) => Some(answered),
                _ = poll_fn(|cx| respond.poll_reset(cx)) => None,
            };
            let Some(answered) = answered else {
                plain.0.cancelled.borrow_mut().cancel();
                client.note(&Fault::ClientGone.into(), None);
                return;
            };
            answered
        }
    };
    match answered {
        Answered::Answer(answer) => {
            // What is left of the request is of no use any more; an early answer lets the client know (RFC 9113
            // section 8.1) when the stream's receiving half is dropped, after the answer.
            if let Err(error) = send(answer, respond).await {
                client.note(&error, None);
            }
            drop(receive);
        }
        Answered::Switched(answer, service) => {
            let mut head = answer.map(|_| ());
            translate::answer(&mut head);
            let Some(receive) = receive else { return };
            let send = match respond.send_response(head, false) {
                Ok(send) => send,
                Err(error) => return client.note(&ConnectionError::new(Fault::ClientGone, error), None),
            };
            let upgraded = Upgraded {
                client: Io::Http2(Box::new(Http2Stream::new(send, receive))),
                client_early: Bytes::new(),
                upstream: service.upstream,
                upstream_early: compact(&service.upstream_early),
                head: service.head,
            };
            let counted = Session::enter(&plain.0);
            tokio::task::spawn_local(session(&client.worker, upgraded, counted));
        }
    }
}

/// Sends an answer, its body as the client takes it.
async fn send(answer: Response<AnswerBody>, mut respond: SendResponse<Bytes>) -> Result<(), ConnectionError> {
    let gone = |error: h2::Error| ConnectionError::new(Fault::ClientGone, error);
    let (parts, body) = answer.into_parts();
    let mut head = Response::from_parts(parts, ());
    translate::answer(&mut head);
    let mut body = pin!(body);
    let ended = body.is_end_stream();
    let mut stream = respond.send_response(head, ended).map_err(gone)?;
    if ended {
        return Ok(());
    }
    loop {
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            stream.poll_reset(cx).map(Err)
        })
        .await;
        match frame {
            Err(_) => return Err(Fault::ClientGone.into()),
            Ok(None) => return stream.send_data(Bytes::new(), true).map_err(gone),
            Ok(Some(Err(error))) => {
                // Cut short is not ended: the client must not take the part for the whole.
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Err(ConnectionError::new(Fault::UpstreamClosed, Cause::from(error)));
            }
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => send_data(&mut stream, data).await?,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return stream.send_trailers(trailers).map_err(gone);
                    }
                }
            },
        }
    }
}

/// Hands over data as the client's windows allow.
async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), ConnectionError> {
    let gone = |error: h2::Error| ConnectionError::new(Fault::ClientGone, error);
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match stream.capacity() {
            0 => match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(room) => room.map_err(gone)?,
                None => return Err(Fault::ClientGone.into()),
            },
            room => room,
        };
        let part = data.split_to(room.min(data.len()));
        if !part.is_empty() {
            stream.send_data(part, false).map_err(gone)?;
        }
    }
    Ok(())
}
