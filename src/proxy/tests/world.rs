//! A proxy between a scripted client and a scripted service. Every wait ends after [`HANG`] with a panic that names
//! what was waited for; nothing here depends on how fast anything is.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::super::*;
use crate::proxy::tests::shim::{Beyond, door};
use crate::proxy::tests::tls as secure;
use crate::proxy::tls::Live;

/// Longer than anything takes that works.
pub(super) const HANG: Duration = Duration::from_secs(30);

/// The key and its accept value from RFC 6455 section 1.3.
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
pub(super) const UPGRADE: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub(super) const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[expect(clippy::disallowed_methods, reason = "tests on real sockets are shells")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A listener whose connections can be waited for.
pub(super) struct Service {
    pub(super) address: SocketAddr,
    accepted: mpsc::Receiver<TcpStream>,
}

impl Service {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::sync_channel(64);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, accepted }
    }

    pub(super) fn accept(&self) -> Peer {
        Peer::new(self.accepted.recv_timeout(HANG).expect("the proxy connects to the service"))
    }

    pub(super) fn try_accept(&self) -> Option<Peer> {
        self.accepted.try_recv().ok().map(Peer::new)
    }

    /// True if the proxy has not connected (again). Only meaningful once something later has been observed.
    pub(super) fn is_left_alone(&self) -> bool {
        self.accepted.try_recv().is_err()
    }
}

/// A proxy at work in front of a service.
pub(super) struct World {
    pub(super) running: Running,
    pub(super) service: Service,
    /// Where clients connect.
    pub(super) clients: SocketAddr,
}

impl World {
    pub(super) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::deciding(Arc::new(|_, _| Verdict::LEGACY), change)
    }

    pub(super) fn deciding(decide: Decide, change: impl FnOnce(&mut Config)) -> Self {
        let mut service = Service::start();
        let scheme = if super::SECURE { "wss" } else { "ws" };
        let beyond = || Beyond::Plain(secure::server().into());
        if super::SECURE {
            service.address = door(service.address, beyond());
        }
        let target = Target::service(&format!("{scheme}://{}", service.address)).unwrap();
        let mut config = Config::new(target);
        if super::SECURE {
            config.upstream_tls = Some(Live::fixed(client_tls(secure::roots()).unwrap()));
            config.tls = Some(Live::fixed(secure::server()));
        }
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.workers = Some(1);
        change(&mut config);
        let running = Server::start(config, decide, Mirroring::off()).unwrap();
        let beyond = || Beyond::Tls(secure::client().into());
        let address = running.local_addr();
        let clients = if super::SECURE { door(address, beyond()) } else { address };
        Self { running, service, clients }
    }

    pub(super) fn client(&self) -> Peer {
        Peer::new(TcpStream::connect(self.clients).unwrap())
    }

    /// A client that sends this at once.
    pub(super) fn client_says(&self, bytes: impl AsRef<[u8]>) -> Peer {
        let mut client = self.client();
        client.send(bytes);
        client
    }

    /// A session through the proxy: client and service after the 101.
    pub(super) fn session(&self) -> (Peer, Peer) {
        let mut client = self.client_says(UPGRADE);
        let mut service = self.service.accept();
        service.head();
        service.send(SWITCH);
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        (client, service)
    }

    /// Waits until the counters say so.
    pub(super) fn until(&self, what: &str, reached: impl Fn(&Counters) -> bool) {
        let began = now();
        while !reached(self.running.counters()) {
            assert!(now() - began < HANG, "waited for: {what}");
            std::thread::yield_now();
        }
    }

    pub(super) fn faults(&self, fault: Fault) -> u64 {
        self.running.counters().faults(fault).value()
    }

    /// Somebody else is served as if nothing had happened. The service sees this request on `connection`, or on
    /// a new connection.
    pub(super) fn others_are_served(&self) {
        let mut client = self.client_says(GET);
        let mut service = self.service.accept();
        assert!(service.head().starts_with("GET / HTTP/1.1\r\n"));
        service.send(OK);
        assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(client.exactly(2), b"ok");
    }
}

/// One end of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Fin,
    Reset,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANG)).unwrap();
        stream.set_write_timeout(Some(HANG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match self.stream.write_all(bytes.as_ref()) {
            // A shim hears of an end sooner than a socket does; what was read tells whether it came too soon.
            Err(error) if super::SECURE && error.kind() == ErrorKind::BrokenPipe => {}
            written => written.unwrap(),
        }
    }

    /// Writes up to `bytes` bytes, but stops when the other end has taken nothing for a second.
    pub(super) fn send_until_it_blocks(&mut self, bytes: usize) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let block = [b'x'; 65536];
        let mut sent = 0;
        while sent < bytes {
            match self.stream.write(&block[..block.len().min(bytes - sent)]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        sent
    }

    pub(super) fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    pub(super) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads more; `None` at the end of the stream.
    fn fill(&mut self) -> Result<usize, End> {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(End::Fin),
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                Ok(n)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => {
                panic!("waited for bytes after {:?}: {error}", String::from_utf8_lossy(&self.unread))
            }
        }
    }

    pub(super) fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.unread.windows(mark.len()).position(|window| window == mark) {
                return self.unread.drain(..at + mark.len()).collect();
            }
            if let Err(end) = self.fill() {
                panic!("{end:?} after {:?}", String::from_utf8_lossy(&self.unread));
            }
        }
    }

    pub(super) fn head_bytes(&mut self) -> Vec<u8> {
        self.until(b"\r\n\r\n")
    }

    pub(super) fn head(&mut self) -> String {
        String::from_utf8(self.head_bytes()).unwrap()
    }

    pub(super) fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.unread.len() < n {
            if let Err(end) = self.fill() {
                panic!("{end:?} after {:?}", String::from_utf8_lossy(&self.unread));
            }
        }
        self.unread.drain(..n).collect()
    }

    /// True if nothing has arrived, not even an end.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let nothing = self.stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).unwrap();
        nothing && self.unread.is_empty()
    }

    /// One request as its framing has it, or what came of it before the end.
    pub(super) fn one_message(&mut self) -> String {
        while !self.unread.windows(4).any(|window| window == b"\r\n\r\n") {
            if self.fill().is_err() {
                return String::from_utf8(std::mem::take(&mut self.unread)).unwrap();
            }
        }
        let head = self.head();
        let chunked = !fields(&head, "transfer-encoding").is_empty();
        let length = fields(&head, "content-length").first().map_or(0, |length| length.parse().unwrap());
        let body = if chunked {
            loop {
                if self.unread.ends_with(b"0\r\n\r\n") || self.fill().is_err() {
                    break std::mem::take(&mut self.unread);
                }
            }
        } else {
            self.exactly(length)
        };
        head + &String::from_utf8(body).unwrap()
    }

    /// Everything up to the end.
    pub(super) fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill() {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// An answer of the proxy's own: status, token, and a body that says something.
    pub(super) fn refusal(&mut self, status: u16, fault: Fault) {
        let head = self.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(field(&head, "x-crossfade-error"), fault.as_str());
        let length = field(&head, "content-length").parse().unwrap();
        let body = String::from_utf8(self.exactly(length)).unwrap();
        assert!(body.contains(fault.sentence()), "{body}");
    }
}

/// The value of a field that must be there once.
pub(super) fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let values = fields(head, name);
    assert_eq!(values.len(), 1, "{name} once in:\n{head}");
    values[0]
}

/// All values of a field, in order.
pub(super) fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}
