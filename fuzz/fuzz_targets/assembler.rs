//! Any stream, cut anywhere, with and without compression: every message is numbered, every byte is paid for and
//! given back, and what comes out does not depend on the cuts.
#![no_main]

#[path = "../bodies/assembler.rs"]
mod assembler;

libfuzzer_sys::fuzz_target!(|input: (u8, Vec<u8>, Vec<u8>)| assembler::run(input));
