//! Which function of the database a call means: the one that takes what the request gives.

use super::call::Call;
use super::error::RestError;
use super::sql::literal;

/// A function as the catalogue describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Function {
    /// Names and types of what it takes.
    pub arguments: Vec<(String, String)>,
    /// One unnamed json parameter takes the whole body.
    pub whole_body: bool,
    pub many: bool,
    pub rows_are_records: bool,
    pub void: bool,
}

/// Asks the catalogue about functions of a name.
pub(in super::super) fn describe_function(call: &Call) -> String {
    format!(
        "SELECT p.proretset, (t.typtype = 'c' OR t.typname = 'record'), t.typname = 'void', p.pronargdefaults, \
         (SELECT coalesce(string_agg(coalesce(a.name, '') || chr(31) || format_type(a.type, NULL), chr(30) ORDER BY a.at), '') \
          FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes) \
          WITH ORDINALITY AS a(type, name, mode, at) WHERE coalesce(a.mode, 'i') IN ('i', 'b', 'v')) \
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_type t ON t.oid = p.prorettype \
         WHERE p.prokind = 'f' AND n.nspname = {} AND p.proname = {}",
        literal(&call.schema),
        literal(&call.name)
    )
}

impl Function {
    /// The function that takes what the request gives.
    ///
    /// # Errors
    /// `PGRST202`.
    pub(in super::super) fn choose(call: &Call, rows: &[Vec<Option<String>>]) -> Result<Function, RestError> {
        let fits = |row: &Vec<Option<String>>| -> Option<Function> {
            let is = |at: usize| row.get(at).and_then(Option::as_deref) == Some("t");
            let defaults = row.get(3)?.as_deref()?.parse::<usize>().ok()?;
            let list = row.get(4)?.as_deref()?;
            let pairs = list.split('\u{1e}').filter(|pair| !pair.is_empty());
            let arguments: Vec<(String, String)> = pairs
                .filter_map(|pair| pair.split_once('\u{1f}'))
                .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
                .collect();
            let whole_body =
                matches!(arguments.as_slice(), [(name, kind)] if name.is_empty() && kind.starts_with("json"));
            let known = call.body.keys.iter().all(|key| arguments.iter().any(|(name, _)| name == key));
            let enough = call.body.keys.len() + defaults >= arguments.len();
            let function =
                Function { arguments, whole_body, many: is(0), rows_are_records: is(1), void: is(2) };
            ((known && enough) || whole_body).then_some(function)
        };
        rows.iter().find_map(fits).ok_or_else(|| {
            let keys: Vec<&str> = call.body.keys.iter().map(String::as_str).collect();
            let given = if keys.is_empty() {
                " without parameters".to_owned()
            } else {
                format!("({})", keys.join(", "))
            };
            let function = format!("{}.{}{given}", call.schema, call.name);
            RestError::new("PGRST202", format!("Could not find the function {function} in the schema cache"))
        })
    }
}
