//! Filters of PostgREST's query language: `column=op.value`, `not.`, `or=(…)`, `and=(…)`, JSON paths.
//! A filter is read once and then either judged on a row of the memory or written as SQL.

use super::super::json::Json;
use super::error::RestError;
use super::schema::{Kind, Table, split};
use super::value;
use std::cmp::Ordering;

/// Deepest nesting of `and` and `or`.
const DEPTH_MAX: usize = 16;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Tree {
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
    Test { path: Path, op: Op, value: String },
}

/// A column, or a place inside a JSON column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Path {
    pub column: String,
    /// Keys or indexes, each with whether it ends in text (`->>`).
    pub steps: Vec<(String, bool)>,
}

/// Operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Op {
    Eq,
    Neq,
    Gt,
    Gte,
    Lt,
    Lte,
    Like,
    Ilike,
    Is,
    In,
}

impl Op {
    fn read(word: &str) -> Option<Op> {
        Some(match word {
            "eq" => Op::Eq,
            "neq" => Op::Neq,
            "gt" => Op::Gt,
            "gte" => Op::Gte,
            "lt" => Op::Lt,
            "lte" => Op::Lte,
            "like" => Op::Like,
            "ilike" => Op::Ilike,
            "is" => Op::Is,
            "in" => Op::In,
            _ => return None,
        })
    }
}

impl Path {
    pub(super) fn read(text: &str) -> Path {
        let mut rest = text;
        let end = rest.find("->").unwrap_or(rest.len());
        let column = unquoted(rest.get(..end).unwrap_or_default());
        rest = rest.get(end..).unwrap_or_default();
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let as_text = rest.starts_with("->>");
            rest = rest.get(if as_text { 3 } else { 2 }..).unwrap_or_default();
            let end = rest.find("->").unwrap_or(rest.len());
            steps.push((unquoted(rest.get(..end).unwrap_or_default()), as_text));
            rest = rest.get(end..).unwrap_or_default();
        }
        Path { column, steps }
    }

    /// The type of what it leads to, and the value in `row`.
    ///
    /// # Errors
    /// When the table has no such column.
    pub(super) fn value(&self, table: &Table, row: &[Json]) -> Result<(Kind, Json), RestError> {
        let (index, column) =
            table.column(&self.column).ok_or_else(|| RestError::undefined(&table.name, &self.column))?;
        let mut found = row.get(index).cloned().unwrap_or(Json::Null);
        let mut kind = column.kind;
        for (key, as_text) in &self.steps {
            found = match (&found, key.parse::<usize>()) {
                (Json::List(items), Ok(index)) => items.get(index).cloned().unwrap_or(Json::Null),
                (map, _) => map.member(key).cloned().unwrap_or(Json::Null),
            };
            kind = Kind::Jsonb;
            if *as_text {
                kind = Kind::Text;
                found = if found == Json::Null { Json::Null } else { Json::Text(value::text(&found)) };
            }
        }
        Ok((kind, found))
    }
}

/// Reads the value of a query parameter for a column: `eq.5`, `not.in.(1,2)`.
///
/// # Errors
/// `PGRST100`.
pub(super) fn read(path: &str, text: &str) -> Result<Tree, RestError> {
    if let Some(rest) = text.strip_prefix("not.") {
        return Ok(Tree::Not(Box::new(read(path, rest)?)));
    }
    let bad = || RestError::query("filter", text);
    let (word, value) = text.split_once('.').ok_or_else(bad)?;
    let op = Op::read(word).ok_or_else(bad)?;
    let fine = match op {
        Op::In => value.starts_with('(') && value.ends_with(')'),
        Op::Is => {
            matches!(value.to_ascii_lowercase().as_str(), "null" | "not_null" | "true" | "false" | "unknown")
        }
        _ => !value.contains('\0'),
    };
    if !fine || value.contains('\0') {
        return Err(bad());
    }
    Ok(Tree::Test { path: Path::read(path), op, value: value.to_owned() })
}

