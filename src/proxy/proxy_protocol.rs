//! The PROXY protocol, versions 1 and 2 (the specification of HAProxy, revision of 2020): what a load balancer says
//! about a connection before its first byte. A reader that takes no byte beyond the header, and a writer.
//!
//! **Why ours.** The crate `ppp` parses whole slices, accepts headers of 64 KiB and needs a second `thiserror`; what
//! has to be right here is where the header ends, when it cannot become one any more, and how long it may be.
//!
//! **Not done.** TLVs are skipped, the checksum among them; addresses of Unix sockets count as unknown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first twelve bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";
/// Version 1, its line end included (section 2.1).
const LINE_MAX: usize = 107;
/// Bytes of version 2 before the addresses.
const HEAD: usize = 16;
/// The most that may follow them: addresses and TLVs. Certificates of clients may be among the latter.
pub const REST_MAX: usize = 4096;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing about a client: the sender's own connection (a health check), or a kind of address that is none of
    /// TCP. The addresses of the connection hold.
    Own,
    /// The client's connection to the sender.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// They begin like neither version.
    #[error("the connection does not begin with a PROXY header")]
    NoHeader,
    /// More than we read.
    #[error("the PROXY header is too long")]
    TooLong,
    /// They begin like one.
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Reads one header in pieces of any size. Never holds more than a header's bytes.
#[derive(Debug, Default)]
pub struct Parser(Vec<u8>);

impl Parser {
    /// Takes from `bytes` what belongs to the header: how many bytes, and the header once it is whole. Bytes after
    /// the header are not taken. After an error or a header the parser has nothing more to say.
    ///
    /// # Errors
    /// As soon as no header can come of it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Header>), Refused> {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or(&[]);
            let (want, whole) = self.wanted(rest)?;
            let piece = rest.get(..want.min(rest.len())).unwrap_or(rest);
            self.0.extend_from_slice(piece);
            taken += piece.len();
            if piece.len() < want {
                self.wanted(&[])?; // a beginning that is wrong is refused now, not with the next byte
                return Ok((taken, None));
            }
            if whole {
                let header = if self.0.starts_with(&SIGNATURE) { binary(&self.0) } else { line(&self.0) };
                return header.map(|header| (taken, Some(header)));
            }
        }
    }

    /// How many bytes are taken next, given that these come next, and whether the header is whole with them.
    fn wanted(&self, next: &[u8]) -> Result<(usize, bool), Refused> {
        let have = self.0.len();
        let begins = |mark: &[u8]| self.0.iter().zip(mark).all(|(byte, mark)| byte == mark);
        if !begins(&SIGNATURE) && !begins(WORD) {
            return Err(Refused::NoHeader);
        }
        // The shortest line has 15 bytes, so that so many belong to either version.
        if begins(WORD) && self.0.contains(&b'\n') {
            return Err(Refused::Malformed);
        }
        if have < SIGNATURE.len() {
            return Ok((SIGNATURE.len() - have, false));
        }
        if begins(WORD) {
            let room = LINE_MAX - have.min(LINE_MAX);
            let end = next.iter().take(room).position(|byte| *byte == b'\n');
            return match end {
                Some(at) => Ok((at + 1, true)),
                None if next.len() >= room => Err(Refused::TooLong),
                None => Ok((next.len() + 1, false)),
            };
        }
        if have < HEAD {
            return Ok((HEAD - have, false));
        }
        let rest = usize::from(u16::from_be_bytes([self.byte(14), self.byte(15)]));
        if rest > REST_MAX { Err(Refused::TooLong) } else { Ok((HEAD + rest - have.min(HEAD + rest), true)) }
    }

    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }
}

