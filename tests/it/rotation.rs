//! A key whose file is rotated while crossfade runs: the links take the new one before the old one ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossfade::emulator::{Claims, Secret};

use super::http::value_in;
use super::process::{Emulator, until};
use super::stage::Stage;

const SECRET: &str = "a secret that signs only test tokens";
/// The first key is good for so many seconds.
const SHORT: i64 = 12;

#[expect(clippy::disallowed_methods, reason = "keys end by the wall clock")]
fn unix() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()).unwrap()
}

#[tokio::test]
async fn a_rotated_key_file_outlives_the_first_key() {
    let emulator = Emulator::start_with(&[], &["--jwt-secret", SECRET]);
    let mint = |exp: i64| Secret::new(SECRET).mint(&Claims::of("service_role", exp));
    let file = std::env::temp_dir().join(format!("crossfade-key-{}", std::process::id()));
    let ends = unix() + SHORT;
    std::fs::write(&file, mint(ends)).unwrap();
    let env = [
        ("SUPABASE_URL", emulator.url.as_str()),
        ("SUPABASE_KEY_FILE", file.to_str().unwrap()),
        ("CROSSFADE_PLAN", "custom:1000000"),
    ];
    let stage = Stage::open(4, None, &env).await;
    stage.proxy.until_value("crossfade_realtime_connected", 1.0).await;
    std::fs::write(&file, mint(ends + 100_000)).unwrap();
    until("the first key has ended", async || (unix() > ends + 1).then_some(())).await;
    // Said after that, and confirmed by what Realtime gave back.
    stage.written(200).await;
    stage.rest().await;
    let scrape = until("what was said is confirmed", async || {
        let scrape = stage.proxy.scrape().await;
        let confirmed = value_in(&scrape, "crossfade_mirror_messages_total{state=\"confirmed\"}");
        (confirmed >= stage.service.written.total() as f64).then_some(scrape)
    })
    .await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(value_in(&scrape, "crossfade_realtime_connected"), 1.0);
    let log = stage.proxy.process.output();
    assert!(!log.contains("Realtime cannot be used") && !log.contains("token_expired"), "{log}");
    stage.close_clean().await;
}
