//! The two ends that keep the logs, and Realtime: each the main function of a process of its own.
//!
//! Words come on standard input, one a line; figures go to standard output ten times a second.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use crossfade::emulator::{self, Claims, Fault, FaultKind, Limits, Secret};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::Failure;
use crate::oracle::Diary;

/// Clients that connect at the same time: a listener's queue holds more.
const CONNECTING_MAX: usize = 64;

/// What an end is told when it is started.
#[derive(Clone, Debug, Args)]
pub(crate) struct Part {
    /// Sessions
    #[arg(long)]
    sessions: usize,
    /// Milliseconds between two messages of one session
    #[arg(long)]
    every_ms: u64,
    /// Where the log goes
    #[arg(long)]
    log: PathBuf,
    /// The proxy, for clients
    #[arg(long)]
    proxy: Option<SocketAddr>,
}

/// How far the play is, as the first process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Messages are written.
    Talking,
    /// Messages are only read.
    Listening,
    /// Sockets are closed.
    Leaving,
}

/// One end: what it wrote and read, and how its sockets are.
#[derive(Debug)]
struct End {
    diary: Diary,
    open: AtomicU64,
    unasked: AtomicU64,
    refused: AtomicU64,
    every: Duration,
    sessions: usize,
    phase: watch::Receiver<Phase>,
}

impl End {
    fn new(part: &Part) -> Arc<Self> {
        let (word, phase) = watch::channel(Phase::Talking);
        // A thread of its own: standard input cannot be given up while it is read.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match line.as_str() {
                    "listen" => drop(word.send_replace(Phase::Listening)),
                    "leave" => drop(word.send_replace(Phase::Leaving)),
                    _ => {}
                }
            }
            // Whoever started us is gone.
            word.send_replace(Phase::Leaving);
        });
        let every = Duration::from_millis(part.every_ms.max(1));
        let (open, unasked, refused) = Default::default();
        Arc::new(Self {
            diary: Diary::default(),
            open,
            unasked,
            refused,
            every,
            sessions: part.sessions,
            phase,
        })
    }

    /// Ten times a second, until the play is over.
    async fn tell(self: Arc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            println!(
                "written={} read={} open={} unasked={} refused={}",
                self.diary.written(),
                self.diary.read(),
                value(&self.open),
                value(&self.unasked),
                value(&self.refused)
            );
        }
    }

    /// One session: writes at its own beat, reads all the time, notes both.
    async fn talk(&self, client: u32, mut socket: WebSocketStream<TcpStream>, side: &str) {
        let mut phase = self.phase.clone();
        // The beats of all sessions are spread over one period.
        let shift = self.every.mul_f64(f64::from(client) / self.sessions.max(1) as f64);
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + shift, self.every);
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut number = 0_u64;
        loop {
            tokio::select! {
                _ = beat.tick(), if *phase.borrow() == Phase::Talking => {
                    number += 1;
                    let text = format!(
                        "{{\"event\":\"{side}\",\"client\":{client},\"n\":{number},\"text\":\"{:-<120}\"}}", ""
                    );
                    self.diary.note(true, client, text.as_bytes());
                    if socket.send(Message::Text(text.into())).await.is_err() {
                        self.unasked.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
                changed = phase.changed() => {
                    if changed.is_err() || *phase.borrow() == Phase::Leaving {
                        // The far end may be gone already; the goodbye is a courtesy.
                        socket.close(None).await.unwrap_or(());
                        while let Some(Ok(message)) = socket.next().await {
                            self.hear(client, &message);
                        }
                        break;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => {
                        self.unasked.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Some(Ok(message)) => self.hear(client, &message),
                },
            }
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn hear(&self, client: u32, message: &Message) {
        if let Message::Text(text) = message {
            self.diary.note(false, client, text.as_bytes());
        }
    }

    async fn left(&self) {
        let mut phase = self.phase.clone();
        // An error means that whoever started us is gone.
        drop(phase.wait_for(|phase| *phase == Phase::Leaving).await);
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The legacy service.
pub(crate) fn service(part: Part) -> Result<(), Failure> {
    let end = End::new(&part);
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening {}", listener.local_addr()?);
        tokio::spawn(Arc::clone(&end).tell());
        let accepting = async {
            loop {
                if let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(serve_one(Arc::clone(&end), socket));
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = end.left() => {}
        }
        Ok::<(), Failure>(())
    })?;
    Ok(end.diary.save(&part.log)?)
}

async fn serve_one(end: Arc<End>, socket: TcpStream) {
    // Loopback works without it.
    socket.set_nodelay(true).unwrap_or(());
    let mut client = None;
    #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    let read_name = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let name = request.headers().get("x-user-id").and_then(|name| name.to_str().ok());
        client = name.and_then(|name| name.strip_prefix("user-")?.parse().ok());
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(socket, read_name).await else { return };
    if let Some(client) = client {
        end.talk(client, socket, "down").await;
    }
}

/// Every client.
pub(crate) fn clients(part: Part) -> Result<(), Failure> {
    let proxy = part.proxy.ok_or_else(|| Failure::Unavailable("clients need --proxy".to_owned()))?;
    let end = End::new(&part);
    runtime()?.block_on(async {
        tokio::spawn(Arc::clone(&end).tell());
        let turn = Arc::new(Semaphore::new(CONNECTING_MAX));
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..u32::try_from(part.sessions).unwrap_or(u32::MAX) {
            let (end, turn) = (Arc::clone(&end), Arc::clone(&turn));
            tasks.spawn(async move {
                let held = turn.acquire().await;
                let connected = connect(proxy, client).await;
                drop(held);
                match connected {
                    Ok(socket) => end.talk(client, socket, "up").await,
                    Err(error) => {
                        println!("refused: {error}");
                        end.refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    });
    Ok(end.diary.save(&part.log)?)
}

async fn connect(
    proxy: SocketAddr,
    client: u32,
) -> Result<WebSocketStream<TcpStream>, Box<dyn std::error::Error + Send + Sync>> {
    let mut request = format!("ws://{proxy}/feed").into_client_request()?;
    request.headers_mut().insert("x-user-id", format!("user-{client}").parse()?);
    let socket = TcpStream::connect(proxy).await?;
    socket.set_nodelay(true)?;
    Ok(tokio_tungstenite::client_async(request, socket).await?.0)
}

/// Realtime, until its input ends. The word `break` stops every delivery for good.
pub(crate) fn emulator() -> Result<(), Failure> {
    let (word, mut said) = tokio::sync::mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if word.blocking_send(line).is_err() {
                return;
            }
        }
    });
    runtime()?.block_on(async {
        let secret = Secret::new("a secret that only this example knows");
        let mut settings = emulator::Config::new(secret.clone());
        settings.limits = Limits::generous();
        let (handle, serving) = emulator::serve(TcpListener::bind("127.0.0.1:0").await?, settings, 1)?;
        tokio::spawn(serving);
        println!("url http://{}", handle.addr());
        println!("key {}", secret.mint(&Claims::of("service_role", in_a_day())));
        while let Some(line) = said.recv().await {
            if line == "break" {
                // Acknowledged and not delivered: the worst kind, which only a read-back notices.
                handle.inject(Fault::new(FaultKind::Drop));
                println!("broken");
            }
        }
        handle.stop();
        Ok(())
    })
}

#[expect(clippy::disallowed_methods, reason = "a token says until when it is good")]
fn in_a_day() -> i64 {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(unix.as_secs()).unwrap_or(0).saturating_add(24 * 3600)
}
