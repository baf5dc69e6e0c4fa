//! Links: a token that says what may be done, on what, until when, and that it was us who said so.
//!
//! `1.ACTION.VERSION.EXPIRES.NONCE.MAC`: words that a URL carries as they are. The MAC is HMAC-SHA256 over all before
//! it and the service's name, so that two services with one secret do not honour each other's links.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// A secret that is shorter can be guessed.
pub const SECRET_BYTES_MIN: usize = 32;
/// Enough that no two links ever have the same.
pub const NONCE_BYTES: usize = 16;
/// A longer token is none of ours.
const TOKEN_BYTES_MAX: usize = 512;

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The plan goes on.
    Promote,
    /// The plan ends at 0 %.
    Abort,
    /// The emergency switch of the pod that answers.
    Off,
}

impl Action {
    const ALL: [Self; 3] = [Self::Promote, Self::Abort, Self::Off];

    /// The word in the token.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Off => "off",
        }
    }

    /// The word in the audit trail.
    #[must_use]
    pub const fn audited(self) -> &'static str {
        match self {
            Self::Promote => "link_promote",
            Self::Abort | Self::Off => "link_rollback",
        }
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What it does.
    pub action: Action,
    /// The version of the plan or the rollout that it was made for.
    pub version: String,
    /// Unix seconds; from then on it is void.
    pub expires: u64,
    /// What makes it one link and no other, in hex.
    pub nonce: String,
}

impl Claims {
    /// Claims with fresh randomness.
    #[must_use]
    pub fn new(action: Action, version: &str, expires: u64, random: [u8; NONCE_BYTES]) -> Self {
        let nonce = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { action, version: version.to_owned(), expires, nonce }
    }

    /// What the log may say of it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.nonce.get(..8).unwrap_or_default()
    }
}

/// Why a token is not honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// Not ours, or not as we made it.
    Forged,
    /// Ours, and too late.
    Expired(Claims),
}

/// Makes and checks tokens.
pub struct Signer {
    key: hmac::Key,
    service: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Signs with this secret.
    ///
    /// # Errors
    /// It is too short.
    pub fn new(secret: &[u8], service: &str) -> Result<Self, String> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!("has {} bytes, at least {SECRET_BYTES_MIN} are needed", secret.len()));
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), service: service.to_owned() })
    }

    /// What the MAC is about. A service's name has no line break.
    fn signed(&self, text: &str) -> Vec<u8> {
        format!("crossfade link\n{}\n{text}", self.service).into_bytes()
    }

    /// The token.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let Claims { action, version, expires, nonce } = claims;
        let text = format!("1.{}.{version}.{expires}.{nonce}", action.as_str());
        let mac = hmac::sign(&self.key, &self.signed(&text));
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
    }

    /// What a token says, if it is ours and not expired. Compared in constant time, before anything else of it is read.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn open(&self, token: &str, now: u64) -> Result<Claims, LinkError> {
        let claims = self.claims(token).ok_or(LinkError::Forged)?;
        if now >= claims.expires { Err(LinkError::Expired(claims)) } else { Ok(claims) }
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        let (text, mac) = token.get(..TOKEN_BYTES_MAX).map_or(Some(token), |_| None)?.rsplit_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        hmac::verify(&self.key, &self.signed(text), &mac).ok()?;
        let mut parts = text.split('.');
        let mut part = || parts.next();
        if part()? != "1" {
            return None;
        }
        let word = part()?;
        let action = Action::ALL.into_iter().find(|action| action.as_str() == word)?;
        let (version, expires, nonce) = (part()?.to_owned(), part()?.parse().ok()?, part()?.to_owned());
        parts.next().is_none().then_some(Claims { action, version, expires, nonce })
    }
}
