//! The serde visitors of envelope, message and note, which remember where they are so that an error can say it.
//! Written by hand because derived ones neither name a nested field nor keep values out of their messages.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::decode::{Fault, parse_crc, parse_ulid};
use super::{Class, Encoding, Header, Message, Part, SessionNote, To, VERSION};
use crate::session::{Direction, Opcode, SessionNo};

/// Where the reader is: list, index in it, field, and a fault that serde has no word for.
#[derive(Debug, Default)]
pub(super) struct Place {
    list: Cell<Option<(&'static str, usize)>>,
    field: Cell<&'static str>,
    fault: Cell<Option<Fault>>,
}

impl Place {
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Notes the fault; serde's own error text is thrown away.
    fn fail<E: serde::de::Error>(&self, fault: Fault) -> E {
        self.fault.set(Some(fault));
        E::custom("")
    }

    /// Reads the value of `field` into its slot, once.
    fn fill<'de, A, T>(&self, map: &mut A, field: &'static str, slot: &mut Option<T>) -> Result<(), A::Error>
    where
        A: MapAccess<'de>,
        T: Deserialize<'de>,
    {
        self.field.set(field);
        if slot.is_some() {
            return Err(self.fail(Fault::Duplicate));
        }
        *slot = Some(map.next_value()?);
        self.field.set("");
        Ok(())
    }

    fn need<T, E: serde::de::Error>(&self, field: &'static str, slot: Option<T>) -> Result<T, E> {
        slot.ok_or_else(|| {
            self.field.set(field);
            self.fail(Fault::Missing)
        })
    }

    /// A value that parsed as JSON but not as what the field holds.
    fn form<T, E: serde::de::Error>(&self, field: &'static str, value: Option<T>) -> Result<T, E> {
        value.ok_or_else(|| {
            self.field.set(field);
            self.fail(Fault::Invalid)
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.list.get(), self.field.get()) {
            (None, "") => f.write_str("(envelope)"),
            (None, field) => f.write_str(field),
            (Some((list, index)), "") => write!(f, "{list}[{index}]"),
            (Some((list, index)), field) => write!(f, "{list}[{index}].{field}"),
        }
    }
}

type Parts<'a> = (Header<'a>, Vec<RawMessage<'a>>, Vec<RawNote<'a>>);

pub(super) fn read_envelope<'a>(bytes: &'a [u8], place: &Place) -> Result<Parts<'a>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parts = reader.deserialize_map(EnvelopeVisitor { place })?;
    reader.end()?;
    Ok(parts)
}

struct EnvelopeVisitor<'p> {
    place: &'p Place,
}

impl<'de> Visitor<'de> for EnvelopeVisitor<'_> {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = self.place;
        let (mut v, mut src, mut batch, mut at, mut replay) = (None::<u64>, None, None, None, None);
        let (mut messages, mut sessions) = (None, None);
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "v" => place.fill(&mut map, "v", &mut v)?,
                "src" => place.fill(&mut map, "src", &mut src)?,
                "batch" => place.fill(&mut map, "batch", &mut batch)?,
                "at" => place.fill(&mut map, "at", &mut at)?,
                "replay" => place.fill(&mut map, "replay", &mut replay)?,
                "messages" => {
                    fill_list(&mut map, List::<RawMessage<'_>>::new(place, "messages"), &mut messages)?
                }
                "sessions" => {
                    fill_list(&mut map, List::<RawNote<'_>>::new(place, "sessions"), &mut sessions)?
                }
                _ => return Err(place.fail(Fault::Unknown)),
            }
        }
        let version = place.need("v", v)?;
        place.form("v", (version == VERSION).then_some(()))?;
        let Text(src) = place.need("src", src)?;
        let Text(batch) = place.need("batch", batch)?;
        let header = Header {
            src,
            batch: place.form("batch", parse_ulid(&batch))?,
            at_ms: place.need("at", at)?,
            replay: place.need("replay", replay)?,
        };
        Ok((header, place.need("messages", messages)?, sessions.unwrap_or_default()))
    }
}

fn fill_list<'de, A, T>(map: &mut A, list: List<'_, T>, slot: &mut Option<Vec<T>>) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    T: Item<'de>,
{
    list.place.field.set(list.name);
    if slot.is_some() {
        return Err(list.place.fail(Fault::Duplicate));
    }
    *slot = Some(map.next_value_seed(list)?);
    Ok(())
}

/// What stands in a list of the envelope. Two implementors: messages and notes.
pub(super) trait Item<'de>: Sized {
    fn read<A: MapAccess<'de>>(map: A, place: &Place) -> Result<Self, A::Error>;
}

struct List<'p, T> {
    place: &'p Place,
    name: &'static str,
    items: Vec<T>,
}

impl<'p, T> List<'p, T> {
    fn new(place: &'p Place, name: &'static str) -> Self {
        Self { place, name, items: Vec::new() }
    }
}

impl<'de, T: Item<'de>> DeserializeSeed<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Item<'de>> Visitor<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let place = self.place;
        place.field.set("");
        loop {
            place.list.set(Some((self.name, self.items.len())));
            match seq.next_element_seed(ItemSeed { place, kind: std::marker::PhantomData })? {
                Some(item) => self.items.push(item),
                None => break,
            }
        }
        place.list.set(None);
        Ok(self.items)
    }
}

