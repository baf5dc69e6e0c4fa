//! Notices on their way to one target: in order, each tried a few times, none for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Notices that wait for one target; the oldest gives way to a newer one.
pub const WAITING_MAX: usize = 32;
/// Attempts of one notice.
pub const ATTEMPTS_MAX: u32 = 6;
/// After the first failure; doubled after each more.
const WAIT: Duration = Duration::from_secs(2);
/// The longest wait, whatever `Retry-After` says.
const WAIT_MAX: Duration = Duration::from_secs(5 * 60);

/// What a target has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This status, and what it asks us to wait.
    Status(u16, Option<Duration>),
    /// Nothing in time, or no connection.
    Nothing,
}

/// What is told to a person once: the target does not take notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It refuses with this status.
    Refused(u16),
    /// It does not answer.
    Silent,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<String>,
    in_flight: bool,
    attempts: u32,
    wait_until: Option<Instant>,
    wrong: Option<Wrong>,
    delivered: u64,
    failed: u64,
    dropped: u64,
}

impl Outbox {
    /// Takes the body of a notice.
    pub fn push(&mut self, body: String) {
        let oldest = usize::from(self.in_flight);
        if self.queue.len() >= WAITING_MAX && self.queue.remove(oldest).is_some() {
            self.dropped += 1;
            if oldest == 0 {
                self.next();
            }
        }
        self.queue.push_back(body);
    }

    /// The body of the next request. The answer goes to [`handle_answer`](Self::handle_answer).
    pub fn poll_transmit(&mut self, now: Instant) -> Option<String> {
        if self.in_flight || self.wait_until.is_some_and(|at| now < at) {
            return None;
        }
        let body = self.queue.front().cloned()?;
        (self.in_flight, self.wait_until) = (true, None);
        Some(body)
    }

    /// Takes the answer. Returns what a person should hear: the first of its kind since the last success.
    pub fn handle_answer(&mut self, answer: Answer, now: Instant) -> Option<Wrong> {
        self.in_flight = false;
        let (wrong, asked, again) = match answer {
            Answer::Status(200..=299, _) => {
                self.queue.pop_front();
                self.delivered += 1;
                self.wrong = None;
                self.next();
                return None;
            }
            Answer::Status(status, asked) => {
                let passes = matches!(status, 408 | 425 | 429 | 500..=599);
                (Wrong::Refused(status), asked, passes)
            }
            Answer::Nothing => (Wrong::Silent, None, true),
        };
        self.attempts += 1;
        if again && self.attempts < ATTEMPTS_MAX {
            let own = WAIT * 2_u32.pow(self.attempts - 1);
            self.wait_until = Some(now + asked.map_or(own, |asked| asked.max(own)).min(WAIT_MAX));
        } else {
            self.queue.pop_front();
            self.failed += 1;
            self.next();
        }
        let news = self.wrong != Some(wrong);
        self.wrong = Some(wrong);
        news.then_some(wrong)
    }

    const fn next(&mut self) {
        (self.attempts, self.wait_until) = (0, None);
    }

    /// When there is something to do that nothing else would wake us for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wait_until.filter(|_| !self.in_flight && !self.queue.is_empty())
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives up what is left.
    pub fn abandon(&mut self) {
        self.dropped += self.queue.len() as u64;
        self.queue.clear();
        self.in_flight = false;
    }

    /// Delivered, failed, dropped.
    #[must_use]
    pub const fn counts(&self) -> [u64; 3] {
        [self.delivered, self.failed, self.dropped]
    }
}
