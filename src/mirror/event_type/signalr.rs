//! SignalR's JSON hub protocol: records that end in 0x1e, several of which may stand in one message.
//! (dotnet/aspnetcore: `src/SignalR/docs/specs/HubProtocol.md`.) The first record names the message.

use std::borrow::Cow;

use super::{Format, INSPECTED_BYTES_MAX, Reading, json};

const RECORD_END: u8 = 0x1e;

/// Reads the records of a message, if it has any.
pub(super) fn read(payload: &[u8]) -> Option<Reading<'_>> {
    if payload.last() != Some(&RECORD_END) {
        return None;
    }
    let looked_at = payload.get(..INSPECTED_BYTES_MAX).unwrap_or(payload);
    let end = looked_at.iter().position(|byte| *byte == RECORD_END);
    // A first record longer than the head is read as far as it goes; pointers get all of it.
    let document = match end {
        Some(end) => payload.get(..end)?,
        None => payload.split(|byte| *byte == RECORD_END).next()?,
    };
    let [kind, target, protocol, ..] = json::values_of(document, &["type", "target", "protocol"]);
    let name = match kind.as_deref() {
        Some("1" | "4") => target?,
        Some("2") => Cow::Borrowed("signalr:item"),
        Some("3") => Cow::Borrowed("signalr:completion"),
        Some("5") => Cow::Borrowed("signalr:cancel"),
        Some("6") => Cow::Borrowed("signalr:ping"),
        Some("7") => Cow::Borrowed("signalr:close"),
        Some("8" | "9") => Cow::Borrowed("signalr:sequence"),
        None if protocol.is_some() || document == b"{}" => Cow::Borrowed("signalr:handshake"),
        _ => return None,
    };
    Some(Reading { format: Format::SignalR, name, document })
}
