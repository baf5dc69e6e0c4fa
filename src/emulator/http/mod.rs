//! Broadcasts over HTTP, batch and single, with every recorded refusal (recording 04); pure, the shell brings the bytes.
//! The order of checks is the server's: body, route, `Accept`, tenant, request rate, suspension, token, content.

use super::channel::Room;
use super::codec::{Broadcast, UserBroadcast};
use super::connect::{header, parameter};
use super::fault::Effects;
use super::json::Json;
use super::machine::{Emulator, HttpAnswer, Life};
use super::token::Claims;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Instant;

mod batch;

/// Largest body; a larger one is answered with 413.
pub const BODY_MAX: usize = 8_000_000;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// A whole HTTP request.
#[derive(Clone)]
pub struct HttpRequest {
    /// Method in capitals.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Query without the question mark.
    pub query: String,
    /// Header names in lower case, with values.
    pub headers: Vec<(String, String)>,
    /// Body, at most one byte more than [`BODY_MAX`].
    pub body: Bytes,
}

/// Shows method and path only.
impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Where a request goes.
enum Route {
    Batch,
    Single { topic: String, event: String },
    Ping,
}

/// One message to send.
pub(super) struct Parcel {
    pub room: Room,
    pub broadcast: Broadcast,
}

impl Emulator {
    /// Answers a plain HTTP request.
    pub fn http(&mut self, request: &HttpRequest, now: Instant) -> HttpAnswer {
        if request.path.starts_with(super::rest::PREFIX) {
            return self.rest(request, now);
        }
        self.handle_timeout(now);
        if self.life != Life::Up {
            return text(503, "Service Unavailable");
        }
        if request.path == "/healthcheck" {
            return HttpAnswer { content_type: Some("text/plain; charset=utf-8"), ..text(200, "ok") };
        }
        if request.body.len() > BODY_MAX {
            return text(413, "Request Entity Too Large");
        }
        let kind = header(&request.headers, "content-type").unwrap_or_default();
        let body = match () {
            () if !kind.starts_with("application/json") => None,
            () if request.body.is_empty() => Some(Json::Map(BTreeMap::new())),
            () => match std::str::from_utf8(&request.body).ok().and_then(|text| Json::parse(text).ok()) {
                Some(body) => Some(body),
                None => return text(400, "Bad Request"),
            },
        };
        let Some(route) = route(request) else { return text(404, "Not Found") };
        if header(&request.headers, "accept")
            .is_some_and(|accept| !accept.contains("json") && !accept.contains("*/*"))
        {
            return text(406, "Not Acceptable");
        }
        self.tenant(request, (&route, body), now)
    }

    fn tenant(
        &mut self,
        request: &HttpRequest,
        (route, body): (&Route, Option<Json>),
        now: Instant,
    ) -> HttpAnswer {
        if !self.knows_tenant(header(&request.headers, "host")) {
            return message(401, "Tenant not found in database");
        }
        let kind = header(&request.headers, "content-type");
        let octets = kind.is_some_and(|kind| kind.starts_with("application/octet-stream"));
        if matches!(route, Route::Single { .. }) && kind.is_some() && body.is_none() && !octets {
            return json(
                415,
                "{\"error\":\"Unsupported Media Type. Use application/json or application/octet-stream\"}",
            );
        }
        let limit = self.config.limits.events_per_second;
        let over = self.rates.requests.tripped(limit, now);
        self.rates.requests.count(1, now);
        let mut answer = if over {
            message(429, "Too many requests")
        } else {
            self.authorized(request, (route, body), now)
        };
        self.add_headers(request, &mut answer, now);
        answer
    }

    fn add_headers(&mut self, request: &HttpRequest, answer: &mut HttpAnswer, now: Instant) {
        let limit = self.config.limits.events_per_second;
        let rolling = self.rates.requests.average(now).floor();
        let remaining = (f64::from(limit) - rolling).max(0.0);
        answer.headers.push(("x-rate-limit", limit.to_string()));
        answer.headers.push(("x-rate-limit-remaining", format!("{remaining}")));
        answer.headers.push(("x-rate-rolling", format!("{rolling}")));
        if header(&request.headers, "origin").is_some() {
            answer.headers.push(("access-control-allow-origin", "*".to_owned()));
        }
    }

