//! The API without a process behind it: who is let in, and what refusals look like.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

pub(super) const OPERATE: &str = "Bearer a long secret";
pub(super) const VIEW: &str = "Bearer another long secret";

pub(super) fn access() -> Access {
    let token = |text: &str| Some(Token::new(text.strip_prefix("Bearer ").unwrap()));
    Access { operate: token(OPERATE), view: token(VIEW), loopback: true }
}

/// A desk that says what it was asked.
pub(super) fn echo() -> Desk {
    Desk::new(|ask| Box::pin(async move { Ok(json!({ "asked": format!("{ask:?}") })) }))
}

pub(super) fn api(access: Access, desk: Desk) -> Router {
    Api::new(Arc::new(access), desk).router()
}

pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:9465");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

pub(super) async fn ask(router: &Router, request: Request<Body>) -> (u16, HeaderMap, Value) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn judged(access: &Access, method: &str, headers: &[(&str, &str)]) -> Result<Role, (u16, &'static str)> {
    let request = request(method, "/api/v1/status", headers, "");
    let judged = access.judge(&Method::from_bytes(method.as_bytes()).unwrap(), request.headers());
    judged.map_err(|problem| (problem.status.as_u16(), problem.code))
}

#[test]
fn each_role_may_do_what_it_may_and_no_more() {
    let json = ("content-type", "application/json");
    let operate = [("authorization", OPERATE), json];
    let view = [("authorization", VIEW), json];
    let both = access();
    assert_eq!(judged(&both, "PUT", &operate), Ok(Role::Operate));
    assert_eq!(judged(&both, "GET", &operate), Ok(Role::Operate));
    assert_eq!(judged(&both, "GET", &view), Ok(Role::View));
    assert_eq!(judged(&both, "PUT", &view), Err((403, "view_only")));
    assert_eq!(judged(&both, "GET", &[]), Err((401, "unauthorized")), "a view token makes viewing need one");
    for wrong in ["Bearer a long secre", "Bearer a long secret ", "Basic a long secret", "Bearer ", ""] {
        assert_eq!(judged(&both, "GET", &[("authorization", wrong)]), Err((401, "unauthorized")), "{wrong}");
    }
    let alone = Access { view: None, ..access() };
    assert_eq!(judged(&alone, "GET", &[]), Ok(Role::Anonymous), "loopback may view");
    assert_eq!(judged(&alone, "POST", &[json]), Err((401, "unauthorized")));
    let public = Access { loopback: false, ..alone };
    assert_eq!(judged(&public, "GET", &[]), Err((401, "unauthorized")));
    let none = Access { loopback: true, ..Access::default() };
    assert_eq!(judged(&none, "GET", &[]), Ok(Role::Anonymous));
    assert_eq!(judged(&none, "GET", &operate), Ok(Role::Anonymous), "a token that nobody asked for");
    assert_eq!(judged(&none, "PUT", &operate), Err((403, "read_only")));
}

#[test]
fn a_foreign_page_reaches_nothing() {
    let json = ("content-type", "application/json");
    let access = access();
    let from = |host, origin| {
        judged(&access, "PUT", &[("authorization", OPERATE), json, ("host", host), ("origin", origin)])
    };
    assert_eq!(from("127.0.0.1:9465", "http://127.0.0.1:9465"), Ok(Role::Operate));
    assert_eq!(from("localhost:9465", "http://localhost:9465"), Ok(Role::Operate));
    assert_eq!(from("[::1]:9465", "http://[::1]:9465"), Ok(Role::Operate));
    assert_eq!(from("evil.example", "http://evil.example"), Err((421, "foreign_host")), "a rebound name");
    assert_eq!(from("localhost.evil.example", "null"), Err((421, "foreign_host")));
    assert_eq!(from("127.0.0.1:9465", "http://evil.example"), Err((403, "foreign_origin")));
    assert_eq!(from("127.0.0.1:9465", "http://127.0.0.1:80"), Err((403, "foreign_origin")));
    assert_eq!(from("127.0.0.1:9465", "null"), Err((403, "foreign_origin")));
    let form = [("authorization", OPERATE), ("content-type", "text/plain")];
    assert_eq!(judged(&access, "POST", &form), Err((415, "not_json")), "what a form can send");
    assert_eq!(judged(&access, "POST", &[("authorization", OPERATE)]), Err((415, "not_json")));
    assert_eq!(judged(&access, "GET", &[("host", "evil.example")]), Err((421, "foreign_host")), "views too");
}

