//! Names in JSON: the value of the first well-known key at the top level of an object, and the scalars that other
//! readers ask for.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Format, Reading, fits, head};

/// The keys that may hold the event type, most telling first. Top level only.
pub const KEYS: [&str; 8] = ["event", "type", "kind", "op", "action", "method", "command", "cmd"];

/// Reads a JSON object, if the message is one and names its type. Text and integers count as names; a key behind
/// the first [`INSPECTED_BYTES_MAX`](super::INSPECTED_BYTES_MAX) bytes is not seen.
pub(super) fn read(payload: &[u8]) -> Option<Reading<'_>> {
    let name = named_by(payload, &KEYS)?;
    Some(Reading { format: Format::Json, name, document: payload })
}

/// The value of the first of `keys`, in their order, that an object has at its top level and that can be a name.
pub(super) fn named_by<'a>(payload: &'a [u8], keys: &[&str]) -> Option<Cow<'a, str>> {
    values_of(payload, keys).into_iter().flatten().next()
}

/// The values of `keys` (at most [`KEYS`]' length) at the top level of an object.
pub(super) fn values_of<'a>(payload: &'a [u8], keys: &[&str]) -> [Option<Cow<'a, str>>; KEYS.len()] {
    let head = head(payload);
    let mut found = [const { None }; KEYS.len()];
    if head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let mut reader = serde_json::Deserializer::from_slice(head);
        // An error only says that the object goes on behind the head, or is none: what was found before stands.
        drop(reader.deserialize_map(Finder { keys, found: &mut found }));
    }
    found
}

struct Finder<'f, 'de> {
    keys: &'f [&'f str],
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
        while let Some(place) = map.next_key_seed(KeyPlace(self.keys))? {
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

/// Which of these keys a key is.
struct KeyPlace<'k>(&'k [&'k str]);

impl<'de> DeserializeSeed<'de> for KeyPlace<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyPlace<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == key))
    }
}

/// A value that can name a type, else `None`.
pub(super) struct Name;

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
