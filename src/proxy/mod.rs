//! The proxy: from a client's first byte to the tunnel, and every plain HTTP request on the way.
//!
//! **Problem.** A sidecar must be invisible. Whatever the service accepts has to pass, byte for byte where the bytes
//! are the service's business; whatever could make the service see something other than the proxy saw (a second
//! request hidden in the first, a tunnel behind a handshake that failed) must not. And one client, or the service
//! itself, behaving badly must cost nobody else anything.
//!
//! **Decision.** HTTP/1.1 is spoken by hyper on both sides until the 101, so every message is parsed once and written
//! anew with one framing; that leaves nothing to smuggle. Upgrades get a connection of their own, plain requests
//! a pool. Only a 101 that proves itself (RFC 6455 section 4.1) ends HTTP, on both sides at once.
//!
//! ```text
//! accept ─▶ worker ─▶ connection ─▶ plain ──▶ pool ───────────▶ service
//!  (own      (N data      │
//!  thread)   threads)     └───────▶ upgrade ─▶ dial ─ 101? ───▶ service, or Supabase for the native lane
//!                                      │ proven
//!                                      ▼
//!                                   tunnel
//! ```
//!
//! A connection is one task on one worker and never leaves it; the session after the 101 is another task, so that
//! nothing of HTTP's state stays behind. `decide` is called once per upgrade with the head as the client sent it.
//!
//! **What passes unchanged.** Method, path and query; every end-to-end field with the case of its name, its value
//! (UTF-8 or not) and its place among fields of the same name; status and reason phrase; bodies, streamed, with
//! declared trailers. Bytes that come with or right after the 101, from either side, are the first of the tunnel.
//!
//! **What does not.** hyper groups fields of the same name and trims white space around values. Fields for one hop
//! go (RFC 9110 section 7.6.1). `X-Forwarded-*` is added ([`Trusted`]). Of 1xx answers only 100 is used: it decides
//! when a client that expects it may send its body. Trailers pass only if `Trailer` declares them. A request target
//! with characters that no URI has (space, `<`, `>`, backtick, control bytes) is answered 400 by hyper itself, as
//! are malformed heads: those answers have no body and no `x-crossfade-error`. Fields of different names may change
//! places.
//!
//! **Limits.** See [`Config`]: connect 2 s, upgrade answer 30 s, request head 10 s, 64 KiB, 256 fields. Idle timeout,
//! plain answers, connections per address and upgrades per second are off. Beyond twice
//! the bytes, or 64 fields more, hyper answers 431 (414 for a target of 64 KiB) by itself. Answers may have
//! 256 fields. A worker's inbox holds 1024 sockets; more are closed and counted. A client that vanishes during
//! a long answer without a byte is noticed at the next write, because a half-closed client is a legitimate one.
//!
//! **Stopping.** [`Running::drain`] goes through the phases of [`Phase`]; nothing is cut before the grace period ends.

mod accept;
mod admission;
mod body;
mod cell;
mod circle;
pub mod cold;
mod config;
mod connection;
mod control;
mod counters;
mod dial;
mod drain;
mod entry;
mod error;
mod exchange;
mod forwarded;
mod handed;
mod handshake;
mod headers;
mod http2;
mod inflaters;
#[cfg(test)]
mod inflaters_tests;
mod inquiry;
mod io;
mod lane_endpoint;
mod leg;
mod leg_clock;
pub mod native;
mod pace;
mod plain;
pub mod proxy_protocol;
#[cfg(test)]
mod proxy_protocol_tests;
mod pump;
mod race;
mod server;
mod session_counters;
mod session_counts;
mod sessions;
mod spans;
pub(crate) mod taps;
mod target;
#[cfg(test)]
mod tests;
mod timing;
pub mod tls;
mod trace;
pub mod tunnel;
#[cfg(test)]
mod tunnel_tests;
mod upgrade;
mod verdict;
mod watch;
mod windows;
mod worker;

pub use cell::{Order, SessionCell};
pub use config::{Config, Deadlines, Limits, Tcp};
pub use counters::{Count, Counters, UpgradeOutcome};
pub use dial::Dialer;
pub use drain::{Drain, DrainPlan, DrainReport, Phase};
pub use error::{Cause, ConnectionError, Fault, Side, Stage};
pub use forwarded::{Network, NotANetwork, Trusted};
pub use handed::{HandedOverError, handed_over};
pub use http2::Http2Stream;
pub use inquiry::{Facts, Inquiry, Moved, Refused, Tally, Wish};
pub use io::Io;
pub use native::{AnonKey, KeyError, Native};
pub use server::{Running, Server, StartError};
pub use session_counters::{DrillCounters, SessionCounters};
pub use sessions::{News, Notice, Sessions};
pub use spans::Spans;
pub use target::{Target, TargetError};
pub use timing::{TIMING_EDGES, Timing};
pub use tls::{TlsSetupError, client_tls};
pub use trace::TraceId;
pub use tunnel::{EndCause, Ended, SessionHead, Upgraded};
pub use verdict::{Course, Decide, Exposed, Follow, Follows, Lane, Policy, Slice, Verdict};
pub use windows::Windows;
pub use worker::{BEAT, Mirroring, SCRATCH_BYTES, Shared, Worker, WorkerHandle, WorkerMessage};
