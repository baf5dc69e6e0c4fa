//! The oracle of the demo: what one end wrote and what the other end read, kept outside the product.
//!
//! The service and the clients note a fingerprint of every message in the order in which they wrote or read it.
//! Whether anything was lost, doubled or reordered is decided by comparing these two lists, never by our counters.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// The fingerprint of one message.
pub type Print = u64;

/// Fingerprints in order, by client.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<HashMap<String, Vec<Print>>>>);

/// The fingerprint of a message's bytes. Equal bytes have equal prints within one process.
#[must_use]
pub fn print_of(bytes: &[u8]) -> Print {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Log {
    /// Notes a message of `client`.
    pub fn note(&self, client: &str, bytes: &[u8]) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lists.get_mut(client) {
            Some(list) => list.push(print_of(bytes)),
            None => drop(lists.insert(client.to_owned(), vec![print_of(bytes)])),
        }
    }

    /// Messages noted so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.values().map(|list| list.len() as u64).sum()
    }

    /// Holds what was read against what was written.
    #[must_use]
    pub fn compare(written: &Self, read: &Self) -> Findings {
        let written = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = read.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut findings = Findings::default();
        let empty = Vec::new();
        for client in written.keys().chain(read.keys().filter(|client| !written.contains_key(*client))) {
            let of = |lists: &HashMap<String, Vec<Print>>| lists.get(client).unwrap_or(&empty).clone();
            findings.add(&compare(&of(&written), &of(&read)));
        }
        findings
    }
}

/// What a comparison found. All but the first two must be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages written.
    pub sent: u64,
    /// Messages read.
    pub received: u64,
    /// Written and never read.
    pub lost: u64,
    /// Read more often than written.
    pub duplicated: u64,
    /// Read after a message that was written later.
    pub reordered: u64,
    /// Read and never written.
    pub invented: u64,
}

impl Findings {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.invented += other.invented;
    }

    /// The sum of two comparisons.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.add(&other);
        self
    }

    /// Nothing lost, doubled, reordered or invented.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.invented == 0
    }
}

fn compare(written: &[Print], read: &[Print]) -> Findings {
    let mut findings =
        Findings { sent: written.len() as u64, received: read.len() as u64, ..Findings::default() };
    let mut places: HashMap<Print, Vec<usize>> = HashMap::new();
    for (place, print) in written.iter().enumerate().rev() {
        places.entry(*print).or_default().push(place);
    }
    let mut latest = None;
    for print in read {
        let Some(list) = places.get_mut(print) else {
            findings.invented += 1;
            continue;
        };
        let Some(place) = list.pop() else {
            findings.duplicated += 1;
            continue;
        };
        if latest.is_some_and(|latest| place < latest) {
            findings.reordered += 1;
        }
        latest = latest.max(Some(place));
    }
    findings.lost = places.values().map(|list| list.len() as u64).sum();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_damage_is_told_apart() {
        let sent = [1, 2, 3, 4];
        let check = |read: &[Print], lost, duplicated, reordered, invented| {
            let found = compare(&sent, read);
            assert_eq!(
                (found.lost, found.duplicated, found.reordered, found.invented),
                (lost, duplicated, reordered, invented),
                "{read:?}"
            );
        };
        check(&[1, 2, 3, 4], 0, 0, 0, 0);
        check(&[1, 3, 4], 1, 0, 0, 0);
        check(&[1, 2, 2, 3, 4], 0, 1, 0, 0);
        check(&[1, 3, 2, 4], 0, 0, 1, 0);
        check(&[1, 2, 3, 4, 9], 0, 0, 0, 1);
    }

    #[test]
    fn equal_messages_are_matched_in_order() {
        assert!(compare(&[7, 7, 7], &[7, 7, 7]).is_clean());
        assert_eq!(compare(&[7, 7, 7], &[7, 7]).lost, 1);
    }
}
