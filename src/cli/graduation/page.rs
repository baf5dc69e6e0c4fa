//! The verdict, the steps of the removal, and both forms of the answer. Pure: rows in, text out.

use serde::Serialize;

use super::clients::plural;
use super::evidence::Evidence;
use super::{Blocks, Row, State};
use crate::cli::look::{self, Look, Tone};

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    NotYet,
    LegacyMayLoseItsFeed,
    TheSidecarMayGo,
}

impl Verdict {
    pub(super) fn of(rows: &[Row]) -> Self {
        let done =
            |blocks| rows.iter().filter(|row| row.blocks == blocks).all(|row| row.state == State::Done);
        match (rows.is_empty(), done(Blocks::Feed), done(Blocks::Sidecar)) {
            (false, true, true) => Self::TheSidecarMayGo,
            (false, true, false) => Self::LegacyMayLoseItsFeed,
            _ => Self::NotYet,
        }
    }

    const fn words(self) -> (&'static str, Tone) {
        match self {
            Self::NotYet => ("not yet", Tone::Bad),
            Self::LegacyMayLoseItsFeed => ("legacy may lose its feed", Tone::Doubt),
            Self::TheSidecarMayGo => ("the sidecar may go", Tone::Good),
        }
    }
}

/// A step of the way out, and the rows that it waits for.
struct Step {
    what: &'static str,
    rows: &'static [&'static str],
}

/// In order: nothing later is of use before what stands above it.
const STEPS: [Step; 6] = [
    Step {
        what: "Prove it: everybody hot, everything mirrored, compared and rehearsed",
        rows: &[
            "share",
            "rules",
            "match",
            "event_types",
            "left_out",
            "ledger",
            "parity",
            "breaker",
            "drill",
            "quota",
            "spool",
            "plan",
        ],
    },
    Step {
        what: "Let what produces the events write to Realtime itself, and let somebody take on what clients send and who is present",
        rows: &["producers", "client_messages", "presence"],
    },
    Step {
        what: "Give clients the lane native, or cold where they cannot speak Realtime, until nobody is on legacy or hot",
        rows: &["legacy_sessions", "hot_sessions", "paths", "fleet"],
    },
    Step {
        what: "End the service's feed; keep the service for a while: the breaker leads back to it",
        rows: &[],
    },
    Step {
        what: "Let clients connect to Supabase's own address, and plain HTTP to whoever answers it",
        rows: &["native_clients", "cold_sessions", "http", "through_the_sidecar"],
    },
    Step {
        what: "Take the sidecar away: the Service's targetPort, then the container (docs/interception.md)",
        rows: &[],
    },
];

#[derive(Serialize)]
struct Told {
    step: &'static str,
    /// Null for what only people can do.
    done: Option<bool>,
    waits_for: Vec<&'static str>,
}

fn steps(rows: &[Row]) -> Vec<Told> {
    STEPS
        .iter()
        .map(|step| {
            let waits = rows.iter().filter(|row| row.state != State::Done && step.rows.contains(&row.name));
            let waits_for: Vec<&str> = waits.map(|row| row.name).collect();
            let done = (!step.rows.is_empty()).then_some(waits_for.is_empty());
            Told { step: step.what, done, waits_for }
        })
        .collect()
}

fn count(rows: &[Row], state: State) -> usize {
    rows.iter().filter(|row| row.state == state).count()
}

pub(super) fn json(seen: &Evidence, rows: &[Row]) -> String {
    let vouched: Vec<&str> = rows.iter().filter(|row| row.vouched).map(|row| row.name).collect();
    let all = serde_json::json!({
        "verdict": Verdict::of(rows),
        "at": seen.status("/at"),
        "service": seen.status("/service"),
        "pod": seen.status("/pod"),
        "done": count(rows, State::Done),
        "open": count(rows, State::Open),
        "unknown": count(rows, State::Unknown),
        "vouched": vouched,
        "rows": rows,
        "steps": steps(rows),
    });
    serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
}

pub(super) fn text(seen: &Evidence, rows: &[Row], look: Look) -> String {
    let shown: Vec<look::Row<'_>> = rows
        .iter()
        .map(|row| {
            let (tone, state) = match row.state {
                State::Done if row.vouched => (Tone::Good, "vouched"),
                State::Done => (Tone::Good, "done"),
                State::Open => (Tone::Bad, "open"),
                State::Unknown => (Tone::Doubt, "unknown"),
            };
            let remedy = if row.state == State::Done { "" } else { &row.remedy };
            look::Row { tone, state, name: row.name, found: &row.evidence, remedy }
        })
        .collect();
    let of = |name: &str| seen.word(name).unwrap_or("unknown").to_owned();
    let mut text =
        format!("What still depends on legacy: {}, as the pod {} sees it\n\n", of("/service"), of("/pod"));
    text += &look::table(&shown, look);
    text.push('\n');
    for (at, step) in steps(rows).iter().enumerate() {
        let (tone, mark) = match step.done {
            Some(true) => (Tone::Good, "done"),
            Some(false) => (Tone::Bad, "open"),
            None => (Tone::Quiet, "-"),
        };
        let mark = look.paint(tone, &format!("{mark:<4}"));
        let waits = if step.waits_for.is_empty() {
            String::new()
        } else {
            format!(": {}", step.waits_for.join(", "))
        };
        text += &format!("{}. {mark}  {}\n", at + 1, look.wrap(9, &format!("{}{waits}", step.step)));
    }
    let (words, tone) = Verdict::of(rows).words();
    let (open, unknown) = (count(rows, State::Open), count(rows, State::Unknown));
    let vouched = rows.iter().filter(|row| row.vouched).count();
    let vouched = if vouched > 0 {
        format!(", {} vouched for by a person", plural(vouched as u64, "row"))
    } else {
        String::new()
    };
    text + &format!("\n{}: {open} open, {unknown} unknown{vouched}\n", look.paint(tone, words))
}
