//! A request as SQL for a real PostgreSQL: one transaction with the token's role and claims set, as PostgREST sets them.
//! Names are quoted, values are literals of unknown type, so that PostgreSQL itself judges them.

use super::super::http::HttpRequest;
use super::answer::Done;
use super::call::{Call, Item, Resolution, Verb};
use super::error::RestError;
use super::filter::{self, Op, Path, Tree};
use super::function::Function;
use super::gate::Caller;

/// A table as the catalogue describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Described {
    /// Names, with the expression of the default.
    pub columns: Vec<(String, Option<String>)>,
    pub primary: Vec<String>,
}

/// Statements, and which result is which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Script {
    pub text: String,
    main: usize,
    total: Option<usize>,
    merged: Option<usize>,
    resolved: bool,
    scalar: bool,
}

/// What one statement gave: rows of texts, and how many rows it was about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Outcome {
    pub rows: Vec<Vec<Option<String>>>,
    pub count: u64,
}

/// A quoted name.
pub(in super::super) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A quoted value; `standard_conforming_strings` is on.
pub(in super::super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn qualified(call: &Call) -> String {
    format!("{}.{}", name(&call.schema), name(&call.name))
}

/// Asks the catalogue about a table or view.
pub(in super::super) fn describe(call: &Call) -> String {
    format!(
        "SELECT a.attname, CASE WHEN a.attidentity <> '' THEN 'nextval(' || \
         quote_literal(pg_get_serial_sequence(quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.attname)) \
         || ')' ELSE pg_get_expr(d.adbin, d.adrelid) END, coalesce(a.attnum = ANY (i.indkey), false) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
         LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
         WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname = {} AND c.relname = {} ORDER BY a.attnum",
        literal(&call.schema),
        literal(&call.name)
    )
}

impl Described {
    /// Reads the catalogue's answer; nothing when there is no such table.
    pub(in super::super) fn read(rows: &[Vec<Option<String>>]) -> Option<Described> {
        let mut found = Described::default();
        for row in rows {
            let column = row.first().cloned().flatten()?;
            if row.get(2).and_then(Option::as_deref) == Some("t") {
                found.primary.push(column.clone());
            }
            found.columns.push((column, row.get(1).cloned().flatten()));
        }
        (!found.columns.is_empty()).then_some(found)
    }
}

/// Opens the transaction: role, claims, request, as PostgREST does.
pub(in super::super) fn opening(caller: &Caller, request: Option<&HttpRequest>, read_only: bool) -> String {
    let mut settings = vec![
        ("search_path", "public, extensions".to_owned()),
        ("role", caller.role.clone()),
        ("request.jwt.claims", caller.claims.clone()),
    ];
    if let Some(request) = request {
        settings.push(("request.method", request.method.clone()));
        settings.push(("request.path", request.path.clone()));
    }
    if read_only {
        settings.push(("transaction_read_only", "on".to_owned()));
    }
    let each = settings.iter().map(|(key, value)| format!("set_config('{key}', {}, true)", literal(value)));
    format!("BEGIN; SELECT {};", each.collect::<Vec<_>>().join(", "))
}

impl Script {
    /// The statements of a request to a table.
    ///
    /// # Errors
    /// Columns of the body that the table does not have.
    pub(in super::super) fn table(
        call: &Call,
        table: &Described,
        opening: &str,
        most: u64,
    ) -> Result<Script, RestError> {
        let known = |wanted: &String| table.columns.iter().any(|(column, _)| column == wanted);
        let named = call.body.keys.iter().chain(call.on_conflict.iter().flatten());
        if let Some(unknown) = named.into_iter().find(|column| !known(column)) {
            return Err(RestError::no_column(&call.name, unknown));
        }
        let target = call.on_conflict.clone().unwrap_or_else(|| table.primary.clone());
        let resolved = call.verb == Verb::Insert && call.prefer.resolution.is_some() && !target.is_empty();
        let main = match call.verb {
            Verb::Insert => returning(call, &insert(call, table, resolved.then_some(target.as_slice()))),
            Verb::Update => returning(call, &update(call)),
            Verb::Delete => returning(
                call,
                &format!("DELETE FROM {} AS {}{}", qualified(call), name(&call.name), conditions(call)),
            ),
            Verb::Read | Verb::Run => {
                read(call, &format!("{} AS {}", qualified(call), name(&call.name)), most)
            }
        };
        let mut script = Script {
            text: format!("{opening} {main};"),
            main: 2,
            total: None,
            merged: None,
            resolved,
            scalar: false,
        };
        if call.verb == Verb::Read && call.prefer.count.is_some() {
            script.total = Some(3);
            let from = format!("{} AS {}", qualified(call), name(&call.name));
            script.text.push_str(&format!(" SELECT count(*) FROM {from}{};", conditions(call)));
        }
        if resolved && call.prefer.resolution == Some(Resolution::Merge) {
            script.merged = Some(3);
            script.text.push_str(" SELECT current_setting('crossfade.merged', true);");
        }
        Ok(script)
    }

    /// The call of a function; `arguments` are its parameters with their types, `kind` says what it returns.
    pub(in super::super) fn function(call: &Call, function: &Function, opening: &str) -> Script {
        let body = literal(&call.body.text);
        let (from, list) = if function.whole_body {
            (
                String::new(),
                format!("{body}::{}", function.arguments.first().map_or("json", |(_, kind)| kind.as_str())),
            )
        } else {
            let given =
                || function.arguments.iter().filter(|(argument, _)| call.body.keys.contains(argument));
            let types: Vec<String> =
                given().map(|(argument, kind)| format!("{} {kind}", name(argument))).collect();
            let list = given().map(|(argument, _)| format!("{0} := crossfade_args.{0}", name(argument)));
            let from = if types.is_empty() {
                String::new()
            } else {
                format!("json_to_record({body}::json) AS crossfade_args({}), LATERAL ", types.join(", "))
            };
            (from, list.collect::<Vec<_>>().join(", "))
        };
        let from = format!("{from}{}({list}) AS {}", qualified(call), name(&call.name));
        let main = if function.rows_are_records {
            read(call, &from, u64::MAX)
        } else if function.void {
            format!("SELECT NULL FROM {from}")
        } else {
            format!("SELECT to_json({}) FROM {from}", name(&call.name))
        };
        let scalar = !function.many && !function.rows_are_records;
        Script {
            text: format!("{opening} {main};"),
            main: 2,
            total: None,
            merged: None,
            resolved: false,
            scalar,
        }
    }

    /// What the statements did.
    pub(in super::super) fn done(&self, call: &Call, results: &[Outcome]) -> Done {
        let first = |at: Option<usize>| {
            let row = results.get(at?)?.rows.first()?;
            row.first()?.as_deref()?.parse::<u64>().ok()
        };
        let main = results.get(self.main).cloned().unwrap_or_default();
        let rows = main.rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        let counted = call.prefer.count.filter(|_| call.verb != Verb::Read).map(|_| main.count);
        Done {
            rows,
            affected: main.count,
            total: first(self.total).or(counted),
            merged: first(self.merged).unwrap_or(0),
            resolved: self.resolved,
            scalar: self.scalar,
        }
    }
}

fn returning(call: &Call, statement: &str) -> String {
    if !call.wants_rows() {
        return statement.to_owned();
    }
    let table = name(&call.name);
    format!(
        "WITH crossfade_changed AS ({statement} RETURNING {table}.*) SELECT row_to_json(crossfade_row) FROM \
         (SELECT {} FROM crossfade_changed AS {table}) AS crossfade_row",
        selection(call)
    )
}

fn insert(call: &Call, table: &Described, target: Option<&[String]>) -> String {
    let into = format!("INSERT INTO {} AS {}", qualified(call), name(&call.name));
    let columns: Vec<String> = call.body.keys.iter().map(|key| name(key)).collect();
    if columns.is_empty() {
        return format!("{into} DEFAULT VALUES");
    }
    let text = if call.body.many { call.body.text.clone() } else { format!("[{}]", call.body.text) };
    let source = if call.prefer.missing_default {
        let defaults = table.columns.iter().filter(|(column, _)| call.body.keys.contains(column));
        let defaults = defaults
            .filter_map(|(column, default)| Some(format!("{}, {}", literal(column), default.as_ref()?)));
        format!(
            "jsonb_array_elements({}::jsonb) AS crossfade_each, LATERAL jsonb_populate_record(NULL::{}, \
             jsonb_build_object({}) || crossfade_each) AS crossfade_row",
            literal(&text),
            qualified(call),
            defaults.collect::<Vec<_>>().join(", ")
        )
    } else {
        format!(
            "json_populate_recordset(NULL::{}, {}::json) AS crossfade_row",
            qualified(call),
            literal(&text)
        )
    };
    let list = columns.join(", ");
    let picked: Vec<String> = columns.iter().map(|column| format!("crossfade_row.{column}")).collect();
    format!("{into} ({list}) SELECT {} FROM {source}{}", picked.join(", "), conflict(call, target, &columns))
}

/// What happens to duplicates; merged ones are counted in a setting, as PostgREST does.
fn conflict(call: &Call, target: Option<&[String]>, columns: &[String]) -> String {
    let Some(target) = target else { return String::new() };
    let on: Vec<String> = target.iter().map(|column| name(column)).collect();
    let on = format!(" ON CONFLICT ({})", on.join(", "));
    if call.prefer.resolution == Some(Resolution::Ignore) {
        return format!("{on} DO NOTHING");
    }
    let set: Vec<String> = columns.iter().map(|column| format!("{column} = EXCLUDED.{column}")).collect();
    format!(
        "{on} DO UPDATE SET {} WHERE set_config('crossfade.merged', \
         (coalesce(nullif(current_setting('crossfade.merged', true), '')::int, 0) + 1)::text, true) <> '-1'",
        set.join(", ")
    )
}

fn update(call: &Call) -> String {
    let columns: Vec<String> = call.body.keys.iter().map(|key| name(key)).collect();
    let set: Vec<String> =
        columns.iter().map(|column| format!("{column} = crossfade_given.{column}")).collect();
    let text = if call.body.many {
        format!("{}::json -> 0", literal(&call.body.text))
    } else {
        format!("{}::json", literal(&call.body.text))
    };
    format!(
        "UPDATE {} AS {} SET {} FROM (SELECT * FROM json_populate_record(NULL::{}, {text})) AS crossfade_given{}",
        qualified(call),
        name(&call.name),
        set.join(", "),
        qualified(call),
        conditions(call)
    )
}

fn read(call: &Call, from: &str, most: u64) -> String {
    let mut text = format!("SELECT {} FROM {from}{}", selection(call), conditions(call));
    for (index, order) in call.order.iter().enumerate() {
        text.push_str(if index == 0 { " ORDER BY " } else { ", " });
        text.push_str(&place(call, &order.path));
        text.push_str(if order.descending { " DESC" } else { " ASC" });
        text.push_str(if order.nulls_first { " NULLS FIRST" } else { " NULLS LAST" });
    }
    let limit = call.limit.unwrap_or(u64::MAX).min(most);
    if limit < u64::MAX {
        text.push_str(&format!(" LIMIT {limit}"));
    }
    if call.offset > 0 {
        text.push_str(&format!(" OFFSET {}", call.offset));
    }
    format!("SELECT row_to_json(crossfade_row) FROM ({text}) AS crossfade_row")
}

fn selection(call: &Call) -> String {
    let item = |item: &Item| {
        if item.all {
            format!("{}.*", name(&call.name))
        } else {
            format!("{} AS {}", place(call, &item.path), name(&item.name))
        }
    };
    if call.select.is_empty() {
        return format!("{}.*", name(&call.name));
    }
    call.select.iter().map(item).collect::<Vec<_>>().join(", ")
}

fn place(call: &Call, path: &Path) -> String {
    let mut text = format!("{}.{}", name(&call.name), name(&path.column));
    for (key, as_text) in &path.steps {
        let key = if key.parse::<u32>().is_ok() { key.clone() } else { literal(key) };
        text.push_str(&format!("{}{key}", if *as_text { "->>" } else { "->" }));
    }
    if path.steps.is_empty() { text } else { format!("({text})") }
}

fn conditions(call: &Call) -> String {
    match &call.filter {
        Tree::All(items) if items.is_empty() => String::new(),
        tree => format!(" WHERE {}", condition(call, tree)),
    }
}

fn condition(call: &Call, tree: &Tree) -> String {
    let all = |items: &[Tree], word: &str, none: &str| {
        let each: Vec<String> = items.iter().map(|item| condition(call, item)).collect();
        if each.is_empty() { none.to_owned() } else { format!("({})", each.join(word)) }
    };
    match tree {
        Tree::All(items) => all(items, " AND ", "true"),
        Tree::Any(items) => all(items, " OR ", "false"),
        Tree::Not(inner) => format!("NOT {}", condition(call, inner)),
        Tree::Test { path, op, value } => test(&place(call, path), *op, value),
    }
}

fn test(place: &str, op: Op, value: &str) -> String {
    let simple = |sign: &str| format!("{place} {sign} {}", literal(value));
    match op {
        Op::Eq => simple("="),
        Op::Neq => simple("<>"),
        Op::Gt => simple(">"),
        Op::Gte => simple(">="),
        Op::Lt => simple("<"),
        Op::Lte => simple("<="),
        Op::Like => format!("{place} LIKE {}", literal(&filter::pattern(value))),
        Op::Ilike => format!("{place} ILIKE {}", literal(&filter::pattern(value))),
        Op::Is => {
            let word = match value.to_ascii_lowercase().as_str() {
                "not_null" => "NOT NULL",
                "true" => "TRUE",
                "false" => "FALSE",
                "unknown" => "UNKNOWN",
                _ => "NULL",
            };
            format!("{place} IS {word}")
        }
        Op::In => {
            let items: Vec<String> = filter::items(value).iter().map(|item| literal(item)).collect();
            if items.is_empty() {
                format!("{place} = ANY ('{{}}')")
            } else {
                format!("{place} IN ({})", items.join(", "))
            }
        }
    }
}
