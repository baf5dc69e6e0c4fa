//! Arrays of the memory: read from a JSON array as `json_populate_recordset` reads one, or from PostgreSQL's literal
//! (`{a,b}`), kept and shown as JSON arrays. An array and its elements are one value: it is replaced as a whole.

use super::super::database::show_array;
use super::super::json::{Json, write_text};
use super::error::RestError;
use super::schema::Kind;
use super::value;
use std::cmp::Ordering;

/// PostgreSQL's `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

type Leaf<'a> = &'a dyn Fn(&Json) -> Result<Json, RestError>;

/// Reads a JSON array; lists that stand deeper than the first element are elements.
///
/// # Errors
/// `22P02` when it is no array or its rows differ in length, `54000` when it is too deep, and those of elements.
pub(super) fn read(of: Kind, given: &Json) -> Result<Json, RestError> {
    let Json::List(items) = given else { return Err(expected()) };
    let leaf = |found: &Json| value::read(of, found);
    build(items, &leaf, &|| {
        RestError::new("22P02", "malformed JSON array")
            .details("Multidimensional arrays must have sub-arrays with matching dimensions.")
    })
}

/// Reads PostgreSQL's literal.
///
/// # Errors
/// As [`read`].
pub(super) fn read_literal(of: Kind, text: &str) -> Result<Json, RestError> {
    let malformed = || RestError::new("22P02", format!("malformed array literal: \"{text}\""));
    let quoted = |element: Option<&str>| {
        let mut out = String::new();
        match element {
            Some(element) => write_text(element, &mut out),
            None => out.push_str("null"),
        }
        out
    };
    let shown = show_array(text.trim(), &quoted).ok_or_else(malformed)?;
    let Ok(Json::List(items)) = Json::parse(&shown) else { return Err(malformed()) };
    let leaf = |found: &Json| match found {
        Json::Null => Ok(Json::Null),
        Json::Text(text) => value::read_text(of, text),
        _ => Err(malformed()),
    };
    build(&items, &leaf, &malformed)
}

/// As `row_to_json` shows an array: no blanks, but those that `jsonb` elements have.
pub(super) fn write(value: &Json, out: &mut String) {
    fn level(value: &Json, left: usize, out: &mut String) {
        let Json::List(items) = value else { return value::write_jsonb(value, out) };
        if left == 0 {
            return value::write_jsonb(value, out);
        }
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            out.push_str(if index > 0 { "," } else { "" });
            level(item, left - 1, out);
        }
        out.push(']');
    }
    let depth = if let Json::List(items) = value { lengths(items).len() } else { 0 };
    level(value, depth, out);
}

/// Orders arrays as PostgreSQL does: elements in a row whatever the dimensions, nulls last, then the shorter one, then the
/// one of fewer or shorter dimensions.
pub(super) fn compare(left: &[Json], right: &[Json]) -> Ordering {
    let (mut left_leaves, mut right_leaves) = (Vec::new(), Vec::new());
    let shapes = (leaves(left, &mut left_leaves), leaves(right, &mut right_leaves));
    let each = left_leaves.iter().zip(&right_leaves).map(|(left, right)| {
        let nulls = (**left == Json::Null).cmp(&(**right == Json::Null));
        nulls.then(value::compare(left, right).unwrap_or(Ordering::Equal))
    });
    let (left_lengths, right_lengths) = (lengths(left), lengths(right));
    each.fold(Ordering::Equal, Ordering::then)
        .then(left_leaves.len().cmp(&right_leaves.len()))
        .then(left_lengths.len().cmp(&right_lengths.len()))
        .then(left_lengths.cmp(&right_lengths))
        // Lists inside `jsonb` need not be even: two of different shapes are never the same.
        .then(shapes.0.cmp(&shapes.1))
}

/// Collects what is no list, in order; says where lists begin and end.
fn leaves<'a>(items: &'a [Json], found: &mut Vec<&'a Json>) -> String {
    let mut shape = "[".to_owned();
    for item in items {
        if let Json::List(inner) = item {
            shape.push_str(&leaves(inner, found));
        } else {
            found.push(item);
            shape.push('.');
        }
    }
    shape.push(']');
    shape
}

fn expected() -> RestError {
    RestError::new("22P02", "expected JSON array")
}

/// How many items each dimension has, as the first item of each says.
fn lengths(items: &[Json]) -> Vec<usize> {
    let (mut found, mut items) = (vec![items.len()], items);
    while let Some(Json::List(inner)) = items.first() {
        found.push(inner.len());
        items = inner;
    }
    found
}

