//! Hands out the backlog: most urgent class first, each class in the order in which it was stored.

use std::fs::File;
use std::io;

use super::figures::State;
use super::recover::{read_at, read_body, segment_path};
use super::store::{Place, Store};
use super::{Backlog, Report, Ticket};
use crate::envelope::Class;
use crate::ledger::Shed;
use crate::spool::record::{Damage, HEADER_LEN, Header, open};
use crate::spool::scan::{Found, Scanner};

/// Where the reading of one class stands.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    now: Option<Reading>,
    /// The last segment that was read to its end.
    behind: Option<u64>,
}

#[derive(Debug)]
struct Reading {
    base: u64,
    file: File,
    scanner: Scanner,
}

enum Step {
    Record(Place, Header),
    Again,
    End,
}

impl Store {
    /// Reports the next record of the backlog, or that there is none.
    pub(super) fn hand_out(&mut self) {
        if self.state == State::Sealed {
            return self.reports.push(Report::Empty);
        }
        for class in Class::ALL {
            match self.next_of(class) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    if self.state != State::Sealed {
                        tracing::error!(%error, "the spool cannot be read");
                    }
                    break;
                }
            }
        }
        self.reports.push(Report::Empty);
    }

    /// Whether a record of this class was handed out.
    fn next_of(&mut self, class: Class) -> io::Result<bool> {
        let first = Ticket { class, seq: 0 };
        let last = Ticket { class, seq: u64::MAX };
        while let Some((ticket, place)) = self.returned.range(first..=last).next().map(|(a, b)| (*a, *b)) {
            self.returned.remove(&ticket);
            let file = File::open(segment_path(&self.settings.dir, class, place.base))?;
            let mut bytes = [0; HEADER_LEN];
            read_at(&file, &mut bytes, place.at)?;
            match Header::decode(&bytes) {
                Some(header) if self.give(&file, place, &header)? => return Ok(true),
                Some(_) => {}
                None => self.damaged(place),
            }
        }
        loop {
            match self.step(class)? {
                Step::End => return Ok(false),
                Step::Again => {}
                Step::Record(place, header) => {
                    let held =
                        self.held.get_mut(&header.batch).filter(|held| held.place.ticket == place.ticket);
                    if let Some(held) = held {
                        held.passed = true;
                        continue;
                    }
                    let segment = self.index.series(class).iter().find(|one| one.base == place.base);
                    if segment.is_none_or(|segment| segment.is_settled(header.seq)) {
                        continue;
                    }
                    let path = segment_path(&self.settings.dir, class, place.base);
                    if self.give(&File::open(path)?, place, &header)? {
                        return Ok(true);
                    }
                }
            }
        }
    }

    fn give(&mut self, file: &File, place: Place, header: &Header) -> io::Result<bool> {
        let stored = read_body(file, place.at, header)?;
        match open(header, stored, self.settings.seal.as_ref()) {
            Ok(body) => {
                self.out.insert(place.ticket, place);
                #[cfg(test)]
                if self.sabotage == Some(super::tests::Sabotage::SettleOnHandOut) {
                    self.settle(place);
                }
                self.reports.push(Report::Backlog(Backlog {
                    ticket: place.ticket,
                    batch: header.batch,
                    at_ms: header.at_ms,
                    messages: header.messages,
                    body,
                }));
                Ok(true)
            }
            Err(Damage::Checksum) => {
                self.damaged(place);
                Ok(false)
            }
            Err(Damage::Key) => {
                tracing::error!(
                    "the spool holds records that CROSSFADE_SPOOL_KEY does not open; nothing is handed out until a \
                     process with the right key starts"
                );
                self.returned.insert(place.ticket, place);
                self.set_state(State::Sealed);
                Err(io::Error::from(io::ErrorKind::InvalidData))
            }
        }
    }

    fn damaged(&mut self, place: Place) {
        let file = segment_path(&self.settings.dir, place.ticket.class, place.base);
        self.figures.damaged.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tracing::error!(
            file = %file.display(),
            from = place.at,
            messages = place.messages,
            "a record of the spool is damaged; what was in it is lost"
        );
        self.settle(place);
        self.lose(u64::from(place.messages), Shed::SpoolDamaged);
    }

    fn step(&mut self, class: Class) -> io::Result<Step> {
        let Some(cursor) = self.cursors.get_mut(class as usize) else { return Ok(Step::End) };
        let series = self.index.series(class);
        let behind = cursor.behind;
        // A segment that is gone (settled or given up) is not read any further.
        if let Some(gone) = cursor.now.take_if(|now| !series.iter().any(|one| one.base == now.base)) {
            cursor.behind = Some(gone.base);
        }
        let Some(now) = &mut cursor.now else {
            let next = series.iter().find(|one| behind.is_none_or(|behind| one.base > behind));
            let Some(segment) = next else { return Ok(Step::End) };
            let file = File::open(segment_path(&self.settings.dir, class, segment.base))?;
            let scanner = Scanner::new(0, segment.synced);
            cursor.now = Some(Reading { base: segment.base, file, scanner });
            return Ok(Step::Again);
        };
        let Some(segment) = series.iter().find(|one| one.base == now.base) else { return Ok(Step::Again) };
        now.scanner.set_len(segment.synced);
        let Some((at, want)) = now.scanner.wants() else {
            if series.back().is_none_or(|last| last.base == now.base) {
                return Ok(Step::End);
            }
            cursor.behind = Some(now.base);
            let base = now.base;
            cursor.now = None;
            self.write_off(class, base);
            return Ok(Step::Again);
        };
        let mut window = vec![0; want];
        let got = read_at(&now.file, &mut window, at)?;
        window.truncate(got);
        Ok(match now.scanner.feed(&window) {
            Some(Found::Record { at, header }) => {
                let ticket = Ticket { class, seq: header.seq };
                Step::Record(Place { ticket, base: now.base, at, messages: header.messages }, header)
            }
            _ => Step::Again,
        })
    }

    /// What is neither settled nor anywhere else after a whole segment was read is behind damage that came later.
    fn write_off(&mut self, class: Class, base: u64) {
        let inside = |place: &&Place| place.ticket.class == class && place.base == base;
        let count = |sum: (u64, u64), place: &Place| (sum.0 + 1, sum.1 + u64::from(place.messages));
        let places = self.out.values().chain(self.returned.values());
        let known =
            places.chain(self.held.values().map(|held| &held.place)).filter(inside).fold((0, 0), count);
        let messages = self.index.write_off(class, base, known);
        if messages > 0 {
            self.figures.damaged.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::error!(
                class = class.as_str(),
                segment = base,
                messages,
                "records of the spool cannot be found any more"
            );
            self.lose(messages, Shed::SpoolDamaged);
        }
    }

    /// A record that was handed out is to be handed out again.
    pub(super) fn take_back(&mut self, ticket: Ticket) {
        let Some(place) = self.out.remove(&ticket) else { return };
        if self.index.series(ticket.class).iter().any(|one| one.base == place.base) {
            self.returned.insert(ticket, place);
        } else {
            let messages = u64::from(place.messages);
            self.lose(messages, Shed::SpoolFull);
        }
    }
}
