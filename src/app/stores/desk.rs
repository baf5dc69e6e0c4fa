//! The desk of one store: judges what comes in, saves what is good, counts, and words it for the ops thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;

use super::saved;
use crate::app::flags::FlagWord;
use crate::app::on_time::on_time;
use crate::app::ops::Word;
use crate::rollout::{Heard, Keeper, KeyHasher, Order, Slot, Tier};

/// Counts of one store, for the metrics.
#[derive(Debug)]
pub(crate) struct TierFigures {
    /// Whose.
    pub(crate) tier: Tier,
    /// Documents taken.
    pub(crate) taken: AtomicU64,
    /// Documents refused.
    pub(crate) refused: AtomicU64,
    /// Times that the store could not be asked.
    pub(crate) failed: AtomicU64,
}

/// See the module.
pub(crate) struct Desk {
    tier: Tier,
    keeper: Keeper,
    saved: Option<PathBuf>,
    figures: Arc<TierFigures>,
    /// The last failure, so that one outage is told once.
    failing: Option<String>,
}

impl Desk {
    /// A desk, and what its tier begins with: what was saved, or silence.
    pub(super) fn open(tier: Tier, order: Order, hasher: KeyHasher, state: Option<PathBuf>) -> (Self, Slot) {
        let figures = Arc::new(TierFigures {
            tier,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let saved = state.map(|folder| saved::path(&folder, tier));
        let mut desk = Self { tier, keeper: Keeper::new(order, hasher), saved, figures, failing: None };
        let slot = desk.restore().unwrap_or(Slot::Silent);
        (desk, slot)
    }

    pub(super) fn figures(&self) -> Arc<TierFigures> {
        Arc::clone(&self.figures)
    }

    fn restore(&mut self) -> Option<Slot> {
        let path = self.saved.as_ref()?;
        let (tier, whose, file) = (self.tier.as_str(), self.tier, path.clone());
        let saved = match on_time("a store's saved flags", move || saved::load(&file, whose))? {
            Ok(saved) => saved?,
            Err(error) => {
                tracing::warn!(tier, path = %path.display(), error, "the saved flags are ignored");
                return None;
            }
        };
        let version = (saved.version > 0).then_some(saved.version);
        match self.keeper.hear(version, saved.document.as_bytes()) {
            Heard::New(flags) => {
                let now = clock();
                tracing::info!(tier, version = saved.version, "saved flags hold until the store answers");
                Some(Slot::Known(flags, now.checked_sub(saved.age()).unwrap_or(now)))
            }
            Heard::Refused(error) => {
                tracing::warn!(tier, path = %path.display(), %error, "the saved flags are ignored");
                None
            }
            Heard::Same | Heard::StillRefused => None,
        }
    }

    /// What follows from what the store said, or from its silence.
    pub(super) fn judge(&mut self, version: Option<u64>, said: Result<Vec<u8>, String>) -> Option<FlagWord> {
        let tier = self.tier;
        let text = match said {
            Ok(text) => text,
            Err(error) => {
                self.figures.failed.fetch_add(1, Ordering::Relaxed);
                if self.failing.as_ref() != Some(&error) {
                    tracing::warn!(
                        tier = tier.as_str(),
                        error,
                        "the flags cannot be fetched; what holds stays"
                    );
                    self.failing = Some(error);
                }
                return None;
            }
        };
        if self.failing.take().is_some() {
            tracing::info!(tier = tier.as_str(), "the flags can be fetched again");
        }
        match self.keeper.hear(version, &text) {
            Heard::New(flags) => {
                self.figures.taken.fetch_add(1, Ordering::Relaxed);
                self.save();
                Some(FlagWord::Store(tier, Slot::Known(flags, clock())))
            }
            Heard::Same => Some(FlagWord::Confirmed(tier, clock())),
            Heard::Refused(error) => {
                self.figures.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(tier = tier.as_str(), %error, "the flags are refused; the last good ones hold");
                None
            }
            Heard::StillRefused => None,
        }
    }

    /// Judges and tells. The ops thread is waited for: this one has nothing better to do.
    pub(super) async fn hear(
        &mut self,
        version: Option<u64>,
        said: Result<Vec<u8>, String>,
        words: &mpsc::Sender<Word>,
    ) {
        if let Some(word) = self.judge(version, said)
            && words.send(Word::Flags(word)).await.is_err()
        {
            tracing::debug!("nobody listens to the flags any more");
        }
    }

    fn save(&self) {
        let (Some(path), Some((version, text))) = (&self.saved, self.keeper.good()) else { return };
        if let Err(error) = saved::store(path, self.tier, version, text) {
            tracing::error!(tier = self.tier.as_str(), path = %path.display(), %error, "the flags cannot be saved");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a store's age is measured by the real clock")]
fn clock() -> Instant {
    Instant::now()
}
