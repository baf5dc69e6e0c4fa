//! The cold lane's thread: hears who knocks, joins topics, and serves the sessions.
//!
//! **Problem.** A session of this lane needs a topic that is joined with the client's own rights, and until it is there
//! nobody can say whether the client will be fed. A thread of the proxy must not wait for Realtime, and whatever happens
//! here must not be felt by a legacy session.
//!
//! **Decision.** One thread of its own, with a small runtime. An upgrade waits at the door ([`crate::proxy::cold`]) until its
//! topic is joined: then a client whose token may not read gets 403 and no open socket, and one whose topic does not come
//! in time goes to the service. The proxy gets one end of a socket pair; on the other end is [`session`]. Should this
//! thread die, the pairs close, its clients come back, and the door sends everybody to the service.
//!
//! **Limits.** [`crate::cold::Limits`], a connection for each topic, 1,024 unacknowledged messages a topic.

mod channel;
mod figures;
pub(in crate::app) mod fine;
mod hub;
mod outlet;
mod session;
mod snapshot;

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use super::StartError;
use super::behind::runtime;
use crate::cold::admit::{Asked, Auth, Guest, Refusal, Source};
use crate::config::Config;
use crate::proxy::cold::{Door, Elsewhere, Knock, Refused, Seat, Word};

use channel::{ChannelRef, State};
pub(crate) use figures::ColdFigures;
use hub::Hub;
use outlet::Outlet;
use session::Stay;

/// How often idle topics are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// The thread, and the door to it. Dropped, it ends.
pub(super) struct Running {
    pub(super) door: Door,
    pub(super) figures: Arc<ColdFigures>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the cold lane's thread had panicked");
        }
    }
}

/// Starts the lane where it is configured.
pub(super) fn start(config: &Config) -> Result<Option<Running>, StartError> {
    let Some(plan) = fine::plan(config)? else { return Ok(None) };
    let (door, heard) = Door::new(matches!(plan.rules.auth, Auth::Upstream));
    let (stop, figures): (Arc<Notify>, Arc<ColdFigures>) = Default::default();
    let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&figures));
    let runtime = runtime().map_err(StartError::Thread)?;
    let life = move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let hub = Rc::new(RefCell::new(Hub::new(plan, counted)));
            tokio::select! {
                () = serve(hub, heard) => {}
                () = stopped.notified() => {}
            }
        });
    };
    let thread =
        std::thread::Builder::new().name("cold".to_owned()).spawn(life).map_err(StartError::Thread)?;
    Ok(Some(Running { door, figures, stop, thread: Some(thread) }))
}

async fn serve(hub: Rc<RefCell<Hub>>, mut heard: mpsc::Receiver<Knock>) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            knock = heard.recv() => match knock {
                Some(knock) => {
                    tokio::task::spawn_local(receive(Rc::clone(&hub), knock));
                }
                None => return,
            },
            now = sweep.tick() => hub.borrow_mut().sweep(now.into_std()),
        }
    }
}

/// Answers one upgrade.
async fn receive(hub: Rc<RefCell<Hub>>, knock: Knock) {
    let word = admit(&hub, &knock).await.unwrap_or_else(|word| word);
    hub.borrow().figures.word(&word);
    if knock.answer.send(word).is_err() {
        tracing::debug!("a cold client went away at the door");
    }
}

