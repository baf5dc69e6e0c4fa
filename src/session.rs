//! Names of one session and of one message in it.
//!
//! A *session* is one upgraded client connection, from the 101 to the close. It has a number that is unique in
//! this process ([`SessionNo`], used in the envelope and in every table), and an unguessable id ([`SessionId`],
//! the only name that leaves the process in logs and API answers). A message is named by a [`Key`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a session: rising, unique in this process, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionNo(pub u32);

/// The place of a data message in its session and direction: 1, 2, 3 … without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number of the first message.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Which way a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Client to service.
    Up,
    /// Service to client.
    Down,
}

impl Direction {
    /// Both directions, in label order.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// The metric label and the envelope's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The kind of a data message (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Opcode {
    /// Opcode 0x1. The bytes should be UTF-8; the tap does not insist.
    Text,
    /// Opcode 0x2.
    Binary,
}

/// The name of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose message.
    pub session: SessionNo,
    /// Which way it went.
    pub dir: Direction,
    /// Its place in that direction.
    pub seq: Seq,
}

/// 128 random bits that name a session to the outside. Not a credential, but not guessable either.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

impl SessionId {
    /// Makes the id of the given random bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
