//! A user's own access token, for as long as his session is open and no longer.
//!
//! **Problem.** Whether Realtime would let a user read can only be asked with that user's token. Whoever keeps tokens
//! must bound how many, never show one, and never keep one for longer than the session that brought it.
//!
//! **Decision.** [`Seats`] bounds how many there are. The one strong [`Token`] belongs to the session (it ends with the
//! session's cell, or with an upgrade that was refused); the side thread has a [`TokenRef`], which finds nothing after
//! that. Either side can [`retire`](TokenRef::retire) it before.
//!
//! **Limits.** [`TOKEN_BYTES_MAX`] each, [`Seats`] of them. Neither `Debug` nor an error shows one. The memory is given
//! back, not wiped.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A longer token is not kept: the session is not sampled.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// How many tokens there may be at once. Cheap to share between threads.
#[derive(Debug)]
pub struct Seats {
    free: AtomicU32,
    turned_away: AtomicU64,
}

impl Seats {
    /// So many.
    #[must_use]
    pub fn new(count: u32) -> Arc<Self> {
        Arc::new(Self { free: AtomicU32::new(count), turned_away: AtomicU64::new(0) })
    }

    /// Whether one is free at the moment: to be asked before anything is read of a request.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.free.load(Ordering::Relaxed) > 0
    }

    /// Somebody came who found none free.
    pub fn turn_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// How many found none free, so far.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Keeps a token, if there is a seat for it and it is of a usable length. `who` is the short hash of the user's
    /// key, for people who look at samples.
    #[must_use]
    pub fn take(self: &Arc<Self>, text: &str, who: Option<String>) -> Option<Token> {
        if text.is_empty() || text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1));
        if taken.is_err() {
            self.turn_away();
            return None;
        }
        let held = Held { text: Mutex::new(Some(text.into())), who, seats: Arc::clone(self) };
        Some(Token(Arc::new(held)))
    }
}

struct Held {
    /// Gone once it is retired.
    text: Mutex<Option<Box<str>>>,
    who: Option<String>,
    seats: Arc<Seats>,
}

impl Held {
    fn retire(&self) {
        if self.text.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.seats.free.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.retire();
    }
}

/// The session's own end. See the module.
#[derive(Clone)]
pub struct Token(Arc<Held>);

impl Token {
    /// For those who must not keep it alive.
    #[must_use]
    pub fn downgrade(&self) -> TokenRef {
        TokenRef(Arc::downgrade(&self.0))
    }
}

impl PartialEq for Token {
    /// The same seat.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Finds the token while its session is open.
#[derive(Clone)]
pub struct TokenRef(Weak<Held>);

impl TokenRef {
    /// The token itself, if it is still there. Every call is a place where it may leak.
    #[must_use]
    pub fn reveal(&self) -> Option<String> {
        let held = self.0.upgrade()?;
        let text = held.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.as_deref().map(str::to_owned)
    }

    /// Whether it is still there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let held = self.0.upgrade();
        held.is_some_and(|held| held.text.lock().unwrap_or_else(PoisonError::into_inner).is_some())
    }

    /// The short hash of the user's key.
    #[must_use]
    pub fn who(&self) -> Option<String> {
        self.0.upgrade()?.who.clone()
    }

    /// Forgets the token and frees its seat, although the session goes on.
    pub fn retire(&self) {
        if let Some(held) = self.0.upgrade() {
            held.retire();
        }
    }
}

impl fmt::Debug for TokenRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenRef(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_with_its_session_and_frees_its_seat() {
        let seats = Seats::new(2);
        let first = seats.take("one", Some("key:1".to_owned())).unwrap();
        let second = seats.take("two", None).unwrap();
        assert!(!seats.is_free() && seats.take("three", None).is_none());
        assert_eq!(seats.turned_away(), 1);
        let (seen, other) = (first.downgrade(), second.downgrade());
        assert_eq!((seen.reveal().as_deref(), seen.who().as_deref()), (Some("one"), Some("key:1")));
        drop(first);
        assert_eq!((seen.reveal(), seen.who(), seen.is_there()), (None, None, false));
        assert!(seats.is_free());
        other.retire();
        other.retire();
        drop(second);
        let all = [seats.take("a", None), seats.take("b", None), seats.take("c", None)];
        assert_eq!(all.map(|one| one.is_some()), [true, true, false], "a seat is given back once");
    }

    #[test]
    fn no_token_shows() {
        let seats = Seats::new(9);
        let token = seats.take("secret-text", Some("key:1".to_owned())).unwrap();
        let shown = format!("{token:?} {:?} {seats:?}", token.downgrade());
        assert!(!shown.contains("secret-text"), "{shown}");
        assert!(seats.take("", None).is_none(), "an empty one");
        assert!(seats.take(&"x".repeat(TOKEN_BYTES_MAX + 1), None).is_none(), "a long one");
        assert_eq!(seats.turned_away(), 0);
    }
}
