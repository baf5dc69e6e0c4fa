//! The few JSON tokens that the encoder writes: strings, numbers and nothing else.
//! Written by hand because this is the hot path of the side thread and a `Vec<u8>` cannot fail.

const PLAIN: u8 = 0;
const UNICODE: u8 = b'u';

/// What each byte becomes: itself ([`PLAIN`]), `\` and a letter, or `\u00XX` ([`UNICODE`]).
const ESCAPE: [u8; 256] = {
    let mut table = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = UNICODE;
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` (UTF-8) as a JSON string, quotes included.
pub(super) fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| ESCAPE[usize::from(*byte)] != PLAIN) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        if let Some((byte, tail)) = tail.split_first() {
            push_escaped(out, *byte);
            rest = tail;
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    match ESCAPE[usize::from(byte)] {
        UNICODE => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

/// A text as a JSON string, quotes included.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text.as_bytes());
    String::from_utf8(out).unwrap_or_default()
}

/// How many bytes `text` takes as a JSON string, without the quotes.
#[must_use]
pub fn escaped_len(text: &[u8]) -> usize {
    let extra = |byte: &u8| match ESCAPE[usize::from(*byte)] {
        PLAIN => 0,
        UNICODE => 5,
        _ => 1,
    };
    text.len() + text.iter().map(extra).sum::<usize>()
}

/// Appends a number in decimal.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[digits.len() - used..]);
}

/// How many digits [`push_number`] writes.
pub(super) const fn number_len(number: u64) -> usize {
    match number.checked_ilog10() {
        Some(log) => log as usize + 1,
        None => 1,
    }
}

/// Appends 32 bits as eight lower-case hex digits.
pub(super) fn push_hex(out: &mut Vec<u8>, bits: u32) {
    out.extend((0..8).rev().map(|nibble| HEX[((bits >> (nibble * 4)) & 15) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_comes_back_through_an_independent_parser() {
        let text: String = (0..0x300).filter_map(char::from_u32).chain("𝄞\u{2028}\u{ffff}".chars()).collect();
        let mut out = Vec::new();
        push_string(&mut out, text.as_bytes());
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        assert_eq!(out.len(), escaped_len(text.as_bytes()) + 2);
    }

    #[test]
    fn numbers_and_hex_are_what_std_writes() {
        for number in [0, 1, 9, 10, 99, 100, 12345, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
            assert_eq!(out.len(), number_len(number));
        }
        for bits in [0, 1, 0xdead_beef, u32::MAX] {
            let mut out = Vec::new();
            push_hex(&mut out, bits);
            assert_eq!(out, format!("{bits:08x}").as_bytes());
        }
    }
}
