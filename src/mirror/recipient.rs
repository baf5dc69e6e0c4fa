//! One ledger token on its way, and whether a hot session waits for its return. The pieces of a split message share
//! a token: it is proved when every piece is, and lost with the first that is lost.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::envelope::To;
use crate::ledger::{Entry, Proof, Shed};
use crate::session::Key;

#[derive(Debug)]
pub(super) struct Recipient {
    pub(super) key: Key,
    pub(super) awaited: bool,
    /// Taken when the token is settled; the key stays, for repetitions carry the same list.
    token: Token,
}

#[derive(Debug)]
enum Token {
    Own(Entry),
    Shared(Arc<Joint>),
    Settled,
}

/// What the pieces of one message have in common.
struct Joint(Mutex<JointState>);

struct JointState {
    entry: Option<Entry>,
    pieces_left: u16,
    awaited: bool,
}

impl fmt::Debug for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joint({} left)", self.state().pieces_left)
    }
}

impl Joint {
    /// Nothing in here can panic half way, so a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, JointState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recipient {
    pub(super) const fn new(entry: Entry, awaited: bool) -> Self {
        Self { key: entry.key(), awaited, token: Token::Own(entry) }
    }

    /// As many recipients as pieces, which share the token.
    pub(super) fn split(self, pieces: u16) -> Vec<Self> {
        let Self { key, awaited, token } = self;
        let entry = match token {
            Token::Own(entry) => Some(entry),
            Token::Shared(_) | Token::Settled => None,
        };
        let joint = Arc::new(Joint(Mutex::new(JointState { entry, pieces_left: pieces, awaited })));
        let piece = |_| Self { key, awaited, token: Token::Shared(Arc::clone(&joint)) };
        (0..pieces).map(piece).collect()
    }

    /// Sabotage: the next piece that is proved proves the whole message.
    #[cfg(test)]
    pub(super) fn trust_next_piece(&self) {
        if let Token::Shared(joint) = &self.token {
            joint.state().pieces_left = 1;
        }
    }

    pub(super) const fn to(&self) -> To {
        To(self.key.session, self.key.seq)
    }

    /// Settles as proved; whether this has proved the whole message.
    pub(super) fn confirm(&mut self, how: Proof) -> bool {
        match std::mem::replace(&mut self.token, Token::Settled) {
            Token::Own(entry) => {
                entry.confirm(how);
                true
            }
            Token::Shared(joint) => {
                let mut state = joint.state();
                state.pieces_left = state.pieces_left.saturating_sub(1);
                let whole = state.pieces_left == 0;
                if !whole {
                    self.awaited = false;
                    return false;
                }
                // The window is told once, also when another piece has come back altered before.
                self.awaited = std::mem::take(&mut state.awaited);
                state.entry.take().map(|entry| entry.confirm(how)).is_some()
            }
            Token::Settled => false,
        }
    }

    /// Settles as lost; whether it had been open.
    pub(super) fn shed(&mut self, why: Shed) -> bool {
        match std::mem::replace(&mut self.token, Token::Settled) {
            Token::Own(entry) => {
                entry.shed(why);
                true
            }
            Token::Shared(joint) => {
                let mut state = joint.state();
                self.awaited = std::mem::take(&mut state.awaited);
                state.entry.take().map(|entry| entry.shed(why)).is_some()
            }
            Token::Settled => false,
        }
    }

    /// Whether its window is to be told now; it is told once.
    pub(super) fn take_awaited(&mut self) -> bool {
        let own = std::mem::take(&mut self.awaited);
        match &self.token {
            Token::Shared(joint) => std::mem::take(&mut joint.state().awaited),
            Token::Own(_) | Token::Settled => own,
        }
    }

    /// Takes the token out, for the caller to settle. Pieces keep theirs: it is not theirs alone.
    pub(super) fn take_token(&mut self) -> Option<Entry> {
        match std::mem::replace(&mut self.token, Token::Settled) {
            Token::Own(entry) => Some(entry),
            other => {
                self.token = other;
                None
            }
        }
    }

    /// Whether it stands for a piece of a message.
    pub(super) const fn is_piece(&self) -> bool {
        matches!(self.token, Token::Shared(_))
    }

    pub(super) fn is_open(&self) -> bool {
        match &self.token {
            Token::Own(_) => true,
            Token::Shared(joint) => joint.state().entry.is_some(),
            Token::Settled => false,
        }
    }
}
