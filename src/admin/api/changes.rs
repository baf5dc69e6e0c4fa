//! Changes: each is asked once, answered once under one idempotency key, and entered in the audit trail.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::desk::{Change, Desk, What};
use super::events::Events;
use super::model::Audit;
use super::{Caller, Problem};

/// Entries of the audit trail that are kept; the log has all.
pub const AUDIT_MAX: usize = 500;
/// Idempotency keys that are remembered.
const KEYS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 200;
/// A person's reason, in characters.
const REASON_MAX: usize = 300;

/// Who did what, newest last.
#[derive(Debug, Default)]
struct Trail {
    entries: VecDeque<Audit>,
    next: u64,
}

/// A change that has been asked for under a key.
#[derive(Debug)]
struct Kept {
    key: String,
    asked: (What, Option<String>, Bytes),
    /// `None` while it is under way.
    answer: Option<(StatusCode, Value)>,
}

/// The book of changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    trail: Mutex<Trail>,
    kept: Mutex<VecDeque<Kept>>,
}

/// One request for a change.
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) what: What,
    pub(super) subject: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Changes {
    /// The trail, newest first.
    pub(super) fn audit(&self) -> Vec<Audit> {
        lock(&self.trail).entries.iter().rev().cloned().collect()
    }

    /// Asks for the change, unless its key was seen before.
    pub(super) async fn make(&self, asked: Asked, desk: &Desk, events: &Events) -> Response {
        let key = match asked.headers.get("idempotency-key").map(|key| key.to_str()) {
            None => None,
            Some(Ok(key)) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Some(key.to_owned()),
            Some(_) => {
                let message = format!("`Idempotency-Key` is 1 to {KEY_BYTES_MAX} visible ASCII characters");
                return Problem::field("Idempotency-Key", message).into_response();
            }
        };
        if let Some(key) = &key {
            match self.begin(key, &asked) {
                Ok(None) => {}
                Ok(Some((status, body))) => return replayed(status, body),
                Err(problem) => return problem.into_response(),
            }
        }
        // Should this future end early, by a panic or with the runtime, its key must not stay under way for ever.
        let mut under_way = UnderWay { changes: self, key };
        let (status, body) = self.ask(&asked, desk, events).await;
        under_way.end(status, &body);
        (status, Json(body)).into_response()
    }

    async fn ask(&self, asked: &Asked, desk: &Desk, events: &Events) -> (StatusCode, Value) {
        let parsed =
            if asked.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&asked.body) };
        let result = match parsed {
            Ok(body @ (Value::Object(_) | Value::Null)) => {
                let reason = body["reason"].as_str().map(|text| text.chars().take(REASON_MAX).collect());
                let if_match = asked.headers.get("if-match").and_then(|value| value.to_str().ok());
                let change = Change {
                    what: asked.what,
                    subject: asked.subject.clone(),
                    body,
                    if_match: if_match.map(str::to_owned),
                };
                let result = desk.ask(super::Ask::Change(change)).await;
                self.enter(asked, reason, &result, events);
                result
            }
            _ => Err(Problem::new(StatusCode::BAD_REQUEST, "not_json", "the body is not one JSON object")),
        };
        match result {
            Ok(body) => (StatusCode::OK, body),
            Err(problem) => (problem.status, problem.body()),
        }
    }

    /// Enters what was asked for and what became of it.
    fn enter(&self, asked: &Asked, reason: Option<String>, result: &super::Reply, events: &Events) {
        let part = |name: &str| result.as_ref().ok().map(|done| done[name].clone());
        let entry = Audit {
            at: super::unix_ms(),
            no: 0,
            role: asked.caller.role.as_str(),
            remote: asked.caller.remote.map(|remote| remote.to_string()),
            action: asked.what.as_str(),
            subject: asked.subject.clone(),
            before: part("before"),
            after: part("after"),
            reason,
            outcome: result.as_ref().map_or_else(|problem| problem.code, |_| "done"),
        };
        self.write(entry, events);
    }

    /// Writes an entry into the trail and the log, under the next number.
    pub(super) fn write(&self, mut entry: Audit, events: &Events) {
        let mut trail = lock(&self.trail);
        entry.no = trail.next;
        tracing::warn!(
            action = entry.action,
            subject = entry.subject,
            role = entry.role,
            remote = entry.remote,
            reason = entry.reason,
            outcome = entry.outcome,
            before = entry.before.as_ref().map(ToString::to_string),
            after = entry.after.as_ref().map(ToString::to_string),
            "a person changes something"
        );
        events.tell("audit", &entry);
        trail.next += 1;
        trail.entries.push_back(entry);
        if trail.entries.len() > AUDIT_MAX {
            trail.entries.pop_front();
        }
    }

    /// Begins under this key; gives the answer that it had before.
    fn begin(&self, key: &str, asked: &Asked) -> Result<Option<(StatusCode, Value)>, Problem> {
        let mut kept = lock(&self.kept);
        let same = (asked.what, asked.subject.clone(), asked.body.clone());
        if let Some(found) = kept.iter().find(|kept| kept.key == key) {
            if found.asked != same {
                let message = "this `Idempotency-Key` was used for another change; make a new one";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(Problem::new(status, "idempotency_key_reused", message));
            }
            let under_way = || Problem::conflict("under_way", "the same change is under way; ask again");
            return found.answer.clone().map(Some).ok_or_else(under_way);
        }
        if kept.len() >= KEYS_MAX {
            kept.pop_front();
        }
        kept.push_back(Kept { key: key.to_owned(), asked: same, answer: None });
        Ok(None)
    }
}

/// Forgets a key whose change has no answer to be repeated.
struct UnderWay<'a> {
    changes: &'a Changes,
    key: Option<String>,
}

impl UnderWay<'_> {
    /// What the server could not do for a reason that passes may be tried again under the same key.
    fn end(&mut self, status: StatusCode, body: &Value) {
        if status.is_server_error() {
            return;
        }
        let Some(key) = self.key.take() else { return };
        if let Some(kept) = lock(&self.changes.kept).iter_mut().find(|kept| kept.key == key) {
            kept.answer = Some((status, body.clone()));
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.changes.kept).retain(|kept| kept.key != key || kept.answer.is_some());
        }
    }
}

fn replayed(status: StatusCode, body: Value) -> Response {
    let mut answer = (status, Json(body)).into_response();
    answer.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    answer
}