async fn admit(hub: &Rc<RefCell<Hub>>, knock: &Knock) -> Result<Word, Word> {
    let asked = Asked { path: &knock.path, query: &knock.query, headers: &knock.headers };
    let limits = hub.borrow().plan.limits;
    let by = Instant::now() + limits.join_timeout;
    let admitted = hub.borrow().plan.rules.admit(&asked, unix_ms() / 1_000);
    let guest = admitted.map_err(|why| match why {
        Refusal::Origin => Word::Refused(Refused::Origin),
        Refusal::Presence => Word::Refused(Refused::Presence),
        Refusal::Token(_) => Word::Refused(Refused::Token),
        Refusal::Topic => Word::Elsewhere(Elsewhere::NoTopic),
    })?;
    if hub.borrow().sessions >= limits.sessions_max {
        return Err(Word::Elsewhere(Elsewhere::Full));
    }
    let channel = Hub::channel(hub, &guest).map_err(|_| Word::Elsewhere(Elsewhere::Full))?;
    joined(&channel, by).await?;
    let rows = rows(hub, &guest, by).await?;
    let subprotocol = asked.subprotocol();
    seat(hub, knock, (guest, channel), (rows, subprotocol))
}

/// Waits until the topic is joined.
async fn joined(channel: &ChannelRef, by: Instant) -> Result<(), Word> {
    loop {
        let (state, changed) = {
            let this = channel.borrow();
            (this.state, Rc::clone(&this.changed))
        };
        match state {
            State::Joined => return Ok(()),
            State::Denied => return Err(Word::Refused(Refused::Denied)),
            State::Failed => return Err(Word::Elsewhere(Elsewhere::NotReady)),
            State::Joining => {
                let waited = timeout_at(by, changed.notified()).await;
                waited.map_err(|_| Word::Elsewhere(Elsewhere::NotReady))?;
            }
        }
    }
}

/// The table's rows that a new client is given, where it is asked for.
async fn rows(hub: &Rc<RefCell<Hub>>, guest: &Guest, by: Instant) -> Result<Vec<crate::cold::Frame>, Word> {
    let plan = {
        let hub = hub.borrow();
        let wanted = hub.plan.limits.snapshot > 0 && matches!(hub.plan.rules.source, Source::Table(_));
        if !wanted {
            return Ok(Vec::new());
        }
        hub.plan.clone()
    };
    let asked = timeout_at(by, snapshot::rows(&plan, guest.token.as_deref())).await;
    asked.ok().flatten().ok_or(Word::Elsewhere(Elsewhere::NotReady))
}

/// Everything is there: the session begins.
fn seat(
    hub: &Rc<RefCell<Hub>>,
    knock: &Knock,
    (guest, channel): (Guest, ChannelRef),
    (rows, subprotocol): (Vec<crate::cold::Frame>, Option<String>),
) -> Result<Word, Word> {
    let gone = |error: std::io::Error| {
        tracing::warn!(%error, "a cold session cannot begin");
        Word::Elsewhere(Elsewhere::Gone)
    };
    let (theirs, ours) = UnixStream::pair().map_err(gone)?;
    theirs.set_nonblocking(true).map_err(gone)?;
    ours.set_nonblocking(true).map_err(gone)?;
    let ours = tokio::net::UnixStream::from_std(ours).map_err(gone)?;
    let mut name = [0; 8];
    getrandom::fill(&mut name).map_err(|_| Word::Elsewhere(Elsewhere::Gone))?;
    let name = format!("{:016x}", u64::from_be_bytes(name));
    let outlet = |position| Rc::new(Outlet::new(name, knock.key, position));
    let entered = hub.borrow_mut().enter(&channel, outlet, (knock.key, &guest.topic));
    let (number, outlet, resume, mut missed) = entered;
    let position = outlet.position() + missed.len() as u64;
    if resume != crate::cold::Resume::Resumed && !rows.is_empty() {
        missed = rows;
    }
    let until =
        guest.exp.map(|exp| Instant::now() + Duration::from_millis((exp * 1_000).saturating_sub(unix_ms())));
    let stay =
        Stay { hub: Rc::clone(hub), channel, topic: guest.topic, number, outlet, missed, position, until };
    tokio::task::spawn_local(stay.run(ours));
    Ok(Word::Come(Seat { socket: theirs, subprotocol, resume: resume.as_str() }))
}

/// The wall clock, which tokens and metadata speak of.
#[expect(clippy::disallowed_methods, reason = "the shell where the lane reads the clock")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
