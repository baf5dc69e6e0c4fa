//! The rows about proof: whether Realtime carries what the service says, and how sure anybody is.

use super::clients::{named, plural, span};
use super::evidence::{Evidence, list};
use super::{Blocks, Row, done, open, unknown};

/// A day of the breaker's memory.
const DAY_S: f64 = 24.0 * 3600.0;
/// Above this part of the plan's limit Realtime may drop.
const QUOTA_MAX: f64 = 0.8;

pub(super) fn rows(seen: &Evidence) -> Vec<Row> {
    let row = |name, told| Row::new(name, Blocks::Feed, told);
    vec![
        row("match", matching(seen)),
        row("event_types", event_types(seen)),
        row("left_out", left_out(seen)),
        row("presence", presence(seen)),
        row("ledger", ledger(seen)),
        row("parity", parity(seen)),
        row("breaker", breaker(seen)),
        row("drill", drill(seen)),
        row("quota", quota(seen)),
        row("spool", spool(seen)),
        row("plan", plan(seen)),
    ]
}

type Told = super::Told;

const NO_MIRROR: &str =
    "nothing is mirrored: SUPABASE_URL and SUPABASE_KEY are not set, or the status does not say";
const SET_MIRROR: &str = "set them, and run `crossfade check`";

fn matching(seen: &Evidence) -> Told {
    let Some(report) = seen.read.iter().find(|one| one["id"] == "rolling") else {
        return unknown(
            "there is no report of the last hour",
            "set CROSSFADE_STATE_DIR; the first report comes a minute after the start",
        );
    };
    let matching = &report["match"];
    let (Some(pairs), Some(verdict)) = (matching["pairs"].as_u64(), matching["verdict"].as_str()) else {
        return unknown("the report of the last hour has no verdict", "ask again in a minute");
    };
    let part = |name: &str| {
        matching[name].as_f64().map_or("no data".to_owned(), |part| format!("{:.4} %", part * 100.0))
    };
    let evidence = format!(
        "{verdict}: {} of {} in the last hour, coverage {}",
        part("ratio"),
        plural(pairs, "pair"),
        part("coverage")
    );
    match verdict {
        "match" => done(evidence),
        "mismatch" => {
            open(evidence, "`crossfade report show` has samples, docs/validator.md what each kind means")
        }
        _ => {
            let needed = matching["needed"]
                .as_u64()
                .map_or(String::new(), |needed| format!("; {needed} pairs are needed"));
            unknown(
                format!("{evidence}{needed}"),
                "wait for more traffic; a larger share of mirrored and read-back messages helps",
            )
        }
    }
}

fn event_types(seen: &Evidence) -> Told {
    let Some(types) = seen.seen() else {
        return unknown(
            "event types are not known: nothing is mirrored, or the list could not be read",
            SET_MIRROR,
        );
    };
    if types.is_empty() {
        return unknown("no event has been seen yet", "ask again when there was traffic");
    }
    let all = seen.types.as_ref().map(|all| list(all, "types").collect::<Vec<_>>()).unwrap_or_default();
    let skipped: Vec<&str> =
        all.iter().filter(|row| row["class"].is_null()).filter_map(|row| row["type"].as_str()).collect();
    let proofs = seen.proofs();
    let wrong: Vec<&str> = proofs.iter().filter(|(_, proof)| proof.bad > 0).map(|(name, _)| *name).collect();
    let unproved: Vec<&str> = types
        .iter()
        .filter(|name| !skipped.contains(name) && proofs.get(*name).is_none_or(|proof| proof.pairs == 0))
        .copied()
        .collect();
    let remedy = "`crossfade explain --types` says who leaves them out; `crossfade report show --json` has each type's pairs";
    if !skipped.is_empty() {
        let evidence = format!(
            "{} never reach Realtime, by a rule: {}",
            plural(skipped.len() as u64, "type"),
            named(&skipped)
        );
        return open(evidence, remedy);
    }
    if !wrong.is_empty() {
        let evidence =
            format!("{} did not match at least once: {}", plural(wrong.len() as u64, "type"), named(&wrong));
        return open(evidence, remedy);
    }
    if seen.read.is_empty() {
        return unknown(
            format!("{} seen, and no report says which were compared", plural(types.len() as u64, "type")),
            "set CROSSFADE_STATE_DIR",
        );
    }
    if !unproved.is_empty() {
        let evidence = format!(
            "of {}, these were never compared: {}",
            plural(types.len() as u64, "type"),
            named(&unproved)
        );
        return open(evidence, remedy);
    }
    let untracked = seen.types.as_ref().and_then(|all| all["untracked"].as_u64());
    match untracked {
        Some(0) => done(format!("each of {} was compared and matched", plural(types.len() as u64, "type"))),
        Some(lost) => unknown(
            format!("{} had a type for which the table had no room", plural(lost, "message")),
            "name rules for them (CROSSFADE_CLASSIFY)",
        ),
        None => unknown("how many types found no room is not known", "ask again when crossfade answers"),
    }
}

