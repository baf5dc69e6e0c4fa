//! The rows about clients: who still hangs on the service's feed, and on the sidecar.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Sessions, list};
use super::{Blocks, Row, State, done, open, unknown};

/// So long without an upgrade shows that nobody connects any more.
const SILENCE_S: f64 = 24.0 * 3600.0;
/// Names in one row; the rest is counted.
pub(super) const NAMED_MAX: usize = 6;

pub(super) fn rows(seen: &Evidence) -> Vec<Row> {
    vec![
        share(seen),
        rules(seen),
        legacy_sessions(seen),
        hot_sessions(seen),
        paths(seen),
        client_messages(seen),
        producers(seen),
        fleet(seen),
        cold_sessions(seen),
        direct(seen),
        native_offers(seen),
        http(),
    ]
}

const ASK: &str = "ask again when crossfade answers";

fn share(seen: &Evidence) -> Row {
    let row =
        |state, evidence: String, remedy: &str| Row::new("share", Blocks::Feed, (state, evidence, remedy));
    let (Some(percent), Some(effective)) =
        (seen.number("/rollout/percent"), seen.number("/rollout/effective_percent"))
    else {
        return row(State::Unknown, "the status names no share".to_owned(), ASK);
    };
    let tier = seen.word("/rollout/tier").unwrap_or("unknown");
    let hands: Vec<&str> = seen
        .status("/rollout/emergency")
        .and_then(|hands| hands.as_array())
        .into_iter()
        .flatten()
        .filter_map(|hand| hand.as_str())
        .collect();
    if !hands.is_empty() {
        let evidence = format!("the emergency switch is on ({}): everybody is on legacy", hands.join(", "));
        return row(State::Open, evidence, "find out why, then switch it off where it was switched on");
    }
    if percent < 100.0 {
        let evidence = format!("{percent} % by the tier {tier}");
        return row(State::Open, evidence, "raise it: `crossfade plan start`, or the fader of the dashboard");
    }
    if effective < 100.0 {
        let evidence = format!("100 % by the tier {tier}, of which the breaker leaves {effective} %");
        return row(State::Open, evidence, "wait for the paced return, or see the row breaker");
    }
    let since =
        seen.share_holds_s().map_or("an unknown time".to_owned(), |held| format!("at least {}", span(held)));
    row(State::Done, format!("100 % by the tier {tier}, for {since}"), "")
}

fn rules(seen: &Evidence) -> Row {
    let Some(rollout) = seen.rollout.as_ref().filter(|rollout| rollout["rules"].is_array()) else {
        return Row::new("rules", Blocks::Feed, unknown("the rollout's rules could not be read", ASK));
    };
    let keeps = |rule: &&serde_json::Value| {
        rule["then"] != "allow"
            && !(rule["then"] == "percent" && rule["percent"].as_f64().is_some_and(|part| part >= 100.0))
            || rule["lane"] == "legacy"
    };
    let names: Vec<&str> =
        list(rollout, "rules").filter(keeps).map(|rule| rule["name"].as_str().unwrap_or("unnamed")).collect();
    let told = if names.is_empty() {
        let all = list(rollout, "rules").count();
        done(format!("{}, none of which keeps a user on legacy", plural(all as u64, "rule")))
    } else {
        let evidence =
            format!("{} may keep users on legacy: {}", plural(names.len() as u64, "rule"), named(&names));
        open(evidence, "take these rules out of the flags, or let them say 100 %")
    };
    Row::new("rules", Blocks::Feed, told)
}

/// The sessions, if all pages were read.
fn whole(seen: &Evidence) -> Option<&Sessions> {
    seen.sessions.as_ref().filter(|sessions| sessions.whole)
}

/// Whether nobody has connected for long enough.
fn silent(seen: &Evidence) -> bool {
    seen.count("/sessions/opened_total") == Some(0)
        && seen.number("/uptime_s").is_some_and(|up| up >= SILENCE_S)
}

fn legacy_sessions(seen: &Evidence) -> Row {
    let row = |told| Row::new("legacy_sessions", Blocks::Feed, told);
    let Some(sessions) = &seen.sessions else {
        return row(unknown("the sessions could not be read", ASK));
    };
    let reasons = sessions.lanes.get("legacy").cloned().unwrap_or_default();
    let count: u64 = reasons.values().sum();
    if count > 0 {
        let evidence = format!("the service feeds {}: {}", plural(count, "open session"), counted(&reasons));
        let most = reasons.iter().max_by_key(|(_, count)| **count).map_or("", |(reason, _)| reason.as_str());
        return row(open(evidence, cure(most)));
    }
    if !sessions.whole {
        return row(unknown(
            "there are more sessions than were read, and none of those read is on legacy",
            "ask each pod when fewer are open",
        ));
    }
    match sessions.all() {
        0 if silent(seen) => row(done("nobody has connected since the start, a day ago or more")),
        0 => row(unknown("no session is open: nothing is shown", "ask again at a time of day with users")),
        all => row(done(format!("none of {}", plural(all, "open session")))),
    }
}

