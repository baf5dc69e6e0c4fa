//! `crossfade report`: the validator's reports in CROSSFADE_STATE_DIR, or one file that was carried away.
//! Reads only, also beside a running process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::look::{self, Look, Tone};
use super::{Exit, Streams, graduation};
use crate::app::{records, reports};
use crate::config::Strings;
use crate::drill;
use crate::incident::{Incident, page};
use crate::validator::report::{Report, time};
use crate::validator::verdict::Verdict;

/// An incident's file is at most this long, in bytes.
const FILE_MAX: u64 = 64 << 20;

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    #[command(subcommand)]
    command: Option<ReportCommand>,
    /// Show this file: what the flight recorder saved at a trip, or a report
    #[arg(long, value_name = "FILE")]
    incident: Option<PathBuf>,
    /// Show the drills, newest first
    #[arg(long, conflicts_with = "incident")]
    drills: bool,
    /// Ask the running process what still depends on the legacy service, and whether it may go
    #[arg(long, conflicts_with_all = ["incident", "drills"])]
    graduation: bool,
    /// With --graduation: count this unknown row as done, because you know it (repeatable)
    #[arg(long, value_name = "ROW", requires = "graduation", value_delimiter = ',')]
    vouch: Vec<String>,
    /// With --graduation: the running process's admin listener, instead of CROSSFADE_ADMIN_LISTEN
    #[arg(long, value_name = "ADDR:PORT", requires = "graduation")]
    admin: Option<SocketAddr>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// The state directory, instead of CROSSFADE_STATE_DIR
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum ReportCommand {
    /// Every report, one a line (the default)
    List,
    /// Every incident, one a line, newest first; `--incident FILE` shows one
    Incidents,
    /// One report
    Show {
        /// Its name, as `list` prints it; without one, the last hour
        #[arg(value_name = "ID", default_value = "rolling")]
        id: String,
    },
}

pub(super) fn run(args: &ReportArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    if args.graduation {
        let asked = graduation::Asked { admin: args.admin, vouched: &args.vouch, json: args.json };
        return graduation::run(&asked, strings, streams);
    }
    if let Some(file) = &args.incident {
        return incident(file, args.json, streams);
    }
    let Some(state) = args.dir.clone().or_else(|| strings.text("CROSSFADE_STATE_DIR").map(PathBuf::from))
    else {
        let why = "no directory; set CROSSFADE_STATE_DIR or give --dir, for example --dir /var/lib/crossfade";
        return streams.refuse(Exit::Config, &why);
    };
    if args.drills {
        return drills(&state.join(records::DRILLS), args.json, streams);
    }
    let folder = state.join(reports::FOLDER);
    match args.command.as_ref().unwrap_or(&ReportCommand::List) {
        ReportCommand::List => list(&folder, args.json, streams),
        ReportCommand::Incidents => incidents(&state.join(records::INCIDENTS), args.json, streams),
        ReportCommand::Show { id } => match reports::read(&folder, id) {
            Ok(report) => show(&report, args.json, streams),
            Err(error) => {
                let why = format!("{id}: {error}; `crossfade report list` names those that are there");
                streams.refuse(Exit::Unavailable, &why)
            }
        },
    }
}

fn list(folder: &Path, json: bool, streams: &mut Streams<'_>) -> Exit {
    let ids = match reports::list(folder) {
        Ok(ids) => ids,
        Err(error) => {
            return streams.refuse(Exit::Unavailable, &format!("{}: {error}", folder.display()));
        }
    };
    let (mut rows, mut text) = (Vec::new(), String::new());
    for id in &ids {
        let Ok(report) = reports::read(folder, id) else {
            text.push_str(&format!("{id:<26} cannot be read\n"));
            continue;
        };
        text.push_str(&line(&report));
        rows.push(serde_json::json!({
            "id": report.id, "span": report.span, "from_ms": report.from_ms, "to_ms": report.to_ms,
            "percent": report.percent, "match": report.matching,
        }));
    }
    if json {
        text =
            serde_json::to_string_pretty(&serde_json::json!({ "reports": rows })).unwrap_or_default() + "\n";
    } else if text.is_empty() {
        text = format!("no reports in {}; the first comes a minute after the start\n", folder.display());
    }
    streams.answer(&text)
}

fn show(report: &Report, json: bool, streams: &mut Streams<'_>) -> Exit {
    if json {
        return streams.answer(&(serde_json::to_string_pretty(report).unwrap_or_default() + "\n"));
    }
    let matching = &report.matching;
    let mut text = line(report) + &advice(report, streams.out_look);
    let mut add =
        |name: &str, value: &dyn std::fmt::Display| text.push_str(&format!("  {name:<22} {value}\n"));
    add("from", &time(report.from_ms));
    add("to", &time(report.to_ms));
    add("needed", &format_args!("{} pairs for {} %", matching.needed, matching.gate * 100.0));
    for (kind, count) in &matching.kinds {
        add(kind, count);
    }
    for (why, count) in report.not_compared.iter().filter(|(_, count)| **count > 0) {
        add("not compared", &format_args!("{count} ({why})"));
    }
    let legs = [
        ("queue", &report.latency.queue),
        ("realtime", &report.latency.realtime),
        ("behind legacy", &report.latency.behind_legacy),
    ];
    for (name, leg) in legs {
        let edge = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
        add(
            name,
            &format_args!("p50 {}, p95 {}, p99 {}", edge(leg.p50_ms), edge(leg.p95_ms), edge(leg.p99_ms)),
        );
    }
    for dead in report.noise.rules.iter().filter(|rule| rule.dead) {
        add("dead noise rule", &dead.rule.pointer);
    }
    let test = report.self_test;
    add("self-test", &format_args!("{} runs, {} failed", test.runs, test.failures));
    if let Some(parity) = &report.parity {
        for (verdict, count) in &parity.checks {
            add("authorization", &format_args!("{count} {verdict}"));
        }
        for sample in &parity.samples {
            let who = sample.who.as_deref().or(sample.session.as_deref()).unwrap_or("-");
            add(sample.verdict.as_str(), &format_args!("{} ({who})", sample.topic));
        }
    }
    for sample in &report.samples {
        let place = format!("session {} {} seq {}", sample.session, sample.dir.as_str(), sample.seq);
        add(sample.kind.as_str(), &format_args!("{place}, {} at {}", sample.event, time(sample.at_ms)));
    }
    streams.answer(&text)
}

