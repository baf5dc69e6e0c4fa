//! `crossfade explain --types`: the event types that the running process has seen, and a rule file for them.

use serde::Deserialize;

use super::drain::reachable;
use super::explain::ExplainArgs;
use super::{Exit, Streams, ask};
use crate::config::{Ops, Strings};

const PATH: &str = "/api/v1/types";

/// What of the answer is shown as text.
#[derive(Debug, Deserialize)]
struct List {
    types: Vec<Row>,
    messages: u64,
    untracked: u64,
    proposed: String,
}

#[derive(Debug, Deserialize)]
struct Row {
    r#type: String,
    count: u64,
    bytes: u64,
    share: f64,
    per_s: f64,
    class: Option<String>,
    why: String,
    rule: Option<usize>,
    proposed: Option<String>,
}

pub(super) fn run(args: &ExplainArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let (listen, token) = match Ops::admin(strings) {
        Ok(found) => found,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let admin = reachable(args.admin.unwrap_or(listen));
    let token = token.as_ref().map(|token| token.secret.expose());
    let body = match ask::get(admin, PATH, token) {
        Ok((200, body)) => body,
        Ok((401 | 403, _)) => {
            let why = "the running process has another CROSSFADE_ADMIN_VIEW_TOKEN or CROSSFADE_ADMIN_TOKEN";
            return streams.refuse(Exit::Config, &why);
        }
        Ok((status, _)) => {
            return streams.refuse(Exit::Unavailable, &format_args!("{admin} answers {status}"));
        }
        Err(error) => {
            let why =
                format!("no answer at {admin}: {error}; is crossfade running? --admin names another address");
            return streams.refuse(Exit::Unavailable, &why);
        }
    };
    match serde_json::from_slice::<Option<List>>(&body) {
        Ok(None) => {
            let why = "the running process mirrors nothing, so it looks at no message; set SUPABASE_URL and SUPABASE_KEY";
            streams.refuse(Exit::Unavailable, &why)
        }
        Ok(Some(list)) if args.rules && args.json => {
            streams.answer(&format!("{}\n", serde_json::json!({ "rules": list.proposed })))
        }
        Ok(Some(list)) if args.rules => streams.answer(&list.proposed),
        Ok(Some(list)) if !args.json => streams.answer(&list.text()),
        Ok(Some(_)) => streams.answer(&(String::from_utf8_lossy(&body).trim_end().to_owned() + "\n")),
        Err(error) => {
            streams.refuse(Exit::Unavailable, &format_args!("{admin}: not a list of event types: {error}"))
        }
    }
}

impl List {
    fn text(&self) -> String {
        let mut text = format!(
            "{:<32} {:>10} {:>12} {:>7} {:>9}  {:<9} {:<10} {}\n",
            "type", "messages", "bytes", "share", "per s", "class", "why", "proposed"
        );
        for row in &self.types {
            let why = row.rule.map_or_else(|| row.why.clone(), |rule| format!("rule {rule}"));
            text.push_str(&format!(
                "{:<32} {:>10} {:>12} {:>6.1}% {:>9.1}  {:<9} {:<10} {}\n",
                row.r#type,
                row.count,
                row.bytes,
                row.share * 100.0,
                row.per_s,
                row.class.as_deref().unwrap_or("left out"),
                why,
                row.proposed.as_deref().unwrap_or("-"),
            ));
        }
        let more = if self.untracked > 0 {
            format!(", {} more of types that found no room", self.untracked)
        } else {
            String::new()
        };
        text + &format!("{} types, {} messages{more}\n", self.types.len(), self.messages)
    }
}
