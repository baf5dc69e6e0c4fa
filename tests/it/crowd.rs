//! What a broadcast of the service to a thousand sessions costs at Realtime, by what a consumer of ours is sent.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::http::value_in;
use super::process::{Emulator, Proxy, until};
use super::raw;
use super::stage::audit;
use super::subscriber::subscribe;

const SESSIONS: usize = 1_000;
const BYTES: usize = 4_000;

#[derive(Default)]
struct Heard {
    /// Envelopes with messages, and their bytes.
    envelopes: u64,
    bytes: usize,
    /// How often the payload stands in them.
    copies: u64,
    recipients: BTreeSet<(u64, u64)>,
}

#[tokio::test]
async fn a_broadcast_to_a_thousand_sessions_costs_one_payload() {
    let emulator = Emulator::start(&[]);
    let at = emulator.url.split_once("://").unwrap().1.trim_end_matches('/').parse().unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // `low` waits longest for company: the test's own writing takes its time.
    // What the price is, not whether Realtime is well: a probe that a busy machine fails opens the breaker for a minute.
    let breaker = ("CROSSFADE_BREAKER", "forced_closed");
    let env = [("CROSSFADE_SERVICE", "crowd"), ("CROSSFADE_CLASSIFY", "event=news:low"), breaker];
    let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
    proxy.until_ready(200).await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    let heard = Arc::new(Mutex::new(Heard::default()));
    let noting = Arc::clone(&heard);
    let note = move |said: &Value| {
        let envelope = &said["payload"];
        let messages = envelope["messages"].as_array().unwrap();
        let mut heard = noting.lock().unwrap();
        if !messages.is_empty() {
            heard.envelopes += 1;
            heard.bytes += envelope.to_string().len();
        }
        for message in messages {
            heard.copies += 1;
            let to = message["to"].as_array().unwrap().iter();
            heard.recipients.extend(to.map(|to| (to[0].as_u64().unwrap(), to[1].as_u64().unwrap())));
        }
    };
    subscribe(at, &emulator.service_key, "crossfade:crowd:test-0", note).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(raw::session(proxy.clients, &service).await);
    }
    let before = proxy.scrape().await;
    let body = format!("{{\"event\":\"news\",\"text\":\"{}\"}}", "x".repeat(BYTES));
    let mut frame = vec![0x81, 126];
    frame.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(body.as_bytes());
    for (_, socket) in &mut sessions {
        socket.write_all(&frame).await.unwrap();
    }
    let confirmed = "crossfade_mirror_messages_total{state=\"confirmed\"}";
    until("all are confirmed", async || (proxy.value(confirmed).await >= SESSIONS as f64).then_some(()))
        .await;
    until("all are heard", async || (heard.lock().unwrap().recipients.len() == SESSIONS).then_some(())).await;
    audit(&proxy).await;
    let after = proxy.scrape().await;
    let (copies, bytes) = {
        let heard = heard.lock().unwrap();
        (heard.copies, heard.bytes)
    };
    // A busy machine may cut the crowd in a few; each piece is one payload again.
    assert!(copies <= 4, "{copies} copies of one payload");
    let each = bytes as f64 / SESSIONS as f64;
    println!("{copies} payload(s) of {BYTES} bytes, {each:.1} bytes for each of {SESSIONS} recipients");
    assert!(each < BYTES as f64 / 40.0, "{each} bytes per recipient");
    // The metric says the same; it counts announcements of sessions besides.
    let grown = |name: &str| value_in(&after, name) - value_in(&before, name);
    let recipients = grown("crossfade_mirror_published_recipients_total");
    assert_eq!(recipients, SESSIONS as f64, "{after}");
    assert!(grown("crossfade_mirror_published_bytes_total") >= bytes as f64 / 2.0, "{after}");
    assert_eq!(
        value_in(&after, "crossfade_mirror_collapsed_total"),
        (SESSIONS as u64 - copies) as f64,
        "{after}"
    );
}
