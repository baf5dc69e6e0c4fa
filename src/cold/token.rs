//! A client's token, verified here: JWS in compact form (RFC 7515) with HS256, RS256 or ES256 (RFC 7518).
//!
//! Only keys that an operator named are used, each for the one algorithm that its kind allows, so that a token cannot
//! choose how it is checked. `none` is no algorithm. A token without an end is refused, and so is one that passes every
//! policy: whoever holds the service key is no client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Keys of one set.
const KEYS_MAX: usize = 16;
/// An HMAC secret has at least so many bytes (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Keys that tokens are verified with.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Hs256(hmac::Key),
    /// Modulus and exponent.
    Rs256(Vec<u8>, Vec<u8>),
    /// The uncompressed point.
    Es256(Vec<u8>),
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// What a token says that was signed by one of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub sub: Option<String>,
    /// Good until then, in seconds since 1970.
    pub exp: u64,
}

/// Why a token is refused. The order is that of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// No token where one is looked for.
    #[error("no token")]
    Missing,
    /// Not three parts of base64url with JSON in them, or too long.
    #[error("not a JSON Web Token")]
    Malformed,
    /// An algorithm, or a key's name, that none of the keys has.
    #[error("signed in a way that is not accepted")]
    Algorithm,
    /// The signature does not fit.
    #[error("the signature does not fit")]
    Signature,
    /// `exp` or `role` is missing or no number or text.
    #[error("the claims exp and role are required")]
    Claims,
    /// Its time is over, or has not come.
    #[error("expired, or not valid yet")]
    Expired,
    /// The role passes every policy.
    #[error("the role service_role is no client's")]
    Privileged,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: none is (RFC 7515 section 4.1.11).
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    role: String,
    sub: Option<String>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// RFC 7517 and 7518 section 6.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    k: Option<String>,
}

impl Keys {
    /// The project's shared secret.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn secret(text: &str) -> Result<Self, String> {
        let secret = text.trim().as_bytes();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!("the JWT secret has fewer than {SECRET_BYTES_MIN} bytes"));
        }
        let material = Material::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Ok(Self(vec![Key { id: None, material }]))
    }

    /// A JSON Web Key Set, as `/auth/v1/.well-known/jwks.json` gives it.
    ///
    /// # Errors
    /// A sentence for the operator; it quotes no key.
    pub fn set(text: &str) -> Result<Self, String> {
        let set: Set = serde_json::from_str(text).map_err(|_| "not a JSON Web Key Set".to_owned())?;
        let keys: Vec<Key> = set.keys.iter().filter_map(key).collect();
        match keys.len() {
            0 => Err("the key set has no key for HS256, RS256 or ES256".to_owned()),
            1..=KEYS_MAX => Ok(Self(keys)),
            _ => Err(format!("the key set has more than {KEYS_MAX} keys")),
        }
    }

    /// These keys and those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// No key: nobody would get in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a token at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(&self, token: &str, now: u64) -> Result<Verified, BadToken> {
        if token.is_empty() {
            return Err(BadToken::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::Malformed);
        }
        let (signed, mark) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (head, body) = signed.split_once('.').ok_or(BadToken::Malformed)?;
        let head: Header = part(head).ok_or(BadToken::Malformed)?;
        let mark = URL_SAFE_NO_PAD.decode(mark).map_err(|_| BadToken::Malformed)?;
        if head.crit.is_some() {
            return Err(BadToken::Algorithm);
        }
        let fits = |key: &&Key| {
            key.material.algorithm() == head.alg
                && (key.id.is_none() || head.kid.is_none() || key.id == head.kid)
        };
        let mut candidates = self.0.iter().filter(fits).peekable();
        candidates.peek().ok_or(BadToken::Algorithm)?;
        if !candidates.any(|key| key.material.signed(signed.as_bytes(), &mark)) {
            return Err(BadToken::Signature);
        }
        let claims: Claims = part(body).ok_or(BadToken::Claims)?;
        let now = now as f64;
        if claims.exp <= now || claims.nbf.is_some_and(|from| from > now) {
            return Err(BadToken::Expired);
        }
        if claims.role == "service_role" {
            return Err(BadToken::Privileged);
        }
        Ok(Verified { sub: claims.sub, exp: claims.exp as u64 })
    }
}

