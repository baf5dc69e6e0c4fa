//! The validator's reports and samples. Reports are files, and a disk may hang: each question reads in a thread of its
//! own, at most [`READERS_MAX`] at once, and whoever comes while they all wait is told so.

use std::path::Path;

use tokio::sync::oneshot;

use super::{Console, json};
use crate::admin::api::{Problem, Reply};
use crate::app::reports;
use crate::validator::report::Report;

/// Threads that may wait for the disk.
pub(super) const READERS_MAX: usize = 2;
/// Reports in one list; the newest of each span.
const LISTED_MAX: usize = 200;

impl Console {
    /// The list, newest last; null without a state directory.
    pub(super) async fn reports(&self) -> Reply {
        let Some(folder) = self.names.reports.clone() else { return Ok(serde_json::Value::Null) };
        self.read(move || list(&folder)).await
    }

    /// One report, without its samples for those who may not see payloads.
    pub(super) async fn report(&self, id: String, with_samples: bool) -> Reply {
        let Some(folder) = self.names.reports.clone() else {
            return Err(Problem::not_found("no reports are kept; set CROSSFADE_STATE_DIR"));
        };
        self.read(move || {
            let mut report = reports::read(&folder, &id).map_err(|error| gone(&error))?;
            if !with_samples {
                report.samples.clear();
            }
            json(&report)
        })
        .await
    }

    /// Samples as of the last second; null without a validator.
    pub(super) fn discrepancies(&self) -> serde_json::Value {
        let proofs = self.eyes.proofs.read();
        proofs.map_or(
            serde_json::Value::Null,
            |proofs| serde_json::json!({ "at_ms": proofs.at_ms, "discrepancies": proofs.discrepancies }),
        )
    }

    async fn read(&self, work: impl FnOnce() -> Reply + Send + 'static) -> Reply {
        let disk = || Problem::busy("CROSSFADE_STATE_DIR");
        let turn = std::sync::Arc::clone(&self.reading).try_acquire_owned().map_err(|_| disk())?;
        let (answer, answered) = oneshot::channel();
        let life = move || {
            // Whoever asked may have gone.
            let _gone = answer.send(work());
            drop(turn);
        };
        std::thread::Builder::new().name("reading".to_owned()).spawn(life).map_err(|_| disk())?;
        answered.await.map_err(|_| disk())?
    }
}

fn list(folder: &Path) -> Reply {
    let ids = reports::list(folder).map_err(|error| gone(&error))?;
    let newest = ids.iter().skip(ids.len().saturating_sub(LISTED_MAX));
    let rows: Vec<_> = newest.filter_map(|id| Some(row(&reports::read(folder, id).ok()?))).collect();
    Ok(serde_json::json!({ "reports": rows }))
}

/// A report in a list.
fn row(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "id": report.id, "span": report.span, "from_ms": report.from_ms, "to_ms": report.to_ms,
        "percent": report.percent, "match": report.matching,
    })
}

fn gone(error: &std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Problem::not_found("there is no such report; GET /api/v1/reports names those there are")
        }
        _ => Problem::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            "unreadable",
            format!("CROSSFADE_STATE_DIR: {error}"),
        ),
    }
}
