//! What a check says, and how a report is written for programs; `crossfade check` lays it out for people.
//! The names are an interface: scripts read them from `--json`.

use serde_json::{Value, json};

/// One thing that is looked at, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The variables.
    Configuration,
    /// The legacy service is there and answers an upgrade.
    Upstream,
    /// The form of `SUPABASE_URL`.
    Url,
    /// Kind, role and expiry of the sidecar's key.
    Key,
    /// The key for native sessions.
    AnonKey,
    /// Our clock against the project's.
    Clock,
    /// A socket with Realtime.
    Connect,
    /// The private topic of this pod.
    Join,
    /// A broadcast that comes back.
    RoundTrip,
    /// What the project allows, as far as it shows.
    Limits,
    /// The table that rows go to is there and takes them.
    Table,
    /// Its changes are told.
    Publication,
}

impl Check {
    /// Every check, in order.
    pub const ALL: [Self; 12] = [
        Self::Configuration,
        Self::Upstream,
        Self::Url,
        Self::Key,
        Self::AnonKey,
        Self::Clock,
        Self::Connect,
        Self::Join,
        Self::RoundTrip,
        Self::Limits,
        Self::Table,
        Self::Publication,
    ];

    /// The name in the table and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Upstream => "upstream",
            Self::Url => "supabase_url",
            Self::Key => "key",
            Self::AnonKey => "anon_key",
            Self::Clock => "clock",
            Self::Connect => "connect",
            Self::Join => "join",
            Self::RoundTrip => "round_trip",
            Self::Limits => "limits",
            Self::Table => "table",
            Self::Publication => "publication",
        }
    }
}

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// A setting, a key or a policy must change.
    Ours,
    /// Something is not there, is full or is broken.
    Theirs,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It works, but somebody should know.
    Warning,
    /// It does not work.
    Fails(Blame),
    /// Not tried, because something else failed or is not configured.
    Skipped,
}

impl Verdict {
    /// The word in the table and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Fails(_) => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen.
    pub found: String,
    /// What to change; empty where nothing is to be changed.
    pub remedy: String,
}

impl Finding {
    pub(super) fn fine(check: Check, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fine, found: found.into(), remedy: String::new() }
    }

    pub(super) fn warning(check: Check, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), remedy: remedy.into() }
    }

    pub(super) fn fails(
        check: Check,
        blame: Blame,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, verdict: Verdict::Fails(blame), found: found.into(), remedy: remedy.into() }
    }

    pub(super) fn skipped(check: Check, why: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Skipped, found: why.into(), remedy: String::new() }
    }

    /// Whether it does not work.
    #[must_use]
    pub const fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Fails(_))
    }
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order of [`Check::ALL`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst blame, ours before theirs: what is ours can be changed at once. `None` if nothing failed.
    #[must_use]
    pub fn blame(&self) -> Option<Blame> {
        let has = |blame| self.findings.iter().any(|finding| finding.verdict == Verdict::Fails(blame));
        [Blame::Ours, Blame::Theirs].into_iter().find(|blame| has(*blame))
    }

    /// For programs: `{"ok":…,"findings":[{"check","verdict","blame","found","remedy"}]}`.
    #[must_use]
    pub fn json(&self) -> String {
        let findings = self.findings.iter().map(|finding| {
            let blame = match finding.verdict {
                Verdict::Fails(Blame::Ours) => Value::from("ours"),
                Verdict::Fails(Blame::Theirs) => Value::from("theirs"),
                _ => Value::Null,
            };
            json!({
                "check": finding.check.as_str(),
                "verdict": finding.verdict.as_str(),
                "blame": blame,
                "found": finding.found,
                "remedy": finding.remedy,
            })
        });
        let findings: Vec<Value> = findings.collect();
        format!("{:#}\n", json!({ "ok": self.blame().is_none(), "findings": findings }))
    }
}
