//! Links that were used, until they expire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Used links that are remembered. Only links that we have signed get here, and each state makes two at most.
pub const USED_MAX: usize = 1_024;

/// Why a link cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurnError {
    /// It was used before.
    Used,
    /// It could not be remembered.
    Full,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Used {
    /// When each expires, in Unix seconds.
    nonces: BTreeMap<String, u64>,
}

impl Used {
    /// Reads what was kept.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|used| used.nonces.len() <= USED_MAX)
    }

    /// What is to be kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it was used.
    #[must_use]
    pub fn has(&self, nonce: &str) -> bool {
        self.nonces.contains_key(nonce)
    }

    /// Uses it up.
    ///
    /// # Errors
    /// [`BurnError`]; nothing may be done then.
    pub fn burn(&mut self, nonce: &str, expires: u64, now: u64) -> Result<(), BurnError> {
        self.nonces.retain(|_, until| *until > now);
        if self.has(nonce) {
            return Err(BurnError::Used);
        }
        if self.nonces.len() >= USED_MAX {
            return Err(BurnError::Full);
        }
        self.nonces.insert(nonce.to_owned(), expires);
        Ok(())
    }
}
