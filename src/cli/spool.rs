//! `crossfade spool`: what lies in the spool's directory, and its sessions as JSON Lines. Reads only, also beside a
//! running process.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::drain::clock;
use super::progress::Progress;
use super::{Exit, Streams};
use crate::config::{self, Strings};
use crate::envelope::Class;
use crate::spool::disk::{Inventory, inspect, unix_ms};
use crate::spool::export;
use crate::spool::record::open;
use crate::spool::seal::Seal;

/// Arguments of `spool`.
#[derive(Clone, Debug, Args)]
pub struct SpoolArgs {
    #[command(subcommand)]
    command: SpoolCommand,
    /// Print one JSON object; of an export, whose lines are JSON anyway, only the reason of an early end
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum SpoolCommand {
    /// What waits, by class
    Ls {
        /// The directory, instead of CROSSFADE_SPOOL_DIR
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// The sessions that wait, as JSON Lines: one message a line, as stored (redacted stays redacted)
    Export {
        /// The directory, instead of CROSSFADE_SPOOL_DIR
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Default, Serialize)]
struct Row {
    class: &'static str,
    segments: u64,
    records: u64,
    messages: u64,
    bytes: u64,
    oldest_age_ms: Option<u64>,
    newest_age_ms: Option<u64>,
    damaged_ranges: u64,
    torn: u64,
}

pub(super) fn run(args: &SpoolArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let own = match config::Spool::load(strings) {
        Ok(own) => own,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let (SpoolCommand::Ls { dir } | SpoolCommand::Export { dir }) = &args.command;
    let Some(dir) = dir.clone().or_else(|| own.as_ref().map(|own| own.dir.clone())) else {
        let why =
            "no directory; set CROSSFADE_SPOOL_DIR or give --dir, for example --dir /var/spool/crossfade";
        return streams.refuse(Exit::Config, &why);
    };
    let found = match inspect(&dir) {
        Ok(found) => found,
        Err(error) => {
            return streams.refuse(Exit::Unavailable, &format!("{}: cannot be read: {error}", dir.display()));
        }
    };
    match &args.command {
        SpoolCommand::Ls { .. } => list(&found, args.json, streams),
        SpoolCommand::Export { .. } => {
            let key = own.and_then(|own| own.key).and_then(|key| Seal::parse(key.secret.expose()));
            export(&found, key.as_ref(), streams)
        }
    }
}

fn rows(found: &Inventory, now_ms: u64) -> Vec<Row> {
    let row = |class: Class| {
        let mut row = Row { class: class.as_str(), ..Row::default() };
        for facts in found.segments.iter().filter(|facts| facts.class == class) {
            let segment = &facts.segment;
            row.segments += 1;
            row.records += segment.open;
            row.messages += segment.messages;
            row.bytes += segment.disk_bytes();
            row.damaged_ranges += facts.damaged.len() as u64;
            row.torn += u64::from(facts.torn.is_some());
            if segment.open > 0 {
                let (oldest, newest) =
                    (now_ms.saturating_sub(segment.oldest_ms), now_ms.saturating_sub(facts.newest_ms));
                row.oldest_age_ms = row.oldest_age_ms.max(Some(oldest));
                row.newest_age_ms = Some(row.newest_age_ms.map_or(newest, |age| age.min(newest)));
            }
        }
        row
    };
    Class::ALL.map(row).into()
}

fn list(found: &Inventory, json: bool, streams: &mut Streams<'_>) -> Exit {
    let rows = rows(found, unix_ms());
    let promised = found.promise.map(|promise| promise.lost_at_most());
    if json {
        let account = found.account.as_ref().map(|account| {
            serde_json::json!({
                "instance": account.instance,
                "closed": account.closed,
                "lost_at_most": if account.closed { Some(0) } else { promised },
                "before": account.before,
            })
        });
        let all = serde_json::json!({ "classes": rows, "account": account });
        let text = serde_json::to_string_pretty(&all).unwrap_or_default();
        return streams.answer(&(text + "\n"));
    }
    let age = |age: Option<u64>| age.map_or("-".to_owned(), |ms| format!("{:.1}s", ms as f64 / 1000.0));
    let mut text = format!(
        "{:<9} {:>8} {:>9} {:>10} {:>12} {:>10} {:>10} {:>8}\n",
        "class", "segments", "records", "messages", "bytes", "oldest", "newest", "damaged"
    );
    for row in rows {
        text.push_str(&format!(
            "{:<9} {:>8} {:>9} {:>10} {:>12} {:>10} {:>10} {:>8}\n",
            row.class,
            row.segments,
            row.records,
            row.messages,
            row.bytes,
            age(row.oldest_age_ms),
            age(row.newest_age_ms),
            row.damaged_ranges + row.torn
        ));
    }
    text.push_str(&account(found));
    streams.answer(&text)
}

/// What is known of the process that has or had the directory, and of the one before it.
fn account(found: &Inventory) -> String {
    let Some(account) = &found.account else { return String::new() };
    let most =
        |most: Option<u64>| most.map_or("an unknown number of".to_owned(), |most| format!("at most {most}"));
    let name = &account.instance;
    let mut text = if account.closed {
        format!("{name} has ended in order\n")
    } else {
        let promised = most(found.promise.map(|promise| promise.lost_at_most()));
        format!("{name} runs, or was killed and has taken {promised} messages along\n")
    };
    if let Some(before) = &account.before {
        let (name, most) = (&before.instance, most(before.lost_at_most));
        text.push_str(&format!("before it {name} was killed and has taken {most} messages along\n"));
    }
    text
}

fn export(found: &Inventory, key: Option<&Seal>, streams: &mut Streams<'_>) -> Exit {
    let (mut unreadable, mut exported) = (0u64, 0u64);
    let (mut progress, began) = (Progress::new(streams.err_look), clock());
    for facts in &found.segments {
        let written = facts.each_open(|header, stored| {
            let lines = open(&header, stored, key).ok().and_then(|body| export::lines(&body).ok());
            let Some(lines) = lines else {
                unreadable += 1;
                return Ok(());
            };
            for line in lines {
                serde_json::to_writer(&mut *streams.out, &line)?;
                streams.out.write_all(b"\n")?;
                exported += 1;
            }
            // At a terminal the lines themselves are the progress.
            if !streams.out_look.live {
                progress.say(began.elapsed(), streams.err, || format!("{exported} messages exported"));
            }
            Ok(())
        });
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Exit::Fine,
            Err(error) => {
                let why = format!("{}: {error}", facts.path.display());
                return streams.refuse(Exit::Unavailable, &why);
            }
            Ok(()) => {}
        }
    }
    progress.end(streams.err);
    if unreadable > 0 {
        let why = format!("{unreadable} records are damaged or sealed under another CROSSFADE_SPOOL_KEY");
        return streams.refuse(Exit::Unavailable, &why);
    }
    streams.answer("")
}
