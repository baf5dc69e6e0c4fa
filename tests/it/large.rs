//! What is larger than a broadcast, and what nobody reads back, in an outage: both wait on disk, and arrive.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::process::until;
use super::raw;
use super::spool::{SPOOLED, World, at_least, balanced, kill, write};

const TOPIC: &str = "crossfade:spooled:test-0";
const LOST_AT_MOST: &str = "crossfade_spool_lost_at_most";

/// Pieces as they came: number, of how many, batch, bytes, marked as replay.
type Pieces = Arc<Mutex<Vec<(u64, u64, String, String, bool)>>>;

fn note(pieces: &Pieces, envelope: &Value) {
    for message in envelope["messages"].as_array().into_iter().flatten() {
        let Some(part) = message.get("part") else { continue };
        let (number, of) = (part[0].as_u64().unwrap(), part[1].as_u64().unwrap());
        let batch = envelope["batch"].as_str().unwrap().to_owned();
        let data = message["data"].as_str().unwrap().to_owned();
        pieces.lock().unwrap().push((number, of, batch, data, envelope["replay"] == true));
    }
}

#[tokio::test]
async fn a_message_larger_than_a_broadcast_waits_as_a_whole_and_comes_in_pieces() {
    let world = World::new().await;
    let proxy = world.start(&[]).await;
    let (client, mut service) = raw::session(proxy.clients, &world.service).await;
    let client = tokio::spawn(raw::drained(client));
    let body = format!("{{\"event\":\"tick\",\"n\":1,\"text\":\"{}\"}}", "0123456789\u{e4}".repeat(58_000));
    let mut frame = vec![0x81, 127];
    frame.extend((body.len() as u64).to_be_bytes());
    frame.extend(body.as_bytes());
    service.write_all(&frame).await.unwrap();
    proxy.until_value(SPOOLED, 1.0).await;
    balanced(&proxy).await;
    // What comes now comes from the disk alone, and from a process that has never seen the message.
    kill(proxy).await;
    client.await.unwrap();

    world.realtime().await;
    let pieces = Pieces::default();
    let seen = Arc::clone(&pieces);
    world.subscribe(TOPIC, move |envelope| note(&seen, envelope)).await;
    let proxy = world.start(&[]).await;
    let all = until("every piece arrives", async || {
        let pieces = pieces.lock().unwrap().clone();
        let of = pieces.first()?.1;
        let numbers: BTreeSet<u64> = pieces.iter().map(|one| one.0).collect();
        (numbers.len() as u64 == of).then_some(pieces)
    })
    .await;
    proxy.until_value(SPOOLED, 0.0).await;
    balanced(&proxy).await;
    assert!(all.len() > 2 && all.iter().all(|(.., replay)| *replay), "{} pieces", all.len());
    let mut whole: Vec<(u64, &str, &str)> = all.iter().map(|one| (one.0, &*one.2, &*one.3)).collect();
    whole.sort_unstable();
    whole.dedup(); // a repetition has the same name and the same bytes
    let (numbers, names): (Vec<u64>, BTreeSet<&str>) = whole.iter().map(|one| (one.0, one.1)).unzip();
    assert_eq!(numbers, (1..=all[0].1).collect::<Vec<_>>());
    assert_eq!(names.len(), numbers.len(), "each piece has a name of its own");
    assert!(whole.iter().map(|one| one.2).collect::<String>() == body, "the pieces are not the message");
}

#[tokio::test]
async fn what_is_not_read_back_waits_on_disk_too_and_all_of_it_arrives() {
    let world = World::new().await;
    let proxy = world.start(&[("CROSSFADE_READBACK", "hot")]).await;
    let (client, mut service) = raw::session(proxy.clients, &world.service).await;
    tokio::spawn(raw::drained(client));
    for number in 1..=200 {
        write(&mut service, "tick", number).await;
    }
    at_least(&proxy, SPOOLED, 200.0).await;
    world.realtime().await;
    proxy.until_value("crossfade_realtime_connected", 1.0).await;
    for number in 201..=300 {
        write(&mut service, "tick", number).await;
    }
    until("all of it arrives", async || (world.numbers().len() == 300).then_some(())).await;
    proxy.until_value(SPOOLED, 0.0).await;
    proxy.until_value("crossfade_mirror_in_flight", 0.0).await;
    balanced(&proxy).await;
    world.one_name_each();
    let scrape = proxy.scrape().await;
    let of = |state| {
        super::http::value_in(&scrape, &format!("crossfade_mirror_messages_total{{state=\"{state}\"}}"))
    };
    assert!((of("confirmed") + of("acked_only") - 300.0).abs() < f64::EPSILON, "{scrape}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_harms_nobody_and_is_used_once_it_can_be() {
    let world = World::new().await;
    let place = world.dir.0.join("spool");
    std::fs::write(&place, "a file in its place").unwrap();
    let proxy = world.start(&[("CROSSFADE_SPOOL_DIR", place.to_str().unwrap())]).await;
    proxy.until_value("crossfade_spool_state{state=\"broken\"}", 1.0).await;
    let (client, mut service) = raw::session(proxy.clients, &world.service).await;
    let client = tokio::spawn(raw::drained(client));
    for number in 1..=50 {
        write(&mut service, "tick", number).await;
    }
    // What was in memory only is declared, with the disk as the reason.
    proxy.until_value("crossfade_mirror_shed_total{reason=\"spool_broken\"}", 50.0).await;
    balanced(&proxy).await;
    std::fs::remove_file(&place).unwrap();
    proxy.until_value("crossfade_spool_state{state=\"ok\"}", 1.0).await;
    for number in 51..=100 {
        write(&mut service, "tick", number).await;
    }
    proxy.until_value(SPOOLED, 50.0).await;
    world.realtime().await;
    until("what the disk took arrives", async || (world.numbers() == (51..=100).collect()).then_some(()))
        .await;
    proxy.until_value(SPOOLED, 0.0).await;
    balanced(&proxy).await;
    assert!((proxy.value(LOST_AT_MOST).await).abs() < f64::EPSILON, "nobody was killed");
    drop(service);
    let read = client.await.unwrap();
    let sent: usize =
        (1..=100).map(|number| 2 + format!("{{\"event\":\"tick\",\"n\":{number}}}").len()).sum();
    assert_eq!(read, sent, "the session does not care");
}
