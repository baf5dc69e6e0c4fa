//! Tables as the in-memory database knows them, read from one line of SQL's own words.
//! Types are those that rows of events need; another type is refused where the table is declared.

/// A table of the `public` (or another) schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema name.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// Columns in their order.
    pub columns: Vec<Column>,
    /// Primary key first, then unique constraints.
    pub keys: Vec<Key>,
    /// Member of the publication `supabase_realtime`.
    pub published: bool,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Refuses nulls.
    pub not_null: bool,
    /// What an insert without the column puts there.
    pub default: Default,
}

/// A primary key or a unique constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// As PostgreSQL would name it: errors carry it.
    pub name: String,
    /// Names of its columns.
    pub columns: Vec<String>,
    /// The primary key.
    pub primary: bool,
}

/// What stands in a column that an insert does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Default {
    /// Null.
    Null,
    /// The time of the statement.
    Now,
    /// A random UUID.
    Uuid,
    /// The next number.
    Serial,
    /// This text, read as the column's type.
    Given(String),
}

/// Column types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `text`, `varchar`.
    Text,
    /// `uuid`.
    Uuid,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `numeric`.
    Numeric,
    /// `double precision`.
    Float8,
    /// `boolean`.
    Bool,
    /// `json`, kept as `jsonb` is.
    Json,
    /// `jsonb`.
    Jsonb,
    /// `timestamptz`.
    Timestamptz,
    /// An array of these, of whatever dimensions: PostgreSQL does not hold a column to those declared.
    Array(&'static Kind),
}

/// Words that declare a type; longer ones first where one begins another.
static TYPES: &[(&str, Kind)] = &[
    ("timestamp with time zone", Kind::Timestamptz),
    ("timestamptz", Kind::Timestamptz),
    ("double precision", Kind::Float8),
    ("character varying", Kind::Text),
    ("float8", Kind::Float8),
    ("smallint", Kind::Int2),
    ("integer", Kind::Int4),
    ("bigserial", Kind::Int8),
    ("serial", Kind::Int4),
    ("bigint", Kind::Int8),
    ("boolean", Kind::Bool),
    ("numeric", Kind::Numeric),
    ("varchar", Kind::Text),
    ("jsonb", Kind::Jsonb),
    ("json", Kind::Json),
    ("text", Kind::Text),
    ("uuid", Kind::Uuid),
    ("int2", Kind::Int2),
    ("int4", Kind::Int4),
    ("int8", Kind::Int8),
    ("int", Kind::Int4),
    ("bool", Kind::Bool),
];

const EXAMPLE: &str =
    "such as \"events(id uuid primary key, data jsonb, created_at timestamptz default now())\"";

impl Kind {
    /// The name in `pg_type`: what `postgres_changes` shows. That of an array is its elements' after a `_`.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Kind::Array(of) => of.array_name(),
            other => other.array_name().trim_start_matches('_'),
        }
    }

    fn array_name(self) -> &'static str {
        match self {
            Kind::Text => "_text",
            Kind::Uuid => "_uuid",
            Kind::Int2 => "_int2",
            Kind::Int4 => "_int4",
            Kind::Int8 => "_int8",
            Kind::Numeric => "_numeric",
            Kind::Float8 => "_float8",
            Kind::Bool => "_bool",
            Kind::Json => "_json",
            Kind::Jsonb => "_jsonb",
            Kind::Timestamptz => "_timestamptz",
            Kind::Array(of) => of.array_name(),
        }
    }

    /// The name in error messages.
    #[must_use]
    pub fn spoken(self) -> &'static str {
        match self {
            Kind::Int2 => "smallint",
            Kind::Int4 => "integer",
            Kind::Int8 => "bigint",
            Kind::Float8 => "double precision",
            Kind::Bool => "boolean",
            Kind::Jsonb => "json",
            Kind::Timestamptz => "timestamp with time zone",
            other => other.type_name(),
        }
    }
}

