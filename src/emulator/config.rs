//! What an emulator is told at the start: secret, limits, policies, tables.
//! Defaults are those of a self-hosted server (recordings' README, "Limits"), except that any Host is a tenant.

use super::fault::Fault;
use super::rest::Table;
use super::token::Secret;
use std::time::{Duration, Instant};

/// Everything an emulator is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Signs and checks tokens (HS256).
    pub secret: Secret,
    /// The only tenant (text before the first dot of the Host); `None` accepts every Host.
    pub tenant: Option<String>,
    /// Tenant limits.
    pub limits: Limits,
    /// Who may read and write private topics; `service_role` may everything without an entry.
    pub policies: Vec<Policy>,
    /// Refuse public channels.
    pub private_only: bool,
    /// Tables of the memory; the published ones can be subscribed to with `postgres_changes`.
    pub tables: Vec<Table>,
    /// Row-level security in the small: who may read and write the rows of a table (`topic` is the table's name);
    /// `service_role` may everything without an entry.
    pub table_policies: Vec<Policy>,
    /// Most rows that one read through `/rest/v1` gives.
    pub max_rows: u64,
    /// How long the first `postgres_changes` subscription after a start takes (1.2–2.2 s recorded).
    pub first_subscription: Duration,
    /// Faults active from the start.
    pub faults: Vec<Fault>,
}

impl Config {
    /// A server with default limits, no policies and no tables.
    #[must_use]
    pub fn new(secret: Secret) -> Config {
        Config {
            secret,
            tenant: None,
            limits: Limits::default(),
            policies: Vec::new(),
            private_only: false,
            tables: Vec::new(),
            table_policies: Vec::new(),
            max_rows: 1_000,
            first_subscription: Duration::from_millis(1_500),
            faults: Vec::new(),
        }
    }
}

/// Tenant limits; what happens beyond each is in the essay of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Broadcasts accepted plus deliveries, per second.
    pub events_per_second: u32,
    /// Joins per second.
    pub joins_per_second: u32,
    /// Channels on one socket.
    pub channels_per_socket: usize,
    /// Sockets that have joined something.
    pub users: usize,
    /// Payload limit in units of 1000 bytes; 500 bytes of slack come on top.
    pub payload_kb: usize,
    /// Presence messages per second.
    pub presence_per_second: u32,
    /// Largest frame in bytes; a larger one closes with 1009.
    pub frame_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            events_per_second: 100,
            joins_per_second: 100,
            channels_per_socket: 100,
            users: 200,
            payload_kb: 3_000,
            presence_per_second: 1_000,
            frame_bytes: 5_000_000,
        }
    }
}

impl Limits {
    /// Limits that never get in the way: for demos and load.
    #[must_use]
    pub fn generous() -> Limits {
        Limits {
            events_per_second: 1_000_000,
            joins_per_second: 1_000_000,
            channels_per_socket: 10_000,
            users: 100_000,
            ..Limits::default()
        }
    }

    /// The payload limit in bytes of Erlang external term size.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload_kb.saturating_mul(1_000).saturating_add(500)
    }
}

/// One row-level-security policy in the small: a role, a topic pattern, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The token's role.
    pub role: String,
    /// Topic without `realtime:`; a trailing `*` stands for any rest.
    pub topic: String,
    /// May join.
    pub read: bool,
    /// May broadcast.
    pub write: bool,
}

impl Policy {
    /// Reads a file of policies, one a line. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The number of the line and a sentence for the person who wrote it.
    pub fn parse_file(text: &str) -> Result<Vec<Policy>, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        said.map(|(no, line)| Policy::parse(line).map_err(|what| format!("line {}: {what}", no + 1)))
            .collect()
    }

    /// Reads `ROLE:TOPIC:r|w|rw`; the topic may contain colons.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let example = "such as authenticated:room:*:rw";
        let (role, rest) =
            text.split_once(':').ok_or_else(|| format!("expected ROLE:TOPIC:r|w|rw, {example}"))?;
        let (topic, access) =
            rest.rsplit_once(':').ok_or_else(|| format!("expected ROLE:TOPIC:r|w|rw, {example}"))?;
        let (read, write) = match access {
            "r" => (true, false),
            "w" => (false, true),
            "rw" => (true, true),
            _ => return Err(format!("access must be r, w or rw, {example}")),
        };
        Ok(Policy { role: role.to_owned(), topic: topic.to_owned(), read, write })
    }
}

/// Ties the monotonic clock that the machine is driven by to the wall clock that tokens speak of.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// A moment.
    pub at: Instant,
    /// The same moment in Unix milliseconds.
    pub unix_ms: i64,
}

impl Clock {
    /// Unix milliseconds at `now`.
    #[must_use]
    pub fn unix_ms(&self, now: Instant) -> i64 {
        let after = now.saturating_duration_since(self.at).as_millis();
        let before = self.at.saturating_duration_since(now).as_millis();
        self.unix_ms
            .saturating_add(i64::try_from(after).unwrap_or(i64::MAX))
            .saturating_sub(i64::try_from(before).unwrap_or(i64::MAX))
    }

    /// Unix seconds at `now`.
    #[must_use]
    pub fn unix(&self, now: Instant) -> i64 {
        self.unix_ms(now).div_euclid(1_000)
    }
}

/// Whether `text` fits `pattern`, where a trailing `*` stands for any rest.
#[must_use]
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_from_one_line() {
        let policy = Policy::parse("authenticated:room:*:rw").unwrap();
        assert_eq!((policy.topic.as_str(), policy.read, policy.write), ("room:*", true, true));
        assert!(Policy::parse("anon:x:q").is_err());
        assert!(Policy::parse("anon").is_err());
    }

    #[test]
    fn a_file_has_one_policy_a_line() {
        let read = Policy::parse_file("# who may what\n\n anon:a:r\nauthenticated:room:*:rw\n").unwrap();
        assert_eq!(read.iter().map(|one| one.role.as_str()).collect::<Vec<_>>(), ["anon", "authenticated"]);
        assert!(Policy::parse_file("anon:a:r\nanon:b").unwrap_err().starts_with("line 2: "));
    }

    #[test]
    fn patterns_end_in_a_star() {
        assert!(fits("room:*", "room:1"));
        assert!(fits("*", ""));
        assert!(!fits("room", "room:1"));
    }
}
