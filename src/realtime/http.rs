//! Broadcasts over HTTP: what to post, and what an answer means. No socket here.
//! A 202 proves little: private messages of a batch that the policies do not allow are dropped behind it, silently.
//! Only the single form says 403. For steady streams the WebSocket is better: it keeps order and has acks.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::classify;
use super::key::ApiKey;
use super::message::{EncodeError, Encoding};
use super::reason::Reason;
use super::url::Endpoint;

/// One broadcast.
#[derive(Clone)]
pub struct Outgoing {
    /// The topic without `realtime:`.
    pub topic: String,
    /// The event.
    pub event: String,
    /// In a batch a JSON object; in the single form any JSON, or bytes.
    pub payload: Bytes,
    /// Public and private channels of one name are different rooms: must equal what the listeners joined.
    pub private: bool,
    /// Arrives as `meta.id`; in a batch only.
    pub id: Option<String>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({}, {}, {} bytes)", self.topic, self.event, self.payload.len())
    }
}

/// A POST request. Its fields hold the key: never print them.
#[derive(Clone, PartialEq, Eq)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// Header fields, `content-type` among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({}, {} bytes)", self.url, self.body.len())
    }
}

/// Several broadcasts in one request. One bad message refuses all of them.
///
/// # Errors
/// [`EncodeError::PayloadNotJson`] when a payload is not a JSON object.
pub fn batch(endpoint: &Endpoint, key: &ApiKey, messages: &[Outgoing]) -> Result<Post, EncodeError> {
    #[derive(Serialize)]
    struct Entry<'a> {
        topic: &'a str,
        event: &'a str,
        payload: &'a RawValue,
        private: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        messages: Vec<Entry<'a>>,
    }
    let entry = |message: &'_ Outgoing| -> Result<Box<RawValue>, EncodeError> {
        let payload: Box<RawValue> =
            serde_json::from_slice(&message.payload).map_err(|_| EncodeError::PayloadNotJson)?;
        if payload.get().starts_with('{') { Ok(payload) } else { Err(EncodeError::PayloadNotJson) }
    };
    let payloads = messages.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let entries = messages.iter().zip(&payloads).map(|(message, payload)| Entry {
        topic: &message.topic,
        event: &message.event,
        payload,
        private: message.private,
        id: message.id.as_deref(),
    });
    let body = serde_json::to_vec(&Body { messages: entries.collect() });
    let body = body.map_err(|_| EncodeError::PayloadNotJson)?;
    Ok(post(endpoint.broadcast(), endpoint.http_headers(key), "application/json", body.into()))
}

/// One broadcast by the single form (server 2.97 and later). Its payload goes out as it is.
#[must_use]
pub fn single(endpoint: &Endpoint, key: &ApiKey, message: &Outgoing, encoding: Encoding) -> Post {
    let url = endpoint.broadcast_event(&message.topic, &message.event, message.private);
    let content_type = match encoding {
        Encoding::Json => "application/json",
        Encoding::Bytes => "application/octet-stream",
    };
    post(url, endpoint.http_headers(key), content_type, message.payload.clone())
}

fn post(url: String, mut headers: Vec<(&'static str, String)>, content_type: &str, body: Bytes) -> Post {
    headers.push(("content-type", content_type.to_owned()));
    Post { url, headers, body }
}

/// What a refused request calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Renew the key once, then stop and tell a person.
    Refresh,
    /// Tell a person: it will not get better by itself.
    Stop,
    /// The single form is unknown to this server: use the batch.
    UseBatch,
    /// Send less at once.
    Split,
    /// This request will never be taken; others may.
    Drop,
    /// Again after 5 to 60 s with jitter, with fewer and larger requests.
    SlowDown,
    /// Again with back-off.
    Retry,
}

/// Why a request was refused and what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the link calls the same thing.
    pub reason: Reason,
    /// What helps.
    pub next: Next,
}

