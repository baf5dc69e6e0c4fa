//! What a topic has said lately, for clients that come back.
//!
//! A position is the number of messages that the topic had said when a client had read all of them. Whoever comes back
//! at a position is given what follows, or is told that something is missing: what fell out of the log, and what may
//! have been said while the channel was interrupted, cannot be given.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Frame, Limits};

/// See the module.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<(Instant, Frame)>,
    bytes: usize,
    /// Messages so far, interruptions included.
    next: u64,
    /// Nobody below this position can resume.
    floor: u64,
}

impl Log {
    /// Where a client stands that has read everything.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// The topic said this. Returns the position behind it.
    pub fn push(&mut self, frame: Frame, limits: &Limits, now: Instant) -> u64 {
        self.next += 1;
        self.bytes += frame.body.len();
        self.entries.push_back((now, frame));
        self.trim(limits, now);
        self.next
    }

    /// Something may have been said that we did not hear.
    pub fn interrupted(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        self.next += 1;
        self.floor = self.next;
    }

    /// Drops what is over the limits: the oldest first.
    pub fn trim(&mut self, limits: &Limits, now: Instant) {
        let old = |at: Instant, age: Duration| now.saturating_duration_since(at) > age;
        while let Some((at, frame)) = self.entries.front() {
            let over = self.entries.len() > limits.log_messages || self.bytes > limits.log_bytes;
            if !over && !old(*at, limits.log_age) {
                return;
            }
            self.bytes -= frame.body.len();
            self.entries.pop_front();
            self.floor = self.next - self.entries.len() as u64;
        }
    }

    /// What followed `position`; `None` where something of it is missing.
    #[must_use]
    pub fn since(&self, position: u64) -> Option<Vec<Frame>> {
        let missed = self.next.checked_sub(position)?;
        if position < self.floor {
            return None;
        }
        Some(self.last(usize::try_from(missed).unwrap_or(usize::MAX)))
    }

    /// The last `count` messages, oldest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Frame> {
        let skip = self.entries.len().saturating_sub(count);
        self.entries.iter().skip(skip).map(|(_, frame)| frame.clone()).collect()
    }

    /// Bytes that are held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test makes its own origin of time")]

    use super::*;

    fn frame(n: u64) -> Frame {
        Frame { text: true, body: n.to_string().into() }
    }

    fn words(frames: Option<Vec<Frame>>) -> Option<Vec<String>> {
        frames.map(|all| all.iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect())
    }

    #[test]
    fn who_comes_back_is_given_what_followed_or_told_that_it_is_gone() {
        let (limits, now) = (Limits { log_messages: 3, ..Limits::default() }, Instant::now());
        let mut log = Log::default();
        assert_eq!(log.since(0), Some(Vec::new()));
        for n in 1..=4 {
            assert_eq!(log.push(frame(n), &limits, now), n);
        }
        assert_eq!(words(log.since(4)), Some(vec![]));
        assert_eq!(words(log.since(2)), Some(vec!["3".to_owned(), "4".to_owned()]));
        assert_eq!(words(log.since(1)).map(|all| all.len()), Some(3));
        assert_eq!(log.since(0), None, "the first message fell out");
        assert_eq!(log.since(5), None, "a position of another log");
        log.interrupted();
        assert_eq!(log.since(4), None, "what was said meanwhile is not known");
        let here = log.position();
        log.push(frame(9), &limits, now);
        assert_eq!(words(log.since(here)), Some(vec!["9".to_owned()]));
        assert_eq!(words(Some(log.last(5))), Some(vec!["9".to_owned()]));
    }

    #[test]
    fn bytes_and_age_are_bounded() {
        let now = Instant::now();
        let limits = Limits { log_bytes: 10, log_age: Duration::from_secs(60), ..Limits::default() };
        let mut log = Log::default();
        for _ in 0..9 {
            log.push(Frame { text: false, body: vec![0; 4].into() }, &limits, now);
        }
        assert_eq!((log.bytes(), log.last(9).len()), (8, 2));
        log.trim(&limits, now + Duration::from_secs(61));
        assert_eq!((log.bytes(), log.since(8)), (0, None));
        assert_eq!(log.since(9), Some(Vec::new()));
    }

    proptest::proptest! {
        /// Whatever was said: a resumed client has every message after its position, in order, or is told of a gap.
        #[test]
        fn a_resume_is_complete_or_refused(
            steps in proptest::collection::vec(0_u8..10, 1..80), keep in 1_usize..8, at in 0_usize..80
        ) {
            let (now, limits) = (Instant::now(), Limits { log_messages: keep, ..Limits::default() });
            let (mut log, mut said) = (Log::default(), Vec::new());
            let mut place = None;
            for (step, word) in steps.iter().enumerate() {
                if step == at {
                    place = Some((log.position(), said.len()));
                }
                if *word == 0 {
                    log.interrupted();
                    said.push(None);
                } else {
                    log.push(frame(step as u64), &limits, now);
                    said.push(Some(step.to_string()));
                }
            }
            if let Some((position, index)) = place {
                let missed: Option<Vec<String>> = said[index..].iter().cloned().collect();
                if let Some(given) = words(log.since(position)) {
                    proptest::prop_assert_eq!(Some(given), missed);
                } else {
                    proptest::prop_assert!(missed.is_none_or(|missed| missed.len() > keep));
                }
            }
        }
    }
}
