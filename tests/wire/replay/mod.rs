//! The replay of recordings: client lines go in at their time on a virtual clock, server lines are compared.
//!
//! Rules of comparison. Per connection, the server's lines must come in the recorded order, none more and none less.
//! Text is compared byte for byte, binary too, after these substitutions: presence references, UUIDs, the ids of
//! database subscriptions and times of the recording's day may differ, but one value recorded must always be one value
//! here and the other way round. Ids and times that the recorder gave must come back as given.
//! A `presence_diff` may change places with its neighbour (the recordings show both orders). Lines that the recorder
//! truncated are compared by beginning, end and length. Times may differ by `tolerance_ms` (1000 unless the manifest
//! says otherwise): the recordings come from a busy machine. HTTP answers: status, body and, where recorded, content
//! type, content length and `x-rate-limit`; the other `x-rate-*` figures depend on the recorded machine's load.
//! Between connections no order is compared.

pub mod compare;
pub mod manifest;
pub mod recording;
pub mod world;

use manifest::{Claim, Entry};

/// Plays one recording and checks the manifest's claim about it.
pub fn verify(entry: &Entry) -> Result<(), String> {
    entry.check_words()?;
    if entry.claim == Claim::Later {
        return Ok(());
    }
    let lines = recording::load(&entry.file);
    let all = lines.iter().filter(|line| line.server()).count();
    let compared = play(entry, &lines, |_| {})?;
    if compared != entry.lines {
        return Err(format!("the manifest says {} server lines, {compared} were compared", entry.lines));
    }
    if entry.claim == Claim::Full && compared != all {
        return Err(format!("claimed full, but {compared} of {all} server lines were compared"));
    }
    if entry.claim == Claim::Part && compared == all {
        return Err("claimed part, but every line was compared: claim full".to_owned());
    }
    Ok(())
}

/// Plays one recording; `prepare` may change the emulator first. Returns how many server lines were compared.
pub fn play(
    entry: &Entry,
    lines: &[recording::Line],
    prepare: impl FnOnce(&mut super::emulator::Emulator),
) -> Result<usize, String> {
    let mut world = world::World::new(entry);
    prepare(&mut world.emulator);
    world.play(entry, lines);
    compare::sequences(entry, lines, &world.heard)
}