/// Reads `(a.eq.1,or(b.gt.2,c.is.null))`; `any` says that one is enough.
///
/// # Errors
/// `PGRST100`.
pub(super) fn read_tree(text: &str, any: bool, depth: usize) -> Result<Tree, RestError> {
    let bad = || RestError::query("logic tree", text);
    if depth > DEPTH_MAX {
        return Err(bad());
    }
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(bad)?;
    let mut items = Vec::new();
    for item in split(inner, ',') {
        let (negated, bare) = match item.strip_prefix("not.") {
            Some(rest) if rest.starts_with("and(") || rest.starts_with("or(") => (true, rest),
            _ => (false, item),
        };
        let tree = match (bare.strip_prefix("and("), bare.strip_prefix("or(")) {
            (Some(_), _) => read_tree(bare.get(3..).unwrap_or_default(), false, depth + 1)?,
            (_, Some(_)) => read_tree(bare.get(2..).unwrap_or_default(), true, depth + 1)?,
            _ => {
                let (path, rest) = bare.split_once('.').ok_or_else(bad)?;
                unquote_value(read(path, rest)?)
            }
        };
        items.push(if negated { Tree::Not(Box::new(tree)) } else { tree });
    }
    Ok(if any { Tree::Any(items) } else { Tree::All(items) })
}

/// In a logic tree a value may stand in quotes, because of commas and dots.
fn unquote_value(tree: Tree) -> Tree {
    match tree {
        Tree::Test { path, op, value } if op != Op::In => Tree::Test { path, op, value: unquoted(&value) },
        Tree::Not(inner) => Tree::Not(Box::new(unquote_value(*inner))),
        other => other,
    }
}

/// The items of `(a,"b,c")`.
pub(super) fn items(list: &str) -> Vec<String> {
    let inner = list.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(list);
    if inner.is_empty() { Vec::new() } else { split(inner, ',').into_iter().map(unquoted).collect() }
}

fn unquoted(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => text.to_owned(),
    }
}

impl Tree {
    /// Judges a row; `None` is SQL's unknown.
    ///
    /// # Errors
    /// An unknown column, or a value that is not of the column's type.
    pub(super) fn judge(&self, table: &Table, row: &[Json]) -> Result<Option<bool>, RestError> {
        match self {
            Tree::All(items) => combine(items, table, row, false),
            Tree::Any(items) => combine(items, table, row, true),
            Tree::Not(inner) => Ok(inner.judge(table, row)?.map(|is| !is)),
            Tree::Test { path, op, value } => {
                let (kind, found) = path.value(table, row)?;
                test((kind, &found), *op, value)
            }
        }
    }
}

/// `and` ends with the first false, `or` with the first true; an unknown lasts when neither comes.
fn combine(items: &[Tree], table: &Table, row: &[Json], decisive: bool) -> Result<Option<bool>, RestError> {
    let mut result = Some(!decisive);
    for item in items {
        match item.judge(table, row)? {
            Some(is) if is == decisive => return Ok(Some(decisive)),
            None => result = None,
            Some(_) => {}
        }
    }
    Ok(result)
}

fn test((kind, found): (Kind, &Json), op: Op, wanted: &str) -> Result<Option<bool>, RestError> {
    let ordered = |is: fn(Ordering) -> bool| -> Result<Option<bool>, RestError> {
        Ok(value::compare(found, &value::read_text(kind, wanted)?).map(is))
    };
    match op {
        Op::Eq => ordered(Ordering::is_eq),
        Op::Neq => ordered(Ordering::is_ne),
        Op::Gt => ordered(Ordering::is_gt),
        Op::Gte => ordered(Ordering::is_ge),
        Op::Lt => ordered(Ordering::is_lt),
        Op::Lte => ordered(Ordering::is_le),
        Op::Is => Ok(Some(match wanted.to_ascii_lowercase().as_str() {
            "not_null" => *found != Json::Null,
            "true" => *found == Json::Bool(true),
            "false" => *found == Json::Bool(false),
            _ => *found == Json::Null,
        })),
        Op::In => {
            let mut result = Some(false);
            for item in items(wanted) {
                match value::compare(found, &value::read_text(kind, &item)?) {
                    Some(Ordering::Equal) => return Ok(Some(true)),
                    None => result = None,
                    Some(_) => {}
                }
            }
            Ok(result)
        }
        Op::Like | Op::Ilike if *found == Json::Null => Ok(None),
        Op::Like => Ok(Some(like(&value::text(found), &pattern(wanted)))),
        Op::Ilike => Ok(Some(like(&value::text(found).to_lowercase(), &pattern(wanted).to_lowercase()))),
    }
}

