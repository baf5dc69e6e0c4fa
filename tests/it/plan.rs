//! The plan of a single pod as real processes: by API and by command, kept by the disk, and a disk that hangs.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::admin::{OPERATE, TOKEN};
use super::http::{ask, get};
use super::process::{Emulator, HANG, Process, Proxy, address_in, ran, until};
use super::raw;
use super::redis::{Redis, is_here};
use super::stage::HOT;

const PERCENT: &str = "crossfade_rollout_percent";
const ANY: [(&str, &str); 1] = [("If-Match", "*")];

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-planned-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or(());
    }
}

/// Without gates: what passes by itself.
fn plan() -> Value {
    let steps = json!([
        { "percent": "10", "bake_seconds": 1 }, { "percent": "20", "bake_seconds": 7_000_000 },
        { "percent": "100", "bake_seconds": 1 },
    ]);
    json!({ "schema": 1, "name": "short", "steps": steps, "gates": {} })
}

/// Started anew in the same folder.
fn pod(emulator: &Emulator, folder: &Folder, more: &[(&str, &str)]) -> Proxy {
    let state = folder.path("state");
    let mut env = vec![("CROSSFADE_STATE_DIR", state.as_str()), OPERATE, ("CROSSFADE_ROLLOUT_PERCENT", "2")];
    env.extend(more);
    Proxy::start("127.0.0.1:9".parse().unwrap(), Some(emulator), &env)
}

async fn shown(proxy: &Proxy) -> (String, u64, Value) {
    let plan = proxy.shows("/api/v1/plan").await;
    let step = plan["step"].as_u64().unwrap_or(0);
    (plan["phase"].as_str().unwrap().to_owned(), step, plan["why"].clone())
}

#[tokio::test]
async fn a_single_pods_plan_goes_by_itself_is_kept_by_the_disk_and_obeys_people() {
    let (emulator, folder) = (Emulator::start(&[]), Folder::new("kept"));
    let first = pod(&emulator, &folder, &[]);
    assert_eq!(shown(&first).await, ("none".to_owned(), 0, Value::Null));
    let begin = ("POST", "/api/v1/plan/start");
    let (status, refused) = first.change(begin, &[], json!({ "plan": plan() })).await;
    assert_eq!((status, &refused["error"]["code"]), (428, &json!("if_match_required")));
    let (status, refused) = first.change(begin, &ANY, json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("plan_refused")), "there is none");
    let falling = json!({ "schema": 1, "name": "p", "steps": [] });
    let (status, refused) = first.change(begin, &ANY, json!({ "plan": falling })).await;
    assert_eq!((status, &refused["error"]["field"]), (422, &json!("plan")));
    let once = [("If-Match", "none"), ("Idempotency-Key", "begin")];
    let asked = json!({ "plan": plan(), "reason": "we are ready" });
    let (status, done) = first.change(begin, &once, asked.clone()).await;
    assert_eq!((status, &done["after"]["percent"]), (200, &json!(10.0)), "{done}");
    let (status, again) = first.change(begin, &once, asked).await;
    assert_eq!((status, &again), (200, &done), "repeated, not done twice");
    let (status, stale) =
        first.change(("POST", "/api/v1/plan/promote"), &[("If-Match", "none")], json!({})).await;
    assert_eq!((status, &stale["error"]["code"]), (412, &json!("stale_version")));
    // The first step bakes by itself; the second takes months.
    first.until_value(PERCENT, 20.0).await;
    first.until_value("crossfade_plan_step", 2.0).await;
    assert_eq!(shown(&first).await, ("running".to_owned(), 2, Value::Null));
    let trail = first.shows("/api/v1/audit").await;
    assert!(trail["entries"].as_array().unwrap().iter().any(|entry| {
        entry["action"] == "plan_start" && entry["outcome"] == "done" && entry["reason"] == "we are ready"
    }));
    first.process.signal("KILL");
    drop(first);

    let second = pod(&emulator, &folder, &[]);
    assert_eq!(second.value(PERCENT).await, 20.0, "not the variable's 2 %");
    assert_eq!(shown(&second).await, ("running".to_owned(), 2, Value::Null));
    // A person's own share pauses the plan and is kept, so that nobody is told it would be forgotten.
    let fader = ("PUT", "/api/v1/rollout");
    let (status, moved) = second.change(fader, &ANY, json!({ "percent": 5 })).await;
    assert_eq!((status, moved["warnings"].to_string().contains("forget")), (200, false), "{moved}");
    until("it pauses", async || (shown(&second).await.2 == "moved").then_some(())).await;
    second.process.signal("KILL");
    drop(second);

    let third = pod(&emulator, &folder, &[]);
    assert_eq!(third.value(PERCENT).await, 5.0);
    commanded(&third).await;
    drop(third);
    // Ended at 0 %, and another variable is a person's word.
    assert_eq!(pod(&emulator, &folder, &[]).value(PERCENT).await, 0.0);
    assert_eq!(pod(&emulator, &folder, &[("CROSSFADE_ROLLOUT_PERCENT", "3")]).value(PERCENT).await, 3.0);
}

