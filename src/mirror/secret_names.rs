//! The JSON key names whose values are secrets: a well-known list and what the configuration adds.
//! Names are compared in lower case, without `-` and `_`, after undoing JSON escapes.

use std::collections::BTreeSet;

use super::event_type::KEYS as EVENT_KEYS;
use super::secret_spans::unpack;

/// Key names whose values are secrets: lower case, without `-` and `_`, sorted.
pub(super) const SECRET_NAMES: [&str; 58] = [
    "accesskey",
    "accesstoken",
    "apikey",
    "apisecret",
    "apitoken",
    "auth",
    "authorization",
    "authtoken",
    "awssecretaccesskey",
    "bearer",
    "bearertoken",
    "cardnumber",
    "clientsecret",
    "confirmpassword",
    "cookie",
    "cookies",
    "credentials",
    "creditcard",
    "creditcardnumber",
    "csrftoken",
    "currentpassword",
    "cvc",
    "cvv",
    "encryptionkey",
    "idtoken",
    "jwt",
    "mfacode",
    "mfatoken",
    "newpassword",
    "oldpassword",
    "otp",
    "otpcode",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "passwordconfirmation",
    "pin",
    "pincode",
    "privatekey",
    "proxyauthorization",
    "pwd",
    "refreshtoken",
    "secret",
    "secretaccesskey",
    "secretkey",
    "servicerolekey",
    "sessiontoken",
    "setcookie",
    "signingkey",
    "ssn",
    "token",
    "totp",
    "userpassword",
    "xaccesstoken",
    "xapikey",
    "xauthtoken",
    "xsrftoken",
];

/// A name, normalised, is at most this long.
const NAME_BYTES_MAX: usize = 32;
/// Unreadable text longer than this is held to be suspect without searching it.
const SEARCHED_BYTES_MAX: usize = 16 * 1024;
/// How many names of one's own can be added.
const EXTRA_NAMES_MAX: usize = 256;

/// The well-known names and one's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SecretNames {
    extra: BTreeSet<Box<[u8]>>,
}

impl SecretNames {
    /// Adds a name; whether it was usable.
    pub(super) fn add(&mut self, name: &[u8]) -> bool {
        let mut buffer = [0; NAME_BYTES_MAX];
        let Some(name) = normalise(name, &mut buffer) else { return false };
        // The event type leaves the process beside the message, so its keys cannot be secrets.
        let usable = !name.is_empty()
            && name.iter().all(u8::is_ascii_alphanumeric)
            && !EVENT_KEYS.iter().any(|key| key.as_bytes() == name)
            && self.extra.len() < EXTRA_NAMES_MAX;
        if usable {
            self.extra.insert(name.into());
        }
        usable
    }

    /// Whether the value of this key (raw bytes between the quotes) is a secret.
    pub(super) fn is_secret(&self, raw_key: &[u8]) -> bool {
        let mut buffer = [0; NAME_BYTES_MAX];
        let mut known = |key: &[u8]| normalise(key, &mut buffer).is_some_and(|name| self.contains(name));
        if raw_key.contains(&b'\\') {
            unpack(raw_key).map_or(true, |(key, _)| known(&key))
        } else {
            known(raw_key)
        }
    }

    /// Whether text that cannot be read could hold a secret: it mentions a name, or may hide one in an escape.
    pub(super) fn is_suspect(&self, text: &[u8]) -> bool {
        if text.len() > SEARCHED_BYTES_MAX || text.windows(2).any(is_code_escape) {
            return true;
        }
        let letters: Vec<u8> =
            text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
        let starts = |at: usize, name: &[u8]| letters.get(at..).is_some_and(|rest| rest.starts_with(name));
        (0..letters.len()).any(|at| {
            SECRET_NAMES.iter().any(|name| starts(at, name.as_bytes()))
                || self.extra.iter().any(|name| starts(at, name))
        })
    }

    fn contains(&self, name: &[u8]) -> bool {
        SECRET_NAMES.binary_search_by(|known| known.as_bytes().cmp(name)).is_ok() || self.extra.contains(name)
    }
}

/// `\u`, and what more lenient parsers than JSON's know: `\x` and octal.
fn is_code_escape(pair: &[u8]) -> bool {
    matches!(pair, [b'\\', b'u' | b'x' | b'0'..=b'7'])
}

/// Lower case without `-` and `_`; `None` if longer than any name.
fn normalise<'b>(key: &[u8], buffer: &'b mut [u8; NAME_BYTES_MAX]) -> Option<&'b [u8]> {
    let mut len = 0;
    for byte in key.iter().filter(|byte| !matches!(byte, b'-' | b'_')) {
        *buffer.get_mut(len)? = byte.to_ascii_lowercase();
        len += 1;
    }
    buffer.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_normalised_and_sorted_without_repetition() {
        assert!(SECRET_NAMES.is_sorted_by(|a, b| a < b));
        for name in SECRET_NAMES {
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            assert!(name.len() <= NAME_BYTES_MAX && plain, "{name}");
        }
    }
}
