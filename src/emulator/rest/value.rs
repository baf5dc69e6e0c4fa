//! Values of columns: read from JSON or from a query, compared, and shown, as PostgreSQL does for the types of
//! [`Kind`], with its error codes. Texts compare by bytes (the "C" collation).

use super::super::json::{Json, write_text};
use super::error::RestError;
use super::schema::Kind;
use super::{list, time};
use std::cmp::Ordering;

/// Reads a value for a column. Null stays null.
///
/// # Errors
/// PostgreSQL's `22P02`, `22003`, `22007`, `22P05`.
pub(super) fn read(kind: Kind, value: &Json) -> Result<Json, RestError> {
    if *value == Json::Null {
        return Ok(Json::Null);
    }
    if matches!(kind, Kind::Json | Kind::Jsonb) {
        return if holds_nul(value) { Err(nul()) } else { Ok(value.clone()) };
    }
    let text = match (kind, value) {
        (_, Json::Text(text)) => text.clone(),
        (Kind::Array(of), other) => return list::read(*of, other),
        (_, other) => other.encode(),
    };
    if text.contains('\0') {
        return Err(nul());
    }
    read_text(kind, &text)
}

/// Reads a value that a statement of this time puts into a column: `now` is that time.
///
/// # Errors
/// As [`read`].
pub(super) fn write(kind: Kind, value: &Json, micros: i64) -> Result<Json, RestError> {
    match value {
        Json::Text(text) if kind == Kind::Timestamptz && text.trim().eq_ignore_ascii_case("now") => {
            Ok(Json::Text(time::show(micros)))
        }
        other => read(kind, other),
    }
}

/// Reads a value as it stands in a query.
///
/// # Errors
/// As [`read`].
pub(in super::super) fn read_text(kind: Kind, text: &str) -> Result<Json, RestError> {
    let invalid = |code: &str| {
        RestError::new(code, format!("invalid input syntax for type {}: \"{text}\"", kind.spoken()))
    };
    let trimmed = text.trim();
    match kind {
        Kind::Text => Ok(Json::text(text)),
        Kind::Uuid => uuid(trimmed).map(Json::Text).ok_or_else(|| invalid("22P02")),
        Kind::Int2 | Kind::Int4 | Kind::Int8 => {
            let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid("22P02"));
            }
            let (least, most) = match kind {
                Kind::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
                Kind::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                _ => (i64::MIN, i64::MAX),
            };
            let found = trimmed.parse::<i64>().ok().filter(|value| (least..=most).contains(value));
            found.map(|value| Json::Int(value.to_string())).ok_or_else(|| {
                RestError::new(
                    "22003",
                    format!("value \"{text}\" is out of range for type {}", kind.spoken()),
                )
            })
        }
        Kind::Numeric | Kind::Float8 => match Json::parse(trimmed) {
            Ok(number @ (Json::Int(_) | Json::Float(_))) => Ok(number),
            _ => Err(invalid("22P02")),
        },
        Kind::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "yes" | "on" | "1" => Ok(Json::Bool(true)),
            "f" | "false" | "no" | "off" | "0" => Ok(Json::Bool(false)),
            _ => Err(invalid("22P02")),
        },
        Kind::Timestamptz => {
            time::read(trimmed).map(|micros| Json::Text(time::show(micros))).ok_or_else(|| invalid("22007"))
        }
        Kind::Json | Kind::Jsonb => Json::parse(text).map_err(|_| invalid("22P02")),
        Kind::Array(of) => list::read_literal(*of, text),
    }
}

fn nul() -> RestError {
    RestError::new("22P05", "unsupported Unicode escape sequence")
        .details("\\u0000 cannot be converted to text.")
}

fn holds_nul(value: &Json) -> bool {
    match value {
        Json::Text(text) => text.contains('\0'),
        Json::List(items) => items.iter().any(holds_nul),
        Json::Map(map) => map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

/// A UUID in its usual form, from any of the forms PostgreSQL takes.
fn uuid(text: &str) -> Option<String> {
    let inner = text.strip_prefix('{').map_or(Some(text), |rest| rest.strip_suffix('}'))?;
    let digits: String =
        inner.chars().filter(|letter| *letter != '-').collect::<String>().to_ascii_lowercase();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to);
    let parts = [part(0, 8)?, part(8, 12)?, part(12, 16)?, part(16, 20)?, part(20, 32)?];
    Some(parts.join("-"))
}

/// The value as text: keys, `like`, `->>`.
pub(super) fn text(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        other => {
            let mut out = String::new();
            write_jsonb(other, &mut out);
            out
        }
    }
}

