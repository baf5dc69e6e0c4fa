//! The batch endpoint: every message is checked before any is sent; public ones go first, then private ones by topic.
//! Private messages without permission are answered 202 and dropped, as recorded.

use super::super::channel::Room;
use super::super::codec::{Broadcast, broadcast_payload};
use super::super::json::Json;
use super::super::machine::{Emulator, HttpAnswer};
use super::super::token::Claims;
use super::{Parcel, accepted, json, message};
use std::time::Instant;

impl Emulator {
    pub(super) fn batch(&mut self, body: Option<&Json>, claims: &Claims, now: Instant) -> HttpAnswer {
        let messages = match body.and_then(|body| body.member("messages")) {
            Some(Json::List(messages)) if !messages.is_empty() => messages,
            None | Some(Json::List(_) | Json::Null) => return refused("[\"can't be blank\"]"),
            Some(_) => return refused("[\"is invalid\"]"),
        };
        let limit = self.config.limits.payload_bytes();
        let errors: Vec<String> = messages.iter().map(|message| errors(message, limit)).collect();
        if errors.iter().any(|error| error != "{}") {
            return refused(&format!("[{}]", errors.join(",")));
        }
        let most = self.config.limits.events_per_second;
        if self.rates.events.tripped(most, now) {
            return message(429, "You have exceeded your rate limit");
        }
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        if f64::from(count) + self.rates.events.average(now) > f64::from(most) {
            return message(429, "Too many messages to broadcast, please reduce the batch size");
        }
        let mut parcels: Vec<Parcel> = messages.iter().filter_map(parcel).collect();
        parcels.sort_by_key(|parcel| parcel.room.private.then(|| parcel.room.name.clone()));
        for parcel in parcels {
            if parcel.room.private && !self.may_write(claims, &parcel.room.name) {
                self.stats.forbidden += 1;
            } else {
                self.send_parcel(parcel, now);
            }
        }
        accepted()
    }
}

fn refused(messages: &str) -> HttpAnswer {
    json(422, &format!("{{\"errors\":{{\"messages\":{messages}}}}}"))
}

/// The `errors` entry of one message; `{}` when it is fine.
fn errors(message: &Json, limit: usize) -> String {
    let mut found = Vec::new();
    for key in ["event", "payload", "topic"] {
        let error = match (key, message.member(key)) {
            (_, None | Some(Json::Null)) => "can't be blank",
            ("payload", Some(payload @ Json::Map(_))) if payload.term_size() > limit => {
                "Payload size exceeds tenant limit"
            }
            ("payload", Some(Json::Map(_))) => continue,
            ("event" | "topic", Some(Json::Text(text))) if text.trim().is_empty() => "can't be blank",
            ("event" | "topic", Some(Json::Text(_))) => continue,
            _ => "is invalid",
        };
        found.push(format!("\"{key}\":[\"{error}\"]"));
    }
    format!("{{{}}}", found.join(","))
}

fn parcel(message: &Json) -> Option<Parcel> {
    let name = message.member("topic")?.as_text()?.to_owned();
    let event = message.member("event")?.as_text()?;
    let private = message.member("private") == Some(&Json::Bool(true));
    let id = message.member("id").and_then(Json::as_text);
    let payload = broadcast_payload(event, id, message.member("payload")?);
    Some(Parcel { room: Room { private, name }, broadcast: Broadcast::Text(payload) })
}
