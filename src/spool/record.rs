//! One record on disk: a header that can be trusted alone, and a whole envelope behind it.
//! Little endian, 56 bytes of header; the table in the room's essay names every field.

use bytes::Bytes;
use ulid::Ulid;

use super::seal::{Nonce, Seal};
use crate::envelope::{Class, crc32};

/// Bytes of a header.
pub const HEADER_LEN: usize = 56;
/// The largest stored body, in bytes: the envelope of a message that is cut when it comes back, and 28 for sealing.
pub const BODY_MAX: u32 = (8 << 20) + 28;
/// No UTF-8 text contains 0xFF, so an unsealed body cannot look like a header. The last byte is the version.
pub const MAGIC: [u8; 4] = [0xFF, b'C', b'F', 1];
/// How much of a header the seal vouches for: all but lengths and checksums.
const VOUCHED: usize = 44;

/// What is known of a record without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its number: rising without gaps over all segments and processes, for each class.
    pub seq: u64,
    /// When the oldest of its messages was seen, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The batch under which it is published, each time.
    pub batch: Ulid,
    /// The most urgent class in it.
    pub class: Class,
    /// Whether the body is encrypted.
    pub sealed: bool,
    /// How many messages, counted by recipient, it stands for.
    pub messages: u32,
    /// Stored bytes behind the header.
    pub body_len: u32,
    /// CRC-32 of the stored bytes.
    pub body_crc: u32,
}

impl Header {
    /// Length of the whole record, in bytes.
    #[must_use]
    pub const fn record_len(&self) -> u64 {
        HEADER_LEN as u64 + self.body_len as u64
    }

    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let parts: [&[u8]; 8] = [
            &MAGIC,
            &[self.class as u8, u8::from(self.sealed), 0, 0],
            &self.seq.to_le_bytes(),
            &self.at_ms.to_le_bytes(),
            &self.batch.0.to_le_bytes(),
            &self.messages.to_le_bytes(),
            &self.body_len.to_le_bytes(),
            &self.body_crc.to_le_bytes(),
        ];
        let mut rest = &mut out[..];
        for part in parts {
            let (room, after) = rest.split_at_mut(part.len().min(rest.len()));
            room.copy_from_slice(part);
            rest = after;
        }
        let crc = crc32(out.get(..HEADER_LEN - 4).unwrap_or_default());
        if let Some(last) = out.last_chunk_mut::<4>() {
            *last = crc.to_le_bytes();
        }
        out
    }

    /// Reads a header from the front of `bytes`; nothing if it is none, or not as it was written.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER_LEN>()?;
        let mut rest = &bytes[..];
        if take::<4>(&mut rest)? != MAGIC
            || bytes.last_chunk::<4>()? != &crc32(bytes.get(..52)?).to_le_bytes()
        {
            return None;
        }
        let [class, sealed, 0, 0] = take::<4>(&mut rest)? else { return None };
        let header = Self {
            class: *Class::ALL.get(usize::from(class))?,
            sealed: sealed == 1,
            seq: u64::from_le_bytes(take(&mut rest)?),
            at_ms: u64::from_le_bytes(take(&mut rest)?),
            batch: Ulid(u128::from_le_bytes(take(&mut rest)?)),
            messages: u32::from_le_bytes(take(&mut rest)?),
            body_len: u32::from_le_bytes(take(&mut rest)?),
            body_crc: u32::from_le_bytes(take(&mut rest)?),
        };
        (header.body_len <= BODY_MAX && sealed <= 1).then_some(header)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (front, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*front)
}

/// What is to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// The batch.
    pub batch: Ulid,
    /// The most urgent class in it.
    pub class: Class,
    /// When the oldest of its messages was seen, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Messages by recipient.
    pub messages: u32,
    /// The envelope as it will be published.
    pub body: Bytes,
}

impl std::fmt::Debug for Draft {
    /// Bytes stay out of logs (invariant 7).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({} messages, {} bytes)", self.messages, self.body.len())
    }
}

/// Writes a record at the end of `out`; its header. Nothing is written if the body is too large to be stored.
#[must_use]
pub fn write(out: &mut Vec<u8>, draft: &Draft, seq: u64, seal: Option<(&Seal, Nonce)>) -> Option<Header> {
    let mut header = Header {
        seq,
        at_ms: draft.at_ms,
        batch: draft.batch,
        class: draft.class,
        sealed: seal.is_some(),
        messages: draft.messages,
        body_len: 0,
        body_crc: 0,
    };
    let sealed = match seal {
        None => None,
        Some((seal, nonce)) => Some(seal.close(nonce, vouched(&header.encode()), &draft.body)?),
    };
    let body = sealed.as_deref().unwrap_or(&draft.body);
    header.body_len = u32::try_from(body.len()).ok().filter(|len| *len <= BODY_MAX)?;
    header.body_crc = crc32(body);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(body);
    Some(header)
}

/// Why a body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Its checksum is wrong.
    Checksum,
    /// It is sealed and there is no key, or another one.
    Key,
}

/// The envelope in a stored body.
///
/// # Errors
/// [`Damage`].
pub fn open(header: &Header, stored: Vec<u8>, seal: Option<&Seal>) -> Result<Bytes, Damage> {
    if stored.len() as u64 != u64::from(header.body_len) || crc32(&stored) != header.body_crc {
        return Err(Damage::Checksum);
    }
    if !header.sealed {
        return Ok(Bytes::from(stored));
    }
    let seal = seal.ok_or(Damage::Key)?;
    seal.open(vouched(&header.encode()), stored).map(Bytes::from).ok_or(Damage::Key)
}

fn vouched(header: &[u8; HEADER_LEN]) -> &[u8] {
    header.get(..VOUCHED).unwrap_or_default()
}
