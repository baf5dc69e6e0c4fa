//! What the two ends agreed on: the `Sec-WebSocket-Extensions` of the 101 (RFC 6455 section 9.1, RFC 7692
//! section 7). Strict on purpose: a parameter read wrongly would turn every later message into noise, so what is
//! not understood in full is `Unknown`.

/// The answer's extensions, as far as the tap can follow them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Negotiated {
    /// No extension: reserved bits must be zero.
    #[default]
    None,
    /// permessage-deflate and nothing else.
    Deflate(DeflateParams),
    /// Anything else, malformed values included. Frames can be walked, bodies cannot be read.
    Unknown,
}

/// The agreed parameters of permessage-deflate (RFC 7692 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateParams {
    /// The service starts each message with an empty window.
    pub server_no_context_takeover: bool,
    /// The client starts each message with an empty window.
    pub client_no_context_takeover: bool,
    /// Base-2 logarithm of the service's window, 8…15. Inflating always uses 15, which reads all of them.
    pub server_max_window_bits: u8,
    /// The same of the client.
    pub client_max_window_bits: u8,
}

impl Default for DeflateParams {
    /// What a bare `permessage-deflate` means.
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: WINDOW_BITS_MAX,
            client_max_window_bits: WINDOW_BITS_MAX,
        }
    }
}

const WINDOW_BITS_MAX: u8 = 15;

impl Negotiated {
    /// Reads the values of all `Sec-WebSocket-Extensions` fields of the 101, in order.
    #[must_use]
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut found = Self::None;
        for value in values {
            // A quoted string could hide a comma, but no value of permessage-deflate needs one: then it is Unknown.
            for element in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                match (found, element) {
                    // RFC 9110 section 5.6.1: empty list elements are ignored.
                    (_, b"") => {}
                    (Self::None, element) => found = deflate(element).map_or(Self::Unknown, Self::Deflate),
                    _ => return Self::Unknown,
                }
            }
        }
        found
    }
}

/// One list element. `None` for anything but a well-formed permessage-deflate answer.
fn deflate(element: &[u8]) -> Option<DeflateParams> {
    let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    if parts.next()? != b"permessage-deflate" {
        return None;
    }
    let mut params = DeflateParams::default();
    let mut seen = [false; 4];
    for part in parts {
        let (name, value) = match part.iter().position(|byte| *byte == b'=') {
            Some(at) => (part.get(..at)?, Some(unquote(part.get(at + 1..)?)?)),
            None => (part, None),
        };
        let which = match (name, value) {
            (b"server_no_context_takeover", None) => {
                params.server_no_context_takeover = true;
                0
            }
            (b"client_no_context_takeover", None) => {
                params.client_no_context_takeover = true;
                1
            }
            (b"server_max_window_bits", Some(bits)) => {
                params.server_max_window_bits = window_bits(bits)?;
                2
            }
            // An offer may leave the value out, an answer must not (RFC 7692 section 7.1.2.2).
            (b"client_max_window_bits", Some(bits)) => {
                params.client_max_window_bits = window_bits(bits)?;
                3
            }
            _ => return None,
        };
        // A parameter that is given twice makes the answer invalid (RFC 7692 section 7.1).
        if std::mem::replace(seen.get_mut(which)?, true) {
            return None;
        }
    }
    Some(params)
}

/// The value without quotes. Escapes inside quotes are legal in general and never needed here: `None`.
fn unquote(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inner @ .., b'"'] => Some(inner),
        plain => Some(plain),
    }
}

/// 8…15 without leading zeros or signs (RFC 7692 section 7.1.2).
fn window_bits(digits: &[u8]) -> Option<u8> {
    match digits {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expected: Negotiated) {
        assert_eq!(Negotiated::parse(values.iter().map(|v| v.as_bytes())), expected, "{values:?}");
    }

    fn params(server: (bool, u8), client: (bool, u8)) -> Negotiated {
        Negotiated::Deflate(DeflateParams {
            server_no_context_takeover: server.0,
            client_no_context_takeover: client.0,
            server_max_window_bits: server.1,
            client_max_window_bits: client.1,
        })
    }

    #[test]
    fn nothing_is_none() {
        check(&[], Negotiated::None);
        check(&[""], Negotiated::None);
        check(&[" , ,", "\t"], Negotiated::None);
    }

    #[test]
    fn what_services_answer() {
        check(&["permessage-deflate"], params((false, 15), (false, 15)));
        check(&["permessage-deflate; server_no_context_takeover"], params((true, 15), (false, 15)));
        check(&[" permessage-deflate ;client_no_context_takeover "], params((false, 15), (true, 15)));
        let all = "permessage-deflate;server_no_context_takeover; client_no_context_takeover; \
                   server_max_window_bits=8; client_max_window_bits=\"10\"";
        check(&[all], params((true, 8), (true, 10)));
        check(&["", "permessage-deflate,"], params((false, 15), (false, 15)));
    }

    #[test]
    fn what_is_not_understood_in_full_is_unknown() {
        for bad in [
            "x-webkit-deflate-frame",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate, x-other",
            "x-other, permessage-deflate",
            "permessage-deflate; mux",
            "permessage-deflate;",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=\"1",
            "permessage-deflate; client_max_window_bits = 9",
            "Permessage-Deflate",
            "permessage-deflate x",
        ] {
            check(&[bad], Negotiated::Unknown);
        }
        check(&["permessage-deflate", "permessage-deflate"], Negotiated::Unknown);
        check(&["x-other", ""], Negotiated::Unknown);
    }

    #[test]
    fn every_window_size_is_read() {
        for bits in 8..=15 {
            let value = format!("permessage-deflate; server_max_window_bits={bits}");
            check(&[&value], params((false, bits), (false, 15)));
        }
    }
}
