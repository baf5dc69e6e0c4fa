//! A client of HTTP/2 for tests: the `h2` crate on a thread of its own, and frames written by hand for what that
//! crate refuses to say.

use std::future::Future;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::world::*;

/// A connection whose background work goes on by itself.
pub(super) struct Client {
    pub(super) runtime: Runtime,
    requests: SendRequest<Bytes>,
}

/// Both directions of a session.
pub(super) struct Session {
    pub(super) send: SendStream<Bytes>,
    pub(super) receive: RecvStream,
}

impl Client {
    pub(super) fn of(world: &World) -> Self {
        let stream = world.client().stream;
        stream.set_nonblocking(true).unwrap();
        Self::over(async { tokio::net::TcpStream::from_std(stream).unwrap() })
    }

    pub(super) fn over<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        io: impl Future<Output = T>,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let requests = runtime.block_on(async {
            let mut builder = h2::client::Builder::new();
            // One stream that is not read must not be the client's own trouble.
            builder.initial_window_size(65_535).initial_connection_window_size(1 << 20);
            let (requests, connection) = builder.handshake(io.await).await.unwrap();
            tokio::spawn(async move { connection.await.unwrap_or(()) });
            requests
        });
        Self { runtime, requests }
    }

    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(HANG, what).await.expect("it does not hang") })
    }

    /// Sends a head; the answer comes later.
    pub(super) fn ask(
        &self,
        request: Request<()>,
        ended: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut requests = self.wait(self.requests.clone().ready()).unwrap();
        requests.send_request(request, ended).unwrap()
    }

    /// Until the server's settings have come, extended CONNECT may not be used.
    pub(super) fn until_connect_is_offered(&self) {
        let began = now();
        while !self.requests.is_extended_connect_protocol_enabled() {
            assert!(now() - began < HANG, "extended CONNECT is never offered");
            std::thread::yield_now();
        }
    }

    /// Asks for a WebSocket.
    pub(super) fn connect(&self, lines: &[(&str, &str)]) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        self.until_connect_is_offered();
        let mut request = Request::builder().method("CONNECT").uri("http://chat.example/chat?room=1");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        self.ask(request, false)
    }

    /// A session through the proxy, and the head that the service saw.
    pub(super) fn session(&self, world: &World) -> (Session, Peer, String) {
        let (answer, send) = self.connect(&[("sec-websocket-version", "13"), ("cookie", "a=1")]);
        let mut service = world.service.accept();
        let head = service.head();
        service.send(switch(&head, ""));
        let answer = self.wait(answer).unwrap();
        assert_eq!(answer.status(), 200);
        (Session { send, receive: answer.into_body() }, service, head)
    }

    pub(super) fn body(&self, answer: Response<RecvStream>) -> Result<Vec<u8>, h2::Error> {
        let mut body = answer.into_body();
        self.wait(async {
            let mut whole = Vec::new();
            while let Some(data) = body.data().await {
                let data = data?;
                body.flow_control().release_capacity(data.len())?;
                whole.extend_from_slice(&data);
            }
            Ok(whole)
        })
    }

    /// Waits for a stream's end, with nothing before it: in good order, or by a reset with this reason.
    pub(super) fn end(&self, receive: &mut RecvStream) -> Option<h2::Reason> {
        loop {
            match self.wait(receive.data()) {
                None => return None,
                Some(Ok(data)) => assert_eq!(data, "", "nothing comes before the end"),
                Some(Err(error)) => return Some(error.reason().expect("a reset has a reason")),
            }
        }
    }

    /// The next `n` bytes of a session.
    pub(super) fn exactly(&self, session: &mut Session, n: usize) -> Vec<u8> {
        self.wait(async {
            let mut got = Vec::new();
            while got.len() < n {
                let data = session.receive.data().await.expect("it has not ended").unwrap();
                session.receive.flow_control().release_capacity(data.len()).unwrap();
                got.extend_from_slice(&data);
            }
            got
        })
    }
}

/// The 101 that proves itself to this head.
pub(super) fn switch(head: &str, more: &str) -> String {
    let key = field(head, "sec-websocket-key");
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
}

/// A frame (RFC 9113 section 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head whose fields are literals without an index (RFC 7541 section 6.2.2), whatever is in them.
pub(super) fn fields_of(lines: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0);
        for part in [name, value] {
            assert!(part.len() < 127);
            block.push(u8::try_from(part.len()).unwrap());
            block.extend_from_slice(part);
        }
    }
    block
}

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
