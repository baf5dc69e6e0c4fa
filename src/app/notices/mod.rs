//! The notices' thread: looks at the same snapshots as the pictures, twice a second, and posts what is to be told.
//!
//! **Problem.** A webhook hangs, is slow, or is gone; a disk or a Redis is, too. None of it may be felt by anybody.
//!
//! **Decision.** A thread of its own reads watch channels and asks nobody. What was told is kept in `notices.json` of
//! `CROSSFADE_STATE_DIR`, and, where there is Redis, in one key a subject, so that one pod tells for all. A Redis that
//! is away makes each pod speak for itself: twice is better than not at all. Each target has a task and a queue.
//!
//! **Limits.** Redis has a second for each question. At the end, what waits has two seconds more; the rest is dropped
//! and counted. The URL of a target and the token of a link are never in the log.

mod kept;
pub(super) mod links;
mod post;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::stores::redis::{Place, connect};
use super::{Eyes, SettingError, StartError, behind, side, tuning};
use crate::config::{Config, Secret, read_secret_file};
use crate::notice::{self, Format, Heard, Settings, Teller, Told, WAITING_MAX};
use kept::{Read, Shelf, read};
use links::Links;
use post::Poster;
use watch::{Scene, Seen};

/// The file in the folder.
const FILE: &str = "notices.json";
/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// Redis has so long.
const REDIS_WITHIN: Duration = Duration::from_secs(1);
/// How long Redis remembers what was told of a subject.
const CLAIMED: Duration = Duration::from_secs(24 * 60 * 60);
/// True for whoever says it first. What is not said must not look as if it had been: it leaves [`UNSAID`].
const CLAIM: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return 0 end \
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) return 1";
/// A state that holds and that nobody was told.
const UNSAID: &str = "-";

/// What became of notices.
#[derive(Debug, Default)]
pub(crate) struct Figures([AtomicU64; 3]);

impl Figures {
    /// By outcome.
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        ["delivered", "failed", "dropped"].into_iter().zip(counts).collect()
    }

    /// Adds what has come since.
    fn follow(&self, counted: &mut [u64; 3], now: [u64; 3]) {
        for ((sum, old), new) in self.0.iter().zip(counted.iter_mut()).zip(now) {
            sum.fetch_add(new - std::mem::replace(old, new), Ordering::Relaxed);
        }
    }
}

/// Everything that was read before the start.
pub(super) struct Open {
    settings: Settings,
    posters: Vec<(String, Format, Poster)>,
    pub(super) links: Option<Arc<Links>>,
    redis: Option<Place>,
    state: Option<PathBuf>,
    names: (String, String),
}

/// Reads what the section names; nothing where there is none.
///
/// # Errors
/// A file that cannot be read, or holds what cannot be used.
pub(super) fn open(config: &Config) -> Result<Option<Open>, SettingError> {
    let wrong = |problem: String| SettingError { variable: "CROSSFADE_TUNING", problem };
    let fine = tuning::fine(config.ops.tuning.as_deref()).map_err(wrong)?;
    let Some(settings) = fine.notices else { return Ok(None) };
    let redis = config.rollout.redis_url.as_ref().map(|url| Place {
        url: url.secret.clone(),
        service: config.service.name.clone(),
        poll: config.rollout.flags_poll,
    });
    let state = config.ops.state_dir.clone();
    let posters = settings.targets.iter().map(poster).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let links = settings.links.clone().map(|own| {
        let secret = secret(&own)?;
        let kept = (state.as_deref(), redis.clone());
        Links::open(own, secret.expose().as_bytes(), &config.service.name, kept).map(Arc::new)
    });
    let links = links.transpose().map_err(wrong)?;
    let names = (config.service.name.clone(), config.service.pod.clone());
    Ok(Some(Open { settings, posters, links, redis, state, names }))
}

/// What is wrong with the files that the section names.
pub(super) fn problem(settings: &Settings) -> Option<String> {
    let unread = settings.targets.iter().find_map(|target| poster(target).err());
    unread.or_else(|| settings.links.as_ref().and_then(|links| secret(links).err()))
}

fn secret(links: &notice::Links) -> Result<Secret, String> {
    let at = |why: &dyn std::fmt::Display| {
        format!("notices.links.secret_file: {} {why}", links.secret_file.display())
    };
    let secret = read_secret_file(&links.secret_file)
        .map_err(|error| at(&format_args!("cannot be read ({error})")))?;
    notice::Signer::new(secret.expose().as_bytes(), "").map_err(|why| at(&why))?;
    Ok(secret)
}

fn poster(target: &notice::Target) -> Result<(String, Format, Poster), String> {
    let at = |why: String| format!("notices.targets {:?}: {why}", target.name);
    let url = match &target.place {
        notice::Place::Url(url) => Secret::new(url),
        notice::Place::File(path) => {
            let read = read_secret_file(path);
            read.map_err(|error| at(format!("url_file {} cannot be read ({error})", path.display())))?
        }
    };
    target.check(url.expose())?;
    Ok((target.name.clone(), target.format.clone(), Poster::new(&url).map_err(at)?))
}

/// Ends the thread when dropped, within the time that the last notices have.
pub(super) struct Running {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the notices' thread had panicked");
        }
    }
}