/// What to do about the most frequent reason.
fn cure(reason: &str) -> &'static str {
    match reason {
        "no_key" => {
            "these requests have no key: name one that they have in CROSSFADE_ROLLOUT_KEY, such as cookie:NAME or ip"
        }
        "denied" | "outside_segment" | "in_arm" => "a rule pins them: see the row rules",
        "outside_cohort" => "raise the share to 100 %",
        "emergency_off" | "tier_unknown" => "see the row share",
        "person" => {
            "a person has put them there: move them to auto in the dashboard, or let them connect again"
        }
        "native_not_offered" => {
            "these clients do not offer the subprotocol realtime: update them, or give them the cold lane"
        }
        "cold_not_configured" => "set CROSSFADE_COLD_AUTH and CROSSFADE_COLD_SOURCE",
        "next_connection" | "moving" => "they change at their next connection, or in a moment: ask again",
        "no_supabase" | "mirror_off" | "no_read_back" => {
            "without mirror and read-back nobody is fed by Realtime: `crossfade check`"
        }
        "quota" | "spacing" => "the plan's message limit is in the way: see the row quota",
        _ => "the dashboard's list of sessions says why of each",
    }
}

fn hot_sessions(seen: &Evidence) -> Row {
    let row = |told| Row::new("hot_sessions", Blocks::Feed, told);
    let lane = seen.word("/rollout/lane");
    let Some(sessions) = &seen.sessions else {
        return row(unknown("the sessions could not be read", ASK));
    };
    let hot = sessions.on("hot");
    let remedy = "the hot lane is the rehearsal: give these clients the lane native, or cold where they cannot speak Realtime";
    if hot > 0 {
        let evidence = format!(
            "{} on the hot lane: each has its upgrade from the service, is given the service's own frames, and all that it says goes there",
            plural(hot, "open session")
        );
        return row(open(evidence, remedy));
    }
    match (lane, whole(seen)) {
        (Some("hot"), _) => {
            row(open("the rollout's lane is hot: whoever connects is fed by the service's leg", remedy))
        }
        (Some(lane), Some(_)) => row(done(format!("none is open, and the rollout's lane is {lane}"))),
        _ => row(unknown("not all sessions could be read", ASK)),
    }
}

fn paths(seen: &Evidence) -> Row {
    let row = |told| Row::new("paths", Blocks::Feed, told);
    let Some(sessions) = whole(seen).filter(|sessions| sessions.all() > 0) else {
        return row(unknown(
            "no session is open, or not all could be read",
            "ask again at a time of day with users",
        ));
    };
    let left: Vec<String> = sessions
        .paths
        .iter()
        .filter(|(_, lanes)| lanes.keys().all(|lane| lane == "legacy"))
        .map(|(path, lanes)| format!("{path} ({})", lanes.values().sum::<u64>()))
        .collect();
    let all = plural(sessions.paths.len() as u64, "path");
    if left.is_empty() {
        return row(done(format!("each of {all} with open sessions has some on Realtime")));
    }
    let names: Vec<&str> = left.iter().map(String::as_str).collect();
    let evidence = format!("of {all}, nobody is on Realtime at {}", named(&names));
    row(open(
        evidence,
        "`paths` and rules of the flags may leave them out: `crossfade explain --request PATH` says why",
    ))
}

fn client_messages(seen: &Evidence) -> Row {
    let row = |told| Row::new("client_messages", Blocks::Feed, told);
    let remedy = "say who takes on what clients send: a consumer of the topic (cold), a function or the database (native); then --vouch client_messages";
    let Some(sessions) = whole(seen).filter(|sessions| sessions.all() > 0) else {
        return row(unknown("no session is open, or not all could be read", remedy));
    };
    let talking = |lane: &str| sessions.talking.get(lane).copied().unwrap_or(0);
    let (service, realtime) = (talking("legacy") + talking("hot"), talking("cold") + talking("native"));
    if service > 0 {
        let evidence = format!(
            "{} said something that only the service handles (on the lane hot, too, it goes to the service)",
            plural(service, "client")
        );
        return row(open(evidence, remedy));
    }
    if realtime > 0 {
        let evidence = format!(
            "{} talk to Realtime; whether anybody acts on it is not seen from here",
            plural(realtime, "client")
        );
        return row(unknown(evidence, remedy));
    }
    row(done(format!("none of {} has sent a message", plural(sessions.all(), "open client"))))
}

