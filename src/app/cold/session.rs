//! One cold session: WebSocket's server side on our end of the socket pair, from the 101 to the close.
//!
//! Its tunnel stands between it and the client, and the worker may close it there: then a close comes from below, as if
//! the client had said it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::channel::ChannelRef;
use super::figures::add;
use super::hub::Hub;
use super::outlet::Outlet;
use super::unix_ms;
use crate::cold::wire::{self, Sender};
use crate::cold::{Ending, Frame};

/// How often a client is asked how far it has read, while it is given something.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a client may take to read its close, and to say its own.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<UnixStream>;

/// Everything that a session needs.
pub(super) struct Stay {
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) channel: ChannelRef,
    pub(super) topic: String,
    pub(super) number: u64,
    pub(super) outlet: Rc<Outlet>,
    /// What it is given first; the last of it ends at `position`.
    pub(super) missed: Vec<Frame>,
    pub(super) position: u64,
    /// When its token ends.
    pub(super) until: Option<Instant>,
}

impl Stay {
    /// The session's whole life.
    pub(super) async fn run(self, socket: UnixStream) {
        let limits = self.hub.borrow().plan.limits;
        let config = WebSocketConfig::default()
            .max_message_size(Some(limits.message_bytes))
            .max_frame_size(Some(limits.message_bytes));
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        let (mut sink, mut stream) = socket.split();
        let ending = tokio::select! {
            ending = self.write(&mut sink) => ending,
            ending = self.read(&mut stream, limits.unacknowledged) => ending,
            ending = self.outlet.ended() => ending,
            () = expiry(self.until) => Ending::TokenExpired,
        };
        {
            let mut hub = self.hub.borrow_mut();
            hub.leave(&self.channel, self.number, (&self.outlet, &self.topic));
            hub.figures.ended(ending);
        }
        // Whether the client hears the reason or has gone is all the same to us now.
        drop(timeout(CLOSE_WITHIN, farewell(&mut sink, &mut stream, ending)).await);
    }

    /// What the topic says, and now and then the question how far the client has read.
    async fn write(&self, sink: &mut SplitSink<Socket, Message>) -> Ending {
        for frame in &self.missed {
            if self.give(sink, frame).await.is_err() {
                return Ending::Client;
            }
        }
        if !self.missed.is_empty() && self.ask(sink, self.position).await.is_err() {
            return Ending::Client;
        }
        let (mut given, mut asked) = (self.position, self.position);
        let mut tick = interval(ASK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                (position, frame) = self.outlet.next() => {
                    given = position;
                    self.give(sink, &frame).await
                }
                _ = tick.tick(), if given > asked => {
                    asked = given;
                    self.ask(sink, given).await
                }
            };
            if sent.is_err() {
                return Ending::Client;
            }
        }
    }

    async fn give(&self, sink: &mut SplitSink<Socket, Message>, frame: &Frame) -> Result<(), Error> {
        let message = match Utf8Bytes::try_from(frame.body.clone()) {
            Ok(text) if frame.text => Message::Text(text),
            _ => Message::Binary(frame.body.clone()),
        };
        sink.send(message).await?;
        add(&self.hub.borrow().figures.down);
        Ok(())
    }

    /// The answer to a ping comes behind everything that was written before it.
    async fn ask(&self, sink: &mut SplitSink<Socket, Message>, position: u64) -> Result<(), Error> {
        sink.send(Message::Ping(position.to_be_bytes().to_vec().into())).await
    }

    /// What the client says.
    async fn read(&self, stream: &mut SplitStream<Socket>, unacknowledged: usize) -> Ending {
        let mut count = 0_u64;
        loop {
            self.outlet.may_send(unacknowledged).await;
            let frame = match stream.next().await {
                Some(Ok(Message::Text(text))) => Frame { text: true, body: text.into() },
                Some(Ok(Message::Binary(body))) => Frame { text: false, body },
                Some(Ok(Message::Pong(answer))) => {
                    if let Ok(position) = <[u8; 8]>::try_from(answer.as_ref()) {
                        self.outlet.has_read(u64::from_be_bytes(position).min(self.reached()));
                    }
                    continue;
                }
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => return Ending::Client,
                Some(Err(Error::Capacity(_))) => return Ending::TooLarge,
                Some(Err(Error::Protocol(_) | Error::Utf8(_))) => return Ending::Protocol,
                Some(Err(_)) => return Ending::Client,
            };
            if wire::wants_presence(&frame) {
                return Ending::Presence;
            }
            count += 1;
            let id = format!("{}-{count}", self.outlet.name);
            let sender = Sender { id: &id, session: &self.outlet.name, at_ms: unix_ms() };
            let message = wire::up(&frame, sender);
            if !self.hub.borrow_mut().send(&self.channel, &self.outlet, message) {
                return Ending::NotDelivered;
            }
        }
    }

    /// How far anybody can have read: a client that claims more is not believed.
    fn reached(&self) -> u64 {
        self.channel.borrow().position()
    }
}

async fn expiry(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Our close, or the answer to the client's; then whatever comes until the other side has closed, too.
async fn farewell(sink: &mut SplitSink<Socket, Message>, stream: &mut SplitStream<Socket>, ending: Ending) {
    if ending != Ending::Client {
        let frame = CloseFrame { code: CloseCode::from(ending.code()), reason: ending.as_str().into() };
        if sink.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
    }
    // A violated protocol cannot be read on.
    while ending != Ending::Protocol && matches!(stream.next().await, Some(Ok(_))) {}
    // After a close of the other side's this is the answer to it.
    drop(sink.close().await);
}
