//! What follows each turn: one sync, files that nobody needs any more, lists of settled records, the account.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::sync::atomic::Ordering;

use super::Report;
use super::checkpoint;
use super::recover::{list_path, segment_path};
use super::store::{Place, Store};
use crate::envelope::Class;
use crate::ledger::Shed;
use crate::spool::index::{Segment, settled_entry};
use crate::spool::promise::Promise;

impl Store {
    /// To be called after the commands of a turn: sync, lists, account, figures.
    pub(super) fn finish_turn(&mut self, now_ms: u64) {
        self.sync();
        self.keep_account(now_ms);
        for class in Class::ALL {
            self.sweep(class);
        }
        self.write_lists();
        let messages = Class::ALL.map(|class| self.index.open(class).1);
        for (shown, count) in self.figures.messages.iter().zip(messages) {
            shown.store(count, Ordering::Relaxed);
        }
        self.figures.bytes.store(self.index.bytes(), Ordering::Relaxed);
        self.figures.oldest_ms.store(self.index.oldest_ms().unwrap_or(0), Ordering::Relaxed);
    }

    /// Writes account and promise when they are due.
    fn keep_account(&mut self, now_ms: u64) {
        let Some(moment) = self.moment else { return };
        let is_old = now_ms.saturating_sub(self.written_ms) >= super::CHECKPOINT_EVERY.as_millis() as u64;
        let seen = moment.account.seen;
        if !(is_old || moment.urgent || seen >= self.figures.promise_due()) {
            return;
        }
        self.moment = None;
        let seen_max = seen.saturating_add(self.ahead.account(seen, moment.sessions));
        let at_risk = moment.account.in_flight + self.lost.saturating_sub(moment.lost_heard);
        self.promise(Promise { number: 0, seen_max, seen, at_risk });
        if let Err(error) = self.write_account(now_ms) {
            tracing::warn!(%error, "the account cannot be written to the spool's directory");
        }
    }

    /// Deletes segments that nobody needs. What is being written stays until it is a quarter full.
    pub(super) fn sweep(&mut self, class: Class) {
        let newest = self.index.series(class).back().map_or(0, |last| last.len);
        let writing = self.writers.get(class as usize).is_some_and(Option::is_some);
        let keep = writing && newest < self.settings.limits.segment / 4;
        while let Some(gone) = self.index.take_settled(class, keep) {
            self.forget_writer(class, gone.base);
            self.remove_files(class, gone.base);
        }
    }

    /// The oldest segment of a class goes, with everything in it.
    pub(super) fn evict(&mut self, class: Class) {
        self.sync(); // what is reported as lost must have been reported as synced before
        let Some(gone) = self.index.evict(class) else { return };
        self.forget_writer(class, gone.base);
        let inside = |place: &Place| place.ticket.class == class && place.base == gone.base;
        let held: u64 = self
            .held
            .values()
            .filter(|one| inside(&one.place))
            .map(|one| u64::from(one.place.messages))
            .sum();
        // What is handed out is accounted for when it comes back.
        let out: u64 = self.out.values().filter(|one| inside(one)).map(|one| u64::from(one.messages)).sum();
        self.held.retain(|_, one| !inside(&one.place));
        self.returned.retain(|_, one| !inside(one));
        let messages = gone.messages.saturating_sub(held + out);
        tracing::warn!(
            class = class.as_str(),
            messages,
            "the spool is full: the oldest of this class gives way"
        );
        self.lose(messages, Shed::SpoolFull);
        // A kill must not find them gone and in no account.
        let at_risk = self.promised.at_risk.saturating_add(gone.messages);
        self.promise(Promise { at_risk, ..self.promised });
        self.remove_files(class, gone.base);
    }

    pub(super) fn lose(&mut self, messages: u64, why: Shed) {
        if messages > 0 {
            self.lost += messages;
            self.reports.push(Report::Lost { messages, why });
        }
    }

    pub(super) fn forget_writer(&mut self, class: Class, base: u64) {
        if let Some(writer) = self.writers.get_mut(class as usize) {
            writer.take_if(|writer| writer.base == base);
        }
    }

    pub(super) fn remove_files(&self, class: Class, base: u64) {
        let dir = &self.settings.dir;
        for path in [segment_path(dir, class, base), list_path(dir, class, base)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(file = %path.display(), %error, "a file of the spool cannot be deleted");
                }
                _ => {}
            }
        }
    }

    /// Writes down what is settled, for segments that are still there.
    pub(super) fn write_lists(&mut self) {
        let mut entries: BTreeMap<(Class, u64), Vec<u8>> = BTreeMap::new();
        for (class, base, seq) in self.lists.drain(..) {
            entries.entry((class, base)).or_default().extend(settled_entry(seq));
        }
        for ((class, base), bytes) in entries {
            if !self.index.series(class).iter().any(|one: &Segment| one.base == base) {
                continue;
            }
            let list =
                OpenOptions::new().append(true).create(true).open(list_path(&self.settings.dir, class, base));
            let written = list.and_then(|mut file| io::Write::write_all(&mut file, &bytes));
            if let Err(error) = written {
                tracing::warn!(%error, "what is settled cannot be written down: it will be published once more");
            }
        }
    }

    pub(super) fn write_account(&mut self, now_ms: u64) -> io::Result<()> {
        // It stays: the last word at the end may come in a turn of its own, and says the same with `closed`.
        let Some(account) = &mut self.account else { return Ok(()) };
        account.at_ms = now_ms;
        account.v = 1;
        account.instance.clone_from(&self.settings.instance);
        account.before.clone_from(&self.before);
        account.held = self.held.values().map(|one| u64::from(one.place.messages)).sum();
        self.written_ms = now_ms;
        checkpoint::write(&self.settings.dir, account)
    }

    pub(super) fn close(&mut self, now_ms: u64) {
        self.sync();
        let remains = Class::ALL.map(|class| self.index.open(class).1);
        let messages = remains.into_iter().sum();
        self.account.get_or_insert_default().closed = true;
        if let Err(error) = self.write_account(now_ms) {
            tracing::error!(%error, "the last account cannot be written to the spool's directory");
        }
        self.reports.push(Report::Closed { messages });
    }
}
