//! Limits, a table and its publication: looked at without leaving anything behind.

use std::time::Duration;

use bytes::Bytes;

use super::{http, link, skip_after};
use crate::doctor::finding::{Check, Finding};
use crate::doctor::judge_rows::{self, Reply};
use crate::realtime::http::{self as broadcasts, Outgoing};
use crate::realtime::link::Config as LinkConfig;
use crate::realtime::message::Encoding;
use crate::realtime::url::Layout;

/// Sizes of payload that are tried, in KiB: a full batch of the mirror, then the smallest limit that plans have.
const PAYLOADS_KIB: [u32; 2] = [1_024, 250];

/// The checks after the round trip.
pub(super) async fn examine(
    link: &LinkConfig,
    topic: &str,
    table: Option<&str>,
    patience: Duration,
) -> Vec<Finding> {
    let mut findings = vec![limits(link, topic, patience).await];
    let Some(table) = table else {
        findings.extend(skip_after(Check::Limits, "not asked for; name one with --table"));
        return findings;
    };
    if link.endpoint.layout() == Layout::Bare {
        findings.push(Finding::skipped(Check::Table, "a bare Realtime server has no data API"));
    } else {
        let read = rows(link, (Ask::Read, table), patience).await;
        let write = rows(link, (Ask::Write(ROWS_BACK), table), patience).await;
        let blind = match &write {
            Some(reply) if reply.is_forbidden() => {
                rows(link, (Ask::Write("return=minimal"), table), patience).await
            }
            _ => None,
        };
        findings.push(judge_rows::table(table, read.as_ref(), write.as_ref(), blind.as_ref()));
    }
    let said = link::subscribe(link.clone(), topic, table, patience).await;
    findings.push(judge_rows::publication(table, said));
    findings
}

async fn limits(link: &LinkConfig, topic: &str, patience: Duration) -> Finding {
    let mut tried = Vec::new();
    for kib in PAYLOADS_KIB {
        // Half a KiB below: servers count names and braces, too.
        let fill = "x".repeat(kib as usize * 1_024 - 512);
        let message = Outgoing {
            topic: format!("{topic}:limits"),
            event: "check".to_owned(),
            payload: Bytes::from(format!("{{\"fill\":\"{fill}\"}}")),
            private: true,
            id: None,
        };
        let post = broadcasts::single(&link.endpoint, &link.key, &message, Encoding::Json);
        let Some(reply) = http::send(("POST", &post.url), post.headers, post.body, patience).await else {
            break;
        };
        let too_large = matches!(reply.status, 413 | 422);
        tried.push((kib, reply));
        if !too_large {
            break;
        }
    }
    judge_rows::limits(&tried)
}

/// Needs leave to read what was written.
const ROWS_BACK: &str = "return=representation";

/// What is asked of a table.
#[derive(Clone, Copy)]
enum Ask {
    /// No rows of it.
    Read,
    /// Two rows where one is announced: the server takes them back, should the table take them at all. With `Prefer`.
    Write(&'static str),
}

async fn rows(link: &LinkConfig, (ask, table): (Ask, &str), patience: Duration) -> Option<Reply> {
    let url = format!("{}/rest/v1/{table}", link.endpoint);
    let mut headers = link.endpoint.http_headers(&link.key);
    let (method, url, body) = match ask {
        Ask::Read => ("GET", format!("{url}?limit=0"), ""),
        Ask::Write(prefer) => {
            headers.push(("content-type", "application/json".to_owned()));
            headers.push(("accept", "application/vnd.pgrst.object+json".to_owned()));
            headers.push(("prefer", prefer.to_owned()));
            let url = if prefer == ROWS_BACK { format!("{url}?select=id") } else { url };
            ("POST", url, "[{\"id\":null},{\"id\":null}]")
        }
    };
    http::send((method, &url), headers, Bytes::from_static(body.as_bytes()), patience).await
}
