//! What PostgREST's answers mean for a batch of rows. Sources: PostgREST's `errors.rst`, PostgreSQL's appendix A.

use serde::Deserialize;

use super::Reply;

/// What an answer calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Stored, or there already.
    Stored,
    /// Something in the batch is refused for good: find it.
    Bad,
    /// Too much at once: again in halves, after a wait.
    TooMuch,
    /// The statement took too long: again in halves, and a single row again as it is.
    Slow,
    /// Nothing of ours is wrong: again after a wait.
    Later,
    /// The key is not taken: read it again, then tell a person.
    Key,
    /// Table, columns or rights are not as they must be: tell a person, and look again now and then.
    Setup,
}

impl Verdict {
    /// The word of the log and of the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Bad => "bad_row",
            Self::TooMuch => "too_much",
            Self::Slow => "slow",
            Self::Later => "unavailable",
            Self::Key => "key",
            Self::Setup => "setup",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Stored | Self::Bad | Self::TooMuch | Self::Slow | Self::Later => {
                "nothing to do: it is tried again"
            }
            Self::Key => "check SUPABASE_KEY: it must be service_role's or a JWT of role crossfade_mirror",
            Self::Setup => "apply deploy/supabase/migrations, and look at the grants on monitoring_events",
        }
    }
}

/// Reads an answer.
#[must_use]
pub fn judge(reply: &Reply) -> Verdict {
    let Reply::Answer { status, body, .. } = reply else { return Verdict::Later };
    let code = code(body);
    // Class 54 is a program limit, such as JSON nested too deep: a matter of one row, or of their number.
    if code.starts_with("54") {
        return Verdict::TooMuch;
    }
    if code == "57014" {
        return Verdict::Slow;
    }
    // Class 42 is about names and rights, whatever status it comes with.
    let setup = code.starts_with("42") || matches!(&*code, "PGRST106" | "PGRST125" | "PGRST204" | "PGRST205");
    match status {
        200..=299 => Verdict::Stored,
        401 if !setup => Verdict::Key,
        413 => Verdict::TooMuch,
        408 | 425 | 429 => Verdict::Later,
        400..=499 if setup => Verdict::Setup,
        400 | 409 | 422 => Verdict::Bad,
        // What is left of 1xx to 4xx is no answer of a table: another server, a redirect, a wall.
        100..=499 => Verdict::Setup,
        _ => Verdict::Later,
    }
}

pub(super) fn code(body: &str) -> String {
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: Option<String>,
    }
    serde_json::from_str::<Error>(body).ok().and_then(|error| error.code).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_lead_to_their_remedies() {
        use Verdict::{Bad, Key, Later, Setup, Slow, Stored, TooMuch};
        for (status, code, verdict) in [
            (201, "", Stored),
            (200, "", Stored),
            (204, "", Stored),
            (400, "PGRST102", Bad),
            (400, "22P02", Bad),
            (400, "22P05", Bad),
            (400, "23502", Bad),
            (400, "23514", Bad),
            (400, "", Bad),
            (409, "23505", Bad),
            (409, "23503", Bad),
            (400, "42703", Setup),
            (400, "42P10", Setup),
            (400, "PGRST204", Setup),
            (401, "PGRST301", Key),
            (401, "PGRST303", Key),
            (401, "", Key),
            (401, "42501", Setup),
            (403, "42501", Setup),
            (403, "", Setup),
            (404, "PGRST205", Setup),
            (404, "42P01", Setup),
            (302, "", Setup),
            (413, "", TooMuch),
            (413, "54001", TooMuch),
            (500, "54001", TooMuch),
            (500, "57014", Slow),
            (429, "", Later),
            (500, "40001", Later),
            (500, "40P01", Later),
            (503, "PGRST001", Later),
            (503, "53300", Later),
            (504, "PGRST003", Later),
            (520, "", Later),
        ] {
            let body = format!("{{\"code\":\"{code}\",\"message\":\"m\",\"details\":null,\"hint\":null}}");
            let reply = Reply::Answer { status, retry_after: None, body };
            assert_eq!(judge(&reply), verdict, "{status} {code}");
        }
        assert_eq!(judge(&Reply::Unknown), Later);
        let page = Reply::Answer { status: 502, retry_after: None, body: "<html>".to_owned() };
        assert_eq!(judge(&page), Later);
    }
}
