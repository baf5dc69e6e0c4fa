//! One WebSocket: the upgrade with its possibly late refusal, then frames both ways until either side ends it.
//! A socket that does not take its frames is cut from outside, also in the middle of a write.

use super::{Admission, Answer, ConnId, Gone, Out, Shared, Sink, UpgradeRequest, lowered, response};
use crate::emulator::codec::{Frame, OutFrame};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::CapacityError, handshake::derive_accept_key};

/// Frames written before a flush: enough to fill packets, few enough to stay prompt.
const WRITE_AT_ONCE: usize = 64;
/// A closing handshake that the client does not answer ends after this long.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<TcpStream>;

/// A connection's place in the machine; giving it up tells the machine.
struct Seat {
    id: ConnId,
    shared: Arc<Shared>,
}

/// One socket as its task sees it.
struct Line {
    seat: Seat,
    queue: mpsc::Receiver<Out>,
    bytes: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    /// Nothing more is read: the machine answers the last frame with a close.
    deaf: bool,
}

/// The socket is over.
struct Over;

/// Answers 101 at once, or a refusal when the machine says so.
pub(super) async fn upgrade(request: Request<hyper::body::Incoming>, shared: Arc<Shared>) -> Answer {
    let Some(key) = request.headers().get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()))
    else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let head = UpgradeRequest {
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: lowered(request.headers()),
    };
    let line = match admit(&head, &shared) {
        Entry::Accepted(line) => line,
        Entry::Pending(seat, refusal) => {
            let answer = refusal.await;
            drop(seat);
            return answer.ok().flatten().map(|answer| response(&answer)).ok_or(Gone);
        }
        Entry::Unreachable(seat) => {
            drop(seat);
            return Err(Gone);
        }
    };
    let limit = shared.with(|emulator, _| emulator.frame_bytes());
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await
            && let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>()
        {
            let config = WebSocketConfig::default()
                .read_buffer_size(8 * 1024)
                .max_message_size(Some(limit))
                .max_frame_size(Some(limit));
            let io = parts.io.into_inner();
            let socket =
                WebSocketStream::from_partially_read(io, parts.read_buf.to_vec(), Role::Server, Some(config));
            line.run(socket.await).await;
        }
    });
    let mut answer = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert("connection", http::HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", http::HeaderValue::from_static("websocket"));
    if let Ok(key) = http::HeaderValue::from_str(&key) {
        headers.insert("sec-websocket-accept", key);
    }
    Ok(answer)
}

enum Entry {
    Accepted(Line),
    Pending(Seat, oneshot::Receiver<Option<super::HttpAnswer>>),
    /// The seat must outlive the lock: giving it up takes the lock again.
    Unreachable(Seat),
}

fn admit(head: &UpgradeRequest, shared: &Arc<Shared>) -> Entry {
    let now = super::now();
    let mut machine = shared.lock();
    machine.made += 1;
    let id = ConnId(machine.made);
    let seat = Seat { id, shared: Arc::clone(shared) };
    let admission = machine.emulator.connect(id, head, now);
    let entry = match admission {
        Admission::Accepted => {
            let (sender, queue) = mpsc::channel(super::QUEUE_FRAMES);
            let (bytes, cut) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
            machine
                .sinks
                .insert(id, Sink { queue: sender, bytes: Arc::clone(&bytes), cut: Arc::clone(&cut) });
            Entry::Accepted(Line { seat, queue, bytes, cut, deaf: false })
        }
        Admission::Pending => {
            let (sender, receiver) = oneshot::channel();
            machine.answers.insert(id, sender);
            Entry::Pending(seat, receiver)
        }
        Admission::Unreachable => Entry::Unreachable(seat),
    };
    machine.route();
    drop(machine);
    shared.wake.notify_one();
    entry
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Ends a connection with RST instead of FIN.
pub(super) fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap_or_default();
}

impl Line {
    async fn run(mut self, mut socket: Socket) {
        let mut stop = self.seat.shared.stop.subscribe();
        let cut = Arc::clone(&self.cut);
        let ended = tokio::select! {
            () = super::stopped(&mut stop) => false,
            () = cut.notified() => true,
            () = self.talk(&mut socket) => false,
        };
        if ended {
            reset(socket.get_ref());
        }
    }

