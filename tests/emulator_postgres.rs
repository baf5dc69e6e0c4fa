//! The emulator on a real PostgreSQL. The first test is a differential one: whatever is asked of the memory and of
//! PostgreSQL is answered alike, so PostgreSQL itself is the oracle of what the memory says. Where no PostgreSQL is
//! installed the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crossfade::emulator::{Claims, Config, Handle, Policy, Secret, Table, serve, serve_with_database};
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

#[path = "postgres/cluster.rs"]
#[allow(unreachable_pub, clippy::panic, reason = "shared by tests, which fail by panicking")]
mod cluster;

use cluster::Cluster;

const HANG: Duration = Duration::from_secs(60);
const SECRET: &str = "only for tests";
const EVENTS: &str = "events(id uuid primary key default gen_random_uuid(), kind text not null, n int, data jsonb, \
                      at timestamptz, ok boolean default true, big bigint, unique (kind, n))";
const LISTED: &str = "listed(id int primary key, words text[], numbers int[] default '{7}', big bigint[], ok boolean[], \
                      data jsonb[], at timestamptz[], part uuid[])";
/// Rows of that table: NULL elements and columns, quotes, words that look like NULL and like arrays, nested, empty.
const LISTS: &str = r#"[
    {"id":1,"words":["a","b c",null,"NULL","","say \"hi\"","back\\slash","{x,y}","é, ü","line\nbreak"],"numbers":[1,null,-3],
     "big":[9007199254740993],"ok":[true,false,null],"data":[{"a":1,"b":[1,{"c":null}]},"s",2.5,true,null],
     "at":["2026-01-02T03:04:05.5+00:00",null],"part":["00000000-0000-4000-8000-000000000001"]},
    {"id":2,"words":[["a","b"],[null,"d\"e"]],"numbers":[[[1,2],[3,4]],[[5,6],[7,null]]],"big":[],"ok":[[true],[false]],
     "data":[{"z":1,"aa":[]},[1,2]],"at":[],"part":[]},
    {"id":3,"words":null,"numbers":null,"big":null,"ok":null,"data":null,"at":null,"part":null},
    {"id":4,"words":[],"numbers":[],"big":[null],"ok":[],"data":[],"at":[null],"part":[null]}
]"#;
/// Names as in `pg_type`, in the order of the table.
const COLUMNS: &str = r#"[{"name":"id","type":"int4"},{"name":"words","type":"_text"},{"name":"numbers","type":"_int4"},{"name":"big","type":"_int8"},{"name":"ok","type":"_bool"},{"name":"data","type":"_jsonb"},{"name":"at","type":"_timestamptz"},{"name":"part","type":"_uuid"}]"#;

fn config() -> Config {
    Config {
        tables: vec![
            Table::parse(EVENTS).unwrap(),
            Table::parse(LISTED).unwrap(),
            Table::parse("closed(id int primary key)").unwrap(),
            Table::parse("inbox(id int primary key)").unwrap(),
        ],
        table_policies: vec![
            Policy::parse("anon:events:rw").unwrap(),
            Policy::parse("authenticated:events:rw").unwrap(),
            Policy::parse("authenticated:inbox:w").unwrap(),
        ],
        first_subscription: Duration::from_millis(300),
        ..Config::new(Secret::new(SECRET))
    }
}

async fn in_memory() -> Handle {
    let (handle, run) = serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), config(), 1).unwrap();
    tokio::spawn(run);
    handle
}

async fn on(cluster: &Cluster) -> Handle {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (handle, run) = serve_with_database(listener, config(), 1, &cluster.url()).await.unwrap();
    tokio::spawn(run);
    handle
}

fn key(role: &str) -> String {
    Secret::new(SECRET).mint(&Claims::of(role, 4_000_000_000))
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    range: Option<String>,
    applied: Option<String>,
    body: String,
}

async fn ask(handle: &Handle, role: &str, (method, path): (&str, &str), prefer: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(handle.addr()).await.unwrap();
    let path = path.replace(' ', "%20").replace('"', "%22").replace('>', "%3E");
    let request = format!(
        "{method} /rest/v1/{path} HTTP/1.1\r\nhost: x\r\napikey: {}\r\nprefer: {prefer}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        key(role),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(HANG, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        range: header("content-range: "),
        applied: header("preference-applied: "),
        body: body.to_owned(),
    }
}

