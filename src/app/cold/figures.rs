//! What the lane counts. Written by its thread, read by the ops thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::admin::ColdReadings;
use crate::cold::{Ending, Resume};
use crate::proxy::cold::{Elsewhere, Refused, Word};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ColdFigures {
    pub(super) served: AtomicU64,
    elsewhere: [AtomicU64; Elsewhere::ALL.len()],
    refused: [AtomicU64; Refused::ALL.len()],
    endings: [AtomicU64; Ending::ALL.len()],
    resumes: [AtomicU64; Resume::ALL.len()],
    pub(super) down: AtomicU64,
    pub(super) up: AtomicU64,
    pub(super) up_lost: AtomicU64,
    pub(super) interruptions: AtomicU64,
    pub(super) topics: AtomicU64,
    pub(super) links: AtomicU64,
    pub(super) log_bytes: AtomicU64,
}

/// One more.
pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The place of `one` in the list of all.
fn place<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().position(|other| other == one).unwrap_or_default()
}

impl ColdFigures {
    pub(super) fn word(&self, word: &Word) {
        match word {
            Word::Come(_) => add(&self.served),
            Word::Elsewhere(why) => add(&self.elsewhere[place(&Elsewhere::ALL, why)]),
            Word::Refused(why) => add(&self.refused[place(&Refused::ALL, why)]),
        }
    }

    pub(super) fn ended(&self, ending: Ending) {
        add(&self.endings[place(&Ending::ALL, &ending)]);
    }

    pub(super) fn resumed(&self, resume: Resume) {
        add(&self.resumes[place(&Resume::ALL, &resume)]);
    }

    /// As the metrics want them.
    pub(crate) fn read(&self) -> ColdReadings {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut upgrades = vec![("served", value(&self.served))];
        upgrades.extend(Elsewhere::ALL.iter().map(|why| why.as_str()).zip(self.elsewhere.iter().map(value)));
        upgrades.extend(Refused::ALL.iter().map(|why| why.as_str()).zip(self.refused.iter().map(value)));
        let words = |words: Vec<&'static str>, counters: &[AtomicU64]| {
            words.into_iter().zip(counters.iter().map(value)).collect()
        };
        ColdReadings {
            upgrades,
            endings: words(Ending::ALL.map(Ending::as_str).to_vec(), &self.endings),
            resumes: words(Resume::ALL.map(Resume::as_str).to_vec(), &self.resumes),
            messages: vec![
                ("down", value(&self.down)),
                ("up", value(&self.up)),
                ("up_lost", value(&self.up_lost)),
            ],
            interruptions: value(&self.interruptions),
            topics: value(&self.topics),
            links: value(&self.links),
            log_bytes: value(&self.log_bytes),
        }
    }
}
