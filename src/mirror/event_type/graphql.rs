//! graphql-transport-ws and the older graphql-ws: `{"id":…,"type":"next","payload":{"data":{"priceUpdated":…}}}`.
//! Chosen by subprotocol only: by content it is plain JSON, and named by its `type` then.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Format, Reading, fits, head, json};

/// A GraphQL name (GraphQL specification, section 2.1.9) is a label only up to this length.
const FIELD_BYTES_MAX: usize = 40;

/// Reads a message that has a type; with the operation's name, else the first field of the data.
pub(super) fn read(payload: &[u8]) -> Option<Reading<'_>> {
    let kind = json::named_by(payload, &["type"])?;
    let mut detail = None;
    let mut reader = serde_json::Deserializer::from_slice(head(payload));
    // An error only says that the object goes on behind the head: what was found before stands.
    drop(reader.deserialize_map(Level { keys: &["payload", "data"], detail: &mut detail }));
    let full = detail.map(|detail| format!("{kind}:{detail}")).filter(|name| fits(name));
    let name = full.map_or(kind, Cow::Owned);
    Some(Reading { format: Format::GraphqlWs, name, document: payload })
}

/// One level of the object: the keys that still lead down.
struct Level<'k, 'd> {
    keys: &'k [&'static str],
    detail: &'d mut Option<String>,
}

impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.keys {
                [] => {
                    if self.detail.is_none() && is_name(&key) {
                        *self.detail = Some(key.into_owned());
                    }
                    map.next_value::<IgnoredAny>()?;
                }
                [_] if key == "operationName" => {
                    let operation = map.next_value::<Scalar<'de>>()?.0;
                    *self.detail = operation.filter(|name| is_name(name)).map(Cow::into_owned);
                }
                [next, rest @ ..] if key == *next => {
                    map.next_value_seed(Down(Level { keys: rest, detail: &mut *self.detail }))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

struct Down<'k, 'd>(Level<'k, 'd>);

impl<'de> serde::de::DeserializeSeed<'de> for Down<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self.0)
    }
}

struct Scalar<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::DeserializeSeed::deserialize(json::Name, deserializer).map(Self)
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && text.len() <= FIELD_BYTES_MAX && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
