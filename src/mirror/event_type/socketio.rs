//! Engine.IO packets (protocols 3 and 4) and the Socket.IO packets (protocols 4 and 5) inside of them.
//! `42/admin,17["alert",…]`: Engine.IO type, Socket.IO type, attachments, namespace, ack id, array.

use std::borrow::Cow;

use serde::de::DeserializeSeed as _;

use super::json::Name;
use super::{Format, Reading, fits, head};
use crate::session::Opcode;

/// Digits of an ack id or of a count of attachments; more are something else.
const DIGITS_MAX: usize = 10;

/// Reads a packet. `sure` = the path says that this is Engine.IO, so that packets without content count too.
pub(super) fn read(op: Opcode, payload: &[u8], sure: bool) -> Option<Reading<'_>> {
    if op == Opcode::Binary {
        return sure.then(|| reading(Cow::Borrowed("socket.io:attachment"), payload));
    }
    let (kind, rest) = head(payload).split_first()?;
    let name = match kind {
        b'4' => return packet(payload, sure),
        b'0' if rest.starts_with(br#"{"sid":"#) => "engine.io:open",
        b'1' if sure && rest.is_empty() => "engine.io:close",
        b'2' if sure && (rest.is_empty() || rest == b"probe") => "engine.io:ping",
        b'3' if sure && (rest.is_empty() || rest == b"probe") => "engine.io:pong",
        b'5' if sure && rest.is_empty() => "engine.io:upgrade",
        b'6' if sure && rest.is_empty() => "engine.io:noop",
        _ => return None,
    };
    Some(reading(Cow::Borrowed(name), payload.get(1..)?))
}

fn packet(payload: &[u8], sure: bool) -> Option<Reading<'_>> {
    let (kind, mut rest) = payload.get(1..)?.split_first()?;
    if matches!(kind, b'5' | b'6') {
        let (count, behind) = digits(rest);
        rest = behind.strip_prefix(b"-").filter(|_| count > 0)?;
    }
    let (namespace, behind) = namespace(rest)?;
    let (ack, document) = digits(behind);
    if ack > DIGITS_MAX {
        return None;
    }
    let bare = document.is_empty() || document.starts_with(b"{");
    let name = match kind {
        b'0' if bare && (sure || document.starts_with(br#"{"sid":"#)) => Cow::Borrowed("socket.io:connect"),
        b'1' if sure && document.is_empty() => Cow::Borrowed("socket.io:disconnect"),
        b'2' | b'5' => event(namespace, document)?,
        b'3' | b'6' if ack > 0 && document.starts_with(b"[") => Cow::Borrowed("ack"),
        b'4' if sure && bare => Cow::Borrowed("socket.io:connect_error"),
        _ => return None,
    };
    Some(reading(name, document))
}

/// A namespace and the comma behind it, if there is one; what follows. `None` = it never ends.
fn namespace(text: &[u8]) -> Option<(&str, &[u8])> {
    if !text.starts_with(b"/") {
        return Some(("", text));
    }
    let looked_at = head(text);
    let end = looked_at.iter().position(|byte| *byte == b',')?;
    let name = std::str::from_utf8(text.get(..end)?).ok()?;
    let name = name.split('?').next().unwrap_or(name);
    Some((if name == "/" { "" } else { name }, text.get(end + 1..)?))
}

/// The first place of the array, which must be a name.
fn event<'a>(namespace: &str, document: &'a [u8]) -> Option<Cow<'a, str>> {
    let inside = head(document.strip_prefix(b"[")?);
    let mut reader = serde_json::Deserializer::from_slice(inside);
    let text = inside.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'"');
    let name = Name.deserialize(&mut reader).ok()?.filter(|_| text)?;
    if namespace.is_empty() {
        return Some(name);
    }
    let full = format!("{namespace}:{name}");
    fits(&full).then_some(Cow::Owned(full))
}

fn digits(text: &[u8]) -> (usize, &[u8]) {
    let count = text.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    (count, text.get(count..).unwrap_or_default())
}

const fn reading<'a>(name: Cow<'a, str>, document: &'a [u8]) -> Reading<'a> {
    Reading { format: Format::SocketIo, name, document }
}
