//! Any value of Sec-WebSocket-Extensions: no panic, and window sizes stay in range.

use crossfade::ws::Negotiated;

pub fn run(value: &[u8]) {
    if let Negotiated::Deflate(params) = Negotiated::parse([value]) {
        assert!((8..=15).contains(&params.server_max_window_bits));
        assert!((8..=15).contains(&params.client_max_window_bits));
    }
}
