//! The text forms: the object of 1.0.0 and the array of 2.0.0.
//! Fields are kept as raw JSON until they are needed, so a payload is found but not parsed.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::realtime::message::{DecodeError, EncodeError, Field, Head, Message, Vsn};

/// What an absent or null payload is read as.
const NULL: &[u8] = b"null";

/// Reads a text frame.
pub(super) fn decode(vsn: Vsn, frame: &Bytes) -> Result<Message, DecodeError> {
    if frame.is_empty() {
        return Err(DecodeError::Empty);
    }
    let text = std::str::from_utf8(frame).map_err(|_| DecodeError::NotUtf8(Field::Payload))?;
    let raw = match vsn {
        Vsn::V1 => object(text)?,
        Vsn::V2 => array(text)?,
    };
    let head = Head {
        join_ref: string(raw.join_ref, Field::JoinRef)?,
        reference: string(raw.reference, Field::Ref)?,
        topic: string(raw.topic, Field::Topic)?.ok_or(DecodeError::Missing(Field::Topic))?,
        event: string(raw.event, Field::Event)?.ok_or(DecodeError::Missing(Field::Event))?,
    };
    let payload = raw.payload.map_or(Bytes::from_static(NULL), |raw| part(frame, raw.get()));
    Ok(Message::Text(head, payload))
}

/// Writes a text frame. The payload goes in as it is, so it must be one JSON value.
pub(super) fn encode(vsn: Vsn, head: &Head, payload: &Bytes) -> Result<Bytes, EncodeError> {
    serde_json::from_slice::<IgnoredAny>(payload).map_err(|_| EncodeError::PayloadNotJson)?;
    let mut out = BytesMut::with_capacity(payload.len() + head.topic.len() + head.event.len() + 96);
    match vsn {
        Vsn::V1 => {
            put(&mut out, b"{\"topic\":", Some(&head.topic));
            put(&mut out, b",\"event\":", Some(&head.event));
            out.put_slice(b",\"payload\":");
            out.put_slice(payload);
            put(&mut out, b",\"ref\":", head.reference.as_deref());
            put(&mut out, b",\"join_ref\":", head.join_ref.as_deref());
            out.put_u8(b'}');
        }
        Vsn::V2 => {
            put(&mut out, b"[", head.join_ref.as_deref());
            put(&mut out, b",", head.reference.as_deref());
            put(&mut out, b",", Some(&head.topic));
            put(&mut out, b",", Some(&head.event));
            out.put_u8(b',');
            out.put_slice(payload);
            out.put_u8(b']');
        }
    }
    Ok(out.freeze())
}

/// The slice of `frame` that `inside` is. `inside` was borrowed from it; were it not, its bytes are copied.
pub(super) fn part(frame: &Bytes, inside: &str) -> Bytes {
    let start = (inside.as_ptr() as usize).wrapping_sub(frame.as_ptr() as usize);
    match start.checked_add(inside.len()) {
        Some(end) if end <= frame.len() => frame.slice(start..end),
        _ => Bytes::copy_from_slice(inside.as_bytes()),
    }
}

/// The five parts, unparsed.
#[derive(Default)]
struct Raw<'a> {
    join_ref: Option<&'a RawValue>,
    reference: Option<&'a RawValue>,
    topic: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

fn object(text: &str) -> Result<Raw<'_>, DecodeError> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow, default)]
        join_ref: Option<&'a RawValue>,
        #[serde(borrow, default, rename = "ref")]
        reference: Option<&'a RawValue>,
        #[serde(borrow, default)]
        topic: Option<&'a RawValue>,
        #[serde(borrow, default)]
        event: Option<&'a RawValue>,
        #[serde(borrow, default)]
        payload: Option<&'a RawValue>,
    }
    let wrong = DecodeError::WrongShape("object");
    // Serde would also take an array for a struct.
    let starts = text.trim_start().starts_with('{');
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| named(&error, text, wrong))?;
    if !starts {
        return Err(wrong);
    }
    Ok(Raw {
        join_ref: object.join_ref,
        reference: object.reference,
        topic: object.topic,
        event: object.event,
        payload: object.payload,
    })
}

fn array(text: &str) -> Result<Raw<'_>, DecodeError> {
    let parsed: Result<Five<'_>, _> = serde_json::from_str(text);
    match parsed {
        Ok(Five(raw)) => Ok(raw),
        Err(error) => Err(named(&error, text, DecodeError::WrongShape("array of five"))),
    }
}

/// Exactly the first five elements; what follows is read over without being kept.
struct Five<'a>(Raw<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Five<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FiveVisitor).map(Five)
    }
}

struct FiveVisitor;

impl<'de> Visitor<'de> for FiveVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of five")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let next = |seq: &mut A| {
            seq.next_element::<Option<&'de RawValue>>()?.ok_or_else(|| serde::de::Error::custom("too short"))
        };
        let raw = Raw {
            join_ref: next(&mut seq)?,
            reference: next(&mut seq)?,
            topic: next(&mut seq)?,
            event: next(&mut seq)?,
            payload: next(&mut seq)?,
        };
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(raw)
    }
}

/// Our own error for serde's, whose text may quote content.
fn named(error: &serde_json::Error, text: &str, shape: DecodeError) -> DecodeError {
    if error.is_data() {
        return shape;
    }
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    DecodeError::NotJson { at: before.saturating_add(error.column()).min(text.len()) }
}

/// A string, or the digits of a number: servers give refs and topics back as they were sent.
fn string(raw: Option<&RawValue>, field: Field) -> Result<Option<String>, DecodeError> {
    let Some(raw) = raw.map(RawValue::get) else { return Ok(None) };
    match raw.bytes().next() {
        Some(b'"') => serde_json::from_str(raw).map(Some).map_err(|_| DecodeError::NotUtf8(field)),
        Some(b'-' | b'0'..=b'9') => Ok(Some(raw.to_owned())),
        _ => Err(DecodeError::WrongType(field)),
    }
}

fn put(out: &mut BytesMut, before: &[u8], value: Option<&str>) {
    out.put_slice(before);
    match value {
        None => out.put_slice(NULL),
        // Strings cannot fail to serialise; were it to happen, the frame would be `""` there.
        Some(value) => {
            out.put_slice(serde_json::to_string(value).unwrap_or_else(|_| "\"\"".into()).as_bytes())
        }
    }
}
