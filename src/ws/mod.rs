//! The frame room: reads WebSocket frames in bytes that belong to somebody else.
//!
//! **Problem.** The tunnel must hand on every byte unchanged, whatever it is. The mirror wants whole messages:
//! unmasked, put together from fragments, inflated. The hot lane must know where one message ends, because only
//! there may it switch legs. A WebSocket library answers these by taking the stream apart and putting it together
//! again, refusing what it dislikes on the way; that would be a second opinion in the middle of a working service.
//!
//! **Decision.** Three machines, each of which can be left out by who does not need it:
//!
//! - [`Walker`], always on, one per direction. It never allocates, never copies and never refuses; it cuts each
//!   chunk into [`Step`]s whose pieces, put together again, are exactly the chunk. It numbers the data messages and
//!   knows the [`Boundary`]. Its cost is a header's parse per frame and a jump over each body.
//! - [`Assembler`], only where copies are wanted. It follows the steps and gives one [`Captured`] per data message:
//!   the copy, or the reason why there is none. Every byte is unmasked while it is copied, once.
//! - [`Inflater`], only in sessions that negotiated permessage-deflate and have used it.
//!
//! What breaks the rules of RFC 6455 in a way that leaves it open where the next message begins makes the direction
//! *lost* ([`LostWhy`]): it is not looked at any more, and the tunnel goes on. Wrong masking and lengths in too many
//! bytes leave nothing open and are walked. After a close frame everything is opaque, and that is no error.
//!
//! **What is still countable.** As long as the walker is not lost, every data message is numbered and ends in one
//! `Captured`: too large, without budget, behind an unknown extension, after a bomb. Once the walker is lost
//! there are no messages any more, only bytes; the message that was open then is never counted as seen.
//!
//! **Compression.** With context takeover each message refers to all before it, so the inflater sees every
//! compressed byte, even of messages of which no copy is kept; a fault costs the whole direction. Without takeover
//! it costs one message. The window is kept outside the decompressor, which can therefore be dropped while the
//! session is idle ([`Assembler::hibernate`]).
//!
//! **Limits.**
//!
//! | what | limit | when reached |
//! |---|---|---|
//! | walker | 64 bytes | fixed |
//! | copied message | 1 MiB ([`Limits::message_bytes`]) | numbered, `too_large`, streams on |
//! | open message | paid from the budget, at most twice what has arrived (512 bytes at least) | numbered, `budget` |
//! | inflated message | 16 MiB, 200 : 1 ([`InflateCaps`]) | `too_large`; with takeover the direction is lost |
//! | decompressor | 56 KiB while awake, and with takeover 32 KiB of window, all paid before the first byte | `budget`; with takeover the direction is lost |
//!
//! Text is not checked for UTF-8, close codes are not interpreted, pings are not answered: nothing here has a say.

mod assemble;
mod deflate;
mod encode;
mod extensions;
mod header;
mod history;
mod lost;
pub mod mask;
mod paid;
#[cfg(test)]
mod tests;
mod walk;

pub use assemble::{Assembler, Captured, Limits};
pub use deflate::{INFLATER_BYTES, InflateCaps, InflateFault, Inflater};
pub use encode::{CLOSE_GOING_AWAY, CLOSE_SERVICE_RESTART, close, compressed, fragment, frame};
pub use extensions::{DeflateParams, Negotiated};
pub use header::{CONTROL_BYTES_MAX, EncodedHead, FrameKind, HEADER_BYTES_MAX, Head, Rsv};
pub use lost::LostWhy;
pub use walk::{Boundary, Step, Steps, Walker};
