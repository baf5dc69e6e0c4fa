//! The validator's figures for whoever draws pictures of them, and the thread that writes its reports: a disk may hang,
//! and nobody else may hang with it. Rows of a table are [`report_rows`](super::report_rows)'.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::mirror::tally::Histogram;
use crate::validator::natural::Natural;
use crate::validator::noise::RuleUse;
use crate::validator::page::page;
use crate::validator::report::{Matching, Report, SelfTest, Span};
use crate::validator::samples::Discrepancy;
use crate::validator::{Kind, NotCompared};

/// Below the state directory.
pub(crate) const FOLDER: &str = "reports";
/// Reports that may wait for the disk.
const WAITING_MAX: usize = 8;
/// Hourly reports that are kept: a month.
const HOURLY_MAX: usize = 31 * 24;
/// Reports on steps that are kept.
const STEPS_MAX: usize = 200;
/// A report is at most this long when it is read again.
const REPORT_BYTES_MAX: u64 = 4 << 20;

/// What the validator knows at one moment.
#[derive(Clone, Debug)]
pub struct Proofs {
    /// When that was, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The last hour.
    pub rolling: Matching,
    /// Since the rollout's share has changed.
    pub step: Matching,
    /// Since the start.
    pub total: Matching,
    /// Not compared since the start, by [`NotCompared::ALL`].
    pub not_compared: [u64; NotCompared::ALL.len()],
    /// Since the start, by [`Kind::ALL`].
    pub kinds: [u64; Kind::ALL.len()],
    /// How much later than the legacy client a reader of Realtime has a message, since the start.
    pub behind_legacy: Histogram,
    /// Whether known faults are seen.
    pub self_test: SelfTest,
    /// The noise rules and their use.
    pub rules: Vec<RuleUse>,
    /// What differs between legacy sessions.
    pub natural: Vec<Natural>,
    /// Samples of discrepancies; only for those who may see payloads.
    pub discrepancies: Vec<Discrepancy>,
}

/// Written by the side thread, read by others.
#[derive(Debug, Default)]
pub(crate) struct ProofFigures {
    proofs: Mutex<Option<Arc<Proofs>>>,
    reports_lost: AtomicU64,
}

impl ProofFigures {
    pub(super) fn leave(&self, proofs: Proofs) {
        *self.proofs.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(proofs));
    }

    pub(super) fn report_lost(&self) {
        self.reports_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Option<Arc<Proofs>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn reports_lost(&self) -> u64 {
        self.reports_lost.load(Ordering::Relaxed)
    }
}

/// The side thread's end: where its reports go.
#[derive(Clone, Default)]
pub(crate) struct Outbox {
    /// The thread that writes files.
    pub(super) disk: Option<SyncSender<Arc<Report>>>,
    /// The thread that posts rows.
    pub(super) rows: Option<tokio::sync::mpsc::Sender<Arc<Report>>>,
}

impl Outbox {
    /// Hands a report over to whoever wants it and has room; never waits. Whether all of them took it.
    pub(super) fn try_send(&self, report: Report) -> bool {
        let report = Arc::new(report);
        let posted = match &self.rows {
            Some(rows) if report.is_row() => rows.try_send(Arc::clone(&report)).is_ok(),
            _ => true,
        };
        self.disk.as_ref().is_none_or(|disk| disk.try_send(report).is_ok()) && posted
    }
}

/// Starts the thread that writes into `state`/reports. It ends when the outbox is dropped.
pub(crate) fn start(
    state: &Path,
    figures: Arc<ProofFigures>,
) -> io::Result<(SyncSender<Arc<Report>>, JoinHandle<()>)> {
    let folder = state.join(FOLDER);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let (sender, inbox) = sync_channel(WAITING_MAX);
    let life = move || write_all(&folder, &inbox, &figures);
    Ok((sender, std::thread::Builder::new().name("reports".to_owned()).spawn(life)?))
}

fn write_all(folder: &Path, inbox: &Receiver<Arc<Report>>, figures: &ProofFigures) {
    while let Ok(report) = inbox.recv() {
        if let Err(error) = write(folder, &report).and_then(|()| retain(folder)) {
            figures.report_lost();
            tracing::error!(id = report.id, %error, "a report could not be written");
        }
    }
}

