//! One process of the play: its lines with the time of their arrival, words to its input, and its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Failure, now};

/// Lines that are kept of one process; a child that says more repeats itself.
const LINES_MAX: usize = 200_000;
/// How often a condition that nobody announces is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<(Instant, String)>>,
    more: Condvar,
}

/// A process that is ended, by its own id, when this is dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    what: &'static str,
    lines: Arc<Lines>,
    patience: Duration,
}

impl Process {
    /// Starts `program` with room for so many open files and nothing but this environment.
    pub(crate) fn start(
        what: &'static str,
        (program, args): (&Path, &[String]),
        env: &[(&str, String)],
        files: usize,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let mut command = Command::new("sh");
        // The soft limit is raised for this process alone; a hard limit that is too low was named before.
        command.args(["-c", "ulimit -Sn \"$0\"; exec \"$@\"", &files.to_string()]).arg(program).args(args);
        command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Failure::Unavailable(format!("{what} cannot start: {error}")))?;
        let lines = Arc::new(Lines::default());
        if let Some(out) = child.stdout.take() {
            follow(out, Arc::clone(&lines));
        }
        if let Some(err) = child.stderr.take() {
            follow(err, Arc::clone(&lines));
        }
        let input = child.stdin.take();
        Ok(Self { child, input, what, lines, patience })
    }

    /// The first line in which `find` finds something, written already or later, and when it came.
    pub(crate) fn line<T>(&self, mut find: impl FnMut(&str) -> Option<T>) -> Result<(Instant, T), Failure> {
        let began = now();
        let mut lines = self.lines.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = 0;
        loop {
            for (at, line) in lines.get(next..).unwrap_or_default() {
                if let Some(found) = find(line) {
                    return Ok((*at, found));
                }
            }
            next = lines.len();
            if began.elapsed() > self.patience {
                drop(lines);
                return Err(self.told("did not say what it should"));
            }
            let waited = self.lines.more.wait_timeout(lines, Duration::from_millis(50));
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The number behind this word in the latest line that has it.
    pub(crate) fn figure(&self, word: &str) -> u64 {
        let lines = self.lines.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().rev().find_map(|(_, line)| number_in(line, word)).unwrap_or(0)
    }

    /// One line to its input.
    pub(crate) fn say(&mut self, word: &str) -> Result<(), Failure> {
        let said = self.input.as_mut().map(|input| writeln!(input, "{word}").and_then(|()| input.flush()));
        match said {
            Some(Ok(())) => Ok(()),
            _ => Err(self.told("does not listen any more")),
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let began = now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > self.patience {
                return Err(self.told("does not end"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Fails when it has ended although nobody asked it to.
    pub(crate) fn lives(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(Failure::Broken(format!("{} has ended: {status}\n{}", self.what, self.last())))
            }
        }
    }

    /// Its last lines.
    pub(crate) fn last(&self) -> String {
        let lines = self.lines.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let from = lines.len().saturating_sub(12);
        let last: Vec<&str> =
            lines.get(from..).unwrap_or_default().iter().map(|(_, line)| line.as_str()).collect();
        last.join("\n")
    }

    fn told(&self, what: &str) -> Failure {
        Failure::Broken(format!("{} {what}; its last lines:\n{}", self.what, self.last()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
    }
}

/// The number behind `word=` in a line.
fn number_in(line: &str, word: &str) -> Option<u64> {
    line.split(' ').find_map(|part| part.strip_prefix(word)?.strip_prefix('=')?.parse().ok())
}

fn follow(stream: impl Read + Send + 'static, lines: Arc<Lines>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut kept = lines.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < LINES_MAX {
                kept.push((now(), line));
            }
            lines.more.notify_all();
        }
    });
}
