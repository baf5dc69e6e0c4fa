//! OTLP as JSON (`ExportTraceServiceRequest` of opentelemetry-proto 1.x): ids in hex, 64-bit numbers as texts.

use std::time::Instant;

use serde::Serialize;

use super::{Attribute, Event, Span, Value};

/// One moment on both clocks: what turns moments of the one into those of the other.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// On ours.
    pub at: Instant,
    /// In Unix nanoseconds.
    pub unix_nanos: u64,
}

impl Epoch {
    fn nanos(self, at: Instant) -> String {
        let span = |one: Instant, other: Instant| {
            u64::try_from(one.saturating_duration_since(other).as_nanos()).unwrap_or(u64::MAX)
        };
        let later = self.unix_nanos.saturating_add(span(at, self.at));
        later.saturating_sub(span(self.at, at)).to_string()
    }
}

/// The parent's flags are known (bit 8), and it is in another process (bit 9).
const FLAGS_PARENT_KNOWN: u32 = 0x100;
const FLAGS_PARENT_REMOTE: u32 = 0x200;
/// All that is exported was sampled.
const FLAGS_SAMPLED: u32 = 0x01;
/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: u32 = 2;

/// The body of a request: all of these spans under one resource.
///
/// # Errors
/// Never in practice: every key is a text.
pub fn body(resource: &[(String, String)], spans: &[Span], epoch: Epoch) -> serde_json::Result<Vec<u8>> {
    let resource = resource.iter().map(|(key, value)| Pair { key, value: Any::StringValue(value) }).collect();
    let scope = Scope { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
    let spans = spans.iter().map(|span| Written::of(span, epoch)).collect();
    serde_json::to_vec(&Request {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: resource },
            scope_spans: [ScopeSpans { scope, spans }],
        }],
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Written<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: &'a str,
    kind: u32,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<WrittenEvent<'a>>,
    dropped_events_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEvent<'a> {
    time_unix_nano: String,
    name: &'a str,
    attributes: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct Status {
    code: u32,
}

#[derive(Serialize)]
struct Pair<'a> {
    key: &'a str,
    value: Any<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Any<'a> {
    StringValue(&'a str),
    IntValue(String),
}

impl<'a> Any<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Text(text) => Self::StringValue(text),
            Value::Number(number) => Self::IntValue(number.to_string()),
        }
    }
}

impl<'a> Written<'a> {
    fn of(span: &'a Span, epoch: Epoch) -> Self {
        let place = &span.place;
        let remote = match place.parent {
            Some((_, true)) => FLAGS_PARENT_KNOWN | FLAGS_PARENT_REMOTE,
            Some((_, false)) | None => FLAGS_PARENT_KNOWN,
        };
        Self {
            trace_id: format!("{:032x}", place.trace),
            span_id: place.id.to_string(),
            parent_span_id: place.parent.map(|(parent, _)| parent.to_string()),
            flags: remote | FLAGS_SAMPLED,
            name: span.name,
            kind: span.kind as u32,
            start_time_unix_nano: epoch.nanos(span.start),
            end_time_unix_nano: epoch.nanos(span.end),
            attributes: pairs(&span.attributes),
            events: span.events.iter().map(|event| WrittenEvent::of(event, epoch)).collect(),
            dropped_events_count: span.events_lost,
            status: span.failed.then_some(Status { code: STATUS_ERROR }),
        }
    }
}

impl<'a> WrittenEvent<'a> {
    fn of(event: &'a Event, epoch: Epoch) -> Self {
        let attributes = pairs(&event.attributes);
        Self { time_unix_nano: epoch.nanos(event.at), name: event.name, attributes }
    }
}

fn pairs(attributes: &[Attribute]) -> Vec<Pair<'_>> {
    attributes.iter().map(|(key, value)| Pair { key, value: Any::of(value) }).collect()
}
