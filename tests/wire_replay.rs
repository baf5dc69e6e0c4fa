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

#[test]
fn a_claim_larger_than_what_was_compared_fails() {
    let manifest = replay::manifest::load();
    let entry = manifest.entry("13");
    let more = replay::manifest::Entry { lines: entry.lines + 1, ..entry.clone() };
    assert!(replay::verify(&more).is_err(), "one line too many");
    let mut left_out = manifest.entry("05b").clone();
    left_out.claim = replay::manifest::Claim::Full;
    assert!(replay::verify(&left_out).is_err(), "full, with lines left out");
    left_out.skip.clear();
    assert!(replay::verify(&left_out).is_err(), "full, and the rest does not replay");
}

#[test]
fn a_changed_byte_in_a_recording_fails() {
    let manifest = replay::manifest::load();
    let entry = manifest.entry("13");
    let mut lines = replay::recording::load(&entry.file);
    let line = lines.iter_mut().rfind(|line| line.server() && line.text.is_some()).expect("a server line");
    line.text = line.text.take().map(|text| text.replace("phx_close", "phx_clos"));
    assert!(replay::play(entry, &lines, |_| {}).is_err());
}
