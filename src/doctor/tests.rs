//! Judgements with made-up facts, and whole examinations of a running emulator, also through the command line.

use std::net::SocketAddr;
use std::time::Duration;

use super::finding::{Blame, Check, Report, Verdict};
use super::judge::{self, Answer};
use super::judge_rows::{self, Reply};
use super::{Asked, examine, unreadable};
use crate::cli::{self, Exit, Streams};
use crate::config::{Config, Strings};
use crate::emulator::{self, Claims, Fault, Policy, Secret, serve};
use crate::realtime::key::ApiKey;
use crate::realtime::reason::{Cause, Reason};
use crate::realtime::url::{Endpoint, Layout};

const SECRET: &str = "a secret of these tests";
const FOREVER: i64 = 4_000_000_000;
const NOW: u64 = 1_800_000_000;
/// A refused join takes 5 s, a refused connect 2 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where silence is what is tested.
const IMPATIENCE: Duration = Duration::from_secs(1);

fn minted(role: &str, exp: i64) -> String {
    Secret::new(SECRET).mint(&Claims::of(role, exp))
}

async fn emulator_with(config: emulator::Config) -> emulator::Handle {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (handle, run) = serve(listener, config, 1).unwrap();
    tokio::spawn(run);
    handle
}

async fn emulator() -> emulator::Handle {
    emulator_with(project()).await
}

/// A project as it should be.
fn project() -> emulator::Config {
    let table = "monitoring_events(id uuid primary key, event_type text not null, data jsonb)";
    emulator::Config {
        tables: vec![emulator::Table::parse(table).unwrap()],
        ..emulator::Config::new(Secret::new(SECRET))
    }
}

/// All that can be learnt of the last three checks of a project.
async fn rows(config: emulator::Config, role: &str) -> Report {
    with_key(emulator_with(config).await.addr(), &minted(role, FOREVER)).await
}

fn line(report: &Report, check: Check) -> (Verdict, String, String) {
    let finding = report.findings.iter().find(|finding| finding.check == check).unwrap();
    (finding.verdict, finding.found.clone(), finding.remedy.clone())
}

#[tokio::test]
async fn a_table_that_is_not_there_is_told_with_its_publication() {
    let report = rows(emulator::Config { tables: Vec::new(), ..project() }, "service_role").await;
    let (verdict, found, remedy) = line(&report, Check::Table);
    assert_eq!(verdict, Verdict::Fails(Blame::Ours));
    assert!(
        found.contains("no table public.monitoring_events") && remedy.contains("create it"),
        "{found} {remedy}"
    );
    let (verdict, _, remedy) = line(&report, Check::Publication);
    assert_eq!(verdict, Verdict::Fails(Blame::Ours));
    assert_eq!(remedy, "alter publication supabase_realtime add table public.monitoring_events");
    assert_eq!(report.blame(), Some(Blame::Ours));
}

#[tokio::test]
async fn an_unpublished_table_fails_in_the_publication_alone() {
    let mut config = project();
    config.tables[0].published = false;
    let report = rows(config, "service_role").await;
    assert_eq!(line(&report, Check::Table).0, Verdict::Fine, "{}", report.json());
    assert_eq!(line(&report, Check::Publication).0, Verdict::Fails(Blame::Ours), "{}", report.json());
}

#[tokio::test]
async fn a_key_that_may_not_write_the_table_is_told() {
    let policies = vec![Policy::parse("authenticated:crossfade:*:rw").unwrap()];
    let report = rows(emulator::Config { policies, ..project() }, "authenticated").await;
    let (verdict, found, _) = line(&report, Check::Table);
    assert!(verdict == Verdict::Fails(Blame::Ours) && found.contains("may not insert"), "{}", report.json());
}

#[tokio::test]
async fn a_key_that_may_insert_but_not_read_is_told_apart() {
    let policies = vec![Policy::parse("authenticated:crossfade:*:rw").unwrap()];
    let with = |access: &str| emulator::Config {
        policies: policies.clone(),
        table_policies: vec![Policy::parse(&format!("authenticated:monitoring_events:{access}")).unwrap()],
        ..project()
    };
    let (verdict, found, remedy) = line(&rows(with("w"), "authenticated").await, Check::Table);
    assert_eq!(verdict, Verdict::Fails(Blame::Ours));
    assert_eq!(found, "the key may insert into monitoring_events but not read it");
    assert!(remedy.contains("grant SELECT") && !remedy.contains("INSERT"), "{remedy}");
    let (_, found, remedy) = line(&rows(with("r"), "authenticated").await, Check::Table);
    assert!(found.contains("may not insert") && remedy.contains("grant INSERT"), "{found} {remedy}");
    assert_eq!(line(&rows(with("rw"), "authenticated").await, Check::Table).0, Verdict::Fine);
}

