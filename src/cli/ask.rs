//! One question to the admin API of the running process, for commands: blocking, bounded, without a runtime.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::drain::status;

/// Connecting, writing and each read.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: far above a full list of event types.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Status and body of one GET.
///
/// # Errors
/// What the connection says; `InvalidData` where the answer is not HTTP/1.1, or too long.
pub(super) fn get(address: SocketAddr, path: &str, token: Option<&str>) -> std::io::Result<(u16, Vec<u8>)> {
    send(address, &format!("GET {path}"), token, "\r\n")
}

/// Status and body of one change, if what it is about still has this version (`*`: whatever it has).
///
/// # Errors
/// As [`get`].
pub(super) fn post(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    version: &str,
    body: &str,
) -> std::io::Result<(u16, Vec<u8>)> {
    let length = body.len();
    let rest = format!(
        "If-Match: {version}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    send(address, &format!("POST {path}"), token, &rest)
}

/// `rest`: more fields, the empty line, the body.
fn send(address: SocketAddr, what: &str, token: Option<&str>, rest: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("{what} HTTP/1.1\r\nHost: {address}\r\n{bearer}Connection: close\r\n{rest}");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let told = status(&answer).zip(split).filter(|_| answer.len() as u64 <= ANSWER_BYTES_MAX);
    let (status, split) =
        told.ok_or_else(|| Error::new(ErrorKind::InvalidData, "that is not crossfade's admin API"))?;
    Ok((status, answer.split_off(split + 4)))
}
