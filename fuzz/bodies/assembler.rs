//! Any stream, cut anywhere, with and without compression: every message is numbered, every byte is paid for and
//! given back, and what comes out does not depend on the cuts.

use std::sync::LazyLock;
use std::time::Instant;

use crossfade::budget::Budget;
use crossfade::ledger::Shed;
use crossfade::session::{Direction, SessionNo};
use crossfade::ws::{Assembler, DeflateParams, InflateCaps, Limits, Negotiated, Walker};

#[expect(clippy::disallowed_methods, reason = "any instant will do; nothing here measures time")]
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

pub fn run((mode, sizes, stream): (u8, Vec<u8>, Vec<u8>)) {
    let extensions = match mode % 3 {
        0 => Negotiated::None,
        1 => Negotiated::Deflate(DeflateParams::default()),
        _ => Negotiated::Deflate(DeflateParams {
            client_no_context_takeover: true,
            ..DeflateParams::default()
        }),
    };
    let whole = messages(extensions, &stream, &[], false);
    assert_eq!(whole, messages(extensions, &stream, &sizes, false));
    // Sleeping is only promised to change nothing in a valid stream: here it must just be survived.
    assert_eq!(whole.len(), messages(extensions, &stream, &sizes, true).len());
}

fn messages(extensions: Negotiated, stream: &[u8], sizes: &[u8], sleepy: bool) -> Vec<Result<Vec<u8>, Shed>> {
    let budget = Budget::new(64 << 20);
    let mut walker = Walker::new(Direction::Up).negotiated(extensions);
    // The ratio is looked at once per piece of output, so only its exact moment depends on the cuts.
    let inflate = InflateCaps { ratio: u32::MAX, ..InflateCaps::default() };
    let limits = Limits { inflate, ..Limits::default() };
    let mut assembler = Assembler::new(SessionNo(1), Direction::Up, limits, extensions);
    let mut out = Vec::new();
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size).clamp(1, rest.len()));
        let (chunk, tail) = rest.split_at(size);
        rest = tail;
        for step in walker.feed(chunk) {
            if let Some(captured) = assembler.step(&step, *NOW, &budget) {
                assert_eq!(captured.key.seq.0, out.len() as u64 + 1);
                out.push(captured.body.map(|body| body.to_vec()));
            }
        }
        if sleepy {
            assembler.hibernate();
        }
    }
    drop(assembler);
    assert_eq!(budget.used(), 0);
    out
}
