//! What a scraper meets: names that do not change, a ledger that adds up, health that Realtime cannot take away.

use std::collections::{BTreeMap, BTreeSet};

use super::http::{get, value_in};
use super::process::{Emulator, until};
use super::stage::{ALL_HOT, HOT, Stage};

/// Families by name, with their kind, as in the snapshot; every sample must parse.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families = BTreeMap::new();
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').unwrap();
            families.insert(name.to_owned(), (kind.to_uppercase(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let family = if families.contains_key(name) { name } else { parts.unwrap() };
            let labels: Vec<_> = labels.strip_suffix('}').unwrap().split(',').collect();
            let names =
                labels.iter().filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
            let names: Vec<_> = names.filter(|name| name != "le").collect();
            families.get_mut(family).unwrap().1.extend(names);
        }
    }
    families
}

#[tokio::test]
async fn names_kinds_and_labels_are_the_published_ones() {
    let emulator = Emulator::start(&[]);
    let stage = Stage::open(5, Some(&emulator), &ALL_HOT).await;
    stage.written(100).await;
    let found: BTreeSet<String> = families(&stage.proxy.scrape().await)
        .into_iter()
        .map(|(name, (kind, labels))| {
            format!("{name} {kind} {{{}}}", labels.into_iter().collect::<Vec<_>>().join(","))
        })
        .collect();
    let snapshot = include_str!("../snapshots/metrics.txt");
    let published: BTreeSet<String> = snapshot.lines().map(str::to_owned).collect();
    let unpublished: Vec<_> = found.difference(&published).collect();
    assert!(unpublished.is_empty(), "{unpublished:#?}");
    for name in ["crossfade_sessions ", "crossfade_ledger_imbalance ", "crossfade_readback_seconds "] {
        assert!(found.iter().any(|family| family.starts_with(name)), "{name} in {found:#?}");
    }
    stage.close_clean().await;
}

#[tokio::test]
async fn the_ledger_balances_at_rest_and_health_outlives_realtime() {
    let emulator = Emulator::start(&[]);
    let stage = Stage::open(20, Some(&emulator), &ALL_HOT).await;
    stage.proxy.until_value(HOT, 20.0).await;
    stage.written(1_000).await;
    // Rest: nothing new comes, and every open account is settled.
    stage.rest().await;
    let scrape = until("no account is open", async || {
        let text = stage.proxy.scrape().await;
        (value_in(&text, "crossfade_mirror_in_flight") == 0.0).then_some(text)
    })
    .await;
    assert_eq!(value_in(&scrape, "crossfade_ledger_imbalance"), 0.0, "{scrape}");
    assert!(value_in(&scrape, "crossfade_mirror_messages_total{state=\"confirmed\"}") >= 1_000.0, "{scrape}");
    emulator.process.signal("KILL");
    stage.proxy.until_value("crossfade_realtime_connected", 0.0).await;
    stage.proxy.until_value(HOT, 0.0).await;
    assert_eq!(get(stage.proxy.metrics, "/healthz").await.0, 200);
    assert_eq!(get(stage.proxy.metrics, "/readyz").await.0, 200);
    stage.close_clean().await;
}

#[tokio::test]
async fn times_and_sizes_are_counted_on_the_way_of_the_messages() {
    let emulator = Emulator::start(&[]);
    // Nobody is hot: the legacy leg is what is timed, and the mirror works all the same.
    let stage = Stage::open(5, Some(&emulator), &[("CROSSFADE_BREAKER", "forced_closed")]).await;
    stage.written(1_000).await;
    stage.rest().await;
    // The figures of one scrape are read one after the other, and a sentinel may go out in between.
    let scrape = until("both legs are counted, and sizes as the counters say", async || {
        let text = stage.proxy.scrape().await;
        let value = |series: &str| value_in(&text, series);
        let agree = value("crossfade_mirror_batch_bytes_count") == value("crossfade_mirror_batches_total")
            && value("crossfade_mirror_batch_bytes_sum") == value("crossfade_mirror_published_bytes_total")
            && value("crossfade_mirror_batch_messages_sum")
                == value("crossfade_mirror_published_recipients_total");
        let counted = value("crossfade_mirror_batch_messages_sum") > 0.0
            && value("crossfade_realtime_leg_seconds_count") > 0.0
            && value("crossfade_publish_seconds_count") > 0.0;
        (agree && counted).then_some(text)
    })
    .await;
    let value = |series: &str| value_in(&scrape, series);
    assert!(value("crossfade_upgrade_seconds_count") >= 5.0, "{scrape}");
    assert!(value("crossfade_overhead_seconds_count") > 0.0, "{scrape}");
    assert!(value("crossfade_overhead_seconds_sum") > 0.0, "{scrape}");
    assert!(value("crossfade_mirror_buffer_limit_bytes") > 0.0, "{scrape}");
    for edge in ["0.1", "0.5"] {
        for family in ["upgrade", "overhead", "publish", "realtime_leg", "readback"] {
            let bucket = format!("crossfade_{family}_seconds_bucket{{le=\"{edge}\"}} ");
            assert!(scrape.contains(&bucket), "{bucket} in {scrape}");
        }
    }
    stage.close_clean().await;
}