fn row(n: u32, rest: &str) -> String {
    format!(r#"{{"id":"00000000-0000-4000-8000-{n:012}","kind":"k","n":{n}{rest}}}"#)
}

/// Requests in their order: role, method, path, preferences, body.
#[expect(clippy::too_many_lines, reason = "a table")]
fn requests() -> Vec<(&'static str, &'static str, String, &'static str, String)> {
    let service = "service_role";
    let rows = |list: &[String]| format!("[{}]", list.join(","));
    let mut all = vec![
        (service, "POST", "events".into(), "return=minimal", rows(&[row(1, ""), row(2, "")])),
        (
            service,
            "POST",
            "events".into(),
            "return=representation",
            row(
                3,
                r#","data":{"value":21.5,"n":12345678901234567890,"s":"é"},"at":"2026-01-02T03:04:05.678901Z","big":"9007199254740993""#,
            ),
        ),
        (service, "POST", "events".into(), "", rows(&[row(4, ""), row(1, "")])),
        (
            service,
            "POST",
            "events".into(),
            "resolution=ignore-duplicates,return=representation",
            rows(&[row(1, ""), row(5, "")]),
        ),
        (service, "POST", "events".into(), "resolution=ignore-duplicates", row(5, "")),
        (
            service,
            "POST",
            "events".into(),
            "resolution=merge-duplicates,return=representation",
            row(5, r#","ok":false"#),
        ),
        (service, "POST", "events".into(), "resolution=merge-duplicates", rows(&[row(5, ""), row(6, "")])),
        (service, "POST", "events".into(), "resolution=merge-duplicates", rows(&[row(5, ""), row(5, "")])),
        (
            service,
            "POST",
            "events?on_conflict=kind,n".into(),
            "resolution=ignore-duplicates",
            r#"{"kind":"k","n":5}"#.into(),
        ),
        (service, "POST", "events?on_conflict=kind".into(), "resolution=ignore-duplicates", row(7, "")),
        (
            service,
            "POST",
            "events?columns=kind,n,ok&select=kind,n,ok".into(),
            "return=representation,missing=default",
            r#"[{"kind":"m","n":1},{"kind":"m","n":2,"ok":null}]"#.into(),
        ),
        (
            service,
            "POST",
            "events?columns=kind,n,ok&select=kind,n,ok".into(),
            "return=representation",
            r#"[{"kind":"m","n":3},{"kind":"m","n":4,"ok":false}]"#.into(),
        ),
        (service, "POST", "events".into(), "", "[]".into()),
        ("anon", "GET", "events?select=n&kind=eq.k&order=n".into(), "count=exact", String::new()),
        ("anon", "POST", "closed".into(), "", r#"{"id":1}"#.into()),
        ("authenticated", "POST", "closed".into(), "", r#"{"id":1}"#.into()),
        ("anon", "GET", "closed".into(), "count=exact", String::new()),
        (
            service,
            "PATCH",
            "events?n=eq.2".into(),
            "return=representation",
            r#"{"data":[1,{"a":null}]}"#.into(),
        ),
        (service, "PATCH", "events?n=eq.2&kind=eq.k".into(), "", r#"{"n":1}"#.into()),
        (service, "PATCH", "events?n=eq.99".into(), "count=exact", r#"{"ok":true}"#.into()),
        (service, "PATCH", "events?n=gt.0".into(), "", "{}".into()),
        (service, "POST", "rpc/nosuch".into(), "", "{}".into()),
        ("authenticated", "POST", "inbox".into(), "return=minimal", r#"{"id":1}"#.into()),
        ("authenticated", "POST", "inbox".into(), "return=representation", r#"{"id":2}"#.into()),
        ("authenticated", "POST", "inbox".into(), "resolution=ignore-duplicates", r#"{"id":3}"#.into()),
        ("authenticated", "POST", "inbox".into(), "resolution=merge-duplicates", r#"{"id":1}"#.into()),
        ("authenticated", "POST", "inbox".into(), "return=minimal", r#"{"id":null}"#.into()),
        (service, "GET", "inbox".into(), "", String::new()),
    ];
    for bad in [
        r#"{"kind":null,"n":50}"#,
        r#"{"nope":1}"#,
        r#"{"kind":"x","n":"x"}"#,
        r#"{"kind":"x","n":99999999999}"#,
        r#"{"kind":"x","id":"no"}"#,
        r#"{"kind":"x","at":"soon"}"#,
        r#"{"kind":"a\u0000"}"#,
        "{",
        "3",
    ] {
        all.push((service, "POST", "events".into(), "", bad.to_owned()));
    }
    all.extend(array_requests());
    for query in [
        "n=in.(1,5)",
        "n=not.in.(1,5)",
        "kind=like.m*",
        "kind=ilike.*K",
        "data->>s=eq.é",
        "data->0=eq.1",
        "data=is.null",
        "data=not.is.null&select=n,data->>s,it:data->n",
        "or=(n.lt.2,and(n.gte.5,ok.is.true))",
        "at=gte.2026-01-02T03:04:05Z",
        "big=gt.9007199254740992",
        "n=neq.1&limit=2",
        "offset=2&limit=1",
        "offset=900",
        "n=eq.x",
        "nope=eq.1",
        "select=nope",
        "order=nope",
        "n=foo.1",
        "limit=x",
        "ok=is.false",
        "select=*",
        "select=a:n,b:kind",
        "order=kind.desc,n.asc",
        "order=data.nullsfirst,n&kind=eq.k",
        "kind=in.(\"k\",\"a,b\")",
        "n=in.()",
    ] {
        let order = if query.contains("order=") { "" } else { "&order=kind,n" };
        let select = if query.contains("select=") { "" } else { "&select=kind,n" };
        all.push((service, "GET", format!("events?{query}{order}{select}"), "count=exact", String::new()));
    }
    all.extend([
        (service, "DELETE", "events?kind=eq.m&n=lt.3".into(), "return=representation", String::new()),
        (service, "DELETE", "events?kind=eq.m".into(), "", String::new()),
        (service, "GET", "nosuch".into(), "", String::new()),
        (service, "PUT", "events".into(), "", "{}".into()),
    ]);
    all
}

/// Rows with arrays: those that go in, those that do not, and how they are found again.
fn array_requests() -> Vec<(&'static str, &'static str, String, &'static str, String)> {
    let service = "service_role";
    let mut all = vec![(service, "POST", "listed".to_owned(), "return=representation", LISTS.to_owned())];
    for body in [
        r#"{"id":11,"words":["a",["b"],{"c":1},2]}"#,
        r#"{"id":12,"words":"{a, \"b,c\",NULL,\"\"}","numbers":"{{1,2},{3,4}}"}"#,
        r#"{"id":13,"numbers":[["1"],[null]],"ok":["t",false],"data":[{"b":[1,2],"a":null},[3,4],"s",null]}"#,
        r#"{"id":14,"numbers":[[],[]]}"#,
        r#"{"id":16,"numbers":[1,2]}"#,
        r#"{"id":17,"numbers":[[1],[2]]}"#,
        r#"{"id":18,"numbers":[[1,2]]}"#,
        r#"{"id":19,"numbers":[1,null]}"#,
        r#"{"id":20,"numbers":[null]}"#,
        r#"{"id":15,"numbers":[[1],2]}"#,
        r#"{"id":15,"numbers":[[1],[2,3]]}"#,
        r#"{"id":15,"numbers":[1,"x"]}"#,
        r#"{"id":15,"numbers":[9999999999]}"#,
        r#"{"id":15,"numbers":5}"#,
        r#"{"id":15,"numbers":{"a":1}}"#,
        r#"{"id":15,"numbers":"1,2"}"#,
        r#"{"id":15,"numbers":"{1,}"}"#,
        r#"{"id":15,"numbers":"{{1},{2,3}}"}"#,
        r#"{"id":15,"numbers":[[[[[[[1]]]]]]]}"#,
        r#"{"id":15,"words":["a\u0000"]}"#,
        r#"{"id":15,"part":["no"]}"#,
    ] {
        all.push((service, "POST", "listed".to_owned(), "return=representation", body.to_owned()));
    }
    let patch = r#"{"words":["x"],"numbers":[],"at":null}"#;
    all.push((service, "PATCH", "listed?id=eq.1".to_owned(), "return=representation", patch.to_owned()));
    for query in ["numbers=eq.{7}", "numbers=gt.{9}", "words=is.null", "order=numbers,id", "words=eq.a"] {
        all.push((service, "GET", format!("listed?{query}"), "count=exact", String::new()));
    }
    all
}

/// What cannot be the same: made-up ids, details that PostgreSQL words more fully, hints.
fn comparable(mut answer: Answer) -> Answer {
    if let Ok(serde_json::Value::Object(mut error)) = serde_json::from_str(&answer.body)
        && error.contains_key("code")
    {
        error.remove("details");
        error.remove("hint");
        answer.body = serde_json::Value::Object(error).to_string();
    }
    let made_up =
        |part: &str| part.len() == 36 && !part.starts_with("0000") && part.matches('-').count() == 4;
    let parts: Vec<&str> =
        answer.body.split('"').map(|part| if made_up(part) { "made up" } else { part }).collect();
    answer.body = parts.join("\"");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_answers_as_postgresql_does() {
    let Some(cluster) = Cluster::start() else { return println!("skip: no PostgreSQL here") };
    cluster.sql(&format!("CREATE TABLE {EVENTS}; CREATE TABLE {LISTED}; CREATE TABLE closed(id int primary key); ALTER TABLE closed ENABLE ROW LEVEL SECURITY; \
        CREATE TABLE inbox(id int primary key); ALTER TABLE inbox ENABLE ROW LEVEL SECURITY; \
        CREATE POLICY puts ON inbox FOR INSERT TO authenticated WITH CHECK (true)"));
    let (memory, real) = (in_memory().await, on(&cluster).await);
    let mut differences = Vec::new();
    for (role, method, path, prefer, body) in requests() {
        let ours = comparable(ask(&memory, role, (method, &path), prefer, &body).await);
        let theirs = comparable(ask(&real, role, (method, &path), prefer, &body).await);
        if ours != theirs {
            differences.push(format!(
                "{method} {path} ({prefer}) {body}\n  memory     {ours:?}\n  PostgreSQL {theirs:?}"
            ));
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_run_with_the_role_and_claims_of_the_token() {
    let Some(cluster) = Cluster::start() else { return println!("skip: no PostgreSQL here") };
    cluster.sql(
        "CREATE FUNCTION who(extra text DEFAULT '') RETURNS text LANGUAGE sql AS
           $$ SELECT current_user || (current_setting('request.jwt.claims')::json->>'exp') || extra $$;
         CREATE FUNCTION several(n int) RETURNS TABLE(i int, s text) LANGUAGE sql AS
           $$ SELECT i, 'x' FROM generate_series(1, n) AS i $$;
         CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS $$ $$;
         CREATE FUNCTION echo(json) RETURNS json LANGUAGE sql AS $$ SELECT $1 $$;
         CREATE FUNCTION fails() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING HINT = 'why'; END $$;",
    );
    let real = on(&cluster).await;
    for (role, call, body, status, expected) in [
        ("anon", "rpc/who", r#"{"extra":"!"}"#, 200, "\"anon4000000000!\""),
        ("service_role", "rpc/who", "{}", 200, "\"service_role4000000000\""),
        (
            "anon",
            "rpc/several?i=gt.1",
            r#"{"n":3}"#,
            200,
            "[{\"i\":2,\"s\":\"x\"}, \n {\"i\":3,\"s\":\"x\"}]",
        ),
        ("anon", "rpc/several", r#"{"m":3}"#, 404, "PGRST202"),
        (
            "anon",
            "rpc/several?order=i.desc&limit=2",
            r#"{"n":3}"#,
            200,
            "[{\"i\":3,\"s\":\"x\"}, \n {\"i\":2,\"s\":\"x\"}]",
        ),
        ("anon", "rpc/nothing", "{}", 204, ""),
        ("anon", "rpc/echo", r#"{"a":[1]}"#, 200, r#"{"a":[1]}"#),
        ("anon", "rpc/fails", "{}", 400, "P0001"),
        ("nobody", "rpc/nothing", "{}", 401, "22023"),
    ] {
        let answer = ask(&real, role, ("POST", call), "", body).await;
        let fits = if status < 300 { answer.body == expected } else { answer.body.contains(expected) };
        assert!(answer.status == status && fits, "{call} {body}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_changes_come_from_the_log_to_those_who_may_see_them() {
    let Some(cluster) = Cluster::start() else { return println!("skip: no PostgreSQL here") };
    cluster.sql(
        "CREATE TABLE mine(id int primary key, owner text, data jsonb, at timestamptz); ALTER TABLE mine ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON mine FOR SELECT TO authenticated USING (owner = current_setting('request.jwt.claims')::json->>'sub');
         CREATE TABLE unpublished(id int primary key); ALTER PUBLICATION supabase_realtime ADD TABLE mine;",
    );
    let real = on(&cluster).await;
    let token = |sub: &str| {
        Secret::new(SECRET)
            .mint(&Claims { sub: Some(sub.to_owned()), ..Claims::of("authenticated", 4_000_000_000) })
    };
    let mut ana = subscribed(&real, &token("ana"), "mine").await;
    let mut all = subscribed(&real, &key("service_role"), "mine").await;
    let inserted = r#"[{"id":1,"owner":"ana","data":{"b":1,"a":true},"at":"2026-01-02T03:04:05.5Z"},{"id":2,"owner":"ben","data":null,"at":null}]"#;
    assert_eq!(ask(&real, "service_role", ("POST", "mine"), "", inserted).await.status, 201);
    let record = r#""record":{"at": "2026-01-02T03:04:05.5+00:00", "id": 1, "data": {"a": true, "b": 1}, "owner": "ana"}"#;
    let first = next(&mut ana).await;
    assert!(first.contains(r#""type":"INSERT""#) && first.contains(record), "{first}");
    assert!(first.contains(r#""columns":[{"name": "id", "type": "int4"}"#), "{first}");
    for wanted in ["INSERT", "INSERT"] {
        let told = next(&mut all).await;
        assert!(told.contains(&format!(r#""type":"{wanted}""#)), "{told}");
    }
    // Permission is asked of the table as it is when the row is told, as Realtime does: so only now.
    cluster.sql("UPDATE mine SET owner = 'ana' WHERE id = 2");
    let second = next(&mut ana).await;
    assert!(
        second.contains(r#""type":"UPDATE""#) && second.contains(r#""old_record":{"id": 2}"#),
        "{second}"
    );
    cluster.sql("DELETE FROM mine WHERE id = 1; INSERT INTO unpublished VALUES (1)");
    let third = next(&mut ana).await;
    assert!(third.contains(r#""type":"DELETE""#) && !third.contains("\"record\":"), "{third}");
    for wanted in ["UPDATE", "DELETE"] {
        let told = next(&mut all).await;
        assert!(told.contains(&format!(r#""type":"{wanted}""#)), "{told}");
    }
    let refused = subscribe(&real, &key("service_role"), "unpublished").await.1;
    assert!(refused.contains("Please check Realtime is enabled"), "{refused}");
}

/// Real Realtime has a column's value from `to_jsonb` of its text cast to its type, and the type's name from `pg_type`.
/// So PostgreSQL's own `to_jsonb` is the oracle of both backends, besides what is written here.
#[tokio::test(flavor = "multi_thread")]
async fn arrays_in_row_changes_are_json_arrays_from_the_log_and_from_memory() {
    let Some(cluster) = Cluster::start() else { return println!("skip: no PostgreSQL here") };
    cluster.sql(&format!(
        "CREATE TABLE {LISTED}; ALTER PUBLICATION supabase_realtime ADD TABLE listed; CREATE FUNCTION shown(i int) RETURNS jsonb \
         LANGUAGE sql AS $$ SELECT to_jsonb(listed) FROM listed WHERE id = i $$"
    ));
    let real = on(&cluster).await;
    let rows: Vec<serde_json::Value> = serde_json::from_str(LISTS).unwrap();
    let mut all = Vec::new();
    for handle in [in_memory().await, real.clone()] {
        let mut socket = subscribed(&handle, &key("service_role"), "listed").await;
        assert_eq!(ask(&handle, "service_role", ("POST", "listed"), "", LISTS).await.status, 201);
        let mut told = Vec::new();
        for _ in &rows {
            told.push(next(&mut socket).await);
        }
        let patch = r#"{"words":["x",null],"numbers":[[5]],"big":[]}"#;
        assert_eq!(ask(&handle, "service_role", ("PATCH", "listed?id=eq.1"), "", patch).await.status, 204);
        told.push(next(&mut socket).await);
        let shown = ask(&handle, "service_role", ("GET", "listed?id=eq.2"), "", "").await.body;
        assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&shown).unwrap(), rows[1..2], "{shown}");
        all.push(told);
    }
    let mut records = Vec::new();
    for (memory, log) in all[0].iter().zip(&all[1]) {
        assert_eq!(timeless(memory), timeless(log));
        let data = timeless(log)["data"].clone();
        assert_eq!(data["columns"].to_string(), COLUMNS);
        records.push(data["record"].clone());
    }
    assert_eq!(records[..rows.len()], rows, "JSON arrays went in, the same come out");
    assert_eq!(timeless(&all[1][rows.len()])["data"]["type"], "UPDATE");
    let updated = &records[rows.len()];
    assert_eq!(updated["words"].to_string(), r#"["x",null]"#);
    assert_eq!((updated["numbers"].to_string(), updated["big"].to_string()), ("[[5]]".into(), "[]".into()));
    for (told, id) in [(&all[1][rows.len()], 1), (&all[1][1], 2), (&all[1][2], 3)] {
        let call = ask(&real, "service_role", ("POST", "rpc/shown"), "", &format!("{{\"i\":{id}}}")).await;
        assert!(told.contains(&format!("\"record\":{},", call.body)), "{told}\n{}", call.body);
    }
}

/// A message of a row without the time of the commit.
fn timeless(told: &str) -> serde_json::Value {
    let mut message: serde_json::Value = serde_json::from_str(told).unwrap();
    let payload = message.get_mut(4).expect("five elements");
    payload["data"]["commit_timestamp"].take();
    payload.take()
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("postgresql://postgres:hush@{nobody}/postgres");
    let error = serve_with_database(listener, config(), 1, &url).await.err().unwrap();
    assert!(!error.contains("hush") && error.contains("refused"), "{error}");
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn next(socket: &mut Socket) -> String {
    let message = tokio::time::timeout(HANG, socket.next()).await.expect("in time");
    message.unwrap().unwrap().into_text().unwrap().as_str().to_owned()
}

/// A socket that joined, and what the `system` message said.
async fn subscribe(handle: &Handle, token: &str, table: &str) -> (Socket, String) {
    let stream = TcpStream::connect(handle.addr()).await.unwrap();
    let url = format!("ws://{}/socket/websocket?apikey={token}&vsn=2.0.0", handle.addr());
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let join = format!(
        r#"["1","1","realtime:r","phx_join",{{"config":{{"postgres_changes":[{{"event":"*","schema":"public","table":"{table}"}}]}}}}]"#
    );
    socket.send(Message::text(join)).await.unwrap();
    let reply = next(&mut socket).await;
    assert!(reply.contains(r#""status":"ok""#), "{reply}");
    let system = next(&mut socket).await;
    (socket, system)
}

/// As [`subscribe`], again until the emulator follows the database.
async fn subscribed(handle: &Handle, token: &str, table: &str) -> Socket {
    for _ in 0..100 {
        let (socket, system) = subscribe(handle, token, table).await;
        if system.contains("Subscribed to PostgreSQL") {
            return socket;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unreachable!("never subscribed")
}
