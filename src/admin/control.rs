//! What changes something: `POST /drain`, and only with the token (`CROSSFADE_ADMIN_TOKEN`).
//! The answer has no end of its own: the connection closes when the process has drained.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::api::{Access, Problem};

/// The word that may stop the process, and how it is stopped.
#[derive(Clone)]
pub struct Control {
    /// Who may do what.
    pub access: Arc<Access>,
    /// Begins the drain. Further calls do nothing.
    pub drain: Arc<dyn Fn() + Send + Sync>,
}

/// Without the token.
impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control")
    }
}

impl Control {
    /// The routes.
    pub fn router(self) -> Router {
        Router::new().route("/drain", post(drain)).with_state(self)
    }

    /// As for any change, but without a body there is no content type to ask for.
    fn permits(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut headers = headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.access.judge(&Method::POST, &headers).map(drop)
    }
}

async fn drain(State(control): State<Control>, headers: HeaderMap) -> Response {
    if let Err(problem) = control.permits(&headers) {
        return problem.into_response();
    }
    (control.drain)();
    let until_the_end = futures_util::stream::pending::<Result<Bytes, Infallible>>();
    (StatusCode::ACCEPTED, Body::from_stream(until_the_end)).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn only_the_token_drains() {
        let drained = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&drained);
        let count = move || {
            seen.fetch_add(1, Ordering::Relaxed);
        };
        let token = Some(super::super::api::Token::new("a long secret"));
        let access = Arc::new(Access { operate: token, ..Access::default() });
        let control = Control { access, drain: Arc::new(count) };
        for (method, host, word, status) in [
            ("POST", "127.0.0.1:9465", None, 401),
            ("POST", "127.0.0.1:9465", Some("Bearer a long secre"), 401),
            ("POST", "127.0.0.1:9465", Some("Bearer a long secret "), 401),
            ("POST", "127.0.0.1:9465", Some("Basic a long secret"), 401),
            ("POST", "127.0.0.1:9465", Some("Bearer "), 401),
            ("GET", "127.0.0.1:9465", Some("Bearer a long secret"), 405),
            ("POST", "evil.example", Some("Bearer a long secret"), 421),
            ("POST", "[::1]:9465", Some("Bearer a long secret"), 202),
            ("POST", "localhost", Some("Bearer a long secret"), 202),
        ] {
            let mut request = Request::builder().method(method).uri("/drain").header("host", host);
            if let Some(word) = word {
                request = request.header("authorization", word);
            }
            let request = request.body(Body::empty()).unwrap();
            let answer = control.clone().router().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{method} {host} {word:?}");
        }
        assert_eq!(drained.load(Ordering::Relaxed), 2);
        assert_eq!(format!("{control:?}"), "Control");
    }
}
