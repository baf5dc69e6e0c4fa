//! `GET /.crossfade/lane` and the script that asks it, where an operator wants them (`CROSSFADE_LANE_ENDPOINT`).
//! The answer is what the upgrade of the same client would be told now; nothing of the service is asked or counted.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri};

use super::body::{AnswerBody, own};
use super::connection::ClientSide;
use super::watch::InFlight;

const LANE: &str = "/.crossfade/lane";
const SCRIPT: &str = "/.crossfade/indicator.js";
const INDICATOR: &str = include_str!("../admin/ui/indicator.js");

/// Whether this request is ours to answer.
pub(super) fn is_asked(client: &ClientSide, parts: &Parts) -> bool {
    client.worker.shared.config.lane_endpoint && matches!(parts.uri.path(), LANE | SCRIPT)
}

/// Our answer: the lane with its reason, or the script.
pub(super) fn answer(client: &ClientSide, mut parts: Parts, in_flight: InFlight) -> Response<AnswerBody> {
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    let script = parts.uri.path() == SCRIPT;
    let (status, kind, text) = if !reads {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain; charset=utf-8",
            "crossfade: only GET is answered\n".to_owned(),
        )
    } else if script {
        (StatusCode::OK, "text/javascript; charset=utf-8", INDICATOR.to_owned())
    } else if let Some(target) = target(&parts.uri) {
        parts.uri = target;
        let shared = &client.worker.shared;
        let source = shared.config.trusted.client(&parts.headers, client.peer);
        let verdict = (shared.decide)(&parts, source);
        let (lane, reason) = (verdict.lane.as_str(), verdict.reason);
        (StatusCode::OK, "application/json", format!("{{\"lane\":\"{lane}\",\"reason\":\"{reason}\"}}\n"))
    } else {
        let text = "crossfade: `path` is no path, such as /.crossfade/lane?path=/feed\n".to_owned();
        (StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", text)
    };
    let mut answer = Response::new(own(Bytes::from(text), in_flight));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let keep = if script { "public, max-age=300" } else { "no-store" };
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, keep),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !reads {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    answer
}

/// The target that the page's upgrade has: `path`, which is `/` by default, and the rest of the query.
fn target(uri: &Uri) -> Option<Uri> {
    let mut path = "/";
    let mut rest = Vec::new();
    for pair in uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("path=") {
            Some(given) => path = given,
            None => rest.push(pair),
        }
    }
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    let whole = path.starts_with('/') && !path.contains('?');
    whole.then(|| PathAndQuery::try_from(format!("{path}{query}")).ok().map(Uri::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_that_of_the_upgrade() {
        let of = |text: &str| target(&text.parse().unwrap()).map(|uri| uri.to_string());
        for (asked, wanted) in [
            ("/.crossfade/lane", Some("/")),
            ("/.crossfade/lane?path=/feed", Some("/feed")),
            ("/.crossfade/lane?user=7&path=/feed&x=%2F", Some("/feed?user=7&x=%2F")),
            ("/.crossfade/lane?path=feed", None),
            ("/.crossfade/lane?path=/feed?x", None),
            ("/.crossfade/lane?path=", None),
        ] {
            assert_eq!(of(asked).as_deref(), wanted, "{asked}");
        }
    }
}