/// Orders two values of one type; `None` when one of them is null.
pub(super) fn compare(left: &Json, right: &Json) -> Option<Ordering> {
    match (left, right) {
        (Json::Null, _) | (_, Json::Null) => None,
        (Json::Bool(left), Json::Bool(right)) => Some(left.cmp(right)),
        (Json::Int(left), Json::Int(right)) => match (left.parse::<i128>(), right.parse::<i128>()) {
            (Ok(left), Ok(right)) => Some(left.cmp(&right)),
            _ => float(left).partial_cmp(&float(right)),
        },
        (Json::Int(left), Json::Float(right)) => float(left).partial_cmp(right),
        (Json::Float(left), Json::Int(right)) => left.partial_cmp(&float(right)),
        (Json::Float(left), Json::Float(right)) => left.partial_cmp(right),
        (Json::List(left), Json::List(right)) => Some(list::compare(left, right)),
        (left, right) => Some(text(left).cmp(&text(right))),
    }
}

fn float(digits: &str) -> f64 {
    digits.parse().unwrap_or(f64::INFINITY)
}

/// JSON as `jsonb` shows it: blanks after colons and commas, shorter keys first.
pub(in super::super) fn write_jsonb(value: &Json, out: &mut String) {
    match value {
        Json::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_jsonb(item, out);
            }
            out.push(']');
        }
        Json::Map(map) => {
            let mut members: Vec<(&String, &Json)> = map.iter().collect();
            members.sort_by_key(|(key, _)| (key.len(), *key));
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_text(key, out);
                out.push_str(": ");
                write_jsonb(value, out);
            }
            out.push('}');
        }
        Json::Float(value) => out.push_str(&value.to_string()),
        other => other.write(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(kind: Kind, text: &str) -> String {
        read_text(kind, text).map_or_else(|error| error.code, |value| value.encode())
    }

    #[test]
    fn each_type_reads_what_postgresql_reads() {
        assert_eq!(code(Kind::Int2, "40000"), "22003");
        assert_eq!(code(Kind::Int8, "-12"), "-12");
        assert_eq!(code(Kind::Int4, "1.5"), "22P02");
        assert_eq!(
            code(Kind::Uuid, "{00000000-0000-4000-8000-00000000000A}"),
            "\"00000000-0000-4000-8000-00000000000a\""
        );
        assert_eq!(code(Kind::Uuid, "x"), "22P02");
        assert_eq!(code(Kind::Bool, "yes"), "true");
        assert_eq!(code(Kind::Timestamptz, "soon"), "22007");
        let nested = Json::parse(r#"{"a":["\u0000"]}"#).unwrap();
        assert_eq!(read(Kind::Jsonb, &nested).unwrap_err().code, "22P05");
    }

    #[test]
    fn jsonb_shows_short_keys_first() {
        let mut out = String::new();
        write_jsonb(&Json::parse(r#"{"value":21.5,"s":"é","n":[1,2]}"#).unwrap(), &mut out);
        assert_eq!(out, r#"{"n": [1, 2], "s": "é", "value": 21.5}"#);
    }

    #[test]
    fn numbers_compare_as_numbers() {
        let of = |text: &str| Json::parse(text).unwrap();
        assert_eq!(compare(&of("9"), &of("12")), Some(Ordering::Less));
        assert_eq!(compare(&of("9.5"), &of("9")), Some(Ordering::Greater));
        assert_eq!(compare(&of("null"), &of("9")), None);
        assert_eq!(compare(&of("[9,null]"), &of("[12]")), Some(Ordering::Less));
        assert_eq!(compare(&of("[9,null]"), &of("[9,1]")), Some(Ordering::Greater));
        assert_eq!(compare(&of("[9]"), &of("[9,null]")), Some(Ordering::Less));
    }
}
