//! (essay below is completed with the room)
pub mod codec;
pub mod message;
#[cfg(test)]
pub(crate) mod recording;