fn build(items: &[Json], leaf: Leaf<'_>, uneven: &dyn Fn() -> RestError) -> Result<Json, RestError> {
    let lengths = lengths(items);
    if lengths.len() > DIMENSIONS_MAX {
        let message = format!(
            "number of array dimensions ({}) exceeds the maximum allowed ({DIMENSIONS_MAX})",
            lengths.len()
        );
        return Err(RestError::new("54000", message));
    }
    let whole = dimension(items, &lengths, leaf, uneven)?;
    // PostgreSQL knows one empty array: it has no dimensions.
    Ok(Json::List(if lengths.contains(&0) { Vec::new() } else { whole }))
}

fn dimension(
    items: &[Json],
    lengths: &[usize],
    leaf: Leaf<'_>,
    uneven: &dyn Fn() -> RestError,
) -> Result<Vec<Json>, RestError> {
    let Some((length, deeper)) = lengths.split_first() else { return Err(uneven()) };
    if *length != items.len() {
        return Err(uneven());
    }
    let inner = |item: &Json| match item {
        item if deeper.is_empty() => leaf(item),
        Json::List(items) => dimension(items, deeper, leaf, uneven).map(Json::List),
        _ => Err(expected()),
    };
    items.iter().map(inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(found: Result<Json, RestError>) -> String {
        found.map_or_else(
            |error| error.code,
            |found| {
                let mut out = String::new();
                write(&found, &mut out);
                out
            },
        )
    }

    #[test]
    fn json_arrays_and_literals_are_read_as_postgresql_reads_them() {
        for (of, given, expected) in [
            (Kind::Text, r#"["a","b\"c",null,""]"#, r#"["a","b\"c",null,""]"#),
            (Kind::Text, r#"["a",["b"],{"c": 1},2]"#, r#"["a","[\"b\"]","{\"c\":1}","2"]"#),
            (Kind::Int4, r#"[[1,"2"],[null,4]]"#, "[[1,2],[null,4]]"),
            (Kind::Jsonb, r#"[{"b":[1,2],"a":1},[3,4]]"#, r#"[{"a": 1, "b": [1, 2]},[3, 4]]"#),
            (Kind::Int4, "[]", "[]"),
            (Kind::Int4, "[[],[]]", "[]"),
            (Kind::Int4, "[[1],2]", "22P02"),
            (Kind::Int4, "[[1],[2,3]]", "22P02"),
            (Kind::Int4, "[1,\"x\"]", "22P02"),
            (Kind::Int4, "[9999999999]", "22003"),
            (Kind::Int4, "{}", "22P02"),
            (Kind::Int4, "5", "22P02"),
            (Kind::Int4, "[[[[[[[1]]]]]]]", "54000"),
        ] {
            assert_eq!(shown(read(of, &Json::parse(given).unwrap())), expected, "{given}");
        }
        for (of, given, expected) in [
            (Kind::Text, r#"{a, "b\"c" ,NULL,"NULL",""}"#, r#"["a","b\"c",null,"NULL",""]"#),
            (Kind::Int4, "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
            (Kind::Bool, " {t,false} ", "[true,false]"),
            (Kind::Jsonb, r#"{"{\"a\":1}"}"#, r#"[{"a": 1}]"#),
            (Kind::Int4, "{}", "[]"),
            (Kind::Int4, "1,2", "22P02"),
            (Kind::Int4, "{1,{2}}", "22P02"),
            (Kind::Int4, "{1,}", "22P02"),
            (Kind::Int4, "{{1},{2,3}}", "22P02"),
        ] {
            assert_eq!(shown(read_literal(of, given)), expected, "{given}");
        }
    }

    #[test]
    fn arrays_are_ordered_as_postgresql_orders_them() {
        let rising =
            ["[]", "[1]", "[1,2]", "[[1,2]]", "[[1],[2]]", "[1,2,3]", "[1,null]", "[[9]]", "[12]", "[null]"];
        for (left, right) in rising.iter().zip(&rising[1..]) {
            let of =
                |text: &str| if let Ok(Json::List(items)) = Json::parse(text) { items } else { Vec::new() };
            assert_eq!(compare(&of(left), &of(right)), Ordering::Less, "{left} {right}");
            assert_eq!(compare(&of(right), &of(left)), Ordering::Greater, "{left} {right}");
            assert_eq!(compare(&of(left), &of(left)), Ordering::Equal, "{left}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(text in "[{}\\[\\]\",=a1\\\\]{0,40}") {
            for found in [Json::parse(&text).map_or(Ok(Json::Null), |given| read(Kind::Text, &given)), read_literal(Kind::Text, &text)] {
                let Ok(found @ Json::List(_)) = found else { continue };
                prop_assert_eq!(read(Kind::Text, &found).ok(), Some(found));
            }
        }
    }
}
