//! What differs anyway: two legacy sessions that are told the same thing are compared with each other, so that a noise
//! rule can be proposed before anybody takes a natural difference for a fault. It proposes; people decide.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::noise::{Judged, Noise};
use crate::session::SessionNo;

/// Event types (with their routes) that are followed.
pub const TYPES_MAX: usize = 64;
/// Places of each that are remembered.
const PLACES_MAX: usize = 32;
/// Larger messages are passed over.
const BODY_MAX: usize = 16 << 10;
/// Two sessions are told the same thing within this time.
const TOGETHER: Duration = Duration::from_millis(250);
/// At most one comparison in this time: it costs the side thread two parses.
const PACE: Duration = Duration::from_millis(50);
/// Fewer pairs say nothing about a place.
const PAIRS_MIN: u64 = 20;

/// A message of the legacy leg.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Whose it is.
    pub session: SessionNo,
    /// The route.
    pub path: &'a str,
    /// The event type.
    pub event: &'a str,
    /// The bytes, after redaction.
    pub body: &'a [u8],
}

/// A place that differs between sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Natural {
    /// The route.
    pub path: String,
    /// The event type.
    #[serde(rename = "type")]
    pub event: String,
    /// Pairs of sessions that were compared.
    pub pairs: u64,
    /// Pairs without any difference.
    pub identical: u64,
    /// The JSON pointers that differ, and in how many pairs.
    pub places: BTreeMap<String, u64>,
    /// The places that a noise rule would have to name: they differ in at least a tenth of the pairs.
    pub proposed: Vec<String>,
}

#[derive(Debug)]
struct Line {
    last: (SessionNo, Instant, Vec<u8>),
    pairs: u64,
    identical: u64,
    places: BTreeMap<String, u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Naturals {
    lines: HashMap<(Arc<str>, Arc<str>), Line>,
    compared: Option<Instant>,
    bytes: Noise,
}

impl Naturals {
    /// Whether there is time for one.
    #[must_use]
    pub fn wants(&self, now: Instant) -> bool {
        self.compared.is_none_or(|at| now.saturating_duration_since(at) >= PACE)
    }

    /// Takes a `down` message of a session on the legacy lane.
    pub fn hear(&mut self, heard: &Heard<'_>, now: Instant) {
        if heard.body.len() > BODY_MAX || !self.wants(now) {
            return;
        }
        let name = (Arc::from(heard.path), Arc::from(heard.event));
        if self.lines.len() >= TYPES_MAX && !self.lines.contains_key(&name) {
            return;
        }
        let fresh = || (heard.session, now, heard.body.to_vec());
        let line = self.lines.entry(name).or_insert_with(|| Line {
            last: fresh(),
            pairs: 0,
            identical: 0,
            places: BTreeMap::new(),
        });
        let (other, at, body) = &line.last;
        if *other == heard.session || now.saturating_duration_since(*at) > TOGETHER {
            line.last = fresh();
            return;
        }
        self.compared = Some(now);
        line.pairs += 1;
        if *body == heard.body {
            line.identical += 1;
        } else if let Judged::Differs(places) = self.bytes.judge(heard.event, body, heard.body) {
            for place in places {
                if line.places.len() < PLACES_MAX || line.places.contains_key(&place) {
                    *line.places.entry(place).or_default() += 1;
                }
            }
        }
        // A far-off instant: the next message of this type begins a pair of its own.
        line.last = fresh();
    }

    /// What was learnt.
    #[must_use]
    pub fn learnt(&self) -> Vec<Natural> {
        let mut all: Vec<Natural> =
            self.lines.iter().map(|((path, event), line)| line.natural(path, event)).collect();
        all.retain(|one| one.pairs > 0);
        all.sort_by(|a, b| (&a.path, &a.event).cmp(&(&b.path, &b.event)));
        all
    }
}

impl Line {
    fn natural(&self, path: &str, event: &str) -> Natural {
        let often = |count: u64| self.pairs >= PAIRS_MIN && count * 10 >= self.pairs;
        let proposed = self.places.iter().filter(|(_, count)| often(**count)).map(|(place, _)| place.clone());
        Natural {
            path: path.to_owned(),
            event: event.to_owned(),
            pairs: self.pairs,
            identical: self.identical,
            places: self.places.clone(),
            proposed: proposed.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn what_differs_between_two_sessions_is_proposed_and_what_is_the_same_is_not() {
        let (mut naturals, mut now) = (Naturals::default(), origin());
        for n in 0..200_u32 {
            now += PACE;
            for session in [1, 2] {
                let body = format!("{{\"price\":{n},\"you\":{session},\"text\":\"x\"}}");
                let heard =
                    Heard { session: SessionNo(session), path: "/ws", event: "price", body: body.as_bytes() };
                naturals.hear(&heard, now + Duration::from_millis(u64::from(session)));
            }
        }
        let learnt = naturals.learnt();
        assert_eq!(learnt.len(), 1);
        assert!(learnt[0].pairs >= 100, "{learnt:?}");
        // The pace may pair neighbours of the broadcast too; what both are told alike is rarely different then.
        assert!(learnt[0].proposed.contains(&"/you".to_owned()), "{learnt:?}");
        assert!(!learnt[0].proposed.contains(&"/text".to_owned()), "{learnt:?}");
    }

    #[test]
    fn it_stays_small_and_slow() {
        let (mut naturals, now) = (Naturals::default(), origin());
        for n in 0..10_000_u32 {
            let event = format!("t{}", n % 1_000);
            let body = format!("{{\"k{n}\":1}}");
            let heard = Heard { session: SessionNo(n), path: "/", event: &event, body: body.as_bytes() };
            naturals.hear(&heard, now);
        }
        assert!(naturals.lines.len() <= TYPES_MAX);
        assert!(
            naturals.learnt().iter().map(|one| one.pairs).sum::<u64>() <= 1,
            "one comparison in the same moment"
        );
    }
}