/// Reads the answer to a [`Post`].
///
/// # Errors
/// [`Refused`] for everything but 2xx.
pub fn answer(status: u16, body: &str) -> Result<(), Refused> {
    let said = classify::body_text(body);
    let lower = body.to_ascii_lowercase();
    let database =
        ["database", "initializ", "partition", "connection pool"].iter().any(|word| lower.contains(word));
    let (reason, next) = match status {
        200..=299 => return Ok(()),
        401 if said.contains("Tenant not found") => (Reason::TenantUnknown, Next::Stop),
        401 => (Reason::TokenMalformed, Next::Refresh),
        403 if lower.contains("suspended") => (Reason::TenantSuspended, Next::Stop),
        403 => (Reason::Unauthorized, Next::Stop),
        404 => (Reason::RouteUnknown, Next::UseBatch),
        413 => (Reason::PayloadTooLarge, Next::Split),
        422 if lower.contains("payload size exceeds") => (Reason::PayloadTooLarge, Next::Split),
        422 if database => (Reason::Database, Next::Retry),
        400 | 406 | 415 | 422 => (Reason::OtherPushError, Next::Drop),
        429 if lower.contains("reduce the batch size") => (Reason::TooManyMessages, Next::SlowDown),
        429 if database => (Reason::Database, Next::SlowDown),
        429 => (classify::refusal(429, body), Next::SlowDown),
        _ => (Reason::OtherRefusal, Next::Retry),
    };
    Err(Refused { reason, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::key::unsigned;
    use crate::realtime::recording::{self, Said};

    fn message(payload: &'static [u8]) -> Outgoing {
        let (topic, event, payload) = ("room".into(), "e".into(), Bytes::from_static(payload));
        Outgoing { topic, event, payload, private: true, id: Some("e7:41".into()) }
    }

    fn gateway() -> Endpoint {
        Endpoint::parse("https://ref.supabase.co").expect("a good URL")
    }

    #[test]
    fn a_batch_is_written_as_the_server_reads_it() {
        let key = unsigned("service_role", 9);
        let post = batch(&gateway(), &key, &[message(b"{\"n\": 1.50}"), message(b"{}")]).expect("objects");
        let entry = |payload| {
            format!(
                "{{\"topic\":\"room\",\"event\":\"e\",\"payload\":{payload},\"private\":true,\"id\":\"e7:41\"}}"
            )
        };
        let expected = format!("{{\"messages\":[{},{}]}}", entry("{\"n\": 1.50}"), entry("{}"));
        assert_eq!(String::from_utf8_lossy(&post.body), expected);
        assert_eq!(post.url, "https://ref.supabase.co/realtime/v1/api/broadcast");
        let names: Vec<_> = post.headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["apikey", "authorization", "content-type"]);
        assert!(!format!("{post:?}").contains(key.reveal()));
    }

    #[test]
    fn a_batch_takes_objects_only() {
        for payload in [&b"[1]"[..], b"null", b"{", b""] {
            let refused = batch(&gateway(), &ApiKey::new("sb_secret_x"), &[message(payload)]);
            assert_eq!(refused, Err(EncodeError::PayloadNotJson));
        }
    }

    #[test]
    fn the_single_form_takes_anything() {
        let post = single(&gateway(), &ApiKey::new("sb_secret_x"), &message(b"\x00\xff"), Encoding::Bytes);
        assert_eq!(post.url, "https://ref.supabase.co/realtime/v1/api/broadcast/room/events/e?private=true");
        assert!(post.headers.contains(&("content-type", "application/octet-stream".into())));
        assert_eq!(&post.body[..], b"\x00\xff");
    }

    #[test]
    fn answers_lead_to_their_remedies() {
        for (status, body, reason, next) in [
            (401, "{\"message\":\"Unauthorized\"}", Reason::TokenMalformed, Next::Refresh),
            (401, "{\"message\":\"Tenant not found in database\"}", Reason::TenantUnknown, Next::Stop),
            (403, "{\"message\":\"Tenant is suspended\"}", Reason::TenantSuspended, Next::Stop),
            (403, "{\"message\":\"Unauthorized\"}", Reason::Unauthorized, Next::Stop),
            (404, "Not Found", Reason::RouteUnknown, Next::UseBatch),
            (413, "Request Entity Too Large", Reason::PayloadTooLarge, Next::Split),
            (415, "{\"error\":\"Unsupported Media Type.\"}", Reason::OtherPushError, Next::Drop),
            (
                422,
                "{\"errors\":{\"payload\":[\"Payload size exceeds tenant limit\"]}}",
                Reason::PayloadTooLarge,
                Next::Split,
            ),
            (422, "{\"errors\":{\"messages\":[\"is invalid\"]}}", Reason::OtherPushError, Next::Drop),
            (422, "{\"error\":\"Database is initializing\"}", Reason::Database, Next::Retry),
            (
                429,
                "{\"message\":\"You have exceeded your rate limit\"}",
                Reason::TooManyMessages,
                Next::SlowDown,
            ),
            (
                429,
                "{\"message\":\"Too many messages to broadcast, please reduce the batch size\"}",
                Reason::TooManyMessages,
                Next::SlowDown,
            ),
            (429, "{\"message\":\"Too many requests\"}", Reason::OtherLimit, Next::SlowDown),
            (429, "Connection pool exhausted", Reason::Database, Next::SlowDown),
            (500, "\"Internal Server Error\"", Reason::OtherRefusal, Next::Retry),
            (503, "", Reason::OtherRefusal, Next::Retry),
        ] {
            assert_eq!(answer(status, body), Err(Refused { reason, next }), "{status} {body}");
        }
        assert_eq!(answer(202, ""), Ok(()));
    }

    #[test]
    fn every_recorded_refusal_below_500_is_known() {
        let mut seen = 0;
        for line in recording::lines("04-") {
            let Said::Http(status, body) = &line.said else { continue };
            if *status == 101 {
                continue; // an upgrade
            }
            let known = answer(*status, body)
                .map_or_else(|refused| refused.reason != Reason::OtherRefusal, |()| true);
            assert!(known || *status >= 500, "{status} {body}");
            seen += 1;
        }
        assert!(seen > 20, "only {seen} answers were found");
    }
}
