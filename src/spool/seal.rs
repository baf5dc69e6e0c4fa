//! Encryption at rest: AES-256-GCM by ring, one random nonce for each record, the header vouched for.
//! Whoever has the disk and not the key learns classes, times, counts and sizes, and can alter nothing unseen.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, UnboundKey};

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// A nonce; random, never used twice. 96 random bits may serve 2³² records under one key.
pub type Nonce = [u8; NONCE_LEN];

/// A key.
#[derive(Clone)]
pub struct Seal(LessSafeKey);

impl Seal {
    /// Takes a key of 64 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> = text
            .bytes()
            .map(|byte| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect();
        let digits = digits.filter(|digits| digits.len() == 2 * KEY_LEN)?;
        let key: Vec<u8> =
            digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |sum, d| sum << 4 | d)).collect();
        UnboundKey::new(&AES_256_GCM, &key).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// The stored form: nonce, encrypted bytes, tag.
    pub(super) fn close(&self, nonce: Nonce, header: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let mut text = plain.to_vec();
        let given = ring::aead::Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(given, Aad::from(header), &mut text).ok()?;
        let mut out = Vec::with_capacity(nonce.len() + text.len());
        out.extend_from_slice(&nonce);
        out.append(&mut text);
        Some(out)
    }

    pub(super) fn open(&self, header: &[u8], mut stored: Vec<u8>) -> Option<Vec<u8>> {
        let (nonce, text) = stored.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = ring::aead::Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(header), text).ok().map(|plain| plain.to_vec())
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}
