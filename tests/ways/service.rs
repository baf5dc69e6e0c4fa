//! The service at the end of every way: it answers what the table says, and tells what it saw.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::HANG;
use crate::client::{self, End};
use crate::table::{self, Reset, Talk};

#[expect(clippy::disallowed_methods, reason = "tests on real sockets are shells")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What came to the service.
pub(crate) enum Seen {
    /// A request, its chunks put together; without a body if that broke off.
    Request { head: Vec<u8>, body: Option<Vec<u8>> },
    /// What a session brought, and how it ended.
    Session((Vec<u8>, End)),
}

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    seen: Receiver<Seen>,
}

impl Service {
    /// Serves as long as the process lives.
    pub(crate) fn start(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, seen) = sync_channel(64);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, sender) = (socket.unwrap(), sender.clone());
                std::thread::spawn(move || serve(socket, &sender));
            }
        });
        Self { address, seen }
    }

    /// What comes next.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.recv_timeout(HANG).expect("it reaches the service")
    }
}

fn serve(mut socket: TcpStream, sender: &SyncSender<Seen>) {
    client::patient(&socket);
    let Some(head) = client::head(&mut socket) else { return };
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let target = String::from_utf8_lossy(target).into_owned();
    if let Some(number) = target.strip_prefix("/session/") {
        let talk = &table::talks()[number.parse::<usize>().unwrap()];
        drop(sender.send(Seen::Session(session(socket, &head, talk))));
        return;
    }
    let body = client::body(&mut socket, &head);
    let whole = body.is_some();
    let text = table::asks().into_iter().find(|ask| ask.target == target).filter(|_| whole);
    drop(sender.send(Seen::Request { head, body }));
    let Some(ask) = text else { return };
    let mut answer = format!("HTTP/1.1 {}\r\nConnection: close\r\n", ask.status).into_bytes();
    for &(name, value) in ask.answer_fields {
        answer.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    if ask.answer_in_chunks {
        answer.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for part in ask.answer.chunks(9999) {
            answer.extend([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        answer.extend(b"0\r\n\r\n");
    } else {
        answer.extend([b"\r\n", &ask.answer[..]].concat());
    }
    // A client that is gone has its own opinion.
    drop(socket.write_all(&answer));
}

fn session(mut socket: TcpStream, head: &[u8], talk: &Talk) -> (Vec<u8>, End) {
    let key = client::value(head, "sec-websocket-key").unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(&key)
    );
    socket.write_all(&[answer.as_bytes(), &talk.early_down].concat()).unwrap();
    let expect = talk.early_up.len() + talk.up.len();
    let mut writer = socket.try_clone().unwrap();
    let (down, piece) = (talk.down.clone(), talk.piece);
    let writing = std::thread::spawn(move || {
        down.chunks(piece.min(down.len().max(1))).for_each(|piece| writer.write_all(piece).unwrap());
        writer
    });
    if talk.reset == Reset::Nobody {
        let ended = std::thread::spawn(move || writing.join().unwrap().shutdown(Shutdown::Write).unwrap());
        let got = client::rest(&mut socket);
        ended.join().unwrap();
        return got;
    }
    let mut got = vec![0; expect];
    socket.read_exact(&mut got).unwrap();
    let mut writer = writing.join().unwrap();
    if talk.reset == Reset::Client {
        // Each side says that it has read everything: a reset may overtake bytes.
        writer.write_all(b"!").unwrap();
        let (more, end) = client::rest(&mut socket);
        return ([got, more].concat(), end);
    }
    socket.read_exact(&mut [0]).unwrap();
    drop(writer);
    client::reset(socket);
    (got, End::Reset)
}
