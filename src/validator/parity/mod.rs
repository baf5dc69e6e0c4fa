//! Authorization parity: does Realtime let the same users read the same topics as the legacy service does?
//!
//! **Problem.** On the legacy leg the service decides who receives what; on Realtime the policies on
//! `realtime.messages` do. A policy that is too narrow loses users their messages on the day they are moved. One that is
//! too wide shows them what was never theirs, and no match figure notices: every byte comes back as it was sent.
//!
//! **Decision.** A pure machine that holds two facts against each other, for a sample of the open sessions:
//!
//! - *received*: a message of topic T went down to session s (the tap has seen it), and
//! - *allowed*: a private join of `realtime:T` with **that user's own token** is granted, asked by somebody else
//!   ([`Parity::poll_question`], [`Parity::answer`]), as a native client would ask.
//!
//! | | allowed | refused | anything else |
//! |---|---|---|---|
//! | received | `agree` | `under` | `unknown` |
//! | provably not received, while others did | `over` | `agree` | `unknown` |
//!
//! That something was *not* received is never concluded from silence: a copy may have been shed, a stream may have been
//! lost. Messages are numbered; only a session whose numbers run without a gap from before the topic's first message of
//! the window until [`SPREAD`] after it has provably not received it. Other pairs are counted as `unproven` and not
//! asked. What a probe does not answer with "granted" or "Unauthorized" is `unknown` with a closed [`Unknown`] reason,
//! never a verdict.
//!
//! Time runs in windows. At the end of one, and a grace later (a broadcast may fall on its edge), the pairs of sampled
//! sessions and topics are listed; those that were never asked, or longest ago, are asked first, received and not received
//! in turn, until the next window is listed.
//!
//! **Limits.** [`Settings`]: sessions, topics, questions a minute; one question at a time, given up after [`ANSWER_MAX`].
//! [`PAIRS_MAX`] pairs in a list. [`RECEIVED_MAX`] topics are remembered of a session: one that receives more proves nothing about others.
//! Sessions leave the sample after [`ROUNDS_MAX`] windows when others wait for a seat. [`SAMPLES_MAX`] samples, of `over`
//! and `under` only.
//!
//! **Not here.** Sockets and tokens: whoever asks knows where to find the one of a session. And what cannot be known:
//! whether the user *wants* to read T (a legacy service may send only what was subscribed to: [`Settings::only`] names the
//! topics for which receiving follows from being allowed), rights to write, presence, and filters by single message.

mod book;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::session::{Seq, SessionId, SessionNo};
pub use book::{Book, Sample, Summary, Unknown, Verdict};
pub use settings::Settings;

/// Copies of one broadcast reach their sessions within this time.
pub const SPREAD: Duration = Duration::from_secs(1);
/// How long an answer is waited for; whoever asks gives up before.
pub const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Topics that are remembered of one session.
pub const RECEIVED_MAX: usize = 64;
/// After so many windows a session leaves the sample, when somebody waits for its seat.
pub const ROUNDS_MAX: u32 = 5;
/// Samples that are kept of `over` and of `under` each; the oldest gives way.
pub const SAMPLES_MAX: usize = 10;
/// Pairs in one list; sessions beyond it are first in the next.
pub const PAIRS_MAX: usize = 10_000;
/// The grace behind a window is at most this long.
const GRACE_MAX: Duration = Duration::from_secs(10);

/// One thing to ask Realtime.
#[derive(Clone, Debug)]
pub struct Question {
    /// To be given back with the answer.
    pub id: u64,
    /// Whose token it is to be asked with.
    pub session: SessionNo,
    /// Without `realtime:`.
    pub topic: Arc<str>,
}

/// What Realtime says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The join was granted.
    Allowed,
    /// The join was refused for want of a policy.
    Refused,
    /// Neither.
    Unknown(Unknown),
}

/// A sampled session.
#[derive(Debug)]
struct Watched {
    id: SessionId,
    who: Option<String>,
    /// Since when, and until when, its messages are known without a gap.
    run: (Instant, Instant),
    next: Option<Seq>,
    /// When a message of the topic was received last.
    got: HashMap<Arc<str>, Instant>,
    /// It has received more topics than are remembered: what is not in `got` may have been received.
    overflowed: bool,
    /// When the topic was asked about last.
    asked: HashMap<Arc<str>, Instant>,
    rounds: u32,
}