impl Table {
    /// Reads `[SCHEMA.]NAME(COLUMN TYPE [not null] [primary key] [unique] [default VALUE], …) [unpublished]`; `primary
    /// key (…)` and `unique (…)` may stand among the columns.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Table, String> {
        let shape = || format!("expected NAME(COLUMN TYPE, …), {EXAMPLE}");
        let (name, rest) = text.trim().split_once('(').ok_or_else(shape)?;
        let (items, flag) = rest.rsplit_once(')').ok_or_else(shape)?;
        let published = match flag.trim() {
            "" => true,
            "unpublished" => false,
            other => return Err(format!("after the columns only unpublished may stand, not {other}")),
        };
        let (schema, name) = name.trim().split_once('.').unwrap_or(("public", name.trim()));
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(shape());
        }
        let mut table = Table {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            keys: Vec::new(),
            published,
        };
        for item in split(items, ',') {
            table.item(item.trim())?;
        }
        table.keys.sort_by_key(|key| !key.primary);
        table.check()?;
        Ok(table)
    }

    /// Position and description of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name == name)
    }

    /// The primary key.
    #[must_use]
    pub fn primary(&self) -> Option<&Key> {
        self.keys.iter().find(|key| key.primary)
    }

    fn item(&mut self, item: &str) -> Result<(), String> {
        for (words, primary) in [("primary key", true), ("unique", false)] {
            let Some(list) = item.strip_prefix(words).map(str::trim_start) else { continue };
            if let Some(list) = list.strip_prefix('(').and_then(|list| list.strip_suffix(')')) {
                self.add_key(list.split(',').map(|name| name.trim().to_owned()).collect(), primary);
                return Ok(());
            }
        }
        let (name, rest) = item
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("column {item} has no type, {EXAMPLE}"))?;
        let rest = rest.trim();
        let begins = |word: &str| {
            rest.strip_prefix(word).is_some_and(|more| !more.starts_with(|c: char| c.is_ascii_alphanumeric()))
        };
        let (word, kind) = TYPES
            .iter()
            .find(|(word, _)| begins(word))
            .ok_or_else(|| format!("column {name} has a type that is not known here, {EXAMPLE}"))?;
        let default = if word.ends_with("serial") { Default::Serial } else { Default::Null };
        let not_null = default == Default::Serial;
        let rest = rest.get(word.len()..).unwrap_or_default().trim();
        let after = after_brackets(rest);
        if not_null && after.is_some() {
            return Err(format!("column {name}: an array of {word} is not implemented"));
        }
        let kind = if after.is_some() { Kind::Array(kind) } else { *kind };
        self.columns.push(Column { name: name.to_owned(), kind, not_null, default });
        self.modifiers(name, after.unwrap_or(rest))
    }

    fn modifiers(&mut self, name: &str, mut rest: &str) -> Result<(), String> {
        while !rest.is_empty() {
            let known = [
                "not null",
                "null",
                "primary key",
                "unique",
                "generated always as identity",
                "generated by default as identity",
                "default",
            ];
            let word = known
                .into_iter()
                .find(|word| rest.starts_with(word))
                .ok_or_else(|| format!("column {name}: {rest} is not known here, {EXAMPLE}"))?;
            rest = rest.get(word.len()..).unwrap_or_default().trim_start();
            let mut default = None;
            match word {
                "primary key" | "unique" => self.add_key(vec![name.to_owned()], word == "primary key"),
                "default" => {
                    let value = split(rest, ' ').first().copied().unwrap_or_default();
                    rest = rest.get(value.len()..).unwrap_or_default().trim_start();
                    default = Some(default_of(value));
                }
                _ => {}
            }
            if let Some(column) = self.columns.last_mut() {
                column.not_null |=
                    matches!(word, "not null" | "primary key") || word.starts_with("generated");
                if word.starts_with("generated") {
                    column.default = Default::Serial;
                }
                if let Some(default) = default {
                    column.default = default;
                }
            }
        }
        Ok(())
    }

    fn add_key(&mut self, columns: Vec<String>, primary: bool) {
        let name = if primary {
            format!("{}_pkey", self.name)
        } else {
            format!("{}_{}_key", self.name, columns.join("_"))
        };
        self.keys.push(Key { name, columns, primary });
    }

    fn check(&mut self) -> Result<(), String> {
        for key in &self.keys {
            for name in &key.columns {
                let column = self.columns.iter_mut().find(|column| column.name == *name);
                let column = column.ok_or_else(|| format!("a key names {name}, which is no column"))?;
                column.not_null |= key.primary;
            }
        }
        for (index, column) in self.columns.iter().enumerate() {
            if self.columns.iter().skip(index + 1).any(|other| other.name == column.name) {
                return Err(format!("column {} stands twice", column.name));
            }
        }
        Ok(())
    }
}

/// What stands behind `[]`, `[3]` or `[][]`; nothing when no such thing stands there.
fn after_brackets(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('[')?.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let rest = digits.strip_prefix(']')?.trim_start();
    Some(after_brackets(rest).unwrap_or(rest))
}

fn default_of(value: &str) -> Default {
    let value = value.split_once("::").map_or(value, |(value, _)| value);
    match value.to_ascii_lowercase().as_str() {
        "null" => Default::Null,
        "now()" | "current_timestamp" => Default::Now,
        "gen_random_uuid()" | "uuid_generate_v4()" => Default::Uuid,
        _ => {
            let quoted = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            Default::Given(quoted.unwrap_or(value).replace("''", "'"))
        }
    }
}

/// Splits at `by` outside of parentheses and quotes.
pub(super) fn split(text: &str, by: char) -> Vec<&str> {
    let (mut parts, mut depth, mut quoted, mut start) = (Vec::new(), 0_usize, None, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if quoted.is_some() => quoted = quoted.filter(|mark| *mark != letter),
            '\'' | '"' => quoted = Some(letter),
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            _ if letter == by && depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_like_sql() {
        let table = Table::parse(
            "app.events(id bigint generated always as identity primary key, kind text not null default 'a, b', \
             n double precision, at timestamptz default now(), tags text[] not null default '{a, b}', m int[3] [], \
             unique (kind, n)) unpublished",
        )
        .unwrap();
        assert_eq!((table.schema.as_str(), table.name.as_str(), table.published), ("app", "events", false));
        let names: Vec<&str> = table.columns.iter().map(|column| column.kind.type_name()).collect();
        assert_eq!(names, ["int8", "text", "float8", "timestamptz", "_text", "_int4"]);
        assert!(table.columns[4].not_null && table.columns[4].default == Default::Given("{a, b}".to_owned()));
        assert_eq!(table.columns[0].default, Default::Serial);
        assert_eq!(table.columns[1].default, Default::Given("a, b".to_owned()));
        assert!(table.columns[1].not_null && table.columns[0].not_null && !table.columns[2].not_null);
        let keys: Vec<&str> = table.keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(keys, ["events_pkey", "events_kind_n_key"]);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, said) in [
            ("events", "expected NAME("),
            ("events(id)", "has no type"),
            ("events(id money)", "type that is not known"),
            ("events(id uuid check)", "check"),
            ("events(id serial[])", "array of serial"),
            ("events(id int[x])", "[x] is not known"),
            ("events(id uuid, id text)", "twice"),
            ("events(id uuid, primary key (no))", "no column"),
            ("events(id uuid) published", "unpublished"),
        ] {
            let error = Table::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