/// Writes both forms; a reader sees the old one or the new one whole.
fn write(folder: &Path, report: &Report) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(report).map_err(io::Error::other)?;
    for (ending, bytes) in [("json", json), ("html", page(report).into_bytes())] {
        let draft = folder.join(format!(".{}.{ending}", report.id));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&draft)?.write_all(&bytes)?;
        std::fs::rename(&draft, folder.join(format!("{}.{ending}", report.id)))?;
    }
    Ok(())
}

/// Removes the oldest of each span that are too many.
fn retain(folder: &Path) -> io::Result<()> {
    let ids = list(folder)?;
    for (span, most) in [(Span::Hourly, HOURLY_MAX), (Span::Step, STEPS_MAX)] {
        let of: Vec<&String> = ids.iter().filter(|id| id.starts_with(span.as_str())).collect();
        for id in of.iter().take(of.len().saturating_sub(most)) {
            for ending in ["json", "html"] {
                std::fs::remove_file(folder.join(format!("{id}.{ending}")))?;
            }
        }
    }
    Ok(())
}

/// The names of the reports in a folder, oldest first within each span.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
        ids.extend(id.filter(|id| is_id(id)).map(str::to_owned));
    }
    ids.sort();
    Ok(ids)
}

/// Reads one report. Names that no report can have are not looked for.
///
/// # Errors
/// It is not there, too long, or none.
pub(crate) fn read(folder: &Path, id: &str) -> io::Result<Report> {
    if !is_id(id) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no report has such a name"));
    }
    let path: PathBuf = folder.join(format!("{id}.json"));
    if std::fs::metadata(&path)?.len() > REPORT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long for a report"));
    }
    serde_json::from_slice(&std::fs::read(&path)?).map_err(io::Error::other)
}

fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 64
        && !id.starts_with('.')
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validator::noise::Noise;
    use crate::validator::report::{Frame, NoiseReport};
    use crate::validator::tally::Tally;

    fn report(span: Span, from_ms: u64) -> Report {
        let frame = Frame {
            span,
            service: "a<b>".to_owned(),
            pod: "pod".to_owned(),
            ms: (from_ms, from_ms + 1_000),
            percent: Some(12.5),
            noise: NoiseReport { rules: Noise::default().uses(), natural: Vec::new() },
            self_test: SelfTest::default(),
            samples: Vec::new(),
        };
        Report::new(frame, &Tally::default())
    }

    #[test]
    fn reports_are_written_whole_read_again_and_kept_for_a_while() {
        let state = std::env::temp_dir().join(format!("crossfade-reports-{}", std::process::id()));
        let figures = Arc::new(ProofFigures::default());
        let (disk, thread) = start(&state, Arc::clone(&figures)).unwrap();
        let outbox = Outbox { disk: Some(disk), rows: None };
        let folder = state.join(FOLDER);
        for n in 0..STEPS_MAX as u64 + 3 {
            let mut one = report(Span::Step, n * 1_000);
            while !outbox.try_send(one) {
                std::thread::yield_now();
                one = report(Span::Step, n * 1_000);
            }
        }
        drop(outbox);
        thread.join().unwrap();
        let ids = list(&folder).unwrap();
        assert_eq!(ids.len(), STEPS_MAX);
        assert_eq!(ids[0], "step-19700101T000003Z", "the oldest have given way");
        assert_eq!(read(&folder, &ids[0]).unwrap(), report(Span::Step, 3_000));
        let html = std::fs::read_to_string(folder.join(format!("{}.html", ids[0]))).unwrap();
        assert!(html.contains("a&lt;b&gt;") && !html.contains("a<b>") && !html.contains("http"), "{html}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2 * STEPS_MAX, "no drafts are left");
        for bad in ["../x", "", ".x", "a/b", "nothing"] {
            assert!(read(&folder, bad).is_err(), "{bad}");
        }
        std::fs::remove_dir_all(&state).unwrap();
        assert_eq!(figures.reports_lost(), 0);
    }
}
