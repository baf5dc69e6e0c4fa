//! A joined channel, what its join asked for, and what ends it.
//! Wrongly typed configuration falls back to defaults without a word (recording 01): parsing here cannot fail.

use super::codec::Version;
use super::json::Json;
use super::token::Claims;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Prefix of every channel topic on a socket.
pub(super) const PREFIX: &str = "realtime:";

/// One live channel of one socket.
pub(super) struct Channel {
    /// Unique in the process; members of a room are delivered to in this order.
    pub id: u64,
    /// Topic with prefix.
    pub topic: String,
    /// The join's `join_ref`; `Null` when it had none.
    pub join_ref: Json,
    pub asked: JoinConfig,
    /// The token text, to recognise the same one in `access_token`.
    pub token: String,
    pub claims: Claims,
    /// Write permission, judged at the first broadcast and forgotten at a new token.
    pub write: Option<bool>,
    /// The events limit at the join: a lowered limit does not reach joined channels.
    pub events_limit: u32,
    /// When the token is looked at again.
    pub check_at: Option<Instant>,
    /// Its database subscriptions work.
    pub subscribed: bool,
    /// Ref of the leave under way.
    pub leaving: Option<Json>,
    pub presence: Presence,
}

/// Without the token, what it claims, and what is tracked.
impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("id", &self.id).field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Channel {
    /// Topic without prefix.
    pub(super) fn name(&self) -> &str {
        self.topic.strip_prefix(PREFIX).unwrap_or(&self.topic)
    }

    pub(super) fn room(&self) -> Room {
        Room { private: self.asked.private, name: self.name().to_owned() }
    }
}

/// Public and private channels of one name are different rooms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Room {
    pub private: bool,
    pub name: String,
}

/// A channel's own presence.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// What it tracks now.
    pub tracked: Option<Tracked>,
    /// When it called in the last 30 s.
    pub calls: VecDeque<Instant>,
}

/// One tracked state.
#[derive(Debug, Clone)]
pub(super) struct Tracked {
    pub reference: String,
    pub previous: Option<String>,
    pub state: BTreeMap<String, Json>,
}

/// What a join asked for, after lenient reading.
#[derive(Debug, Clone, Default)]
pub(super) struct JoinConfig {
    /// Reply to each broadcast.
    pub ack: bool,
    /// Deliver own broadcasts back.
    pub own: bool,
    /// A private channel.
    pub private: bool,
    /// Presence wanted.
    pub presence: bool,
    /// Presence key; empty means one is made up.
    pub presence_key: String,
    /// Tell when database broadcasts work.
    pub replication_ready: bool,
    /// Replay wanted.
    pub replay: Replay,
    /// `postgres_changes`, as given.
    pub changes: Vec<BTreeMap<String, Json>>,
}

/// What a join asked of the replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Replay {
    /// Nothing.
    #[default]
    None,
    /// Something that cannot be understood: the join is refused.
    Invalid,
    /// The newest `limit` since `since_ms` (Unix milliseconds).
    Since {
        /// Unix milliseconds.
        since_ms: i64,
        /// 1 to 25.
        limit: usize,
    },
}

/// Most broadcasts in one replay.
pub(super) const REPLAY_MAX: usize = 25;

impl JoinConfig {
    /// Reads the payload of a join on `name` (topic without prefix). No `config` at all is the old API, where the
    /// topic is `schema[:table[:filter]]`.
    #[must_use]
    pub(super) fn read(payload: &Json, name: &str) -> JoinConfig {
        let Some(config) = payload.member("config") else {
            return JoinConfig { changes: vec![old_api(name)], ..JoinConfig::default() };
        };
        let broadcast = config.member("broadcast").unwrap_or(&Json::Null);
        let presence = config.member("presence").unwrap_or(&Json::Null);
        JoinConfig {
            ack: truth(broadcast.member("ack")),
            own: truth(broadcast.member("self")),
            private: truth(config.member("private")),
            presence: truth(presence.member("enabled")),
            presence_key: presence.member("key").and_then(Json::as_text).unwrap_or_default().to_owned(),
            replication_ready: truth(broadcast.member("replication_ready")),
            replay: replay(broadcast.member("replay")),
            changes: changes(config.member("postgres_changes")),
        }
    }
}

/// The access token a join or an `access_token` message brings. Null, other types and `sb_` keys count as none.
#[must_use]
pub(super) fn token_of(payload: &Json) -> Option<&str> {
    ["access_token", "user_token"]
        .iter()
        .find_map(|key| payload.member(key).and_then(Json::as_text))
        .filter(|token| !token.starts_with("sb_"))
}

