//! Text frames: objects in protocol 1.0.0 and arrays in 2.0.0, keys in the recorded order.
//! Refs may be any JSON and come back as given.

use super::super::json::{Json, write_text};
use super::{Body, Message, OutFrame, UserBroadcast, Version};
use std::collections::BTreeMap;

/// Reads a 1.0.0 object: `topic`, `event`, `payload` and `ref` must be present, whatever their value.
pub(super) fn object(text: &str) -> Option<Message> {
    let Json::Map(mut map) = Json::parse(text).ok()? else { return None };
    let mut take = |key: &str| map.remove(key);
    let (topic, event) = (take("topic")?, take("event")?);
    let (payload, reference) = (take("payload")?, take("ref")?);
    message(take("join_ref").unwrap_or(Json::Null), reference, topic, (event, payload))
}

/// Reads a 2.0.0 array: at least five elements, the rest is ignored (recording 10).
pub(super) fn array(text: &str) -> Option<Message> {
    let Json::List(items) = Json::parse(text).ok()? else { return None };
    let mut items = items.into_iter();
    let (join_ref, reference) = (items.next()?, items.next()?);
    let (topic, event, payload) = (items.next()?, items.next()?, items.next()?);
    message(join_ref, reference, topic, (event, payload))
}

fn message(join_ref: Json, reference: Json, topic: Json, (event, payload): (Json, Json)) -> Option<Message> {
    let Json::Text(event) = event else { return None };
    Some(Message { join_ref, reference, topic, event, body: Body::Json(payload) })
}

/// A `phx_reply`; `response` is encoded JSON.
pub(in super::super) fn reply(
    version: Version,
    refs: (&Json, &Json),
    topic: &Json,
    status: &str,
    response: &str,
) -> OutFrame {
    let payload = format!("{{\"status\":\"{status}\",\"response\":{response}}}");
    OutFrame::text(envelope(version, refs, topic, "phx_reply", &payload))
}

/// The `phx_close` of a channel: both refs are its join's.
pub(in super::super) fn close(version: Version, join_ref: &Json, topic: &str) -> OutFrame {
    OutFrame::text(envelope(version, (join_ref, join_ref), &Json::text(topic), "phx_close", "{}"))
}

/// A `system` message to one channel; `channel` is the topic without its prefix, absent in server-wide notices.
pub(in super::super) fn system(
    version: Version,
    join_ref: &Json,
    topic: &str,
    notice: &super::super::channel::Notice,
) -> OutFrame {
    let mut payload = "{\"message\":".to_owned();
    write_text(&notice.message, &mut payload);
    payload.push_str(if notice.ok { ",\"status\":\"ok\"" } else { ",\"status\":\"error\"" });
    payload.push_str(",\"extension\":");
    write_text(notice.extension, &mut payload);
    if !notice.everywhere {
        payload.push_str(",\"channel\":");
        write_text(topic.strip_prefix("realtime:").unwrap_or(topic), &mut payload);
    }
    payload.push('}');
    let join_ref = if notice.everywhere { &Json::Null } else { join_ref };
    OutFrame::text(event(version, join_ref, topic, "system", &payload))
}

/// An event without a ref; `payload` is encoded JSON.
pub(super) fn event(version: Version, join_ref: &Json, topic: &str, event: &str, payload: &str) -> String {
    envelope(version, (join_ref, &Json::Null), &Json::text(topic), event, payload)
}

/// The payload object that 1.0.0 listeners get for a kind 3 broadcast; the inner payload is spliced in unchecked.
pub(super) fn user_payload(user: &UserBroadcast) -> String {
    let mut out = "{\"event\":".to_owned();
    write_text(&String::from_utf8_lossy(&user.event), &mut out);
    if !user.meta.is_empty() {
        out.push_str(",\"meta\":");
        out.push_str(&user.meta);
    }
    out.push_str(",\"payload\":");
    out.push_str(&String::from_utf8_lossy(&user.payload));
    out.push_str(",\"type\":\"broadcast\"}");
    out
}

fn envelope(version: Version, refs: (&Json, &Json), topic: &Json, event: &str, payload: &str) -> String {
    let (join_ref, reference) = refs;
    let mut out = String::with_capacity(payload.len() + 96);
    match version {
        Version::V1 => {
            out.push_str("{\"ref\":");
            reference.write(&mut out);
            out.push_str(",\"event\":");
            write_text(event, &mut out);
            out.push_str(",\"topic\":");
            topic.write(&mut out);
            out.push_str(",\"payload\":");
            out.push_str(payload);
            out.push('}');
        }
        Version::V2 => {
            out.push('[');
            join_ref.write(&mut out);
            out.push(',');
            reference.write(&mut out);
            out.push(',');
            topic.write(&mut out);
            out.push(',');
            write_text(event, &mut out);
            out.push(',');
            out.push_str(payload);
            out.push(']');
        }
    }
    out
}

/// The payload of an HTTP batch message or a server-side broadcast in text form.
pub(in super::super) fn broadcast_payload(event: &str, id: Option<&str>, payload: &Json) -> String {
    let mut map = BTreeMap::new();
    map.insert("type".to_owned(), Json::text("broadcast"));
    map.insert("event".to_owned(), Json::text(event));
    map.insert("payload".to_owned(), payload.clone());
    if let Some(id) = id {
        map.insert("meta".to_owned(), Json::Map(BTreeMap::from([("id".to_owned(), Json::text(id))])));
    }
    Json::Map(map).encode()
}
