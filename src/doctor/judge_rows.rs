//! What was seen of limits, of a table and of its place in the publication, judged: pure.

use super::finding::{Blame, Check, Finding};
use crate::realtime::http;
use crate::realtime::reason::Reason;

/// One answer over HTTP, as far as it is judged.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// `x-rate-limit`: broadcasts and deliveries a second that the project may make.
    pub(super) rate: Option<u32>,
    pub(super) body: String,
}

/// Without the body: it may repeat a row.
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// Whether a row was forbidden.
    pub(super) fn is_forbidden(&self) -> bool {
        self.code() == "42501"
    }

    /// Whether rows without an id, of which one was announced, were refused for what they are and not for the key.
    fn had_leave(&self) -> bool {
        self.status == 406 || matches!(self.code().as_str(), "23502" | "PGRST204")
    }

    /// PostgREST's code, or PostgreSQL's.
    fn code(&self) -> String {
        let json = serde_json::from_str::<serde_json::Value>(&self.body).unwrap_or_default();
        json.get("code").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

/// The answers to single broadcasts of so many KiB that nobody listens to, largest first; sizes after one that was
/// taken are not tried. Permission is judged after the size, so a 403 says that the size is fine.
pub(super) fn limits(tried: &[(u32, Reply)]) -> Finding {
    let check = Check::Limits;
    let Some((_, last)) = tried.last() else {
        return Finding::skipped(check, "the project does not answer over HTTP");
    };
    let rate = last
        .rate
        .map_or("a rate that it does not tell".to_owned(), |rate| format!("{rate} messages a second"));
    let verdict = |reply: &Reply| http::answer(reply.status, &reply.body).map_err(|refused| refused.reason);
    let taken = |reply: &Reply| matches!(verdict(reply), Ok(()) | Err(Reason::Unauthorized));
    let largest = tried.iter().find(|(_, reply)| taken(reply));
    match (largest, verdict(last)) {
        (Some((kib, _)), _) if tried.len() == 1 => {
            Finding::fine(check, format!("{rate}, payloads of {kib} KiB"))
        }
        (Some((kib, _)), _) => Finding::warning(
            check,
            format!(
                "{rate}, payloads of {kib} KiB but not of {} KiB",
                tried.first().map_or(0, |(kib, _)| *kib)
            ),
            "larger batches are refused; raise the project's payload limit (Realtime settings) or its plan",
        ),
        (None, Err(Reason::PayloadTooLarge)) => Finding::fails(
            check,
            Blame::Ours,
            format!("{rate}, payloads of less than {} KiB", tried.last().map_or(0, |(kib, _)| *kib)),
            "raise the project's payload limit (Realtime settings): batches of the mirror do not fit",
        ),
        (None, Err(Reason::RouteUnknown)) => {
            Finding::skipped(check, "this server has no broadcasts over HTTP that tell its limits")
        }
        (None, Err(reason)) => super::judge::refused(check, reason),
        (None, Ok(())) => Finding::skipped(check, "nothing was seen"),
    }
}

/// The answers to a read of no rows, to two rows without an id, which no table with a primary key takes, and, where
/// those were forbidden, to the same rows when nothing of them is wanted back: `blind`.
pub(super) fn table(
    name: &str,
    read: Option<&Reply>,
    write: Option<&Reply>,
    blind: Option<&Reply>,
) -> Finding {
    let check = Check::Table;
    let ours = |found: String, remedy: &str| Finding::fails(check, Blame::Ours, found, remedy);
    let (Some(read), Some(write)) = (read, write) else {
        let remedy = "is the data API (PostgREST) of the project on, and SUPABASE_URL the project's?";
        return Finding::fails(check, Blame::Theirs, "no answer at /rest/v1", remedy);
    };
    let code = if read.status >= 400 && read.status != 401 && read.status != 403 {
        read.code()
    } else {
        write.code()
    };
    match (read.status, write.status, code.as_str()) {
        (_, _, "PGRST205" | "42P01") => ours(
            format!("no table public.{name}"),
            "create it; if it was created just now, reload PostgREST: NOTIFY pgrst, 'reload schema'",
        ),
        (_, _, "PGRST106") => ours(
            "the schema public is not exposed".to_owned(),
            "add it to the exposed schemas of the data API",
        ),
        (_, _, "42501") if blind.is_some_and(Reply::had_leave) => ours(
            format!("the key may insert into {name} but not read it"),
            "grant SELECT to the key's role and add a policy for it: a row that is sent again is looked up by its id",
        ),
        (_, _, "42501") => ours(
            format!("the key may not insert into {name}"),
            "grant INSERT and SELECT to the key's role and add a policy for it, or use the service_role key",
        ),
        (_, 401, code) => ours(
            format!(
                "the data API refuses the key{}",
                if code.is_empty() { String::new() } else { format!(" ({code})") }
            ),
            "use a key of this project that is not expired",
        ),
        (200..=299, 400, "23502") => Finding::fine(check, format!("{name} takes rows from this key")),
        (200..=299, 406, _) => Finding::warning(
            check,
            format!("{name} takes rows, but without an id too"),
            "make id the primary key: without one, a row that is sent again is stored again",
        ),
        (200..=299, 400, "PGRST204") => {
            ours(format!("{name} has no column id"), "add a column id as the primary key")
        }
        (read, write, code) if read >= 500 || write >= 500 => Finding::fails(
            check,
            Blame::Theirs,
            format!("the data API answers {} {code}", read.max(write)),
            "look at the project's status and the database's log",
        ),
        (read, write, code) => ours(
            format!("the data API answers {read} to a read and {write} {code} to a row"),
            "look the code up in PostgREST's documentation of errors",
        ),
    }
}

/// What the server said to a subscription to the table's changes; `None`: nothing in time.
pub(super) fn publication(name: &str, said: Option<Result<(), Reason>>) -> Finding {
    let check = Check::Publication;
    match said {
        Some(Ok(())) => Finding::fine(check, format!("changes of {name} are told")),
        Some(Err(Reason::ChangesRefused)) => Finding::fails(
            check,
            Blame::Ours,
            format!("changes of {name} are not told"),
            format!("alter publication supabase_realtime add table public.{name}"),
        ),
        Some(Err(reason)) => super::judge::refused(check, reason),
        None => Finding::fails(
            check,
            Blame::Theirs,
            "no word about the subscription",
            "Realtime follows the database after some seconds; wait longer with --patience, or look at its log",
        ),
    }
}