    fn authorized(
        &mut self,
        request: &HttpRequest,
        (route, body): (&Route, Option<Json>),
        now: Instant,
    ) -> HttpAnswer {
        if self.suspended {
            return message(403, "Tenant is suspended");
        }
        if matches!(route, Route::Ping) {
            return message(200, "Success");
        }
        let claims = match self.bearer(request, now) {
            Ok(claims) => claims,
            Err(answer) => return answer,
        };
        match route {
            Route::Single { topic, event } => {
                let room = Room {
                    private: parameter(&request.query, "private").as_deref() == Some("true"),
                    name: topic.clone(),
                };
                self.single(room, (event, body, request), &claims, now)
            }
            _ => self.batch(body.as_ref(), &claims, now),
        }
    }

    /// The bearer wins over the `apikey` header.
    fn bearer(&self, request: &HttpRequest, now: Instant) -> Result<Claims, HttpAnswer> {
        let token = match header(&request.headers, "authorization") {
            Some(value) => match value.split_once(' ') {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token),
                Some(_) => None,
                None => return Err(json(500, "\"Internal Server Error\"")),
            },
            None => header(&request.headers, "apikey"),
        };
        let verified = token.map(|token| self.config.secret.verify(token, self.clock.unix(now)));
        verified.and_then(Result::ok).ok_or_else(|| message(401, "Unauthorized"))
    }

    fn single(
        &mut self,
        room: Room,
        (event, body, request): (&str, Option<Json>, &HttpRequest),
        claims: &Claims,
        now: Instant,
    ) -> HttpAnswer {
        let kind = header(&request.headers, "content-type");
        let (json_payload, payload, size) = match (body, kind) {
            (Some(body), _) => {
                let body = match body {
                    Json::Map(_) => body,
                    other => Json::Map(BTreeMap::from([("_json".to_owned(), other)])),
                };
                (true, Bytes::from(body.encode()), body.term_size())
            }
            (None, None) => (true, Bytes::from_static(b"{}"), 0),
            (None, Some(_)) => (false, request.body.clone(), request.body.len()),
        };
        if size > self.config.limits.payload_bytes() {
            return json(422, "{\"errors\":{\"payload\":[\"Payload size exceeds tenant limit\"]}}");
        }
        if self.rates.events.tripped(self.config.limits.events_per_second, now) {
            return message(429, "You have exceeded your rate limit");
        }
        if room.private && !self.may_write(claims, &room.name) {
            return message(403, "Unauthorized");
        }
        let event = Bytes::from(event.to_owned());
        let user = UserBroadcast { event, meta: String::new(), json: json_payload, payload };
        self.send_parcel(Parcel { room, broadcast: Broadcast::User(user) }, now);
        accepted()
    }

    pub(super) fn send_parcel(&mut self, parcel: Parcel, now: Instant) {
        self.stats.pushes += 1;
        self.rates.events.count(1, now);
        let effects = self.faults_on(&parcel.room.name, now);
        let over = self.deliver(&parcel.room, (parcel.broadcast, None), &effects, now);
        self.throw_out(&over);
    }

    /// Faults on a push without a socket: it cannot wait, and there is no sender to hit.
    fn faults_on(&mut self, name: &str, now: Instant) -> Effects {
        let mut effects = self.faults.on_push(name, now).0;
        effects.swallow |= effects.lose || effects.nack;
        effects
    }
}

fn route(request: &HttpRequest) -> Option<Route> {
    let path = request.path.strip_prefix("/realtime/v1").unwrap_or(&request.path);
    let parts: Vec<&str> = path.strip_prefix("/api/")?.split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("POST", ["broadcast"]) => Some(Route::Batch),
        ("POST", ["broadcast", topic, "events", event]) => {
            Some(Route::Single { topic: decoded(topic), event: decoded(event) })
        }
        ("GET", ["ping"]) => Some(Route::Ping),
        _ => None,
    }
}

/// Percent-decodes one path segment.
fn decoded(segment: &str) -> String {
    let segment = segment.replace('+', "%2B");
    url::form_urlencoded::parse(segment.as_bytes())
        .next()
        .map(|(key, _)| key.into_owned())
        .unwrap_or_default()
}

fn accepted() -> HttpAnswer {
    HttpAnswer { status: 202, content_type: None, headers: Vec::new(), body: String::new() }
}

fn text(status: u16, body: &str) -> HttpAnswer {
    HttpAnswer { status, content_type: Some(HTML), headers: Vec::new(), body: body.to_owned() }
}

fn json(status: u16, body: &str) -> HttpAnswer {
    HttpAnswer { status, content_type: Some(JSON), headers: Vec::new(), body: body.to_owned() }
}

fn message(status: u16, text: &str) -> HttpAnswer {
    json(status, &format!("{{\"message\":\"{text}\"}}"))
}
