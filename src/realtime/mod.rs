//! (essay below is completed with the room)
pub mod classify;
#[cfg(test)]
mod classify_tests;
pub mod client;
pub mod codec;
pub mod key;
pub mod link;
pub mod message;
pub mod reason;
#[cfg(test)]
pub(crate) mod recording;
pub mod url;
