//! Phoenix's array form: `[join_ref, ref, topic, event, payload]`. The object form is plain JSON.
//! (phoenix: `Phoenix.Socket.V2.JSONSerializer`.)

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::json::Name;
use super::{Format, Reading, fits, head};

/// References are counters; longer ones are something else.
const REF_BYTES_MAX: usize = 20;

/// Reads an array. Not `sure` = only its content speaks for Phoenix: then references must be null or digits.
pub(super) fn read(payload: &[u8], sure: bool) -> Option<Reading<'_>> {
    if payload.first() != Some(&b'[') {
        return None;
    }
    let mut found = None;
    let mut reader = serde_json::Deserializer::from_slice(head(payload));
    // As with objects: an error behind the event only says that the payload goes on behind the head.
    let whole = reader.deserialize_seq(Places { sure, found: &mut found }).is_ok();
    let name = found.filter(|_| whole || payload.len() > super::INSPECTED_BYTES_MAX)?;
    Some(Reading { format: Format::Phoenix, name, document: payload })
}

struct Places<'f, 'de> {
    sure: bool,
    found: &'f mut Option<Cow<'de, str>>,
}

impl<'de> Visitor<'de> for Places<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("five places")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for _ in 0..2 {
            let reference = seq.next_element::<Option<&str>>()?.flatten();
            let counts =
                reference.is_none_or(|r| r.len() <= REF_BYTES_MAX && r.bytes().all(|b| b.is_ascii_digit()));
            if !counts && !self.sure {
                return Err(serde::de::Error::custom("no reference"));
            }
        }
        let topic = seq.next_element::<Cow<'_, str>>()?;
        let event = seq.next_element_seed(Name)?.flatten();
        if topic.is_none_or(|topic| topic.is_empty()) {
            return Err(serde::de::Error::custom("no topic"));
        }
        *self.found = event.filter(|event| fits(event) && !event.bytes().all(|b| b.is_ascii_digit()));
        let payload = seq.next_element::<IgnoredAny>()?;
        if payload.is_none() || seq.next_element::<IgnoredAny>()?.is_some() {
            *self.found = None;
        }
        Ok(())
    }
}
