//! The flag stores on real processes: changes that are pushed, stores that die, values that were saved.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::process::{Process, Proxy};
use super::redis::{Redis, Relay, is_here};

const PERCENT: &str = "crossfade_rollout_percent";

fn document(version: u64, percent: u32) -> String {
    format!(r#"{{"schema":1,"version":{version},"percent":{percent}}}"#)
}

/// No session is opened here, so that nobody need answer.
fn proxy(more: &[(&str, &str)]) -> Proxy {
    let nobody: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let mut env = vec![("CROSSFADE_SERVICE", "shop")];
    env.extend(more);
    Proxy::start(nobody, None, &env)
}

fn tier(series: &str, tier: &str) -> String {
    format!("crossfade_rollout_tier_{series}{{tier=\"{tier}\"}}")
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-flags-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or(());
    }
}

#[tokio::test]
async fn a_file_is_followed_through_edits_swapped_links_garbage_and_its_absence() {
    let (folder, state) = (Folder::new("file"), Folder::new("file-state"));
    // As a ConfigMap is mounted: the file is a link through `..data`, which is swapped as a whole.
    let generation = |name: &str, text: &str| {
        let of = folder.path().join(name);
        std::fs::create_dir_all(&of).unwrap();
        std::fs::write(of.join("flags.json"), text).unwrap();
        std::os::unix::fs::symlink(name, folder.path().join("..data.new")).unwrap();
        std::fs::rename(folder.path().join("..data.new"), folder.path().join("..data")).unwrap();
    };
    generation("..one", &document(0, 10));
    let file = folder.path().join("flags.json");
    std::os::unix::fs::symlink("..data/flags.json", &file).unwrap();
    let env = [("CROSSFADE_FLAGS_FILE", file.to_str().unwrap()), ("CROSSFADE_STATE_DIR", state.text())];
    let running = proxy(&env);
    assert_eq!(running.value(PERCENT).await, 10.0, "it is read before the first session");
    generation("..two", &document(0, 20));
    running.until_value(PERCENT, 20.0).await;
    std::fs::write(folder.path().join("..two/flags.json"), document(0, 30)).unwrap();
    running.until_value(PERCENT, 30.0).await;
    generation("..three", r#"{"schema":1,"persent":99}"#);
    running.until_value(&tier("refused_total", "file"), 1.0).await;
    running.process.line(|line| line.contains("unknown field `persent`").then_some(()));
    assert_eq!(running.value(PERCENT).await, 30.0);
    std::fs::remove_file(&file).unwrap();
    running.process.line(|line| line.contains("cannot be fetched").then_some(()));
    assert_eq!(running.value(PERCENT).await, 30.0);
    drop(running);
    // Gone at the start: the saved value decides. Saved garbage: nobody.
    let again = proxy(&env);
    assert_eq!(again.value(PERCENT).await, 30.0);
    drop(again);
    std::fs::write(state.path().join("flags-file.json"), "{\"form\":1,\"ti").unwrap();
    let third = proxy(&[env[0], env[1], ("CROSSFADE_FLAGS_POLL", "1h")]);
    third.process.line(|line| line.contains("the saved flags are ignored").then_some(()));
    assert_eq!(third.value(PERCENT).await, 0.0);
    assert_eq!(third.value(&tier("known", "file")).await, 0.0);
}

#[tokio::test]
async fn a_change_reaches_both_replicas_by_push_and_a_partitioned_one_keeps_its_value() {
    if !is_here() {
        return;
    }
    let redis = Redis::start("push", &[]);
    let relay = Relay::start(redis.port).await;
    let through = format!("redis://{}/0", relay.address);
    redis.publish("shop", &document(1, 10));
    let near = proxy(&[("CROSSFADE_REDIS_URL", &redis.url()), ("CROSSFADE_FLAGS_POLL", "1h")]);
    let far = proxy(&[("CROSSFADE_REDIS_URL", &through), ("CROSSFADE_FLAGS_POLL", "1h")]);
    for replica in [&near, &far] {
        replica.until_value(PERCENT, 10.0).await;
    }
    redis.publish("shop", &document(2, 20));
    for replica in [&near, &far] {
        replica.until_value(PERCENT, 20.0).await;
    }
    relay.cut();
    redis.publish("shop", &document(3, 30));
    near.until_value(PERCENT, 30.0).await;
    far.process.line(|line| line.contains("cannot be fetched").then_some(()));
    assert_eq!(far.value(PERCENT).await, 20.0, "it decides on its last good value");
    assert_eq!(far.value(&tier("known", "redis")).await, 1.0);
    relay.heal();
    far.until_value(PERCENT, 30.0).await;
    // What goes back is a stale replica, whoever says it.
    redis.publish("shop", &document(2, 90));
    for replica in [&near, &far] {
        replica.until_value(&tier("refused_total", "redis"), 1.0).await;
        assert_eq!(replica.value(PERCENT).await, 30.0);
        replica.process.line(|line| line.contains("version 2 came after version 3").then_some(()));
    }
    // A killed connection is opened again at once, and what was told meanwhile is fetched.
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    redis.publish("shop", &document(4, 40));
    for replica in [&near, &far] {
        replica.until_value(PERCENT, 40.0).await;
    }
}

#[tokio::test]
async fn a_dead_redis_moves_nobody_and_a_pod_that_starts_meanwhile_uses_what_was_saved() {
    if !is_here() {
        return;
    }
    let (kept, empty) = (Folder::new("kept"), Folder::new("empty"));
    let mut redis = Redis::start("outage", &[]);
    redis.publish("shop", &document(5, 25));
    let url = redis.url();
    let env = |state: &Folder| -> Vec<(&'static str, String)> {
        vec![
            ("CROSSFADE_REDIS_URL", url.clone()),
            ("CROSSFADE_STATE_DIR", state.text().to_owned()),
            // Losing Redis must not fall through to what stands below it.
            ("CROSSFADE_FLAGS_FILE", "/nonexistent/flags.json".to_owned()),
        ]
    };
    let start = |state: &Folder| {
        let env = env(state);
        proxy(&env.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
    };
    let first = start(&kept);
    first.until_value(PERCENT, 25.0).await;
    redis.down();
    first.process.line(|line| {
        (line.contains("\"tier\":\"redis\"") && line.contains("cannot be fetched")).then_some(())
    });
    assert_eq!(first.value(PERCENT).await, 25.0);
    let saved = start(&kept);
    assert_eq!(saved.value(PERCENT).await, 25.0);
    let silent = start(&empty);
    assert_eq!(silent.value(PERCENT).await, 0.0, "never heard and nothing saved");
    redis.up();
    redis.publish("shop", &document(6, 50));
    for pod in [&first, &saved, &silent] {
        pod.until_value(PERCENT, 50.0).await;
    }
}

#[tokio::test]
async fn redis_is_spoken_to_with_a_user_and_over_tls() {
    if !is_here() {
        return;
    }
    let folder = Folder::new("tls");
    if !certificates(folder.path()) {
        println!("skip: openssl is not here");
        return;
    }
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let acl = file("users.acl");
    std::fs::write(&acl, "user default off\nuser crossfade on >s3cret ~crossfade:* &crossfade:* +@all\n")
        .unwrap();
    let redis = Redis::start(
        "tls",
        &[
            "--port",
            "0",
            "--tls-port",
            "PORT",
            "--tls-auth-clients",
            "no",
            "--tls-ca-cert-file",
            &ca,
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--aclfile",
            &acl,
        ],
    );
    let url = format!("rediss://crossfade:s3cret@localhost:{}/0", redis.port);
    let cli = |words: &[&str]| {
        let port = redis.port.to_string();
        let mut args = vec!["-h", "localhost", "-p", &port, "--tls", "--cacert", &ca];
        args.extend(["--user", "crossfade", "--pass", "s3cret", "--no-auth-warning"]);
        args.extend(words);
        let done = std::process::Command::new("redis-cli").args(&args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    cli(&["SET", "crossfade:shop:flags", &document(1, 15)]);
    let good = proxy(&[("CROSSFADE_REDIS_URL", &url), ("SSL_CERT_FILE", &ca)]);
    good.until_value(PERCENT, 15.0).await;
    let wrong = url.replace("s3cret", "wr0ng");
    let refused = proxy(&[("CROSSFADE_REDIS_URL", &wrong), ("SSL_CERT_FILE", &ca)]);
    refused.process.line(|line| line.contains("cannot be fetched").then_some(()));
    let untrusting = proxy(&[("CROSSFADE_REDIS_URL", &url)]);
    untrusting.process.line(|line| line.contains("cannot be fetched").then_some(()));
    for pod in [&refused, &untrusting] {
        assert_eq!(pod.value(PERCENT).await, 0.0);
        assert!(!pod.process.output().contains("wr0ng") && !pod.process.output().contains("s3cret"));
    }
}

/// A certificate for localhost by an authority of our own.
fn certificates(folder: &Path) -> bool {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca \
        && openssl req -newkey rsa:2048 -nodes -keyout key.pem -out cert.csr -subj /CN=localhost \
        && printf 'subjectAltName=DNS:localhost' > ext \
        && openssl x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext";
    let done = std::process::Command::new("sh").args(["-c", script]).current_dir(folder).output();
    done.is_ok_and(|done| done.status.success())
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_before_a_port_is_bound() {
    let env = [("CROSSFADE_UPSTREAM", "ws://127.0.0.1:9"), ("CROSSFADE_REDIS_URL", "http://user:pa55@redis")];
    let mut process = Process::start(&["run"], &env);
    let status = process.ended().await;
    assert_eq!(status.code(), Some(64));
    let said = process.output();
    assert!(said.contains("CROSSFADE_REDIS_URL") && !said.contains("pa55"), "{said}");
}
