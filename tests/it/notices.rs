//! Notices and links of a real process. A webhook of this test's own says what was told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade::notice::{Action, Claims, Signer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::admin::OPERATE;
use super::process::{Emulator, HANG, Proxy, now, until};
use super::redis::{Redis, is_here};

/// What must never be in the log.
const SECRET_PATH: &str = "/services/T0/B0/a-secret-of-the-chat";
const LINK_SECRET: &str = "thirty-two bytes that nobody guesses";
const HOST: &str = "links.example";
const BREAKER: (&str, &str) = ("POST", "/api/v1/breaker");
const FADER: (&str, &str) = ("PUT", "/api/v1/rollout");
const ANY: [(&str, &str); 1] = [("If-Match", "*")];
/// A state lasts so long before it is told, and in one test so long that it is noticed.
const SETTLE: &str = "settle = \"100ms\"";
const SETTLE_LONG: (&str, Duration) = ("settle = \"2s\"", Duration::from_secs(2));

/// A webhook that keeps what it is sent, and its answer.
#[derive(Clone)]
struct Hook(Arc<Mutex<Vec<Value>>>, &'static str);

impl Hook {
    async fn start() -> (Self, SocketAddr) {
        Self::answering("204 No Content\r\n").await
    }

    async fn answering(answer: &'static str) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hook = Self(Arc::default(), answer);
        let (address, own) = (listener.local_addr().unwrap(), hook.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move { own.serve(socket).await });
            }
        });
        (hook, address)
    }

    /// Answers each request on a connection, until it is closed.
    async fn serve(self, mut socket: TcpStream) {
        let mut got = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            match socket.read(&mut chunk).await {
                Ok(n) if n > 0 => got.extend_from_slice(&chunk[..n]),
                _ => return,
            }
            let text = String::from_utf8_lossy(&got).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.to_ascii_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() < length.trim().parse::<usize>().unwrap() {
                continue;
            }
            assert!(head.starts_with(&format!("POST {SECRET_PATH}?sig=x ")), "{head}");
            self.0.lock().unwrap().push(serde_json::from_str(body).unwrap());
            got.clear();
            if socket.write_all(format!("HTTP/1.1 {}\r\n", self.1).as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// What was told, in order.
    fn states(&self) -> Vec<String> {
        let all = self.0.lock().unwrap();
        all.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
    }

    /// The notice that comes as this one, from 0.
    async fn told(&self, at: usize) -> Value {
        until(&format!("notice {at}"), async || self.0.lock().unwrap().get(at).cloned()).await
    }
}

struct Folder(PathBuf);

impl Folder {
    /// With a tuning file that tells these webhooks.
    fn new(name: &str, hooks: &[SocketAddr]) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-notices-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        let this = Self(path);
        std::fs::write(this.path("secret"), LINK_SECRET).unwrap();
        let mut text = format!("[breaker]\nprobes = 3\nprobe_interval = \"100ms\"\n[notices]\n{SETTLE}\n");
        for (at, hook) in hooks.iter().enumerate() {
            let file = this.path(&format!("url{at}"));
            std::fs::write(&file, format!("http://{hook}{SECRET_PATH}?sig=x\n")).unwrap();
            text += &format!(
                "[[notices.targets]]\nname = \"hook{at}\"\nurl_file = \"{file}\"\nplain_http = true\n"
            );
        }
        text += &format!(
            "[notices.links]\nbase_url = \"https://{HOST}\"\nsecret_file = \"{}\"\n",
            this.path("secret")
        );
        std::fs::write(this.path("tuning.toml"), text).unwrap();
        this
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A state must last for two seconds.
    fn settles_late(self) -> Self {
        let file = self.path("tuning.toml");
        let text = std::fs::read_to_string(&file).unwrap().replace(SETTLE, SETTLE_LONG.0);
        assert!(text.contains(SETTLE_LONG.0));
        std::fs::write(&file, text).unwrap();
        self
    }

    /// Waits until this state is on the disk as the one that holds.
    async fn keeps(&self, state: &str) {
        let kept = self.path("state/notices.json");
        until(&format!("{state} is kept"), async || {
            std::fs::read_to_string(&kept).unwrap_or_default().contains(state).then_some(())
        })
        .await;
    }

    fn pod(&self, emulator: &Emulator, more: &[(&str, &str)]) -> Proxy {
        let (state, tuning) = (self.path("state"), self.path("tuning.toml"));
        let mut env = vec![
            OPERATE,
            ("CROSSFADE_STATE_DIR", state.as_str()),
            ("CROSSFADE_TUNING", &tuning),
            ("CROSSFADE_SERVICE", "feed"),
            ("CROSSFADE_ROLLOUT_PERCENT", "50"),
        ];
        env.extend(more);
        Proxy::start("127.0.0.1:9".parse().unwrap(), Some(emulator), &env)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Status, head and body of a request for a link's page.
async fn page(pod: &Proxy, method: &str, url: &str, host: &str) -> (u16, String, String) {
    let path = url.strip_prefix(&format!("https://{HOST}")).unwrap();
    let asked = async {
        let mut socket = TcpStream::connect(pod.admin).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        let form = "Origin: null\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n";
        socket.write_all(format!("{head}{form}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(HANG, asked).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

async fn force(pod: &Proxy, mode: &str) {
    let (status, said) = pod.change(BREAKER, &[], json!({ "mode": mode })).await;
    assert_eq!(status, 200, "{said}");
}

async fn hands(pod: &Proxy) -> Value {
    pod.shows("/api/v1/rollout").await["emergency"].clone()
}

/// Outcomes of links in the trail, oldest first.
async fn trail(pod: &Proxy) -> Vec<(String, String, bool)> {
    let entries = pod.shows("/api/v1/audit").await["entries"].as_array().unwrap().clone();
    let links = entries.iter().rev().filter(|entry| entry["role"] == "link");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    links.map(|one| (text(&one["action"]), text(&one["outcome"]), one["subject"].is_string())).collect()
}

fn keeps_secrets(pod: &Proxy, urls: &[&str]) {
    let log = pod.process.output();
    assert!(log.contains("a state is told"), "{log}");
    assert!(!log.contains("a-secret-of-the-chat") && !log.contains("sig=x"), "{log}");
    for url in urls {
        let mac = url.rsplit_once('.').unwrap().1;
        assert!(!log.contains(mac), "{log}");
    }
}

#[tokio::test]
async fn a_trip_is_told_once_and_its_link_rolls_back_once() {
    let (emulator, (hook, address)) = (Emulator::start(&[]), Hook::start().await);
    let folder = Folder::new("trip", &[address]);
    let first = folder.pod(&emulator, &[("CROSSFADE_BREAKER", "forced_closed")]);
    force(&first, "forced_open").await;
    let open = hook.told(0).await;
    assert_eq!((open["state"].as_str(), open["service"].as_str()), (Some("breaker_open"), Some("feed")));
    assert!(open["text"].as_str().unwrap().contains("forced") && open["promote_url"].is_null(), "{open}");
    let url = open["rollback_url"].as_str().unwrap().to_owned();
    // Chats and scanners fetch it: nothing happens.
    for method in ["GET", "HEAD"].into_iter().cycle().take(10) {
        let (status, head, body) = page(&first, method, &url, HOST).await;
        assert_eq!(status, 200, "{head}");
        assert!(method == "HEAD" || body.contains("<button>Roll back now</button>"), "{body}");
        for field in [
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "frame-ancestors 'none'",
            "default-src 'none'",
        ] {
            assert!(head.contains(field), "{head}");
        }
    }
    assert_eq!((hands(&first).await, trail(&first).await), (json!([]), Vec::new()));
    assert_eq!(page(&first, "POST", &url, "evil.example").await.0, 421);
    force(&first, "forced_closed").await;
    hook.told(1).await;
    force(&first, "forced_open").await;
    let again = hook.told(2).await["rollback_url"].as_str().unwrap().to_owned();
    first.until_value("crossfade_notices_total{outcome=\"delivered\"}", 3.0).await;
    keeps_secrets(&first, &[&url, &again]);
    // It is written down after it was told: a kill in between would tell it again.
    folder.keeps("breaker_open").await;
    first.process.signal("KILL");
    drop(first);

    // A person's forced_open outlives the process: it is not told again, and the link still works.
    let second = folder.pod(&emulator, &[]);
    assert_eq!(second.shows("/api/v1/breaker").await["mode"], "forced_open");
    let (status, _, body) = page(&second, "POST", &again, HOST).await;
    assert!(status == 200 && body.contains("Rolled back") && body.contains("Done."), "{body}");
    assert_eq!(hands(&second).await, json!(["api"]));
    let (status, _, body) = page(&second, "POST", &again, HOST).await;
    assert!(status == 409 && body.contains("used before"), "{body}");
    hook.told(3).await;
    assert_eq!(hook.states(), ["breaker_open", "breaker_closed", "breaker_open", "emergency_on"]);
    let tampered = url.replace(".off.", ".abort.");
    assert_eq!(page(&second, "POST", &tampered, HOST).await.0, 404);
    let (status, _, body) = page(&second, "POST", &url, HOST).await;
    assert!(status == 409 && body.contains("on already"), "{body}");
    let expected = [
        ("link_rollback", "done", true),
        ("link_rollback", "link_used", true),
        ("link", "link_forged", false),
        ("link_rollback", "link_overtaken", true),
    ];
    let expected = expected.map(|(action, outcome, id)| (action.to_owned(), outcome.to_owned(), id));
    assert_eq!(trail(&second).await, expected);
    keeps_secrets(&second, &[&url, &again]);
    second.process.signal("KILL");
    drop(second);

    // Nobody holds the switch any more, so that only its use makes the link void.
    let third = folder.pod(&emulator, &[]);
    assert_eq!(hands(&third).await, json!([]));
    let (status, _, body) = page(&third, "POST", &again, HOST).await;
    assert!(status == 409 && body.contains("used before"), "{body}");
    // Another share is another rollout, and what was meant is not what would be done.
    for (percent, wanted) in [("40", 409), ("50", 200)] {
        let asked = json!({ "percent": percent, "confirm": percent });
        let (status, said) = third.change(FADER, &ANY, asked).await;
        assert_eq!(status, 200, "{said}");
        third.until_value("crossfade_rollout_percent", percent.parse().unwrap()).await;
        let (status, _, body) = page(&third, "POST", &url, HOST).await;
        assert_eq!((status, body.contains("the rollout has moved on")), (wanted, wanted == 409), "{body}");
    }
}

/// Kept by a gate that can be made to fail at will.
fn plan() -> Value {
    let steps = json!([{ "percent": "10", "bake_seconds": 7_000_000 }, { "percent": "20", "bake_seconds": 7_000_000 }]);
    json!({ "schema": 1, "name": "slow", "steps": steps, "gates": { "breaker": true } })
}

#[tokio::test]
async fn a_plan_that_waits_is_let_go_on_by_a_link_and_no_gate_is_overridden() {
    let (emulator, (hook, address)) = (Emulator::start(&[]), Hook::start().await);
    let folder = Folder::new("plan", &[address]);
    let pod = folder.pod(&emulator, &[("CROSSFADE_BREAKER", "forced_closed")]);
    let begin = ("POST", "/api/v1/plan/start");
    assert_eq!(pod.change(begin, &ANY, json!({ "plan": plan() })).await.0, 200);
    assert_eq!(hook.told(0).await["state"], "plan_advanced");
    assert_eq!(pod.change(("POST", "/api/v1/plan/pause"), &ANY, json!({})).await.0, 200);
    let waits = hook.told(1).await;
    assert_eq!(
        (&waits["state"], &waits["step"], &waits["plan"]),
        (&json!("plan_waiting"), &json!(1), &json!("slow"))
    );
    let link = |name: &str| waits[name].as_str().unwrap().to_owned();
    let (promote, back) = (link("promote_url"), link("rollback_url"));

    force(&pod, "forced_open").await;
    until("the gate fails", async || (pod.shows("/api/v1/plan").await["fail"] == true).then_some(())).await;
    let (status, _, body) = page(&pod, "POST", &promote, HOST).await;
    assert!(status == 409 && body.contains("never overrides"), "{body}");
    assert_eq!(pod.shows("/api/v1/plan").await["phase"], "paused");
    force(&pod, "auto").await;
    until("the gate passes", async || (pod.shows("/api/v1/plan").await["fail"] == false).then_some(())).await;

    let signer = Signer::new(LINK_SECRET.as_bytes(), "feed").unwrap();
    let version = pod.shows("/api/v1/plan").await["version"].as_str().unwrap().to_owned();
    let late = signer.sign(&Claims::new(Action::Promote, &version, 1_000, [1; 16]));
    let (status, _, body) = page(&pod, "POST", &format!("https://{HOST}/links/{late}"), HOST).await;
    assert!(status == 409 && body.contains("expired"), "{body}");

    let (status, _, body) = page(&pod, "GET", &promote, HOST).await;
    assert!(status == 200 && body.contains("slow resumes step 1 of 2, 10 %"), "{body}");
    assert_eq!(pod.shows("/api/v1/plan").await["phase"], "paused", "only looked at");
    let (status, _, body) = page(&pod, "POST", &promote, HOST).await;
    assert!(status == 200 && body.contains("Promoted"), "{body}");
    assert_eq!(pod.shows("/api/v1/plan").await["phase"], "running");
    // The state that both links stood for is over.
    let (status, _, body) = page(&pod, "POST", &back, HOST).await;
    assert!(status == 409 && body.contains("moved on"), "{body}");
    assert_eq!(pod.shows("/api/v1/plan").await["phase"], "running");

    // The notice about where it stands now has a way back that works.
    let now = until("the step is told", async || {
        let told = hook.0.lock().unwrap().clone();
        told.into_iter()
            .rev()
            .find(|one| one["state"] == "plan_advanced" && one["at"] != waits["at"])
            .filter(|_| hook.states().iter().filter(|state| *state == "plan_advanced").count() == 2)
    })
    .await;
    let (status, _, body) = page(&pod, "POST", now["rollback_url"].as_str().unwrap(), HOST).await;
    assert!(status == 200 && body.contains("Rolled back"), "{body}");
    assert_eq!(pod.shows("/api/v1/plan").await["phase"], "aborted");
    pod.until_value("crossfade_rollout_percent", 0.0).await;
    keeps_secrets(&pod, &[&promote, &back]);
}

#[tokio::test]
async fn a_webhook_that_hangs_holds_up_neither_the_other_one_nor_the_end() {
    let (emulator, (hook, address)) = (Emulator::start(&[]), Hook::start().await);
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = Folder::new("hangs", &[hangs.local_addr().unwrap(), address]);
    let more = [("CROSSFADE_BREAKER", "forced_closed"), ("CROSSFADE_DRAIN_SETTLE", "0s")];
    let mut pod = folder.pod(&emulator, &more);
    force(&pod, "forced_open").await;
    assert_eq!(hook.told(0).await["state"], "breaker_open");
    let (held, _) = tokio::time::timeout(HANG, hangs.accept()).await.unwrap().unwrap();
    force(&pod, "forced_closed").await;
    assert_eq!(hook.told(1).await["state"], "breaker_closed");
    pod.process.signal("TERM");
    assert!(pod.process.ended().await.success());
    assert!(!pod.process.output().contains("left behind"), "the end was held up");
    drop(held);
}

#[tokio::test]
async fn a_target_that_refuses_or_is_away_is_named_in_the_log_and_its_url_is_not() {
    let (emulator, (hook, refuses)) =
        (Emulator::start(&[]), Hook::answering("404 Not Found\r\nContent-Length: 0\r\n").await);
    // Nobody listens there any more.
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let folder = Folder::new("refuses", &[refuses, away]).settles_late();
    let pod = folder.pod(&emulator, &[("CROSSFADE_BREAKER", "forced_closed")]);
    let began = now();
    force(&pod, "forced_open").await;
    let open = hook.told(0).await;
    assert!(began.elapsed() >= SETTLE_LONG.1, "it had not lasted");
    for (name, said) in
        [("hook0", "a target refuses notices"), ("hook1", "a target of notices does not answer")]
    {
        let told = |line: &str| line.contains(said) && line.contains(name);
        until(said, async || pod.process.output().lines().any(told).then_some(())).await;
    }
    pod.until_value("crossfade_notices_total{outcome=\"failed\"}", 1.0).await;
    keeps_secrets(&pod, &[open["rollback_url"].as_str().unwrap()]);
}

#[tokio::test]
async fn the_way_back_is_not_held_up_by_a_redis_that_hangs() {
    // It takes connections and never says a word.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", hangs.local_addr().unwrap());
    let (emulator, (hook, address)) = (Emulator::start(&[]), Hook::start().await);
    let folder = Folder::new("hung-redis", &[address]);
    let more = [("CROSSFADE_BREAKER", "forced_closed"), ("CROSSFADE_REDIS_URL", url.as_str())];
    let pod = folder.pod(&emulator, &more);
    force(&pod, "forced_open").await;
    let back = hook.told(0).await["rollback_url"].as_str().unwrap().to_owned();
    let (status, _, body) = page(&pod, "POST", &back, HOST).await;
    assert!(status == 200 && body.contains("Rolled back"), "{body}");
    assert_eq!(hands(&pod).await, json!(["api"]));
    let (status, _, body) = page(&pod, "POST", &back, HOST).await;
    assert!(status == 409 && body.contains("used before"), "{body}");
    drop(hangs);
}

#[tokio::test]
async fn one_pod_tells_for_all_where_there_is_redis() {
    if !is_here() {
        return;
    }
    let redis = Redis::start("notices", &[]);
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let (emulator, (hook, address)) = (Emulator::start(&[]), Hook::start().await);
    let folders = [Folder::new("fleet0", &[address]), Folder::new("fleet1", &[address])];
    let more = [("CROSSFADE_BREAKER", "forced_closed"), ("CROSSFADE_REDIS_URL", url.as_str())];
    let pods = folders.each_ref().map(|folder| folder.pod(&emulator, &more));
    for folder in &folders {
        folder.keeps("breaker_closed").await;
    }
    for mode in ["forced_open", "forced_closed"] {
        for pod in &pods {
            force(pod, mode).await;
        }
        let wanted = if mode == "forced_open" { 1 } else { 2 };
        hook.told(wanted - 1).await;
    }
    // A link that one pod has used is used for all.
    let open = hook.told(0).await["rollback_url"].as_str().unwrap().to_owned();
    assert_eq!(page(&pods[0], "POST", &open, HOST).await.0, 200);
    let (status, _, body) = page(&pods[1], "POST", &open, HOST).await;
    assert!(status == 409 && body.contains("used before"), "{body}");
    assert_eq!(hook.told(2).await["state"], "emergency_on");
    assert_eq!(hook.states(), ["breaker_open", "breaker_closed", "emergency_on"]);
}
