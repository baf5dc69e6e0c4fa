//! The rollout's settings while the process lives: what every tier has said last, and what follows from it.
//!
//! The ops thread owns the book. Stores and people send it [`FlagWord`]s; what holds is a snapshot in a watch
//! channel, which the decision at the upgrade and every worker read. The version rises with each change, so that
//! workers know when to decide anew for their open sessions.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use crate::rollout::{Flags, Identity, Settings, Slot, Tier, Tiers};

/// The settings in effect, and how many there were before.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Rises by one with each change.
    pub(crate) version: u64,
    /// What holds.
    pub(crate) settings: Settings,
    /// What each tier has said.
    pub(crate) tiers: Tiers,
    /// Who holds the emergency switch.
    pub(crate) hands: Vec<Hand>,
}

/// Whose hand is on the emergency switch. It is off only when nobody's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// `CROSSFADE_EMERGENCY_FILE` exists.
    File,
    /// SIGUSR1 (on) and SIGUSR2 (off).
    Signal,
    /// The admin API.
    Api,
}

impl Hand {
    /// The word in the log and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
        }
    }
}

/// What can be said about the rollout.
#[derive(Debug)]
pub(crate) enum FlagWord {
    /// Everybody on legacy, or no longer as far as this hand is concerned.
    Emergency(Hand, bool),
    /// A store's last good value, or that it is silent.
    Store(Tier, Slot),
    /// A store says the same as before, at this moment.
    Confirmed(Tier, Instant),
    /// A person's change on this pod alone; it stands in for the environment's value until the process ends.
    ThisPod(Flags, Receipt),
}

/// What the person who changes something has seen, and where they hear the version that came of it.
#[derive(Debug)]
pub(crate) struct Receipt {
    /// Only if this version still holds; `None`: whatever holds.
    pub(crate) expected: Option<u64>,
    /// The new version, or the one that holds instead of the expected one.
    pub(crate) answer: oneshot::Sender<Held>,
}

/// The new version, or the one that holds instead of the expected one.
pub(crate) type Held = Result<u64, u64>;

/// See the module.
#[derive(Debug)]
pub(crate) struct FlagBook {
    identity: Arc<Identity>,
    standing: watch::Sender<Arc<Standing>>,
}

impl FlagBook {
    /// A book that begins with these tiers.
    pub(crate) fn new(identity: Identity, tiers: Tiers) -> Self {
        let identity = Arc::new(identity);
        let settings = tiers.settings(&identity);
        Self {
            identity,
            standing: watch::Sender::new(Arc::new(Standing {
                version: 0,
                settings,
                tiers,
                hands: Vec::new(),
            })),
        }
    }

    /// What holds, for everybody who wants to know.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    /// What holds now.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.borrow())
    }

    /// What the disk kept is known now. Who has connected meanwhile follows as after any change.
    pub(crate) fn recalled(&self, tiers: Tiers) {
        self.standing.send_modify(|standing| {
            let standing = Arc::make_mut(standing);
            standing.tiers = tiers;
            standing.settings = standing.tiers.settings(&self.identity);
            standing.version += 1;
        });
    }

    /// A younger age is no change: the version stays, and nobody decides anew.
    fn confirm(&self, tier: Tier, at: Instant) {
        self.standing.send_modify(|standing| {
            let standing = Arc::make_mut(standing);
            let slot = match tier {
                Tier::Redis => &mut standing.tiers.redis,
                Tier::Supabase => &mut standing.tiers.supabase,
                Tier::File => &mut standing.tiers.file,
                Tier::EmergencyOff | Tier::Env => return,
            };
            if let Slot::Known(_, confirmed) = slot {
                *confirmed = at;
            }
            standing.settings = standing.tiers.settings(&self.identity);
        });
    }

    /// Takes a word in and publishes what follows from it.
    pub(crate) fn hear(&self, word: FlagWord) {
        let before = self.standing();
        let mut tiers = before.tiers.clone();
        let mut hands = before.hands.clone();
        let mut answered = None;
        match word {
            FlagWord::Emergency(hand, on) => {
                hands.retain(|held| *held != hand);
                if on {
                    hands.push(hand);
                }
                if hands == before.hands {
                    return;
                }
                tiers.emergency_off = !hands.is_empty();
                tracing::warn!(by = hand.as_str(), on, "emergency switch");
            }
            FlagWord::Store(Tier::Redis, slot) => tiers.redis = slot,
            FlagWord::Store(Tier::Supabase, slot) => tiers.supabase = slot,
            FlagWord::Store(Tier::File, slot) => tiers.file = slot,
            FlagWord::Store(tier @ (Tier::EmergencyOff | Tier::Env), _) => {
                return tracing::error!(tier = tier.as_str(), "no store speaks for this tier (a bug)");
            }
            FlagWord::ThisPod(flags, receipt) => {
                let refused = receipt.expected.is_some_and(|expected| expected != before.version);
                let answer = if refused { Err(before.version) } else { Ok(before.version + 1) };
                answered = Some((receipt.answer, answer));
                if refused {
                    return tell(answered);
                }
                tiers.env = flags;
            }
            FlagWord::Confirmed(tier, at) => return self.confirm(tier, at),
        }
        let settings = tiers.settings(&self.identity);
        tracing::info!(
            tier = settings.tier.as_str(),
            percent = f64::from(settings.percent().units()) / 1000.0,
            "rollout settings in effect"
        );
        let standing = Standing { version: before.version + 1, settings, tiers, hands };
        self.standing.send_replace(Arc::new(standing));
        tell(answered);
    }
}

