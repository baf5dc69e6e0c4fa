//! Sabotages: with one rule broken, the replay of recordings must fail.

use super::Sabotage;
use crate::emulator;

#[path = "../../tests/wire/replay/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the harness of tests/wire_replay.rs, borrowed")]
mod replay;

fn caught(recording: &str, sabotage: Sabotage) -> String {
    let manifest = replay::manifest::load();
    let entry = manifest.entry(recording);
    let lines = replay::recording::load(&entry.file);
    assert_eq!(
        replay::play(entry, &lines, |_| {}),
        Ok(entry.lines),
        "the recording replays when nothing is broken"
    );
    replay::play(entry, &lines, |emulator| emulator.sabotage = Some(sabotage))
        .expect_err("the sabotage is caught")
}

#[test]
fn an_ack_before_ones_own_broadcast_is_caught() {
    let told = caught("02", Sabotage::AckFirst);
    assert!(told.contains("broadcast") && told.contains("phx_reply"), "{told}");
}

#[test]
fn a_close_before_the_reply_is_caught() {
    assert!(caught("10", Sabotage::CloseBeforeReply).contains("phx_reply"));
}

#[test]
fn a_refused_join_that_does_not_hold_the_socket_is_caught() {
    assert!(caught("06", Sabotage::NoHold).contains("apart from the recorded time"));
}