/// A pair to be asked about.
#[derive(Clone, Debug)]
struct Case {
    session: SessionNo,
    topic: Arc<str>,
    received: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Parity {
    settings: Settings,
    /// When the window began, and whether it is over and only waits for its grace.
    began: Instant,
    sessions: BTreeMap<SessionNo, Watched>,
    /// First message of each topic in this window, and in the one whose grace runs.
    heard: [HashMap<Arc<str>, Instant>; 2],
    in_grace: Option<Instant>,
    due: VecDeque<Case>,
    open: Option<(u64, Case, Instant)>,
    next_question: (u64, Instant),
    /// The session that was listed last.
    listed: SessionNo,
    /// Who had found no seat when the last window was listed.
    turned_away: u64,
    /// Those for whom nobody has made room yet.
    waiting: usize,
    book: Book,
    #[cfg(test)]
    sabotage: Option<tests::Sabotage>,
}

impl Parity {
    /// Nothing yet.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            began: now,
            sessions: BTreeMap::new(),
            heard: Default::default(),
            in_grace: None,
            due: VecDeque::new(),
            open: None,
            next_question: (0, now),
            listed: SessionNo(0),
            turned_away: 0,
            waiting: 0,
            book: Book::default(),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// A session with a token has opened; whether it is sampled. `who` is the short hash of the user's key.
    pub fn opened(&mut self, no: SessionNo, id: SessionId, who: Option<String>, now: Instant) -> bool {
        if self.sessions.len() >= self.settings.users {
            return false;
        }
        let watched = Watched {
            id,
            who,
            run: (now, now),
            next: Some(Seq::FIRST),
            got: HashMap::new(),
            overflowed: false,
            asked: HashMap::new(),
            rounds: 0,
        };
        self.sessions.insert(no, watched);
        true
    }

    /// A session has ended, or its token is gone.
    pub fn closed(&mut self, no: SessionNo) {
        self.sessions.remove(&no);
    }

    /// A message went down to a session, whatever became of its copy. To be told of each before [`Self::delivered`].
    pub fn passed(&mut self, no: SessionNo, seq: Seq, at: Instant) {
        let Some(watched) = self.sessions.get_mut(&no) else { return };
        if watched.next != Some(seq) {
            watched.run.0 = at;
        }
        watched.run.1 = at;
        watched.next = Some(seq.next());
    }

    /// A message of this topic went down to a session, sampled or not.
    pub fn delivered(&mut self, no: SessionNo, topic: &Arc<str>, at: Instant) {
        let only = &self.settings.only;
        if !only.is_empty() && !only.iter().any(|glob| glob.matches(topic)) {
            return;
        }
        let [heard, _] = &mut self.heard;
        if let Some(first) = heard.get_mut(topic) {
            *first = at.min(*first);
        } else if heard.len() < self.settings.topics {
            heard.insert(Arc::clone(topic), at);
        } else {
            self.book.topics_left += 1;
        }
        let Some(watched) = self.sessions.get_mut(&no) else { return };
        if let Some(last) = watched.got.get_mut(topic) {
            *last = at.max(*last);
        } else if watched.got.len() < RECEIVED_MAX {
            watched.got.insert(Arc::clone(topic), at);
        } else {
            watched.overflowed = true;
        }
    }

    /// Lets time pass. `turned_away` is how many sessions have found no seat so far; those that make room for them are
    /// given back, and are not sampled any more.
    pub fn advance(&mut self, turned_away: u64, now: Instant) -> Vec<SessionNo> {
        let mut left = Vec::new();
        if let Some((_, case, asked)) = &self.open
            && now.saturating_duration_since(*asked) >= ANSWER_MAX
        {
            let case = case.clone();
            self.open = None;
            self.settle(&case, Standing::Unknown(Unknown::Link), now);
        }
        if self.in_grace.is_some_and(|ended| now.saturating_duration_since(ended) >= self.grace()) {
            self.in_grace = None;
            self.list(now);
            left = self.make_room(turned_away);
        }
        if now.saturating_duration_since(self.began) >= self.settings.window && self.in_grace.is_none() {
            self.heard = [HashMap::new(), std::mem::take(&mut self.heard[0])];
            self.in_grace = Some(now);
            self.began = now;
        }
        left
    }

    /// The next thing to ask, when it is time for it.
    pub fn poll_question(&mut self, now: Instant) -> Option<Question> {
        let (id, at) = self.next_question;
        if self.open.is_some() || now < at {
            return None;
        }
        while let Some(case) = self.due.pop_front() {
            let Some(watched) = self.sessions.get_mut(&case.session) else {
                self.book.pairs_left += 1;
                continue;
            };
            watched.asked.insert(Arc::clone(&case.topic), now);
            let question = Question { id, session: case.session, topic: Arc::clone(&case.topic) };
            let gap = Duration::from_secs(60) / self.settings.probes_per_minute.max(1);
            self.next_question = (id + 1, now + gap);
            self.open = Some((id, case, now));
            return Some(question);
        }
        None
    }

    /// What Realtime said. An answer to a question that was given up is nothing.
    pub fn answer(&mut self, id: u64, standing: Standing, now: Instant) {
        if let Some((_, case, _)) = self.open.take_if(|(open, ..)| *open == id) {
            self.settle(&case, standing, now);
        }
    }

