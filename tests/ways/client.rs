//! Clients of every way, and what they and the service have in common: heads, bodies, ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;

use crate::HANG;
use crate::table::{Ask, Reset, Talk, talks};

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// A request or an answer without what belongs to one hop: its first line, its fields by name, its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    line: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    pub(crate) fn of(head: &[u8], body: Vec<u8>) -> Self {
        let text = head.escape_ascii().to_string().replace("\\r\\n", "\n");
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        Self { line, fields, body }.end_to_end()
    }

    fn end_to_end(mut self) -> Self {
        self.fields.retain(|(name, _)| {
            let name = name.to_ascii_lowercase();
            !matches!(&*name, "connection" | "transfer-encoding" | "host")
                && !name.starts_with("x-forwarded-")
        });
        self.fields.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        self
    }

    /// True of an answer that says so.
    pub(crate) fn is_ok(&self) -> bool {
        self.line.split(' ').nth(1) == Some("200") && self.body == b"ok"
    }

    /// As HTTP/2 has it: names without case, and no reason beside the status.
    pub(crate) fn in_lower_case(mut self) -> Self {
        self.fields.iter_mut().for_each(|(name, _)| *name = name.to_ascii_lowercase());
        if self.line.starts_with("HTTP/") {
            self.line = self.line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        self
    }
}

/// Every wait ends.
pub(crate) fn patient(socket: &TcpStream) {
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket.set_write_timeout(Some(HANG)).unwrap();
    socket.set_nodelay(true).unwrap();
}

fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).unwrap();
    patient(&socket);
    socket
}

pub(crate) fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
}

/// One head with its empty line; `None` if it ends before.
pub(crate) fn head(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(socket.read(&mut byte), Ok(1)) {
            return None;
        }
        head.push(byte[0]);
    }
    Some(head)
}

/// The value of a field.
pub(crate) fn value(head: &[u8], name: &str) -> Option<Vec<u8>> {
    let lines = head.split(|byte| *byte == b'\n');
    let mut found = lines.filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (found, value) = line.split_at(at);
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value[1..].trim_ascii().to_vec())
    });
    found.next_back()
}

/// The names of all fields, in lower case.
pub(crate) fn names(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).to_lowercase();
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect()
}

/// The body of a request, by its framing; `None` if it breaks off.
pub(crate) fn body(socket: &mut TcpStream, head: &[u8]) -> Option<Vec<u8>> {
    if value(head, "transfer-encoding").is_some() {
        return chunks(socket);
    }
    let length = value(head, "content-length").unwrap_or_else(|| b"0".to_vec());
    let mut body = vec![0; String::from_utf8(length).ok()?.parse().ok()?];
    socket.read_exact(&mut body).ok()?;
    Some(body)
}

fn chunks(socket: &mut impl Read) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim_ascii_end(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        socket.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// Everything to the end.
pub(crate) fn rest(socket: &mut TcpStream) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => (bytes, End::Fin),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Reset),
        Err(error) => panic!("after {} bytes: {error}", bytes.len()),
    }
}

/// Asks, and gives back the answer.
pub(crate) fn ask(in_http2: bool, to: SocketAddr, ask: &Ask) -> Message {
    if in_http2 { http2(to, ask) } else { http1(to, ask) }
}

