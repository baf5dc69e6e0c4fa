//! The emulator's codec and machine: any frames on two sockets, nothing panics, nothing grows without bound.
#![no_main]

#[path = "../bodies/emulator_frames.rs"]
mod emulator_frames;

libfuzzer_sys::fuzz_target!(|input: Vec<(u8, Vec<u8>)>| emulator_frames::run(input));