#[tokio::test]
async fn refusals_are_json_and_nothing_is_cached() {
    let router = api(access(), echo());
    let view = [("authorization", VIEW)];
    let (status, headers, body) = ask(&router, request("GET", "/api/v1/status", &view, "")).await;
    assert_eq!((status, &body["asked"]), (200, &json!("Status")));
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
    let (status, headers, body) = ask(&router, request("GET", "/api/v1/status", &[], "")).await;
    assert_eq!((status, &body["error"]["code"]), (401, &json!("unauthorized")));
    assert_eq!(headers["www-authenticate"], "Bearer");
    assert!(body["error"]["message"].as_str().unwrap().contains("Bearer"));
    let (status, _, body) = ask(&router, request("GET", "/api/v1/nowhere", &view, "")).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")));
    let operate = [("authorization", OPERATE), ("content-type", "application/json")];
    let (status, _, body) = ask(&router, request("PUT", "/api/v1/status", &operate, "{}")).await;
    assert_eq!((status, &body["error"]["code"]), (405, &json!("method_not_allowed")));
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_answer_is_not_waited_for() {
    let silent = Desk::new(|_| Box::pin(std::future::pending()));
    let router = api(access(), silent);
    let (status, headers, body) =
        ask(&router, request("GET", "/api/v1/status", &[("authorization", VIEW)], "")).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("busy")));
    assert_eq!(headers["retry-after"], "1");
}

/// A desk at which a link is ready, and done when it is used.
fn links() -> Desk {
    Desk::new(|ask| {
        Box::pin(async move {
            let state = if matches!(ask, Ask::UseLink(_)) { "done" } else { "ready" };
            Ok(json!({
                "id": "0011aabb", "action": "link_rollback", "state": state, "code": state, "says": "<b> & \"all\" go back",
            }))
        })
    })
}

async fn page(router: &Router, method: &str, host: &str) -> (u16, HeaderMap, String) {
    let fields = [("host", host), ("origin", "null")];
    let answer = router.clone().oneshot(request(method, "/links/a.b", &fields, "")).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_link_is_a_page_that_acts_by_post_alone_for_hosts_that_are_ours() {
    let closed = Access { operate: access().operate, view: access().view, loopback: false };
    let router = Api::new(Arc::new(closed), links()).with_links(Some("Links.Example:8443")).router();
    let trail = async |router: &Router| {
        let seen = ask(router, request("GET", "/api/v1/audit", &[("authorization", OPERATE)], "")).await;
        seen.2["entries"].as_array().unwrap().clone()
    };
    for host in ["links.example:8443", "localhost", "10.0.0.1:9465"] {
        let (status, head, body) = page(&router, "GET", host).await;
        assert_eq!(status, 200, "{host}");
        assert!(
            body.contains("&lt;b&gt; &amp; &quot;all&quot; go back") && body.contains("<button>"),
            "{body}"
        );
        assert!(!body.contains("<script") && !body.contains("a.b"), "{body}");
        assert_eq!(head["referrer-policy"], "no-referrer");
        assert_eq!(
            (&head["cache-control"], &head["x-frame-options"]),
            (&"no-store".parse().unwrap(), &"DENY".parse().unwrap())
        );
        assert_eq!(head["x-content-type-options"], "nosniff");
        assert!(head["content-security-policy"].to_str().unwrap().contains("form-action 'self'"));
    }
    for host in ["links.example", "links.example:8444", "evil.example"] {
        assert_eq!(page(&router, "POST", host).await.0, 421, "{host}");
    }
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        let (status, head, _) = page(&router, method, "localhost").await;
        assert_eq!((status, &head["referrer-policy"]), (405, &HeaderValue::from_static("no-referrer")));
        assert!(!head.contains_key("access-control-allow-origin"), "no page elsewhere is invited");
    }
    assert_eq!(trail(&router).await.len(), 0, "nothing was used");
    let (status, _, body) = page(&router, "POST", "links.example:8443").await;
    assert!(status == 200 && body.contains("Rolled back") && !body.contains("<button>"), "{body}");
    let used = trail(&router).await;
    let found = |name: &str| used[0][name].as_str().unwrap().to_owned();
    assert_eq!(
        [found("role"), found("action"), found("outcome"), found("subject")],
        ["link", "link_rollback", "done", "0011aabb"]
    );
    let bare = api(access(), links());
    assert_eq!(page(&bare, "POST", "localhost").await.0, 404, "there are no links without the section");
}

