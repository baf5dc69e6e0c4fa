//! Secrets: readable only by `expose`, never by `Debug` or an error.
//! Also what can be told about a Supabase key without asking anybody: its prefix, or the role that its JWT claims.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::var::Value;

/// A text that never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text, without the white space around it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text itself. Every call is a place where it may leak.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is a Supabase key for browsers.
    #[must_use]
    pub fn is_public(&self) -> bool {
        reach(&self.0) == Reach::Public
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Value for Secret {
    const KIND: &'static str = "secret";

    fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("has a line break or control character inside".to_owned());
        }
        Ok(Self::new(text))
    }
}

/// A Supabase key that may be given to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub Secret);

impl Value for PublicKey {
    const KIND: &'static str = "public key";

    fn parse(text: &str) -> Result<Self, String> {
        let secret = Secret::parse(text)?;
        if reach(secret.expose()) == Reach::Elevated {
            return Err(
                "is a service_role or secret key, and clients would get it; give the anon or publishable key"
                    .to_owned(),
            );
        }
        Ok(Self(secret))
    }
}

impl From<PublicKey> for Secret {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

/// A key of 256 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealKey(pub Secret);

impl Value for SealKey {
    const KIND: &'static str = "key";

    fn parse(text: &str) -> Result<Self, String> {
        let secret = Secret::parse(text)?;
        let digits = secret.expose();
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("is not a key of 64 hex digits".to_owned());
        }
        Ok(Self(secret))
    }
}

impl From<SealKey> for Secret {
    fn from(key: SealKey) -> Self {
        key.0
    }
}

/// A secret and where it came from.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The secret as it was at the start.
    pub secret: Secret,
    /// The file that held it; read it again when it may have been rotated.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Elevated,
    Public,
    Unknown,
}

/// What a key may do, as far as its text tells.
fn reach(key: &str) -> Reach {
    if key.starts_with("sb_secret_") {
        return Reach::Elevated;
    }
    if key.starts_with("sb_publishable_") {
        return Reach::Public;
    }
    match jwt_role(key).as_deref() {
        Some("anon" | "authenticated") => Reach::Public,
        Some(_) => Reach::Elevated,
        None => Reach::Unknown,
    }
}

/// The claim `role` of a JWT, unverified: it only guards against a key in the wrong variable.
fn jwt_role(key: &str) -> Option<String> {
    let payload = key.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    claims.get("role")?.as_str().map(str::to_owned)
}

/// Whether a text looks like a credential that was pasted somewhere: such a text is never quoted.
pub(super) fn looks_secret(text: &str) -> bool {
    ["sb_secret_", "sb_publishable_", "sbp_", "eyJ"].iter().any(|mark| text.contains(mark))
        || text.contains('@')
}