    /// Sampled sessions now.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.sessions.len()
    }

    /// The figures.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    fn grace(&self) -> Duration {
        self.settings.window.min(GRACE_MAX)
    }

    /// Lists the pairs of the window that is over.
    fn list(&mut self, now: Instant) {
        let heard = std::mem::take(&mut self.heard[1]);
        let oldest = now.checked_sub((self.settings.window + self.grace()) * 2).unwrap_or(now);
        self.book.pairs_left += std::mem::take(&mut self.due).len() as u64;
        let mut lists: [Vec<(Option<Instant>, Case)>; 2] = Default::default();
        // Where not all pairs fit into one list, the next begins with other sessions.
        let (before, after): (Vec<_>, Vec<_>) =
            self.sessions.iter_mut().partition(|(no, _)| **no <= self.listed);
        for (no, watched) in after.into_iter().chain(before) {
            watched.rounds += 1;
            watched.got.retain(|_, last| *last >= oldest);
            watched.asked.retain(|topic, _| heard.contains_key(topic));
            if lists.iter().map(Vec::len).sum::<usize>() + heard.len() > PAIRS_MAX {
                self.book.pairs_left += heard.len() as u64;
                continue;
            }
            self.listed = *no;
            for (topic, first) in &heard {
                let received = watched.got.contains_key(topic);
                let proven = received || watched.has_not_received(*first);
                #[cfg(test)]
                let proven = proven || self.sabotage == Some(tests::Sabotage::BelieveSilence);
                if !proven {
                    self.book.unproven += 1;
                    continue;
                }
                self.book.pairs += 1;
                let case = Case { session: *no, topic: Arc::clone(topic), received };
                lists[usize::from(received)].push((watched.asked.get(topic).copied(), case));
            }
            watched.overflowed = false;
        }
        for list in &mut lists {
            // Never asked first, then the oldest; among equals a fixed order that mixes sessions and topics.
            list.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.topic.cmp(&right.topic)));
        }
        let [absent, received] = lists.map(|list| list.into_iter().map(|(_, case)| case));
        let (mut absent, mut received) = (absent, received);
        loop {
            let pair = [received.next(), absent.next()];
            if pair.iter().all(Option::is_none) {
                break;
            }
            self.due.extend(pair.into_iter().flatten());
        }
    }

    /// Sessions that were looked at long enough leave, as many as have found no seat.
    fn make_room(&mut self, turned_away: u64) -> Vec<SessionNo> {
        let more = turned_away.saturating_sub(std::mem::replace(&mut self.turned_away, turned_away));
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        self.waiting = self.waiting.saturating_add(more).min(self.settings.users);
        let old = self.sessions.iter().filter(|(_, watched)| watched.rounds >= ROUNDS_MAX);
        let old: Vec<SessionNo> = old.map(|(no, _)| *no).take(self.waiting).collect();
        self.waiting -= old.len();
        self.sessions.retain(|no, _| !old.contains(no));
        old
    }

    fn settle(&mut self, case: &Case, standing: Standing, now: Instant) {
        let watched = self.sessions.get(&case.session);
        // What has come since the list was made was received after all.
        let received = case.received || watched.is_some_and(|one| one.got.contains_key(&case.topic));
        #[cfg(test)]
        let standing = match (self.sabotage, standing) {
            (Some(tests::Sabotage::IgnoreRefusals), Standing::Refused) => Standing::Allowed,
            (Some(tests::Sabotage::TakeAnythingForARefusal), Standing::Unknown(_)) => Standing::Refused,
            _ => standing,
        };
        let verdict = match (received, standing) {
            (_, Standing::Unknown(why)) => return self.book.unknown(why, now),
            (true, Standing::Allowed) | (false, Standing::Refused) => Verdict::Agree,
            (true, Standing::Refused) => Verdict::Under,
            (false, Standing::Allowed) => Verdict::Over,
        };
        #[cfg(test)]
        let verdict = match (self.sabotage, verdict) {
            (Some(tests::Sabotage::SwapSides), Verdict::Over) => Verdict::Under,
            (Some(tests::Sabotage::SwapSides), Verdict::Under) => Verdict::Over,
            _ => verdict,
        };
        let who = watched.and_then(|one| one.who.clone());
        let session = watched.map(|one| one.id.to_string());
        self.book.judged(verdict, || Sample::new(verdict, &case.topic, session, who), now);
    }
}

impl Watched {
    /// Whether it has provably not received what others received at `first`: its messages are known without a gap
    /// from before that until all copies must have been written.
    fn has_not_received(&self, first: Instant) -> bool {
        let (since, until) = self.run;
        !self.overflowed && since <= first && until >= first + SPREAD
    }
}
