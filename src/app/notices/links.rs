//! Links: made for notices, looked at, and used up, wherever that is remembered.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::kept::{Read, Shelf, WRITTEN_WITHIN, read};
use crate::admin::api::PATIENCE;
use crate::app::flags::Standing;
use crate::app::stores::redis::{Place, connect};
use crate::notice::{self, Action, BurnError, Claims, LinkError, NONCE_BYTES, Signer, Used};

/// The file in the folder.
const FILE: &str = "links.json";
/// Redis has so long for each of two questions; whoever clicked waits.
const REDIS_WITHIN: Duration = Duration::from_millis(500);
// With a Redis and a disk that both hang there is still time to act.
const _: () = assert!(2 * REDIS_WITHIN.as_millis() + WRITTEN_WITHIN.as_millis() < PATIENCE.as_millis());

/// Why a link is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Unused {
    /// It was used before.
    Used,
    /// Whether it was cannot be told, or not be remembered.
    Unknown,
}

/// See the module.
pub(in crate::app) struct Links {
    signer: Signer,
    settings: notice::Links,
    used: Mutex<Used>,
    /// What was used before the start could not be read.
    is_blind: bool,
    shelf: Option<Shelf>,
    redis: Option<Place>,
}

impl Links {
    /// Signs with this secret. Without a place that outlives the process, its links end with it.
    pub(super) fn open(
        settings: notice::Links,
        secret: &[u8],
        service: &str,
        (state, redis): (Option<&Path>, Option<Place>),
    ) -> Result<Self, String> {
        let lives = state.is_some() || redis.is_some();
        let name = if lives { service.to_owned() } else { format!("{service}\n{}", hex(&random())) };
        let at = |why: String| format!("notices.links.secret_file: {why}");
        let signer = Signer::new(secret, &name).map_err(at)?;
        let file = state.map(|state| state.join(FILE));
        let (used, is_blind) = match file.as_deref().map(read) {
            None | Some(Read::Nothing) => (Some(Used::default()), false),
            Some(Read::Bytes(bytes)) => {
                let used = Used::parse(&bytes);
                let is_blind = used.is_none();
                (used, is_blind)
            }
            Some(Read::Unknown) => (None, true),
        };
        let shelf = file.map(Shelf::start).transpose().map_err(|error| error.to_string())?;
        Ok(Self { signer, settings, used: Mutex::new(used.unwrap_or_default()), is_blind, shelf, redis })
    }

    /// The host that browsers name.
    pub(in crate::app) fn host(&self) -> &str {
        &self.settings.host
    }

    /// A link for this action on this version.
    pub(super) fn make(&self, action: Action, version: &str) -> String {
        let claims = Claims::new(action, version, unix_secs() + self.settings.ttl.as_secs(), random());
        format!("{}/links/{}", self.settings.base_url, self.signer.sign(&claims))
    }

    /// What a token says.
    pub(in crate::app) fn open_token(&self, token: &str) -> Result<Claims, LinkError> {
        self.signer.open(token, unix_secs())
    }

    /// Whether it was used, as far as can be told.
    pub(in crate::app) async fn was_used(&self, claims: &Claims) -> bool {
        if self.used.lock().await.has(&claims.nonce) {
            return true;
        }
        let Some(place) = &self.redis else { return false };
        let asked = async {
            let mut connection = connect(&place.client().ok()?).await.ok()?;
            let mut command = redis::cmd("EXISTS");
            command.arg(key(place, claims));
            command.query_async::<bool>(&mut connection).await.ok()
        };
        tokio::time::timeout(REDIS_WITHIN, asked).await.ok().flatten().unwrap_or(false)
    }

    /// Uses it up, before anything is done by it. The way back is not held up by a Redis or a disk that is away: then
    /// this process alone remembers.
    pub(in crate::app) async fn burn(&self, claims: &Claims) -> Result<(), Unused> {
        let mut used = self.used.lock().await;
        if used.has(&claims.nonce) {
            return Err(Unused::Used);
        }
        let is_back = claims.action != Action::Promote;
        let shared = match &self.redis {
            Some(place) => match tokio::time::timeout(REDIS_WITHIN, take(place, claims)).await {
                Ok(Some(true)) => true,
                Ok(Some(false)) => return Err(Unused::Used),
                Ok(None) | Err(_) if is_back => false,
                Ok(None) | Err(_) => return Err(Unused::Unknown),
            },
            None if self.is_blind && !is_back => return Err(Unused::Unknown),
            None => false,
        };
        used.burn(&claims.nonce, claims.expires, unix_secs()).map_err(|error| match error {
            BurnError::Used => Unused::Used,
            BurnError::Full => Unused::Unknown,
        })?;
        let kept = match &self.shelf {
            Some(shelf) => shelf.put(used.to_json()).await,
            None => true,
        };
        if kept || shared || is_back { Ok(()) } else { Err(Unused::Unknown) }
    }
}

fn key(place: &Place, claims: &Claims) -> String {
    place.key(&format!("link:{}", claims.nonce))
}

/// True: it is ours now. False: it was used before. Nothing: Redis does not say.
async fn take(place: &Place, claims: &Claims) -> Option<bool> {
    let mut connection = connect(&place.client().ok()?).await.ok()?;
    let left = claims.expires.saturating_sub(unix_secs()).max(1);
    let mut command = redis::cmd("SET");
    command.arg(key(place, claims)).arg(1).arg("NX").arg("EX").arg(left);
    command.query_async::<Option<String>>(&mut connection).await.ok().map(|done| done.is_some())
}

/// What a rollback without a plan is bound to: share, lane, who decides, and whose hand is on the switch. It is the same
/// after a restart, and on every pod of the same settings.
pub(in crate::app) fn rollout_tag(standing: &Standing) -> String {
    let settings = &standing.settings;
    let hands: Vec<_> = standing.hands.iter().map(|hand| hand.as_str()).collect();
    let text = format!("{} {} {hands:?}", settings.percent(), settings.tier.as_str());
    hex(Sha256::digest(text.as_bytes()).get(..8).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Links that share a nonce would use up each other, so there is no link without randomness: zeros are used up once.
fn random() -> [u8; NONCE_BYTES] {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).unwrap_or_default();
    bytes
}

#[expect(clippy::disallowed_methods, reason = "links expire by the wall clock")]
pub(super) fn unix_secs() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
