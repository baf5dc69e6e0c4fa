//! The emergency switch, by signal and by file: everybody is on legacy inside the open socket, and comes back.

use super::process::Emulator;
use super::stage::{ALL_HOT, HOT, LEGACY, Stage};

const CLIENTS: u64 = 40;

#[tokio::test]
async fn a_signal_and_a_file_each_put_everybody_on_legacy_and_both_must_let_go() {
    let emulator = Emulator::start(&[]);
    let place = std::env::temp_dir().join(format!("crossfade-emergency-{}", std::process::id()));
    let file = place.to_str().unwrap();
    let env = [ALL_HOT[0], ALL_HOT[1], ("CROSSFADE_EMERGENCY_FILE", file)];
    let stage = Stage::open(CLIENTS, Some(&emulator), &env).await;
    let all = CLIENTS as f64;
    stage.proxy.until_value(HOT, all).await;
    stage.written(500).await;
    stage.proxy.process.signal("USR1");
    stage.proxy.until_value(LEGACY, all).await;
    assert!(stage.proxy.value("crossfade_rollout_percent").await.abs() < f64::EPSILON);
    std::fs::write(&place, "").unwrap();
    stage.proxy.process.line(|line| line.contains("\"by\":\"file\"").then_some(()));
    stage.proxy.process.signal("USR2");
    stage.proxy.process.line(|line| line.contains("\"by\":\"signal\",\"on\":false").then_some(()));
    stage.written(500).await;
    // The file alone holds it now.
    assert!((stage.proxy.value(LEGACY).await - all).abs() < f64::EPSILON);
    std::fs::remove_file(&place).unwrap();
    stage.proxy.until_value(HOT, all).await;
    stage.written(500).await;
    stage.close_clean().await;
}
