//! `crossfade drill`: asks the running process to rehearse the trip on a small part of its hot sessions, and waits for
//! what came of it. Same container, same environment, so the same token.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::ask::{get, post};
use super::drain::{clock, reachable};
use super::look::Tone;
use super::progress::Progress;
use super::report::drill_line;
use super::{Exit, Streams};
use crate::config::{Config, Strings};
use crate::drill::Record;

const PATH: &str = "/api/v1/drill";
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// So many looks: longer than the longest drill.
const LOOKS_MAX: u32 = 500;

const NO_TOKEN: &str = "a drill needs CROSSFADE_ADMIN_TOKEN (or _FILE), the same as the running process has";

/// Arguments of `drill`.
#[derive(Clone, Debug, Args)]
pub struct DrillArgs {
    /// The running process's admin listener, instead of CROSSFADE_ADMIN_LISTEN
    #[arg(long, value_name = "ADDR:PORT")]
    pub admin: Option<SocketAddr>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &DrillArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let config = match Config::load(strings) {
        Ok(config) => config,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let Some(token) = &config.ops.admin_token else { return streams.refuse(Exit::Config, &NO_TOKEN) };
    let admin = reachable(args.admin.unwrap_or(config.ops.admin_listen));
    let mut progress = Progress::new(streams.err_look);
    let began = clock();
    let held = hold(admin, token.secret.expose(), &mut |number| {
        let took = began.elapsed();
        progress.say(took, streams.err, || format!("drill {number} is under way, {} s", took.as_secs()));
    });
    progress.end(streams.err);
    match held {
        Ok(record) => {
            let text = if args.json {
                serde_json::to_string(&record).unwrap_or_default()
            } else {
                let tone = if record.outcome.is_failure() { Tone::Bad } else { Tone::Good };
                let word = record.outcome.as_str();
                drill_line(&record).replacen(word, &streams.out_look.paint(tone, word), 1)
            };
            let said = streams.answer(&(text + "\n"));
            if record.outcome.is_failure() { Exit::Bug } else { said }
        }
        Err((exit, why)) => streams.refuse(exit, &why),
    }
}

fn hold(admin: SocketAddr, token: &str, waiting: &mut dyn FnMut(u64)) -> Result<Record, (Exit, String)> {
    let unavailable = |error: std::io::Error| (Exit::Unavailable, format!("no drill at {admin}: {error}"));
    let (status, body) = post(admin, PATH, Some(token), "*", "{}").map_err(unavailable)?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = answer["error"]["message"].as_str().unwrap_or("no reason was given");
    match status {
        200 => {}
        401 => {
            let why = "the running process has another CROSSFADE_ADMIN_TOKEN".to_owned();
            return Err((Exit::Config, why));
        }
        status => return Err((Exit::Unavailable, format!("no drill ({status}): {message}"))),
    }
    let (number, last) = (answer["after"]["number"].as_u64(), answer["before"]["last"]["at_ms"].as_u64());
    // A process before this one may have left a drill of the same number.
    let is_ours = |one: &Record| Some(u64::from(one.number)) == number && Some(one.at_ms) != last;
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(LOOK);
        waiting(number.unwrap_or_default());
        let (_, body) = get(admin, PATH, Some(token)).map_err(unavailable)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let newest: Option<Record> = serde_json::from_value(answer["drills"][0].clone()).ok();
        if let Some(record) = newest.filter(is_ours) {
            return Ok(record);
        }
    }
    Err((Exit::Unavailable, "the drill did not end: look at crossfade's log".to_owned()))
}
