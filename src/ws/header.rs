//! The frame header of RFC 6455 section 5.2: parsing that reports instead of refusing, and its exact inverse.
//! What is legal in which place is the walker's business; this file only knows the layout.

use std::ops::Deref;

/// The longest header: 2 bytes, 8 of length, 4 of masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The largest body of a control frame (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: u64 = 125;

/// What a frame is (RFC 6455 section 5.2, opcode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// 0x0: goes on with the message that is open.
    Continuation,
    /// 0x1: starts a text message.
    Text,
    /// 0x2: starts a binary message.
    Binary,
    /// 0x8.
    Close,
    /// 0x9.
    Ping,
    /// 0xA.
    Pong,
    /// 0x3–0x7 and 0xB–0xF: nobody has given them a meaning. The four bits as they came.
    Reserved(u8),
}

impl FrameKind {
    const fn from_bits(bits: u8) -> Self {
        match bits & 0x0F {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            other => Self::Reserved(other),
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
            Self::Reserved(bits) => bits & 0x0F,
        }
    }

    /// True for opcodes with the high bit: close, ping, pong and the reserved ones beside them.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }
}

/// The three reserved bits. Only extensions give them a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rsv(u8);

impl Rsv {
    /// No bit set: what a session without extensions must send.
    pub const NONE: Self = Self(0);
    /// RSV1 alone: "this message is compressed" once permessage-deflate is negotiated (RFC 7692 section 6).
    pub const ONE: Self = Self(0x40);

    const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x70)
    }

    /// RSV1, whatever the others say.
    #[must_use]
    pub const fn rsv1(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// RSV2.
    #[must_use]
    pub const fn rsv2(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// RSV3.
    #[must_use]
    pub const fn rsv3(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// One frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last frame of its message.
    pub fin: bool,
    /// The reserved bits as they came.
    pub rsv: Rsv,
    /// The opcode.
    pub kind: FrameKind,
    /// The masking key, if the body is masked.
    pub mask: Option<[u8; 4]>,
    /// Length of the body in bytes. Values with the top bit set are illegal but parsed.
    pub len: u64,
}

impl Head {
    /// A final frame without reserved bits.
    #[must_use]
    pub const fn new(kind: FrameKind, len: u64, mask: Option<[u8; 4]>) -> Self {
        Self { fin: true, rsv: Rsv::NONE, kind, mask, len }
    }

    /// Reads a header from the start of `bytes`, with the number of bytes it takes there.
    ///
    /// `None` means that `bytes` ends inside the header. Reserved opcodes and bits, lengths in more bytes than
    /// needed and lengths over 2⁶³ are all parsed: a tap reports, it does not refuse.
    #[must_use]
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let [first, second, rest @ ..] = bytes else { return None };
        let (len, rest, size) = match second & 0x7F {
            126 => {
                let (len, rest) = rest.split_first_chunk::<2>()?;
                (u64::from(u16::from_be_bytes(*len)), rest, 4)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*len), rest, 10)
            }
            short => (u64::from(short), rest, 2),
        };
        let (mask, size) =
            if second & 0x80 == 0 { (None, size) } else { (Some(*rest.first_chunk::<4>()?), size + 4) };
        let (rsv, kind) = (Rsv::from_bits(*first), FrameKind::from_bits(*first));
        Some((Self { fin: first & 0x80 != 0, rsv, kind, mask, len }, size))
    }

    /// Writes the header, the length in as few bytes as RFC 6455 section 5.2 demands.
    #[must_use]
    pub fn encode(&self) -> EncodedHead {
        let mut out = EncodedHead { bytes: [0; HEADER_BYTES_MAX], size: 0 };
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(&[if self.fin { 0x80 } else { 0 } | self.rsv.0 | self.kind.bits()]);
        match (u8::try_from(self.len), u16::try_from(self.len)) {
            (Ok(short @ 0..=125), _) => out.push(&[masked | short]),
            (_, Ok(medium)) => {
                out.push(&[masked | 126]);
                out.push(&medium.to_be_bytes());
            }
            _ => {
                out.push(&[masked | 127]);
                out.push(&self.len.to_be_bytes());
            }
        }
        if let Some(key) = self.mask {
            out.push(&key);
        }
        out
    }
}

