//! The shell around [`Link`]: one task that owns the socket, the clock and nothing else.
//!
//! **Problem.** A slow server must not keep us from reading, a slow owner must not keep us from answering heartbeats,
//! and neither may make us hold more than was agreed.
//!
//! **Decision.** One `select!` over the socket (both directions in one poll), the owner's commands, room in the owner's
//! event queue, and the link's next timeout. Frames stay in the link until the socket can take one; whole batches are
//! written before one flush. Events stay in the link until the owner has room; there the link sheds by its own rule.
//! Orders to connect and disconnect never wait for the owner.
//!
//! **Stopping.** When every [`Commands`] is dropped, the future says goodbye to the server, without waiting for it, and
//! ends. Dropping the future ends the socket without a goodbye. Both are safe at any time.
//!
//! **Limits.** [`Queues`]: 256 commands ([`Handle::try_push`] gives back what has no room), 1,024 events, besides what the
//! link bounds. Messages over 6 MB from the server end the socket.

mod dial;
mod handle;
#[cfg(test)]
mod tests;

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::{Sink, SinkExt, Stream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use super::link::{self, ConnectFailure, Input, JoinError, Link, LinkEvent, Order, Outcome, Stats};
use super::message::Frame;
use super::reason::Reason;
pub use dial::Tls;
#[cfg(test)]
use dial::Transport;
use dial::{Dialer, Socket};
pub(crate) use handle::Command;
pub use handle::{Busy, Commands, Handle, Queues};

/// What the shell needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the link needs to know.
    pub link: link::Config,
    /// Which certificates are trusted.
    pub tls: Tls,
    /// For DNS, TCP, TLS and the upgrade together.
    pub connect_timeout: Duration,
    /// Sizes of the queues to and from the owner.
    pub queues: Queues,
    /// For the jitter; clients should differ.
    pub seed: u64,
}

impl Config {
    /// The usual one: native roots, 10 s to connect.
    #[must_use]
    pub fn new(link: link::Config, seed: u64) -> Self {
        let connect_timeout = Duration::from_secs(10);
        Self { link, tls: Tls::Native, connect_timeout, queues: Queues::default(), seed }
    }
}

/// Makes a client. Nothing happens until the caller runs the future, on a runtime with I/O and time.
#[must_use = "the client lives only while its future is polled"]
pub fn start(config: Config) -> (Handle, impl Future<Output = ()>) {
    let (commands_in, commands) = mpsc::channel(config.queues.commands.max(1));
    let (events, events_out) = mpsc::channel(config.queues.events.max(1));
    let (stats_in, stats) = watch::channel(Stats::default());
    let shell = Shell {
        link: Link::new(config.link, config.seed),
        dialer: Dialer::new(config.tls, config.connect_timeout),
        connection: Connection::None,
        commands,
        events,
        stats: stats_in,
        clock_at: None,
    };
    let commands = Commands { queue: commands_in, stats };
    (Handle { commands, events: events_out }, shell.run())
}

/// The socket, or what comes before it.
enum Connection {
    None,
    Dialing(BoxFuture<'static, Result<Box<Socket>, ConnectFailure>>),
    Open(Box<Socket>),
}

/// What the connection has to say.
enum Happened {
    Dialed(Result<Box<Socket>, ConnectFailure>),
    Came(Message),
    /// The close code, or 1006.
    Ended(u16),
}

struct Shell {
    link: Link,
    dialer: Dialer,
    connection: Connection,
    /// The owner's commands; closed when the owner has dropped them.
    commands: mpsc::Receiver<Command>,
    /// To the owner; only sent to when there is room.
    events: mpsc::Sender<LinkEvent>,
    /// The link's counters, for whoever asks.
    stats: watch::Sender<Stats>,
    /// When the link is told the time of day next.
    clock_at: Option<Instant>,
}

impl Shell {
    async fn run(mut self) {
        loop {
            self.tell_time();
            self.obey();
            let wake = [self.link.poll_timeout(), self.clock_at].into_iter().flatten().min();
            tokio::select! {
                happened = poll_fn(|cx| self.connection.poll(&mut self.link, cx)) => self.take(happened),
                command = self.commands.recv() => match command {
                    Some(command) => self.command_all(command),
                    None => break,
                },
                () = room(&self.events), if self.link.events_waiting() > 0 => {}
                () = sleep_until(wake) => self.link.handle_timeout(now()),
            }
            self.hand_out();
            let stats = self.link.stats();
            self.stats.send_if_modified(|shown| std::mem::replace(shown, stats) != stats);
        }
        self.connection.say_goodbye();
    }

    /// Carries out what the link orders.
    fn obey(&mut self) {
        while let Some(order) = self.link.poll_order() {
            match order {
                Order::Connect => {
                    let attempt = self.dialer.dial(self.link.connect_request());
                    self.connection = Connection::Dialing(attempt.boxed());
                }
                Order::Disconnect => {
                    self.connection.say_goodbye();
                    self.connection = Connection::None;
                    self.link.handle(Input::Closed { code: NO_CLOSE_FRAME }, now());
                }
            }
        }
    }