/// The verdict in its colour, and what to do about it.
fn advice(report: &Report, look: Look) -> String {
    let matching = &report.matching;
    let (tone, why, remedy) = match matching.verdict {
        Verdict::Match => (Tone::Good, "proved: the gate's part matches".to_owned(), ""),
        Verdict::Mismatch => {
            let why = "proved: less than the gate's part matches".to_owned();
            (Tone::Bad, why, "look at the samples below; docs/validator.md says what each kind means")
        }
        Verdict::NotEnoughData => {
            let more = matching.needed.saturating_sub(matching.pairs);
            let why = format!("neither is proved: {more} more pairs are needed");
            (Tone::Doubt, why, "wait for more traffic, or mirror and read back more of it")
        }
    };
    let row = look::Row { tone, state: matching.verdict.as_str(), name: "match", found: &why, remedy };
    look::table(&[row], look)
}

fn line(report: &Report) -> String {
    let matching = &report.matching;
    let part = |part: Option<f64>| part.map_or("no data".to_owned(), |part| format!("{:.4} %", part * 100.0));
    let step = report.percent.map(|percent| format!(", rollout at {percent} %")).unwrap_or_default();
    format!(
        "{:<26} {:<16} {} of {} pairs, coverage {}{step}\n",
        report.id,
        matching.verdict.as_str(),
        part(matching.ratio),
        matching.pairs,
        part(matching.coverage),
    )
}

/// What the flight recorder has saved.
fn incidents(folder: &Path, json: bool, streams: &mut Streams<'_>) -> Exit {
    let mut names = match records::list(folder) {
        Ok(names) => names,
        // The folder comes with the first trip.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return streams.refuse(Exit::Unavailable, &format!("{}: {error}", folder.display())),
    };
    names.reverse();
    if json {
        return streams.answer(&(pretty(&serde_json::json!({ "incidents": names })) + "\n"));
    }
    let path = |name: &String| format!("{}\n", folder.join(format!("{name}.json")).display());
    let text: String = names.iter().map(path).collect();
    streams.answer(if text.is_empty() { "no trip has been recorded\n" } else { &text })
}

/// What drills have shown, newest first; the runbook quotes the first line.
fn drills(file: &Path, json: bool, streams: &mut Streams<'_>) -> Exit {
    let mut drills = match records::read_drills(file) {
        Ok(drills) => drills,
        Err(error) => return streams.refuse(Exit::Unavailable, &format!("{}: {error}", file.display())),
    };
    drills.reverse();
    if json {
        return streams.answer(&(pretty(&serde_json::json!({ "drills": drills })) + "\n"));
    }
    let text: String = drills.iter().map(|drill| drill_line(drill) + "\n").collect();
    streams.answer(if text.is_empty() {
        "no drill has been held; `crossfade drill` begins one\n"
    } else {
        &text
    })
}

/// One drill in one line.
pub(super) fn drill_line(drill: &drill::Record) -> String {
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
    let left =
        if drill.left > 0 { format!(", {} not where they should be", drill.left) } else { String::new() };
    format!(
        "{}  {:<12} {} of {} hot sessions ({} %) to legacy in {}, back in {}{left}, {}",
        time(drill.at_ms),
        drill.outcome.as_str(),
        drill.moved,
        drill.hot,
        drill.percent,
        ms(drill.to_legacy_ms),
        ms(drill.to_hot_ms),
        drill.cause.as_str(),
    )
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// An incident or a report that was carried away, or any JSON document of ours.
fn incident(file: &Path, json: bool, streams: &mut Streams<'_>) -> Exit {
    let read = std::fs::metadata(file).and_then(|meta| {
        let long = meta.len() > FILE_MAX;
        if long { Err(std::io::Error::other("too long for a report")) } else { std::fs::read(file) }
    });
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => return streams.refuse(Exit::Unavailable, &format!("{}: {error}", file.display())),
    };
    if let Ok(incident) = serde_json::from_slice::<Incident>(&bytes) {
        return streams.answer(&if json { pretty(&incident) + "\n" } else { page(&incident) });
    }
    if let Ok(report) = serde_json::from_slice::<Report>(&bytes) {
        return show(&report, json, streams);
    }
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(value) => streams.answer(&(serde_json::to_string_pretty(&value).unwrap_or_default() + "\n")),
        Err(error) => {
            let why = format!("{}: neither a report nor an incident: {error}", file.display());
            streams.refuse(Exit::Config, &why)
        }
    }
}
