//! Two pods, each with sessions of its own, one Realtime that doubles broadcasts and throws publishers out: a consumer
//! with the reader that we give away misses nothing of either.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::process::{Emulator, Proxy, until};
use super::raw;
use super::reader::{Message, Reader};
use super::stage::audit;
use super::subscriber::subscribe;

const MESSAGES: u64 = 150;

/// What the reader has handed out, both pods' envelopes through one reader.
struct Consumer {
    reader: Reader,
    messages: Vec<Message>,
    refused: Vec<String>,
    altered: u64,
    repeated: u64,
}

impl Consumer {
    fn take(&mut self, envelope: &Value) {
        let read = self.reader.read(&envelope.to_string(), 0);
        self.messages.extend(read.messages);
        self.refused.extend(read.refused);
        self.altered += read.altered;
        self.repeated += read.repeated;
    }
}

async fn write(socket: &mut TcpStream, room: &str, number: u64) {
    let body = format!("{{\"event\":\"tick\",\"room\":\"{room}\",\"n\":{number}}}");
    let mut frame = vec![0x81, u8::try_from(body.len()).unwrap()];
    frame.extend(body.as_bytes());
    socket.write_all(&frame).await.unwrap();
}

/// What was heard of each room, in the order in which the reader handed it out.
fn rooms(consumer: &Consumer) -> BTreeMap<String, Vec<u64>> {
    let mut rooms = BTreeMap::<String, Vec<u64>>::new();
    for message in consumer.messages.iter().filter(|message| message.dir == "down") {
        let body: Value = serde_json::from_slice(&message.data).unwrap();
        rooms.entry(body["room"].as_str().unwrap().to_owned()).or_default().push(body["n"].as_u64().unwrap());
    }
    rooms
}

#[tokio::test]
async fn a_consumer_of_two_pods_misses_nothing_of_either() {
    let faults = ["duplicate after_pushes=20 for_pushes=10", "reset of=sender after_pushes=40 for_pushes=1"];
    let emulator = Emulator::start(&faults);
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = emulator.url.split_once("://").unwrap().1.trim_end_matches('/').parse().unwrap();
    // Its clock stands still, so that it waits for what is missing for as long as this test.
    let (reader, messages, refused) = (Reader::new(1), Vec::new(), Vec::new());
    let consumer = Consumer { reader, messages, refused, altered: 0, repeated: 0 };
    let consumer = Arc::new(Mutex::new(consumer));
    let mut pods = Vec::new();
    for pod in ["red-0", "blue-0"] {
        let env =
            [("CROSSFADE_POD", pod), ("CROSSFADE_SERVICE", "two"), ("CROSSFADE_BREAKER", "forced_closed")];
        let proxy = Proxy::start(service.local_addr().unwrap(), Some(&emulator), &env);
        proxy.until_ready(200).await;
        proxy.until_value("crossfade_realtime_connected", 1.0).await;
        let (_client, socket) = raw::session(proxy.clients, &service).await;
        pods.push((proxy, _client, socket));
    }
    for pod in ["red-0", "blue-0"] {
        let (consumer, topic) = (Arc::clone(&consumer), format!("crossfade:two:{pod}"));
        subscribe(at, &emulator.service_key, &topic, move |said| {
            consumer.lock().unwrap().take(&said["payload"]);
        })
        .await;
    }
    for number in 1..=MESSAGES {
        for (room, (_, _, socket)) in ["red", "blue"].into_iter().zip(&mut pods) {
            write(socket, room, number).await;
        }
        if number % 5 == 0 {
            // Many broadcasts instead of a few, so that the faults are met.
            let heard = |consumer: &Consumer| rooms(consumer).values().map(Vec::len).sum::<usize>() as u64;
            until("both are heard", async || (heard(&consumer.lock().unwrap()) >= 2 * number).then_some(()))
                .await;
        }
    }
    let wanted: Vec<u64> = (1..=MESSAGES).collect();
    until("the consumer has all of both rooms", async || {
        let rooms = rooms(&consumer.lock().unwrap());
        let all =
            ["red", "blue"].iter().all(|room| rooms.get(*room).is_some_and(|n| n.len() >= wanted.len()));
        all.then_some(())
    })
    .await;
    let mut batches = 0.0;
    for (proxy, ..) in &pods {
        audit(proxy).await;
        batches += proxy.value("crossfade_mirror_batches_total").await;
    }
    assert!(batches > 50.0, "the faults were not met: {batches} broadcasts");
    let consumer = consumer.lock().unwrap();
    assert!(consumer.refused.is_empty() && consumer.altered == 0, "{:?}", consumer.refused);
    assert!(consumer.repeated > 0, "nothing came twice: the faults were not met");
    for (room, numbers) in rooms(&consumer) {
        assert_eq!(numbers, wanted, "{room}: each once, in order");
    }
    let mut sources: Vec<&str> = consumer.messages.iter().map(|message| message.src.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    assert!(sources.len() == 2 && sources[0].starts_with("blue-0-"), "{sources:?}");
}
