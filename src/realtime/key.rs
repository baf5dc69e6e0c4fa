//! What kind of key or token a text is, and until when it is good.
//! JWTs are looked into but not verified: only the server holds the secret. `Debug` and `Display` never show one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// A Supabase API key or an access token.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    secret: String,
    kind: KeyKind,
}

/// What a key can do, as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A JWT with its claims.
    Jwt(Claims),
    /// `sb_publishable_…`: the hosted gateway exchanges it for an `anon` JWT. A bare server refuses it.
    Publishable,
    /// `sb_secret_…`: the hosted gateway exchanges it for a `service_role` JWT. A bare server refuses it.
    Secret,
    /// Neither: the server would answer 401.
    Malformed(Malformed),
}

/// The claims that Realtime looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The database role.
    pub role: Role,
    /// Expiry in seconds since 1970.
    pub exp: u64,
}

/// The database role of a JWT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// `anon`: may be given to browsers.
    Anon,
    /// `authenticated`: a signed-in user.
    Authenticated,
    /// `service_role`: bypasses every policy; never give it to a client.
    ServiceRole,
    /// Another role of the project, for which policies decide.
    Other(String),
}

impl Role {
    /// The role's name in the database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Anon => "anon",
            Self::Authenticated => "authenticated",
            Self::ServiceRole => "service_role",
            Self::Other(name) => name,
        }
    }
}

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Nothing in it.
    Empty,
    /// White space or control characters inside, as from a broken secret file.
    Whitespace,
    /// Not three parts of base64url with JSON in the middle.
    NotJwt,
    /// A JWT without `role`: the server refuses it.
    NoRole,
    /// A JWT without a numeric `exp`: the server refuses it.
    NoExp,
}

impl Malformed {
    /// What to change.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Empty => "the key is empty; copy it from the project's API settings",
            Self::Whitespace => "the key has blanks inside; copy it again as one line",
            Self::NotJwt => {
                "the key is neither a JWT nor an sb_ key; copy it from the project's API settings"
            }
            Self::NoRole => "the token has no role claim; have its issuer add one",
            Self::NoExp => "the token has no numeric exp claim; have its issuer add one",
        }
    }
}

impl ApiKey {
    /// Reads a key; leading and trailing white space is dropped. Never fails: see [`KeyKind::Malformed`].
    #[must_use]
    pub fn new(text: &str) -> Self {
        let secret = text.trim().to_owned();
        let kind = kind(&secret);
        Self { secret, kind }
    }

    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> &KeyKind {
        &self.kind
    }

    /// The text itself, for the wire only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.secret
    }

    /// The role that Realtime will see.
    #[must_use]
    pub fn role(&self) -> Option<&Role> {
        match &self.kind {
            KeyKind::Jwt(claims) => Some(&claims.role),
            KeyKind::Publishable => Some(&Role::Anon),
            KeyKind::Secret => Some(&Role::ServiceRole),
            KeyKind::Malformed(_) => None,
        }
    }

    /// Expiry of a JWT, in seconds since 1970.
    #[must_use]
    pub const fn exp(&self) -> Option<u64> {
        match &self.kind {
            KeyKind::Jwt(claims) => Some(claims.exp),
            _ => None,
        }
    }

    /// Whether the gateway exchanges it for a JWT of its own. In a join such a key is ignored by the server.
    #[must_use]
    pub const fn is_gateway_key(&self) -> bool {
        matches!(self.kind, KeyKind::Publishable | KeyKind::Secret)
    }

    /// Whether it reaches past every policy and so must never be given to a client.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        self.role() == Some(&Role::ServiceRole)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({self})")
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            KeyKind::Jwt(claims) => write!(f, "jwt:{}", claims.role.as_str()),
            KeyKind::Publishable => f.write_str("sb_publishable_***"),
            KeyKind::Secret => f.write_str("sb_secret_***"),
            KeyKind::Malformed(_) => f.write_str("malformed"),
        }
    }
}

fn kind(secret: &str) -> KeyKind {
    if secret.is_empty() {
        KeyKind::Malformed(Malformed::Empty)
    } else if secret.chars().any(|c| c.is_whitespace() || c.is_control()) {
        KeyKind::Malformed(Malformed::Whitespace)
    } else if secret.starts_with("sb_publishable_") {
        KeyKind::Publishable
    } else if secret.starts_with("sb_secret_") {
        KeyKind::Secret
    } else {
        claims(secret).map_or_else(KeyKind::Malformed, KeyKind::Jwt)
    }
}

