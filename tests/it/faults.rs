//! Realtime fails in every way that the emulator knows; the users must not notice.

use super::http::value_in;
use super::process::{Emulator, until};
use super::stage::{ALL_HOT, HOT, LEGACY, Stage};

const HOT_CLIENTS: u64 = 30;
/// Batches of hot traffic that pass before a fault begins.
const AFTER: &str = "after_pushes=40";

async fn value_reaches(stage: &Stage, series: &str, least: f64) {
    until(series, async || (stage.proxy.value(series).await >= least).then_some(())).await;
}

/// Thirty hot clients, and this fault by the count of pushes.
async fn fails(fault: &str) {
    let emulator = Emulator::start(&[&format!("{fault} {AFTER}")]);
    let stage = Stage::open(HOT_CLIENTS, Some(&emulator), &ALL_HOT).await;
    value_reaches(&stage, HOT, HOT_CLIENTS as f64).await;
    // Enough to go far past the fault: each batch holds what some 10 ms brought.
    stage.written(3_000).await;
    // Otherwise nothing met the fault and the test proves nothing.
    let scrape = stage.proxy.scrape().await;
    assert!(value_in(&scrape, "crossfade_mirror_batches_total") > 40.0, "{scrape}");
    assert!(value_in(&scrape, "crossfade_mirror_messages_total{state=\"confirmed\"}") > 0.0, "{scrape}");
    stage.close_clean().await;
}

#[tokio::test]
async fn a_stall_costs_no_message() {
    fails("stall for_ms=3000").await;
}

#[tokio::test]
async fn dropped_deliveries_cost_no_message() {
    fails("drop for_pushes=10").await;
}

#[tokio::test]
async fn lost_pushes_cost_no_message() {
    fails("lose for_pushes=10").await;
}

#[tokio::test]
async fn corrupted_deliveries_change_no_byte() {
    fails("corrupt for_pushes=10").await;
}

#[tokio::test]
async fn duplicated_deliveries_double_no_message() {
    fails("duplicate for_pushes=10").await;
}

#[tokio::test]
async fn reordered_deliveries_reorder_no_message() {
    fails("reorder for_pushes=10").await;
}

#[tokio::test]
async fn cut_connections_cost_no_message() {
    fails("cut for_pushes=2").await;
}

#[tokio::test]
async fn a_restart_in_mid_flow_costs_no_message() {
    fails("restart kill=true down_ms=1000").await;
}

#[tokio::test]
async fn an_outage_puts_two_hundred_sessions_back_inside_their_sockets() {
    let emulator = Emulator::start(&[]);
    // The breaker is on its own here, as in production.
    let stage = Stage::open(200, Some(&emulator), &[("CROSSFADE_ROLLOUT_PERCENT", "100")]).await;
    stage.proxy.until_value(HOT, 200.0).await;
    stage.written(4_000).await;
    emulator.process.signal("KILL");
    stage.proxy.until_value(HOT, 0.0).await;
    stage.proxy.until_value(LEGACY, 200.0).await;
    stage.written(2_000).await;
    stage.close_clean().await;
}

async fn stuck(env: &[(&str, &str)], lane: &str) {
    let emulator = Emulator::start(&[]);
    let stage = Stage::open(HOT_CLIENTS, Some(&emulator), env).await;
    stage.proxy.until_value(lane, HOT_CLIENTS as f64).await;
    stage.written(500).await;
    emulator.process.signal("STOP");
    stage.written(3_000).await;
    stage.rest().await;
    emulator.process.signal("CONT"); // so that every account can be settled
    stage.close_clean().await;
}

#[tokio::test]
async fn a_stuck_realtime_is_not_noticed_on_the_legacy_lane() {
    stuck(&[], LEGACY).await;
}

#[tokio::test]
async fn a_stuck_realtime_costs_a_hot_session_no_message() {
    stuck(&ALL_HOT, HOT).await;
}
