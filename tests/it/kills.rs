//! kill -9 at moments that a seed chooses, Realtime there or not. What the disk held at that moment is asked of the
//! disk itself, and all of it must arrive; of the rest, no more is lost than the next process declares.

use std::collections::BTreeSet;

use serde_json::Value;

use super::process::until;
use super::raw;
use super::spool::{CRASHED, SPOOLED, World, at_least, balanced, command, kill, write};

const LOST_AT_MOST: &str = "crossfade_spool_lost_at_most";

/// Messages of one burst, at most.
const BURST_MAX: u64 = 1_300;

/// How many messages will have been seen at most, by the newest promise in the directory: two slots of 48 bytes, each with
/// its number and this figure behind eight bytes.
fn promised(world: &World) -> Option<u64> {
    let file = std::fs::read(world.dir.0.join("promise")).ok()?;
    let word = |slot: &[u8], at: usize| Some(u64::from_le_bytes(slot.get(at..at + 8)?.try_into().ok()?));
    let slots = file.chunks_exact(48).filter_map(|slot| Some((word(slot, 8)?, word(slot, 16)?)));
    slots.max().map(|(_, seen_max)| seen_max)
}

/// SplitMix64, below a bound.
fn dice(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) % below
}

/// The numbers of the messages that lie on the disk now.
async fn on_disk(dir: &str) -> BTreeSet<u64> {
    let (code, listed) = command(&["spool", "ls", "--json"], dir).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let rows = listed["classes"].as_array().unwrap().iter();
    if code == Some(0) && rows.map(|row| row["messages"].as_u64().unwrap()).sum::<u64>() == 0 {
        return BTreeSet::new(); // an export of nothing has no line to wait for
    }
    let (code, exported) = command(&["spool", "export"], dir).await;
    assert_eq!(code, Some(0), "{exported}");
    let number = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let body: Value = serde_json::from_str(line["data"].as_str().unwrap()).unwrap();
        body["n"].as_u64().unwrap()
    };
    exported.lines().map(number).collect()
}

#[tokio::test]
async fn killed_at_any_moment_what_was_synced_arrives_and_the_rest_is_declared() {
    let (mut on_disk_of_all, mut declared) = (0, 0.0);
    for seed in 0..6_u64 {
        let mut state = seed;
        let world = World::new().await;
        let is_up = dice(&mut state, 3) == 0;
        if is_up {
            world.realtime().await;
        }
        let proxy = world.start(&[]).await;
        let (_client, mut service) = raw::session(proxy.clients, &world.service).await;
        let mut written = 0;
        if !is_up {
            // What cannot be published waits a while before it goes to the disk; the moments lie behind that.
            written += 1;
            write(&mut service, "tick", written).await;
            until("the disk is in use", async || (proxy.value(SPOOLED).await > 0.0).then_some(())).await;
        }
        // Some of the moments are early, some in the middle of a sync, some after all is on disk.
        for _ in 0..=dice(&mut state, 40) {
            for _ in 0..dice(&mut state, 12) {
                written += 1;
                let event = if dice(&mut state, 4) == 0 { "alert" } else { "tick" };
                write(&mut service, event, written).await;
            }
            if dice(&mut state, 2) == 0 {
                proxy.scrape().await;
            }
        }
        kill(proxy).await;
        let dir = world.dir.0.to_str().unwrap().to_owned();
        let synced = on_disk(&dir).await;

        if !is_up {
            world.realtime().await;
        }
        let proxy = world.start(&[]).await;
        // It is said as soon as the spool is open, and never nothing.
        let said = at_least(&proxy, LOST_AT_MOST, 1.0).await;
        proxy.until_value(SPOOLED, 0.0).await;
        balanced(&proxy).await;
        let crashed = proxy.value(CRASHED).await;
        let arrived = until("what was synced arrives, what is missing is declared", async || {
            let arrived = world.numbers();
            let missing = written - arrived.len() as u64;
            let is_declared = missing as f64 <= said;
            (synced.is_subset(&arrived) && is_declared).then_some(arrived)
        })
        .await;
        world.one_name_each();
        on_disk_of_all += synced.len();
        declared += crashed;
        println!(
            "seed {seed}: {written} written, {} on disk, {} arrived, {crashed} declared, {said} at most",
            synced.len(),
            arrived.len()
        );
    }
    assert!(on_disk_of_all > 20, "the kills came before the disk had anything: {on_disk_of_all}, {declared}");
}

#[tokio::test]
async fn no_kill_takes_more_along_than_the_next_process_says() {
    for seed in 0..4_u64 {
        let mut state = seed ^ 0xB0;
        let world = World::new().await;
        let is_up = seed == 3;
        if is_up {
            world.realtime().await;
        }
        let proxy = world.start(&[]).await;
        let (mut client, mut service) = raw::session(proxy.clients, &world.service).await;
        // More than the first promise covers, in bursts that no account is in time for. Nobody waits for a disk, and this
        // one may be slow: each burst begins when a promise covers it.
        let (mut written, mut bytes) = (0, 0);
        for _ in 0..=dice(&mut state, 3) {
            until("the promise covers the next burst", async || {
                (promised(&world)? >= written + BURST_MAX).then_some(())
            })
            .await;
            for _ in 0..400 + dice(&mut state, BURST_MAX - 400) {
                written += 1;
                bytes += 2 + format!("{{\"event\":\"tick\",\"n\":{written}}}").len();
                write(&mut service, "tick", written).await;
            }
            if dice(&mut state, 2) == 0 {
                proxy.scrape().await;
            }
        }
        // The client's log: all of it has passed, so that the mirror has seen it.
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut vec![0; bytes]).await.unwrap();
        kill(proxy).await;
        let dir = world.dir.0.to_str().unwrap().to_owned();
        let (_, listed) = command(&["spool", "ls", "--json"], &dir).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let synced = on_disk(&dir).await;

        if !is_up {
            world.realtime().await;
        }
        let proxy = world.start(&[]).await;
        let said = at_least(&proxy, LOST_AT_MOST, 1.0).await;
        proxy.until_value(SPOOLED, 0.0).await;
        balanced(&proxy).await;
        assert_eq!(listed["account"]["lost_at_most"].as_f64(), Some(said), "{listed}");
        let arrived = until("what was synced arrives", async || {
            let arrived = world.numbers();
            synced.is_subset(&arrived).then_some(arrived)
        })
        .await;
        let missing = written - arrived.len() as u64;
        println!(
            "seed {seed}: {written} passed, {} on disk, {missing} missing, {said} at most",
            synced.len()
        );
        assert!(missing as f64 <= said, "{missing} missing, {said} declared");
        world.one_name_each();
    }
}
