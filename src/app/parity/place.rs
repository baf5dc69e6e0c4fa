//! Where in an upgrade a user's Supabase token is. Found there, it is kept; nothing else of the request is.

use std::str::FromStr;

use http::HeaderMap;
use http::header::{COOKIE, HeaderName};

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The first field of this name, without `Bearer `.
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(String),
    /// The first parameter of this name.
    Query(String),
}

impl Place {
    /// The token, if there is something.
    pub(super) fn find(&self, headers: &HeaderMap, query: Option<&str>) -> Option<String> {
        let found = match self {
            Self::Header(name) => bearer(headers.get(name)?.to_str().ok()?).to_owned(),
            Self::Cookie(name) => cookie(headers, name)?.to_owned(),
            Self::Query(name) => {
                let mut pairs = url::form_urlencoded::parse(query?.as_bytes());
                bearer(&pairs.find(|(key, _)| key == name)?.1).to_owned()
            }
        };
        Some(found).filter(|token| !token.is_empty())
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let example = "header:authorization, cookie:NAME or query:NAME";
            format!("parity.token: {text:?} is no place for a token; use {example}")
        };
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let name = name.trim();
        match kind {
            _ if name.is_empty() => Err(wrong()),
            "header" => name.parse().map(Self::Header).map_err(|_| wrong()),
            "cookie" => Ok(Self::Cookie(name.to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

/// Without the scheme, whatever its case.
fn bearer(value: &str) -> &str {
    match value.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => value.trim(),
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers.get_all(COOKIE).into_iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_where_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "bearer  a.b.c".parse().unwrap());
        headers.insert("x-token", "d.e.f".parse().unwrap());
        headers.append(COOKIE, "x=1; sb=\"g.h.i\"".parse().unwrap());
        headers.append(COOKIE, "late = j".parse().unwrap());
        let of = |place: &str| place.parse::<Place>().unwrap().find(&headers, Some("q=k%2El&empty="));
        for (place, token) in [
            ("header:Authorization", Some("a.b.c")),
            ("header:x-token", Some("d.e.f")),
            ("header:none", None),
            ("cookie:sb", Some("g.h.i")),
            ("cookie:late", Some("j")),
            ("cookie:s", None),
            ("query:q", Some("k.l")),
            ("query:empty", None),
            ("query:none", None),
        ] {
            assert_eq!(of(place).as_deref(), token, "{place}");
        }
    }

    #[test]
    fn a_wrong_place_is_told() {
        for text in ["", "authorization", "header:", "header:a b", "jwt:sub", "ip", "cookie: "] {
            let error = text.parse::<Place>().unwrap_err();
            assert!(error.starts_with("parity.token") && error.contains("cookie:NAME"), "{error}");
        }
    }
}