    async fn talk(&mut self, socket: &mut Socket) {
        loop {
            let went_on = tokio::select! {
                Some(out) = self.queue.recv() => self.write(socket, out).await,
                received = socket.next(), if !self.deaf => self.read(received),
                else => Err(Over),
            };
            if went_on.is_err() {
                return;
            }
        }
    }

    fn read(&mut self, received: Option<Result<Message, Error>>) -> Result<(), Over> {
        let frame = match received {
            Some(Ok(Message::Text(text))) => Frame::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Frame::Ping,
            Some(Ok(Message::Close(frame))) => {
                Frame::Close { code: frame.map_or(1005, |frame| frame.code.into()) }
            }
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => Frame::TooBig,
            Some(Err(_)) | None => return Err(Over),
        };
        self.deaf = matches!(frame, Frame::TooBig | Frame::Close { .. });
        self.seat.shared.with(|emulator, now| emulator.handle(self.seat.id, frame, now));
        Ok(())
    }

    /// Writes what is queued, up to a batch, then flushes.
    async fn write(&mut self, socket: &mut Socket, first: Out) -> Result<(), Over> {
        let mut next = Some(first);
        let mut written = 0;
        while let Some(out) = next {
            match out {
                Out::Frame(frame) => {
                    self.bytes.fetch_sub(frame.len(), Ordering::Relaxed);
                    socket.feed(message(frame)).await.map_err(|_| Over)?;
                }
                last => {
                    finish(socket, last).await;
                    return Err(Over);
                }
            }
            written += 1;
            next = if written < WRITE_AT_ONCE { self.queue.try_recv().ok() } else { None };
        }
        socket.flush().await.map_err(|_| Over)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut machine = self.shared.lock();
        machine.sinks.remove(&self.id);
        machine.answers.remove(&self.id);
        machine.emulator.closed(self.id, super::now());
        machine.route();
    }
}

fn message(frame: OutFrame) -> Message {
    match frame {
        OutFrame::Text(bytes) => {
            Message::Text(Utf8Bytes::try_from(bytes).unwrap_or_else(|_| Utf8Bytes::from_static("")))
        }
        OutFrame::Binary(bytes) => Message::Binary(bytes),
    }
}

async fn finish(socket: &mut Socket, last: Out) {
    match last {
        Out::Close { code } => {
            let closing = async {
                // 1005 and 1006 cannot be sent; a close frame without a status stands for them.
                let frame = (code != 1005 && code != 1006).then(|| close_frame(code));
                socket.close(frame).await.unwrap_or_default();
                while let Some(Ok(_)) = socket.next().await {}
                // The server ends TCP first (RFC 6455 §7.1.1). Bytes left unread would turn that end into a reset, and
                // the client might lose the close frame.
                socket.get_mut().shutdown().await.unwrap_or_default();
                let mut rest = vec![0; 8 * 1024];
                while matches!(socket.get_mut().read(&mut rest).await, Ok(1..)) {}
            };
            // A client that does not answer has had its chance.
            tokio::time::timeout(CLOSE_WITHIN, closing).await.unwrap_or_default();
        }
        Out::Cut(frame) => {
            socket.flush().await.unwrap_or_default();
            let half = half_frame(&frame);
            socket.get_mut().write_all(&half).await.unwrap_or_default();
        }
        _ => reset(socket.get_ref()),
    }
}

fn close_frame(code: u16) -> tokio_tungstenite::tungstenite::protocol::CloseFrame {
    tokio_tungstenite::tungstenite::protocol::CloseFrame { code: code.into(), reason: Utf8Bytes::default() }
}

/// Header and first half of a frame (RFC 6455 §5.2, unmasked).
fn half_frame(frame: &OutFrame) -> Vec<u8> {
    let (opcode, payload) = match frame {
        OutFrame::Text(bytes) => (0x81, bytes),
        OutFrame::Binary(bytes) => (0x82, bytes),
    };
    let mut out = vec![opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(length)) => {
            out.push(126);
            out.extend(length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend(u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    out.extend(payload.iter().take(payload.len() / 2));
    out
}
