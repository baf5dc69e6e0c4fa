//! The desk of one store: judges what comes in, saves what is good, counts, and words it for the ops thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tokio::sync::mpsc;

use super::saved::{self, Saved};
use crate::app::flags::FlagWord;
use crate::app::on_time::{Looked, Looking};
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

/// What came of reading what was saved.
type Loaded = Result<Option<Saved>, String>;

/// See the module.
pub(crate) struct Desk {
    tier: Tier,
    keeper: Keeper,
    saved: Option<PathBuf>,
    /// What was saved is being read.
    looking: Option<Looking<Loaded>>,
    /// It was not there in time and may still come.
    late: Option<Receiver<Loaded>>,
    figures: Arc<TierFigures>,
    /// The last failure, so that one outage is told once.
    failing: Option<String>,
}

impl Desk {
    /// A desk whose tier is silent: what was saved is being read.
    pub(super) fn open(tier: Tier, order: Order, hasher: KeyHasher, state: Option<PathBuf>) -> Self {
        let figures = Arc::new(TierFigures {
            tier,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let saved = state.map(|folder| saved::path(&folder, tier));
        let looking = saved.clone().map(|file| {
            Looking::begin("a store's saved flags in CROSSFADE_STATE_DIR", move || saved::load(&file, tier))
        });
        let keeper = Keeper::new(order, hasher);
        Self { tier, keeper, saved, looking, late: None, figures, failing: None }
    }

    /// What the tier begins with: what was saved, or silence when there is nothing or it does not come in time.
    pub(super) fn recall(&mut self) -> Slot {
        match self.looking.take().map(Looking::finish) {
            Some(Looked::InTime(loaded)) => self.restore(loaded).unwrap_or(Slot::Silent),
            Some(Looked::Late(later)) => {
                self.late = Some(later);
                Slot::Silent
            }
            Some(Looked::Failed) | None => Slot::Silent,
        }
    }

    /// What was saved, if the disk says so only now and the store has said nothing yet.
    fn recall_late(&mut self) -> Option<FlagWord> {
        let loaded = self.late.as_ref()?.try_recv().ok()?;
        self.late = None;
        if self.keeper.good().is_some() {
            return None;
        }
        self.restore(loaded).map(|slot| FlagWord::Store(self.tier, slot))
    }

    pub(super) fn figures(&self) -> Arc<TierFigures> {
        Arc::clone(&self.figures)
    }

    fn restore(&mut self, loaded: Loaded) -> Option<Slot> {
        let path = self.saved.as_ref()?;
        let tier = self.tier.as_str();
        let saved = match loaded {
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
        let late = self.recall_late();
        for word in late.into_iter().chain(self.judge(version, said)) {
            if words.send(Word::Flags(word)).await.is_err() {
                tracing::debug!("nobody listens to the flags any more");
            }
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
