//! The masking of RFC 6455 section 5.3: XOR with a four byte key, which is its own inverse. Works eight bytes at
//! a time in safe code, which the compiler turns into vector instructions.

/// How much is copied before it is unmasked, so that the second pass finds it in the first-level cache.
const BLOCK_BYTES: usize = 16 * 1024;

/// Masks or unmasks `bytes`, which start `offset` bytes into their frame.
#[inline]
pub fn apply(bytes: &mut [u8], key: [u8; 4], offset: u64) {
    let [a, b, c, d] = match offset % 4 {
        0 => key,
        1 => [key[1], key[2], key[3], key[0]],
        2 => [key[2], key[3], key[0], key[1]],
        _ => [key[3], key[0], key[1], key[2]],
    };
    let wide = [a, b, c, d, a, b, c, d];
    let pattern = u64::from_ne_bytes(wide);
    let (chunks, tail) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ pattern).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(wide) {
        *byte ^= key;
    }
}

/// Copies `bytes` to the end of `out`, unmasking them if they are masked. Reserve the room beforehand: only then
/// does this not allocate.
#[inline]
pub fn append(out: &mut Vec<u8>, bytes: &[u8], key: Option<[u8; 4]>, offset: u64) {
    let Some(key) = key else {
        out.extend_from_slice(bytes);
        return;
    };
    let mut offset = offset;
    for block in bytes.chunks(BLOCK_BYTES) {
        let start = out.len();
        out.extend_from_slice(block);
        if let Some(copied) = out.get_mut(start..) {
            apply(copied, key, offset);
        }
        offset = offset.wrapping_add(block.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(bytes: &[u8], key: [u8; 4], offset: u64) -> Vec<u8> {
        bytes.iter().zip(offset..).map(|(byte, at)| byte ^ key[(at % 4) as usize]).collect()
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 6455 section 5.7: a single-frame masked text message, "Hello".
        let mut body = [0x7F, 0x9F, 0x4D, 0x51, 0x58];
        apply(&mut body, [0x37, 0xFA, 0x21, 0x3D], 0);
        assert_eq!(&body, b"Hello");
    }

    #[test]
    fn blocks_join_without_a_seam() {
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES + 5).map(|i| (i % 251) as u8).collect();
        let mut out = vec![1, 2, 3];
        append(&mut out, &bytes, Some([9, 8, 7, 6]), 3);
        assert_eq!(out[..3], [1, 2, 3]);
        assert_eq!(out[3..], naive(&bytes, [9, 8, 7, 6], 3));
    }

    proptest! {
        #[test]
        fn equals_the_naive_way(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            key in any::<[u8; 4]>(),
            offset in 0u64..1 << 62,
            skip in 0usize..9,
        ) {
            let bytes = bytes.get(skip..).unwrap_or(&[]);
            let mut ours = bytes.to_vec();
            apply(&mut ours, key, offset);
            prop_assert_eq!(&ours, &naive(bytes, key, offset));
            let mut copied = Vec::new();
            append(&mut copied, bytes, Some(key), offset);
            prop_assert_eq!(&copied, &ours);
            apply(&mut ours, key, offset);
            prop_assert_eq!(&ours[..], bytes);
        }
    }
}
