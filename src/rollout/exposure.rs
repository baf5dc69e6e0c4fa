//! Who has met which arm of an experiment: one line for the first time, for whoever evaluates the experiment. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::bucket::Bucket;
use super::key::KeyHash;

/// The form of a line; another number is another form.
const FORM: u32 = 1;
/// Users that one generation of [`Seen`] remembers.
const GENERATION: usize = 50_000;

/// A user's session was opened in an arm. Never the key: its bucket and its keyed hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The rule whose experiment it is.
    pub experiment: Arc<str>,
    /// The arm.
    pub arm: Arc<str>,
    /// The user's bucket in this experiment.
    pub bucket: Bucket,
    /// The user's name.
    pub key: KeyHash,
    /// The lane that the session began on: the arm's, unless something stood in its way.
    pub lane: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    at: u64,
    experiment: &'a str,
    arm: &'a str,
    bucket: u32,
    key: String,
    lane: &'a str,
}

impl Exposure {
    /// One line of JSON with its end.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let line = Line {
            v: FORM,
            at: self.at_ms,
            experiment: &self.experiment,
            arm: &self.arm,
            bucket: self.bucket.number(),
            key: self.key.to_string(),
            lane: self.lane,
        };
        // Text and numbers: there is nothing in it that JSON could refuse.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

type User = (Arc<str>, Arc<str>, KeyHash);

/// Who has been written down already: at most two generations of `GENERATION` users. When one is full the one before
/// it is forgotten, and its users are written once more when they come again.
#[derive(Debug, Default)]
pub struct Seen {
    young: HashSet<User>,
    old: HashSet<User>,
}

impl Seen {
    /// Whether this user is known in this arm. Whoever comes often is not forgotten.
    pub fn knows(&mut self, exposure: &Exposure) -> bool {
        let user = user(exposure);
        if self.young.contains(&user) {
            return true;
        }
        let known = self.old.contains(&user);
        if known {
            self.remember(user);
        }
        known
    }

    /// The user was written down.
    pub fn note(&mut self, exposure: &Exposure) {
        self.remember(user(exposure));
    }

    fn remember(&mut self, user: User) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user);
    }
}

fn user(exposure: &Exposure) -> User {
    (Arc::clone(&exposure.experiment), Arc::clone(&exposure.arm), exposure.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(user: usize, arm: &str) -> Exposure {
        Exposure {
            at_ms: 7,
            experiment: "autumn \"x\"".into(),
            arm: arm.into(),
            bucket: Bucket::of(b"s", user.to_string().as_bytes()),
            key: format!("key:{user:016x}").parse().unwrap(),
            lane: "hot",
        }
    }

    #[test]
    fn a_line_is_json_and_holds_no_key() {
        let line = of(255, "b").line();
        assert_eq!(line.last(), Some(&b'\n'));
        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let bucket = of(255, "b").bucket.number();
        let wanted = serde_json::json!({
            "v": 1, "at": 7, "experiment": "autumn \"x\"", "arm": "b", "bucket": bucket,
            "key": "key:00000000000000ff", "lane": "hot",
        });
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_user_is_new_once_in_each_arm() {
        let mut seen = Seen::default();
        assert!(!seen.knows(&of(1, "a")));
        assert!(!seen.knows(&of(1, "a")), "asking is not writing");
        seen.note(&of(1, "a"));
        assert!(seen.knows(&of(1, "a")));
        assert!(!seen.knows(&of(1, "b")) && !seen.knows(&of(2, "a")));
    }

    #[test]
    fn memory_is_bounded_and_whoever_comes_often_is_kept() {
        let mut seen = Seen::default();
        for user in 0..GENERATION * 3 {
            seen.note(&of(user, "a"));
            assert!(seen.knows(&of(0, "a")), "after {user}");
        }
        assert!(seen.young.len() + seen.old.len() <= 2 * GENERATION);
        assert!(!seen.knows(&of(1, "a")), "forgotten");
    }
}
