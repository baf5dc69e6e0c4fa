//! realtime-rs as a witness: it must receive what crossfade's own client publishes through `crossfade emulator`.
//! `CROSSFADE` and `PUBLISH` name the two programs. Run by tests/groups/interop_rs.sh.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use realtime_rs::message::payload::{BroadcastConfig, BroadcastPayload};
use realtime_rs::realtime_channel::{ChannelManagerSync, RealtimeChannelBuilder};
use realtime_rs::realtime_client::{ClientManagerSync, RealtimeClientBuilder};
use serde_json::{Value, json};

const HANG: Duration = Duration::from_secs(30);
const TOPIC: &str = "interop";
const EVENT: &str = "reading";

/// A server of our own; killed when dropped, also when a test has panicked.
struct Emulator {
    child: Child,
    url: String,
    key: String,
}

impl Emulator {
    fn start(listen: &str) -> Self {
        let mut child = Command::new(std::env::var("CROSSFADE").unwrap())
            .args(["emulator", "--listen", listen])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = HashMap::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some((name, value)) = line.split_once('=') {
                said.insert(name.to_owned(), value.to_owned());
            }
            if said.contains_key("SUPABASE_SERVICE_ROLE_KEY") {
                break;
            }
        }
        let url = said.remove("SUPABASE_URL").expect("the emulator did not start");
        Self { child, url, key: said.remove("SUPABASE_ANON_KEY").unwrap() }
    }

    fn publish(&self, vsn: &str, messages: &[Value]) {
        let done = Command::new(std::env::var("PUBLISH").unwrap())
            .args([TOPIC, EVENT])
            .args(messages.iter().map(Value::to_string))
            .envs([("SUPABASE_URL", &*self.url), ("SUPABASE_KEY", &*self.key), ("VSN", vsn)])
            .status()
            .unwrap();
        assert!(done.success(), "publishing failed");
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

type Heard = Receiver<Value>;

fn witness(emulator: &Emulator) -> (ClientManagerSync, ChannelManagerSync, Heard) {
    let (tell, heard) = channel();
    let client = RealtimeClientBuilder::new(&emulator.url, &emulator.key).connect().to_sync();
    let channel = RealtimeChannelBuilder::new(TOPIC)
        .broadcast(BroadcastConfig { broadcast_self: false, ack: false })
        .on_broadcast(EVENT, move |fields| drop(tell.send(json!(fields))))
        .build_sync(&client)
        .unwrap();
    channel.subscribe_blocking().unwrap();
    (client, channel, heard)
}

fn payload_of(fields: &Value) -> &Value {
    fields.get("payload").unwrap_or(fields)
}

fn main() {
    let emulator = Emulator::start("127.0.0.1:0");
    let (_client, _channel, heard) = witness(&emulator);

    for (vsn, kind) in [("2", "binary frames"), ("1", "text frames")] {
        let messages: Vec<Value> = (0..20)
            .map(|n| json!({ "n": n, "text": "héllo \u{1f980} \"quoted\"", "deep": { "list": [n, null] } }))
            .collect();
        emulator.publish(vsn, &messages);
        for message in &messages {
            let got = heard.recv_timeout(HANG).expect("nothing came");
            assert_eq!(payload_of(&got), message);
        }
        println!("ok: hears what crossfade publishes in {kind}, in order");
    }

    let (_other_client, other, _) = witness(&emulator);
    other.broadcast(BroadcastPayload {
        event: EVENT.into(),
        payload: HashMap::from([("from".to_owned(), json!("the other"))]),
        broadcast_type: "broadcast".into(),
    });
    let got = heard.recv_timeout(HANG).expect("nothing came from the other client");
    assert_eq!(payload_of(&got), &json!({ "from": "the other" }));
    println!("ok: two of its clients hear each other");

    let address = emulator.url.trim_start_matches("http://").to_owned();
    drop(emulator);
    let emulator = Emulator::start(&address);
    let until = Instant::now() + HANG;
    // When it has joined again it does not tell, so we speak until it answers.
    loop {
        emulator.publish("2", &[json!({ "back": true })]);
        if heard.recv_timeout(Duration::from_millis(500)).is_ok() {
            break;
        }
        assert!(Instant::now() < until, "it did not come back after a restart");
    }
    println!("ok: hears again after a restart");
    println!("4 passed, 0 failed");
}
