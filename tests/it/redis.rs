//! A real redis-server on a port of its own, and a relay that can be cut while its sockets stay open.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::process::Process;

/// A server; it ends with this.
pub(crate) struct Redis {
    /// Kept for its end.
    process: Option<Process>,
    pub(crate) port: u16,
    args: Vec<String>,
    folder: PathBuf,
}

/// Whether the test can run; says so when it cannot.
pub(crate) fn is_here() -> bool {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    let here = found.is_ok_and(|status| status.success());
    if !here {
        println!("skip: redis-server is not here (apt-get install redis-server)");
    }
    here
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Redis {
    pub(crate) fn start(name: &str, more: &[&str]) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("crossfade-redis-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut args: Vec<String> =
            ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"].map(str::to_owned).to_vec();
        args.push(folder.to_str().unwrap().to_owned());
        if !more.contains(&"--port") {
            args.extend(["--port".to_owned(), port.to_string()]);
        }
        args.extend(more.iter().map(|word| word.replace("PORT", &port.to_string())));
        let mut server = Self { process: None, port, args, folder };
        server.up();
        server
    }

    /// Starts it (again) on the same port.
    pub(crate) fn up(&mut self) {
        let process = Process::of(Command::new("redis-server").args(&self.args).stdin(Stdio::null()), &[]);
        process.line(|line| line.contains("Ready to accept connections").then_some(()));
        self.process = Some(process);
    }

    /// Kills it; what it held is gone.
    pub(crate) fn down(&mut self) {
        self.process = None;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// One command, answered as text.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        let answer: redis::Value = command.query(&mut connection).unwrap();
        redis::from_redis_value::<String>(answer).unwrap_or_default()
    }

    /// Writes a document and tells it, as an operator would.
    pub(crate) fn publish(&self, service: &str, document: &str) {
        let key = format!("crossfade:{service}:flags");
        self.ask(&["SET", &key, document]);
        self.ask(&["PUBLISH", &key, ""]);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process = None;
        std::fs::remove_dir_all(&self.folder).unwrap_or(());
    }
}

/// Passes bytes on until it is cut; then every socket stays open and silent, as when a network is gone.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
}

impl Relay {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let gate = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let gate = gate.subscribe();
                tokio::spawn(async move {
                    // A network that is gone accepts nothing either, but the listener's backlog does.
                    let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::join!(pass(near.0, far.1, gate.clone()), pass(far.0, near.1, gate));
                });
            }
        });
        Self { address, open }
    }

    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut gate: watch::Receiver<bool>,
) {
    let mut bytes = [0; 4096];
    while let Ok(read) = from.read(&mut bytes).await {
        if gate.wait_for(|open| *open).await.is_err()
            || read == 0
            || to.write_all(&bytes[..read]).await.is_err()
        {
            return;
        }
    }
}
