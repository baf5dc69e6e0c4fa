//! The client's codec: any frame of either side is read or refused, and what was read is written and read the same.
#![no_main]

#[path = "../bodies/client_codec.rs"]
mod client_codec;

libfuzzer_sys::fuzz_target!(|input: &[u8]| client_codec::run(input));
