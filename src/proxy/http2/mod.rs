//! HTTP/2 towards clients, over TLS by ALPN and without TLS by its preface; the service is spoken to in HTTP/1.1.
//!
//! **Problem.** Clients and load balancers that speak HTTP/2 put many exchanges on one connection, WebSockets among
//! them (RFC 8441). What holds for a connection of HTTP/1.1 must hold for each stream: nothing smuggled, nothing
//! lost, a reset that stays a reset, a slow reader that costs no memory and harms no neighbour.
//!
//! **Decision.** The `h2` crate, which hyper would use too, without hyper around it: hyper's upgraded streams end a
//! cancelled stream as if it had ended in good order, in both directions, and a proxy may not say so. A stream is
//! translated into the request that HTTP/1.1 has for it ([`translate`]) and from there on goes the way of all others.
//! After the service's 101 the stream is one more [`Io`](super::Io) of the tunnel ([`Http2Stream`]), so that tap,
//! mirror, hot lane, drain and idle limit need not know of it.
//!
//! | HTTP/2 | the service |
//! | --- | --- |
//! | END_STREAM | FIN |
//! | `RST_STREAM`, any code | reset |
//! | DATA | bytes; its window opens as the service takes them |
//! | extended CONNECT, `:protocol` = `websocket` | `GET` with `Upgrade` and a key of our own |
//! | 200 | 101 that proves itself |
//!
//! **Limits.** 128 streams at a time. 64 KiB of each stream may wait for the service, and as many may wait for the
//! client; the connection's own window is the sum, so that a stream that is stuck never stops another. Heads as in
//! HTTP/1.1, their deadline included ([`Clock`](due::Clock)); `h2` answers 431 beyond twice the bytes. A connection most of whose streams are cancelled is closed
//! ([`Cancelled`]). A client that has vanished is found by TCP's keep-alive; no PINGs of our own.
//!
//! **What it does not do.** No push, no HTTP/2 towards the service, no `h2c` by `Upgrade` (RFC 9113 has dropped it),
//! no priorities. `Expect: 100-continue` is answered by us at once.

mod cancelled;
mod connection;
mod due;
mod stream;
mod translate;

pub(super) use connection::serve;
pub use stream::Http2Stream;