/// A header ready for the wire; derefs to its bytes. Lives on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedHead {
    bytes: [u8; HEADER_BYTES_MAX],
    size: usize,
}

impl EncodedHead {
    fn push(&mut self, more: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(self.size).zip(more) {
            *slot = *byte;
        }
        self.size += more.len();
    }
}

impl Deref for EncodedHead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::Error;
    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

    use super::*;

    /// Compares with tungstenite, which refuses reserved opcodes and agrees on everything else.
    fn compare(bytes: &[u8]) {
        let ours = Head::parse(bytes);
        let mut cursor = Cursor::new(bytes);
        match FrameHeader::parse(&mut cursor) {
            Ok(None) => assert_eq!(ours, None, "more is needed: {bytes:02x?}"),
            Ok(Some((theirs, len))) => {
                let (head, size) = ours.unwrap();
                assert_eq!(size as u64, cursor.position());
                assert_eq!((head.fin, head.len, head.mask), (theirs.is_final, len, theirs.mask));
                let rsv = (head.rsv.rsv1(), head.rsv.rsv2(), head.rsv.rsv3());
                assert_eq!(rsv, (theirs.rsv1, theirs.rsv2, theirs.rsv3));
                assert_eq!(head.kind.bits(), u8::from(theirs.opcode));
                assert_eq!(head.kind.is_control(), u8::from(theirs.opcode) >= 8);
            }
            Err(Error::Protocol(_)) => {
                let (head, _) = ours.unwrap();
                assert!(matches!(head.kind, FrameKind::Reserved(_)), "{head:?}");
            }
            Err(other) => unreachable!("{other}"),
        }
    }

    #[test]
    fn every_pair_of_first_bytes_agrees_with_tungstenite_at_every_length() {
        let tail = [0x81, 2, 3, 4, 5, 6, 7, 0xF8, 9, 10, 11, 12, 13, 14];
        for pair in 0..=u16::MAX {
            let mut bytes = pair.to_be_bytes().to_vec();
            bytes.extend(tail);
            // Cut anywhere only for a sample of the pairs: the layout depends on the second byte alone.
            let cuts = if pair < 256 { 0..=16 } else { 16..=16 };
            for cut in cuts {
                compare(&bytes[..cut]);
            }
        }
    }

    #[test]
    fn the_length_takes_as_few_bytes_as_possible() {
        for (len, size) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (u64::MAX, 10)] {
            assert_eq!(Head::new(FrameKind::Binary, len, None).encode().len(), size, "{len}");
            assert_eq!(Head::new(FrameKind::Binary, len, Some([7; 4])).encode().len(), size + 4, "{len}");
        }
    }

    #[test]
    fn a_length_in_too_many_bytes_is_parsed() {
        assert_eq!(Head::parse(&[0x82, 126, 0, 5]), Some((Head::new(FrameKind::Binary, 5, None), 4)));
        let wide = [0x82, 127, 0, 0, 0, 0, 0, 0, 0, 5];
        assert_eq!(Head::parse(&wide), Some((Head::new(FrameKind::Binary, 5, None), 10)));
    }

    proptest! {
        #[test]
        fn agrees_with_tungstenite(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            compare(&bytes);
        }

        #[test]
        fn encoding_is_the_inverse_of_parsing(
            first in any::<u8>(), mask in any::<Option<[u8; 4]>>(), len in any::<u64>(), shift in 0u32..64,
        ) {
            let head = Head {
                fin: first & 0x80 != 0,
                rsv: Rsv::from_bits(first),
                kind: FrameKind::from_bits(first),
                mask,
                len: len >> shift,
            };
            let encoded = head.encode();
            prop_assert_eq!(Head::parse(&encoded), Some((head, encoded.len())));
            prop_assert_eq!(Head::parse(&encoded[..encoded.len() - 1]), None);
        }
    }
}
