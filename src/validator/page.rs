//! A report as one page of HTML that needs nothing else: no script, no network. Whatever came from messages is escaped.

use std::fmt::Write as _;

use super::report::{Leg, Report, time};
use super::verdict::Verdict;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd}td.n,th.n{text-align:right;\
font-variant-numeric:tabular-nums}.match{color:#05603a}.mismatch{color:#b42318}.not_enough_data{color:#7a5b00}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f5f5f5;padding:.5rem}small{color:#555}";

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = String::with_capacity(8 << 10);
    let (title, matching) = (format!("crossfade {} {}", report.service, report.id), &report.matching);
    push(
        &mut out,
        format_args!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style><h1>{0}</h1><p>{1} to {2}, pod {3}{4}</p>",
            text(&title),
            time(report.from_ms),
            time(report.to_ms),
            text(&report.pod),
            report.percent.map(|percent| format!(", rollout at {percent} %")).unwrap_or_default(),
        ),
    );
    let sentence = match matching.verdict {
        Verdict::Match => "proved: at least the gate's part matches",
        Verdict::Mismatch => "proved: less than the gate's part matches",
        Verdict::NotEnoughData => "not enough data for either",
    };
    push(
        &mut out,
        format_args!(
            "<h2>Match</h2><p class={}><strong>{}</strong> of {} pairs; {} at {} % confidence (gate {} %, {} pairs \
         needed with this many mismatches).</p><p>Coverage: {} of what was published.</p>",
            matching.verdict.as_str(),
            percent(matching.ratio),
            matching.pairs,
            sentence,
            matching.confidence * 100.0,
            matching.gate * 100.0,
            matching.needed,
            percent(matching.coverage),
        ),
    );
    rows(&mut out, "Kinds", matching.kinds.iter().map(|(word, count)| (word.as_str(), *count)));
    rows(&mut out, "Not compared", report.not_compared.iter().map(|(word, count)| (word.as_str(), *count)));
    let aside = [
        ("matched by a noise rule", matching.by_noise),
        ("came back only when published again", matching.repeated),
        ("copies that our own repetitions explain", matching.echoes),
        ("read-backs that were no envelope", matching.malformed),
    ];
    rows(&mut out, "Aside", aside.into_iter());
    latency(&mut out, report);
    parts(&mut out, report);
    noise(&mut out, report);
    parity(&mut out, report);
    samples(&mut out, report);
    out.push_str("</html>\n");
    out
}

/// Who may read on Realtime against who receives on legacy, since the process began.
fn parity(out: &mut String, report: &Report) {
    let Some(parity) = &report.parity else { return };
    rows(out, "Authorization", parity.checks.iter().map(|(word, count)| (word.as_str(), *count)));
    for sample in &parity.samples {
        let [session, who] = [&sample.session, &sample.who].map(|name| name.as_deref().unwrap_or("-"));
        let (verdict, topic) = (sample.verdict.as_str(), text(&sample.topic));
        push(
            out,
            format_args!("<p>{verdict}: {topic} <small>session {}, {}</small>", text(session), text(who)),
        );
    }
}

fn parts(out: &mut String, report: &Report) {
    for (name, shares) in
        [("By class", &report.classes), ("By size", &report.sizes), ("By event type", &report.types)]
    {
        push(
            out,
            format_args!(
                "<h2>{name}</h2><table><tr><th><th class=n>pairs<th class=n>mismatches<th class=n>not compared\
             <th class=n>coverage"
            ),
        );
        for (word, share) in shares {
            push(
                out,
                format_args!(
                    "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}",
                    text(word),
                    share.pairs,
                    share.bad,
                    share.not_compared,
                    percent(share.coverage)
                ),
            );
        }
        out.push_str("</table>");
    }
}

fn latency(out: &mut String, report: &Report) {
    out.push_str(
        "<h2>Latency</h2><table><tr><th>leg<th class=n>p50 ms<th class=n>p95 ms<th class=n>p99 ms<th class=n>samples",
    );
    let legs = [
        ("own queue (tap to publish)", &report.latency.queue),
        ("Realtime (publish to read-back)", &report.latency.realtime),
        ("behind the legacy client", &report.latency.behind_legacy),
    ];
    for (name, leg) in legs {
        let Leg { p50_ms, p95_ms, p99_ms, counts } = leg;
        push(
            out,
            format_args!(
                "<tr><td>{name}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}",
                edge(*p50_ms),
                edge(*p95_ms),
                edge(*p99_ms),
                counts.iter().sum::<u64>()
            ),
        );
    }
    out.push_str("</table><p><small>Upper edges of buckets.</small></p>");
}

fn noise(out: &mut String, report: &Report) {
    out.push_str("<h2>Noise</h2>");
    if report.noise.rules.is_empty() {
        out.push_str("<p>No rules.</p>");
    }
    for used in &report.noise.rules {
        push(
            out,
            format_args!(
                "<p><code>{}</code> {}: met {} times, excused {} differences{}</p>",
                text(&used.rule.pointer),
                text(used.rule.kind.as_deref().unwrap_or("any type")),
                used.used.met,
                used.used.excused,
                if used.dead {
                    ". <strong class=mismatch>Dead: it has never met its place.</strong>"
                } else {
                    ""
                },
            ),
        );
    }
    for natural in report.noise.natural.iter().filter(|one| !one.proposed.is_empty()) {
        push(
            out,
            format_args!(
                "<p>Legacy against legacy, {} {}: of {} pairs, {} were identical; these places differ by nature: <code>{}</code></p>",
                text(&natural.path),
                text(&natural.event),
                natural.pairs,
                natural.identical,
                text(&natural.proposed.join(" ")),
            ),
        );
    }
    let test = report.self_test;
    push(
        out,
        format_args!(
            "<h2>Self-test</h2><p class={}>{} of {} tests with known faults failed; the last one {}.</p>",
            if test.passed { "match" } else { "mismatch" },
            test.failures,
            test.runs,
            if test.passed { "saw them all" } else { "did not see them all: trust no figure above" },
        ),
    );
}

fn samples(out: &mut String, report: &Report) {
    push(out, format_args!("<h2>Samples ({})</h2>", report.samples.len()));
    for one in &report.samples {
        push(
            out,
            format_args!(
                "<h3>{} at {}: session {} {} seq {}, {} ({}), {} messages</h3>",
                one.kind.as_str(),
                time(one.at_ms),
                one.session,
                one.dir.as_str(),
                one.seq,
                text(&one.event),
                one.class.as_str(),
                one.messages,
            ),
        );
        if !one.differs.is_empty() {
            push(out, format_args!("<p>differs at <code>{}</code></p>", text(&one.differs.join(" "))));
        }
        for (name, body) in [("sent", &one.sent), ("came back", &one.got)] {
            if let Some(body) = body {
                push(out, format_args!("<p>{name}</p><pre>{}</pre>", text(body)));
            }
        }
    }
}

fn rows<'a>(out: &mut String, name: &str, rows: impl Iterator<Item = (&'a str, u64)>) {
    push(out, format_args!("<h2>{name}</h2><table>"));
    for (word, count) in rows {
        push(out, format_args!("<tr><td>{}<td class=n>{count}", text(word)));
    }
    out.push_str("</table>");
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

fn percent(part: Option<f64>) -> String {
    part.map_or("no data".to_owned(), |part| format!("{:.4} %", part * 100.0))
}

fn edge(ms: Option<u64>) -> String {
    ms.map_or("–".to_owned(), |ms| ms.to_string())
}

/// As text between tags.
fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
