//! JSON pointers (RFC 6901) into the bytes of a message, without building a document. `*` stands for every key or index.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::PATTERN_BYTES_MAX;

/// A message can have more hits than this only through `*`; in conditions and topics the rest does not matter.
const TEXTS_MAX: usize = 64;
/// How often JSON packed into a JSON string is looked into.
const LEVELS_MAX: u8 = 2;

/// Where in a document a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Box<[Box<str>]>);

/// The bytes are not one JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Pointer {
    /// Reads a pointer: empty for the whole document, else `/` before each key or index. `None` = it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > PATTERN_BYTES_MAX {
            return None;
        }
        let Some(tokens) = text.strip_prefix('/') else {
            return text.is_empty().then(|| Self(Box::new([])));
        };
        let token = |token: &str| {
            let escapes = token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            escapes.then(|| token.replace("~1", "/").replace("~0", "~").into_boxed_str())
        };
        Some(Self(tokens.split('/').map(token).collect::<Option<_>>()?))
    }

    /// The values as text, for conditions: strings without quotes and escapes, the rest as written. JSON packed into
    /// a string is looked into.
    #[must_use]
    pub fn texts(&self, document: &[u8]) -> Vec<String> {
        let mut texts = Vec::new();
        texts_at(document, &self.0, &mut texts, 0);
        texts
    }

    /// Where the values stand, quotes included. Where the pointer leads into JSON packed into a string, the whole
    /// string is meant.
    ///
    /// # Errors
    /// [`Unreadable`]: not one JSON document.
    pub fn spans(&self, document: &[u8]) -> Result<Vec<Range<usize>>, Unreadable> {
        let start = document.as_ptr() as usize;
        let found = hits(document, &self.0)?.into_iter().filter(|hit| hit.rest.is_empty() || hit.is_packed());
        let spans = found.map(|hit| {
            let at = (hit.raw.get().as_ptr() as usize).saturating_sub(start);
            at..at + hit.raw.get().len()
        });
        Ok(spans.collect())
    }
}

fn texts_at(document: &[u8], tokens: &[Box<str>], texts: &mut Vec<String>, level: u8) {
    for hit in hits(document, tokens).unwrap_or_default() {
        if texts.len() >= TEXTS_MAX {
            return;
        }
        let text = serde_json::from_str::<Cow<'_, str>>(hit.raw.get());
        match (hit.rest, text) {
            ([], Ok(text)) => texts.push(text.into_owned()),
            ([], Err(_)) => texts.push(hit.raw.get().to_owned()),
            (rest, Ok(packed)) if level < LEVELS_MAX => texts_at(packed.as_bytes(), rest, texts, level + 1),
            _ => {}
        }
    }
}

/// How far a pointer got, and what is there.
struct Hit<'a, 't> {
    raw: &'a RawValue,
    rest: &'t [Box<str>],
}

impl Hit<'_, '_> {
    /// A string in which JSON may be packed.
    fn is_packed(&self) -> bool {
        let text = serde_json::from_str::<Cow<'_, str>>(self.raw.get());
        text.is_ok_and(|text| text.trim_start().starts_with(['{', '[', '"']))
    }
}

fn hits<'a, 't>(document: &'a [u8], tokens: &'t [Box<str>]) -> Result<Vec<Hit<'a, 't>>, Unreadable> {
    let mut found = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(document);
    let seek = Seek { tokens, found: &mut found };
    seek.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|_| Unreadable)?;
    Ok(found)
}

struct Seek<'f, 'a, 't> {
    tokens: &'t [Box<str>],
    found: &'f mut Vec<Hit<'a, 't>>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_, 'de, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let raw = <&'de RawValue as serde::Deserialize>::deserialize(deserializer)?;
        let is_inner = raw.get().starts_with(['{', '[']);
        if self.tokens.is_empty() || raw.get().starts_with('"') {
            self.found.push(Hit { raw, rest: self.tokens });
        } else if is_inner {
            let mut inside = serde_json::Deserializer::from_str(raw.get());
            inside.deserialize_any(Level(self)).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

struct Level<'f, 'a, 't>(Seek<'f, 'a, 't>);

impl<'t> Level<'_, '_, 't> {
    /// The tokens behind this key or index, if it is on the way.
    fn behind(&self, key: &str) -> Option<&'t [Box<str>]> {
        let (first, rest) = self.0.tokens.split_first()?;
        (**first == *key || **first == *"*").then_some(rest)
    }
}

impl<'de> Visitor<'de> for Level<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.behind(&key) {
                Some(tokens) => map.next_value_seed(Seek { tokens, found: &mut *self.0.found })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0usize.. {
            let more = match self.behind(&index.to_string()) {
                Some(tokens) => seq.next_element_seed(Seek { tokens, found: &mut *self.0.found })?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_to_values_by_key_index_star_and_through_packed_json() {
        let document = br#" {"a":{"b~/c":[1,"two",{"x":true}]},"a2":null,"p":"{\"q\":\"r\"}","s":"plain"} "#;
        for (pointer, texts) in [
            ("/a/b~0~1c/0", vec!["1"]),
            ("/a/b~0~1c/1", vec!["two"]),
            ("/a/b~0~1c/2/x", vec!["true"]),
            ("/a/*/*", vec!["1", "two", r#"{"x":true}"#]),
            ("/a2", vec!["null"]),
            ("/p/q", vec!["r"]),
            ("/s", vec!["plain"]),
            ("/s/t", vec![]),
            ("/none", vec![]),
        ] {
            assert_eq!(Pointer::parse(pointer).unwrap().texts(document), texts, "{pointer}");
        }
        let spans = |pointer: &str| {
            let spans = Pointer::parse(pointer).unwrap().spans(document).unwrap();
            spans.into_iter().map(|span| std::str::from_utf8(&document[span]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(spans("/a/b~0~1c/1"), ["\"two\""]);
        assert_eq!(spans("/p/q"), [r#""{\"q\":\"r\"}""#], "a pointer into packed JSON means all of it");
        assert_eq!(spans("/s/t"), [""; 0]);
        assert_eq!(Pointer::parse("/a").unwrap().spans(b"{\"a\":1} trailing"), Err(Unreadable));
        for wrong in ["a", "/a~2", "/a~"] {
            assert_eq!(Pointer::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Pointer::parse("").unwrap().texts(b"\"x\""), ["x"]);
    }
}
