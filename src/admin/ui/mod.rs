//! The dashboard: one page, embedded in the binary.
//!
//! **Problem.** Whoever holds the fader needs one place that shows whether it is safe to move it, at a site that may
//! have no internet, on whatever screen is at hand, and that can never show more than the API would.
//!
//! **Decision.** Plain files, written by hand, served as they are: no framework, no build step, no request to anybody
//! else. The page is a client of the admin API like any other; it holds no data, so it needs no token to be loaded,
//! and everything in it comes over `/api/v1` with the token that a person has typed (kept by the tab, never in a
//! URL). The content security policy allows this origin and nothing inline. Text of the server is set as text.
//! What the API reports as null is shown as not measured. The shipped plans are served beside it, to start from.
//!
//! `indicator.js` is for the service's own pages: it tells their users which lane feeds them.
//!
//! **Limits.** About 130 KiB in all, uncompressed. Sessions are shown a page at a time, so that nine thousand cost
//! no more than fifty.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::api::is_direct;

/// What the page may load: itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";
const DATA: &str = "application/json";

/// Tells a page of the service which lane feeds it.
pub const INDICATOR: &str = include_str!("indicator.js");

/// Path, type, content.
const FILES: [(&str, &str, &str); 23] = [
    ("/", HTML, include_str!("index.html")),
    ("/indicator.js", SCRIPT, INDICATOR),
    ("/ui/icon.svg", PICTURE, include_str!("icon.svg")),
    ("/ui/app.css", STYLE, include_str!("app.css")),
    ("/ui/views.css", STYLE, include_str!("views.css")),
    ("/ui/more.css", STYLE, include_str!("more.css")),
    ("/ui/app.js", SCRIPT, include_str!("app.js")),
    ("/ui/api.js", SCRIPT, include_str!("api.js")),
    ("/ui/dom.js", SCRIPT, include_str!("dom.js")),
    ("/ui/charts.js", SCRIPT, include_str!("charts.js")),
    ("/ui/fader.js", SCRIPT, include_str!("fader.js")),
    ("/ui/mixer.js", SCRIPT, include_str!("mixer.js")),
    ("/ui/gauges.js", SCRIPT, include_str!("gauges.js")),
    ("/ui/sessions.js", SCRIPT, include_str!("sessions.js")),
    ("/ui/proof.js", SCRIPT, include_str!("proof.js")),
    ("/ui/records.js", SCRIPT, include_str!("records.js")),
    ("/ui/dialog.js", SCRIPT, include_str!("dialog.js")),
    ("/ui/plan.js", SCRIPT, include_str!("plan.js")),
    ("/ui/incidents.js", SCRIPT, include_str!("incidents.js")),
    ("/ui/report.js", SCRIPT, include_str!("report.js")),
    ("/ui/plans/default.json", DATA, include_str!("../../../deploy/plans/default.json")),
    ("/ui/plans/two-weeks.json", DATA, include_str!("../../../deploy/plans/two-weeks.json")),
    ("/ui/plans/eight-weeks.json", DATA, include_str!("../../../deploy/plans/eight-weeks.json")),
];

/// The page and its parts.
pub fn router() -> Router {
    let add = |router: Router, (path, kind, content): (&'static str, &'static str, &'static str)| {
        router.route(path, get(move || async move { ([(header::CONTENT_TYPE, kind)], content) }))
    };
    FILES.into_iter().fold(Router::new(), add).layer(middleware::from_fn(guarded))
}

/// As the API: not by a name that was rebound to us, and nothing else may be loaded into it or around it.
async fn guarded(request: Request, next: Next) -> Response {
    if let Err(problem) = is_direct(request.headers()) {
        return problem.into_response();
    }
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(path: &str, host: &str) -> Response {
        let request = axum::http::Request::get(path).header("host", host).body(Body::empty()).unwrap();
        router().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn every_part_is_served_with_its_type_under_a_strict_policy() {
        for (path, kind, content) in FILES {
            let answer = ask(path, "127.0.0.1:9465").await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(answer.headers()["content-type"], kind, "{path}");
            let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(to_bytes(answer.into_body(), 1 << 20).await.unwrap(), content, "{path}");
        }
    }

    #[tokio::test]
    async fn a_name_that_was_rebound_is_refused() {
        assert_eq!(ask("/", "evil.example").await.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(ask("/ui/app.js", "evil.example").await.status(), StatusCode::MISDIRECTED_REQUEST);
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for (path, _, content) in FILES {
            for word in ["style=\"", "onclick=\"", "javascript:", "innerHTML =", "eval(", "document.write"] {
                assert!(!content.contains(word), "{path} contains {word}");
            }
            let foreign = content.match_indices("//").filter(|(at, _)| {
                let before = &content[..*at];
                before.ends_with("https:") || before.ends_with("http:")
            });
            let foreign = foreign.filter(|(at, _)| !content[*at..].starts_with("//www.w3.org/2000/svg"));
            assert_eq!(foreign.count(), 0, "{path} names another place");
        }
    }

    #[test]
    fn every_part_that_is_loaded_is_served() {
        let served: Vec<&str> = FILES.iter().map(|(path, ..)| *path).collect();
        let loaded = |content: &str, mark: &str| {
            let after = content.split(mark).skip(1);
            after.map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for (path, _, content) in FILES {
            for name in loaded(content, "from \"./") {
                assert!(served.contains(&format!("/ui/{name}").as_str()), "{path} imports {name}");
            }
            for name in loaded(content, "=\"/ui/") {
                assert!(served.contains(&format!("/ui/{name}").as_str()), "{path} loads {name}");
            }
        }
    }

    #[test]
    fn the_indicator_is_tiny() {
        assert!(INDICATOR.len() < 2048, "{} bytes", INDICATOR.len());
    }
}
