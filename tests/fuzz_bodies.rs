//! Every fuzz target's body on random input and on near misses, so that the targets cannot rot between campaigns.
//! The coverage-guided runs are `cargo +nightly fuzz run NAME` in `fuzz/`.

#![allow(unreachable_pub, reason = "the bodies are shared with the targets in fuzz/")]

use proptest::prelude::*;

#[path = "../fuzz/bodies/assembler.rs"]
mod assembler;
#[path = "../fuzz/bodies/client_codec.rs"]
mod client_codec;
#[path = "../fuzz/bodies/emulator_frames.rs"]
mod emulator_frames;
#[path = "../fuzz/bodies/emulator_http.rs"]
mod emulator_http;
#[path = "../fuzz/bodies/extensions.rs"]
mod extensions;
#[path = "../fuzz/bodies/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../fuzz/bodies/walker.rs"]
mod walker;

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// Text that is nearly a frame of Realtime, or nearly a query.
fn near() -> impl Strategy<Value = String> {
    "[\\[\\]{}\":,.0-9a-f?=&()*%n ul\\\\]{0,60}"
}

proptest! {
    #[test]
    fn the_walkers_body_holds(mode in any::<u8>(), sizes in bytes(8), stream in bytes(200)) {
        walker::run((mode, sizes, stream));
    }

    #[test]
    fn the_proxy_protocols_body_holds(text in "PROXY (TCP[46]|UNKNOWN)( [0-9a-f.:]{1,12}){0,4}\r?\n?[a-z]{0,4}", noise in bytes(60), sizes in bytes(8), length in 0_u8..60) {
        proxy_protocol::run((text.into_bytes(), sizes.clone()));
        let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0".to_vec();
        binary.push(length);
        binary.extend(&noise);
        proxy_protocol::run((binary, sizes.clone()));
        proxy_protocol::run((noise, sizes));
    }

    #[test]
    fn the_assemblers_body_holds(mode in any::<u8>(), sizes in bytes(8), stream in bytes(200)) {
        assembler::run((mode, sizes, stream));
    }

    #[test]
    fn the_extensions_body_holds(value in "(permessage-deflate|[a-z_]{0,20})(; ?[a-z_]{0,30}(=[0-9\"]{0,4})?){0,4}", noise in bytes(40)) {
        extensions::run(value.as_bytes());
        extensions::run(&noise);
    }

    #[test]
    fn the_client_codecs_body_holds(text in near(), noise in bytes(80), kind in 0_u8..6) {
        client_codec::run(text.as_bytes());
        client_codec::run(format!("[\"1\",\"2\",\"t\",\"e\",{text}]").as_bytes());
        client_codec::run(format!("{{\"topic\":\"t\",\"event\":\"e\",\"ref\":null,\"payload\":{text}}}").as_bytes());
        let mut kinded = vec![kind, 1, 1, 1, 1, 0, 1];
        kinded.extend(&noise);
        client_codec::run(&kinded);
        client_codec::run(&noise);
    }

    #[test]
    fn the_emulators_frames_body_holds(
        texts in prop::collection::vec((any::<u8>(), near().prop_map(String::into_bytes)), 0..10),
        noise in prop::collection::vec((any::<u8>(), bytes(60)), 0..10),
    ) {
        emulator_frames::run(texts);
        emulator_frames::run(noise);
    }

    #[test]
    fn the_emulators_http_body_holds(
        requests in prop::collection::vec((any::<u8>(), near(), near().prop_map(String::into_bytes)), 0..10),
    ) {
        emulator_http::run(requests);
    }
}

/// A target without a body here, or a body without a target, is one that nobody runs.
#[test]
fn every_target_is_here() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder of the repository");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("a file").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("fuzz/fuzz_targets"), names("fuzz/bodies"));
    let here = std::fs::read_to_string(root.join("tests/fuzz_bodies.rs")).expect("this file");
    for name in names("fuzz/bodies") {
        let name = name.to_string_lossy();
        assert!(here.contains(&format!("{}::run(", name.trim_end_matches(".rs"))), "{name} is not run");
    }
}
