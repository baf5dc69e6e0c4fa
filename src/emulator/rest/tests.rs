//! The memory behind `/rest/v1`, request by request, as PostgREST's documentation says and crossfade relies on.

use super::super::http::HttpRequest;
use super::super::machine::HttpAnswer;
use super::super::{
    Claims, Clock, Config, ConnId, Emulator, Frame, Limits, Out, OutFrame, Policy, Secret, Table,
    UpgradeRequest,
};
use bytes::Bytes;
use proptest::prelude::*;
use std::time::{Duration, Instant};

const EVENTS: &str = "events(id uuid primary key, kind text not null, n int, data jsonb, at timestamptz default now(), \
                      source text default 'proxy', unique (kind, n))";

struct Rest {
    emulator: Emulator,
    secret: Secret,
    now: Instant,
    role: &'static str,
}

#[expect(clippy::disallowed_methods, reason = "one origin for the virtual clock")]
fn rest() -> Rest {
    let secret = Secret::new("s");
    let tables = [EVENTS, "counted(id bigserial primary key, word text)", "bare(word text) unpublished"];
    let config = Config {
        tables: tables.iter().map(|line| Table::parse(line).unwrap()).collect(),
        table_policies: vec![Policy::parse("authenticated:events:r").unwrap()],
        ..Config::new(secret.clone())
    };
    let now = Instant::now();
    let clock = Clock { at: now, unix_ms: 1_767_323_045_678 };
    Rest { emulator: Emulator::new(config, 1, clock), secret, now, role: "service_role" }
}

impl Rest {
    fn ask(&mut self, method: &str, path: &str, prefer: &str, body: &str) -> HttpAnswer {
        let key = self.secret.mint(&Claims::of(self.role, 4_000_000_000));
        self.ask_with(method, path, &[("apikey", &key), ("prefer", prefer)], body)
    }

    fn ask_with(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = HttpRequest {
            method: method.to_owned(),
            path: format!("/rest/v1/{path}"),
            query: query.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: Bytes::from(body.to_owned()),
        };
        self.emulator.http(&request, self.now)
    }

    fn insert(&mut self, rows: &str) -> HttpAnswer {
        self.ask("POST", "events", "return=minimal", rows)
    }

    fn refused(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.ask(method, path, "", body);
        (answer.status, code(&answer))
    }
}

fn code(answer: &HttpAnswer) -> String {
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    for member in ["message", "details", "hint"] {
        assert!(json.get(member).is_some(), "{member} in {}", answer.body);
    }
    json["code"].as_str().unwrap().to_owned()
}