/// Whoever asked may have gone.
fn tell(answered: Option<(oneshot::Sender<Held>, Held)>) {
    if let Some((to, what)) = answered {
        to.send(what).unwrap_or_default();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rollout::{KeyHasher, Percent};

    fn flags(percent: u32) -> Flags {
        Flags { percent: Percent::from_units(percent).expect("at most 100 %"), ..Flags::default() }
    }

    pub(crate) fn book() -> FlagBook {
        let chain = "header:x-user-id".parse().expect("a chain");
        let identity = Identity { salt: "salt".to_owned(), chain, hasher: KeyHasher::new(&[7; 32]) };
        FlagBook::new(identity, Tiers { env: flags(10_000), ..Tiers::default() })
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn the_highest_tier_that_spoke_holds_and_every_word_is_a_new_version() {
        let book = book();
        let mut seen = book.subscribe();
        let holds = |book: &FlagBook| {
            let standing = book.standing();
            (standing.version, standing.settings.tier, standing.settings.percent().units())
        };
        assert_eq!(holds(&book), (0, Tier::Env, 10_000));
        let change = |percent, expected| {
            let (answer, mut answered) = oneshot::channel();
            book.hear(FlagWord::ThisPod(flags(percent), Receipt { expected, answer }));
            answered.try_recv().expect("an answer")
        };
        assert_eq!(change(20_000, Some(0)), Ok(1));
        assert_eq!(change(30_000, Some(0)), Err(1), "somebody was faster");
        assert_eq!(holds(&book), (1, Tier::Env, 20_000));
        book.hear(FlagWord::Store(Tier::Redis, Slot::Silent));
        assert_eq!(holds(&book), (2, Tier::Redis, 0));
        book.hear(FlagWord::Store(Tier::Redis, Slot::Known(flags(50_000), Instant::now())));
        assert_eq!(holds(&book), (3, Tier::Redis, 50_000));
        let later = Instant::now() + std::time::Duration::from_secs(9);
        book.hear(FlagWord::Confirmed(Tier::Redis, later));
        assert_eq!(holds(&book), (3, Tier::Redis, 50_000), "confirmed, not changed");
        assert_eq!(book.standing().settings.confirmed, Some(later));
        book.hear(FlagWord::Emergency(Hand::File, true));
        assert_eq!(holds(&book), (4, Tier::EmergencyOff, 0));
        book.hear(FlagWord::Emergency(Hand::Signal, true));
        book.hear(FlagWord::Emergency(Hand::File, false));
        assert_eq!(holds(&book), (6, Tier::EmergencyOff, 0), "another hand still holds it");
        book.hear(FlagWord::Emergency(Hand::Signal, false));
        assert_eq!(holds(&book), (7, Tier::Redis, 50_000));
        book.hear(FlagWord::Emergency(Hand::Signal, false));
        assert!(seen.has_changed().expect("the book lives"));
        assert_eq!(seen.borrow_and_update().version, 7, "nothing new, nothing published");
    }
}