/// The plan, paused in its second step, by command: on, looked at, and ended.
async fn commanded(pod: &Proxy) {
    let admin = pod.admin.to_string();
    let command = async |words: &[&str]| {
        let env = [("CROSSFADE_ADMIN_TOKEN", TOKEN)];
        ran(&[&["plan"][..], words, &["--admin", &admin]].concat(), &env).await
    };
    let (code, out, err) = command(&["resume"]).await;
    assert_eq!(
        (code, out.as_str()),
        (
            Some(0),
            "resume: short is running, step 2, 20 %\nnote: this pod's plan alone: other pods, if there are any, have none of it\n"
        ),
        "{err}"
    );
    assert_eq!(pod.value(PERCENT).await, 20.0);
    let (code, out, _) = command(&["show", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["phase"], &told["kept_in"]), (Some(0), &json!("running"), &json!("state_dir")));
    let (code, out, _) = command(&[]).await;
    assert!(code == Some(0) && out.contains("step 2") && out.contains("gates (this_pod): pass"), "{out}");
    let (code, _, err) = command(&["resume"]).await;
    assert!(code == Some(69) && err.contains("not possible"), "{err}");
    let (code, _, err) = ran(&["plan", "pause", "--admin", &admin], &[]).await;
    assert!(code == Some(64) && err.contains("CROSSFADE_ADMIN_TOKEN"), "{err}");
    let (code, _, err) = command(&["start", "/no/such/plan"]).await;
    assert!(code == Some(64) && err.contains("/no/such/plan"), "{err}");
    assert_eq!(command(&["abort", "--reason", "enough"]).await.0, Some(0));
    assert_eq!(pod.value(PERCENT).await, 0.0);
}

#[tokio::test]
async fn a_step_waits_for_its_gate_while_one_without_gates_goes_on() {
    let (emulator, waits, goes) = (Emulator::start(&[]), Folder::new("waits"), Folder::new("goes"));
    let begin = ("POST", "/api/v1/plan/start");
    let mut gated = plan();
    gated["gates"] = json!({ "match": { "ratio": 0.999, "pairs": 2995 } });
    let first = pod(&emulator, &waits, &[]);
    let (status, done) = first.change(begin, &ANY, json!({ "plan": gated })).await;
    assert_eq!((status, &done["after"]["percent"]), (200, &json!(10.0)), "{done}");
    // Begun later with the same bake time: when it has gone on, the first could have.
    let second = pod(&emulator, &goes, &[]);
    assert_eq!(second.change(begin, &ANY, json!({ "plan": plan() })).await.0, 200);
    second.until_value("crossfade_plan_step", 2.0).await;
    first.until_value("crossfade_plan_gate", 0.0).await;
    assert_eq!(shown(&first).await, ("running".to_owned(), 1, Value::Null), "nothing is compared here");
    assert_eq!(first.value(PERCENT).await, 10.0);
}