fn left_out(seen: &Evidence) -> Told {
    let remedy = "raise CROSSFADE_MIRROR_PERCENT and the shares of the tuning file's [mirror] to 100";
    // Reasons that have not occurred are not in the list.
    let shed = seen.status("/mirror/shed").and_then(|shed| shed.as_object());
    let unsampled = shed.map(|shed| shed.get("unsampled").map_or(Some(0), serde_json::Value::as_u64));
    let setting = seen.setting("CROSSFADE_MIRROR_PERCENT").and_then(|(value, _)| value);
    let (Some(Some(unsampled)), Some(percent)) = (unsampled, setting) else {
        return unknown(NO_MIRROR, SET_MIRROR);
    };
    let percent = percent.trim_end_matches('%').trim_end();
    if percent.parse::<f64>().is_ok_and(|percent| percent >= 100.0) {
        return match unsampled {
            0 => done("every session is mirrored, on every path"),
            n => open(
                format!("{} of some class or path were left out by a share", plural(n, "message")),
                remedy,
            ),
        };
    }
    open(
        format!("{percent} % of the sessions are mirrored; {} were left out", plural(unsampled, "message")),
        remedy,
    )
}

fn presence(seen: &Evidence) -> Told {
    let Some(types) = seen.seen().filter(|types| !types.is_empty()) else {
        return unknown("no event has been seen, so no presence either", "ask again when there was traffic");
    };
    let found: Vec<&str> =
        types.iter().filter(|name| name.to_lowercase().contains("presence")).copied().collect();
    let lost = seen.types.as_ref().and_then(|all| all["untracked"].as_u64());
    if found.is_empty() && lost != Some(0) {
        return unknown(
            "none of the types in the list names presence, but not all found room there",
            "name rules for them (CROSSFADE_CLASSIFY)",
        );
    }
    if found.is_empty() {
        return done(format!("none of {} names presence", plural(types.len() as u64, "event type")));
    }
    let remedy = "the service keeps who is there: let clients track presence on a Realtime channel, and take these events out of the service";
    open(format!("the service tells presence: {}", named(&found)), remedy)
}

