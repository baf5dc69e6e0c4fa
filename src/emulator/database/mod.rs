//! What a client sees of the database: subscriptions to tables, row changes, broadcasts sent from SQL, replay.
//! Rows are not here: `rest` has them, or a PostgreSQL has, or whoever drives the emulator says what changed.

use super::channel::{Notice, PREFIX, REPLAY_MAX, Room};
use super::codec::{Broadcast, UserBroadcast};
use super::fault::Effects;
use super::json::{Json, write_members};
use super::machine::{ConnId, Emulator};
use super::rest::Table;
use super::timers::Timer;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

mod array;
mod changes;
mod decoded;

pub(super) use array::show_array;
pub use changes::{ChangeKind, DatabaseChange};
pub(super) use decoded::{Decoder, Row};

/// A row whose JSON is longer is told of without its large columns (recording 09; the server's setting).
pub(super) const RECORD_MAX: usize = 1_048_576;
/// In such a row, columns that take more bytes than this are left out, and nulls.
pub(super) const SMALL_MAX: usize = 64;
/// Most stored broadcasts; beyond it the oldest is dropped.
pub(super) const STORED_MAX: usize = 10_000;
/// How long a stored broadcast can be replayed.
const STORED_FOR_MS: i64 = 72 * 3_600_000;
/// Rows that the memory changed are told of so long after: the real server looks at its database every 100 ms.
const LOOK: Duration = Duration::from_millis(100);
/// So many changes are not left lying for that long: looking comes early then.
const UNREAD_MAX: usize = 10_000;
/// How long a subscription takes once the server follows the database.
const LATER_SUBSCRIPTION: Duration = Duration::from_millis(20);

/// A broadcast as SQL sends it (`realtime.send`, `realtime.send_binary`).
#[derive(Clone)]
pub struct DatabaseBroadcast {
    /// Topic without `realtime:`.
    pub topic: String,
    /// Event name.
    pub event: String,
    /// To the private room of that name.
    pub private: bool,
    /// Row id; made up when absent.
    pub id: Option<String>,
    /// Whether `payload` is JSON text.
    pub json: bool,
    /// The payload as stored.
    pub payload: Bytes,
}

/// State of the pretended database.
#[derive(Default)]
pub(super) struct Database {
    followed: bool,
    stored: VecDeque<Stored>,
    /// Changes that nobody has looked at yet.
    unread: Vec<DatabaseChange>,
}

struct Stored {
    at_ms: i64,
    topic: String,
    user: UserBroadcast,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("stored", &self.stored.len()).finish_non_exhaustive()
    }
}

impl Database {
    /// How long the next subscription takes; the first one after a start takes `first`.
    pub(super) fn subscribe_takes(&mut self, first: Duration) -> Duration {
        if std::mem::replace(&mut self.followed, true) { LATER_SUBSCRIPTION } else { first }
    }

    /// A restarted server has to follow the database anew.
    pub(super) fn restarted(&mut self) {
        self.followed = false;
        self.unread.clear();
    }

    /// The newest broadcasts on a private topic, oldest first, marked as replayed.
    pub(super) fn replay(
        &self,
        topic: &str,
        (since_ms, limit): (i64, usize),
        now_ms: i64,
    ) -> Vec<UserBroadcast> {
        let since_ms = since_ms.max(now_ms.saturating_sub(STORED_FOR_MS));
        let found =
            self.stored.iter().rev().filter(|stored| stored.topic == topic && stored.at_ms >= since_ms);
        let mut found: Vec<UserBroadcast> = found
            .take(limit.min(REPLAY_MAX))
            .map(|stored| UserBroadcast {
                meta: format!("{},\"replayed\":true}}", stored.user.meta.trim_end_matches('}')),
                ..stored.user.clone()
            })
            .collect();
        found.reverse();
        found
    }

    fn store(&mut self, stored: Stored) {
        if self.stored.len() >= STORED_MAX {
            self.stored.pop_front();
        }
        self.stored.push_back(stored);
    }
}

impl Emulator {
    /// Does what `realtime.send` does: delivers, and keeps private ones for replay. Returns the row's id.
    pub fn database_broadcast(&mut self, sent: DatabaseBroadcast, now: Instant) -> String {
        self.handle_timeout(now);
        let id = sent.id.unwrap_or_else(|| self.uuid());
        let mut meta = "{\"id\":".to_owned();
        super::json::write_text(&id, &mut meta);
        meta.push('}');
        let user =
            UserBroadcast { event: Bytes::from(sent.event), meta, json: sent.json, payload: sent.payload };
        if sent.private {
            let at_ms = self.clock.unix_ms(now);
            self.database.store(Stored { at_ms, topic: sent.topic.clone(), user: user.clone() });
        }
        let room = Room { private: sent.private, name: sent.topic };
        let over = self.deliver(&room, (Broadcast::User(user), None), &Effects::default(), now);
        self.throw_out(&over);
        id
    }

