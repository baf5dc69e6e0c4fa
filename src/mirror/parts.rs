//! Where a message that is larger than a broadcast is cut. Text is cut between characters, so that each piece of it
//! is text again.

use std::ops::Range;

use crate::envelope::carried_len;
use crate::session::Opcode;

/// A message that needs more pieces than this is too large.
pub(super) const PARTS_MAX: u16 = 256;

/// The pieces of a message so that each takes at most `room` bytes as a JSON value. `None` = not in so many pieces.
pub(super) fn cut(op: Opcode, body: &[u8], room: usize) -> Option<Vec<Range<usize>>> {
    let text = std::str::from_utf8(body).ok();
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < body.len() {
        if pieces.len() >= usize::from(PARTS_MAX) {
            return None;
        }
        let mut end = body.len().min(from + room);
        loop {
            if let Some(text) = text {
                end = text.floor_char_boundary(end);
            }
            if end <= from {
                return None;
            }
            let needs = carried_len(op, body.get(from..end)?);
            if needs <= room {
                break;
            }
            // In proportion, and always less: escapes are not spread evenly.
            end = from + ((end - from) * room / needs).min(end - from - 1);
        }
        pieces.push(from..end);
        from = end;
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_fit_follow_each_other_and_keep_characters_whole(
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..600),
                "[a-z\u{1}\"\\\\äß漢😀]{0,300}".prop_map(String::into_bytes),
            ],
            room in 30usize..300,
            op in proptest::sample::select(&[Opcode::Text, Opcode::Binary][..]),
        ) {
            let pieces = cut(op, &body, room).expect("600 bytes fit into 256 pieces");
            let mut at = 0;
            for piece in pieces {
                prop_assert_eq!(piece.start, at);
                at = piece.end;
                let bytes = &body[piece];
                prop_assert!(!bytes.is_empty() && carried_len(op, bytes) <= room);
                if std::str::from_utf8(&body).is_ok() {
                    prop_assert!(std::str::from_utf8(bytes).is_ok());
                }
            }
            prop_assert_eq!(at, body.len());
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        assert_eq!(cut(Opcode::Text, "😀".as_bytes(), 5), None);
        assert_eq!(cut(Opcode::Binary, &vec![0xff; 300 * 100], 100), None);
    }
}
