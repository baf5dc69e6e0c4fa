//! What the process is told from outside while it runs: each a word into the ops thread's bounded queue, never waited for.

use super::App;
use super::flags::{FlagWord, Hand};
use super::ops::Word;
use crate::breaker::Force;

impl App {
    /// A person's word to the breaker.
    pub fn force(&self, force: Force) {
        if self.words.try_send(Word::Force(force)).is_err() {
            tracing::error!("the breaker did not hear a person's word: too much is waiting");
        }
    }

    /// Everybody on legacy, or no longer as far as this hand is concerned.
    pub fn emergency(&self, hand: Hand, on: bool) {
        if self.words.try_send(Word::Flags(FlagWord::Emergency(hand, on))).is_err() {
            tracing::error!("the emergency switch was not heard: too much is waiting; switch again");
        }
    }

    /// So many pods share the plan now, as whoever counts them has seen.
    pub fn set_pods(&self, pods: u32) {
        if self.words.try_send(Word::Pods(pods.max(1))).is_err() {
            tracing::warn!("the number of pods was not heard: too much is waiting");
        }
    }
}
