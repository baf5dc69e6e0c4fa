//! `GET /api/v1/types`: what the classifier has seen, as of the last second.

use super::Console;
use crate::admin::api::model::{TypeList, TypeRow};
use crate::app::figures::Kinds;
use crate::mirror::classify::Fate;
use crate::mirror::frequency::Seen;
use crate::mirror::propose::{Proposal, proposal, proposed_rules};

impl Console {
    /// Nothing without a mirror: then nobody classifies.
    pub(super) fn types(&self) -> Option<TypeList> {
        self.eyes.mirrors.then(|| list(&self.eyes.figures.kinds()))
    }
}

fn list(kinds: &Kinds) -> TypeList {
    let messages = kinds.seen.iter().map(|seen| seen.count).sum();
    TypeList {
        types: kinds.seen.iter().map(|seen| row(seen, messages)).collect(),
        messages,
        untracked: kinds.untracked,
        proposed: proposed_rules(&kinds.seen),
    }
}

fn row(seen: &Seen, messages: u64) -> TypeRow {
    let (class, shared) = match seen.fate {
        Fate::Mirror { class, shared } => (Some(class.as_str()), shared),
        Fate::Skip => (None, false),
    };
    TypeRow {
        r#type: seen.kind.as_str().to_owned(),
        count: seen.count,
        bytes: seen.bytes,
        bytes_avg: seen.bytes / seen.count.max(1),
        share: seen.count as f64 / messages.max(1) as f64,
        per_s: seen.per_s,
        quiet_s: seen.quiet.as_secs_f64(),
        class,
        why: if seen.by_rule { "rule" } else { "frequency" },
        rule: seen.rule,
        shared,
        proposed: proposal(seen).map(Proposal::as_str),
    }
}