struct ItemSeed<'p, T> {
    place: &'p Place,
    kind: std::marker::PhantomData<T>,
}

impl<'de, T: Item<'de>> DeserializeSeed<'de> for ItemSeed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Item<'de>> Visitor<'de> for ItemSeed<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::read(map, self.place)
    }
}

/// A message whose data is not decoded yet.
pub(super) struct RawMessage<'a> {
    message: Message<'a>,
    enc: Encoding,
    len: u64,
}

impl<'a> RawMessage<'a> {
    /// The message with `data` as its body, whether that is base64, and the stated length.
    pub(super) fn into_message(self) -> (Message<'a>, bool, u64) {
        (self.message, self.enc == Encoding::Base64, self.len)
    }
}

#[derive(Default)]
struct Slots<'a> {
    to: Option<Vec<To>>,
    dir: Option<Direction>,
    op: Option<Opcode>,
    kind: Option<Text<'a>>,
    class: Option<Class>,
    path: Option<Text<'a>>,
    at: Option<u64>,
    id: Option<Text<'a>>,
    part: Option<Part>,
    redacted: Option<bool>,
    enc: Option<Encoding>,
    data: Option<Text<'a>>,
    len: Option<u64>,
    crc: Option<Text<'a>>,
}

impl<'de> Item<'de> for RawMessage<'de> {
    fn read<A: MapAccess<'de>>(mut map: A, place: &Place) -> Result<Self, A::Error> {
        let mut slots = Slots::default();
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "to" => place.fill(&mut map, "to", &mut slots.to)?,
                "dir" => place.fill(&mut map, "dir", &mut slots.dir)?,
                "op" => place.fill(&mut map, "op", &mut slots.op)?,
                "type" => place.fill(&mut map, "type", &mut slots.kind)?,
                "class" => place.fill(&mut map, "class", &mut slots.class)?,
                "path" => place.fill(&mut map, "path", &mut slots.path)?,
                "at" => place.fill(&mut map, "at", &mut slots.at)?,
                "id" => place.fill(&mut map, "id", &mut slots.id)?,
                "part" => place.fill(&mut map, "part", &mut slots.part)?,
                "redacted" => place.fill(&mut map, "redacted", &mut slots.redacted)?,
                "enc" => place.fill(&mut map, "enc", &mut slots.enc)?,
                "data" => place.fill(&mut map, "data", &mut slots.data)?,
                "len" => place.fill(&mut map, "len", &mut slots.len)?,
                "crc" => place.fill(&mut map, "crc", &mut slots.crc)?,
                _ => return Err(place.fail(Fault::Unknown)),
            }
        }
        slots.into_raw(place)
    }
}

impl<'a> Slots<'a> {
    fn into_raw<E: serde::de::Error>(self, place: &Place) -> Result<RawMessage<'a>, E> {
        let to = place.need("to", self.to)?;
        place.form("to", (!to.is_empty()).then_some(()))?;
        if let Some(Part(piece, of)) = self.part {
            place.form("part", (1..=of).contains(&piece).then_some(()))?;
        }
        let Text(crc) = place.need("crc", self.crc)?;
        let message = Message {
            to: Cow::Owned(to),
            dir: place.need("dir", self.dir)?,
            op: place.need("op", self.op)?,
            kind: place.need("type", self.kind)?.0,
            class: place.need("class", self.class)?,
            path: place.need("path", self.path)?.0,
            at_ms: place.need("at", self.at)?,
            id: place.need("id", self.id)?.0,
            body: place.need("data", self.data)?.into_bytes(),
            crc: place.form("crc", parse_crc(&crc))?,
            part: self.part,
            redacted: self.redacted.unwrap_or(false),
        };
        Ok(RawMessage { message, enc: place.need("enc", self.enc)?, len: place.need("len", self.len)? })
    }
}

/// A note about a session as it stands on the wire.
pub(super) struct RawNote<'a>(SessionNote<'a>);

impl<'a> RawNote<'a> {
    pub(super) fn into_note(self) -> SessionNote<'a> {
        self.0
    }
}

impl<'de> Item<'de> for RawNote<'de> {
    fn read<A: MapAccess<'de>>(mut map: A, place: &Place) -> Result<Self, A::Error> {
        let (mut n, mut id, mut path, mut at, mut end) = (None::<SessionNo>, None, None, None, None);
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "n" => place.fill(&mut map, "n", &mut n)?,
                "id" => place.fill(&mut map, "id", &mut id)?,
                "path" => place.fill(&mut map, "path", &mut path)?,
                "at" => place.fill(&mut map, "at", &mut at)?,
                "end" => place.fill(&mut map, "end", &mut end)?,
                _ => return Err(place.fail(Fault::Unknown)),
            }
        }
        let Text(id) = place.need("id", id)?;
        let Text(path) = place.need("path", path)?;
        let session = place.need("n", n)?;
        Ok(Self(SessionNote { session, id, path, at_ms: place.need("at", at)?, end_ms: end }))
    }
}

/// A string that borrows from the input unless it has escapes. (serde's own `Cow` always copies.)
struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    fn into_bytes(self) -> Cow<'a, [u8]> {
        match self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}
