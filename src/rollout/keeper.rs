//! What one store has said last, and whether what it says now may replace it. Pure: bytes in, a verdict out.

use super::document::{Document, DocumentError};
use super::key::KeyHasher;
use super::tiers::Flags;

/// How a store counts its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Whatever is there now holds: a file.
    Content,
    /// A version that rises with each change: Redis, and the table. A smaller one is a stale replica or a restored
    /// backup, and would move users back unasked.
    Version,
}

/// What became of what a store said.
#[derive(Debug)]
pub enum Heard {
    /// New flags.
    New(Flags),
    /// The same as before: confirmed.
    Same,
    /// Refused; the last good value stays.
    Refused(Refusal),
    /// Refused, as before with the same content: nothing new to tell.
    StillRefused,
}

/// Why a store's word is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Garbage.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An ordered store without a version.
    #[error("the document has no version; the first one is 1")]
    NoVersion,
    /// Older than what holds.
    #[error("version {0} came after version {1}; to go back, write the old content with a higher version")]
    WentBack(u64, u64),
    /// The same version with another content.
    #[error("version {0} came with two contents; each change needs a higher version")]
    Ambiguous(u64),
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    order: Order,
    hasher: KeyHasher,
    good: Option<(u64, Vec<u8>)>,
    refused: Option<(Option<u64>, Vec<u8>)>,
}

impl Keeper {
    /// A keeper that has heard nothing.
    #[must_use]
    pub const fn new(order: Order, hasher: KeyHasher) -> Self {
        Self { order, hasher, good: None, refused: None }
    }

    /// Takes in what the store says. `version` is the store's own count, if it counts beside the document.
    pub fn hear(&mut self, version: Option<u64>, text: &[u8]) -> Heard {
        if let Some((held, good)) = &self.good
            && good == text
            && version.is_none_or(|version| version == *held)
        {
            self.refused = None;
            return Heard::Same;
        }
        if self.refused.as_ref().is_some_and(|(of, refused)| *of == version && refused == text) {
            return Heard::StillRefused;
        }
        match self.judge(version, text) {
            Ok((version, flags)) => {
                self.good = Some((version, text.to_vec()));
                self.refused = None;
                Heard::New(flags)
            }
            Err(refusal) => {
                self.refused = Some((version, text.to_vec()));
                Heard::Refused(refusal)
            }
        }
    }

    /// The last good document and its version.
    #[must_use]
    pub fn good(&self) -> Option<(u64, &[u8])> {
        self.good.as_ref().map(|(version, text)| (*version, text.as_slice()))
    }

    fn judge(&self, version: Option<u64>, text: &[u8]) -> Result<(u64, Flags), Refusal> {
        let document = Document::parse(text, &self.hasher)?;
        let version = version.unwrap_or(document.version);
        if self.order == Order::Version {
            if version == 0 {
                return Err(Refusal::NoVersion);
            }
            match &self.good {
                Some((held, _)) if version < *held => return Err(Refusal::WentBack(version, *held)),
                Some((held, good)) if version == *held && good != text => {
                    return Err(Refusal::Ambiguous(version));
                }
                _ => {}
            }
        }
        Ok((version, document.flags))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(version: u64, percent: u32) -> Vec<u8> {
        format!(r#"{{"schema":1,"version":{version},"percent":{percent}}}"#).into_bytes()
    }

    fn word(heard: &Heard) -> String {
        match heard {
            Heard::New(flags) => format!("new {}", flags.percent),
            Heard::Same => "same".to_owned(),
            Heard::StillRefused => "still".to_owned(),
            Heard::Refused(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn garbage_is_named_once_and_the_last_good_value_stays() {
        let mut keeper = Keeper::new(Order::Version, KeyHasher::new(b""));
        let mut hear = |text: &[u8]| word(&keeper.hear(None, text));
        assert_eq!(hear(&document(1, 10)), "new 10");
        assert_eq!(hear(&document(1, 10)), "same");
        assert!(hear(b"{").contains("cannot be read"));
        assert_eq!(hear(b"{"), "still");
        assert_eq!(hear(&document(1, 10)), "same");
        assert!(hear(b"{").contains("cannot be read"), "told again after it was good");
        assert!(hear(&document(1, 11)).contains("two contents"));
        assert!(hear(&document(0, 11)).contains("no version"));
        assert_eq!(hear(&document(3, 20)), "new 20");
        assert!(hear(&document(2, 15)).contains("version 2 came after version 3"));
        assert_eq!(keeper.good().unwrap().0, 3);
    }

    #[test]
    fn a_file_goes_where_it_likes_and_a_table_counts_by_itself() {
        let mut file = Keeper::new(Order::Content, KeyHasher::new(b""));
        assert_eq!(word(&file.hear(None, &document(9, 10))), "new 10");
        assert_eq!(word(&file.hear(None, &document(0, 5))), "new 5");
        let mut table = Keeper::new(Order::Version, KeyHasher::new(b""));
        assert_eq!(word(&table.hear(Some(4), &document(0, 10))), "new 10");
        assert_eq!(
            word(&table.hear(Some(5), &document(0, 10))),
            "new 10",
            "a new version of the same content"
        );
        assert!(word(&table.hear(Some(4), &document(0, 10))).contains("version 4 came after version 5"));
    }

    proptest! {
        #[test]
        fn what_holds_never_gets_older(words in prop::collection::vec((0_u64..6, 0_u32..4), 1..40)) {
            let mut keeper = Keeper::new(Order::Version, KeyHasher::new(b""));
            let mut held = 0;
            for (version, percent) in words {
                let heard = keeper.hear(None, &document(version, percent));
                let now = keeper.good().map_or(0, |(version, _)| version);
                prop_assert!(now >= held);
                prop_assert_eq!(matches!(heard, Heard::New(_)), now > held);
                held = now;
            }
        }
    }
}
