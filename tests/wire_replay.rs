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
    let mut left_out = manifest.entry("07").clone();
    left_out.claim = replay::manifest::Claim::Full;
    assert!(replay::verify(&left_out).is_err(), "full, with lines left out");
    left_out.closes_only = false;
    assert!(replay::verify(&left_out).is_err(), "full, and the rest does not replay");
}

#[test]
fn a_changed_byte_in_a_recording_fails() {
    let manifest = replay::manifest::load();
    for (file, number, from, to) in [
        ("13", 0, "phx_close", "phx_clos"),
        // A row's column, its time, an id and a time that the recorder gave, and whether two times are the same.
        ("09", 20, "sensor-2", "sensor-1"),
        ("09", 20, "2026-11-21T02:02:52.296066", "2026-11-21T02:02:52.296067"),
        ("09", 14, "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000009"),
        ("09", 14, "05.678901", "05.678902"),
        ("09b", 60, "02:04:31.195107", "02:04:31.195108"),
        // One of the answers that come in any order.
        ("05b", 340, "\"j\":0", "\"j\":7"),
    ] {
        let entry = manifest.entry(&format!("{file}-"));
        let mut lines = replay::recording::load(&entry.file);
        let changed = |line: &&mut replay::recording::Line| match number {
            0 => line.server() && line.text.is_some(),
            number => line.number == number,
        };
        let line = lines.iter_mut().rfind(changed).expect("the line");
        let text = line.text.take().expect("a text line");
        let other = text.replacen(from, to, 1);
        assert_ne!(text, other, "{file}: line {number} has {from}");
        line.text = Some(other);
        assert!(replay::play(entry, &lines, |_| {}).is_err(), "{file}: {from} in line {number}");
    }
}
