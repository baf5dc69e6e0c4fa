//! The cold lane: crossfade answers in the service's place, and a Realtime topic feeds the client.
//!
//! **Problem.** A client that speaks the service's own wire cannot be sent to Realtime, and the service is to be
//! switched off. Somebody must open the socket, decide who may, turn broadcasts into the messages that the client
//! knows, and turn what it says into broadcasts. Whoever does that holds keys: a client must never reach further
//! with ours than with its own.
//!
//! **Decision.** Here is what decides, pure: who is let in ([`admit`], [`token`]), what a message looks like on either
//! side ([`wire`]), and what a client that comes back has missed ([`log`]). The sockets are in `app/cold/`. A client's
//! token joins the channel where there is one, else the anon key does, so that the policies on `realtime.messages`
//! decide and not we. What may have been missed is never covered up: a channel that was interrupted closes its clients,
//! and whoever comes back is told `resumed`, `fresh` or `gap`.
//!
//! **Limits.** [`Limits`], each of them a field of the section `[cold]` of `CROSSFADE_TUNING`. Presence is refused, since
//! the lane has no state that it could be told from. No extension is negotiated: messages are not compressed.

pub mod admit;
pub mod log;
pub mod token;
pub mod wire;

use std::time::Duration;

use bytes::Bytes;

/// One message of the client's wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Text or binary.
    pub text: bool,
    /// Its bytes; UTF-8 where it is text.
    pub body: Bytes,
}

/// Payloads stay out of logs (invariant 7).
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} bytes)", self.body.len())
    }
}

/// What the lane holds at most, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open cold sessions of the pod. More go to the service.
    pub sessions_max: usize,
    /// Topics that are joined at a time, counted by token, each on a connection. More go to the service.
    pub topics_max: usize,
    /// How long an upgrade waits for the join of its topic (a refusal takes 5 s). Then it goes to the service.
    pub join_timeout: Duration,
    /// Bytes that wait for a slow client. Beyond: closed, `slow_client`.
    pub outbox_bytes: usize,
    /// The largest message from a client. Beyond: closed with 1009.
    pub message_bytes: usize,
    /// Messages of one client that Realtime has not acknowledged. Beyond: its socket is not read.
    pub unacknowledged: usize,
    /// Messages of a topic that are kept for those who come back …
    pub log_messages: usize,
    /// … their bytes …
    pub log_bytes: usize,
    /// … and their age. A topic without clients stays joined for as long.
    pub log_age: Duration,
    /// Messages that a new client is given at once: rows of the table, or the last ones of the log. 0 is off.
    pub snapshot: usize,
    /// Clients of an interrupted channel that are closed in a second.
    pub closes_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 10_000,
            topics_max: 100,
            join_timeout: Duration::from_secs(8),
            outbox_bytes: 256 << 10,
            message_bytes: 256 << 10,
            unacknowledged: 16,
            log_messages: 1_000,
            log_bytes: 1 << 20,
            log_age: Duration::from_secs(60),
            snapshot: 0,
            closes_per_s: 400,
        }
    }
}

/// Why we closed a cold session: code and reason of the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The client, or the worker in its place (drain, trip, a person), closed.
    Client,
    /// It did not read as fast as its topic wrote.
    SlowClient,
    /// The token's time is over.
    TokenExpired,
    /// The policies no longer let it read the topic.
    NotAuthorized,
    /// The policies do not let it write to the topic.
    WriteDenied,
    /// Realtime did not take a message of the client's.
    NotDelivered,
    /// The channel was interrupted: messages may be missing.
    Gap,
    /// The client wants presence.
    Presence,
    /// A message over the limit.
    TooLarge,
    /// What it sent is no WebSocket.
    Protocol,
}

impl Ending {
    /// Every ending, in label order.
    pub const ALL: [Self; 10] = [
        Self::Client,
        Self::SlowClient,
        Self::TokenExpired,
        Self::NotAuthorized,
        Self::WriteDenied,
        Self::NotDelivered,
        Self::Gap,
        Self::Presence,
        Self::TooLarge,
        Self::Protocol,
    ];

    /// The metric label, and the reason in the close frame.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::SlowClient => "slow_client",
            Self::TokenExpired => "token_expired",
            Self::NotAuthorized => "not_authorized",
            Self::WriteDenied => "write_denied",
            Self::NotDelivered => "not_delivered",
            Self::Gap => "gap",
            Self::Presence => "presence_not_supported",
            Self::TooLarge => "message_too_large",
            Self::Protocol => "protocol_error",
        }
    }

    /// The close code. From 4000 on they are ours (RFC 6455 section 7.4.2), with HTTP's last two digits.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Client => 1000,
            Self::SlowClient => 1008,
            Self::TokenExpired => 4401,
            Self::NotAuthorized | Self::WriteDenied => 4403,
            Self::NotDelivered => 1013,
            Self::Gap => 1012,
            Self::Presence => 4406,
            Self::TooLarge => 1009,
            Self::Protocol => 1002,
        }
    }
}

/// What a client that comes back is told in `X-Crossfade-Resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resume {
    /// It was not here before, or nobody knows that it was.
    Fresh,
    /// It is given all that came after what it has certainly read; some of that perhaps again.
    Resumed,
    /// It was here before, and something in between may be missing.
    Gap,
}

impl Resume {
    /// Every answer, in label order.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Resumed, Self::Gap];

    /// The metric label and the field's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Resumed => "resumed",
            Self::Gap => "gap",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_a_code_that_may_be_sent_and_a_word_of_its_own() {
        let mut words: Vec<_> = Ending::ALL.iter().map(|ending| ending.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Ending::ALL.len());
        for ending in Ending::ALL {
            let code = ending.code();
            assert!(matches!(code, 1000..=1002 | 1008..=1013 | 4000..=4999), "{ending:?} {code}");
            assert!(ending.as_str().len() <= 123, "RFC 6455 section 5.5");
        }
    }
}
