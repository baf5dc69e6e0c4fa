//! `X-Forwarded-For`, `-Proto` and `-Host`: who the client is, as far as trusted proxies vouch for it. What an
//! untrusted peer claims is replaced; what a trusted one says is continued.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::headers::tokens;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SERVER_NAME: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Addresses in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not a network such as `10.0.0.0/8` or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network; example: 10.0.0.0/8")]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) => text.parse().ok().filter(|bits| *bits <= longest).ok_or(NotANetwork)?,
            None => longest,
        };
        Ok(Self { address, prefix })
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(one)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                let cut = |a: Ipv4Addr| u32::from(a).checked_shr(shift);
                cut(net) == cut(one)
            }
            (IpAddr::V6(net), IpAddr::V6(one)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let cut = |a: Ipv6Addr| u128::from(a).checked_shr(shift);
                cut(net) == cut(one)
            }
            _ => false,
        }
    }
}

/// Proxies whose word about the client is believed.
///
/// The default is loopback, private, shared (RFC 6598), link-local and unique-local addresses: inside a cluster
/// the peer of a sidecar is an ingress, a node or another pod, all of them on such addresses. A pod that is
/// reached from the internet directly has peers with public addresses, which are not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted(Vec<Network>);

impl Default for Trusted {
    fn default() -> Self {
        let v4 = |a, b, prefix| Network { address: IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix };
        let v6 = |first, prefix| Network {
            address: IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)),
            prefix,
        };
        let loopback = Network { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 };
        Self(vec![
            v4(127, 0, 8),
            v4(10, 0, 8),
            v4(172, 16, 12),
            v4(192, 168, 16),
            v4(100, 64, 10),
            v4(169, 254, 16),
            loopback,
            v6(0xfc00, 7),
            v6(0xfe80, 10),
        ])
    }
}

impl Trusted {
    /// Trusts exactly these.
    #[must_use]
    pub const fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// True if the address belongs to a trusted proxy. An IPv4 address inside an IPv6 one counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client behind a chain of trusted proxies: the last address of `X-Forwarded-For`, read from the right,
    /// that is not itself trusted; the peer where there is none. The port is always the peer's.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, peer: SocketAddr) -> SocketAddr {
        let mut client = peer.ip().to_canonical();
        let chain: Vec<&[u8]> = tokens(headers, &FOR).collect();
        for hop in chain.into_iter().rev() {
            if !self.contains(client) {
                break;
            }
            match address(hop) {
                Some(next) => client = next,
                None => break,
            }
        }
        SocketAddr::new(client, peer.port())
    }

    /// Writes the three fields for the next hop. From a trusted peer `-For` is continued and `-Proto` and `-Host`
    /// keep what the outermost proxy saw; from any other peer all three are set afresh.
    pub(super) fn extend(&self, headers: &mut HeaderMap, peer: IpAddr, tls: bool) {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            for name in [FOR, PROTO, SERVER_NAME] {
                headers.remove(name);
            }
        }
        let mut chain: Vec<u8> = tokens(headers, &FOR).collect::<Vec<_>>().join(&b", "[..]);
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(peer.to_string().as_bytes());
        if let Ok(chain) = HeaderValue::from_bytes(&chain) {
            headers.insert(FOR, chain);
        }
        if !headers.contains_key(PROTO) {
            headers.insert(PROTO, HeaderValue::from_static(if tls { "https" } else { "http" }));
        }
        if !headers.contains_key(SERVER_NAME)
            && let Some(host) = headers.get(HOST).cloned()
        {
            headers.insert(SERVER_NAME, host);
        }
    }
}

/// An address as proxies write it: bare, with a port, or an IPv6 one in brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let plain = bare.parse::<IpAddr>().ok();
    plain.or_else(|| text.parse::<SocketAddr>().ok().map(|full| full.ip())).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn networks_hold_what_they_say() {
        let check = |network: &str, inside: &str, outside: &str| {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{inside} is in {network:?}");
            assert!(!network.contains(outside.parse().unwrap()), "{outside} is not in {network:?}");
        };
        check("10.0.0.0/8", "10.255.1.2", "11.0.0.1");
        check("172.16.0.0/12", "172.31.255.255", "172.32.0.0");
        check("192.0.2.7", "192.0.2.7", "192.0.2.8");
        check("0.0.0.0/0", "203.0.113.9", "::1");
        check("fc00::/7", "fd12::1", "fe00::1");
        check("::/0", "2001:db8::1", "10.0.0.1");
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Network>(), Err(NotANetwork), "{bad}");
        }
        assert!(Trusted::default().contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!Trusted::default().contains("203.0.113.9".parse().unwrap()));
    }

    #[test]
    fn a_trusted_peer_is_continued_and_any_other_is_replaced() {
        let sent: &[(&'static str, &'static str)] = &[
            ("host", "chat.example"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outer.example"),
        ];
        let check = |peer: &str, sent: &[(&'static str, &'static str)], expect: [&str; 3]| {
            let mut headers = map(sent);
            Trusted::default().extend(&mut headers, peer.parse().unwrap(), false);
            let field = |name| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
            assert_eq!([field(FOR), field(PROTO), field(SERVER_NAME)], expect.map(|one| vec![one]), "{peer}");
        };
        check("10.0.0.2", sent, ["203.0.113.9, 10.0.0.1, 10.0.0.2", "https", "outer.example"]);
        check("198.51.100.4", sent, ["198.51.100.4", "http", "chat.example"]);
        check("10.0.0.2", &[("host", "chat.example")], ["10.0.0.2", "http", "chat.example"]);
    }

    #[test]
    fn the_client_is_the_last_address_nobody_vouches_for() {
        let check = |peer: &str, chain: &'static str, expect: &str| {
            let peer = SocketAddr::new(peer.parse().unwrap(), 7);
            let found = Trusted::default().client(&map(&[("x-forwarded-for", chain)]), peer);
            assert_eq!(found, SocketAddr::new(expect.parse().unwrap(), 7), "{chain}");
        };
        check("198.51.100.4", "203.0.113.9", "198.51.100.4");
        check("10.0.0.2", "1.1.1.1, 203.0.113.9, 10.0.0.1", "203.0.113.9");
        check("10.0.0.2", "203.0.113.9:4711", "203.0.113.9");
        check("10.0.0.2", "[2001:db8::1]:443", "2001:db8::1");
        check("10.0.0.2", "[2001:db8::1]", "2001:db8::1");
        check("10.0.0.2", "203.0.113.9, unknown", "10.0.0.2");
        check("10.0.0.2", "10.0.0.1", "10.0.0.1");
    }
}