fn header<'a>(answer: &'a HttpAnswer, name: &str) -> &'a str {
    answer.headers.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn row(n: u32) -> String {
    format!(r#"{{"id":"{}","kind":"k","n":{n}}}"#, id(n))
}

#[test]
fn a_batch_is_all_or_nothing() {
    let mut rest = rest();
    let answer = rest.insert(&format!("[{},{}]", row(1), row(2)));
    assert_eq!((answer.status, answer.body.as_str()), (201, ""));
    let bad = format!(r#"[{},{{"id":"{}","kind":null,"n":4}}]"#, row(3), id(4));
    let answer = rest.insert(&bad);
    assert_eq!((answer.status, code(&answer).as_str()), (400, "23502"));
    let again = rest.insert(&format!("[{},{}]", row(5), row(1)));
    assert_eq!((again.status, code(&again).as_str()), (409, "23505"));
    assert!(again.body.contains("Key (id)=(00000000-0000-4000-8000-000000000001) already exists."));
    let left = rest.ask("GET", "events?select=n&order=n", "count=exact", "");
    assert_eq!(left.body, "[{\"n\":1}, \n {\"n\":2}]");
    assert_eq!(header(&left, "content-range"), "0-1/2");
}

#[test]
fn duplicates_are_ignored_merged_or_refused_as_preferred() {
    let mut rest = rest();
    rest.insert(&row(1));
    let ignore = "resolution=ignore-duplicates,return=representation";
    let answer = rest.ask("POST", "events", ignore, &format!("[{},{}]", row(1), row(2)));
    assert_eq!(answer.status, 201);
    assert!(answer.body.contains(&id(2)) && !answer.body.contains(&id(1)), "{}", answer.body);
    assert!(header(&answer, "preference-applied").starts_with("resolution=ignore-duplicates"));
    let all = rest.ask("POST", "events", "resolution=ignore-duplicates", &row(2));
    assert_eq!((all.status, all.body.as_str()), (201, ""), "201 also when nothing was inserted");

    let changed = format!(r#"{{"id":"{}","kind":"other","n":1}}"#, id(1));
    let merged = rest.ask("POST", "events", "resolution=merge-duplicates", &changed);
    assert_eq!(merged.status, 200, "nothing was inserted");
    let twice = format!("[{changed},{changed}]");
    let twice = rest.ask("POST", "events", "resolution=merge-duplicates", &twice);
    assert_eq!((twice.status, code(&twice).as_str()), (500, "21000"));
    // Another unique constraint than the one that is resolved.
    let other = format!(r#"{{"id":"{}","kind":"other","n":1}}"#, id(9));
    let other = rest.ask("POST", "events", "resolution=ignore-duplicates", &other);
    assert_eq!((other.status, code(&other).as_str()), (409, "23505"));
    let by = format!(r#"{{"id":"{}","kind":"other","n":1}}"#, id(9));
    let by = rest.ask("POST", "events?on_conflict=kind,n", "resolution=ignore-duplicates", &by);
    assert_eq!(by.status, 201);
    let none = rest.ask("POST", "events?on_conflict=kind", "resolution=ignore-duplicates", &row(9));
    assert_eq!((none.status, code(&none).as_str()), (400, "42P10"));
    let keyless = rest.ask("POST", "bare", "resolution=ignore-duplicates", r#"{"word":"a"}"#);
    assert_eq!((keyless.status, header(&keyless, "preference-applied")), (201, ""), "no key, not applied");
}

#[test]
fn columns_that_are_missing_become_null_or_their_default() {
    let mut rest = rest();
    let two = |n: u32| {
        format!(r#"[{{"id":"{}","kind":"k","source":"x"}},{{"id":"{}","kind":"k"}}]"#, id(n), id(n + 1))
    };
    let uneven = rest.insert(&two(1));
    assert_eq!((uneven.status, code(&uneven).as_str()), (400, "PGRST102"));
    let columns = "events?columns=id,kind,source&select=source,at";
    let nulls = rest.ask("POST", columns, "return=representation", &two(1));
    assert_eq!(
        nulls.body,
        "[{\"source\":\"x\",\"at\":\"2026-01-02T03:04:05.678+00:00\"}, \n {\"source\":null,\"at\":\"2026-01-02T03:04:05.678+00:00\"}]"
    );
    let defaults = rest.ask("POST", columns, "return=representation,missing=default", &two(3));
    assert!(defaults.body.contains(r#"{"source":"proxy""#), "{}", defaults.body);
    let serial = rest.ask("POST", "counted", "return=representation", r#"[{"word":"a"},{"word":"b"}]"#);
    assert_eq!(serial.body, "[{\"id\":1,\"word\":\"a\"}, \n {\"id\":2,\"word\":\"b\"}]");
}

#[test]
fn reads_filter_order_and_page() {
    let mut rest = rest();
    let rows: Vec<String> = (1..=5).map(row).collect();
    rest.insert(&format!("[{}]", rows.join(",")));
    for (query, expected) in [
        ("n=gt.3&order=n.desc", "5,4"),
        ("n=in.(1,5)&order=n", "1,5"),
        ("or=(n.lt.2,n.gte.5)&order=n", "1,5"),
        ("kind=like.k*&n=neq.3&order=n.asc&limit=2&offset=1", "2,4"),
        ("data=is.null&n=lte.1", "1"),
        ("id=eq.00000000-0000-4000-8000-000000000002", "2"),
        ("at=gte.2026-01-02T03:04:05Z&n=eq.1", "1"),
        ("at=lt.2026-01-02T03:04:05Z", ""),
    ] {
        let answer = rest.ask("GET", &format!("events?select=n&{query}"), "", "");
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let found: Vec<String> = serde_json::from_str::<Vec<serde_json::Value>>(&answer.body)
            .unwrap()
            .iter()
            .map(|row| row["n"].to_string())
            .collect();
        assert_eq!(found.join(","), expected, "{query}");
    }
    let key = rest.secret.mint(&Claims::of("service_role", 4_000_000_000));
    let page = rest.ask_with(
        "GET",
        "events?order=n",
        &[("apikey", &key), ("range", "1-2"), ("prefer", "count=exact")],
        "",
    );
    assert_eq!((page.status, header(&page, "content-range")), (206, "1-2/5"));
    let beyond = rest.ask("GET", "events?offset=9", "count=exact", "");
    assert_eq!((beyond.status, code(&beyond).as_str()), (416, "PGRST103"));
    let uncounted = rest.ask("GET", "events?offset=9", "", "");
    assert_eq!(
        (uncounted.status, uncounted.body.as_str(), header(&uncounted, "content-range")),
        (200, "[]", "*/*")
    );
    let object = [("apikey", key.as_str()), ("accept", "application/vnd.pgrst.object+json")];
    let one = rest.ask_with("GET", "events?n=eq.2&select=word:kind", &object, "");
    assert_eq!(one.body, r#"{"word":"k"}"#);
    let many = rest.ask_with("GET", "events", &object, "");
    assert_eq!((many.status, code(&many).as_str()), (406, "PGRST116"));
    let head = rest.ask("HEAD", "events", "count=exact", "");
    assert_eq!((head.status, head.body.as_str(), header(&head, "content-range")), (200, "", "0-4/5"));
}

#[test]
fn rows_are_changed_and_removed() {
    let mut rest = rest();
    rest.insert(&format!("[{},{},{}]", row(1), row(2), row(3)));
    let changed = rest.ask("PATCH", "events?n=gte.2", "return=representation", r#"{"data":{"b":1,"a":[1]}}"#);
    assert_eq!((changed.status, header(&changed, "content-range")), (200, "0-1/*"));
    assert!(changed.body.contains(r#""data":{"a": [1], "b": 1}"#), "{}", changed.body);
    let clash = rest.ask("PATCH", "events?n=eq.1", "", r#"{"n":2}"#);
    assert_eq!((clash.status, code(&clash).as_str()), (409, "23505"));
    let gone = rest.ask("DELETE", "events?n=lt.3", "count=exact", "");
    assert_eq!((gone.status, header(&gone, "content-range")), (204, "*/2"));
    let again = rest.insert(&row(1));
    assert_eq!(again.status, 201, "its key is free again");
    assert_eq!(rest.ask("GET", "events?select=n&order=n", "", "").body, "[{\"n\":1}, \n {\"n\":3}]");
}

#[test]
fn refusals_carry_postgrests_code_and_status() {
    let mut rest = rest();
    for (method, path, body, status, code) in [
        ("GET", "nosuch", "", 404, "PGRST205"),
        ("POST", "events", "{", 400, "PGRST102"),
        ("POST", "events", "3", 400, "PGRST102"),
        ("POST", "events", r#"{"nope":1}"#, 400, "PGRST204"),
        ("POST", "events", r#"{"id":"x","kind":"k"}"#, 400, "22P02"),
        ("POST", "events", r#"{"id":"00000000-0000-4000-8000-000000000001","kind":"a\u0000"}"#, 400, "22P05"),
        (
            "POST",
            "events",
            r#"{"id":"00000000-0000-4000-8000-000000000001","kind":"k","n":9999999999}"#,
            400,
            "22003",
        ),
        ("GET", "events?nope=eq.1", "", 400, "42703"),
        ("GET", "events?select=nope", "", 400, "42703"),
        ("GET", "events?order=nope", "", 400, "42703"),
        ("GET", "events?n=around.1", "", 400, "PGRST100"),
        ("GET", "events?limit=x", "", 400, "PGRST100"),
        ("GET", "events?limit=-1", "", 416, "PGRST103"),
        ("PUT", "events", "{}", 405, "PGRST117"),
        ("DELETE", "rpc/f", "", 405, "PGRST101"),
        ("POST", "rpc/nosuch", "{}", 404, "PGRST202"),
        ("GET", "events/more", "", 404, "PGRST125"),
    ] {
        assert_eq!(rest.refused(method, path, body), (status, code.to_owned()), "{method} {path} {body}");
    }
}

#[test]
fn keys_and_tokens_are_judged_as_the_gateway_and_postgrest_do() {
    let mut rest = rest();
    let none = rest.ask_with("GET", "events", &[], "");
    assert!(none.status == 401 && none.body.contains("No API key found in request"), "{}", none.body);
    let foreign = Secret::new("other").mint(&Claims::of("anon", 4_000_000_000));
    let wrong = rest.ask_with("GET", "events", &[("apikey", &foreign)], "");
    assert!(wrong.status == 401 && wrong.body.contains("Invalid API key"), "{}", wrong.body);
    let key = rest.secret.mint(&Claims::of("anon", 4_000_000_000));
    for (token, code_wanted) in [
        (rest.secret.mint(&Claims::of("service_role", 5)), "PGRST303"),
        (foreign.clone(), "PGRST301"),
        ("nonsense".to_owned(), "PGRST301"),
    ] {
        let bearer = format!("Bearer {token}");
        let answer = rest.ask_with("GET", "events", &[("apikey", &key), ("authorization", &bearer)], "");
        assert_eq!((answer.status, code(&answer).as_str()), (401, code_wanted));
        assert!(!header(&answer, "www-authenticate").is_empty());
    }
}

#[test]
fn row_level_security_hides_rows_and_refuses_new_ones() {
    let mut rest = rest();
    rest.insert(&row(1));
    rest.role = "authenticated";
    assert!(rest.ask("GET", "events", "", "").body.contains(&id(1)), "a policy lets it read");
    let write = rest.insert(&row(2));
    assert_eq!((write.status, code(&write).as_str()), (403, "42501"));
    rest.role = "anon";
    assert_eq!(rest.ask("GET", "events", "", "").body, "[]");
    assert_eq!(rest.refused("POST", "events", &row(2)), (401, "42501".to_owned()));
    assert_eq!(rest.ask("DELETE", "events?n=gt.0", "count=exact", "").status, 204);
    rest.role = "service_role";
    assert!(rest.ask("GET", "events", "", "").body.contains(&id(1)), "nothing was deleted");
}

/// Recording 09c, with rows that come in through `/rest/v1`: at 5 messages a second 200 rows of one statement all
/// arrive, then everything is lost without a word until the average has fallen, and what was lost never comes.
#[test]
fn rows_over_the_limit_are_lost_without_a_word() {
    let mut rest = rest();
    let began = rest.now;
    rest.emulator.set_limits(Limits { events_per_second: 5, ..Limits::default() }, began);
    let at = |ms: u64| began + Duration::from_millis(ms);
    rest.now = at(2_657);
    let key = rest.secret.mint(&Claims::of("service_role", 4_000_000_000));
    let query = format!("vsn=2.0.0&apikey={key}");
    let upgrade = UpgradeRequest { path: "/socket/websocket".to_owned(), query, headers: Vec::new() };
    rest.emulator.connect(ConnId(1), &upgrade, rest.now);
    let join = r#"["1","1","realtime:lim","phx_join",{"config":{"broadcast":{"ack":true},"postgres_changes":[{"event":"INSERT","schema":"public","table":"events"}]}}]"#;
    rest.emulator.handle(ConnId(1), Frame::Text(join.to_owned()), rest.now);
    let heard = |rest: &mut Rest| {
        // The server looks at the database every 100 ms.
        rest.now += Duration::from_millis(100);
        rest.emulator.handle_timeout(rest.now);
        let mut texts = Vec::new();
        while let Some((_, out)) = rest.emulator.poll_transmit() {
            let Out::Frame(OutFrame::Text(text)) = out else { panic!("{out:?}") };
            texts.push(String::from_utf8(text.to_vec()).unwrap());
        }
        texts
    };
    rest.now = at(9_725);
    assert!(heard(&mut rest).last().is_some_and(|text| text.contains("Subscribed to PostgreSQL")));
    let rows = |from: u32, count: u32| {
        let rows: Vec<String> = (from..from + count).map(row).collect();
        format!("[{}]", rows.join(","))
    };
    assert_eq!(rest.insert(&rows(0, 200)).status, 201);
    assert_eq!(heard(&mut rest).len(), 200);
    rest.now = at(14_737);
    assert_eq!(rest.insert(&rows(200, 10)).status, 201, "the database took them");
    assert_eq!(heard(&mut rest), Vec::<String>::new(), "no row, no system message, no close");
    rest.now = at(18_748);
    let push = r#"["1","2","realtime:lim","broadcast",{"type":"broadcast","event":"e","payload":{}}]"#;
    rest.emulator.handle(ConnId(1), Frame::Text(push.to_owned()), rest.now);
    assert!(heard(&mut rest)[0].contains(r#""status":"ok""#), "a broadcast still works");
    let mut written = 0;
    let first = loop {
        rest.now += Duration::from_millis(2_500);
        written += 1;
        assert_eq!(rest.insert(&rows(1_000 + written, 1)).status, 201);
        let texts = heard(&mut rest);
        if !texts.is_empty() {
            break texts;
        }
        assert!(written < 40, "rows never come again");
    };
    assert!(
        first.len() == 1 && first[0].contains(&id(1_000 + written)),
        "the missed ones never come: {first:?}"
    );
    // 11 rows, 28 s, in the recording; where the tick stood there is not known to the row.
    assert!((9..=13).contains(&written), "{written} rows until they came again");
}

proptest! {
    /// Whatever is sent, an answer comes, errors have their four members, and a refused batch changes nothing.
    #[test]
    fn any_sequence_keeps_statements_whole(steps in prop::collection::vec((0_u32..8, 0_u32..8, 0..6), 1..40)) {
        let mut rest = rest();
        let mut expected = std::collections::BTreeSet::new();
        for (first, second, what) in steps {
            let batch = format!("[{},{}]", row(first), row(second));
            match what {
                0 | 1 => {
                    let answer = rest.insert(&batch);
                    let fine = first != second && !expected.contains(&first) && !expected.contains(&second);
                    prop_assert_eq!(answer.status, if fine { 201 } else { 409 });
                    if fine {
                        expected.extend([first, second]);
                    }
                }
                2 => {
                    let answer = rest.ask("POST", "events", "resolution=ignore-duplicates", &batch);
                    prop_assert_eq!(answer.status, 201);
                    expected.extend([first, second]);
                }
                3 => {
                    rest.ask("DELETE", &format!("events?n=eq.{first}"), "", "");
                    expected.remove(&first);
                }
                _ => {
                    let answer = rest.ask("PATCH", &format!("events?n=eq.{first}"), "count=exact", r#"{"source":"y"}"#);
                    prop_assert_eq!(answer.status, 204);
                }
            }
            let all = rest.ask("GET", "events?select=n&order=n", "", "");
            let shown: Vec<String> = expected.iter().map(|n| format!("{{\"n\":{n}}}")).collect();
            prop_assert_eq!(all.body, format!("[{}]", shown.join(", \n ")));
        }
    }

    #[test]
    fn no_request_panics(method in "GET|POST|PATCH|DELETE|HEAD", path in "[a-z/?=&.,()*%0-9\"->]{0,40}", body in "\\PC{0,40}") {
        let mut rest = rest();
        let _ = rest.ask(&method, &format!("events?{path}"), "return=representation", &body);
        let _ = rest.ask(&method, &path, "count=exact", &body);
    }
}
