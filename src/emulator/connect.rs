//! Upgrades: who gets in, and the recorded refusals, each after two seconds (recording 06).
//! The order of checks is the server's: protocol version, tenant, suspension, key, limits.

use super::channel::Identity;
use super::codec::Version;
use super::machine::{Admission, Conn, ConnId, Emulator, HttpAnswer, IDLE_STEP, Life};
use super::timers::Timer;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Every refused upgrade is answered after this long.
pub(super) const REFUSED_AFTER: Duration = Duration::from_secs(2);
/// Most refused upgrades waiting for their answer; beyond it they are answered at once.
pub(super) const PENDING_MAX: usize = 4_096;

/// The head of an upgrade request.
#[derive(Clone)]
pub struct UpgradeRequest {
    /// Path without query.
    pub path: String,
    /// Query without the question mark.
    pub query: String,
    /// Header names in lower case, with values.
    pub headers: Vec<(String, String)>,
}

/// Shows the path only: query and headers carry keys.
impl std::fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpgradeRequest").field("path", &self.path).finish_non_exhaustive()
    }
}

impl UpgradeRequest {
    /// The first header of that (lower-case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The first query parameter of that name, decoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.query, name)
    }
}

pub(super) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Whether the emulator has a socket at this path.
#[must_use]
pub fn is_socket_path(path: &str) -> bool {
    matches!(path, "/socket/websocket" | "/realtime/v1/websocket")
}

/// A refusal: status and the text under `error`.
struct Refusal(u16, String);

impl Emulator {
    /// An upgrade request. `id` must be new.
    pub fn connect(&mut self, id: ConnId, request: &UpgradeRequest, now: Instant) -> Admission {
        self.handle_timeout(now);
        if self.life != Life::Up {
            return Admission::Unreachable;
        }
        let Some(version) = Version::of(request.parameter("vsn").as_deref()) else {
            self.stats.refused += 1;
            let empty =
                HttpAnswer { status: 403, content_type: None, headers: Vec::new(), body: String::new() };
            self.transmit(id, super::machine::Out::Http(empty));
            return Admission::Pending;
        };
        match self.admit(request, now) {
            Ok(token) => {
                self.stats.accepted += 1;
                self.timers.add(now + IDLE_STEP, Timer::Idle(id));
                self.conns.insert(id, new_conn(Identity { version, token }));
                Admission::Accepted
            }
            Err(refusal) => {
                self.stats.refused += 1;
                let full = self.pending.len() >= PENDING_MAX;
                self.pending.insert(id, refusal.answer());
                self.timers.add(if full { now } else { now + REFUSED_AFTER }, Timer::Refuse(id));
                self.handle_timeout(now);
                Admission::Pending
            }
        }
    }

    fn admit(&mut self, request: &UpgradeRequest, now: Instant) -> Result<String, Refusal> {
        if let Some(status) = self.faults.refusing(now) {
            return Err(Refusal(status, "Refused by a fault".to_owned()));
        }
        if !self.knows_tenant(request.header("host")) {
            return Err(Refusal(404, "Tenant not found".to_owned()));
        }
        if self.suspended {
            return Err(Refusal(403, "Realtime was disabled for this tenant".to_owned()));
        }
        let key = request.header("x-api-key").map(str::to_owned).or_else(|| request.parameter("apikey"));
        let token = key.ok_or_else(|| Refusal(401, "API key is missing".to_owned()))?;
        self.config
            .secret
            .verify(&token, self.clock.unix(now))
            .map_err(|bad| Refusal(401, bad.at_connect().to_owned()))?;
        if self.users() >= self.config.limits.users {
            return Err(Refusal(429, "Too many connected users".to_owned()));
        }
        if self.rates.joins.tripped(self.config.limits.joins_per_second, now) {
            return Err(Refusal(429, "Too many joins per second".to_owned()));
        }
        Ok(token)
    }

    pub(super) fn knows_tenant(&self, host: Option<&str>) -> bool {
        let Some(tenant) = &self.config.tenant else { return true };
        let host = host.unwrap_or_default();
        host.split(['.', ':']).next() == Some(tenant.as_str())
    }

    /// Sockets that have joined something.
    pub(super) fn users(&self) -> usize {
        self.conns.values().filter(|conn| conn.user).count()
    }
}

impl Refusal {
    fn answer(&self) -> HttpAnswer {
        HttpAnswer {
            status: self.0,
            content_type: Some("application/json; charset=utf-8"),
            headers: Vec::new(),
            body: format!("{{\"error\":\"{}\"}}", self.1),
        }
    }
}

fn new_conn(identity: Identity) -> Conn {
    Conn { identity, channels: BTreeMap::new(), quiet: 0, user: false, held: None, waiting: VecDeque::new() }
}
