//! Any value of Sec-WebSocket-Extensions: no panic, and window sizes stay in range.
#![no_main]

#[path = "../bodies/extensions.rs"]
mod extensions;

libfuzzer_sys::fuzz_target!(|input: &[u8]| extensions::run(input));
