//! Who gets in, onto which topic, and who does not.

use http::HeaderValue;

use super::*;

fn rules(source: &str) -> Rules {
    Rules {
        auth: Auth::Public,
        origins: Origins::Same,
        places: vec![Place::parse("header:authorization").unwrap(), Place::parse("query:token").unwrap()],
        source: Source::parse(source).unwrap(),
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn admitted(rules: &Rules, target: &str, headers: &HeaderMap) -> Result<String, Refusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    rules.admit(&Asked { path, query, headers }, 0).map(|guest| guest.topic)
}

#[test]
fn the_topic_is_made_of_the_upgrade() {
    let check = |source: &str, target: &str, expect: Result<&str, Refusal>| {
        let found = admitted(&rules(source), target, &HeaderMap::new());
        assert_eq!(found.as_deref().map_err(|why| *why), expect, "{source} {target}");
    };
    check("room:all", "/x", Ok("room:all"));
    check("room:{path}", "/a/b", Ok("room:a/b"));
    check("room:{query:id}:x", "/a?id=7%2F8", Ok("room:7/8:x"));
    check("room:{query:id}", "/a", Err(Refusal::Topic));
    check("room:{path}", "/", Err(Refusal::Topic));
    check("room:{query:id}", "/a?id=%0a", Err(Refusal::Topic));
    check("{path}", "/crossfade:shop:pod-0", Err(Refusal::Topic));
    check("{path}", &format!("/{}", "a".repeat(247)), Err(Refusal::Topic));
    check("room:{sub}", "/a", Err(Refusal::Topic));
    check("table:events", "/a", Ok("table:events"));
}

#[test]
fn a_source_that_cannot_work_is_refused() {
    for text in
        ["", "crossfade:x", "room:{", "room:{who}", "room:{query:}", "table:a b", "table:", "table:public.x"]
    {
        assert!(Source::parse(text).is_err(), "{text}");
    }
    assert!(Source::parse("room:{sub}").unwrap().needs_token());
    assert!(!Source::parse("room:{path}").unwrap().needs_token());
}

#[test]
fn a_page_of_another_host_is_refused() {
    let check = |origins: &Origins, lines: &[(&'static str, &'static str)], expect: bool| {
        let rules = Rules { origins: origins.clone(), ..rules("room") };
        let found = admitted(&rules, "/", &headers(lines));
        assert_eq!(found.is_ok(), expect, "{origins:?} {lines:?}");
    };
    let host = ("host", "chat.example");
    check(&Origins::Same, &[host], true);
    check(&Origins::Same, &[host, ("origin", "https://chat.example")], true);
    check(&Origins::Same, &[host, ("origin", "https://evil.example")], false);
    check(&Origins::Same, &[host, ("origin", "https://chat.example.evil")], false);
    check(&Origins::Same, &[host, ("origin", "null")], false);
    check(&Origins::Same, &[("origin", "https://chat.example")], false);
    check(
        &Origins::Same,
        &[host, ("origin", "https://chat.example"), ("origin", "https://evil.example")],
        false,
    );
    let listed = Origins::Listed(vec!["https://app.example".to_owned()]);
    check(&listed, &[host, ("origin", "https://app.example")], true);
    check(&listed, &[host, ("origin", "https://chat.example")], false);
    check(&listed, &[host], true);
    check(&Origins::Any, &[host, ("origin", "https://evil.example")], true);
}

#[test]
fn presence_is_refused_at_the_door() {
    for (target, lines) in [
        ("/?presence=1", [("x", "y")]),
        ("/?presence=true", [("x", "y")]),
        ("/", [("sec-websocket-protocol", "chat, presence")]),
        ("/", [("sec-websocket-protocol", "presence.v1")]),
    ] {
        assert_eq!(admitted(&rules("room"), target, &headers(&lines)), Err(Refusal::Presence), "{target}");
    }
    for (target, lines) in
        [("/?presence=0", ("x", "y")), ("/presence", ("sec-websocket-protocol", "chat.presence"))]
    {
        assert!(admitted(&rules("room"), target, &headers(&[lines])).is_ok(), "{target}");
    }
}

#[test]
fn a_token_is_found_in_its_places_and_in_no_other() {
    let secret = "a secret of at least 32 bytes, as RFC 7518 wants";
    let rules = Rules { auth: Auth::Jwt(Keys::secret(secret).unwrap()), ..rules("room:{sub}") };
    let refused = |target: &str, lines: &[(&'static str, &'static str)]| {
        admitted(&rules, target, &headers(lines)).unwrap_err()
    };
    let missing = Refusal::Token(BadToken::Missing);
    let malformed = Refusal::Token(BadToken::Malformed);
    assert_eq!(refused("/", &[]), missing);
    assert_eq!(refused("/", &[("authorization", "Basic abc")]), missing);
    assert_eq!(refused("/?access_token=abc", &[("cookie", "token=abc")]), missing);
    assert_eq!(refused("/", &[("authorization", "bearer abc")]), malformed);
    assert_eq!(refused("/?token=abc", &[]), malformed);
    let cookies = Rules { places: vec![Place::parse("cookie:sid").unwrap()], ..rules.clone() };
    let found = admitted(&cookies, "/", &headers(&[("cookie", "a=b; sid=\"abc\"")]));
    assert_eq!(found, Err(malformed));
    assert_eq!(
        format!("{:?}", Guest { token: Some("t".to_owned()), exp: None, topic: "x".to_owned() }),
        "Guest(***)"
    );
}
