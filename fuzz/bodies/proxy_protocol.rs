//! Any bytes, cut anywhere: the verdict does not depend on the cuts, and no byte beyond the header is taken.

use crossfade::proxy::proxy_protocol::{Header, Parser, REST_MAX, Refused, Version, write};

/// The bytes, and how they are cut.
pub fn run((stream, sizes): (Vec<u8>, Vec<u8>)) {
    let whole = read(&stream, &[]);
    assert_eq!(whole, read(&stream, &sizes));
    if let Ok((taken, Some(header))) = whole {
        assert!(taken <= 16 + REST_MAX);
        for version in [Version::V1, Version::V2] {
            let bytes = write(version, header);
            assert!(matches!(read(&bytes, &sizes), Ok((n, Some(_))) if n == bytes.len()));
        }
    }
}

fn read(stream: &[u8], sizes: &[u8]) -> Result<(usize, Option<Header>), Refused> {
    let mut parser = Parser::default();
    let (mut taken, mut rest) = (0, stream);
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size).clamp(1, rest.len()));
        let (piece, tail) = rest.split_at(size);
        rest = tail;
        let (used, header) = parser.feed(piece)?;
        taken += used;
        if header.is_some() {
            return Ok((taken, header));
        }
        assert_eq!(used, piece.len());
    }
    Ok((taken, None))
}
