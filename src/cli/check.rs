//! `crossfade check`: what works for the configured project, what does not, and what to change.
//! The room `doctor` looks and judges; here are the arguments and the exit code.

use std::time::Duration;

use clap::Args;

use super::look::{self, Look, Tone};
use super::{Exit, Streams};
use crate::config::{Strings, Value as _};
use crate::doctor::{self, Blame, Report, Verdict};

/// Arguments of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Where the service is asked for a WebSocket
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    pub path: String,
    /// A table of the schema public that rows should go to, such as monitoring_events
    #[arg(long, value_name = "NAME", value_parser = table)]
    pub table: Option<String>,
    /// How long each step may take
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = Duration::parse)]
    pub patience: Duration,
}

fn path(text: &str) -> Result<String, String> {
    match text.parse::<http::uri::PathAndQuery>() {
        Ok(_) if text.starts_with('/') => Ok(text.to_owned()),
        _ => Err("is not a path such as /ws".to_owned()),
    }
}

fn table(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.is_empty() && text.chars().all(letter) {
        Ok(text.to_owned())
    } else {
        Err("is not a table such as monitoring_events".to_owned())
    }
}

pub(super) fn run(args: &CheckArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let report = match crate::app::load(strings) {
        Err(problems) => doctor::unreadable(&problems),
        Ok(config) => {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return streams.refuse(Exit::Unavailable, &error),
            };
            let table = args.table.as_deref();
            let asked = doctor::Asked { path: &args.path, table, patience: args.patience };
            runtime.block_on(Box::pin(doctor::examine(&config, asked)))
        }
    };
    let text = if args.json { report.json() } else { text(&report, streams.out_look) };
    match (streams.answer(&text), report.blame()) {
        (Exit::Fine, Some(Blame::Ours)) => Exit::Config,
        (Exit::Fine, Some(Blame::Theirs)) => Exit::Unavailable,
        (exit, _) => exit,
    }
}

/// One row a finding, the remedy below it.
fn text(report: &Report, look: Look) -> String {
    let tone = |verdict| match verdict {
        Verdict::Fine => Tone::Good,
        Verdict::Warning => Tone::Doubt,
        Verdict::Fails(_) => Tone::Bad,
        Verdict::Skipped => Tone::Quiet,
    };
    let rows: Vec<look::Row<'_>> = report
        .findings
        .iter()
        .map(|finding| look::Row {
            tone: tone(finding.verdict),
            state: finding.verdict.as_str(),
            name: finding.check.as_str(),
            found: &finding.found,
            remedy: &finding.remedy,
        })
        .collect();
    let (tone, last) = match report.findings.iter().filter(|finding| finding.failed()).count() {
        0 => (Tone::Good, "everything that crossfade needs works".to_owned()),
        1 => (Tone::Bad, "1 check failed".to_owned()),
        n => (Tone::Bad, format!("{n} checks failed")),
    };
    format!("{}{}\n", look::table(&rows, look), look.paint(tone, &last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Check, Finding};

    #[test]
    fn findings_are_laid_out_with_their_remedies() {
        let finding = |check, verdict, found: &str, remedy: &str| Finding {
            check,
            verdict,
            found: found.to_owned(),
            remedy: remedy.to_owned(),
        };
        let remedy =
            "no policy on realtime.messages lets this role read the topic; add one or use another role";
        let report = Report {
            findings: vec![
                finding(Check::Configuration, Verdict::Fine, "service app, pod app-7c9f", ""),
                finding(Check::Join, Verdict::Fails(Blame::Ours), "unauthorized", remedy),
                finding(Check::RoundTrip, Verdict::Skipped, "needs the step before", ""),
            ],
        };
        let wanted = "\
ok       configuration  service app, pod app-7c9f
failed   join           unauthorized
                        → no policy on realtime.messages lets this role read
                          the topic; add one or use another role
skipped  round_trip     needs the step before
1 check failed
";
        assert_eq!(text(&report, Look::PLAIN), wanted);
    }
}
