//! The binary kinds of protocol 2.0.0: one-byte lengths counted in UTF-8 bytes, then the fields, then the payload.
//! 0 and 3 come from clients, 2 and 4 go to listeners.

use super::super::json::Json;
use super::{Body, Message, UserBroadcast};
use bytes::{BufMut as _, Bytes, BytesMut};

const PUSH: u8 = 0;
const BROADCAST: u8 = 2;
const USER_PUSH: u8 = 3;
const USER_BROADCAST: u8 = 4;

pub(super) fn decode(frame: &Bytes) -> Option<Message> {
    match *frame.first()? {
        PUSH => push(frame),
        USER_PUSH => user_push(frame),
        _ => None,
    }
}

fn push(frame: &Bytes) -> Option<Message> {
    let lengths = frame.get(1..5)?.to_vec();
    let mut fields = Fields { frame, at: 5 };
    let join_ref = fields.text(*lengths.first()?)?;
    let reference = fields.text(*lengths.get(1)?)?;
    let topic = fields.text(*lengths.get(2)?)?;
    let event = fields.text(*lengths.get(3)?)?;
    let body = Body::Bytes(fields.rest()?);
    Some(Message {
        join_ref: Json::Text(join_ref),
        reference: Json::Text(reference),
        topic: Json::Text(topic),
        event,
        body,
    })
}

/// Kind 3: the metadata is read past and dropped, an encoding other than 0 counts as JSON (recording 03).
fn user_push(frame: &Bytes) -> Option<Message> {
    let lengths = frame.get(1..6)?.to_vec();
    let encoding = *frame.get(6)?;
    let mut fields = Fields { frame, at: 7 };
    let join_ref = fields.text(*lengths.first()?)?;
    let reference = fields.text(*lengths.get(1)?)?;
    let topic = fields.text(*lengths.get(2)?)?;
    let event = fields.take(*lengths.get(3)?)?;
    fields.take(*lengths.get(4)?)?;
    let payload = fields.rest()?;
    let user = UserBroadcast { event, meta: String::new(), json: encoding != 0, payload };
    Some(Message {
        join_ref: Json::Text(join_ref),
        reference: Json::Text(reference),
        topic: Json::Text(topic),
        event: "broadcast".to_owned(),
        body: Body::User(user),
    })
}

/// A kind 2 frame, or `None` when a field is longer than a byte can say.
pub(super) fn kind2(topic: &str, payload: &[u8]) -> Option<Bytes> {
    let event = "broadcast";
    let mut out = BytesMut::with_capacity(3 + topic.len() + event.len() + payload.len());
    out.put_u8(BROADCAST);
    out.put_u8(u8::try_from(topic.len()).ok()?);
    out.put_u8(u8::try_from(event.len()).ok()?);
    out.put_slice(topic.as_bytes());
    out.put_slice(event.as_bytes());
    out.put_slice(payload);
    Some(out.freeze())
}

/// A kind 4 frame, or `None` when a field is longer than a byte can say.
pub(super) fn kind4(topic: &str, user: &UserBroadcast) -> Option<Bytes> {
    let fields = topic.len() + user.event.len() + user.meta.len();
    let mut out = BytesMut::with_capacity(5 + fields + user.payload.len());
    out.put_u8(USER_BROADCAST);
    out.put_u8(u8::try_from(topic.len()).ok()?);
    out.put_u8(u8::try_from(user.event.len()).ok()?);
    out.put_u8(u8::try_from(user.meta.len()).ok()?);
    out.put_u8(u8::from(user.json));
    out.put_slice(topic.as_bytes());
    out.put_slice(&user.event);
    out.put_slice(user.meta.as_bytes());
    out.put_slice(&user.payload);
    Some(out.freeze())
}

/// Cuts fields off a frame without copying them.
struct Fields<'a> {
    frame: &'a Bytes,
    at: usize,
}

impl Fields<'_> {
    fn take(&mut self, length: u8) -> Option<Bytes> {
        let end = self.at + usize::from(length);
        if end > self.frame.len() {
            return None;
        }
        let field = self.frame.slice(self.at..end);
        self.at = end;
        Some(field)
    }

    fn text(&mut self, length: u8) -> Option<String> {
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn rest(&self) -> Option<Bytes> {
        (self.at <= self.frame.len()).then(|| self.frame.slice(self.at..))
    }
}
