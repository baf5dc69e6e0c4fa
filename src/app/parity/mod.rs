//! Authorization parity as a part of the process: where the users' tokens come from, the side thread's end of the
//! comparison ([`Watcher`]), and the thread that asks Realtime ([`ask`]). The rules are in `validator::parity`.
//!
//! **Problem.** Users' tokens are secrets, upgrades must not wait, and a stranger's answer may take long or never come.
//!
//! **Decision.** Switched on by the section `[parity]` of the tuning file. Without it no request is looked at, no token is kept and no
//! thread is started. With it, an upgrade costs one look for a token while a seat is free; nothing waits, nothing fails.
//!
//! The asking thread has a link of its own for each question, opened with the public key, so that neither a refusal (which
//! holds up a socket for 5 s) nor a hanging server can be felt by the mirror's links. One question at a time; a queue
//! that is full, or a thread that is gone, makes the question `unknown`.
//!
//! **Limits.** `users` tokens, [`ASKED_MAX`] questions that wait, 20 s for an answer.

mod ask;
mod place;
mod section;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::request::Parts;
use tokio::sync::mpsc;

use super::reports::ProofFigures;
use super::{SettingError, tuning};
use crate::config::Config;
use crate::realtime::key::ApiKey;
use crate::realtime::link;
use crate::rollout::KeyHash;
use crate::session::{Direction, Key, SessionNo};
use crate::tap::{Opened, Seats, Token, TokenRef};
use crate::validator::parity::{Parity, Standing, Summary, Unknown};
use ask::Asked;
use place::Place;
pub(super) use section::Section;

/// How often the machine is looked after.
const TURN_EVERY: Duration = Duration::from_millis(100);
/// Questions that may wait for the thread; the machine asks one at a time.
const ASKED_MAX: usize = 4;

/// What the tuning file's section says, checked.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    place: Place,
    core: crate::validator::parity::Settings,
}

/// The parts that are handed to the threads.
pub(super) struct Plan {
    settings: Settings,
    seats: Arc<Seats>,
    public: ApiKey,
}

impl Plan {
    /// The end at the upgrade.
    pub(super) fn capture(&self) -> Capture {
        Capture { place: self.settings.place.clone(), seats: Arc::clone(&self.seats) }
    }

    /// Starts the asking thread. It ends when the watcher is dropped.
    pub(super) fn start(
        self,
        link: link::Config,
        figures: Arc<ProofFigures>,
        now: Instant,
    ) -> std::io::Result<Watcher> {
        let link = link::Config { key: self.public, ..link };
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        let (answers, answered) = mpsc::channel(ASKED_MAX);
        ask::start(link, asked, answers)?;
        Ok(Watcher {
            core: Parity::new(self.settings.core, now),
            tokens: HashMap::new(),
            seats: self.seats,
            asks,
            answered,
            figures,
            turned: now,
        })
    }
}

/// The plan, where the tuning file has a section for it.
///
/// # Errors
/// The file cannot be used, or there is no project or public key to ask with.
pub(super) fn open(config: &Config) -> Result<Option<Plan>, SettingError> {
    let wrong = |problem: String| SettingError { variable: "CROSSFADE_TUNING", problem };
    let fine = tuning::fine(config.ops.tuning.as_deref()).map_err(wrong)?;
    let Some(settings) = fine.parity else { return Ok(None) };
    let anon = config.supabase.as_ref().and_then(|supabase| supabase.anon_key.as_ref());
    let Some(anon) = anon else {
        return Err(wrong(
            "[parity] asks with the public key: set SUPABASE_URL and SUPABASE_ANON_KEY".to_owned(),
        ));
    };
    let seats = Seats::new(u32::try_from(settings.core.users).unwrap_or(u32::MAX));
    let public = ApiKey::new(anon.secret.expose());
    Ok(Some(Plan { settings, seats, public }))
}

/// Takes users' tokens at the upgrade, on a data thread.
#[derive(Clone)]
pub(super) struct Capture {
    place: Place,
    seats: Arc<Seats>,
}

