//! Any value of Sec-WebSocket-Extensions: no panic, and window sizes stay in range.
#![no_main]

use crossfade::ws::Negotiated;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    if let Negotiated::Deflate(params) = Negotiated::parse([value]) {
        assert!((8..=15).contains(&params.server_max_window_bits));
        assert!((8..=15).contains(&params.client_max_window_bits));
    }
});
