//! JSON Web Tokens signed with HS256 (RFC 7515, RFC 2104): minting for local use and checking as Realtime does.
//! The error texts are the recorded ones (06): clients match on them.

use super::json::Json;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Block size of SHA-256 in bytes (RFC 2104 calls it B).
const BLOCK: usize = 64;

/// A signing secret. Its text never appears in `Debug`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the shared secret as Supabase projects print it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Mints a token with these claims.
    #[must_use]
    pub fn mint(&self, claims: &Claims) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let body = URL_SAFE_NO_PAD.encode(claims.encode());
        let signed = format!("{header}.{body}");
        let signature = URL_SAFE_NO_PAD.encode(hmac_sha256(self.0.as_bytes(), signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Checks a token at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`BadToken`] with the first thing wrong, in Realtime's order: shape, algorithm, signature, claims, expiry.
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, BadToken> {
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(BadToken::Malformed)?;
        let header = section(header).ok_or(BadToken::Malformed)?;
        let body = section(body).ok_or(BadToken::Malformed)?;
        if header.member("alg").and_then(Json::as_text) != Some("HS256") {
            return Err(BadToken::Algorithm);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken::Signature)?;
        if !same(&signature, &hmac_sha256(self.0.as_bytes(), signed.as_bytes())) {
            return Err(BadToken::Signature);
        }
        let claims = Claims::read(&body).ok_or(BadToken::Claims)?;
        if claims.exp.is_some_and(|exp| exp <= now) {
            return Err(BadToken::Expired { seconds: now.saturating_sub(claims.exp.unwrap_or(now)) });
        }
        Ok(claims)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What Realtime reads from a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `anon`, `authenticated`, `service_role` or a role of one's own.
    pub role: Option<String>,
    /// Expiry in Unix seconds.
    pub exp: Option<i64>,
    /// Whose token it is.
    pub sub: Option<String>,
}

impl Claims {
    /// Claims for a role until `exp` (Unix seconds).
    #[must_use]
    pub fn of(role: &str, exp: i64) -> Claims {
        Claims { role: Some(role.to_owned()), exp: Some(exp), sub: None }
    }

    /// The role, empty when absent.
    #[must_use]
    pub fn role(&self) -> &str {
        self.role.as_deref().unwrap_or_default()
    }

    fn read(body: &Json) -> Option<Claims> {
        let exp = match body.member("exp")? {
            Json::Int(digits) => digits.parse::<i64>().ok()?,
            _ => return None,
        };
        let role = body.member("role")?.as_text()?.to_owned();
        let sub = body.member("sub").and_then(Json::as_text).map(str::to_owned);
        Some(Claims { role: Some(role), exp: Some(exp), sub })
    }

    fn encode(&self) -> String {
        let mut map = std::collections::BTreeMap::new();
        map.insert("iss".to_owned(), Json::text("crossfade-emulator"));
        if let Some(role) = &self.role {
            map.insert("role".to_owned(), Json::text(role));
        }
        if let Some(exp) = self.exp {
            map.insert("exp".to_owned(), Json::Int(exp.to_string()));
        }
        if let Some(sub) = &self.sub {
            map.insert("sub".to_owned(), Json::text(sub));
        }
        Json::Map(map).encode()
    }
}

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadToken {
    /// Not three base64url sections of JSON.
    Malformed,
    /// Signed by another algorithm than HS256.
    Algorithm,
    /// The signature does not fit.
    Signature,
    /// `role` or `exp` is missing or of the wrong type.
    Claims,
    /// Past its expiry by so many seconds.
    Expired {
        /// Whole seconds since the expiry.
        seconds: i64,
    },
}

impl BadToken {
    /// The `error` of a refused upgrade (recording 06, connects).
    #[must_use]
    pub fn at_connect(self) -> &'static str {
        match self {
            BadToken::Malformed => "The token provided is not a valid JWT",
            BadToken::Algorithm => {
                "Failed to generate JWT signer, check your JWT secret or JWKS configuration"
            }
            BadToken::Signature => "Failed to validate JWT signature",
            BadToken::Claims => "Fields `role` and `exp` are required in JWT",
            BadToken::Expired { .. } => "Token has expired",
        }
    }

    /// The `reason` of a refused join.
    #[must_use]
    pub fn at_join(self) -> String {
        match self {
            BadToken::Malformed => format!("MalformedJWT: {}", self.at_connect()),
            BadToken::Algorithm => format!("JwtSignerError: {}", self.at_connect()),
            BadToken::Signature => format!("JwtSignatureError: {}", self.at_connect()),
            BadToken::Claims => format!("InvalidJWTToken: {}", self.at_connect()),
            BadToken::Expired { seconds } => {
                format!("InvalidJWTToken: Token has expired {seconds} seconds ago")
            }
        }
    }

    /// The `message` of the `system` message that ends a channel.
    #[must_use]
    pub fn while_joined(self) -> String {
        match self {
            BadToken::Signature => ":signature_error".to_owned(),
            BadToken::Expired { seconds } => format!("Token has expired {seconds} seconds ago"),
            other => other.at_connect().to_owned(),
        }
    }
}

/// The claims of a token that was checked, as the JSON text that they are.
pub(super) fn body_text(token: &str) -> String {
    let body = token.split('.').nth(1).and_then(|body| URL_SAFE_NO_PAD.decode(body).ok());
    body.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| "{}".to_owned())
}

fn section(text: &str) -> Option<Json> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Json::parse(std::str::from_utf8(&bytes).ok()?).ok()
}

/// Compares without telling by timing where the difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let hashed: Vec<u8> = if key.len() > BLOCK { Sha256::digest(key).to_vec() } else { key.to_vec() };
    let pad = |with: u8| -> Vec<u8> {
        hashed.iter().copied().chain(std::iter::repeat(0)).take(BLOCK).map(|byte| byte ^ with).collect()
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        assert_eq!(
            hex(&hmac_sha256(&[0x0b; 20], b"Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(&hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn checks_what_it_minted() {
        let secret = Secret::new("a secret");
        let token = secret.mint(&Claims::of("anon", 1_000));
        assert_eq!(secret.verify(&token, 999).unwrap().role(), "anon");
        assert_eq!(secret.verify(&token, 1_050), Err(BadToken::Expired { seconds: 50 }));
        assert_eq!(secret.verify(&token, 1_000), Err(BadToken::Expired { seconds: 0 }));
        assert_eq!(Secret::new("other").verify(&token, 999), Err(BadToken::Signature));
        assert_eq!(secret.verify("nonsense", 0), Err(BadToken::Malformed));
        assert_eq!(secret.verify("", 0), Err(BadToken::Malformed));
        let bare = Claims { role: None, exp: Some(9), sub: None };
        assert_eq!(secret.verify(&secret.mint(&bare), 0), Err(BadToken::Claims));
    }

    #[test]
    fn refuses_the_algorithm_none() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let body = URL_SAFE_NO_PAD.encode(r#"{"role":"anon","exp":9}"#);
        assert_eq!(Secret::new("s").verify(&format!("{header}.{body}."), 0), Err(BadToken::Algorithm));
    }

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(..)");
    }
}
