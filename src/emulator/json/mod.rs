//! JSON as Realtime decodes and encodes it: first duplicate key stays, keys come out sorted, `1e3` becomes `1.0e3`,
//! integers of any size survive. A general JSON crate differs in each of these, and clients see the difference
//! (recording 02, last push), so the emulator carries its own small codec.

use std::collections::BTreeMap;

mod float;
mod parse;

#[cfg(test)]
mod tests;

pub(super) use parse::NotJson;

/// One JSON value. Integers keep their digits; maps are sorted by key bytes, which is what Erlang does up to 32 keys
/// (beyond that the real order is a hash order no client may rely on).
#[derive(Clone, PartialEq)]
pub(super) enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Digits with an optional minus, never `-0`.
    Int(String),
    /// A finite float.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object; of duplicate keys the first stays.
    Map(BTreeMap<String, Json>),
}

impl Json {
    /// Decodes one whole document.
    ///
    /// # Errors
    /// [`NotJson`] when the text is not one JSON value or nests deeper than [`DEPTH_MAX`].
    pub(super) fn parse(text: &str) -> Result<Json, NotJson> {
        parse::document(text)
    }

    /// A string value, for callers that build messages.
    #[must_use]
    pub(super) fn text(value: &str) -> Json {
        Json::Text(value.to_owned())
    }

    /// The text of a string value.
    #[must_use]
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The member `key` of an object.
    #[must_use]
    pub(super) fn member(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// Encodes the value the way Realtime would.
    #[must_use]
    pub(super) fn encode(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Appends the encoded value.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Int(digits) => out.push_str(digits),
            Json::Float(value) => float::write(*value, out),
            Json::Text(text) => write_text(text, out),
            Json::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Map(map) => {
                out.push('{');
                write_members(map, false, out);
                out.push('}');
            }
        }
    }

    /// Size in bytes of the value in Erlang's external term format: the measure of Realtime's payload limit.
    #[must_use]
    pub(super) fn term_size(&self) -> usize {
        1 + self.inner_size()
    }

    fn inner_size(&self) -> usize {
        match self {
            Json::Null => 5,
            Json::Bool(true) => 6,
            Json::Bool(false) => 7,
            Json::Int(digits) => match digits.parse::<i64>() {
                Ok(0..=255) => 2,
                Ok(value) if i32::try_from(value).is_ok() => 5,
                _ => 3 + digits.len().div_ceil(2),
            },
            Json::Float(_) => 9,
            Json::Text(text) => 5 + text.len(),
            Json::List(items) if items.is_empty() => 1,
            Json::List(items) => 6 + items.iter().map(Json::inner_size).sum::<usize>(),
            Json::Map(map) => {
                5 + map.iter().map(|(key, value)| 5 + key.len() + value.inner_size()).sum::<usize>()
            }
        }
    }
}

/// Appends `"key":value` pairs with commas; `continued` says that members stand before these.
pub(super) fn write_members(map: &BTreeMap<String, Json>, continued: bool, out: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        if continued || index > 0 {
            out.push(',');
        }
        write_text(key, out);
        out.push(':');
        value.write(out);
    }
}

/// Appends a JSON string: only quotes, backslashes and control characters are escaped, as Realtime does.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(plain..index).unwrap_or_default());
        plain = index + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            _ => out.push_str(&format!("\\u{byte:04X}")),
        }
    }
    out.push_str(text.get(plain..).unwrap_or_default());
    out.push('"');
}

/// Shows the kind only: payloads never reach a log through `Debug`.
impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Int(_) | Json::Float(_) => "number",
            Json::Text(_) => "string",
            Json::List(_) => "array",
            Json::Map(_) => "object",
        })
    }
}