fn producers(seen: &Evidence) -> Row {
    let evidence = match seen.setting("CROSSFADE_MIRROR_FORMAT") {
        Some((Some("both"), _)) => {
            "crossfade publishes copies of what the service says (CROSSFADE_MIRROR_FORMAT=both): without the service's feed they end; \
             who else writes to the topics is not seen from here"
        }
        _ => {
            "crossfade's copies of the service's messages are no source for clients, and who writes to their topics is not seen from here"
        }
    };
    let remedy = "let what produces the events write to Realtime or its tables by itself, switch the copies off for a while, and see that \
                  clients miss nothing; then --vouch producers";
    Row::new("producers", Blocks::Feed, unknown(evidence, remedy))
}

fn fleet(seen: &Evidence) -> Row {
    let row = |told| Row::new("fleet", Blocks::Feed, told);
    let remedy = "ask every pod (--admin ADDR:PORT); when all say the same: --vouch fleet";
    match (seen.setting("CROSSFADE_PODS"), seen.word("/rollout/scope")) {
        (Some((Some("1"), "environment" | "file")), Some(_)) => row(done("CROSSFADE_PODS is 1")),
        (Some((Some(pods), source)), _) => {
            let told = if source == "default" { " (by default: nobody has said so)" } else { "" };
            row(unknown(format!("this is the word of one pod; CROSSFADE_PODS is {pods}{told}"), remedy))
        }
        _ => row(unknown("this is the word of one pod; how many there are is not known", remedy)),
    }
}

fn cold_sessions(seen: &Evidence) -> Row {
    let row = |told| Row::new("cold_sessions", Blocks::Sidecar, told);
    let remedy =
        "the sidecar answers these clients itself: they need a client that speaks Realtime before it can go";
    match &seen.sessions {
        None => row(unknown("the sessions could not be read", ASK)),
        Some(sessions) if sessions.on("cold") > 0 => {
            row(open(format!("{} on the cold lane", plural(sessions.on("cold"), "open session")), remedy))
        }
        Some(_) if seen.word("/rollout/lane") == Some("cold") => {
            row(open("the rollout's lane is cold", remedy))
        }
        Some(sessions) if sessions.whole => row(done("none is open")),
        Some(_) => row(unknown("not all sessions could be read", ASK)),
    }
}

fn direct(seen: &Evidence) -> Row {
    let row = |told| Row::new("through_the_sidecar", Blocks::Sidecar, told);
    let remedy = "let clients connect to Supabase's own address, and wait until a day has passed without an upgrade here";
    let (Some(opened), Some(up)) = (seen.count("/sessions/opened_total"), seen.number("/uptime_s")) else {
        return row(unknown("the status does not count sessions", ASK));
    };
    if opened > 0 {
        return row(open(format!("{} since the start, {} ago", plural(opened, "upgrade"), span(up)), remedy));
    }
    if up < SILENCE_S {
        return row(unknown(format!("no upgrade yet, but the process is {} old", span(up)), remedy));
    }
    row(done(format!("no upgrade in {}", span(up))))
}

fn native_offers(seen: &Evidence) -> Row {
    let row = |told| Row::new("native_clients", Blocks::Sidecar, told);
    if silent(seen) {
        return row(done("nobody connects here any more"));
    }
    match seen.number("/rollout/native_offers_ratio") {
        Some(ratio) if ratio >= 1.0 => row(done("every upgrade offers the subprotocol realtime")),
        Some(ratio) => row(open(
            format!("{:.1} % of the upgrades offer the subprotocol realtime", ratio * 100.0),
            "update the other clients",
        )),
        None => row(unknown(
            "the native lane is not configured, so nobody counts who could use it",
            "set SUPABASE_ANON_KEY and a native rule, and look how many offer it",
        )),
    }
}

fn http() -> Row {
    let remedy = "send plain HTTP straight to whoever answers it, and see in the service's own log that none comes from here; then --vouch http";
    Row::new(
        "http",
        Blocks::Sidecar,
        unknown(
            "plain HTTP passes through the sidecar to the service; this report does not count it",
            remedy,
        ),
    )
}

/// `3 no_key, 1 denied`, most first.
pub(super) fn counted(counts: &BTreeMap<String, u64>) -> String {
    let mut all: Vec<(&String, &u64)> = counts.iter().collect();
    all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let words: Vec<String> = all.iter().map(|(word, count)| format!("{count} {word}")).collect();
    named(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The first few names, and how many more there are.
pub(super) fn named(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED_MAX);
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

pub(super) fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Seconds as people say them.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", (s / 60.0).floor()),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}