#[tokio::test]
async fn a_plan_in_redis_is_one_for_both_pods_and_waits_when_redis_is_away() {
    if !is_here() {
        return;
    }
    let (emulator, mut redis) = (Emulator::start(&[]), Redis::start("plan", &[]));
    let url = redis.url();
    let start = || {
        let env = [("CROSSFADE_REDIS_URL", url.as_str()), ("CROSSFADE_FLAGS_POLL", "1h"), OPERATE];
        let env = [&env[..], &[("CROSSFADE_SERVICE", "shop")]].concat();
        Proxy::start("127.0.0.1:9".parse().unwrap(), Some(&emulator), &env)
    };
    redis.publish("shop", r#"{"schema":1,"version":1,"percent":"1"}"#);
    let (one, two) = (start(), start());
    for pod in [&one, &two] {
        pod.until_value("crossfade_fleet_pods", 2.0).await;
    }
    let mut long = plan();
    long["steps"][0]["bake_seconds"] = json!(7_000_000);
    let begin = ("POST", "/api/v1/plan/start");
    let (status, done) = one.change(begin, &[("If-Match", "none")], json!({ "plan": long })).await;
    assert_eq!((status, &done["after"]["phase"]), (200, &json!("running")), "{done}");
    for pod in [&one, &two] {
        pod.until_value(PERCENT, 10.0).await;
        until("both know of it", async || (shown(pod).await.1 == 1).then_some(())).await;
    }
    let seen = two.shows("/api/v1/plan").await;
    assert_eq!((&seen["kept_in"], &seen["scope"]), (&json!("redis"), &json!("fleet")));
    // What was seen on one pod is good on the other.
    let version = [("If-Match", seen["version"].as_str().unwrap())];
    let (status, done) = one.change(("POST", "/api/v1/plan/promote"), &version, json!({})).await;
    assert_eq!((status, &done["after"]["percent"]), (200, &json!(20.0)), "{done}");
    let (status, stale) = two.change(("POST", "/api/v1/plan/promote"), &version, json!({})).await;
    assert_eq!((status, &stale["error"]["code"]), (412, &json!("stale_version")));
    one.until_value(PERCENT, 20.0).await;
    assert_eq!(two.change(("POST", "/api/v1/plan/pause"), &[], json!({})).await.0, 200);
    until("both pause", async || (shown(&one).await.2 == "person").then_some(())).await;
    redis.down();
    until("it is told", async || {
        let plan = one.shows("/api/v1/plan").await;
        plan["holds"].to_string().contains("Redis cannot be reached").then_some(())
    })
    .await;
    let (status, _) = one.change(("POST", "/api/v1/plan/resume"), &ANY, json!({})).await;
    assert_eq!((status, one.value(PERCENT).await), (503, 20.0), "nobody moves");
    until("what was measured grows old", async || {
        let (_, body) = get(one.metrics, "/gate?hold=200").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        body["gates"].as_array().unwrap().iter().all(|gate| gate["verdict"] == "no_data").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_for_a_plan_is_said() {
    let emulator = Emulator::start(&[]);
    let nowhere = Proxy::start("127.0.0.1:9".parse().unwrap(), Some(&emulator), &[OPERATE]);
    let several = [OPERATE, ("CROSSFADE_PODS", "3"), ("CROSSFADE_STATE_DIR", "/nonexistent")];
    for (proxy, word) in [
        (&nowhere, "CROSSFADE_STATE_DIR"),
        (&pod(&emulator, &Folder::new("several"), &several[1..2]), "CROSSFADE_REDIS_URL"),
    ] {
        let (status, refused) =
            proxy.change(("POST", "/api/v1/plan/start"), &ANY, json!({ "plan": plan() })).await;
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(status == 409 && message.contains(word), "{status} {message}");
        let (status, body) = get(proxy.metrics, "/gate").await;
        assert_eq!(status, 503, "no data holds: {body}");
    }
}

#[tokio::test]
async fn the_gate_is_503_until_everything_that_is_asked_passes() {
    let emulator = Emulator::start(&[]);
    let proxy = Proxy::start("127.0.0.1:9".parse().unwrap(), Some(&emulator), &[OPERATE]);
    let gate = async |method: &str, query: &str| {
        let (status, _, body) = ask(proxy.metrics, (method, &format!("/gate{query}")), &[], "{}").await;
        (status, body)
    };
    until("one gate passes", async || (gate("GET", "?gate=quota").await.0 == 200).then_some(())).await;
    let (status, body) = gate("GET", "").await;
    assert_eq!((status, &body["pass"], &body["scope"]), (503, &json!(false), &json!("this_pod")), "{body}");
    let (status, body) = gate("GET", "?gate=quota,match").await;
    assert_eq!(
        (status, &body["pass"], &body["fail"]),
        (503, &json!(false), &json!(false)),
        "nothing is compared"
    );
    assert_eq!(gate("POST", "?gate=quota").await.0, 200, "Flagger asks by POST");
    assert_eq!(gate("GET", "?hold=200").await.0, 200, "Argo Rollouts reads the body");
    let (status, body) = gate("GET", "?gate=quoat").await;
    assert_eq!((status, &body["pass"]), (400, &json!(false)));
    // While a hand is on the switch there is no evidence for this share.
    let verdict = async || gate("GET", "?gate=breaker&hold=200").await.1["gates"][0]["verdict"].clone();
    assert_ne!(verdict().await, "no_data", "it has a state from the start");
    let switch = ("POST", "/api/v1/rollout/emergency-off");
    assert_eq!(proxy.change(switch, &[], json!({ "on": true })).await.0, 200);
    until("it holds", async || (verdict().await == "no_data").then_some(())).await;
}

/// A volume that hangs, as a FIFO that nobody writes into.
fn hang(path: &str) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success(), "mkfifo {path}");
}

#[tokio::test]
async fn a_state_directory_that_hangs_holds_up_nobody_and_is_told() {
    let (emulator, folder) = (Emulator::start(&[]), Folder::new("hangs"));
    std::fs::create_dir_all(folder.path("state")).unwrap();
    for file in ["plan.json", "flags-file.json"] {
        hang(&folder.path(&format!("state/{file}")));
    }
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let state = folder.path("state");
    let env = [
        ("CROSSFADE_STATE_DIR", state.as_str()),
        ("CROSSFADE_ROLLOUT_PERCENT", "25"),
        ("CROSSFADE_BREAKER", "forced_closed"),
        OPERATE,
    ];
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.process.line(|line| unanswered(line).filter(|what| what.contains("plan.json")));
    proxy.until_ready(200).await;
    served(proxy.clients, &service).await;
    assert_eq!(proxy.value(PERCENT).await, 0.0, "which step held is not known");
    let plan = proxy.shows("/api/v1/plan").await;
    assert!(plan["holds"].to_string().contains("CROSSFADE_STATE_DIR does not answer"), "{plan}");
    let (status, refused) =
        proxy.change(("POST", "/api/v1/plan/start"), &ANY, json!({ "plan": self::plan() })).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("plan_unavailable")));
    // The disk answers: the step that it knows holds from then on.
    let progress = json!({ "step": 1, "phase": { "paused": "person" }, "baked_ms": 0, "seen_unix_ms": 0, "written": true });
    let held = json!({ "revision": 3, "plan": self::plan(), "progress": progress });
    let book = json!({ "form": 1, "held": held, "percent": "20", "configured": "25" });
    let path = folder.path("state/plan.json");
    tokio::task::spawn_blocking(move || std::fs::write(path, book.to_string()).unwrap()).await.unwrap();
    proxy.until_value(PERCENT, 20.0).await;
    until("the plan is shown", async || {
        (shown(&proxy).await == ("paused".to_owned(), 2, json!("person"))).then_some(())
    })
    .await;
    served(proxy.clients, &service).await;
    drop(proxy);

    // So does a store whose saved value hangs: nobody is on Realtime, and everybody is served.
    let missing = ("CROSSFADE_FLAGS_FILE", "/nonexistent/flags.json");
    let env = [env[0], env[1], missing];
    std::fs::remove_file(folder.path("state/plan.json")).unwrap_or(());
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.process.line(|line| unanswered(line).filter(|what| what.contains("saved flags")));
    served(proxy.clients, &service).await;
    let known = "crossfade_rollout_tier_known{tier=\"file\"}";
    assert_eq!(proxy.value(known).await, 0.0);
    // What was saved holds when the disk says so after all: the file itself is still missing.
    let document = r#"{"schema":1,"version":1,"percent":"30"}"#;
    let saved = json!({ "form": 1, "tier": "file", "version": 1, "at_unix_ms": 0, "document": document });
    let path = folder.path("state/flags-file.json");
    tokio::task::spawn_blocking(move || std::fs::write(path, saved.to_string()).unwrap()).await.unwrap();
    proxy.until_value(PERCENT, 30.0).await;
    assert_eq!(proxy.value(known).await, 1.0);
}

