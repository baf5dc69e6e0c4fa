//! What was seen, judged: pure, with the time as an argument.
//! Each function makes the one finding of its check.

use std::time::Duration;

use super::finding::{Blame, Check, Finding};
use crate::realtime::key::{ApiKey, KeyKind, Role};
use crate::realtime::reason::{Cause, Reason};
use crate::realtime::url::{Endpoint, Layout};

/// A key that ends sooner is worth a word.
const EXPIRES_SOON_SECS: u64 = 7 * 86_400;
/// Tokens of a short life and read times depend on clocks that agree to about this.
const SKEW_WARNING_SECS: u64 = 5;
/// A clock so far off makes fresh tokens look expired, or dead ones alive.
const SKEW_MAX_SECS: u64 = 60;

/// What a request to the service came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// No connection, in our words.
    Unreachable(String),
    /// Connected, and then no HTTP.
    NoHttp,
    /// An HTTP status, and the `Date` field.
    Http { status: u16, date: Option<String> },
}

/// The service's answer to an upgrade at `path`, whose query may hold a token and is not repeated.
pub(super) fn upstream(answer: &Answer, place: &str, path: &str) -> Finding {
    let check = Check::Upstream;
    let path = path.split('?').next().unwrap_or_default();
    match answer {
        Answer::Unreachable(why) => Finding::fails(
            check,
            Blame::Theirs,
            format!("{place}: {why}"),
            "start the service, or correct CROSSFADE_UPSTREAM",
        ),
        Answer::NoHttp => Finding::fails(
            check,
            Blame::Theirs,
            format!("{place} takes connections but does not answer HTTP"),
            "look at the service's log; is CROSSFADE_UPSTREAM its WebSocket port, and ws or wss right?",
        ),
        Answer::Http { status: 101, .. } => Finding::fine(check, format!("{place}{path} opens a WebSocket")),
        Answer::Http { status, .. } => Finding::warning(
            check,
            format!("{place}{path} answers an upgrade with {status}"),
            "if clients connect to another path or with credentials that is to be expected; try --path",
        ),
    }
}

/// The form of the project's URL.
pub(super) fn url(endpoint: &Endpoint, text: &url::Url) -> Finding {
    let check = Check::Url;
    let form = match endpoint.layout() {
        Layout::Gateway => "a gateway (hosted or Kong), /realtime/v1",
        Layout::Bare => "a bare Realtime server, /socket",
    };
    let clear = matches!(text.scheme(), "http" | "ws");
    let host = text.host_str().unwrap_or_default();
    if clear && host.ends_with(".supabase.co") {
        return Finding::fails(
            check,
            Blame::Ours,
            format!("{form}, without TLS"),
            "use https in SUPABASE_URL",
        );
    }
    Finding::fine(check, format!("{form}{}", if clear { ", without TLS" } else { "" }))
}

/// The sidecar's own key.
pub(super) fn key(key: &ApiKey, layout: Layout, unix_secs: u64) -> Finding {
    let check = Check::Key;
    let ours = |found: String, remedy: &str| Finding::fails(check, Blame::Ours, found, remedy);
    match key.kind() {
        KeyKind::Malformed(why) => return ours("not a key".to_owned(), why.advice()),
        KeyKind::Publishable | KeyKind::Secret if layout == Layout::Bare => {
            return ours(
                format!("{key} at a bare server"),
                "sb_ keys work only through the gateway; use a JWT signed with the server's secret",
            );
        }
        _ => {}
    }
    if let Some(exp) = key.exp()
        && exp <= unix_secs
    {
        let ago = span(unix_secs - exp);
        return ours(format!("{key}, expired {ago} ago"), Reason::TokenExpired.advice());
    }
    let expiry = key.exp().map(|exp| (exp - unix_secs, format!(", expires in {}", span(exp - unix_secs))));
    let (left, expiry) = expiry.unwrap_or((u64::MAX, String::new()));
    if key.role() == Some(&Role::Anon) {
        return Finding::warning(
            check,
            format!("{key}, a public key{expiry}"),
            "private topics need policies for anon, or the service_role (sb_secret_) key in SUPABASE_KEY",
        );
    }
    if left < EXPIRES_SOON_SECS {
        let remedy = "renew it in time; with SUPABASE_KEY_FILE a restart is enough";
        return Finding::warning(check, format!("{key}{expiry}"), remedy);
    }
    Finding::fine(check, format!("{key}{expiry}"))
}

/// The key that native sessions get.
pub(super) fn anon_key(key: Option<&ApiKey>, native: bool, layout: Layout, unix_secs: u64) -> Finding {
    let check = Check::AnonKey;
    let Some(anon) = key else {
        return if native {
            let remedy = "set SUPABASE_ANON_KEY; native sessions are opened with it";
            Finding::fails(check, Blame::Ours, "not set", remedy)
        } else {
            Finding::skipped(check, "not set; only the native lane needs it")
        };
    };
    if anon.is_privileged() {
        let remedy = "set the anon or sb_publishable_ key: this one reaches past every policy";
        return Finding::fails(check, Blame::Ours, format!("{anon} is not public"), remedy);
    }
    let judged = self::key(anon, layout, unix_secs);
    if judged.failed() {
        return Finding { check, ..judged };
    }
    Finding::fine(check, format!("{anon}"))
}

/// Our clock against the `Date` of the project's gateway.
pub(super) fn clock(theirs: Option<i64>, ours: i64) -> Finding {
    let check = Check::Clock;
    let Some(theirs) = theirs else { return Finding::skipped(check, "the project tells no time over HTTP") };
    let (skew, side) = (ours.abs_diff(theirs), if ours > theirs { "ahead" } else { "behind" });
    let found = format!("{} {side} of the project's", span(skew));
    let remedy = "synchronise this machine's clock (NTP); tokens are judged by it";
    match skew {
        ..=SKEW_WARNING_SECS => Finding::fine(check, format!("agrees within {} s", skew + 1)),
        skew if skew <= SKEW_MAX_SECS => Finding::warning(check, found, remedy),
        _ => Finding::fails(check, Blame::Ours, found, remedy),
    }
}

/// A step of the link that ended for `reason`.
pub(super) fn refused(check: Check, reason: Reason) -> Finding {
    let blame = match reason.cause() {
        Cause::OurConfiguration | Cause::OurAuthorization => Blame::Ours,
        Cause::Quota | Cause::ProviderOutage | Cause::AnnouncedRestart | Cause::OwnFault => Blame::Theirs,
    };
    Finding::fails(check, blame, reason.as_str(), reason.advice())
}

/// Nothing came within the patience.
pub(super) fn silent(check: Check, patience: Duration) -> Finding {
    let remedy = match check {
        Check::RoundTrip => {
            "a policy must let this role write as well as read on realtime.messages; else Realtime is overloaded"
        }
        _ => "Realtime does not answer; look at its status, or wait longer with --patience",
    };
    Finding::fails(check, Blame::Theirs, format!("no answer in {} s", patience.as_secs()), remedy)
}

/// A broadcast came back after `took`; `deadline` is the hot lane's.
pub(super) fn round_trip(took: Duration, deadline: Duration) -> Finding {
    let found = format!("{:.1} ms from publish to read-back", took.as_secs_f64() * 1_000.0);
    if took > deadline {
        let remedy = "above CROSSFADE_HOT_DEADLINE: hot messages would be released from memory";
        return Finding::warning(Check::RoundTrip, found, remedy);
    }
    Finding::fine(Check::RoundTrip, found)
}

/// A span of time in its largest whole unit.
fn span(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}
