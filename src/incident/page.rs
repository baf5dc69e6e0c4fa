//! An incident for people: what happened, when, to how many, and for how long.

use std::time::{Duration, UNIX_EPOCH};

use super::{Event, Incident, Second};

/// Seconds that the page shows; the file has all.
const SECONDS_SHOWN: usize = 30;

/// The page, as plain text.
#[must_use]
pub fn page(incident: &Incident) -> String {
    let mut text = format!("Incident {}\n\n", incident.id);
    let mut add =
        |name: &str, value: &dyn std::fmt::Display| text.push_str(&format!("  {name:<18} {value}\n"));
    add("service", &incident.service);
    add("pod", &format_args!("{} (crossfade {})", incident.pod, incident.version));
    add("opened", &time(incident.at_ms));
    add("trigger", &format_args!("{}: {}", incident.trigger, meaning(&incident.trigger)));
    let unit = unit(&incident.trigger);
    if incident.limit > 0.0 {
        let samples = incident.samples;
        add(
            "measured",
            &format_args!(
                "{:.3}{unit}, limit {:.3}{unit}, {samples} samples",
                incident.measured, incident.limit
            ),
        );
    }
    let until = if incident.latched { " (latched: a person must reset it)" } else { "" };
    add("cool-down", &format_args!("{:.0} s{until}", incident.open_for_ms as f64 / 1e3));
    add("hot before", &format_args!("{} sessions", incident.hot_before));
    for (why, n) in &incident.moved_back {
        add("moved to legacy", &format_args!("{n} sessions ({why})"));
    }
    match incident.returned_ms {
        Some(ms) => add("time to return", &format_args!("{ms:.1} ms until the last session was on legacy")),
        None if incident.hot_before == 0 => add("time to return", &"nobody was hot"),
        None => {
            add("time to return", &format_args!("not over: {} sessions were still hot", incident.hot_left))
        }
    }
    if !incident.complete {
        add("incomplete", &"written at the trip; the process had no time to add what followed");
    }
    text.push_str("\nDecisions (time from the trip, hot sessions):\n");
    for entry in &incident.decisions {
        let when = from_trip(entry.at_ms, incident.at_ms);
        text.push_str(&format!("  {when:>10}  {:>6} hot  {}\n", entry.hot, sentence(&entry.event)));
    }
    text.push_str(&seconds(incident));
    text
}

fn seconds(incident: &Incident) -> String {
    let all = &incident.seconds;
    let from = all.len().saturating_sub(SECONDS_SHOWN);
    let mut text =
        format!("\nWhat came from Realtime, by the second ({} of {} shown):\n", all.len() - from, all.len());
    text.push_str("    from trip     hot  returned  mean ms   max ms  failed  waiting  own  probes +/-\n");
    for second in all.get(from..).unwrap_or_default() {
        let Second { hot, returned, max_ms, failed, waiting, own, probes_good, probes_bad, .. } = second;
        let mean = second.mean_ms.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let when = from_trip(second.at_ms, incident.at_ms);
        text.push_str(&format!(
            "  {when:>11}  {hot:>6}  {returned:>8}  {mean:>7}  {max_ms:>7.1}  {failed:>6}  {waiting:>7}  {own:>3}  {probes_good}/{probes_bad}\n"
        ));
    }
    text
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Opened { trigger, measured, limit, latched } => {
            let latched = if *latched { ", latched" } else { "" };
            format!("breaker opened: {trigger} ({measured:.3} against {limit:.3}{latched})")
        }
        Event::HalfOpened => "breaker half-open: probing".to_owned(),
        Event::Closed { share_permille } => format!("breaker closed, share {} %", percent(*share_permille)),
        Event::Share { share_permille } => format!("paced return: share {} %", percent(*share_permille)),
        Event::WouldTrip { trigger } => format!("would have opened: {trigger} (observe_only)"),
        Event::Mode { mode } => format!("breaker mode: {mode}"),
        Event::Person { word } => format!("a person: {word}"),
        Event::Links { publish, readback } => {
            let is = |joined: &bool| if *joined { "joined" } else { "away" };
            format!("links: publishing {}, reading back {}", is(publish), is(readback))
        }
        Event::Quota => "Realtime: too many messages per second".to_owned(),
        Event::Spacing { refused: true } => "the plan allows too few publishes for the hot lane".to_owned(),
        Event::Spacing { refused: false } => "the plan allows the hot lane again".to_owned(),
        Event::Fleet { tripped, live } => format!("fleet: {tripped} of {live} pods have tripped"),
        Event::Settings => "the rollout's settings have changed".to_owned(),
        Event::Drill { outcome, moved } => format!("drill {outcome}: {moved} sessions"),
        Event::Returned { took_ms } => format!("the last session is back on legacy, after {took_ms:.1} ms"),
    }
}

/// What the word means to somebody who was just woken.
fn meaning(trigger: &str) -> &'static str {
    match trigger {
        "error_ratio" => "too many batches were lost over the last minutes",
        "fast_burn" => "most batches were lost within seconds",
        "stall" => "nothing was read back while batches waited",
        "latency" => "round trips became much slower than usual",
        "connect" => "Realtime could not be connected to",
        "match" => "what came back did not match what went in",
        "forced" => "a person opened it",
        "fleet" => "other pods had opened theirs",
        _ => "a probe failed or took too long",
    }
}

fn unit(trigger: &str) -> &'static str {
    if matches!(trigger, "stall" | "latency" | "connect") { " s" } else { "" }
}

fn percent(permille: u16) -> f64 {
    f64::from(permille) / 10.0
}

fn from_trip(at_ms: u64, trip_ms: u64) -> String {
    let seconds = (at_ms as f64 - trip_ms as f64) / 1e3;
    format!("{seconds:+.3} s")
}

/// A time as RFC 3339 writes it, to the second.
fn time(unix_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs((unix_ms / 1_000).min(253_402_300_799));
    humantime::format_rfc3339_seconds(at).to_string()
}
