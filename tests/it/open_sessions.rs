//! What the tuning file says about the rollout, on real processes: how open sessions follow the share, what is
//! mirrored of which path and class, and who is written into the exposure log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::admin::OPERATE;
use super::process::{Emulator, HANG, Proxy, until};
use super::raw;
use super::stage::{HOT, LEGACY, Stage, audit};

const CLIENTS: u64 = 40;
const HELD: (&str, &str) = ("CROSSFADE_BREAKER", "forced_closed");
const TO_HOT: &str = "crossfade_rollout_moving_sessions{to=\"hot\"}";

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-open-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file in it; its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or(());
    }
}

pub(crate) async fn share(proxy: &Proxy, percent: &str) {
    let asked = json!({"percent": percent, "confirm": percent});
    let (status, done) = proxy.change(("PUT", "/api/v1/rollout"), &[("If-Match", "*")], asked).await;
    assert_eq!(status, 200, "{done}");
}

async fn preview(proxy: &Proxy, percent: &str) -> Value {
    let asked = json!({"percent": percent});
    let (status, seen) = proxy.change(("POST", "/api/v1/rollout/preview"), &[], asked).await;
    assert_eq!(status, 200, "{seen}");
    seen
}

/// A session of this user; both ends.
async fn session(proxy: &Proxy, service: &TcpListener, user: &str) -> (TcpStream, TcpStream) {
    let mut client = raw::ask(proxy.clients, &format!("X-User-Id: {user}\r\n")).await;
    let (upstream, _) = raw::upgraded(service, "").await;
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
    (client, upstream)
}

/// At one move a second forty sessions are far from done when the first is hot; the way back waits for nobody.
#[tokio::test]
async fn the_way_to_realtime_has_the_stated_rate_and_the_way_back_has_none() {
    let (folder, emulator) = (Folder::new("rate"), Emulator::start(&[]));
    let tuning = folder.file("tuning.toml", "[rollout]\nmoves_per_second = 1\n");
    let env = [HELD, OPERATE, ("CROSSFADE_TUNING", tuning.as_str()), ("CROSSFADE_WORKERS", "2")];
    let stage = Stage::open(CLIENTS, Some(&emulator), &env).await;
    let (proxy, all) = (&stage.proxy, CLIENTS as f64);
    let seen = preview(proxy, "100").await;
    assert_eq!((&seen["moves_to_realtime"], &seen["takes_s"]), (&json!(CLIENTS), &json!(all)), "{seen}");
    share(proxy, "100").await;
    until("the first is hot", async || (proxy.value(HOT).await >= 1.0).then_some(())).await;
    let waiting = proxy.value(TO_HOT).await;
    assert!(waiting >= 5.0, "{waiting} of {all} wait");
    assert_eq!(proxy.value("crossfade_rollout_wanted_sessions{lane=\"hot\"}").await, all);
    assert!(proxy.value("crossfade_rollout_adoption_ratio{lane=\"hot\"}").await < 1.0);
    stage.written(300).await;
    share(proxy, "0").await;
    proxy.until_value(LEGACY, all).await;
    // Nobody waits for what is no longer wanted.
    proxy.until_value(TO_HOT, 0.0).await;
    stage.written(300).await;
    assert_eq!(proxy.value(LEGACY).await, all);
    stage.close_clean().await;
}

#[tokio::test]
async fn who_is_kept_stays_until_he_connects_again_and_an_order_is_obeyed_all_the_same() {
    let (folder, emulator) = (Folder::new("keep"), Emulator::start(&[]));
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tuning = folder.file("tuning.toml", "[rollout]\nopen_sessions = \"keep\"\n");
    let env = [HELD, OPERATE, ("CROSSFADE_TUNING", tuning.as_str())];
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.until_ready(200).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let mut old = Vec::new();
    for number in 0..10 {
        old.push(session(&proxy, &service, &format!("old-{number}")).await);
    }
    let seen = preview(&proxy, "100").await;
    assert_eq!((&seen["moves_to_realtime"], &seen["of_open"]), (&json!(0), &json!(10)), "{seen}");
    assert!(seen["warnings"].to_string().contains("connect again"), "{seen}");
    share(&proxy, "100").await;
    // A new session is hot at once; by then the old ones would have been moved, had anybody wanted to.
    let new = session(&proxy, &service, "new").await;
    proxy.until_value(HOT, 1.0).await;
    proxy.until_value("crossfade_rollout_wanted_sessions{lane=\"hot\"}", 11.0).await;
    assert_eq!((proxy.value(LEGACY).await, proxy.value(TO_HOT).await), (10.0, 0.0), "and nobody waits");
    // Outside of 0.001 % is everybody here: it is a share, and nobody is taken back for it.
    share(&proxy, "0.001").await;
    proxy.until_value("crossfade_rollout_wanted_sessions{lane=\"hot\"}", 0.0).await;
    assert_eq!(proxy.value(HOT).await, 1.0);
    // Nobody is nobody.
    share(&proxy, "0").await;
    proxy.until_value(LEGACY, 11.0).await;
    share(&proxy, "100").await;
    proxy.until_value("crossfade_rollout_wanted_sessions{lane=\"hot\"}", 11.0).await;
    assert_eq!(proxy.value(LEGACY).await, 11.0, "what an order took back waits for its next connection");
    drop(new);
    let _again = session(&proxy, &service, "new").await;
    proxy.until_value(HOT, 1.0).await;
}

