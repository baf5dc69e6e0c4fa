//! The emulator over HTTP, broadcasts and rows: any request is answered.
#![no_main]

#[path = "../bodies/emulator_http.rs"]
mod emulator_http;

libfuzzer_sys::fuzz_target!(|input: Vec<(u8, String, Vec<u8>)>| emulator_http::run(input));
