//! Who is this? A chain of places to look for the user's key, and the only forms in which the key may leave the
//! decision: its bucket and a short keyed hash.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::session::SessionNo;

/// The payload of a token longer than this is not looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The most places a chain may name.
const CHAIN_MAX: usize = 16;

/// What the decision may look at: the head of the upgrade request and where it came from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The head as the client sent it.
    pub headers: &'a HeaderMap,
    /// The path without the query, as sent.
    pub path: &'a str,
    /// The query without the question mark.
    pub query: Option<&'a str>,
    /// The client's address, after the trusted-proxy rules.
    pub peer: IpAddr,
    /// The session's number; chooses mirrored sessions that have no key.
    pub session: SessionNo,
}

impl Request<'_> {
    /// A claim of the bearer token as text: a non-empty string, or an integer in decimal.
    ///
    /// The signature is **not** checked. A claim chooses a bucket or a segment, never access, so a forged one lets
    /// its sender pick the lane of his own connection and nothing else. Only `Authorization: Bearer` is read; for a
    /// token in the query use `query:NAME`, which buckets by the whole token.
    pub(super) fn claim(&self, name: &str) -> Option<String> {
        let header = self.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let payload = token.trim().split('.').nth(1).filter(|part| part.len() <= TOKEN_BYTES_MAX)?;
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        match serde_json::from_slice::<Value>(&payload).ok()?.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => None,
        }
    }

    pub(super) fn cookie(&self, name: &str) -> Option<Vec<u8>> {
        let headers = self.headers.get_all(COOKIE).into_iter();
        let mut pairs = headers.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let value = pairs.find_map(|pair| {
            pair.trim_ascii().strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")
        })?;
        let value = value.trim_ascii();
        let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(bare.unwrap_or(value).to_vec())
    }

    fn query(&self, name: &str) -> Option<Vec<u8>> {
        let mut pairs = url::form_urlencoded::parse(self.query?.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned().into_bytes())
    }
}

/// One place where a key may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Header(HeaderName),
    Claim(String),
    Cookie(String),
    Query(String),
    Peer,
}

impl Place {
    fn find(&self, request: &Request<'_>) -> Option<Vec<u8>> {
        let found = match self {
            // Of several fields with this name the first counts.
            Self::Header(name) => request.headers.get(name).map(|value| value.as_bytes().to_vec()),
            Self::Claim(name) => request.claim(name).map(String::into_bytes),
            Self::Cookie(name) => request.cookie(name),
            Self::Query(name) => request.query(name),
            Self::Peer => Some(request.peer.to_canonical().to_string().into_bytes()),
        };
        found.filter(|key| !key.is_empty())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Claim(name) => write!(f, "jwt:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Peer => f.write_str("ip"),
        }
    }
}

/// Where to look for the key, in this order. An empty or unreadable value counts as missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChain(Vec<Place>);

impl KeyChain {
    /// The first key that the request has.
    #[must_use]
    pub fn find(&self, request: &Request<'_>) -> Option<UserKey> {
        self.0.iter().find_map(|place| place.find(request)).map(UserKey)
    }

    /// Where that key is: `header:x-user-id`.
    #[must_use]
    pub fn place(&self, request: &Request<'_>) -> Option<String> {
        self.0.iter().find(|place| place.find(request).is_some()).map(ToString::to_string)
    }
}

impl Default for KeyChain {
    /// `header:x-user-id,jwt:sub`
    fn default() -> Self {
        Self(vec![Place::Header(HeaderName::from_static("x-user-id")), Place::Claim("sub".to_owned())])
    }
}

/// Why a text is not a key chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyChainError {
    /// Nothing in it.
    #[error("no place to look for the key; write for example header:x-user-id,jwt:sub")]
    Empty,
    /// More than sixteen places.
    #[error("{0} places to look for the key, but at most {CHAIN_MAX} are possible")]
    TooMany(usize),
    /// An unknown kind of place.
    #[error("{0:?} is no place for a key; use header:NAME, jwt:CLAIM, cookie:NAME, query:NAME or ip")]
    Unknown(String),
    /// A place without a usable name.
    #[error("{0:?} lacks a valid name after the colon, for example header:x-user-id")]
    Name(String),
}

impl FromStr for KeyChain {
    type Err = KeyChainError;

    fn from_str(text: &str) -> Result<Self, KeyChainError> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        match parts.len() {
            0 => Err(KeyChainError::Empty),
            count if count > CHAIN_MAX => Err(KeyChainError::TooMany(count)),
            _ => parts.into_iter().map(place).collect::<Result<_, _>>().map(Self),
        }
    }
}

fn place(text: &str) -> Result<Place, KeyChainError> {
    if text == "ip" {
        return Ok(Place::Peer);
    }
    let (kind, name) = text.split_once(':').ok_or_else(|| KeyChainError::Unknown(text.to_owned()))?;
    let name = name.trim();
    let owned =
        || if name.is_empty() { Err(KeyChainError::Name(text.to_owned())) } else { Ok(name.to_owned()) };
    match kind {
        "header" => name.parse().map(Place::Header).map_err(|_| KeyChainError::Name(text.to_owned())),
        "jwt" => owned().map(Place::Claim),
        "cookie" => owned().map(Place::Cookie),
        "query" => owned().map(Place::Query),
        _ => Err(KeyChainError::Unknown(text.to_owned())),
    }
}

impl fmt::Display for KeyChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{place}")?;
        }
        Ok(())
    }
}

/// A user's key: a credential. It has no text form; hash it or take its bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct UserKey(Vec<u8>);

impl UserKey {
    /// A key that did not come from a request (the `bucket` command, an entry of a list).
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserKey(***)")
    }
}

/// Makes [`KeyHash`]es: HMAC-SHA256 (RFC 2104) cut to 64 bits. The secret must be the same in all pods that share
/// lists; whoever knows it can test guesses, so it is not the public salt.
#[derive(Clone)]
pub struct KeyHasher {
    inner: Sha256,
    outer: Sha256,
}

impl KeyHasher {
    /// A hasher with this secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut block = [0_u8; 64];
        let digest;
        let secret = if secret.len() > block.len() {
            digest = Sha256::digest(secret);
            digest.as_slice()
        } else {
            secret
        };
        for (place, byte) in block.iter_mut().zip(secret) {
            *place = *byte;
        }
        let padded = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// The hash of a key.
    #[must_use]
    pub fn hash(&self, key: &UserKey) -> KeyHash {
        let inner = self.inner.clone().chain_update(key.bytes()).finalize();
        let digest = self.outer.clone().chain_update(inner).finalize();
        KeyHash(digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte)))
    }

    /// An entry of a list: `key:…` is a hash already, anything else is a key in plain form.
    #[must_use]
    pub fn entry(&self, text: &str) -> KeyHash {
        text.parse().unwrap_or_else(|NotAHash| self.hash(&UserKey::new(text.as_bytes())))
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(***)")
    }
}

/// The short name of a key for people: `key:` and 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(u64);

/// The text is not a [`KeyHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key hash; one looks like key:0123456789abcdef")]
pub struct NotAHash;

impl FromStr for KeyHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digits = text.strip_prefix("key:").ok_or(NotAHash)?;
        let plain = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plain {
            return Err(NotAHash);
        }
        u64::from_str_radix(digits, 16).map(Self).map_err(|_| NotAHash)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key:{:016x}", self.0)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
