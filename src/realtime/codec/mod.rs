//! Frames to messages and back, for both versions of the serializer.
//!
//! A listener on 2.0.0 must read broadcasts both as text arrays and as kind 4, because the form follows the
//! sender (`tests/wire/recordings/03`). Reading is lenient where servers and peers are: refs and topics may be
//! numbers, unknown object keys and extra array elements are skipped, and an event that is not UTF-8 (the official
//! JS client sends such) is read with replacement characters. Payloads are slices of the frame, never copies.

mod binary;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod tests;
mod text;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::{DecodeError, EncodeError, Frame, Message, Origin, Vsn};

/// Reads one frame that `origin` wrote.
///
/// # Errors
/// [`DecodeError`] names the field or the place that is wrong; the socket is still good, so drop the frame.
pub fn decode(vsn: Vsn, origin: Origin, frame: &Frame) -> Result<Message, DecodeError> {
    match frame {
        Frame::Text(bytes) => text::decode(vsn, bytes),
        Frame::Binary(bytes) => binary::decode(origin, bytes),
    }
}

/// Writes one message.
///
/// # Errors
/// [`EncodeError`] when the version or the one-byte lengths cannot hold it.
pub fn encode(vsn: Vsn, message: &Message) -> Result<Frame, EncodeError> {
    match message {
        Message::Text(head, payload) => text::encode(vsn, head, payload).map(Frame::Text),
        _ if vsn == Vsn::V1 => Err(EncodeError::BinaryNeedsV2),
        _ => binary::encode(message).map(Frame::Binary),
    }
}

/// The inside of a text broadcast: `{"type":"broadcast","event":E,"payload":P,"meta":M}`.
#[derive(Debug, PartialEq, Eq)]
pub struct TextBroadcast {
    /// E, or empty when the payload has no such key: the server demands none.
    pub event: String,
    /// P, or the whole payload when it has no such key.
    pub payload: Bytes,
    /// M, or empty.
    pub meta: Bytes,
}

/// Takes the payload of a text `broadcast` apart. Never fails: what has another shape is handed on whole.
#[must_use]
pub fn open_broadcast(payload: &Bytes) -> TextBroadcast {
    #[derive(Deserialize)]
    struct Inside<'a> {
        #[serde(borrow, default)]
        event: Option<&'a RawValue>,
        #[serde(borrow, default)]
        payload: Option<&'a RawValue>,
        #[serde(borrow, default)]
        meta: Option<&'a RawValue>,
    }
    let is_object = payload.first() == Some(&b'{');
    let Some(inside) = serde_json::from_slice::<Inside<'_>>(payload).ok().filter(|_| is_object) else {
        return TextBroadcast { event: String::new(), payload: payload.clone(), meta: Bytes::new() };
    };
    let event =
        inside.event.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).unwrap_or_default();
    TextBroadcast {
        event,
        payload: inside.payload.map_or_else(|| payload.clone(), |raw| text::part(payload, raw.get())),
        meta: inside.meta.map_or_else(Bytes::new, |raw| text::part(payload, raw.get())),
    }
}