fn truth(value: Option<&Json>) -> bool {
    match value {
        Some(Json::Bool(value)) => *value,
        Some(Json::Text(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn replay(value: Option<&Json>) -> Replay {
    let Some(value @ Json::Map(_)) = value else { return Replay::None };
    let number = |key: &str| match value.member(key) {
        Some(Json::Int(digits)) => digits.parse::<i64>().ok(),
        _ => None,
    };
    let Some(since_ms) = number("since") else { return Replay::Invalid };
    let most = i64::try_from(REPLAY_MAX).unwrap_or(i64::MAX);
    let limit = usize::try_from(number("limit").unwrap_or(most).clamp(1, most)).unwrap_or(1);
    Replay::Since { since_ms, limit }
}

fn changes(value: Option<&Json>) -> Vec<BTreeMap<String, Json>> {
    let Some(Json::List(items)) = value else { return Vec::new() };
    let known = ["event", "schema", "table", "filter", "select"];
    let entry = |item: &Json| match item {
        Json::Map(map) => Some(
            map.iter()
                .filter(|(key, _)| known.contains(&key.as_str()))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        ),
        _ => None,
    };
    items.iter().filter_map(entry).collect()
}

fn old_api(name: &str) -> BTreeMap<String, Json> {
    ["schema", "table", "filter"]
        .iter()
        .zip(name.splitn(3, ':'))
        .map(|(key, value)| ((*key).to_owned(), Json::text(value)))
        .collect()
}

/// A `system` message.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    pub message: String,
    pub ok: bool,
    pub extension: &'static str,
    /// A server-wide notice has neither channel nor join_ref.
    pub everywhere: bool,
}

impl Notice {
    /// Ends the channel it is sent to.
    pub(super) fn error(message: impl Into<String>) -> Notice {
        Notice { message: message.into(), ok: false, extension: "system", everywhere: false }
    }

    pub(super) fn ok(message: &str) -> Notice {
        Notice { message: message.to_owned(), ok: true, extension: "system", everywhere: false }
    }

    pub(super) fn database(message: impl Into<String>, ok: bool) -> Notice {
        Notice { message: message.into(), ok, extension: "postgres_changes", everywhere: false }
    }
}

/// What a socket speaks and who it is, from the upgrade.
#[derive(Clone)]
pub(super) struct Identity {
    pub version: Version,
    /// The connect token: joins without a token of their own use it.
    pub token: String,
}

/// Without the token.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> JoinConfig {
        JoinConfig::read(&Json::parse(&format!("{{\"config\":{config}}}")).unwrap(), "t")
    }

    #[test]
    fn strings_count_as_booleans_and_wrong_types_as_nothing() {
        let asked = read(r#"{"broadcast":{"ack":"true","self":"True"},"private":"false"}"#);
        assert_eq!((asked.ack, asked.own, asked.private), (true, true, false));
        let asked = read(r#"{"broadcast":{"ack":"maybe","self":3},"presence":5,"private":false}"#);
        assert_eq!((asked.ack, asked.own, asked.presence), (false, false, false));
    }

    #[test]
    fn replay_needs_a_number_and_caps_its_limit() {
        let of = |text: &str| read(&format!("{{\"broadcast\":{{\"replay\":{text}}}}}")).replay;
        assert_eq!(of(r#"{"since":5,"limit":100}"#), Replay::Since { since_ms: 5, limit: 25 });
        assert_eq!(of(r#"{"since":5}"#), Replay::Since { since_ms: 5, limit: 25 });
        assert_eq!(of(r#"{"limit":2}"#), Replay::Invalid);
        assert_eq!(of(r#"{"since":"2026-01-01"}"#), Replay::Invalid);
    }

    #[test]
    fn no_config_is_the_old_api() {
        let asked = JoinConfig::read(&Json::parse("{}").unwrap(), "public:frames");
        assert_eq!(asked.changes.first().and_then(|c| c.get("table")), Some(&Json::text("frames")));
    }

    #[test]
    fn sb_keys_and_other_types_are_no_tokens() {
        for (payload, token) in [
            (r#"{"access_token":"a.b.c"}"#, Some("a.b.c")),
            (r#"{"access_token":"sb_publishable_x"}"#, None),
            (r#"{"access_token":5}"#, None),
            (r#"{"access_token":null}"#, None),
        ] {
            assert_eq!(token_of(&Json::parse(payload).unwrap()), token);
        }
    }
}
