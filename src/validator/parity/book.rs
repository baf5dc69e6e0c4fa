//! What came of the questions: counts by verdict and reason, and a few samples of what did not agree.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Parity, SAMPLES_MAX};

/// What the two sides say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Received and allowed, or neither.
    Agree,
    /// Allowed on Realtime, and not received on the legacy leg while others did: over-delivery.
    Over,
    /// Received on the legacy leg, and refused on Realtime: the user would lose messages.
    Under,
}

impl Verdict {
    /// Every verdict, in label order.
    pub const ALL: [Self; 3] = [Self::Agree, Self::Over, Self::Under];

    /// The metric label and the word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Over => "over",
            Self::Under => "under",
        }
    }
}

/// Why a question has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unknown {
    /// The token has expired.
    Expired,
    /// What the user brought is no token that Realtime takes.
    Token,
    /// A token that no policy binds: a `service_role` says nothing about users.
    Role,
    /// A limit of the plan.
    Quota,
    /// No connection, no answer in time, or an answer about something else.
    Link,
    /// The session ended before it was asked.
    Gone,
    /// The topic has no name that Realtime takes.
    Topic,
}

impl Unknown {
    /// Every reason, in label order.
    pub const ALL: [Self; 7] =
        [Self::Expired, Self::Token, Self::Role, Self::Quota, Self::Link, Self::Gone, Self::Topic];

    /// The metric label and the word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Token => "token",
            Self::Role => "role",
            Self::Quota => "quota",
            Self::Link => "link",
            Self::Gone => "gone",
            Self::Topic => "topic",
        }
    }
}

/// One pair that did not agree. Topics are made of users' texts: samples are for those who may see payloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// `over` or `under`.
    pub verdict: Verdict,
    /// Without `realtime:`.
    pub topic: String,
    /// The session's id, as the API names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The short hash of the user's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
}

impl Sample {
    pub(super) fn new(verdict: Verdict, topic: &str, session: Option<String>, who: Option<String>) -> Self {
        Self { verdict, topic: topic.to_owned(), session, who }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Book {
    /// Pairs of session and topic that could be asked about.
    pub pairs: u64,
    /// Pairs that proved nothing.
    pub unproven: u64,
    /// Pairs that were not asked before the next window was listed.
    pub pairs_left: u64,
    /// Messages of topics beyond those that are watched in one window.
    pub topics_left: u64,
    verdicts: [u64; Verdict::ALL.len()],
    unknown: [u64; Unknown::ALL.len()],
    last: Option<Instant>,
    samples: VecDeque<Sample>,
}

impl Book {
    pub(super) fn judged(&mut self, verdict: Verdict, sample: impl FnOnce() -> Sample, now: Instant) {
        self.verdicts[verdict as usize] += 1;
        self.last = Some(now);
        if verdict == Verdict::Agree {
            return;
        }
        let sample = sample();
        if self.samples.contains(&sample) {
            return;
        }
        if self.samples.iter().filter(|kept| kept.verdict == verdict).count() >= SAMPLES_MAX
            && let Some(oldest) = self.samples.iter().position(|kept| kept.verdict == verdict)
        {
            self.samples.remove(oldest);
        }
        self.samples.push_back(sample);
    }

    pub(super) fn unknown(&mut self, why: Unknown, now: Instant) {
        self.unknown[why as usize] += 1;
        self.last = Some(now);
    }

    /// How often this was the verdict.
    #[must_use]
    pub const fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict as usize]
    }

    /// How often there was none for this reason.
    #[must_use]
    pub const fn without(&self, why: Unknown) -> u64 {
        self.unknown[why as usize]
    }

    /// Questions by verdict, `unknown` being the fourth.
    #[must_use]
    pub fn checks(&self) -> [(&'static str, u64); Verdict::ALL.len() + 1] {
        let [agree, over, under] = Verdict::ALL.map(|verdict| (verdict.as_str(), self.of(verdict)));
        [agree, over, under, ("unknown", self.unknown.iter().sum())]
    }

    /// Questions without a verdict, by reason.
    #[must_use]
    pub fn unknowns(&self) -> [(&'static str, u64); Unknown::ALL.len()] {
        Unknown::ALL.map(|why| (why.as_str(), self.without(why)))
    }

    /// When the last question was settled.
    #[must_use]
    pub const fn last(&self) -> Option<Instant> {
        self.last
    }

    /// What did not agree, oldest first.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }
}

/// The figures for reports and people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Sampled sessions now.
    pub watched: u64,
    /// Pairs of session and topic that could be asked about, since the start …
    pub pairs: u64,
    /// … that proved nothing, …
    pub unproven: u64,
    /// … and for which there was no time.
    pub left: u64,
    /// Verdicts since the start, by word.
    pub checks: BTreeMap<String, u64>,
    /// Why there was no verdict, by reason.
    pub unknown: BTreeMap<String, u64>,
    /// Some of what did not agree.
    pub samples: Vec<Sample>,
}

impl Parity {
    /// The figures now.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let book = &self.book;
        Summary {
            watched: self.sessions.len() as u64,
            pairs: book.pairs,
            unproven: book.unproven,
            left: book.pairs_left,
            checks: book.checks().into_iter().map(|(word, count)| (word.to_owned(), count)).collect(),
            unknown: book.unknowns().into_iter().map(|(word, count)| (word.to_owned(), count)).collect(),
            samples: book.samples().cloned().collect(),
        }
    }
}