#[tokio::test]
async fn a_table_without_a_primary_key_is_worth_a_word_and_stays_empty() {
    let table = "monitoring_events(id uuid, event_type text)";
    let server =
        emulator_with(emulator::Config { tables: vec![emulator::Table::parse(table).unwrap()], ..project() })
            .await;
    let report = with_key(server.addr(), &minted("service_role", FOREVER)).await;
    assert_eq!(line(&report, Check::Table).0, Verdict::Warning, "{}", report.json());
    let request = emulator::HttpRequest {
        method: "GET".to_owned(),
        path: "/rest/v1/monitoring_events".to_owned(),
        query: String::new(),
        headers: vec![("apikey".to_owned(), minted("service_role", FOREVER))],
        body: bytes::Bytes::new(),
    };
    assert_eq!(
        server.with(|emulator, now| emulator.http(&request, now)).body,
        "[]",
        "nothing was left behind"
    );
}

#[tokio::test]
async fn payload_limits_are_seen() {
    let limited = |payload_kb| emulator::Config {
        limits: emulator::Limits { payload_kb, ..emulator::Limits::default() },
        ..project()
    };
    let report = rows(limited(300), "service_role").await;
    let (verdict, found, _) = line(&report, Check::Limits);
    assert_eq!(verdict, Verdict::Warning, "{}", report.json());
    assert_eq!(found, "100 messages a second, payloads of 250 KiB but not of 1024 KiB");
    let report = rows(limited(100), "service_role").await;
    assert_eq!(line(&report, Check::Limits).0, Verdict::Fails(Blame::Ours), "{}", report.json());
}