    fn take(&mut self, happened: Happened) {
        let input = match happened {
            Happened::Dialed(Ok(socket)) => {
                self.connection = Connection::Open(socket);
                self.link.handle_connected(now());
                return;
            }
            Happened::Dialed(Err(failure)) => Input::Failed(failure),
            Happened::Ended(code) => Input::Closed { code },
            Happened::Came(Message::Text(text)) => Input::Text(Bytes::from(text)),
            Happened::Came(Message::Binary(bytes)) => Input::Binary(bytes),
            // Pings are answered by the WebSocket layer; the heartbeat is the protocol's own.
            Happened::Came(_) => return,
        };
        if matches!(input, Input::Failed(_) | Input::Closed { .. }) {
            self.connection = Connection::None;
        }
        self.link.handle(input, now());
    }

    /// Takes the commands that are there, a bounded number, so that one flush serves them all.
    fn command_all(&mut self, first: Command) {
        self.command(first);
        for _ in 1..COMMANDS_AT_ONCE {
            let Ok(command) = self.commands.try_recv() else { return };
            self.command(command);
        }
    }

    fn command(&mut self, command: Command) {
        let now = now();
        match command {
            Command::Push(push) => {
                let (topic, id) = (push.topic, push.id);
                if let Err(error) = self.link.push(push, now) {
                    self.link.tell(LinkEvent::Ack { topic, push: id, outcome: Outcome::NotSent(error) });
                }
            }
            Command::Join(topic, join) => {
                if let Err(error) = self.link.join(topic, join, now) {
                    let reason = match error {
                        JoinError::TooMany => Reason::TooManyChannels,
                        JoinError::EmptyName | JoinError::NameTooLong | JoinError::Taken => Reason::TopicName,
                    };
                    self.link.tell(LinkEvent::GiveUp { topic: Some(topic), reason });
                }
            }
            Command::Leave(topic) => self.link.leave(topic, now),
            Command::Vouch(topic) => self.link.vouch(topic),
            Command::Token(token) => self.link.set_token(token, now),
            Command::Key(key) => self.link.set_key(key, now),
        }
    }

    /// Hands out what there is room for; what is left waits for a permit.
    fn hand_out(&mut self) {
        while self.link.events_waiting() > 0 {
            let Ok(permit) = self.events.try_reserve() else { break };
            if let Some(event) = self.link.poll_event() {
                permit.send(event);
            }
        }
        if self.events.is_closed() {
            while self.link.poll_event().is_some() {}
        }
    }

    /// Tells the link the time of day now and then, so that it notices sleep and expiry.
    fn tell_time(&mut self) {
        let now = now();
        if self.clock_at.is_none_or(|at| at <= now) {
            self.clock_at = Some(now + CLOCK_EVERY);
            self.link.set_clock(unix_secs(), now);
        }
    }
}

impl Connection {
    /// Writes what the socket takes, then reads. Both directions wake the same task; neither waits for the other.
    fn poll(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Happened> {
        match self {
            Self::None => Poll::Pending,
            Self::Dialing(attempt) => attempt.poll_unpin(cx).map(Happened::Dialed),
            Self::Open(socket) => {
                if let Poll::Ready(Err(_)) = write(socket, link, cx) {
                    return Poll::Ready(Happened::Ended(NO_CLOSE_FRAME));
                }
                Poll::Ready(match ready!(Pin::new(&mut **socket).poll_next(cx)) {
                    Some(Ok(Message::Close(close))) => {
                        // Once more, so that our answer to the close is written.
                        if Pin::new(&mut **socket).poll_flush(cx).is_pending() {
                            tracing::trace!("the answer to the close was not taken");
                        }
                        Happened::Ended(close.map_or(NO_STATUS, |close| close.code.into()))
                    }
                    Some(Ok(message)) => Happened::Came(message),
                    Some(Err(_)) | None => Happened::Ended(NO_CLOSE_FRAME),
                })
            }
        }
    }

    /// Offers a close frame, without waiting for anybody to take it.
    fn say_goodbye(&mut self) {
        if let Self::Open(socket) = self {
            // Taken or not, the connection ends here.
            drop(SinkExt::close(socket).now_or_never());
        }
    }
}

/// Gives frames to the socket while it takes them, then flushes them together.
fn write(socket: &mut Socket, link: &mut Link, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
    let mut socket = Pin::new(socket);
    loop {
        ready!(socket.as_mut().poll_ready(cx))?;
        let Some(frame) = link.poll_transmit() else { break };
        let message = match frame {
            Frame::Binary(bytes) => Message::Binary(bytes),
            // Our own text forms are UTF-8; were one not, the frame would be skipped and its push time out.
            Frame::Text(bytes) => match Utf8Bytes::try_from(bytes) {
                Ok(text) => Message::Text(text),
                Err(_) => continue,
            },
        };
        socket.as_mut().start_send(message)?;
    }
    socket.poll_flush(cx)
}

/// Waits until the owner has room for an event, or is not interested any more.
async fn room(events: &mpsc::Sender<LinkEvent>) {
    drop(events.reserve().await);
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// Tokio's clock, so that a test may hold it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(clippy::disallowed_methods, reason = "the shell is where the wall clock enters")]
fn unix_secs() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// RFC 6455 section 7.1.5: a close frame without a code.
const NO_STATUS: u16 = 1005;
/// The connection ended without a close frame.
const NO_CLOSE_FRAME: u16 = 1006;
const COMMANDS_AT_ONCE: usize = 64;
const CLOCK_EVERY: Duration = Duration::from_secs(15);
