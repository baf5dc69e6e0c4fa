//! Vectors from the specification and elsewhere, every cut, and what anybody might send instead.

use proptest::prelude::*;

use super::proxy_protocol::*;

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// Feeds pieces of this size; what was taken, and what came of it.
fn feed(bytes: &[u8], size: usize) -> (usize, Result<Option<Header>, Refused>) {
    let mut parser = Parser::default();
    let mut taken = 0;
    for piece in bytes.chunks(size.max(1)) {
        match parser.feed(piece) {
            Err(why) => return (taken, Err(why)),
            Ok((used, header)) => {
                taken += used;
                if header.is_some() {
                    return (taken, Ok(header));
                }
                assert_eq!(used, piece.len(), "without a header everything is taken");
            }
        }
    }
    (taken, Ok(None))
}

fn check(bytes: &[u8], expect: Result<Header, Refused>) {
    let followed = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
    for size in [1, 2, 3, 7, 13, followed.len()] {
        let (taken, found) = feed(&followed, size);
        assert_eq!(found, expect.map(Some), "{:?} in pieces of {size}", String::from_utf8_lossy(bytes));
        if expect.is_ok() {
            assert_eq!(taken, bytes.len(), "{:?}: no byte beyond the header", String::from_utf8_lossy(bytes));
        }
    }
}

#[test]
fn lines_of_version_1() {
    let four = proxied("192.0.2.1:56324", "192.0.2.2:443");
    check(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", Ok(four));
    check(
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
        Ok(proxied("[2001:db8::1]:1", "[2001:db8::2]:65535")),
    );
    check(b"PROXY UNKNOWN\r\n", Ok(Header::Own));
    check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Ok(Header::Own));
    // The longest line of the specification.
    let longest =
        format!("PROXY UNKNOWN {f} {f} 65535 65535\r\n", f = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert_eq!(longest.len(), 107);
    check(longest.as_bytes(), Ok(Header::Own));
    let bad: [&[u8]; 14] = [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 1\r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 443\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 \xFF92.0.2.1 192.0.2.2 1 2\r\n",
    ];
    for line in bad {
        check(line, Err(Refused::Malformed));
    }
    check(&[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(), Err(Refused::TooLong));
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

#[test]
fn headers_of_version_2() {
    let four = [192, 0, 2, 1, 192, 0, 2, 2, 0xDC, 0x04, 0x01, 0xBB];
    let ends = proxied("192.0.2.1:56324", "192.0.2.2:443");
    check(&v2(0x21, 0x11, &four), Ok(ends));
    // A TLV behind the addresses, as load balancers add them.
    check(&v2(0x21, 0x11, &[&four[..], &[0xEA, 0, 3, 1, 2, 3]].concat()), Ok(ends));
    let mut six = [0; 36];
    (six[15], six[31], six[33], six[35]) = (1, 2, 80, 81);
    check(&v2(0x21, 0x21, &six), Ok(proxied("[::1]:80", "[::2]:81")));
    check(&v2(0x20, 0, &[]), Ok(Header::Own));
    check(&v2(0x20, 0x11, &four), Ok(Header::Own));
    check(&v2(0x21, 0x00, &[1, 2, 3]), Ok(Header::Own));
    check(&v2(0x21, 0x31, &[0; 216]), Ok(Header::Own));
    check(&v2(0x21, 0x12, &four), Ok(Header::Own));
    check(&v2(0x21, 0x11, &[&four[..], &[0; REST_MAX - 12]].concat()), Ok(ends));
    check(&v2(0x21, 0x11, &[0; REST_MAX + 1]), Err(Refused::TooLong));
    for (command, family) in [(0x11, 0x11), (0x31, 0x11), (0x22, 0x11), (0x21, 0x41), (0x21, 0x13)] {
        check(&v2(command, family, &four), Err(Refused::Malformed));
    }
    check(&v2(0x21, 0x11, &four[..11]), Err(Refused::Malformed));
    check(&v2(0x21, 0x21, &six[..35]), Err(Refused::Malformed));
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    let requests: [&[u8]; 6] =
        [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\r\n\r\nGET", b"PROX\r\n", b"POST", b"\0"];
    for bytes in requests {
        assert_eq!(feed(bytes, 1).1, Err(Refused::NoHeader), "{bytes:?}");
        assert_eq!(feed(bytes, bytes.len()).1, Err(Refused::NoHeader), "{bytes:?}");
    }
    assert_eq!(feed(b"PROXY", 1).1, Ok(None));
    assert_eq!(feed(b"", 1).1, Ok(None));
}

fn end() -> impl Strategy<Value = std::net::SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(Into::into)
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in end(), destination in end(), first: bool, size in 1_usize..64, tail: Vec<u8>) {
        let version = if first { Version::V1 } else { Version::V2 };
        let bytes = write(version, Header::Proxied { source, destination });
        let (taken, found) = feed(&[&bytes[..], &tail].concat(), size);
        prop_assert_eq!(taken, bytes.len());
        let Ok(Some(Header::Proxied { source: from, destination: to })) = found else { panic!("{found:?}") };
        let plain = |end: std::net::SocketAddr| (end.ip().to_canonical(), end.port());
        prop_assert_eq!((plain(from), plain(to)), (plain(source), plain(destination)));
        let own = write(version, Header::Own);
        prop_assert_eq!(feed(&own, size), (own.len(), Ok(Some(Header::Own))));
    }

    #[test]
    fn the_verdict_does_not_depend_on_the_cuts(start in 0_usize..3, mut bytes: Vec<u8>, size in 1_usize..32) {
        let begins: [&[u8]; 3] = [b"", b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C"];
        bytes.splice(0..0, begins[start].iter().copied());
        let (whole, pieces) = (feed(&bytes, bytes.len()), feed(&bytes, size));
        prop_assert_eq!(whole.1, pieces.1);
        if whole.1.is_ok() {
            prop_assert_eq!(whole.0, pieces.0);
        }
    }
}
