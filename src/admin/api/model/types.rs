//! `GET /api/v1/types`: the event types that were seen, and a rule file that would decide about them.

use serde::Serialize;

/// `GET /api/v1/types`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TypeList {
    /// The most frequent lately first; as many as the table holds.
    pub types: Vec<TypeRow>,
    /// Messages of all of them.
    pub messages: u64,
    /// Messages whose type found no room in the table.
    pub untracked: u64,
    /// A rule file for `CROSSFADE_CLASSIFY=@/path`: text for people to edit.
    pub proposed: String,
}

/// One event type.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TypeRow {
    /// The name that its protocol gives it.
    pub r#type: String,
    /// Messages since it was first seen, or seen again after it had been forgotten.
    pub count: u64,
    /// Their bytes, as captured.
    pub bytes: u64,
    /// Of one message.
    pub bytes_avg: u64,
    /// Of all messages in the list.
    pub share: f64,
    /// Lately.
    pub per_s: f64,
    /// For how long none came.
    pub quiet_s: f64,
    /// Of the newest message; null where it is left out.
    pub class: Option<&'static str>,
    /// Who named the class, or left it out: `rule` or `frequency`.
    pub why: &'static str,
    /// The rule that matches, from 1.
    pub rule: Option<usize>,
    /// Whether it may become an event.
    pub shared: bool,
    /// A class, or `skip`; null where a rule matches already.
    pub proposed: Option<&'static str>,
}
