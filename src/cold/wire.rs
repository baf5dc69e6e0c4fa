//! Between Realtime's broadcasts and rows and the client's own messages.
//!
//! The form is that of the `events` format (`mirror/events.rs`), so that clients here, supabase-js consumers and the
//! mirror understand each other: an object keeps its members and has `_crossfade` besides; anything else is under
//! `data`, with `enc` saying what it was. On the way down both are undone, byte for byte where nobody between has
//! written the object anew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::Frame;

const METADATA: &str = "_crossfade";
/// The event of a message that names none.
const EVENT: &str = "message";
/// Longer names are no event types; Realtime's binary frames count them in one byte.
const EVENT_BYTES_MAX: usize = 100;
/// Events of presence, in the words of Realtime and Phoenix.
const PRESENCE: [&str; 3] = ["presence", "presence_state", "presence_diff"];

/// Who sends, for the metadata.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    /// The message's id.
    pub id: &'a str,
    /// The session, so that its own message is known when it comes back.
    pub session: &'a str,
    /// In milliseconds since 1970.
    pub at_ms: u64,
}

/// A message from Realtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// For the client.
    pub frame: Frame,
    /// The session that sent it, where it came from a cold one.
    pub from: Option<String>,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    enc: Option<&'a RawValue>,
    #[serde(rename = "_crossfade")]
    about: Option<About>,
}

#[derive(Deserialize)]
struct About {
    src: Option<String>,
}

/// What a client's message says about itself.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
}

/// A broadcast with a JSON payload, or with bytes.
#[must_use]
pub fn down(payload: &Bytes, json: bool) -> Down {
    if !json {
        return Down { frame: Frame { text: false, body: payload.clone() }, from: None };
    }
    // An array would be taken for the members in their order.
    let outer: Option<Outer<'_>> =
        serde_json::from_slice(payload).ok().filter(|_| payload.trim_ascii_start().starts_with(b"{"));
    let from = outer.as_ref().and_then(|outer| outer.about.as_ref()?.src.clone());
    let ours = outer.as_ref().is_some_and(|outer| outer.about.is_some());
    if !ours {
        return Down { frame: Frame { text: true, body: payload.clone() }, from };
    }
    let wrapped = outer.filter(|_| is_wrapper(payload)).and_then(unwrap);
    let frame = wrapped.unwrap_or_else(|| Frame { text: true, body: strip(payload) });
    Down { frame, from }
}

/// Whether the object has `data`, perhaps `enc`, and nothing of its own besides.
fn is_wrapper(payload: &[u8]) -> bool {
    let map: std::collections::BTreeMap<String, IgnoredAny> =
        serde_json::from_slice(payload).unwrap_or_default();
    map.contains_key("data") && map.keys().all(|name| ["data", "enc", METADATA].contains(&name.as_str()))
}

/// What was put under `data`.
fn unwrap(outer: Outer<'_>) -> Option<Frame> {
    // A null is no value to serde.
    let data = outer.data.map_or("null", RawValue::get);
    let text = || serde_json::from_str::<String>(data).ok();
    match outer.enc.map(RawValue::get) {
        Some("\"base64\"") => {
            let body = STANDARD.decode(text()?).ok()?;
            Some(Frame { text: false, body: body.into() })
        }
        Some("\"json\"") => Some(Frame { text: true, body: Bytes::copy_from_slice(data.as_bytes()) }),
        // The mirror wraps no object: one that has only `data` was so from the beginning.
        None if data.starts_with('{') => None,
        Some("\"text\"") | None => {
            let body = text().unwrap_or_else(|| data.to_owned());
            Some(Frame { text: true, body: body.into() })
        }
        Some(_) => None,
    }
}

/// The object without `_crossfade`. Where that is the last member, as we write it, every other byte stays.
fn strip(payload: &Bytes) -> Bytes {
    let mark = format!("\"{METADATA}\":");
    let text = std::str::from_utf8(payload).unwrap_or_default().trim_end();
    let cut = text.rfind(&mark).and_then(|at| {
        let (kept, rest) = (text.get(..at)?, text.get(at + mark.len()..)?.strip_suffix('}')?);
        serde_json::from_str::<IgnoredAny>(rest).ok()?;
        Some(format!("{}}}", kept.strip_suffix(',').unwrap_or(kept)))
    });
    let found = cut.filter(|cut| serde_json::from_str::<IgnoredAny>(cut).is_ok());
    found.or_else(|| rewritten(payload)).map_or_else(|| payload.clone(), Bytes::from)
}

/// The same with the members parsed and written anew, in their order; their values stay as they are.
fn rewritten(payload: &[u8]) -> Option<String> {
    struct Members(Vec<(String, Box<RawValue>)>);
    impl<'de> Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Members;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }
            from.deserialize_map(Visitor)
        }
    }
    let Members(members) = serde_json::from_slice(payload).ok()?;
    let kept = members.iter().filter(|(name, _)| name != METADATA);
    let texts =
        kept.map(|(name, value)| Some(format!("{}:{}", serde_json::to_string(name).ok()?, value.get())));
    Some(format!("{{{}}}", texts.collect::<Option<Vec<_>>>()?.join(",")))
}

