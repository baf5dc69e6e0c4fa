//! One kind of fault at the emulator, one name in the metrics: each discrepancy is called what it is and nothing else.
//! The same with every machine on a virtual clock: `src/sim/proof.rs`. Here the processes, sockets and clocks are real.

use std::time::Duration;

use super::http::value_in;
use super::process::{Emulator, HANG, LOOK, now};
use super::stage::Stage;

const KINDS: [&str; 7] = ["matched", "late", "missing", "reordered", "altered", "duplicate", "extra"];
/// What is never read back is missing after this.
const EXPIRY: Duration = Duration::from_secs(60);

fn of(scrape: &str, kind: &str) -> f64 {
    value_in(scrape, &format!("crossfade_match_messages_total{{kind=\"{kind}\"}}"))
}

/// Talks with this fault until the kind is seen, for as long as `patience`; no other may be.
async fn only(kind: &str, fault: &str, patience: Duration) -> (Emulator, Stage) {
    let faults: Vec<&str> = (!fault.is_empty()).then_some(fault).into_iter().collect();
    let emulator = Emulator::start(&faults);
    // A batch each 100 ms: what the emulator holds back finds a successor that overtakes it.
    let high = ("CROSSFADE_CLASSIFY", "event=*:high");
    let env = [("CROSSFADE_SERVICE", "shop"), ("CROSSFADE_BREAKER", "forced_closed"), high];
    let stage = Stage::open(4, Some(&emulator), &env).await;
    if kind == "extra" {
        super::validator::intrude(&emulator).await;
    }
    let began = now();
    let scrape = loop {
        let scrape = stage.proxy.scrape().await;
        if of(&scrape, kind) > 0.0 && of(&scrape, "matched") > 0.0 {
            break scrape;
        }
        assert!(began.elapsed() < patience, "no {kind} for {patience:?}: {scrape}");
        tokio::time::sleep(LOOK).await;
    };
    // What is late is late: a machine that stands still for ten seconds makes it so, and no fault of ours.
    for other in KINDS.into_iter().filter(|other| ![kind, "matched", "late"].contains(other)) {
        assert_eq!(of(&scrape, other), 0.0, "{kind} is also called {other}: {scrape}");
    }
    (emulator, stage)
}

/// As [`only`], and the clients of the legacy lane have felt nothing of it.
async fn only_and_unfelt(kind: &str, fault: &str) {
    let (_emulator, stage) = only(kind, fault, HANG).await;
    stage.close_clean().await;
}

#[tokio::test]
async fn delivered_twice_is_duplicate() {
    only_and_unfelt("duplicate", "duplicate topic=crossfade:* after_pushes=20 for_pushes=5").await;
}

#[tokio::test]
async fn overtaken_is_reordered() {
    only_and_unfelt("reordered", "reorder topic=crossfade:* after_pushes=20 for_pushes=300").await;
}

#[tokio::test]
async fn another_character_is_altered() {
    only_and_unfelt("altered", "corrupt topic=crossfade:* after_pushes=20 for_pushes=5").await;
}

#[tokio::test]
async fn dropped_once_and_published_again_is_late() {
    only_and_unfelt("late", "drop topic=crossfade:* after_pushes=20 for_pushes=5").await;
}

#[tokio::test]
async fn what_nobody_here_published_is_extra() {
    only_and_unfelt("extra", "").await;
}

#[tokio::test]
async fn dropped_for_good_is_missing() {
    // Nothing can be confirmed any more, so that the account is not waited for.
    drop(only("missing", "drop topic=crossfade:* after_pushes=20", EXPIRY + HANG / 2).await);
}