impl Capture {
    /// The token of this request, if it has one and there is a seat for it. Never waits.
    pub(super) fn take(&self, parts: &Parts, who: Option<KeyHash>) -> Option<Token> {
        if !self.seats.is_free() {
            self.seats.turn_away();
            return None;
        }
        let token = self.place.find(&parts.headers, parts.uri.query())?;
        self.seats.take(&token, who.map(|who| who.to_string()))
    }
}

/// The side thread's end: tells the machine what went down, and carries its questions.
pub(crate) struct Watcher {
    core: Parity,
    tokens: HashMap<SessionNo, TokenRef>,
    seats: Arc<Seats>,
    asks: mpsc::Sender<Asked>,
    answered: mpsc::Receiver<(u64, Standing)>,
    figures: Arc<ProofFigures>,
    turned: Instant,
}

impl Watcher {
    pub(super) fn opened(&mut self, opened: &Opened, now: Instant) {
        let Some(token) = &opened.token else { return };
        if self.core.opened(opened.no, opened.id, token.who(), now) {
            self.tokens.insert(opened.no, token.clone());
        } else {
            token.retire();
        }
    }

    pub(super) fn closed(&mut self, no: SessionNo) {
        if let Some(token) = self.tokens.remove(&no) {
            token.retire();
            self.core.closed(no);
        }
    }

    /// A message went by, whatever becomes of it.
    pub(super) fn passed(&mut self, key: Key, at: Instant) {
        if key.dir == Direction::Down {
            self.core.passed(key.session, key.seq, at);
        }
    }

    /// It may have a topic.
    pub(super) fn delivered(&mut self, key: Key, topic: Option<&Arc<str>>, at: Instant) {
        if let Some(topic) = topic.filter(|_| key.dir == Direction::Down) {
            self.core.delivered(key.session, topic, at);
        }
    }

    /// The figures for reports.
    pub(super) fn summary(&self) -> Summary {
        self.core.summary()
    }

    pub(super) fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.turned) < TURN_EVERY {
            return;
        }
        self.turned = now;
        while let Ok((id, standing)) = self.answered.try_recv() {
            self.core.answer(id, standing, now);
        }
        // An announcement of an end may have been shed: then the token is gone all the same.
        let gone: Vec<_> =
            self.tokens.iter().filter(|(_, token)| !token.is_there()).map(|(no, _)| *no).collect();
        let left = self.core.advance(self.seats.turned_away(), now);
        gone.into_iter().chain(left).for_each(|no| self.closed(no));
        if let Some(question) = self.core.poll_question(now) {
            let id = question.id;
            let token = self.tokens.get(&question.session).cloned();
            let asked = token.map(|token| Asked { id, topic: question.topic, token });
            let refused = match asked {
                None => Some(Unknown::Gone),
                Some(asked) => self.asks.try_send(asked).is_err().then_some(Unknown::Link),
            };
            if let Some(why) = refused {
                self.core.answer(id, Standing::Unknown(why), now);
            }
        }
        self.figures.parity.leave(&self.core);
    }
}

/// A copy of the figures.
#[derive(Clone, Debug)]
pub(crate) struct Readings {
    pub(crate) checks: Vec<(&'static str, u64)>,
    pub(crate) unknown: Vec<(&'static str, u64)>,
    pub(crate) pairs: Vec<(&'static str, u64)>,
    pub(crate) watched: u64,
    pub(crate) last: Option<Instant>,
}

/// Written by the side thread, read by whoever draws pictures of them.
#[derive(Debug, Default)]
pub(crate) struct ParityFigures(Mutex<Option<Readings>>);

impl ParityFigures {
    fn leave(&self, core: &Parity) {
        let book = core.book();
        let readings = Readings {
            checks: book.checks().to_vec(),
            unknown: book.unknowns().to_vec(),
            pairs: vec![("listed", book.pairs), ("unproven", book.unproven), ("left", book.pairs_left)],
            watched: core.watched() as u64,
            last: book.last(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(readings);
    }

    /// Nothing while authorization is not compared.
    pub(crate) fn read(&self) -> Option<Readings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
