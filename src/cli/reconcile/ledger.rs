//! What the table had confirmed against what is there: the account that each process keeps of its stored rows
//! (`CROSSFADE_STATE_DIR`), minute by minute, against the ids that the table still has of that minute.

use serde::Deserialize;

use super::{NAMED_MAX, Stop, Table};
use crate::cli::Streams;
use crate::sinks::account::{Confirmed, Ledger, MINUTE_MS};
use crate::validator::report::time;

/// Ids of one answer: 25 KiB of it.
const PAGE: u64 = 500;
/// Ids of one process and minute that are read: a table that never ends is no reason never to end.
const IDS_MAX: u64 = 10_000_000;
const PROGRESS_EVERY: u64 = 100;

/// What came of it.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Compared {
    /// Minutes of processes that the account has in this range.
    minutes: u64,
    /// Rows that the table had confirmed.
    confirmed: u64,
    /// Rows of those minutes that it has now.
    there: u64,
    /// Rows that are certainly gone, or others.
    pub(super) gone: u64,
    /// Lines of the account that cannot be read.
    unreadable: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) gone_minutes: Vec<String>,
}

impl Compared {
    /// One line, for people.
    pub(super) fn sentence(&self) -> String {
        format!(
            "{} minutes of the account: {} rows confirmed, {} there, {} gone",
            self.minutes, self.confirmed, self.there, self.gone
        )
    }
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

/// Compares each whole minute of the range.
pub(super) fn compare(
    ledger: &Ledger,
    (since, until): (u64, u64),
    table: &Table,
    streams: &mut Streams<'_>,
) -> Result<Compared, Stop> {
    let mut account = Compared { unreadable: ledger.unreadable, ..Compared::default() };
    for (instance, at, confirmed) in ledger.within(since, until) {
        let found = found(table, instance, at)?;
        account.minutes += 1;
        account.confirmed += confirmed.rows;
        account.there += found.rows;
        let gone = confirmed.lacking(found);
        account.gone += gone;
        if gone > 0 && (account.gone_minutes.len() as u64) < NAMED_MAX {
            let (rows, there) = (confirmed.rows, found.rows);
            account
                .gone_minutes
                .push(format!("{instance} minute {}: {rows} confirmed, {there} there", time(at)));
        }
        if account.minutes.is_multiple_of(PROGRESS_EVERY) {
            // Progress that nobody reads is no reason to stop.
            writeln!(streams.err, "{} minutes compared, {} rows gone", account.minutes, account.gone)
                .unwrap_or(());
        }
    }
    Ok(account)
}

/// The ids that the table has of this process and minute, page by page.
fn found(table: &Table, instance: &str, at: u64) -> Result<Confirmed, Stop> {
    let (mut found, mut last) = (Confirmed::default(), String::new());
    let instance: String = url::form_urlencoded::byte_serialize(instance.as_bytes()).collect();
    loop {
        let after = if last.is_empty() { String::new() } else { format!("&id=gt.{last}") };
        let query = format!(
            "select=id&instance=eq.{instance}&timestamp=gte.{}&timestamp=lt.{}{after}&order=id&limit={PAGE}",
            time(at),
            time(at + MINUTE_MS)
        );
        let ids: Vec<Id> = table.read(&query)?;
        let Some(end) = ids.last() else { return Ok(found) };
        // A server that repeats itself would keep us for ever.
        if end.id <= last || found.rows > IDS_MAX {
            return Err(Stop::Unavailable("the table's pages do not go on in order".to_owned()));
        }
        last.clone_from(&end.id);
        ids.iter().for_each(|row| found.add(&row.id));
    }
}
