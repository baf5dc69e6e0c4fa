//! Any stream, cut anywhere: the pieces are the chunk, and the ends do not depend on the cuts.

use crossfade::session::Direction;
use crossfade::ws::{Boundary, DeflateParams, Negotiated, Step, Walker};

pub fn run((mode, sizes, stream): (u8, Vec<u8>, Vec<u8>)) {
    let extensions = match mode % 3 {
        0 => Negotiated::None,
        1 => Negotiated::Deflate(DeflateParams::default()),
        _ => Negotiated::Unknown,
    };
    let walker = || Walker::new(Direction::Up).negotiated(extensions);
    assert_eq!(walk(walker(), &stream, &[]), walk(walker(), &stream, &sizes));
}

/// What must not depend on the cuts: the ends of frames and messages, and where the walker stands.
fn walk(mut walker: Walker, stream: &[u8], sizes: &[u8]) -> (Vec<String>, Boundary, u64, u32) {
    let mut ends = Vec::new();
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size).clamp(1, rest.len()));
        let (chunk, tail) = rest.split_at(size);
        rest = tail;
        let mut rejoined = Vec::new();
        for step in walker.feed(chunk) {
            match step {
                Step::Header { bytes, .. } | Step::Body { bytes, .. } | Step::Opaque { bytes } => {
                    assert!(!bytes.is_empty());
                    rejoined.extend_from_slice(bytes);
                }
                Step::Lost { why, bytes } => {
                    ends.push(format!("{why:?}"));
                    rejoined.extend_from_slice(bytes);
                }
                Step::FrameEnd(_) | Step::MessageEnd { .. } => ends.push(format!("{step:?}")),
            }
        }
        assert_eq!(rejoined, chunk);
    }
    (ends, walker.boundary(), walker.body_left(), walker.wrong_masks())
}