/// A desk at which links are what their tokens say.
fn said() -> Desk {
    Desk::new(|ask| {
        Box::pin(async move {
            let Ask::UseLink(token) = ask else { return Ok(json!({ "state": "ready" })) };
            let id = (token.0 != "link_forged").then_some("0011aabb");
            let state = if token.0 == "done" { "done" } else { "refused" };
            Ok(json!({ "id": id, "action": "link_promote", "state": state, "code": token.0, "says": "" }))
        })
    })
}

fn linked(desk: Desk) -> Router {
    Api::new(Arc::new(access()), desk).with_links(Some("links.example:8443")).router()
}

/// Outcomes in the trail, newest first.
async fn outcomes(router: &Router) -> Vec<String> {
    let seen = ask(router, request("GET", "/api/v1/audit", &[("authorization", OPERATE)], "")).await;
    let entries = seen.2["entries"].as_array().unwrap().clone();
    entries.iter().map(|entry| entry["outcome"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn neither_guesses_nor_void_links_push_anybody_out_of_the_trail() {
    let router = linked(said());
    let post = async |token: &str| {
        let asked = request("POST", &format!("/links/{token}"), &[("host", "localhost")], "");
        ask(&router, asked).await.0
    };
    assert_eq!(post("done").await, 200);
    for _ in 0..AUDIT_MAX {
        assert_eq!((post("link_forged").await, post("link_used").await), (404, 409));
    }
    assert_eq!(post("done").await, 200);
    let seen = outcomes(&router).await;
    let count = |wanted: &str| seen.iter().filter(|one| *one == wanted).count();
    assert_eq!((count("done"), count("link_forged"), count("link_used")), (2, 10, 10));
    assert_eq!(seen.first(), seen.last(), "both uses are there");
}

#[tokio::test]
async fn the_button_is_pressed_on_our_page_alone() {
    let router = linked(said());
    let press = async |method: &str, fields: &[(&str, &str)]| {
        let fields: Vec<_> = [("host", "links.example:8443")].iter().chain(fields).copied().collect();
        ask(&router, request(method, "/links/done", &fields, "")).await.0
    };
    let site = "sec-fetch-site";
    for foreign in [
        &[(site, "cross-site"), ("origin", "null")][..],
        &[(site, "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "https://links.example:8444")],
        &[("origin", "https://links.example:8443.evil.example")],
    ] {
        assert_eq!(press("POST", foreign).await, 403, "{foreign:?}");
    }
    assert_eq!(outcomes(&router).await, [""; 0], "nothing was used");
    for own in [
        &[][..],
        &[(site, "same-origin"), ("origin", "null")],
        &[(site, "same-origin"), ("origin", "https://links.example:8443")],
        &[("origin", "https://links.example:8443")],
    ] {
        assert_eq!(press("POST", own).await, 200, "{own:?}");
    }
    assert_eq!(press("GET", &[(site, "cross-site")]).await, 200, "a click in a chat shows the page");
}

#[tokio::test]
async fn whoever_hangs_up_is_in_the_trail_all_the_same() {
    let operate = [("authorization", OPERATE), ("content-type", "application/json")];
    // A link's body is not waited for: one that never comes.
    let mut link = request("POST", "/links/a.b", &[("host", "localhost")], "");
    *link.body_mut() = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    for request in [link, request("POST", "/api/v1/rollout/emergency-off", &operate, r#"{"on":true}"#)] {
        let (asked, answer) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let own = (Arc::clone(&asked), Arc::clone(&answer));
        let router = linked(Desk::new(move |ask| {
            let (asked, answer) = own.clone();
            Box::pin(async move {
                if matches!(ask, Ask::UseLink(_) | Ask::Change(_)) {
                    asked.notify_one();
                    answer.notified().await;
                }
                Ok(
                    json!({ "id": "0011aabb", "action": "link_promote", "state": "done", "code": "done", "says": "" }),
                )
            })
        }));
        let client = tokio::spawn(router.clone().oneshot(request));
        asked.notified().await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled(), "it has hung up");
        answer.notify_one();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(outcomes(&router).await, ["done"]);
    }
}
