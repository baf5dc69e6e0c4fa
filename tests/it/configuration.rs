//! What an operator meets at the start: mistakes all at once, and what works without Supabase.

use tokio::net::TcpListener;

use super::process::{Process, Proxy};
use super::raw;
use super::stage::{LEGACY, Stage};

#[tokio::test]
async fn every_mistake_is_told_at_once_before_a_port_is_bound() {
    // If it bound its ports first, this one would be refused instead.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let mut process = Process::start(
        &["run"],
        &[
            ("CROSSFADE_LISTEN", &taken),
            ("CROSSFADE_UPSTREM", "ws://127.0.0.1:1"),
            ("CROSSFADE_ROLLOUT_PERCENT", "101"),
            ("CROSSFADE_HOT_DEADLINE", "soon"),
            ("SUPABASE_URL", "http://127.0.0.1:1"),
        ],
    );
    assert_eq!(process.ended().await.code(), Some(64));
    // The last of the names: by now all lines have arrived.
    process.line(|line| line.contains("SUPABASE_KEY").then_some(()));
    let told = process.output();
    assert!(
        told.contains("CROSSFADE_UPSTREM: ") && told.contains("did you mean CROSSFADE_UPSTREAM?"),
        "{told}"
    );
    for name in ["CROSSFADE_UPSTREAM: is required", "CROSSFADE_ROLLOUT_PERCENT: ", "CROSSFADE_HOT_DEADLINE: "]
    {
        assert!(told.contains(name), "{name} in {told}");
    }
    assert!(!told.contains("listening"), "{told}");
}

#[tokio::test]
async fn without_supabase_it_is_a_pure_proxy_and_says_so() {
    // What the kubelet injects when a Service is called `crossfade`.
    let injected = [
        ("CROSSFADE_SERVICE_HOST", "10.0.0.1"),
        ("CROSSFADE_SERVICE_PORT", "80"),
        ("CROSSFADE_PORT", "tcp://10.0.0.1:80"),
        ("CROSSFADE_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    let stage = Stage::open(10, None, &injected).await;
    stage.proxy.process.line(|line| line.contains("no Supabase settings").then_some(()));
    stage.proxy.until_value(LEGACY, 10.0).await;
    stage.written(500).await;
    stage.close_clean().await;
}

#[tokio::test]
async fn a_service_that_is_away_is_a_502_and_not_ready() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(gone, None, &[]);
    let mut client = raw::ask(proxy.clients, "").await;
    assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 502 "));
    let why = proxy.until_ready(503).await;
    assert!(why.contains("the service cannot be reached"), "{why}");
}