/// Version 1: `PROXY TCP4 SOURCE DESTINATION PORT PORT`, one space between each, and a line end (section 2.1).
fn line(bytes: &[u8]) -> Result<Header, Refused> {
    let text = bytes.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let mut words = text.ok_or(Refused::Malformed)?.split(' ').skip(1);
    let v6 = match words.next() {
        Some("TCP4") => false,
        Some("TCP6") => true,
        // What follows is to be ignored.
        Some("UNKNOWN") => return Ok(Header::Own),
        _ => return Err(Refused::Malformed),
    };
    let mut address = || words.next()?.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv6() == v6);
    let (from, to) = (address(), address());
    let mut port = || words.next().filter(|text| is_port(text))?.parse::<u16>().ok();
    let (near, far) = (port(), port());
    match (from, to, near, far, words.next()) {
        (Some(from), Some(to), Some(near), Some(far), None) => {
            Ok(Header::Proxied { source: (from, near).into(), destination: (to, far).into() })
        }
        _ => Err(Refused::Malformed),
    }
}

/// Digits without a sign or a leading zero.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

/// Version 2 (section 2.2).
fn binary(bytes: &[u8]) -> Result<Header, Refused> {
    let at = |index: usize| bytes.get(index).copied().ok_or(Refused::Malformed);
    let rest = bytes.get(HEAD..).unwrap_or(&[]);
    let version = at(12)? >> 4;
    let command = at(12)? & 0x0F;
    let (family, transport) = (at(13)? >> 4, at(13)? & 0x0F);
    if version != 2 || command > 1 || family > 3 || transport > 2 {
        return Err(Refused::Malformed);
    }
    if command == 0 {
        return Ok(Header::Own);
    }
    let ends = match (family, transport) {
        (1, 1) => rest.first_chunk::<12>().map(|[a, b, c, d, e, f, g, h, i, j, k, l]| {
            let source = (Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*i, *j])).into();
            (source, (Ipv4Addr::new(*e, *f, *g, *h), u16::from_be_bytes([*k, *l])).into())
        }),
        (2, 1) => rest.first_chunk::<36>().and_then(|block| {
            let address = |from: usize| {
                let octets = block.get(from..)?.first_chunk::<16>()?;
                Some(Ipv6Addr::from(*octets))
            };
            let port = |from: usize| Some(u16::from_be_bytes(*block.get(from..)?.first_chunk::<2>()?));
            Some(((address(0)?, port(32)?).into(), (address(16)?, port(34)?).into()))
        }),
        // Unspecified, datagrams, Unix sockets: nothing that a TCP service could be told.
        _ => return Ok(Header::Own),
    };
    let (source, destination) = ends.ok_or(Refused::Malformed)?;
    Ok(Header::Proxied { source, destination })
}

/// Which version is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The header that says this. Addresses of two families are said as IPv6 ones.
#[must_use]
pub fn write(version: Version, header: Header) -> Vec<u8> {
    let ends = match header {
        Header::Own => None,
        Header::Proxied { source, destination } => Some(same_family(source, destination)),
    };
    match version {
        Version::V1 => match ends {
            None => b"PROXY UNKNOWN\r\n".to_vec(),
            Some((from, to)) => {
                let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
                let (near, far) = (from.port(), to.port());
                format!("PROXY {family} {} {} {near} {far}\r\n", from.ip(), to.ip()).into_bytes()
            }
        },
        Version::V2 => {
            let mut bytes = SIGNATURE.to_vec();
            match ends {
                None => bytes.extend([0x20, 0, 0, 0]),
                Some((from, to)) => {
                    let (family, length) = if from.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
                    bytes.extend([0x21, family, 0, length]);
                    for ip in [from.ip(), to.ip()] {
                        match ip {
                            IpAddr::V4(ip) => bytes.extend(ip.octets()),
                            IpAddr::V6(ip) => bytes.extend(ip.octets()),
                        }
                    }
                    bytes.extend([from, to].iter().flat_map(|end| end.port().to_be_bytes()));
                }
            }
            bytes
        }
    }
}

fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let wide = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    (wide(source), wide(destination))
}
