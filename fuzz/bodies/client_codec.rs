//! The client's codec: any frame of either side is read or refused, and what was read is written and read the same.

use bytes::Bytes;
use crossfade::realtime::codec::{decode, encode, open_broadcast};
use crossfade::realtime::message::{Frame, Message, Origin, Vsn};

pub fn run(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    for frame in [Frame::Text(bytes.clone()), Frame::Binary(bytes.clone())] {
        for (vsn, origin) in [
            (Vsn::V1, Origin::Client),
            (Vsn::V1, Origin::Server),
            (Vsn::V2, Origin::Client),
            (Vsn::V2, Origin::Server),
        ] {
            let Ok(message) = decode(vsn, origin, &frame) else { continue };
            assert!(message.head().topic.len() <= input.len() * 3, "replacement characters are three bytes");
            if let Message::Text(_, payload) = &message {
                let opened = open_broadcast(payload);
                assert!(opened.payload.len() <= payload.len());
            }
            // We write a push as clients do, with a ref; a server's has none.
            if origin == Origin::Server && matches!(message, Message::Push(..)) {
                continue;
            }
            // A field of bytes that are no text grows by its replacement characters and may no longer fit.
            if let Ok(written) = encode(vsn, &message) {
                assert_eq!(decode(vsn, origin, &written), Ok(message));
            }
        }
    }
}
