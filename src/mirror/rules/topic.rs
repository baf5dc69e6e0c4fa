//! Topics of the `events` format: text with `{type}`, `{path}` and `{/pointer}`.

use super::{PATTERN_BYTES_MAX, Pointer};

/// A value longer than this makes no topic.
const VALUE_BYTES_MAX: usize = 64;
/// The topics of crossfade's own batches begin so; nothing else may.
const RESERVED: [&str; 2] = ["crossfade:", "realtime:"];

/// A topic, or how to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Kind,
    Path,
    Value(Pointer),
}

impl Topic {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, as a phrase.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(format!("expected 1 to {PATTERN_BYTES_MAX} bytes"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or("a { without its }")?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(match name {
                "type" => Piece::Kind,
                "path" => Piece::Path,
                _ => {
                    let pointer = Some(name).filter(|name| name.starts_with('/')).and_then(Pointer::parse);
                    Piece::Value(pointer.ok_or_else(|| {
                        format!("{{{name}}} is unknown; expected {{type}}, {{path}} or {{/pointer}}")
                    })?)
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        match pieces.first() {
            Some(Piece::Text(first)) if !RESERVED.iter().any(|reserved| first.starts_with(reserved)) => {
                Ok(Self(pieces))
            }
            Some(Piece::Text(_)) => Err("begins like crossfade's own topics".to_owned()),
            _ => {
                Err("begins with a placeholder; a fixed beginning keeps it apart from other topics"
                    .to_owned())
            }
        }
    }

    /// Whether messages decide where they go: a topic for each user, room or thing.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Value(_)))
    }

    /// The topic, where it is the same for every message.
    #[must_use]
    pub fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The topic of one message. `None` = a value is missing or cannot be part of a topic.
    #[must_use]
    pub fn render(&self, kind: &str, path: &str, document: &[u8]) -> Option<String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Kind => out.push_str(&clean(kind)),
                Piece::Path => out.push_str(&clean(path.trim_matches('/'))),
                Piece::Value(pointer) => {
                    let value = pointer.texts(document).into_iter().next().filter(|value| is_value(value))?;
                    out.push_str(&value);
                }
            }
        }
        Some(out)
    }
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-')
}

fn is_value(value: &str) -> bool {
    !value.is_empty() && value.len() <= VALUE_BYTES_MAX && value.chars().all(is_part)
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if is_part(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_message_cannot_leave_its_place() {
        let topic = Topic::parse("user:{/user/id}:{type}").unwrap();
        assert!(topic.is_personal());
        let render = |document: &str| topic.render("price up", "/ws", document.as_bytes());
        assert_eq!(render(r#"{"user":{"id":42}}"#).unwrap(), "user:42:price_up");
        for id in [r#""1:admin""#, r#""""#, r#""a/b""#, "{}", "null]"] {
            assert_eq!(render(&format!(r#"{{"user":{{"id":{id}}}}}"#)), None, "{id}");
        }
        assert_eq!(render("{}"), None);
        let fixed = Topic::parse("prices:{path}").unwrap();
        assert!(!fixed.is_personal());
        assert_eq!(fixed.render("x", "/ws/eu/", b"").unwrap(), "prices:ws_eu");
        for (wrong, part) in [
            ("", "1 to"),
            ("{type}", "placeholder"),
            ("a{", "without"),
            ("a{user}", "{user} is unknown"),
            ("crossfade:x", "own topics"),
        ] {
            assert!(Topic::parse(wrong).unwrap_err().contains(part), "{wrong}");
        }
    }
}
