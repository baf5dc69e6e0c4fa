//! What an answer says when it is not what was asked for: one JSON shape for every refusal.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A refusal or a failure: what is wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A word for programs, `snake_case`, from a list that only grows.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// The field of the request that is wrong, where it is one.
    pub field: Option<&'static str>,
}

impl Problem {
    /// A problem with this status, word and sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None }
    }

    /// A value of the request that cannot be used.
    pub fn field(field: &'static str, message: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", message);
        Self { field: Some(field), ..problem }
    }

    /// The state of the process does not allow it.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// Somebody did not answer in time.
    #[must_use]
    pub fn busy(who: &str) -> Self {
        let message = format!("{who} did not answer in time; nothing is known to have changed, ask again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The document.
    #[must_use]
    pub fn body(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
        }
        let inner = Inner { code: self.code, message: &self.message, field: self.field };
        serde_json::json!({ "error": inner })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut answer = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}