impl Material {
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(..) => "RS256",
            Self::Es256(_) => "ES256",
        }
    }

    fn signed(&self, message: &[u8], mark: &[u8]) -> bool {
        match self {
            Self::Hs256(key) => hmac::verify(key, message, mark).is_ok(),
            Self::Rs256(n, e) => signature::RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, mark)
                .is_ok(),
            Self::Es256(point) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, mark)
                    .is_ok()
            }
        }
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Keys of other kinds are left out: a set may hold them for others.
fn key(jwk: &Jwk) -> Option<Key> {
    let bytes = |field: &Option<String>| URL_SAFE_NO_PAD.decode(field.as_deref()?).ok();
    let material = match jwk.kty.as_str() {
        "oct" => {
            let secret = bytes(&jwk.k).filter(|secret| secret.len() >= SECRET_BYTES_MIN)?;
            Material::Hs256(hmac::Key::new(hmac::HMAC_SHA256, &secret))
        }
        "RSA" => Material::Rs256(bytes(&jwk.n)?, bytes(&jwk.e)?),
        "EC" if jwk.crv.as_deref() == Some("P-256") => {
            Material::Es256([vec![4], bytes(&jwk.x)?, bytes(&jwk.y)?].concat())
        }
        _ => return None,
    };
    Some(Key { id: jwk.kid.clone(), material })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    const SECRET: &str = "a secret of at least 32 bytes, as RFC 7518 wants";
    const GOOD: &str = r#"{"exp":1000,"role":"authenticated","sub":"ann"}"#;

    fn keys() -> Keys {
        Keys::secret(SECRET).unwrap()
    }

    fn unsigned(head: &str, claims: &str) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims))
    }

    fn hs256(secret: &str, head: &str, claims: &str) -> String {
        let text = unsigned(head, claims);
        let mark = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mark))
    }

    #[test]
    fn only_a_signed_token_with_an_end_and_a_clients_role_gets_in() {
        let head = r#"{"alg":"HS256","typ":"JWT"}"#;
        let check = |token: &str, now, expect: Result<(), BadToken>| {
            assert_eq!(keys().verify(token, now).map(|_| ()), expect, "{token}");
        };
        let good = hs256(SECRET, head, GOOD);
        let verified = keys().verify(&good, 999).unwrap();
        assert_eq!(verified, Verified { sub: Some("ann".to_owned()), exp: 1000 });
        check(&good, 1000, Err(BadToken::Expired));
        check("", 0, Err(BadToken::Missing));
        check("abc", 0, Err(BadToken::Malformed));
        check("a.b.c", 0, Err(BadToken::Malformed));
        check(&"a".repeat(TOKEN_BYTES_MAX + 1), 0, Err(BadToken::Malformed));
        check(&hs256("another secret of at least 32 bytes, too", head, GOOD), 0, Err(BadToken::Signature));
        let other = hs256(SECRET, head, r#"{"exp":1000,"role":"authenticated","sub":"bob"}"#);
        let (said, mark) = (other.rsplit_once('.').unwrap().0, good.rsplit_once('.').unwrap().1);
        check(&format!("{said}.{mark}"), 0, Err(BadToken::Signature));
        check(&format!("{}.", unsigned(r#"{"alg":"none"}"#, GOOD)), 0, Err(BadToken::Algorithm));
        check(&hs256(SECRET, r#"{"alg":"RS256"}"#, GOOD), 0, Err(BadToken::Algorithm));
        check(&hs256(SECRET, r#"{"alg":"HS256","crit":["x"]}"#, GOOD), 0, Err(BadToken::Algorithm));
        check(&hs256(SECRET, head, r#"{"role":"anon"}"#), 0, Err(BadToken::Claims));
        check(&hs256(SECRET, head, r#"{"exp":9}"#), 0, Err(BadToken::Claims));
        check(&hs256(SECRET, head, r#"{"exp":99,"nbf":50,"role":"anon"}"#), 49, Err(BadToken::Expired));
        check(&hs256(SECRET, head, r#"{"exp":9,"role":"service_role"}"#), 0, Err(BadToken::Privileged));
    }

    #[test]
    fn a_key_set_verifies_by_name_and_never_by_another_kind() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let set = format!(
            r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"one","x":"{x}","y":"{y}"}},{{"kty":"OKP"}}]}}"#
        );
        let keys = Keys::set(&set).unwrap();
        let sign = |head: &str| {
            let text = unsigned(head, GOOD);
            let mark = pair.sign(&random, text.as_bytes()).unwrap();
            format!("{text}.{}", URL_SAFE_NO_PAD.encode(mark))
        };
        assert!(keys.verify(&sign(r#"{"alg":"ES256","kid":"one"}"#), 0).is_ok());
        assert!(keys.verify(&sign(r#"{"alg":"ES256"}"#), 0).is_ok());
        assert_eq!(keys.verify(&sign(r#"{"alg":"ES256","kid":"two"}"#), 0), Err(BadToken::Algorithm));
        // The public point as an HMAC secret: the old confusion of algorithms.
        let confused = {
            let text = unsigned(r#"{"alg":"HS256"}"#, GOOD);
            let mark = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &point), text.as_bytes());
            format!("{text}.{}", URL_SAFE_NO_PAD.encode(mark))
        };
        assert_eq!(keys.verify(&confused, 0), Err(BadToken::Algorithm));
        let both = keys.and(self::keys());
        assert!(both.verify(&hs256(SECRET, r#"{"alg":"HS256"}"#, GOOD), 0).is_ok());
        assert_eq!(format!("{both:?}"), "Keys(2)");
    }

    #[test]
    fn what_is_no_key_is_said() {
        assert!(Keys::secret("short").unwrap_err().contains("32"));
        assert!(Keys::set("{}").is_err());
        assert!(Keys::set(r#"{"keys":[{"kty":"OKP"}]}"#).unwrap_err().contains("no key"));
    }
}