#[test]
fn limits_and_tables_are_judged_by_what_was_answered() {
    let reply = |status, body: &str| Reply { status, rate: Some(100), body: body.to_owned() };
    for (replies, verdict) in [
        (vec![], Verdict::Skipped),
        (vec![(1, reply(403, r#"{"message":"Unauthorized"}"#))], Verdict::Fine),
        (vec![(1, reply(404, "Not Found"))], Verdict::Skipped),
        (vec![(1, reply(429, r#"{"message":"Too many requests"}"#))], Verdict::Fails(Blame::Theirs)),
        (vec![(1, reply(401, r#"{"message":"Unauthorized"}"#))], Verdict::Fails(Blame::Ours)),
        (vec![(1, reply(500, ""))], Verdict::Fails(Blame::Theirs)),
    ] {
        assert_eq!(judge_rows::limits(&replies).verdict, verdict, "{replies:?}");
    }
    let fine = reply(200, "[]");
    for (read, write, blame) in [
        (reply(401, r#"{"code":"PGRST303"}"#), reply(401, r#"{"code":"PGRST303"}"#), Blame::Ours),
        (fine.clone(), reply(400, r#"{"code":"PGRST204"}"#), Blame::Ours),
        (reply(503, r#"{"code":"PGRST002"}"#), reply(503, r#"{"code":"PGRST002"}"#), Blame::Theirs),
        (reply(406, r#"{"code":"PGRST106"}"#), reply(406, r#"{"code":"PGRST106"}"#), Blame::Ours),
        (fine, reply(418, ""), Blame::Ours),
    ] {
        let found = judge_rows::table("t", Some(&read), Some(&write), None);
        assert_eq!(found.verdict, Verdict::Fails(blame), "{read:?} {write:?}");
        assert!(!found.remedy.is_empty());
    }
    assert_eq!(judge_rows::table("t", None, None, None).verdict, Verdict::Fails(Blame::Theirs));
    assert_eq!(judge_rows::publication("t", None).verdict, Verdict::Fails(Blame::Theirs));
}

/// The settings of a service at the emulator's own address, whose sockets are as good as any.
fn settings(at: SocketAddr, key: &str) -> Vec<(&'static str, String)> {
    vec![
        ("CROSSFADE_UPSTREAM", format!("ws://{at}")),
        ("CROSSFADE_POD", "pod-1".to_owned()),
        ("SUPABASE_URL", format!("http://{at}")),
        ("SUPABASE_KEY", key.to_owned()),
    ]
}

fn strings(settings: &[(&'static str, String)]) -> Strings {
    Strings::of(settings.iter().map(|(name, value)| (*name, value.as_str())))
}

fn socket_path() -> String {
    format!("/socket/websocket?vsn=1.0.0&apikey={}", minted("anon", FOREVER))
}

async fn examined(settings: &[(&'static str, String)], patience: Duration) -> Report {
    let config = Config::load(&strings(settings)).unwrap();
    Box::pin(examine(&config, Asked { path: &socket_path(), table: Some("monitoring_events"), patience }))
        .await
}

async fn with_key(at: SocketAddr, key: &str) -> Report {
    examined(&settings(at, key), PATIENCE).await
}

fn verdict(report: &Report, check: Check) -> Verdict {
    report.findings.iter().find(|finding| finding.check == check).unwrap().verdict
}

/// The first failure must be `check` with `found` in it, have a remedy, and nothing after it may have been tried.
fn fails_at(report: &Report, check: Check, blame: Blame, found: &str) {
    let text = report.json();
    let first = report.findings.iter().find(|finding| finding.failed()).expect(&text);
    assert_eq!((first.check, first.verdict), (check, Verdict::Fails(blame)), "{text}");
    assert!(first.found.contains(found) && !first.remedy.is_empty(), "{text}");
    assert_eq!(report.findings.len(), Check::ALL.len(), "{text}");
    for step in [Check::Connect, Check::Join, Check::RoundTrip] {
        if step as u8 > check as u8 {
            assert_eq!(verdict(report, step), Verdict::Skipped, "{text}");
        }
    }
}

#[tokio::test]
async fn a_good_project_is_fine_in_every_check() {
    let realtime = emulator().await;
    let mut settings = settings(realtime.addr(), &minted("service_role", FOREVER));
    settings.push(("SUPABASE_ANON_KEY", minted("anon", FOREVER)));
    let report = examined(&settings, PATIENCE).await;
    for check in Check::ALL {
        assert_eq!(verdict(&report, check), Verdict::Fine, "{}", report.json());
    }
    assert_eq!(report.blame(), None);
    assert!(report.json().contains("ms from publish to read-back"));
    assert!(report.json().contains("crossfade:app:pod-1"), "{}", report.json());
}

#[tokio::test]
async fn without_supabase_only_the_service_is_looked_at() {
    let service = emulator().await;
    let settings = &settings(service.addr(), "")[..1];
    let report = examined(settings, PATIENCE).await;
    assert_eq!(report.blame(), None);
    assert_eq!(verdict(&report, Check::Upstream), Verdict::Fine);
    assert_eq!(verdict(&report, Check::Connect), Verdict::Skipped);
}

#[tokio::test]
async fn a_key_of_another_project_is_told_by_the_server() {
    let realtime = emulator().await;
    let key = Secret::new("another").mint(&Claims::of("service_role", FOREVER));
    let report = with_key(realtime.addr(), &key).await;
    fails_at(&report, Check::Connect, Blame::Ours, "token_signature");
}

#[tokio::test]
async fn an_expired_key_is_told_without_asking() {
    let realtime = emulator().await;
    let report = with_key(realtime.addr(), &minted("service_role", 1_000_000_000)).await;
    fails_at(&report, Check::Key, Blame::Ours, "expired");
}

#[tokio::test]
async fn a_role_without_a_policy_cannot_join() {
    let realtime = emulator().await;
    let report = with_key(realtime.addr(), &minted("authenticated", FOREVER)).await;
    fails_at(&report, Check::Join, Blame::Ours, "unauthorized");
}

#[tokio::test]
async fn a_role_that_may_only_read_gets_no_round_trip() {
    let mut config = emulator::Config::new(Secret::new(SECRET));
    config.policies.push(Policy::parse("authenticated:crossfade:*:r").unwrap());
    let realtime = emulator_with(config).await;
    let report = with_key(realtime.addr(), &minted("authenticated", FOREVER)).await;
    fails_at(&report, Check::RoundTrip, Blame::Ours, "write_denied");
    assert!(report.json().contains("create policy"), "{}", report.json());
}

#[tokio::test]
async fn a_suspended_project_is_told() {
    let realtime = emulator().await;
    realtime.with(|emulator, now| emulator.suspend(true, now));
    let report = with_key(realtime.addr(), &minted("service_role", FOREVER)).await;
    fails_at(&report, Check::Connect, Blame::Ours, "tenant_suspended");
}

#[tokio::test]
async fn refusals_of_an_overloaded_project_are_theirs() {
    let realtime = emulator().await;
    realtime.inject(Fault::parse("refuse_connects status=503").unwrap());
    let report = with_key(realtime.addr(), &minted("service_role", FOREVER)).await;
    fails_at(&report, Check::Connect, Blame::Theirs, "other_refusal");
}

#[tokio::test]
async fn an_acknowledged_broadcast_that_does_not_come_back_is_a_failure() {
    let realtime = emulator().await;
    realtime.inject(Fault::parse("drop").unwrap());
    let settings = settings(realtime.addr(), &minted("service_role", FOREVER));
    let report = examined(&settings, IMPATIENCE).await;
    fails_at(&report, Check::RoundTrip, Blame::Theirs, "no answer in 1 s");
}

/// An address where nobody listens, kept so that nobody else gets it.
fn nobody() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

#[tokio::test]
async fn a_service_and_a_project_that_are_not_there_are_told() {
    let (_kept, at) = nobody();
    let report = with_key(at, &minted("service_role", FOREVER)).await;
    let text = report.json();
    for (check, wanted) in [
        (Check::Upstream, Verdict::Fails(Blame::Theirs)),
        (Check::Clock, Verdict::Skipped),
        (Check::Connect, Verdict::Fails(Blame::Theirs)),
        (Check::Join, Verdict::Skipped),
        (Check::RoundTrip, Verdict::Skipped),
    ] {
        assert_eq!(verdict(&report, check), wanted, "{text}");
    }
    assert!(text.contains("connect_refused") && text.contains("connect_failed"), "{text}");
}

#[tokio::test]
async fn no_report_shows_a_key() {
    let realtime = emulator().await;
    for role in ["service_role", "authenticated"] {
        let key = minted(role, FOREVER);
        let report = with_key(realtime.addr(), &key).await;
        for text in [report.json(), report.json(), format!("{report:?}")] {
            assert!(!text.contains("eyJ"), "{text}");
        }
    }
}

struct Ran {
    exit: Exit,
    out: String,
}

fn crossfade(args: &[&str], strings: &Strings) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["crossfade", "check"].iter().chain(args);
    let exit = cli::main(args, strings, &mut Streams::new(&mut out, &mut err));
    Ran { exit, out: String::from_utf8(out).unwrap() }
}

/// The command brings a runtime of its own, so it runs on a thread of its own.
async fn typed(settings: Vec<(&'static str, String)>) -> Ran {
    let run = move || crossfade(&["--json", "--path", &socket_path()], &strings(&settings));
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn exit_codes_tell_ours_from_theirs() {
    let realtime = emulator().await;
    let key = minted("service_role", FOREVER);
    let ran = typed(settings(realtime.addr(), &key)).await;
    assert_eq!(ran.exit, Exit::Fine, "{}", ran.out);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (json["ok"].as_bool(), json["findings"].as_array().unwrap().len()),
        (Some(true), Check::ALL.len())
    );

    let ran = typed(settings(realtime.addr(), &minted("service_role", 1_000_000_000))).await;
    assert_eq!(ran.exit, Exit::Config, "{}", ran.out);
    let (_kept, at) = nobody();
    let ran = typed(settings(at, &key)).await;
    assert_eq!(ran.exit, Exit::Unavailable, "{}", ran.out);
}

#[test]
fn a_wrong_configuration_is_a_report_too() {
    let wrong = Strings::of([("CROSSFADE_UPSTRAEM", "ws://x")]);
    let ran = crossfade(&[], &wrong);
    assert_eq!(ran.exit, Exit::Config);
    assert!(ran.out.contains("did you mean CROSSFADE_UPSTREAM"), "{}", ran.out);
    let report = unreadable(&Config::load(&wrong).unwrap_err());
    assert!(
        report.findings.iter().all(|finding| finding.failed() == (finding.check == Check::Configuration))
    );
    assert_eq!(crossfade(&["--path", "ws"], &wrong).out, "", "a path begins with a slash");
}

fn bare() -> Endpoint {
    Endpoint::parse("http://localhost:4000/socket").unwrap()
}

#[test]
fn keys_are_judged_by_kind_role_and_expiry() {
    let exp = |secs: i64| i64::try_from(NOW).unwrap() + secs;
    for (text, layout, wanted, found) in [
        (minted("service_role", FOREVER), Layout::Bare, Verdict::Fine, "service_role"),
        (minted("service_role", exp(86_400)), Layout::Bare, Verdict::Warning, "expires in 24 h"),
        (minted("service_role", exp(0)), Layout::Bare, Verdict::Fails(Blame::Ours), "expired 0 s ago"),
        (minted("service_role", exp(-7_200)), Layout::Bare, Verdict::Fails(Blame::Ours), "expired 2 h ago"),
        (minted("anon", FOREVER), Layout::Gateway, Verdict::Warning, "public"),
        ("sb_secret_x".to_owned(), Layout::Gateway, Verdict::Fine, "sb_secret"),
        ("sb_secret_x".to_owned(), Layout::Bare, Verdict::Fails(Blame::Ours), "bare"),
        ("sb_publishable_x".to_owned(), Layout::Gateway, Verdict::Warning, "public"),
        ("nonsense".to_owned(), Layout::Gateway, Verdict::Fails(Blame::Ours), "not a key"),
    ] {
        let finding = judge::key(&ApiKey::new(&text), layout, NOW);
        assert_eq!(finding.verdict, wanted, "{finding:?}");
        assert!(finding.found.contains(found), "{finding:?}");
        assert_eq!(finding.remedy.is_empty(), wanted == Verdict::Fine, "{finding:?}");
    }
}

#[test]
fn the_key_of_native_sessions_must_be_public() {
    let judged = |key: Option<&str>, native| {
        let key = key.map(ApiKey::new);
        judge::anon_key(key.as_ref(), native, Layout::Gateway, NOW).verdict
    };
    assert_eq!(judged(None, false), Verdict::Skipped);
    assert_eq!(judged(None, true), Verdict::Fails(Blame::Ours));
    assert_eq!(judged(Some("sb_publishable_x"), true), Verdict::Fine);
    assert_eq!(judged(Some("sb_secret_x"), true), Verdict::Fails(Blame::Ours));
    assert_eq!(judged(Some(&minted("anon", 1)), true), Verdict::Fails(Blame::Ours));
}

#[test]
fn clocks_may_differ_a_little() {
    for (ours, wanted) in [
        (1_000, Verdict::Fine),
        (1_005, Verdict::Fine),
        (994, Verdict::Warning),
        (1_060, Verdict::Warning),
        (1_061, Verdict::Fails(Blame::Ours)),
        (500, Verdict::Fails(Blame::Ours)),
    ] {
        assert_eq!(judge::clock(Some(1_000), ours).verdict, wanted, "{ours}");
    }
    assert_eq!(judge::clock(None, 1_000).verdict, Verdict::Skipped);
}

#[test]
fn services_and_urls_are_judged() {
    let place = "ws://127.0.0.1:3000";
    let asked = |answer| judge::upstream(&answer, place, "/ws?token=secret");
    let http = |status| Answer::Http { status, date: None };
    assert_eq!(asked(http(101)).verdict, Verdict::Fine);
    assert!(!asked(http(101)).found.contains("secret"));
    assert_eq!(asked(http(426)).verdict, Verdict::Warning);
    assert_eq!(asked(Answer::NoHttp).verdict, Verdict::Fails(Blame::Theirs));
    let url = |text: &str| judge::url(&Endpoint::parse(text).unwrap(), &text.parse().unwrap()).verdict;
    assert_eq!(url("https://ref.supabase.co"), Verdict::Fine);
    assert_eq!(url("http://ref.supabase.co"), Verdict::Fails(Blame::Ours));
    assert_eq!(url("http://kong:8000"), Verdict::Fine);
    assert_eq!(bare().layout(), Layout::Bare);
}

#[test]
fn every_reason_has_a_remedy_and_a_blame() {
    for reason in Reason::ALL {
        let finding = judge::refused(Check::Connect, reason);
        let ours = matches!(reason.cause(), Cause::OurConfiguration | Cause::OurAuthorization);
        assert_eq!(finding.verdict, Verdict::Fails(if ours { Blame::Ours } else { Blame::Theirs }));
        assert!(finding.remedy.len() > 10, "{finding:?}");
    }
}

#[test]
fn a_round_trip_over_the_deadline_is_a_warning() {
    let deadline = Duration::from_millis(400);
    assert_eq!(judge::round_trip(deadline, deadline).verdict, Verdict::Fine);
    assert_eq!(judge::round_trip(deadline * 2, deadline).verdict, Verdict::Warning);
}