/// Writes one text frame to the client, and waits for it there.
pub(crate) async fn say(upstream: &mut TcpStream, client: &mut TcpStream, event: &str) {
    let body = format!("{{\"event\":\"{event}\"}}");
    let mut frame = vec![0x81, u8::try_from(body.len()).unwrap()];
    frame.extend(body.as_bytes());
    upstream.write_all(&frame).await.unwrap();
    let mut came = vec![0; frame.len()];
    tokio::time::timeout(HANG, client.read_exact(&mut came)).await.unwrap().unwrap();
    assert_eq!(came, frame);
}

#[tokio::test]
async fn what_a_share_leaves_out_is_passed_on_and_accounted_for() {
    let (folder, emulator) = (Folder::new("shares"), Emulator::start(&[]));
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tuning = "[mirror.classes]\nlow = 0\n[[mirror.paths]]\npath = \"/feed/private\"\npercent = \"0\"\n";
    let tuning = folder.file("tuning.toml", tuning);
    let env = [
        HELD,
        ("CROSSFADE_TUNING", tuning.as_str()),
        ("CROSSFADE_CLASSIFY", "event=dull:low;event=alert:high"),
    ];
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.until_ready(200).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let (mut client, mut upstream) = session(&proxy, &service, "somebody").await;
    for event in ["dull", "alert", "dull", "alert", "dull"] {
        say(&mut upstream, &mut client, event).await;
    }
    let unsampled = "crossfade_mirror_shed_total{reason=\"unsampled\"}";
    let confirmed = "crossfade_mirror_messages_total{state=\"confirmed\"}";
    proxy.until_value(unsampled, 3.0).await;
    proxy.until_value(confirmed, 2.0).await;
    let mut private = TcpStream::connect(proxy.clients).await.unwrap();
    let request = raw::UPGRADE.replacen("/feed ", "/feed/private ", 1);
    private.write_all(request.as_bytes()).await.unwrap();
    let (mut behind, _) = raw::upgraded(&service, "").await;
    assert!(raw::head(&mut private).await.starts_with("HTTP/1.1 101 "));
    for _ in 0..4 {
        say(&mut behind, &mut private, "alert").await;
    }
    proxy.until_value(unsampled, 7.0).await;
    audit(&proxy).await;
    assert_eq!(proxy.value("crossfade_mirror_messages_total{state=\"seen\"}").await, 9.0);
    assert_eq!(proxy.value(confirmed).await, 2.0);
    // The validator owns up to what it was never shown.
    proxy.until_value("crossfade_match_not_compared_total{reason=\"unsampled\"}", 7.0).await;
    let coverage = proxy.value("crossfade_match_coverage_ratio").await;
    assert!(coverage < 0.5, "{coverage} of nine messages");
}

#[tokio::test]
async fn each_user_of_an_experiment_is_written_down_once_and_never_by_his_key() {
    let (folder, emulator) = (Folder::new("exposures"), Emulator::start(&[]));
    let flags = r#"{"schema":1,"percent":0,"rules":[{"name":"first","keys":["first"],"then":"allow"},{"name":"autumn","then":{"experiment":{"salt":"s","arms":[
        {"name":"a","percent":"30","lane":"legacy"},{"name":"b","percent":"30","lane":"hot"}]}}}]}"#;
    let (flags, state) = (folder.file("flags.json", flags), folder.0.join("state"));
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let env =
        [HELD, ("CROSSFADE_FLAGS_FILE", flags.as_str()), ("CROSSFADE_STATE_DIR", state.to_str().unwrap())];
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.until_ready(200).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    // From here on the decision, too, knows that Realtime can be read back.
    let _first = session(&proxy, &service, "first").await;
    proxy.until_value(HOT, 1.0).await;
    let mut open = Vec::new();
    for number in 0..60 {
        open.push(session(&proxy, &service, &format!("somebody-{}", number % 30)).await);
    }
    let written = "crossfade_exposures_total{outcome=\"written\"}";
    let repeated = "crossfade_exposures_total{outcome=\"repeated\"}";
    let users = until("every user has come twice", async || {
        let (once, again) = (proxy.value(written).await, proxy.value(repeated).await);
        // Sixty sessions, of which six in ten are in an arm: the deal is fixed, and both visits of a user are alike.
        (once > 0.0 && once == again).then_some(once)
    })
    .await;
    let text = std::fs::read_to_string(state.join("exposures.jsonl")).unwrap();
    assert!(!text.contains("somebody"), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as f64, users, "{text}");
    let keys: BTreeSet<_> = lines.iter().map(|line| line["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), lines.len(), "each user once");
    let mut arms = BTreeMap::<_, u32>::new();
    for line in &lines {
        let (arm, bucket) = (line["arm"].as_str().unwrap(), line["bucket"].as_u64().unwrap());
        assert_eq!((&line["experiment"], arm), (&json!("autumn"), if bucket < 30_000 { "a" } else { "b" }));
        let lane = if arm == "a" { "legacy" } else { "hot" };
        assert_eq!(line["lane"], lane, "{line}");
        *arms.entry(arm).or_default() += 1;
    }
    assert_eq!(arms.len(), 2, "{arms:?}");
}
