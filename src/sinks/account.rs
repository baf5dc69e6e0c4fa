//! What the table has confirmed, by process and minute of the messages: how many rows, and a sum over their ids. It is
//! what is left of a message that was stored and settled, so that one can ask months later whether the rows are
//! still there. It cannot say which row is gone, only how many of a minute are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::row::Row;

/// Minutes that wait to be written; beyond, rows are not accounted for, and that is counted.
pub const MINUTES_MAX: usize = 1_440;
/// One minute.
pub const MINUTE_MS: u64 = 60_000;

/// Rows of one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// How many.
    pub rows: u64,
    /// The sum of [`digest`] over their ids: the same for the same rows in any order.
    pub sum: u64,
}

impl Confirmed {
    /// Counts a row in.
    pub fn add(&mut self, id: &str) {
        self.rows = self.rows.saturating_add(1);
        self.sum = self.sum.wrapping_add(digest(id));
    }

    fn join(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Rows that are certainly not there any more, when these were found.
    #[must_use]
    pub const fn lacking(self, found: Self) -> u64 {
        if found.rows < self.rows {
            return self.rows - found.rows;
        }
        // As many, but not the same ones: at least one is another.
        (found.rows == self.rows && found.sum != self.sum) as u64
    }
}

/// What stands for an id in a sum: its last 16 hexadecimal digits.
#[must_use]
pub fn digest(id: &str) -> u64 {
    let digits = id.chars().filter_map(|digit| digit.to_digit(16));
    digits.fold(0, |sum, digit| sum << 4 | u64::from(digit))
}

/// See the module. Filled by the sink, emptied into a file about once a minute.
#[derive(Clone, Debug, Default)]
pub struct Account {
    waiting: BTreeMap<(String, u64), Confirmed>,
    left_out: u64,
}

/// A line of the file: rows that were confirmed since the line before.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    instance: String,
    /// The begin of the minute, in milliseconds since the Unix epoch.
    at: u64,
    rows: u64,
    sum: String,
}

impl Account {
    /// The table has this row.
    pub fn note(&mut self, row: &Row) {
        let key = (row.instance.to_string(), row.at_ms - row.at_ms % MINUTE_MS);
        if self.waiting.len() >= MINUTES_MAX && !self.waiting.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        self.waiting.entry(key).or_default().add(&row.id());
    }

    /// Rows that were not accounted for.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// What is to be appended to the file; empty when nothing was confirmed.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut out = String::new();
        for ((instance, at), confirmed) in &self.waiting {
            let sum = format!("{:016x}", confirmed.sum);
            let line = Line { instance: instance.clone(), at: *at, rows: confirmed.rows, sum };
            let line = serde_json::to_string(&line).expect("plain fields can be written to memory");
            writeln!(out, "{line}").expect("writing to a String cannot fail");
        }
        out
    }

    /// The lines are written.
    pub fn written(&mut self) {
        self.waiting.clear();
    }
}

/// The account as files hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// By process and begin of the minute.
    pub minutes: BTreeMap<(String, u64), Confirmed>,
    /// Lines that cannot be read: a process was killed while it wrote.
    pub unreadable: u64,
}

impl Ledger {
    /// Reads the text of a file in.
    pub fn read(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let line = serde_json::from_str::<Line>(line).ok();
            let read = line.and_then(|line| Some((u64::from_str_radix(&line.sum, 16).ok()?, line)));
            match read {
                Some((sum, line)) => {
                    let confirmed = Confirmed { rows: line.rows, sum };
                    self.minutes.entry((line.instance, line.at)).or_default().join(confirmed);
                }
                None => self.unreadable += 1,
            }
        }
    }

    /// The minutes that lie in a range of time as a whole.
    pub fn within(&self, since: u64, until: u64) -> impl Iterator<Item = (&str, u64, Confirmed)> {
        let whole = move |at: u64| at >= since && at.saturating_add(MINUTE_MS) <= until;
        let minutes = self.minutes.iter().filter(move |((_, at), _)| whole(*at));
        minutes.map(|((instance, at), confirmed)| (instance.as_str(), *at, *confirmed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::envelope::Class;
    use crate::session::{Direction, Key, Opcode, Seq, SessionNo};

    fn row(instance: &str, seq: u64, at_ms: u64) -> Row {
        Row {
            key: Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) },
            session_id: None,
            source: Arc::from("shop"),
            instance: Arc::from(instance),
            at_ms,
            kind: "tick".to_owned(),
            class: Class::Critical,
            op: Opcode::Text,
            path: Arc::from("/ws"),
            body: Bytes::new(),
            redacted: false,
            replay: false,
        }
    }

    fn found<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Confirmed {
        let mut all = Confirmed::default();
        rows.into_iter().for_each(|row| all.add(&row.id()));
        all
    }

    #[test]
    fn what_was_written_in_pieces_is_one_account() {
        let rows: Vec<Row> = (0..10).map(|n| row("pod-1", n, 59_999 + n / 5)).collect();
        let (mut account, mut file) = (Account::default(), String::new());
        for (n, one) in rows.iter().enumerate() {
            account.note(one);
            if n % 3 == 2 {
                file += &account.lines();
                account.written();
            }
        }
        account.note(&row("pod-2", 1, 5));
        file += &account.lines();
        let mut ledger = Ledger::default();
        ledger.read(&file);
        ledger.read("{\"instance\":\"pod-1\",\"at\":0,\"ro");
        assert_eq!((ledger.minutes.len(), ledger.unreadable), (3, 1));
        let of = |pod: &str, at: u64| ledger.minutes[&(pod.to_owned(), at)];
        assert_eq!(of("pod-1", 0), found(&rows[..5]));
        assert_eq!(of("pod-1", MINUTE_MS), found(rows[5..].iter().rev()), "in any order");
        let within = |since, until| ledger.within(since, until).map(|one| (one.0, one.1)).collect::<Vec<_>>();
        assert_eq!(within(0, 120_000), [("pod-1", 0), ("pod-1", 60_000), ("pod-2", 0)]);
        assert_eq!(within(1, 120_000), [("pod-1", 60_000)], "only whole minutes");
        assert_eq!(within(0, 119_999), [("pod-1", 0), ("pod-2", 0)]);
    }

    #[test]
    fn what_is_gone_shows_and_what_came_besides_is_no_loss() {
        let rows: Vec<Row> = (0..5).map(|n| row("pod-1", n, 0)).collect();
        let confirmed = found(&rows);
        assert_eq!(confirmed.lacking(confirmed), 0);
        assert_eq!(confirmed.lacking(found(&rows[1..])), 1);
        assert_eq!(confirmed.lacking(Confirmed::default()), 5);
        let other = row("pod-1", 9, 0);
        assert_eq!(confirmed.lacking(found(rows[1..].iter().chain([&other]))), 1, "as many, but others");
        assert_eq!(confirmed.lacking(found(rows.iter().chain([&other]))), 0, "more than the account knew of");
        assert_eq!(digest("00000000-0000-8000-8000-0000000000ff"), 0x8000_0000_0000_00ff);
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_a_bounded_part_of_memory() {
        let mut account = Account::default();
        for minute in 0..MINUTES_MAX as u64 + 7 {
            account.note(&row("pod-1", minute, minute * MINUTE_MS));
        }
        account.note(&row("pod-1", 0, 1));
        assert_eq!((account.waiting.len(), account.left_out()), (MINUTES_MAX, 7));
        assert_eq!(account.lines().lines().count(), MINUTES_MAX, "kept until they are written");
    }
}
