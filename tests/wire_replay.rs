//! Plays every recording of a real server against the emulator. `tests/wire/manifest.toml` says how much of each is
//! claimed; a claim that is larger than what was compared fails.

use crossfade::emulator;

#[path = "wire/replay/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::panic, reason = "shared with the sabotage tests of the emulator")]
mod replay;

#[test]
fn every_recording_is_in_the_manifest() {
    replay::manifest::load().check_files();
}

#[test]
fn recordings_replay_as_claimed() {
    let manifest = replay::manifest::load();
    let mut failures = Vec::new();
    for entry in &manifest.recording {
        if let Err(failure) = replay::verify(entry) {
            failures.push(format!("{}: {failure}", entry.file));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
