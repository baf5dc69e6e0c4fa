//! Any bytes, cut anywhere: the verdict does not depend on the cuts, and no byte beyond the header is taken.
#![no_main]

#[path = "../bodies/proxy_protocol.rs"]
mod proxy_protocol;

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, Vec<u8>)| proxy_protocol::run(input));
