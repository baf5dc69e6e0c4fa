//! Progress of long work, on standard error: one line that is written over at a terminal, a line now and then elsewhere.
//! Pure: the caller says how much time has passed. Answers go to standard output, so they never meet.

use std::io::Write;
use std::time::Duration;

use super::look::Look;

/// At a terminal: not more often than this.
const LIVE_EVERY: Duration = Duration::from_millis(200);
/// Elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Progress {
    look: Look,
    next: Duration,
    /// Columns of the line that stands there.
    drawn: usize,
}

impl Progress {
    pub(super) fn new(look: Look) -> Self {
        let next = if look.live { Duration::ZERO } else { LINE_EVERY };
        Self { look, next, drawn: 0 }
    }

    /// Says it if it is time. Progress that nobody reads is no reason to stop.
    pub(super) fn say(&mut self, elapsed: Duration, err: &mut dyn Write, text: impl FnOnce() -> String) {
        if elapsed < self.next {
            return;
        }
        if !self.look.live {
            self.next = elapsed + LINE_EVERY;
            writeln!(err, "{}", text()).unwrap_or_default();
            return;
        }
        self.next = elapsed + LIVE_EVERY;
        // One column less: a full line would go on in the next.
        let line: String = text().chars().take(self.look.width.saturating_sub(1)).collect();
        let columns = line.chars().count();
        // Blanks, not an escape sequence: these are for colours alone, and NO_COLOR means none.
        write!(err, "\r{line:<drawn$}", drawn = self.drawn).and_then(|()| err.flush()).unwrap_or_default();
        self.drawn = columns;
    }

    /// Takes the line away: what comes next begins in the first column.
    pub(super) fn end(&mut self, err: &mut dyn Write) {
        if self.drawn > 0 {
            write!(err, "\r{:drawn$}\r", "", drawn = self.drawn)
                .and_then(|()| err.flush())
                .unwrap_or_default();
            self.drawn = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(look: Look, times: &[u64]) -> String {
        let mut out = Vec::new();
        let mut progress = Progress::new(look);
        for ms in times {
            progress.say(Duration::from_millis(*ms), &mut out, || format!("{} left", 9_000 - ms));
        }
        progress.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_has_one_line_that_is_written_over_and_taken_away() {
        let live = Look { live: true, ..Look::PLAIN };
        assert_eq!(said(live, &[0, 100, 1_500]), "\r9000 left\r7500 left\r         \r");
        let narrow = Look { live: true, width: 5, ..Look::PLAIN };
        assert_eq!(said(narrow, &[0]), "\r9000\r    \r");
    }

    #[test]
    fn elsewhere_there_is_a_line_now_and_then() {
        assert_eq!(said(Look::PLAIN, &[0, 100, 1_999]), "");
        assert_eq!(said(Look::PLAIN, &[0, 2_000, 3_000, 4_001]), "7000 left\n4999 left\n");
    }
}
