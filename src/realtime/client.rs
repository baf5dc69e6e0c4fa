//! The shell around a [`Link`]: a socket, a clock and two bounded queues. It decides nothing.
//!
//! The caller spawns the future that [`start`] gives, on any runtime, and keeps the [`Handle`]. Reading never
//! waits for writing: frames go out as fast as the socket takes them, and stay in the link's bounded outbox
//! until then. Dropping the handle ends the future and the socket with it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, Sink, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::link::{Config, ConnectFailure, Input, Join, Link, LinkEvent, Outcome, Push, PushError, TopicNo};
use super::message::Frame;
use super::url::ConnectRequest;

/// Commands that may wait for the shell. Full: the push is refused as backlogged.
const COMMANDS_MAX: usize = 1024;
/// Events that may wait for the owner in the channel; more stay in the link, which bounds them by bytes.
const EVENTS_MAX: usize = 4096;
/// From the name to the open socket.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames from the server may be this large: its own limit is 5 MB, plus what a delivery adds.
const MESSAGE_MAX: usize = 6_000_000;
const READ_BUFFER: usize = 8 * 1024;
/// Of a refusal's body.
const BODY_MAX: usize = 1024;

pub(crate) enum Command {
    Join(TopicNo, Join),
    Push(Push),
}

/// The owner's end of a link.
pub struct Handle {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<LinkEvent>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    /// A handle whose other ends are a test's: what is asked of the link, and what it tells.
    #[cfg(test)]
    pub(crate) fn for_tests() -> (Self, mpsc::Receiver<Command>, mpsc::Sender<LinkEvent>) {
        let (commands, incoming) = mpsc::channel(COMMANDS_MAX);
        let (outgoing, events) = mpsc::channel(EVENTS_MAX);
        (Self { commands, events }, incoming, outgoing)
    }

    /// Joins a channel, now and after every reconnect. A channel that cannot be added is reported as
    /// [`LinkEvent::GiveUp`]. Returns whether the command was taken.
    pub fn join(&self, topic: TopicNo, join: Join) -> bool {
        self.commands.try_send(Command::Join(topic, join)).is_ok()
    }

    /// Hands a push over without waiting. What the link refuses afterwards comes back as [`Outcome::NotSent`].
    ///
    /// # Errors
    /// [`PushError::Backlogged`] when the queue is full or the shell is gone; nothing was sent.
    pub fn push(&self, push: Push) -> Result<(), PushError> {
        self.commands.try_send(Command::Push(push)).map_err(|_| PushError::Backlogged)
    }

    /// The next event; `None` when the shell is gone. Cancel-safe.
    pub async fn next_event(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }

    /// The next event, if one waits.
    pub fn try_event(&mut self) -> Option<LinkEvent> {
        self.events.try_recv().ok()
    }
}