fn claims(jwt: &str) -> Result<Claims, Malformed> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        role: serde_json::Value,
        #[serde(default)]
        exp: serde_json::Value,
    }
    let mut parts = jwt.split('.');
    let (Some(_), Some(body), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed::NotJwt);
    };
    let json = URL_SAFE_NO_PAD.decode(body.trim_end_matches('=')).map_err(|_| Malformed::NotJwt)?;
    let body: Body = serde_json::from_slice(&json).map_err(|_| Malformed::NotJwt)?;
    let role = match body.role.as_str().ok_or(Malformed::NoRole)? {
        "anon" => Role::Anon,
        "authenticated" => Role::Authenticated,
        "service_role" => Role::ServiceRole,
        other => Role::Other(other.to_owned()),
    };
    let exp = body.exp.as_u64().or_else(|| body.exp.as_f64().filter(|exp| *exp >= 0.0).map(|exp| exp as u64));
    Ok(Claims { role, exp: exp.ok_or(Malformed::NoExp)? })
}

/// A token of the given claims, unsigned: for tests.
#[cfg(test)]
pub(crate) fn unsigned(role: &str, exp: u64) -> ApiKey {
    let body = URL_SAFE_NO_PAD.encode(format!("{{\"role\":\"{role}\",\"exp\":{exp}}}"));
    ApiKey::new(&format!("eyJhbGciOiJIUzI1NiJ9.{body}.c2ln"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jwt(body: &str) -> ApiKey {
        ApiKey::new(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(body)))
    }

    #[test]
    fn kinds_are_told_apart() {
        for (key, role, exp) in [
            (unsigned("anon", 5), Some("anon"), Some(5)),
            (unsigned("service_role", 6), Some("service_role"), Some(6)),
            (unsigned("authenticated", 7), Some("authenticated"), Some(7)),
            (unsigned("mirror", 8), Some("mirror"), Some(8)),
            (jwt("{\"role\":\"anon\",\"exp\":17.5}"), Some("anon"), Some(17)),
            (ApiKey::new(" sb_publishable_abc\n"), Some("anon"), None),
            (ApiKey::new("sb_secret_abc"), Some("service_role"), None),
            (ApiKey::new("nonsense"), None, None),
        ] {
            assert_eq!(key.role().map(Role::as_str), role, "{key}");
            assert_eq!(key.exp(), exp, "{key}");
        }
    }

    #[test]
    fn malformed_ones_say_why() {
        for (key, why) in [
            (ApiKey::new(" \n"), Malformed::Empty),
            (ApiKey::new("sb_secret_a b"), Malformed::Whitespace),
            (ApiKey::new("a.b"), Malformed::NotJwt),
            (ApiKey::new("a.b.c.d"), Malformed::NotJwt),
            (jwt("{\"exp\":5}"), Malformed::NoRole),
            (jwt("{\"role\":\"anon\"}"), Malformed::NoExp),
            (jwt("{\"role\":\"anon\",\"exp\":\"5\"}"), Malformed::NoExp),
        ] {
            assert_eq!(key.kind(), &KeyKind::Malformed(why));
            assert!(!why.advice().is_empty());
        }
    }

    #[test]
    fn privileged_keys_are_known_and_none_is_shown() {
        assert!(ApiKey::new("sb_secret_hush").is_privileged());
        assert!(unsigned("service_role", 1).is_privileged());
        assert!(!ApiKey::new("sb_publishable_hush").is_privileged());
        let key = ApiKey::new("sb_secret_hush");
        assert!(!format!("{key} {key:?} {:?}", key.kind()).contains("hush"));
        let token = unsigned("anon", 1);
        assert!(!format!("{token} {token:?}").contains(token.reveal()));
    }

    proptest! {
        #[test]
        fn no_text_panics_or_is_shown(text in "\\PC{0,60}|[a-zA-Z0-9_-]{0,9}\\.[a-zA-Z0-9_-]{0,30}\\.x") {
            let key = ApiKey::new(&text);
            prop_assert_eq!(key.reveal(), text.trim());
            let shown = format!("{:?}", key);
            prop_assert!(text.trim().len() < 20 || !shown.contains(text.trim()));
        }
    }
}