/// Starts the thread.
pub(super) fn start(open: Open, eyes: Eyes) -> Result<Running, StartError> {
    let Open { settings, posters, links, redis, state, names } = open;
    let (stop, runtime) = (Arc::<Notify>::default(), behind::runtime().map_err(StartError::Thread)?);
    let file = state.as_ref().map(|state| state.join(FILE));
    let before = match file.as_deref().map(read) {
        Some(Read::Bytes(bytes)) => serde_json::from_slice::<Vec<Told>>(&bytes).unwrap_or_default(),
        _ => Vec::new(),
    };
    let shelf = file.map(Shelf::start).transpose().map_err(StartError::Thread)?;
    let stopped = Arc::clone(&stop);
    let life = move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let (targets, mut tasks) = targets(posters, &eyes);
            let herald = Herald {
                eyes,
                teller: Teller::new(settings.states, before),
                settle: settings.settle,
                targets,
                links,
                redis: redis.map(|place| (place, None)),
                shelf,
                kept: true,
                names,
            };
            herald.run(&stopped).await;
            while tasks.join_next().await.is_some() {}
        });
        drop(local);
        // A name that is still looked up is not waited for.
        runtime.shutdown_timeout(Duration::ZERO);
    };
    let thread = std::thread::Builder::new().name("notices".to_owned()).spawn(life);
    Ok(Running { stop, thread: Some(thread.map_err(StartError::Thread)?) })
}

type Targets = Vec<(Format, mpsc::Sender<String>)>;

fn targets(posters: Vec<(String, Format, Poster)>, eyes: &Eyes) -> (Targets, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let targets = posters.into_iter().map(|(name, format, poster)| {
        let (sender, inbox) = mpsc::channel(WAITING_MAX);
        tasks.spawn_local(post::run(name, poster, inbox, Arc::clone(&eyes.notices)));
        (format, sender)
    });
    (targets.collect(), tasks)
}

/// Looks, decides and tells.
struct Herald {
    eyes: Eyes,
    teller: Teller,
    settle: Duration,
    targets: Targets,
    links: Option<Arc<Links>>,
    redis: Option<(Place, Option<MultiplexedConnection>)>,
    shelf: Option<Shelf>,
    /// Whether the disk has what was told.
    kept: bool,
    names: (String, String),
}

impl Herald {
    async fn run(mut self, stop: &Notify) {
        let mut beat = tokio::time::interval(EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => self.turn().await,
                () = stop.notified() => return,
            }
        }
    }

    async fn turn(&mut self) {
        let now = side::clock();
        let scene = Scene::look(&self.eyes, self.settle, now);
        for seen in &scene.seen {
            match self.teller.observe(seen.subject, seen.state.clone(), seen.lasts, now) {
                None => continue,
                Some(Heard::Quiet(state)) => drop(self.claim(seen, state.as_ref(), false).await),
                Some(Heard::Tell(state)) => {
                    if self.claim(seen, Some(&state), true).await {
                        self.tell(&scene, seen, &state);
                    }
                }
            }
            self.kept = false;
        }
        if let (Some(shelf), false) = (&self.shelf, self.kept) {
            let told = serde_json::to_string(&self.teller.told()).unwrap_or_default();
            self.kept = shelf.offer(told);
        }
    }

    /// Whether nobody else has said it. A Redis that is away does not silence anybody.
    async fn claim(&mut self, seen: &Seen, state: Option<&Told>, is_said: bool) -> bool {
        let Some((place, connection)) = self.redis.as_mut().filter(|_| seen.subject.is_shared()) else {
            return true;
        };
        let key = place.key(&format!("notice:{}", seen.subject.as_str()));
        let value = state.map_or_else(String::new, |told| format!("{} {}", told.kind.as_str(), told.key));
        let asked = async {
            if connection.is_none() {
                *connection = Some(connect(&place.client().ok()?).await.ok()?);
            }
            let mut script = redis::cmd("EVAL");
            let spent = u64::try_from(CLAIMED.as_millis()).unwrap_or(u64::MAX);
            let left = if is_said { value.as_str() } else { UNSAID };
            script.arg(CLAIM).arg(1).arg(key).arg(&value).arg(spent).arg(left);
            script.query_async::<bool>(connection.as_mut()?).await.ok()
        };
        let answer = tokio::time::timeout(REDIS_WITHIN, asked).await.ok().flatten();
        if answer.is_none() {
            *connection = None;
        }
        answer.unwrap_or(true)
    }

    fn tell(&self, scene: &Scene, seen: &Seen, state: &Told) {
        let facts = scene.facts(seen, &self.names.0, &self.names.1);
        let mut notice = notice::notice(state.kind, facts, links::unix_secs() * 1_000);
        if let Some(links) = &self.links {
            let url = |way: Option<(notice::Action, &str)>| way.map(|(action, of)| links.make(action, of));
            notice.promote_url = url(scene.promote(state.kind));
            notice.rollback_url = url(scene.rollback(state.kind));
        }
        tracing::info!(state = state.kind.as_str(), targets = self.targets.len(), "a state is told");
        for (format, sender) in &self.targets {
            if sender.try_send(format.body(&notice)).is_err() {
                self.eyes.notices.follow(&mut [0; 3], [0, 0, 1]);
            }
        }
    }
}