fn ledger(seen: &Evidence) -> Told {
    let (Some(all), Some(unconfirmed), Some(shed)) = (
        seen.count("/mirror/seen"),
        seen.count("/mirror/unconfirmed"),
        seen.status("/mirror/shed").and_then(|shed| shed.as_object()),
    ) else {
        return unknown(NO_MIRROR, SET_MIRROR);
    };
    let shed: Vec<(String, u64)> = shed
        .iter()
        .filter_map(|(why, count)| Some((why.clone(), count.as_u64().filter(|count| *count > 0)?)))
        .filter(|(why, _)| !matches!(why.as_str(), "unsampled" | "skipped" | "unconfirmed"))
        .collect();
    if unconfirmed == 0 && shed.is_empty() {
        return match all {
            0 => unknown("no message has been mirrored yet", "ask again when there was traffic"),
            all => done(format!("none of {} was given up since the start", plural(all, "mirrored message"))),
        };
    }
    let words: Vec<String> = shed.iter().map(|(why, count)| format!("{count} {why}")).collect();
    let words = named(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let evidence = format!(
        "of {}, {unconfirmed} were never confirmed; given up: {}",
        plural(all, "message"),
        if words.is_empty() { "none" } else { &words }
    );
    open(evidence, "docs/runbook.md says what each reason means; the count begins anew with the process")
}

fn parity(seen: &Evidence) -> Told {
    let remedy = "[parity] in the tuning file compares who may read on Realtime with who receives from the service (docs/validator.md)";
    let Some(checks) = seen.status("/parity/checks") else {
        return unknown("authorization on both sides is not compared", remedy);
    };
    let count = |word: &str| checks[word].as_u64();
    match (count("agree"), count("over"), count("under")) {
        (Some(_), Some(over), Some(under)) if over + under > 0 => open(
            format!("{over} may read more on Realtime than the service gives them, {under} less"),
            "mend the policies on realtime.messages; `crossfade report show` names topics",
        ),
        (Some(agree), Some(_), Some(_)) if agree > 0 => {
            done(format!("{} agreed, none differed", plural(agree, "comparison")))
        }
        _ => unknown("nothing was compared with a verdict yet", remedy),
    }
}

fn breaker(seen: &Evidence) -> Told {
    let (Some(state), Some(mode), Some(trips)) =
        (seen.word("/breaker/state"), seen.word("/breaker/mode"), seen.count("/breaker/trips_24h"))
    else {
        return unknown("there is no breaker without a mirror, or the status does not say", SET_MIRROR);
    };
    let last =
        seen.word("/breaker/trigger").map_or(String::new(), |trigger| format!(", the last by {trigger}"));
    let forced = mode != "auto";
    if trips > 0 || state == "open" || (state != "closed" && !forced) {
        let evidence = format!("{state}, {} in the last 24 hours{last}", plural(trips, "trip"));
        return open(evidence, "`crossfade report incidents` has each; wait for a day without one");
    }
    if forced {
        return unknown(
            format!("{state}, and its mode is {mode}: nobody asks it"),
            "set its mode to auto, and wait a day",
        );
    }
    let up = seen.number("/uptime_s").unwrap_or(0.0);
    if up < DAY_S && seen.count("/breaker/saves").is_none() {
        return unknown(
            format!("closed, but nothing is remembered from before the start, {} ago", span(up)),
            "wait a day, or set CROSSFADE_STATE_DIR",
        );
    }
    done("closed, in mode auto, no trip in the last 24 hours")
}

fn drill(seen: &Evidence) -> Told {
    let Some(last) = seen.drills.as_ref().and_then(|all| list(all, "drills").next()) else {
        return unknown("no drill has been held", "`crossfade drill`, while sessions are hot");
    };
    let now = seen.count("/at");
    let age = now
        .zip(last["at_ms"].as_u64())
        .map_or("an unknown time".to_owned(), |(now, at)| span(now.saturating_sub(at) as f64 / 1000.0));
    let (moved, took) = (last["moved"].as_u64().unwrap_or(0), last["to_legacy_ms"].as_f64());
    match (last["outcome"].as_str(), took) {
        (Some("passed"), Some(took)) => {
            done(format!("passed {age} ago: {} to legacy in {took:.0} ms", plural(moved, "session")))
        }
        (Some(word @ ("stuck_hot" | "stuck_legacy")), _) => {
            open(format!("{word}, {age} ago"), "docs/drills.md says what that means")
        }
        (word, _) => unknown(
            format!("{}, {age} ago: it shows nothing", word.unwrap_or("no outcome")),
            "hold another one: `crossfade drill`",
        ),
    }
}

fn quota(seen: &Evidence) -> Told {
    let (Some(used), Some(refusals)) = (seen.number("/quota/used_ratio"), seen.count("/quota/refusals"))
    else {
        return unknown("the plan's use is not known without a mirror", SET_MIRROR);
    };
    let remedy = "a larger plan, larger batches or fewer mirrored messages: docs/quota.md";
    if let Some(refused) = seen.word("/quota/hot_refused") {
        return open(format!("the hot lane is refused: {refused}"), remedy);
    }
    let evidence = format!(
        "{:.0} % of this pod's part of the plan's limit, {} since the start",
        used * 100.0,
        plural(refusals, "refusal")
    );
    if refusals > 0 || used > QUOTA_MAX { open(evidence, remedy) } else { done(evidence) }
}

fn spool(seen: &Evidence) -> Told {
    let Some(status) = &seen.status else {
        return unknown("the status could not be read", "ask again when crossfade answers");
    };
    let Some(spool) = status.get("spool") else {
        return unknown("the status does not say", "ask again when crossfade answers");
    };
    if spool.is_null() {
        return done("there is no spool: nothing waits on disk");
    }
    match (spool["records"].as_u64(), spool["lost_at_most"].as_u64()) {
        (Some(0), Some(0)) => done("nothing waits on disk"),
        (Some(records), Some(lost)) => open(
            format!(
                "{} on disk, at most {lost} lost by a kill before this start",
                plural(records, "message")
            ),
            "wait until they are published, or `crossfade reconcile`",
        ),
        _ => unknown("the spool does not say what waits", "`crossfade spool ls`"),
    }
}

fn plan(seen: &Evidence) -> Told {
    let Some(phase) = seen.plan.as_ref().and_then(|plan| plan["phase"].as_str()) else {
        return unknown("the plan could not be read", "ask again when crossfade answers");
    };
    match phase {
        "done" => done("every step is done"),
        "none" | "idle" => done("no plan is under way: the share is moved by people"),
        "aborted" => open("the plan was aborted", "find out why; `crossfade plan start` begins anew"),
        phase => {
            let step = seen
                .plan
                .as_ref()
                .and_then(|plan| plan["step"].as_u64())
                .map_or(String::new(), |step| format!(" at step {step}"));
            open(format!("the plan is {phase}{step}"), "`crossfade plan` says what it waits for")
        }
    }
}