    /// Rows changed in the memory: told of when the server looks at its database next, to whoever is subscribed then.
    pub(super) fn changed(&mut self, changes: Vec<DatabaseChange>, now: Instant) {
        if self.database.unread.is_empty() && !changes.is_empty() {
            self.timers.add(now + LOOK, Timer::Look);
        }
        self.database.unread.extend(changes);
        if self.database.unread.len() > UNREAD_MAX {
            self.look(now);
        }
    }

    /// Looks at the database: tells of what has changed since the last time.
    pub(super) fn look(&mut self, now: Instant) {
        for change in std::mem::take(&mut self.database.unread) {
            self.tell_change(&change, None, now);
        }
    }

    /// Says of each subscription of a channel whether it works: all is well, or the first that is not.
    pub(super) fn tell_subscribed(&mut self, id: ConnId, topic: &str, channel: u64) {
        let Some(found) = self.channel(id, topic).filter(|found| found.id == channel) else { return };
        let changes = found.asked.changes.clone();
        let failure = changes.iter().find_map(|change| failure(change, &self.config.tables));
        if let Some(found) = self.channel(id, topic) {
            found.subscribed = failure.is_none();
        }
        let notice = match failure {
            Some(text) => Notice::database(text, false),
            None => Notice::database("Subscribed to PostgreSQL", true),
        };
        debug_assert!(topic.starts_with(PREFIX));
        self.tell(id, topic, channel, &notice);
    }
}

/// The `response` of a join: an id for each subscription, the same for the same parameters.
pub(super) fn response(changes: &[BTreeMap<String, Json>]) -> String {
    let mut out = "{\"postgres_changes\":[".to_owned();
    for (index, change) in changes.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&format!("{{\"id\":{}", subscription_id(change)));
        write_members(change, true, &mut out);
        out.push('}');
    }
    out.push_str("]}");
    out
}

/// The same for the same parameters, on every channel.
fn subscription_id(change: &BTreeMap<String, Json>) -> u32 {
    crc32fast::hash(Json::Map(change.clone()).encode().as_bytes()) >> 5
}

/// Whether the parameters of a subscription cover a table.
fn matches_table(change: &BTreeMap<String, Json>, schema: &str, table: &str) -> bool {
    let of = |key: &str| change.get(key).and_then(Json::as_text);
    of("schema").unwrap_or("public") == schema && of("table").is_none_or(|name| name == "*" || name == table)
}

fn failure(change: &BTreeMap<String, Json>, tables: &[Table]) -> Option<String> {
    let of = |key: &str| change.get(key).and_then(Json::as_text);
    let (event, schema) = (of("event").unwrap_or("*"), of("schema").unwrap_or("public"));
    let name = of("table").unwrap_or("*");
    let filter = of("filter").and_then(read_filter);
    let shown = filter.as_ref().map_or_else(String::new, |(column, operator, value)| {
        format!("{{\"{column}\", \"{operator}\", \"{value}\", false}}")
    });
    let select = changes::selected(change).map_or("nil".to_owned(), |columns| format!("{columns:?}"));
    let parameters =
        format!("[event: {event}, schema: {schema}, table: {name}, filters: [{shown}], select: {select}]");
    let covered = |table: &&Table| table.published && matches_table(change, &table.schema, &table.name);
    let table = tables.iter().find(covered);
    let Some(table) = table else {
        return Some(format!(
            "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given \
             connect parameters: {parameters}"
        ));
    };
    let (column, _, _) = filter?;
    table.column(&column).is_none().then(|| {
        format!(
            "Unable to subscribe to changes with given parameters. An exception happened so please check your \
             connect parameters: {parameters}. Exception: ERROR P0001 (raise_exception) invalid column for filter \
             {column}"
        )
    })
}

/// `column=operator.value`.
fn read_filter(text: &str) -> Option<(String, String, String)> {
    let (column, rest) = text.split_once('=')?;
    let (operator, value) = rest.split_once('.')?;
    Some((column.to_owned(), operator.to_owned(), value.to_owned()))
}
