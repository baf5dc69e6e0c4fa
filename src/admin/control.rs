//! What changes something: `POST /drain`, and only with the token (`CROSSFADE_ADMIN_TOKEN`).
//! The answer has no end of its own: the connection closes when the process has drained.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

/// The word that may stop the process, and how it is stopped.
#[derive(Clone)]
pub struct Control {
    /// What `Authorization: Bearer` must carry.
    pub token: Arc<str>,
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

    fn permits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        given
            .and_then(|value| value.strip_prefix(b"Bearer "))
            .is_some_and(|given| same(given, self.token.as_bytes()))
    }
}

async fn drain(State(control): State<Control>, headers: HeaderMap) -> Response {
    if !is_direct(&headers) {
        return (StatusCode::MISDIRECTED_REQUEST, "use an address, or localhost\n").into_response();
    }
    if !control.permits(&headers) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "the token is wrong\n")
            .into_response();
    }
    (control.drain)();
    let until_the_end = futures_util::stream::pending::<Result<Bytes, Infallible>>();
    (StatusCode::ACCEPTED, Body::from_stream(until_the_end)).into_response()
}

/// `Host` is an address or `localhost`: a page that rebinds its own name to this address sends that name.
fn is_direct(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    host.is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok()
    })
}

/// Compares without telling by its time how much was right.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differ = given.iter().zip(wanted).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    given.len() == wanted.len() && differ == 0
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
        let control = Control { token: "a long secret".into(), drain: Arc::new(count) };
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