/// PostgREST lets `*` stand for `%`.
pub(super) fn pattern(wanted: &str) -> String {
    wanted.replace('*', "%")
}

/// SQL's `like`, by the two-pointer method: time at most length times length, no recursion.
fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut by, mut star) = (0, 0, None);
    while let Some(letter) = text.get(at) {
        match pattern.get(by) {
            Some('%') => {
                star = Some((by, at));
                by += 1;
            }
            Some('\\') if pattern.get(by + 1) == Some(letter) => (at, by) = (at + 1, by + 2),
            Some(wanted) if *wanted != '\\' && (*wanted == '_' || wanted == letter) => {
                (at, by) = (at + 1, by + 1);
            }
            _ => match star {
                Some((percent, from)) => {
                    star = Some((percent, from + 1));
                    (at, by) = (from + 1, percent + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(by).all(|letter| *letter == '%')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(filter: &str) -> Result<Option<bool>, String> {
        let table = Table::parse("t(n int, s text, d jsonb, z text, at timestamptz)").unwrap();
        let row = [
            Json::Int("12".to_owned()),
            Json::text("keep, it"),
            Json::parse(r#"{"a":{"b":[1,"x"]}}"#).unwrap(),
            Json::Null,
            Json::text("2026-01-02T03:04:05+00:00"),
        ];
        let tree = match filter.split_once('=') {
            Some(("or", text)) => read_tree(text, true, 0),
            Some(("and", text)) => read_tree(text, false, 0),
            Some((path, text)) => read(path, text),
            None => panic!("no filter"),
        };
        tree.and_then(|tree| tree.judge(&table, &row)).map_err(|error| error.code)
    }

    #[test]
    fn filters_judge_as_sql_does() {
        for (filter, expected) in [
            ("n=eq.12", Ok(Some(true))),
            ("n=gt.9", Ok(Some(true))),
            ("n=not.lte.11", Ok(Some(true))),
            ("n=in.(1,12)", Ok(Some(true))),
            ("s=in.(\"keep, it\",b)", Ok(Some(true))),
            ("s=like.keep*", Ok(Some(true))),
            ("s=ilike.*IT", Ok(Some(true))),
            ("s=like.k_ep", Ok(Some(false))),
            ("z=is.null", Ok(Some(true))),
            ("z=not.is.null", Ok(Some(false))),
            ("z=neq.a", Ok(None)),
            ("z=not.eq.a", Ok(None)),
            ("d->a->b->>1=eq.x", Ok(Some(true))),
            ("at=gte.2026-01-02 04:00:00%2B02".replace("%2B", "+").as_str(), Ok(Some(true))),
            ("or=(n.eq.1,and(n.gt.10,s.like.keep*))", Ok(Some(true))),
            ("and=(n.eq.12,not.or(s.eq.b,z.is.null))", Ok(Some(false))),
            ("or=(s.eq.\"keep, it\",n.eq.0)", Ok(Some(true))),
            ("nope=eq.1", Err("42703".to_owned())),
            ("n=eq.x", Err("22P02".to_owned())),
            ("n=foo.1", Err("PGRST100".to_owned())),
            ("n=5", Err("PGRST100".to_owned())),
            ("z=is.5", Err("PGRST100".to_owned())),
        ] {
            assert_eq!(judge(filter), expected, "{filter}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c().,*%_\\\\\"not eqinr>-]{0,30}") {
            for filter in [format!("or={text}"), format!("s={text}")] {
                prop_assert!(judge(&filter).err().is_none_or(|code| !code.is_empty()));
            }
            let _ = like("abcabc", &text);
        }
    }
}
