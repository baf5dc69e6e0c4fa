//! The file: lines of `crossfade spool export`, and from them what each client said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tokio_tungstenite::tungstenite::Message;

use super::SESSIONS_MAX;
use crate::session::{Direction, Opcode};
use crate::spool::export::Line;

/// One session's half: what its client said.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) path: String,
    /// Milliseconds since the first message of all, and the message.
    pub(super) says: Vec<(u64, Message)>,
}

/// Every line.
pub(super) fn lines(file: &Path) -> Result<Vec<Line>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line).map_err(|error| {
            format!("line {}: {error}; write it with `crossfade spool export`", number + 1)
        })?;
        lines.push(line);
    }
    if lines.is_empty() { Err("no message is in it".to_owned()) } else { Ok(lines) }
}

/// How many sessions and lines.
pub(super) fn count(lines: &[Line]) -> (u64, u64) {
    let sessions: BTreeSet<_> = lines.iter().map(|line| (&line.src, line.session)).collect();
    (sessions.len() as u64, lines.len() as u64)
}

/// The sessions in a file, and how many pieces of split messages were left out because others are missing.
pub(super) fn sessions(file: &Path) -> Result<(Vec<Session>, u64), String> {
    let lines = lines(file)?;
    let begin = lines.iter().map(|line| line.at).min().unwrap_or(0);
    // A batch that lies there twice carries the same message, or piece, under the same number.
    let mut said: BTreeMap<(String, u32), BTreeMap<u64, BTreeMap<u16, Line>>> = BTreeMap::new();
    for line in lines.into_iter().filter(|line| line.dir == Direction::Up) {
        let session = said.entry((line.src.clone(), line.session)).or_default();
        let piece = line.part.map_or(1, |part| part.0);
        session.entry(line.seq).or_default().insert(piece, line);
    }
    if said.len() > SESSIONS_MAX {
        return Err(format!("{} sessions, at most {SESSIONS_MAX} are played at once", said.len()));
    }
    let mut left_out = 0;
    let mut session = |messages: BTreeMap<u64, BTreeMap<u16, Line>>| {
        let first = messages.values().next().and_then(|pieces| pieces.values().next());
        let path = first.map(|line| line.path.clone()).unwrap_or_default();
        let says = messages.into_values().filter_map(|pieces| {
            let at = pieces.values().next()?.at;
            let count = pieces.len() as u64;
            let message = whole(&pieces);
            left_out += if message.is_none() { count } else { 0 };
            Some((at.saturating_sub(begin), message?))
        });
        Session { path, says: says.collect() }
    };
    Ok((said.into_values().map(&mut session).collect(), left_out))
}

/// The message that these pieces make, if they are all there.
fn whole(pieces: &BTreeMap<u16, Line>) -> Option<Message> {
    let first = pieces.values().next()?;
    let wanted = first.part.map_or(1, |part| usize::from(part.1));
    if pieces.len() != wanted {
        return None;
    }
    let bytes = pieces.values().map(Line::bytes).collect::<Option<Vec<_>>>()?.concat();
    Some(match (first.op, String::from_utf8(bytes)) {
        (Opcode::Text, Ok(text)) => Message::text(text),
        (_, Ok(text)) => Message::binary(text.into_bytes()),
        (_, Err(error)) => Message::binary(error.into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Class, Part};
    use crate::spool::export::Enc;

    fn line(seq: u64, part: Option<Part>, data: &str) -> Line {
        Line {
            src: "pod".to_owned(),
            session: 1,
            dir: Direction::Up,
            seq,
            at: 1_000 + seq,
            path: "/ws".to_owned(),
            op: Opcode::Text,
            kind: "text".to_owned(),
            class: Class::Medium,
            enc: Enc::Text,
            data: data.to_owned(),
            redacted: false,
            part,
        }
    }

    #[test]
    fn pieces_become_one_message_and_what_is_not_whole_is_counted() {
        let lines = [
            line(3, Some(Part(1, 2)), "half of "),
            line(2, Some(Part(2, 2)), "b"),
            line(1, None, "one"),
            line(2, Some(Part(1, 2)), "a"),
            line(2, Some(Part(2, 2)), "b"),
        ];
        let file = std::env::temp_dir().join(format!("crossfade-replay-{}.jsonl", std::process::id()));
        let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        std::fs::write(&file, text).unwrap();
        let (found, left_out) = sessions(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((found.len(), left_out), (1, 1));
        assert_eq!(found[0].says, [(0, Message::text("one")), (1, Message::text("ab"))]);
    }
}
