//! What pods share in Redis besides the flags: heartbeats, and one plan with one driver. Every change is one
//! script, so that it happens whole or not at all.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use serde::{Deserialize, Serialize};

use super::redis::Place;
use crate::rollout::plan::{Plan, Progress};

/// A driver that is not heard for so long has lost its lease.
const LEASE: Duration = Duration::from_secs(15);
/// Heartbeats older than this are swept out.
const SWEEP: Duration = Duration::from_secs(120);

/// Time is Redis's own: the clocks of pods differ.
const BEAT: &str = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000) \
    redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2]) \
    local all = redis.call('HGETALL', KEYS[1]); local out = {} \
    for i = 1, #all, 2 do \
      local at, said = string.match(all[i + 1], '^(%d+) (.*)$') \
      local age = now - tonumber(at or 0) \
      if age > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], all[i]) \
      else out[#out + 1] = {all[i], age, said} end \
    end \
    return out";

/// The lease's value is `HOLDER TOKEN`; a new holder gets a higher token.
const TAKE: &str = "local held = redis.call('GET', KEYS[1]) \
    if held then \
      local holder, token = string.match(held, '^(.*) (%d+)$') \
      if holder ~= ARGV[1] then return 0 end \
      redis.call('PEXPIRE', KEYS[1], ARGV[2]); return tonumber(token) \
    end \
    local token = redis.call('INCR', KEYS[2]) \
    redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. token, 'PX', ARGV[2]) \
    return token";

/// Writes the plan and, with it, the flags: if nobody else has written either since they were read, and no later
/// driver has been here. A token of 0 is a person, who needs no lease.
const COMMIT: &str = "local last = tonumber(redis.call('GET', KEYS[3]) or '0') \
    if tonumber(ARGV[1]) > 0 and tonumber(ARGV[1]) < last then return 'fenced' end \
    if (redis.call('GET', KEYS[1]) or '') ~= ARGV[2] then return 'moved' end \
    if ARGV[5] ~= '' then \
      if (redis.call('GET', KEYS[2]) or '') ~= ARGV[4] then return 'moved' end \
      redis.call('SET', KEYS[2], ARGV[5]); redis.call('PUBLISH', KEYS[2], '') \
    end \
    redis.call('SET', KEYS[1], ARGV[3]); return 'ok'";

/// The plan as Redis holds it. The revision makes two writings of the same content differ.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    pub(crate) revision: u64,
    pub(crate) plan: Plan,
    pub(crate) progress: Progress,
}

/// A pod's heartbeat as another pod sees it.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    pub(super) age: Duration,
    pub(super) said: String,
}

/// What was read, as it was, so that a change can name it.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub(super) plan: String,
    pub(super) flags: String,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commit {
    Done,
    /// Somebody else was faster; read again.
    Moved,
    /// A later driver has been here: this one has lost its lease.
    Fenced,
}

/// Redis as the pods' common ground.
pub(super) struct Shared {
    place: Place,
    connection: MultiplexedConnection,
}

impl Shared {
    pub(super) const fn new(place: Place, connection: MultiplexedConnection) -> Self {
        Self { place, connection }
    }

    /// Says something and hears everybody, oneself included.
    pub(super) async fn beat(&mut self, pod: &str, said: &str) -> RedisResult<Vec<Beat>> {
        let mut script = redis::cmd("EVAL");
        script.arg(BEAT).arg(1).arg(self.place.key("pods"));
        script.arg(pod).arg(said).arg(millis(SWEEP));
        let all: Vec<(String, u64, String)> = script.query_async(&mut self.connection).await?;
        Ok(all.into_iter().map(|(_, age, said)| Beat { age: Duration::from_millis(age), said }).collect())
    }

    /// Takes or keeps the driver's lease; `None`: another pod has it.
    pub(super) async fn lease(&mut self, pod: &str) -> RedisResult<Option<u64>> {
        let mut script = redis::cmd("EVAL");
        script.arg(TAKE).arg(2).arg(self.place.key("plan:lease")).arg(self.place.key("plan:token"));
        script.arg(pod).arg(millis(LEASE));
        let token: u64 = script.query_async(&mut self.connection).await?;
        Ok((token > 0).then_some(token))
    }

    pub(super) async fn read(&mut self) -> RedisResult<Read> {
        let mut command = redis::cmd("MGET");
        command.arg(self.place.key("plan")).arg(self.place.key("flags"));
        let (plan, flags): (Option<String>, Option<String>) =
            command.query_async(&mut self.connection).await?;
        Ok(Read { plan: plan.unwrap_or_default(), flags: flags.unwrap_or_default() })
    }

    /// Replaces the plan, and the flags where there are new ones.
    pub(super) async fn commit(
        &mut self,
        token: u64,
        read: &Read,
        held: &Held,
        flags: Option<&str>,
    ) -> RedisResult<Commit> {
        let text = serde_json::to_string(held).unwrap_or_default();
        let mut script = redis::cmd("EVAL");
        script.arg(COMMIT).arg(3);
        script.arg(self.place.key("plan")).arg(self.place.key("flags")).arg(self.place.key("plan:token"));
        script.arg(token).arg(&read.plan).arg(text).arg(&read.flags).arg(flags.unwrap_or_default());
        let answer: Value = script.query_async(&mut self.connection).await?;
        Ok(match redis::from_redis_value::<String>(answer)?.as_str() {
            "ok" => Commit::Done,
            "fenced" => Commit::Fenced,
            _ => Commit::Moved,
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
