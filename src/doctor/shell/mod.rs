//! Looks at the world, one attempt a step, and hands what it saw to `judge.rs`.
//! Steps that need one which failed are skipped.

mod http;
mod link;
mod rows;

pub(crate) use http::request_once;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::finding::{Blame, Check, Finding, Report};
use super::{date, judge};
use crate::app;
use crate::config::{Config, RolloutLane, Supabase};
use crate::proxy::Target;
use crate::realtime::key::ApiKey;
use crate::realtime::link::Config as LinkConfig;

/// What a person asks for beside what the configuration names.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where the service is asked for a WebSocket.
    pub path: &'a str,
    /// A table of the schema `public` that rows should go to.
    pub table: Option<&'a str>,
    /// How long each step may take.
    pub patience: Duration,
}

/// Looks at everything that `config` names.
pub async fn examine(config: &Config, asked: Asked<'_>) -> Report {
    let mut findings = vec![configuration(config)];
    findings.push(upstream(config, asked.path, asked.patience).await);
    match &config.supabase {
        Some(supabase) => findings.extend(project(config, supabase, asked).await),
        None => findings.extend(skip_after(Check::Upstream, "no Supabase settings")),
    }
    Report { findings }
}

fn configuration(config: &Config) -> Finding {
    let check = Check::Configuration;
    if let Err(error) = app::accepts(config) {
        let remedy = "crossfade config lists every variable";
        return Finding::fails(check, Blame::Ours, error.to_string(), remedy);
    }
    let found = format!("service {}, pod {}", config.service.name, config.service.pod);
    match config.notices().as_slice() {
        [] => Finding::fine(check, found),
        notices => Finding::warning(check, found, notices.join("; ")),
    }
}

async fn upstream(config: &Config, path: &str, patience: Duration) -> Finding {
    let place = config.proxy.upstream.to_string();
    let answer = match app::proxy_settings(config) {
        Ok(own) => http::ask(Some(&own), own.upstream.clone(), path, true, patience).await,
        Err(error) => judge::Answer::Unreachable(error.to_string()),
    };
    judge::upstream(&answer, &place, path)
}

/// Every check after `last`, skipped.
fn skip_after(last: Check, why: &str) -> impl Iterator<Item = Finding> {
    let rest = Check::ALL.into_iter().skip_while(move |check| *check != last).skip(1);
    rest.map(move |check| Finding::skipped(check, why))
}

async fn project(config: &Config, supabase: &Supabase, asked: Asked<'_>) -> Vec<Finding> {
    let link = match app::link(supabase) {
        Ok(link) => link,
        Err(error) => {
            let remedy = "copy the project's URL from its API settings";
            let url = Finding::fails(Check::Url, Blame::Ours, error.to_string(), remedy);
            let rest = skip_after(Check::Url, "needs a URL");
            return std::iter::once(url).chain(rest).collect();
        }
    };
    let (unix_secs, layout) = (unix_secs(), link.endpoint.layout());
    let key = judge::key(&link.key, layout, unix_secs);
    let anon = supabase.anon_key.as_ref().map(|anon| ApiKey::new(anon.secret.expose()));
    let native = config.rollout.lane == RolloutLane::Native || config.cold.is_some();
    let anon = judge::anon_key(anon.as_ref(), native, layout, unix_secs);
    let clock = clock(supabase, asked.patience).await;
    let key_failed = key.failed();
    let mut findings = vec![judge::url(&link.endpoint, &supabase.url), key, anon, clock];
    if key_failed {
        findings.extend(skip_after(Check::Clock, "needs another key"));
    } else {
        findings.extend(realtime(config, link, asked).await);
    }
    findings
}

async fn clock(supabase: &Supabase, patience: Duration) -> Finding {
    // Any answer has a date; the path does not matter.
    let answer = match Target::with_path(supabase.url.as_str()) {
        Ok(target) => http::ask(None, target, "/", false, patience).await,
        Err(error) => judge::Answer::Unreachable(error.to_string()),
    };
    match answer {
        judge::Answer::Http { date, .. } => {
            let theirs = date.as_deref().and_then(date::unix);
            judge::clock(theirs, i64::try_from(unix_secs()).unwrap_or(i64::MAX))
        }
        _ => Finding::skipped(Check::Clock, "the project does not answer over HTTP"),
    }
}

async fn realtime(config: &Config, link: LinkConfig, asked: Asked<'_>) -> Vec<Finding> {
    let patience = asked.patience;
    let topic = app::topic(config);
    let ended = link::examine(link.clone(), &topic, patience).await;
    let steps = [Check::Connect, Check::Join, Check::RoundTrip];
    let mut findings = vec![];
    for check in steps {
        if ended.reached(check) {
            findings.push(match (check, ended.took) {
                (Check::RoundTrip, Some(took)) => judge::round_trip(took, config.hot.deadline),
                (Check::Join, _) => Finding::fine(check, format!("joined private topic {topic}")),
                _ => Finding::fine(check, "publisher and reader are connected"),
            });
            continue;
        }
        findings.push(match ended.why {
            Some(reason) => judge::refused(check, reason),
            None => judge::silent(check, patience),
        });
        findings.extend(skip_after(check, "needs the step before"));
        return findings;
    }
    findings.extend(rows::examine(&link, &topic, asked.table, patience).await);
    findings
}

#[expect(clippy::disallowed_methods, reason = "keys and clocks are judged by the wall clock")]
fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
