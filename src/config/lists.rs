//! Parsers of comma-separated lists: where a user's key is found, which peers are trusted.
//! Lists are short; their limits are named below.

use std::net::IpAddr;

use super::var::Value;

/// The most entries of any list.
const ENTRIES_MAX: usize = 64;

fn entries<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let list: Vec<T> = text.split(',').map(|entry| parse(entry.trim())).collect::<Result<_, _>>()?;
    if list.len() > ENTRIES_MAX { Err(format!("has more than {ENTRIES_MAX} entries")) } else { Ok(list) }
}

/// One place where the key of a user may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A request header.
    Header(String),
    /// A claim of the bearer token; for bucketing only, never for access.
    Jwt(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// The client's address.
    Ip,
}

/// Places in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChain(pub Vec<KeySource>);

impl Value for KeyChain {
    const KIND: &'static str = "list of header:NAME, jwt:CLAIM, cookie:NAME, query:NAME, ip";

    fn parse(text: &str) -> Result<Self, String> {
        entries(text, key_source).map(Self)
    }
}

fn key_source(entry: &str) -> Result<KeySource, String> {
    if entry == "ip" {
        return Ok(KeySource::Ip);
    }
    let wrong =
        || "has an entry that is none of header:NAME, jwt:CLAIM, cookie:NAME, query:NAME, ip".to_owned();
    let (place, name) = entry.split_once(':').ok_or_else(wrong)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(wrong());
    }
    match place {
        "header" => Ok(KeySource::Header(name.to_ascii_lowercase())),
        "jwt" => Ok(KeySource::Jwt(name.to_owned())),
        "cookie" => Ok(KeySource::Cookie(name.to_owned())),
        "query" => Ok(KeySource::Query(name.to_owned())),
        _ => Err(wrong()),
    }
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Any address of the block.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

impl Cidr {
    /// Whether the block holds this address. An IPv4 peer on an IPv6 socket counts as IPv4.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        let width = |address: IpAddr| if address.is_ipv4() { 32_u32 } else { 128 };
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let peer = peer.to_canonical();
        let free = width(self.address).saturating_sub(u32::from(self.prefix));
        let high = |address: IpAddr| bits(address).checked_shr(free).unwrap_or(0);
        width(peer) == width(self.address) && high(peer) == high(self.address)
    }
}

/// Blocks of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cidrs(pub Vec<Cidr>);

impl Value for Cidrs {
    const KIND: &'static str = "list of CIDR blocks";

    fn parse(text: &str) -> Result<Self, String> {
        entries(text, cidr).map(Self)
    }
}

fn cidr(entry: &str) -> Result<Cidr, String> {
    let wrong = || "has an entry that is no CIDR block (ADDRESS/BITS)".to_owned();
    let (address, prefix) = entry.split_once('/').map_or((entry, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
    if prefix > width { Err(wrong()) } else { Ok(Cidr { address, prefix }) }
}

/// Paths of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths(pub Vec<String>);

impl Value for Paths {
    const KIND: &'static str = "list of files";

    fn parse(text: &str) -> Result<Self, String> {
        let path = |entry: &str| match entry {
            "" => Err("has an empty entry".to_owned()),
            path => Ok(path.to_owned()),
        };
        entries(text, path).map(Self)
    }
}