/// A link with its shell. Nothing happens until the future is polled. Two links should differ in `seed`.
pub fn start(config: Config, seed: u64) -> (Handle, impl Future<Output = ()>) {
    let (commands, incoming) = mpsc::channel(COMMANDS_MAX);
    let (outgoing, events) = mpsc::channel(EVENTS_MAX);
    let shell =
        Shell { link: Link::new(config, seed), commands: incoming, events: outgoing, socket: Socket::None };
    (Handle { commands, events }, shell.run())
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

type WebSocket = WebSocketStream<Box<dyn Duplex>>;
type Attempt = Pin<Box<dyn Future<Output = Result<WebSocket, ConnectFailure>> + Send>>;

enum Socket {
    None,
    Connecting(Attempt),
    Open(SplitSink<WebSocket, Message>, SplitStream<WebSocket>),
}

struct Shell {
    link: Link,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<LinkEvent>,
    socket: Socket,
}

/// What one wait has brought.
enum News {
    Command(Option<Command>),
    Connected(Box<Result<WebSocket, ConnectFailure>>),
    Frame(Option<Result<Message, Error>>),
    WriteFailed,
    Room,
    Time,
}

impl Shell {
    async fn run(mut self) {
        loop {
            self.link.set_clock(unix_secs(), clock());
            self.tell();
            let wake = self.link.poll_timeout().unwrap_or_else(|| clock() + Duration::from_secs(60));
            match self.wait(wake).await {
                News::Command(None) => return,
                News::Command(Some(command)) => self.obey(command),
                News::Connected(result) => self.connected(*result),
                News::Frame(frame) => self.received(frame),
                News::WriteFailed => self.closed(1006),
                News::Room => {}
                News::Time => self.link.handle_timeout(clock()),
            }
        }
    }

    async fn wait(&mut self, wake: Instant) -> News {
        let Self { link, commands, events, socket } = self;
        let backlog = link.events_waiting() > 0;
        let socket = std::future::poll_fn(|cx| match socket {
            Socket::None => Poll::Pending,
            Socket::Connecting(attempt) => {
                attempt.poll_unpin(cx).map(|result| News::Connected(Box::new(result)))
            }
            Socket::Open(sink, stream) => {
                if poll_write(sink, link, cx).is_err() {
                    return Poll::Ready(News::WriteFailed);
                }
                stream.poll_next_unpin(cx).map(News::Frame)
            }
        });
        tokio::select! {
            biased;
            news = socket => news,
            command = commands.recv() => News::Command(command),
            permit = events.reserve(), if backlog => {
                drop(permit);
                News::Room
            }
            () = tokio::time::sleep_until(wake.into()) => News::Time,
        }
    }

    /// Hands events to the owner while there is room; the shell's own are done here.
    fn tell(&mut self) {
        let events = self.events.clone();
        while let Ok(permit) = events.try_reserve() {
            match self.link.poll_event() {
                None => return,
                Some(LinkEvent::Connect) => {
                    self.socket = Socket::Connecting(Box::pin(connect(self.link.connect_request())));
                }
                Some(LinkEvent::Disconnect) => self.closed(1000),
                Some(event) => permit.send(event),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = clock();
        match command {
            Command::Join(topic, join) => {
                if let Err(error) = self.link.join(topic, join, now) {
                    tracing::error!(%error, "a channel cannot be added");
                }
            }
            Command::Push(push) => {
                let (topic, id) = (push.topic, push.id);
                if let Err(error) = self.link.push(push, now) {
                    let event = LinkEvent::Ack { topic, push: id, outcome: Outcome::NotSent(error) };
                    // Without room the owner learns it from the push's own deadline.
                    self.events.try_send(event).unwrap_or_default();
                }
            }
        }
    }

    fn connected(&mut self, result: Result<WebSocket, ConnectFailure>) {
        match result {
            Ok(socket) => {
                let (sink, stream) = socket.split();
                self.socket = Socket::Open(sink, stream);
                self.link.handle_connected(clock());
            }
            Err(failure) => {
                self.socket = Socket::None;
                self.link.handle(Input::Failed(failure), clock());
            }
        }
    }

    fn received(&mut self, frame: Option<Result<Message, Error>>) {
        let input = match frame {
            Some(Ok(Message::Text(text))) => Input::Text(Bytes::from(text)),
            Some(Ok(Message::Binary(bytes))) => Input::Binary(bytes),
            Some(Ok(Message::Close(close))) => {
                return self.closed(close.map_or(1005, |close| close.code.into()));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return,
            Some(Err(_)) | None => return self.closed(1006),
        };
        self.link.handle(input, clock());
    }

    fn closed(&mut self, code: u16) {
        self.socket = Socket::None;
        self.link.handle(Input::Closed { code }, clock());
    }
}

/// Writes what the link has and the socket takes.
fn poll_write(
    sink: &mut SplitSink<WebSocket, Message>,
    link: &mut Link,
    cx: &mut Context<'_>,
) -> Result<(), Error> {
    let mut sink = Pin::new(sink);
    loop {
        match sink.as_mut().poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(()),
        }
        let Some(frame) = link.poll_transmit() else { break };
        let message = match frame {
            Frame::Binary(bytes) => Message::Binary(bytes),
            Frame::Text(bytes) => match Utf8Bytes::try_from(bytes) {
                Ok(text) => Message::Text(text),
                Err(_) => continue, // the link writes JSON, which is UTF-8
            },
        };
        sink.as_mut().start_send(message)?;
    }
    match sink.poll_flush(cx) {
        Poll::Ready(Err(error)) => Err(error),
        _ => Ok(()),
    }
}

async fn connect(request: ConnectRequest) -> Result<WebSocket, ConnectFailure> {
    match tokio::time::timeout(CONNECT_TIMEOUT, open(&request)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectFailure::Timeout),
    }
}

async fn open(request: &ConnectRequest) -> Result<WebSocket, ConnectFailure> {
    let socket = TcpStream::connect((request.host.as_str(), request.port)).await;
    let socket = socket.map_err(|_| ConnectFailure::Unreachable)?;
    socket.set_nodelay(true).map_err(|_| ConnectFailure::Unreachable)?;
    let stream: Box<dyn Duplex> = if request.tls { secure(request, socket).await? } else { Box::new(socket) };
    let mut upgrade = request.url.as_str().into_client_request().map_err(|_| ConnectFailure::Unreachable)?;
    for (name, value) in &request.headers {
        let value = value.parse().map_err(|_| ConnectFailure::Unreachable)?;
        upgrade.headers_mut().insert(*name, value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    match tokio_tungstenite::client_async_with_config(upgrade, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body.get(..body.len().min(BODY_MAX)).unwrap_or_default())
                .into_owned();
            Err(ConnectFailure::Refused { status: answer.status().as_u16(), body })
        }
        Err(_) => Err(ConnectFailure::Unreachable),
    }
}

/// TLS with the system's roots. Built anew for each attempt, so that a renewed root store is seen.
async fn secure(request: &ConnectRequest, socket: TcpStream) -> Result<Box<dyn Duplex>, ConnectFailure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ConnectFailure::Certificate)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = request.host.clone().try_into().map_err(|_| ConnectFailure::Certificate)?;
    match TlsConnector::from(Arc::new(config)).connect(name, socket).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) if error.get_ref().is_some_and(|source| source.is::<rustls::Error>()) => {
            Err(ConnectFailure::Certificate)
        }
        Err(_) => Err(ConnectFailure::Unreachable),
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell brings the link its time")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the shell brings the link its time")]
fn unix_secs() -> u64 {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    unix.map_or(0, |since| since.as_secs())
}
