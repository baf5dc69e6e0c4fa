//! What an outside observer of a simulated life writes down, and what it complains about.
//! It reads envelopes with a parser of its own and never asks the machines under test.

use std::collections::{BTreeMap, BTreeSet};

use ulid::Ulid;

use super::publish::REPUBLISH_MAX;
use super::report::{Push, Sample};
use crate::envelope::Class;
use crate::ledger;
use crate::session::{Direction, Key, Seq, SessionNo};

/// What the oracle saw with its own eyes.
#[derive(Default)]
pub(super) struct Books {
    pub(super) said: BTreeMap<Key, (Vec<u8>, Class)>,
    pub(super) arrived: BTreeSet<Key>,
    pub(super) told: BTreeMap<Key, u32>,
    pub(super) matched: BTreeSet<Key>,
    pub(super) submitted: BTreeSet<Ulid>,
    pub(super) outcomes: BTreeMap<Ulid, Sample>,
    /// Pieces that have reached a reader, by message.
    pieces: BTreeMap<Key, BTreeMap<u64, Vec<u8>>>,
    latest: BTreeMap<(u32, Direction, Option<Class>), u64>,
    pub(super) broken: Option<String>,
}

impl Books {
    pub(super) fn complain(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Notes which messages reach a reader as they were said.
    pub(super) fn note_arrivals(&mut self, body: &[u8]) {
        for (key, body, part) in read(body) {
            let body = match part {
                None => body,
                Some((number, of)) => {
                    let pieces = self.pieces.entry(key).or_default();
                    // What was spoilt on the way does not push out what came whole.
                    if self.said.get(&key).is_some_and(|(said, _)| holds(said, &body)) {
                        pieces.insert(number, body);
                    }
                    if pieces.len() as u64 != of {
                        continue;
                    }
                    pieces.values().flatten().copied().collect()
                }
            };
            if self.said.get(&key).is_some_and(|(said, _)| *said == body) {
                self.arrived.insert(key);
            }
        }
    }

    /// Reads what is about to be published: names, order, size.
    pub(super) fn inspect(&mut self, push: &Push, limit: u32) {
        if push.body.len() > limit as usize {
            self.complain(format!("{} bytes over the limit {limit}", push.body.len()));
        }
        if !self.submitted.contains(&push.batch) || push.attempt > REPUBLISH_MAX + 1 {
            self.complain(format!("attempt {} under the name {}", push.attempt, push.batch));
        }
        for (key, body, part) in read(&push.body) {
            let Some((said, class)) = self.said.get(&key).cloned() else {
                return self.complain(format!("{key:?} was never said"));
            };
            let as_said = if part.is_none() { said == body } else { holds(&said, &body) };
            if !as_said {
                return self.complain(format!("{key:?} is published with other bytes"));
            }
            // One order for what a hot session awaits, one for each class otherwise.
            let line = (key.session.0, key.dir, (!is_hot(key)).then_some(class));
            if push.attempt == 1
                && let Some(latest) = self.latest.insert(line, key.seq.0)
                && (latest > key.seq.0 || latest == key.seq.0 && part.is_none_or(|(number, _)| number == 1))
            {
                return self.complain(format!("{key:?} follows seq {latest}"));
            }
        }
    }

    /// What a reader, the ledger and the windows must agree on at rest.
    pub(super) fn audit(&mut self, account: &ledger::Account) {
        if account.internal() > 0 || account.imbalance() != 0 {
            self.complain(format!("{} dropped, {} unaccounted", account.internal(), account.imbalance()));
        }
        if account.seen != account.confirmed + account.shed_total() {
            self.complain("seen is not confirmed and shed".to_owned());
        }
        if account.confirmed > self.arrived.len() as u64 {
            self.complain(format!("{} confirmed, {} arrived", account.confirmed, self.arrived.len()));
        }
        if let Some(key) = self.matched.difference(&self.arrived).next() {
            self.complain(format!("{key:?} is proved and never arrived"));
        }
        let mut hot = self.said.keys().copied().filter(|key| is_hot(*key));
        if let Some(key) = hot.find(|key| self.told.get(key) != Some(&1)) {
            self.complain(format!("a window was told {:?} times of {key:?}", self.told.get(&key)));
        }
    }
}

fn holds(said: &[u8], piece: &[u8]) -> bool {
    !piece.is_empty() && said.windows(piece.len()).any(|window| window == piece)
}

/// Every third session is hot: its `down` messages are awaited.
pub(super) fn is_hot(key: Key) -> bool {
    key.session.0.is_multiple_of(3) && key.dir == Direction::Down
}

/// What a foreign reader makes of an envelope: (key, bytes) of every message, or nothing. Not our decoder.
fn read(body: &[u8]) -> Vec<Line> {
    let Ok(envelope) = serde_json::from_slice::<serde_json::Value>(body) else { return Vec::new() };
    let messages = envelope["messages"].as_array().cloned().unwrap_or_default();
    messages.iter().filter_map(read_message).flatten().collect()
}

/// A message, its bytes, and which piece of how many they are.
type Line = (Key, Vec<u8>, Option<(u64, u64)>);

fn read_message(message: &serde_json::Value) -> Option<Vec<Line>> {
    use base64::Engine as _;
    let dir = if message["dir"] == "up" { Direction::Up } else { Direction::Down };
    let data = message["data"].as_str()?;
    let data = match message["enc"].as_str()? {
        "base64" => base64::engine::general_purpose::STANDARD.decode(data).ok()?,
        _ => data.as_bytes().to_vec(),
    };
    let part = message["part"][0].as_u64().zip(message["part"][1].as_u64());
    let pair = |to: &serde_json::Value| {
        let session = SessionNo(u32::try_from(to[0].as_u64()?).ok()?);
        Some((Key { session, dir, seq: Seq(to[1].as_u64()?) }, data.clone(), part))
    };
    Some(message["to"].as_array()?.iter().filter_map(pair).collect())
}