/// What has not answered, if the line says so.
fn unanswered(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok()?;
    let ours = event["message"].as_str()?.starts_with("the disk does not answer");
    ours.then(|| event["what"].as_str().unwrap().to_owned())
}

/// A client's bytes come back from the service, as a user with a key.
async fn served(clients: SocketAddr, service: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = raw::ask(clients, "X-User-Id: ann\r\n").await;
    let (mut serving, _) = raw::upgraded(service, "").await;
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
    let (asked, answer) = (b"\x82\x85\0\0\0\0hello", b"\x82\x05hello");
    client.write_all(asked).await.unwrap();
    let (mut heard, mut got) = ([0; 11], [0; 7]);
    tokio::time::timeout(HANG, serving.read_exact(&mut heard)).await.unwrap().unwrap();
    serving.write_all(answer).await.unwrap();
    tokio::time::timeout(HANG, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!((&heard, &got), (asked, answer));
    (client, serving)
}

#[tokio::test]
async fn clients_are_served_before_any_disk_has_answered_and_follow_it_then() {
    let (emulator, folder) = (Emulator::start(&[]), Folder::new("before"));
    std::fs::create_dir_all(folder.path("state")).unwrap();
    let (state, flags) = (folder.path("state"), folder.path("flags.json"));
    for path in [folder.path("state/plan.json"), flags.clone()] {
        hang(&path);
    }
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("ws://{}", service.local_addr().unwrap());
    let env = [
        ("CROSSFADE_UPSTREAM", upstream.as_str()),
        ("CROSSFADE_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_METRICS_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_LOG_FORMAT", "json"),
        ("SUPABASE_URL", &emulator.url),
        ("SUPABASE_KEY", &emulator.service_key),
        ("CROSSFADE_PLAN", "custom:1000000"),
        ("CROSSFADE_BREAKER", "forced_closed"),
        ("CROSSFADE_ROLLOUT_PERCENT", "25"),
        ("CROSSFADE_STATE_DIR", &state),
    ];
    let process = Process::start(&["run"], &env);
    // In the order of the lines: it listens before any disk has been given up, and nobody writes to this one yet.
    let first = |line: &str| match address_in(line, "proxy") {
        Some(clients) => Some(Ok(clients)),
        None => unanswered(line).map(Err),
    };
    let clients = process.line(first).expect("clients do not wait for a disk");
    let open = served(clients, &service).await;
    let proxy = Proxy::of(process);
    let progress = json!({ "step": 2, "phase": "done", "baked_ms": 0, "seen_unix_ms": 0, "written": true });
    let held = json!({ "revision": 3, "plan": plan(), "progress": progress });
    let book = json!({ "form": 1, "held": held, "percent": "100", "configured": "25" });
    let path = folder.path("state/plan.json");
    tokio::task::spawn_blocking(move || std::fs::write(path, book.to_string()).unwrap()).await.unwrap();
    proxy.until_value(PERCENT, 100.0).await;
    // Who was served meanwhile is moved inside the open socket, as after any change.
    proxy.until_value(HOT, 1.0).await;
    drop((open, proxy));

    // A file of flags that hangs keeps nobody waiting either.
    let env = [&env[..10], &[("CROSSFADE_FLAGS_FILE", flags.as_str())]].concat();
    let process = Process::start(&["run"], &env);
    let clients = process.line(first).expect("clients do not wait for the file of flags");
    served(clients, &service).await;
}

/// The first session is told, not cut, although the process was asked to stop in the middle of its start.
#[tokio::test]
async fn who_is_served_before_a_disk_has_answered_is_told_when_the_process_must_stop_then() {
    let folder = Folder::new("stop");
    std::fs::create_dir_all(folder.path("state")).unwrap();
    let emulator = Emulator::start(&[]);
    hang(&folder.path("state/plan.json"));
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (upstream, state) = (format!("ws://{}", service.local_addr().unwrap()), folder.path("state"));
    let env = [
        ("CROSSFADE_UPSTREAM", upstream.as_str()),
        ("CROSSFADE_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_METRICS_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_LOG_FORMAT", "json"),
        ("CROSSFADE_DRAIN_SETTLE", "0s"),
        ("SUPABASE_URL", &emulator.url),
        ("SUPABASE_KEY", &emulator.service_key),
        ("CROSSFADE_PLAN", "custom:1000000"),
        ("CROSSFADE_STATE_DIR", &state),
    ];
    let mut process = Process::start(&["run"], &env);
    let clients = process.line(|line| address_in(line, "proxy"));
    let (mut client, mut serving) = served(clients, &service).await;
    // The switch is no end of the process either.
    process.signal("USR1");
    process.signal("TERM");
    let told = async {
        let mut close = [0; 4];
        client.read_exact(&mut close).await.unwrap();
        assert_eq!(close, [0x88, 2, 0x03, 0xF4], "1012");
        client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF4]).await.unwrap();
        let mut close = [0; 8];
        serving.read_exact(&mut close).await.unwrap();
        let code = [close[6] ^ close[2], close[7] ^ close[3]];
        assert_eq!((close[0], u16::from_be_bytes(code)), (0x88, 1001));
    };
    tokio::time::timeout(HANG, told).await.unwrap();
    drop((client, serving));
    assert_eq!(process.ended().await.code(), Some(0));
    let output = process.output();
    let at = |what: &str| output.find(what).unwrap_or_else(|| panic!("no `{what}` in {output}"));
    assert!(at("configuration is fine") < at("listening") && at("listening") < at("draining"), "{output}");
    assert!(at("draining") < at("\"stopped\""), "{output}");
}

#[tokio::test]
async fn a_start_that_never_ends_is_left_behind_when_the_process_must_stop() {
    let folder = Folder::new("never");
    let (fields, tuning) = (folder.path("fields"), folder.path("tuning.toml"));
    hang(&fields);
    let section = format!("[otlp]\nendpoint = \"http://127.0.0.1:1\"\nheaders_file = \"{fields}\"\n");
    std::fs::write(&tuning, section).unwrap();
    let env = [
        ("CROSSFADE_UPSTREAM", "ws://127.0.0.1:1"),
        ("CROSSFADE_LISTEN", "127.0.0.1:0"),
        ("CROSSFADE_DRAIN_SETTLE", "0s"),
        ("CROSSFADE_DRAIN_GRACE", "2s"),
        ("CROSSFADE_TUNING", &tuning),
    ];
    let mut process = Process::start(&["run"], &env);
    process.line(|line| line.contains("configuration is fine").then_some(()));
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(69));
    process.line(|line| line.contains("the start hangs").then_some(()));
    assert!(!process.output().contains("listening"), "{}", process.output());
}
