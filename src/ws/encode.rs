//! Whole frames for the few moments in which the proxy speaks for itself: a close at drain, the emulator's and
//! the demo's messages. Client to server frames need a masking key, and randomness is the caller's to bring.

use super::header::{CONTROL_BYTES_MAX, FrameKind, Head, Rsv};
use super::mask;

/// "Going Away" (RFC 6455 section 7.4.1).
pub const CLOSE_GOING_AWAY: u16 = 1001;

/// "Service Restart": the client may reconnect at once (IANA registry of close codes).
pub const CLOSE_SERVICE_RESTART: u16 = 1012;

/// One final frame around `body`; masked when a key is given (client to server), plain otherwise.
#[must_use]
pub fn frame(kind: FrameKind, body: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    fragment(&Head::new(kind, body.len() as u64, key), body)
}

/// One frame around `body` with `head`'s FIN, reserved bits, opcode and key; the length is the body's.
#[must_use]
pub fn fragment(head: &Head, body: &[u8]) -> Vec<u8> {
    let head = Head { len: body.len() as u64, ..*head };
    let encoded = head.encode();
    let mut out = Vec::with_capacity(encoded.len() + body.len());
    out.extend_from_slice(&encoded);
    mask::append(&mut out, body, head.mask, 0);
    out
}

/// The first frame of a message with RSV1 set, that is of a compressed one (RFC 7692 section 6.1).
#[must_use]
pub fn compressed(kind: FrameKind, body: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    fragment(&Head { rsv: Rsv::ONE, ..Head::new(kind, 0, key) }, body)
}

/// A close frame with a status code and a reason (RFC 6455 section 5.5.1).
///
/// A reason that does not fit into a control frame is cut at a character boundary.
#[must_use]
pub fn close(code: u16, reason: &str, key: Option<[u8; 4]>) -> Vec<u8> {
    let room = CONTROL_BYTES_MAX as usize - 2;
    let reason = reason.get(..reason.floor_char_boundary(room)).unwrap_or_default();
    let mut body = Vec::with_capacity(2 + reason.len());
    body.extend_from_slice(&code.to_be_bytes());
    body.extend_from_slice(reason.as_bytes());
    frame(FrameKind::Close, &body, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_for_the_client_is_plain_and_for_the_service_masked() {
        assert_eq!(close(CLOSE_SERVICE_RESTART, "bye", None), [0x88, 5, 0x03, 0xF4, b'b', b'y', b'e']);
        assert_eq!(close(1000, "", Some([1, 2, 3, 4])), [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xE8 ^ 2]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let bytes = close(1012, &"é".repeat(100), None);
        let (head, size) = Head::parse(&bytes).unwrap();
        assert_eq!(head.len, 124, "2 bytes of code and 61 whole characters; the 62nd does not fit");
        assert_eq!(std::str::from_utf8(&bytes[size + 2..]).unwrap(), "é".repeat(61));
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6455 section 5.7.
        assert_eq!(frame(FrameKind::Text, b"Hello", None), [0x81, 5, 0x48, 0x65, 0x6C, 0x6C, 0x6F]);
        let masked = frame(FrameKind::Text, b"Hello", Some([0x37, 0xFA, 0x21, 0x3D]));
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]);
        // RFC 7692 section 7.2.3.1: "Hello" compressed.
        let body = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
        assert_eq!(compressed(FrameKind::Text, &body, None)[..2], [0xC1, 0x07]);
    }
}
