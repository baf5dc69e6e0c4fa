//! STOMP 1.0 to 1.2: a command line, header lines, an empty line, a body, a NUL byte.
//! (stomp.github.io: `stomp-specification-1.2`, "Augmented BNF".)

use std::borrow::Cow;

use super::{Format, INSPECTED_BYTES_MAX, Reading, fits, head};

/// Every command, of clients and of servers.
const COMMANDS: [&str; 15] = [
    "CONNECT",
    "STOMP",
    "CONNECTED",
    "SEND",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "ACK",
    "NACK",
    "BEGIN",
    "COMMIT",
    "ABORT",
    "DISCONNECT",
    "MESSAGE",
    "RECEIPT",
    "ERROR",
];
/// A piece of a destination with at least so many hex digits, one of them decimal, is an identifier.
const HEX_ID_MIN: usize = 8;

/// Reads a frame. `sure` = the subprotocol says STOMP, so that a bare line end is a heartbeat.
pub(super) fn read(payload: &[u8], sure: bool) -> Option<Reading<'_>> {
    if sure && matches!(payload, b"\n" | b"\r\n") {
        return Some(reading(Cow::Borrowed("heartbeat"), &[]));
    }
    let looked_at = head(payload);
    let (command, mut at) = line(looked_at, 0)?;
    let command = COMMANDS.into_iter().find(|known| known.as_bytes() == command)?;
    let mut destination = None;
    loop {
        let (header, next) = line(looked_at, at)?;
        at = next;
        if header.is_empty() {
            break;
        }
        let colon = header.iter().position(|byte| *byte == b':')?;
        if header.get(..colon) == Some(b"destination") && destination.is_none() {
            destination = header.get(colon + 1..).and_then(|value| std::str::from_utf8(value).ok());
        }
    }
    let mut body = payload.get(at..)?;
    while let [rest @ .., b'\n' | b'\r'] = body {
        body = rest;
    }
    let ends = body.strip_suffix(b"\0");
    if ends.is_none() && payload.len() <= INSPECTED_BYTES_MAX {
        return None;
    }
    let full = destination.map(|place| format!("{command} {}", fold(place))).filter(|name| fits(name));
    Some(reading(full.map_or(Cow::Borrowed(command), Cow::Owned), ends.unwrap_or(body)))
}

/// The line that starts at `at`, without its end, and where the next one starts. `None` = it does not end here.
fn line(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = text.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = rest.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), at + end + 1))
}

/// A destination with its identifiers replaced by `*`, so that a room of its own is no type of its own.
fn fold(destination: &str) -> String {
    let mut out = String::with_capacity(destination.len());
    for piece in destination.split_inclusive(['/', '.', ':', '-']) {
        let bare = piece.trim_end_matches(['/', '.', ':', '-']);
        let hex = bare.len() >= HEX_ID_MIN && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits = bare.bytes().filter(u8::is_ascii_digit).count();
        let is_id = digits > 0 && (hex || digits == bare.len());
        out.push_str(if is_id { "*" } else { bare });
        out.push_str(piece.get(bare.len()..).unwrap_or_default());
    }
    out
}

const fn reading<'a>(name: Cow<'a, str>, document: &'a [u8]) -> Reading<'a> {
    Reading { format: Format::Stomp, name, document }
}
