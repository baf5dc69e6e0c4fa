//! The binary kinds of 2.0.0: kind byte, one-byte lengths, the header fields, then the payload to the end.
//! Lengths count UTF-8 bytes; the layout per kind is the table in `tests/wire/README.md`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::realtime::message::{
    DecodeError, EncodeError, Encoding, Field, Head, Message, Origin, UserBroadcast,
};

const PUSH: u8 = 0;
const REPLY: u8 = 1;
const BROADCAST: u8 = 2;
const USER_PUSH: u8 = 3;
const USER_BROADCAST: u8 = 4;

/// Reads a binary frame.
pub(super) fn decode(origin: Origin, frame: &Bytes) -> Result<Message, DecodeError> {
    use Field::{Event, JoinRef, Metadata, Ref, Status, Topic};
    let kind = *frame.first().ok_or(DecodeError::Empty)?;
    let fields: &[Field] = match (kind, origin) {
        (PUSH, Origin::Client) => &[JoinRef, Ref, Topic, Event],
        (PUSH, Origin::Server) => &[JoinRef, Topic, Event],
        (REPLY, Origin::Server) => &[JoinRef, Ref, Topic, Status],
        (BROADCAST, Origin::Server) => &[Topic, Event],
        (USER_PUSH, Origin::Client) => &[JoinRef, Ref, Topic, Event, Metadata],
        (USER_BROADCAST, Origin::Server) => &[Topic, Event, Metadata],
        _ => return Err(DecodeError::UnknownKind(kind)),
    };
    let has_encoding = kind >= USER_PUSH;
    let mut at = 1 + fields.len() + usize::from(has_encoding);
    let lengths = frame.get(1..at).ok_or(DecodeError::Truncated { kind, need: at, have: frame.len() })?;
    let need = at + lengths.iter().take(fields.len()).map(|&len| usize::from(len)).sum::<usize>();
    if need > frame.len() {
        return Err(DecodeError::Truncated { kind, need, have: frame.len() });
    }
    let (mut head, mut metadata) = (Head::default(), Bytes::new());
    for (&field, &len) in fields.iter().zip(lengths) {
        let end = at + usize::from(len);
        let bytes = frame.slice(at..end);
        at = end;
        match field {
            JoinRef => head.join_ref = Some(utf8(&bytes, field)?).filter(|text| !text.is_empty()),
            Ref => head.reference = Some(utf8(&bytes, field)?).filter(|text| !text.is_empty()),
            Topic => head.topic = utf8(&bytes, field)?,
            // The official JS client writes non-ASCII events as one byte per UTF-16 unit (recording 12).
            Event | Status => head.event = String::from_utf8_lossy(&bytes).into_owned(),
            _ => metadata = bytes,
        }
    }
    let payload = frame.slice(at..);
    Ok(match kind {
        PUSH => Message::Push(head, payload),
        REPLY => Message::Reply(head, payload),
        BROADCAST => Message::Broadcast(head, payload),
        _ => {
            let encoding = if lengths.last() == Some(&0) { Encoding::Bytes } else { Encoding::Json };
            Message::User(UserBroadcast { origin, head, metadata, encoding, payload })
        }
    })
}

fn utf8(bytes: &Bytes, field: Field) -> Result<String, DecodeError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::NotUtf8(field))
}

/// Writes a binary frame; a [`Message::Push`] always as a client's.
pub(super) fn encode(message: &Message) -> Result<Bytes, EncodeError> {
    let head = message.head();
    let join_ref = (Field::JoinRef, head.join_ref.as_deref().unwrap_or_default().as_bytes());
    let reference = (Field::Ref, head.reference.as_deref().unwrap_or_default().as_bytes());
    let topic = (Field::Topic, head.topic.as_bytes());
    let event = (Field::Event, head.event.as_bytes());
    match message {
        Message::Text(_, payload) | Message::Push(_, payload) => {
            frame(PUSH, &[join_ref, reference, topic, event], None, payload)
        }
        Message::Reply(_, payload) => frame(REPLY, &[join_ref, reference, topic, event], None, payload),
        Message::Broadcast(_, payload) => frame(BROADCAST, &[topic, event], None, payload),
        Message::User(user) => {
            let metadata = (Field::Metadata, &user.metadata[..]);
            match user.origin {
                Origin::Client => {
                    let fields = [join_ref, reference, topic, event, metadata];
                    frame(USER_PUSH, &fields, Some(user.encoding), &user.payload)
                }
                Origin::Server => {
                    frame(USER_BROADCAST, &[topic, event, metadata], Some(user.encoding), &user.payload)
                }
            }
        }
    }
}

fn frame(
    kind: u8,
    fields: &[(Field, &[u8])],
    encoding: Option<Encoding>,
    payload: &Bytes,
) -> Result<Bytes, EncodeError> {
    let names: usize = fields.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut out = BytesMut::with_capacity(2 + fields.len() + names + payload.len());
    out.put_u8(kind);
    for &(field, bytes) in fields {
        let len =
            u8::try_from(bytes.len()).map_err(|_| EncodeError::TooLong { field, bytes: bytes.len() })?;
        out.put_u8(len);
    }
    if let Some(encoding) = encoding {
        out.put_u8(u8::from(encoding == Encoding::Json));
    }
    for (_, bytes) in fields {
        out.put_slice(bytes);
    }
    out.put_slice(payload);
    Ok(out.freeze())
}
