//! A client for Supabase Realtime that stands alone: nothing in this room knows the rest of crossfade.
//!
//! **Problem.** Realtime is Phoenix channels with a dialect: two serializers, binary frames, errors that are told as
//! late replies, system messages, close codes or not at all. Delivery is at most once, an ack says only "taken and
//! handed on", a refused join blocks the whole socket for five seconds, and an idle socket is closed with 1000, which
//! the usual clients take for a goodbye. The Rust clients that exist miss some of these; what each does to a
//! long-running process is in the recordings under `tests/wire/`.
//!
//! **Decision.** Four layers, the outer knowing the inner:
//!
//! ```text
//! client   the only one with a socket, a clock and a task     (start, Handle, Commands)
//! link     one socket with its channels, a pure machine       (Link, Input, Order, LinkEvent)
//! codec    frames to messages and back, both versions         (decode, encode)
//! message, key, url, reason, classify, http                   plain values
//! ```
//!
//! What the server says is turned into a closed [`Reason`](reason::Reason), which has a [`Cause`](reason::Cause) (whose
//! doing), a [`Remedy`](reason::Remedy) (what the link does next) and advice (what a person can do). Labels, documents
//! and log lines are made of it; no server text is needed to act.
//!
//! **Promises.** `docs/realtime.md` lists each behaviour of the server, what is done about it, and the test. In short:
//!
//! - After any end that was not asked for, the channel is joined again for as long as the owner wants it.
//! - Each push that was taken on a channel with acks gets exactly one outcome.
//! - Nothing of an older socket or join can be mistaken for the present one.
//! - Every queue is bounded; what is shed is counted.
//! - Keys, tokens and payloads appear in no `Debug`, `Display` or error.
//!
//! **Limits.** No presence, no long polling. What was lost is not sent again: only the owner knows whether it still
//! matters. Delivery is not proved here: whoever must know has to listen on a second socket.

pub mod classify;
#[cfg(test)]
mod classify_tests;
pub mod client;
pub mod codec;
pub mod http;
pub mod key;
pub mod link;
pub mod message;
pub mod reason;
#[cfg(test)]
pub(crate) mod recording;
pub mod url;