/// Asks in HTTP/1.1.
fn http1(to: SocketAddr, ask: &Ask) -> Message {
    let mut socket = connect(to);
    let mut request = format!("{} {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", ask.method, ask.target);
    let announced = ask.fields.iter().any(|(name, _)| *name == "Content-Length");
    let chunked = !ask.body.is_empty() && !announced;
    if chunked {
        request += "Transfer-Encoding: chunked\r\n";
    }
    let mut request = request.into_bytes();
    for &(name, value) in ask.fields {
        request.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    socket.write_all(&[&request[..], b"\r\n"].concat()).unwrap();
    for piece in &ask.body {
        let size = format!("{:x}\r\n", piece.len());
        let framed = [size.as_bytes(), piece, b"\r\n"].concat();
        socket.write_all(if chunked { &framed } else { piece }).unwrap();
    }
    if chunked {
        socket.write_all(b"0\r\n\r\n").unwrap();
    }
    let head = head(&mut socket).unwrap_or_else(|| panic!("{}: no answer", ask.name));
    let (mut answer, end) = rest(&mut socket);
    assert_eq!(end, End::Fin, "{}", ask.name);
    if value(&head, "transfer-encoding").is_some() {
        answer = chunks(&mut &answer[..]).unwrap_or_else(|| panic!("{}: no whole answer", ask.name));
    }
    Message::of(&head, answer)
}

/// Asks in HTTP/2.
fn http2(to: SocketAddr, ask: &Ask) -> Message {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asking = async {
        let tcp = tokio::net::TcpStream::connect(to).await.unwrap();
        let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
        tokio::spawn(async move { connection.await.unwrap_or(()) });
        let mut request = http::Request::builder().method(ask.method).uri(format!("http://a{}", ask.target));
        for &(name, value) in ask.fields {
            request = request.header(name, value);
        }
        let request = request.body(()).unwrap();
        let mut requests = requests.ready().await.unwrap();
        let (answer, mut send) = requests.send_request(request, ask.body.is_empty()).unwrap();
        for piece in &ask.body {
            let mut left = Bytes::from(piece.clone());
            while !left.is_empty() {
                send.reserve_capacity(left.len());
                let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
                send.send_data(left.split_to(room.min(left.len())), false).unwrap();
            }
        }
        if !ask.body.is_empty() {
            send.send_data(Bytes::new(), true).unwrap();
        }
        let (parts, mut receive) = answer.await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(data) = receive.data().await {
            let data = data.unwrap();
            receive.flow_control().release_capacity(data.len()).unwrap();
            body.extend_from_slice(&data);
        }
        let mut head = format!("HTTP/1.1 {}\r\n", parts.status.as_str()).into_bytes();
        for (name, value) in &parts.headers {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        Message::of(&head, body)
    };
    runtime.block_on(async { tokio::time::timeout(HANG, asking).await.expect("it is answered") })
}

/// Talks in a session, and gives back what was heard.
pub(crate) fn talk(to: SocketAddr, talk: &Talk) -> (Vec<u8>, End) {
    let number = talks().iter().position(|other| other.name == talk.name).unwrap();
    let mut socket = connect(to);
    let request = format!(
        "GET /session/{number} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    socket.write_all(&[request.as_bytes(), &talk.early_up].concat()).unwrap();
    let answer = head(&mut socket).unwrap_or_else(|| panic!("{}: no answer", talk.name));
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}: {}", talk.name, answer.escape_ascii());
    let mut writer = socket.try_clone().unwrap();
    let (up, piece) = (talk.up.clone(), talk.piece);
    let writing = std::thread::spawn(move || {
        up.chunks(piece.min(up.len().max(1))).for_each(|piece| writer.write_all(piece).unwrap());
        writer
    });
    if talk.reset == Reset::Nobody {
        let ended = std::thread::spawn(move || writing.join().unwrap().shutdown(Shutdown::Write).unwrap());
        let got = rest(&mut socket);
        ended.join().unwrap();
        return got;
    }
    let mut got = vec![0; talk.early_down.len() + talk.down.len()];
    socket.read_exact(&mut got).unwrap();
    drop(writing.join().unwrap());
    if talk.reset == Reset::Client {
        socket.read_exact(&mut [0]).unwrap();
        reset(socket);
        return (got, End::Reset);
    }
    socket.write_all(b"!").unwrap();
    let (more, end) = rest(&mut socket);
    ([got, more].concat(), end)
}

/// Where two sessions differ, in few words.
pub(crate) fn difference(got: &[(Vec<u8>, End); 2], expect: &[(Vec<u8>, End); 2]) -> String {
    let sides = ["at the service", "at the client"].into_iter().zip(got.iter().zip(expect));
    let told = sides.filter(|(_, (got, expect))| got != expect).map(|(side, (got, expect))| {
        let same = got.0.iter().zip(&expect.0).take_while(|(one, other)| one == other).count();
        let (many, most) = (got.0.len(), expect.0.len());
        format!("{side} {many} of {most} bytes, {same} of them right, {:?} and not {:?}", got.1, expect.1)
    });
    told.collect::<Vec<_>>().join("; ")
}

/// True if this ends with an answer that is a refusal, or with none.
pub(crate) fn is_refused(to: SocketAddr, text: &[u8]) -> bool {
    let mut socket = connect(to);
    let mut writer = socket.try_clone().unwrap();
    let text = text.to_vec();
    // Whoever is refused may be cut off before all is said.
    let writing = std::thread::spawn(move || drop(writer.write_all(&text)));
    let mut answer = Vec::new();
    // The end may be a reset: what was sent too much is lost with it.
    drop(socket.read_to_end(&mut answer));
    writing.join().unwrap();
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    answer.is_empty() || matches!(status.first(), Some(b'4' | b'5'))
}

/// The same in HTTP/2: the stream, the connection, or with an answer that is a refusal.
pub(crate) fn is_refused_by_frames(to: SocketAddr, frames: &[u8]) -> bool {
    let mut socket = connect(to);
    let mut writer = socket.try_clone().unwrap();
    let frames = frames.to_vec();
    let writing = std::thread::spawn(move || drop(writer.write_all(&frames)));
    let refused = loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).is_err() {
            break true;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if socket.read_exact(&mut payload).is_err() {
            break true;
        }
        match head[3] {
            // RST_STREAM, GOAWAY.
            3 | 7 => break true,
            // 400, 404 and 500 have an index of their own (RFC 7541 appendix A), other statuses but 2xx and 304 are
            // literals that begin so.
            1 => break matches!(payload.first(), Some(0x8C..=0x8E | 0x48)),
            _ => {}
        }
    };
    drop(socket.shutdown(Shutdown::Both));
    writing.join().unwrap();
    refused
}
