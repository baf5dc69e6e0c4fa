//! Reports on their way into a table: one row a request, in order, repeated until the table has it or will never
//! take it. A row's key is its service, process, span and begin, so that a repetition leaves one row.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::Reply;
use super::answer::{Verdict, judge};
use super::pace::Backoff;

/// Reports that wait; the oldest gives way to a newer one. A day of hours, and as many steps.
pub const WAITING_MAX: usize = 48;

/// See the module.
#[derive(Debug)]
pub struct ReportSink {
    queue: VecDeque<Bytes>,
    in_flight: bool,
    wait_until: Option<Instant>,
    backoff: Backoff,
    state: Option<Verdict>,
    stored: u64,
    lost: u64,
}

impl ReportSink {
    /// An empty one. `seed` is for jitter.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            in_flight: false,
            wait_until: None,
            backoff: Backoff::new(seed),
            state: None,
            stored: 0,
            lost: 0,
        }
    }

    /// Takes the body of a request.
    pub fn push(&mut self, row: Bytes) {
        // The one in flight keeps its place: its answer is about it.
        let oldest = usize::from(self.in_flight);
        if self.queue.len() >= WAITING_MAX && self.queue.remove(oldest).is_some() {
            self.lost += 1;
        }
        self.queue.push_back(row);
    }

    /// The body of the next request. The answer goes to [`handle_reply`](Self::handle_reply).
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if self.in_flight || self.wait_until.is_some_and(|at| now < at) {
            return None;
        }
        let row = self.queue.front().cloned()?;
        (self.in_flight, self.wait_until) = (true, None);
        Some(row)
    }

    /// Takes the answer. Returns a verdict that a person should hear of: the first of its kind since the last success.
    pub fn handle_reply(&mut self, reply: &Reply, now: Instant) -> Option<Verdict> {
        self.in_flight = false;
        let asked = match reply {
            Reply::Answer { retry_after, .. } => *retry_after,
            Reply::Unknown => None,
        };
        let verdict = judge(reply);
        match verdict {
            Verdict::Stored => {
                self.queue.pop_front();
                self.stored += 1;
                self.backoff.reset();
                self.state = None;
                return None;
            }
            // A report is one row: there is nothing to halve.
            Verdict::Bad | Verdict::TooMuch => {
                self.queue.pop_front();
                self.lost += 1;
            }
            Verdict::Slow | Verdict::Later | Verdict::Key | Verdict::Setup => {
                self.wait_until = Some(now + self.backoff.wait(asked));
            }
        }
        let news = self.state != Some(verdict);
        self.state = Some(verdict);
        news.then_some(verdict)
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

    /// Gives up what is left. One in flight may still have its effect, and counts as lost.
    pub fn abandon(&mut self) {
        self.lost += self.queue.len() as u64;
        self.queue.clear();
        self.in_flight = false;
    }

    /// Rows that the table has, and reports that never became one.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.stored, self.lost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16) -> Reply {
        Reply::Answer { status, retry_after: None, body: String::new() }
    }

    fn row(n: usize) -> Bytes {
        Bytes::from(n.to_string())
    }

    #[expect(clippy::disallowed_methods, reason = "only offsets to it are used")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn each_goes_until_the_table_has_it_and_in_order() {
        let (mut sink, mut now) = (ReportSink::new(1), start());
        (0..3).for_each(|n| sink.push(row(n)));
        let mut taken = Vec::new();
        for reply in [Reply::Unknown, answer(201), answer(503), answer(404), answer(201), answer(201)] {
            now = sink.poll_timeout().unwrap_or(now);
            let body = sink.poll_transmit(now).unwrap();
            assert!(sink.poll_transmit(now).is_none(), "one at a time");
            let is_stored = reply == answer(201);
            let told = sink.handle_reply(&reply, now);
            assert_eq!(told.is_none(), is_stored, "each kind of failure is told once: {reply:?}");
            if is_stored {
                taken.push(body);
            } else {
                assert!(sink.poll_timeout().is_some_and(|at| at > now), "it waits");
                assert!(sink.poll_transmit(now).is_none());
            }
        }
        assert_eq!(taken, [row(0), row(1), row(2)]);
        assert_eq!((sink.counts(), sink.is_empty(), sink.poll_timeout()), ((3, 0), true, None));
    }

    #[test]
    fn what_will_never_be_taken_is_passed_over() {
        let (mut sink, now) = (ReportSink::new(1), start());
        (0..2).for_each(|n| sink.push(row(n)));
        sink.poll_transmit(now).unwrap();
        assert_eq!(sink.handle_reply(&answer(400), now), Some(Verdict::Bad));
        assert_eq!(sink.poll_transmit(now), Some(row(1)), "the next one at once");
        sink.handle_reply(&answer(201), now);
        assert_eq!(sink.counts(), (1, 1));
    }

    #[test]
    fn the_oldest_gives_way_and_the_one_in_flight_does_not() {
        let (mut sink, now) = (ReportSink::new(1), start());
        sink.push(row(0));
        assert_eq!(sink.poll_transmit(now), Some(row(0)));
        (1..=WAITING_MAX + 1).for_each(|n| sink.push(row(n)));
        assert_eq!(sink.counts(), (0, 2), "1 and 2 have given way");
        sink.handle_reply(&answer(201), now);
        assert_eq!(sink.poll_transmit(now), Some(row(3)));
        sink.abandon();
        assert_eq!((sink.counts(), sink.is_empty()), ((1, 2 + WAITING_MAX as u64 - 1), true));
        sink.push(row(9));
        assert_eq!(sink.poll_transmit(now + Duration::from_secs(1)), Some(row(9)));
    }
}