/// A row that was inserted: the payload of `postgres_changes`. `column` is what the client is given: the text of a
/// text column, the bytes of a `bytea`, the JSON of any other; the whole row without one. `None`: not an insertion, or
/// a row without that column.
#[must_use]
pub fn row(payload: &[u8], column: Option<&str>) -> Option<Frame> {
    #[derive(Deserialize)]
    struct Payload<'a> {
        #[serde(borrow)]
        data: Change<'a>,
    }
    #[derive(Deserialize)]
    struct Change<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        #[serde(borrow)]
        record: &'a RawValue,
    }
    let payload: Payload<'_> = serde_json::from_slice(payload).ok()?;
    if payload.data.kind != "INSERT" {
        return None;
    }
    record(payload.data.record.get(), column)
}

/// A row as PostgREST or Realtime writes it.
#[must_use]
pub fn record(record: &str, column: Option<&str>) -> Option<Frame> {
    let Some(column) = column else {
        return Some(Frame { text: true, body: Bytes::copy_from_slice(record.as_bytes()) });
    };
    let mut row: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(record).ok()?;
    let value = row.remove(column)?;
    if value.get() == "null" {
        return None;
    }
    let Ok(text) = serde_json::from_str::<String>(value.get()) else {
        return Some(Frame { text: true, body: value.get().to_owned().into() });
    };
    let Some(bytes) = text.strip_prefix("\\x").and_then(hex) else {
        return Some(Frame { text: true, body: text.into() });
    };
    // A row of monitoring_events knows what it was.
    let binary = row.get("op").is_some_and(|op| op.get() == "\"binary\"");
    Some(Frame { text: !binary && std::str::from_utf8(&bytes).is_ok(), body: bytes.into() })
}

/// The text form of `bytea`.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(|pair| byte(pair).filter(|_| pair.len() == 2)).collect()
}

/// A client's message as a broadcast: event and JSON payload.
#[must_use]
pub fn up(frame: &Frame, sender: Sender<'_>) -> (String, Bytes) {
    let about = format!(
        "\"{METADATA}\":{{\"v\":1,\"id\":\"{}\",\"src\":\"{}\",\"at\":{}}}}}",
        sender.id, sender.session, sender.at_ms
    );
    let text = std::str::from_utf8(&frame.body).ok().filter(|_| frame.text);
    let Some(text) = text else {
        let data = STANDARD.encode(&frame.body);
        return (EVENT.to_owned(), format!("{{\"data\":\"{data}\",\"enc\":\"base64\",{about}").into());
    };
    let trimmed = text.trim();
    let is_json = serde_json::from_str::<IgnoredAny>(trimmed).is_ok();
    let object = trimmed.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|_| is_json);
    let clash = trimmed.contains(METADATA) || is_wrapper(trimmed.as_bytes());
    let payload = match object {
        Some(inside) if !clash => {
            let comma = if inside.trim().is_empty() { "" } else { "," };
            format!("{{{inside}{comma}{about}")
        }
        _ if is_json => format!("{{\"data\":{trimmed},\"enc\":\"json\",{about}"),
        _ => {
            let data = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned());
            format!("{{\"data\":{data},\"enc\":\"text\",{about}")
        }
    };
    (event(trimmed).unwrap_or_else(|| EVENT.to_owned()), payload.into())
}

fn named(text: &str) -> Option<(Option<String>, Option<String>)> {
    // An array would be taken for the members in their order.
    let named: Named<'_> = serde_json::from_str(text).ok().filter(|_| text.trim_start().starts_with('{'))?;
    let own = |name: Option<&RawValue>| serde_json::from_str(name?.get()).ok();
    Some((own(named.event), own(named.kind)))
}

fn event(text: &str) -> Option<String> {
    let (event, kind) = named(text)?;
    event.or(kind).filter(|name| (1..=EVENT_BYTES_MAX).contains(&name.len()))
}

/// Whether a client's message asks for presence, in the words of Realtime, of Phoenix, or of its own.
#[must_use]
pub fn wants_presence(frame: &Frame) -> bool {
    let Ok(text) = std::str::from_utf8(&frame.body) else { return false };
    if !frame.text || !text.contains("presence") {
        return false;
    }
    let is_one = |name: &str| PRESENCE.contains(&name);
    if let Some((event, kind)) = named(text) {
        return [event, kind].iter().flatten().any(|name| is_one(name));
    }
    // [join_ref, ref, topic, event, payload]
    let array: Option<Vec<&RawValue>> = serde_json::from_str(text).ok();
    array
        .filter(|array| array.len() == 5)
        .and_then(|array| serde_json::from_str::<String>(array.get(3)?.get()).ok())
        .is_some_and(|name| is_one(&name))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
