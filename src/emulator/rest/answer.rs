//! What a request that was carried out is answered with: status, rows, `Content-Range`, `Preference-Applied`.

use super::super::machine::HttpAnswer;
use super::JSON;
use super::call::{Call, Resolution, Returns, Verb};
use super::error::RestError;

const OBJECT: &str = "application/vnd.pgrst.object+json; charset=utf-8";

/// What the database did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Done {
    /// Rows to return, each as JSON text.
    pub rows: Vec<String>,
    /// Rows read or changed.
    pub affected: u64,
    /// Rows without limit and offset, when counted.
    pub total: Option<u64>,
    /// Duplicates that were merged.
    pub merged: u64,
    /// A resolution of duplicates was in effect: there was a key for it.
    pub resolved: bool,
    /// A function's single value instead of rows.
    pub scalar: bool,
}

/// Whether the answer is as asked; the caller rolls back when it is not.
///
/// # Errors
/// `PGRST116`, `PGRST103`.
pub(in super::super) fn check(call: &Call, done: &Done) -> Result<(), RestError> {
    if call.one && !done.scalar && (call.wants_rows() || call.verb == Verb::Run) && done.rows.len() != 1 {
        let details = format!("The result contains {} rows", done.rows.len());
        return Err(
            RestError::new("PGRST116", "Cannot coerce the result to a single JSON object").details(details)
        );
    }
    if let (Verb::Read, Some(total)) = (call.verb, done.total)
        && call.offset > total
    {
        let details = format!("An offset of {} was requested, but there are only {total} rows.", call.offset);
        return Err(RestError::new("PGRST103", "Requested range not satisfiable").details(details));
    }
    Ok(())
}

/// The whole answer.
pub(in super::super) fn answer(call: &Call, done: &Done) -> HttpAnswer {
    let with_rows = call.wants_rows() || call.verb == Verb::Run;
    let status = match call.verb {
        Verb::Insert if done.resolved && done.merged > 0 && done.merged == done.affected => 200,
        Verb::Insert => 201,
        Verb::Update | Verb::Delete if !with_rows => 204,
        Verb::Run if done.scalar && done.rows.is_empty() => 204,
        Verb::Read if done.total.is_some_and(|total| done.affected < total) => 206,
        _ => 200,
    };
    let body = match (with_rows && !call.head, call.one || done.scalar) {
        (false, _) => String::new(),
        (true, true) => done.rows.first().cloned().unwrap_or_default(),
        (true, false) => format!("[{}]", done.rows.join(", \n ")),
    };
    let total = done.total.map_or("*".to_owned(), |total| total.to_string());
    let range = match call.verb {
        Verb::Read | Verb::Run | Verb::Update if done.affected > 0 => {
            let last = call.offset.saturating_add(done.affected).saturating_sub(1);
            format!("{}-{last}/{total}", call.offset)
        }
        _ => format!("*/{total}"),
    };
    let mut headers = vec![("content-range", range)];
    let applied = applied(call, done);
    if !applied.is_empty() {
        headers.push(("preference-applied", applied));
    }
    let kind = if call.one { OBJECT } else { JSON };
    HttpAnswer { status, content_type: with_rows.then_some(kind), headers, body }
}

fn applied(call: &Call, done: &Done) -> String {
    let prefer = &call.prefer;
    let writes = matches!(call.verb, Verb::Insert | Verb::Update);
    let mut words = Vec::new();
    if done.resolved {
        words.push(match prefer.resolution {
            Some(Resolution::Merge) => "resolution=merge-duplicates",
            _ => "resolution=ignore-duplicates",
        });
    }
    if prefer.missing_default && writes {
        words.push("missing=default");
    }
    match prefer.returns {
        Some(Returns::Minimal) if call.verb != Verb::Read => words.push("return=minimal"),
        Some(Returns::Headers) if call.verb != Verb::Read => words.push("return=headers-only"),
        Some(Returns::Rows) if call.verb != Verb::Read => words.push("return=representation"),
        _ => {}
    }
    words.extend(prefer.count);
    words.join(", ")
}
