//! The event type of a message: the value of the first well-known key of a JSON object, else `text` or `binary`.
//! Looks at the first 4 KiB only and never builds a document: the side thread does this for every message.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::session::Opcode;

/// The keys that may hold the event type, most telling first. Top level only.
pub const KEYS: [&str; 5] = ["event", "type", "kind", "op", "action"];
/// How many bytes of a message are looked at.
pub const INSPECTED_BYTES_MAX: usize = 4096;
/// Longer names are no names: the next key, or the opcode, names the type.
pub const NAME_BYTES_MAX: usize = 64;

/// A shared event type name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// A type of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for EventType {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for EventType {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventType {
    /// The name is a user's text (invariant 7).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventType({} bytes)", self.len())
    }
}

/// The name of a message's event type. Text and integers count as names; a key behind the first
/// [`INSPECTED_BYTES_MAX`] bytes is not seen.
#[must_use]
pub fn event_type(op: Opcode, payload: &[u8]) -> Cow<'_, str> {
    let head = payload.get(..INSPECTED_BYTES_MAX).unwrap_or(payload);
    let mut found: [Option<Cow<'_, str>>; KEYS.len()] = [const { None }; KEYS.len()];
    if head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let mut reader = serde_json::Deserializer::from_slice(head);
        // An error only says that the object goes on behind the head, or is none: what was found before stands.
        drop(reader.deserialize_map(Finder { found: &mut found }));
    }
    found.into_iter().flatten().next().unwrap_or(Cow::Borrowed(match op {
        Opcode::Text => "text",
        Opcode::Binary => "binary",
    }))
}

struct Finder<'f, 'de> {
    found: &'f mut [Option<Cow<'de, str>>; KEYS.len()],
}

impl<'de> Visitor<'de> for Finder<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        // A value counts once the parser got past it: a number at the end of the head may be half a number.
        let mut pending = None;
        while let Some(place) = map.next_key_seed(KeyPlace)? {
            self.keep(pending.take());
            let Some(place) = place else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            pending = map.next_value_seed(Name)?.map(|name| (place, name));
        }
        self.keep(pending);
        Ok(())
    }
}

impl<'de> Finder<'_, 'de> {
    fn keep(&mut self, name: Option<(usize, Cow<'de, str>)>) {
        if let Some((slot, name)) = name.and_then(|(place, name)| Some((self.found.get_mut(place)?, name))) {
            slot.get_or_insert(name);
        }
    }
}

/// Which of [`KEYS`] a key is.
struct KeyPlace;

impl<'de> DeserializeSeed<'de> for KeyPlace {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyPlace {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(KEYS.iter().position(|known| *known == key))
    }
}

/// A value that can name a type, else `None`.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(fits(name).then_some(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(fits(name).then(|| Cow::Owned(name.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

fn fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(payload: &str, expect: &str) {
        assert_eq!(event_type(Opcode::Text, payload.as_bytes()), expect, "{payload}");
    }

    #[test]
    fn the_first_of_the_ordered_keys_names_the_type() {
        check(r#"{"type":"t","event":"e"}"#, "e");
        check(r#" {"action":"a","op":"o"}"#, "o");
        check(r#"{"kind":"k","action":"a"}"#, "k");
        check(r#"{"op":10,"t":null}"#, "10");
        check(r#"{"op":-1}"#, "-1");
        check(r#"{"ev\u0065nt":"caf\u00e9"}"#, "café");
    }

    #[test]
    fn values_that_are_no_names_leave_it_to_the_next_key() {
        for value in [r#"{"type":"x"}"#, "[1,[2]]", "null", "true", "1.5", r#""""#] {
            check(&format!(r#"{{"event":{value},"type":"t"}}"#), "t");
        }
        check(&format!(r#"{{"event":"{}","type":"t"}}"#, "x".repeat(65)), "t");
        check(r#"{"data":{"type":"inner"}}"#, "text");
    }

    #[test]
    fn everything_else_is_named_by_its_opcode() {
        for payload in ["", "hello", "[1]", "\"event\"", "{", "{}", "{]"] {
            check(payload, "text");
        }
        assert_eq!(event_type(Opcode::Binary, b"\xff\x00"), "binary");
        assert_eq!(event_type(Opcode::Binary, br#"{"event":"e"}"#), "e");
    }

    #[test]
    fn only_the_head_is_looked_at() {
        let pad = "x".repeat(INSPECTED_BYTES_MAX);
        check(&format!(r#"{{"type":"seen","pad":"{pad}","event":"late"}}"#), "seen");
        check(&format!(r#"{{"pad":"{pad}","event":"late"}}"#), "text");
        let cut = format!(r#"{{"pad":"{}","op":123456}}"#, "x".repeat(INSPECTED_BYTES_MAX - 19));
        check(&cut, "text");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_bounded_type(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(event_type(Opcode::Binary, &payload).len() <= NAME_BYTES_MAX);
        }
    }
}
