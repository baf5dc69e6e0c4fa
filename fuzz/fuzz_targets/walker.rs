//! Any stream, cut anywhere: the pieces are the chunk, and the ends do not depend on the cuts.
#![no_main]

#[path = "../bodies/walker.rs"]
mod walker;

libfuzzer_sys::fuzz_target!(|input: (u8, Vec<u8>, Vec<u8>)| walker::run(input));
