//! The plan of a service that has one pod and no Redis: its book lies in `CROSSFADE_STATE_DIR`, and this pod drives it.
//!
//! **Problem.** Steps of a plan need somebody who remembers them. Several pods need Redis for that; one pod has a disk.
//!
//! **Decision.** `plan.json` holds plan, progress and the share in one file, written beside and renamed: the share that
//! holds after a restart is the one that the plan or a person has left, never another step's. The book is written
//! first, then the fader moves; whoever moves it meanwhile is found at the next look, and the plan pauses. A
//! `CROSSFADE_ROLLOUT_PERCENT` that is another one than before is a person's word too: it holds.
//!
//! **Limits.** Only while nothing stands above the environment: a plan cannot write a file or the table. A book that
//! cannot be read, or does not answer in time, means 0 %: which step held is not known. Without a place for a book this
//! thread only gathers the pod's own evidence, for `/gate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::driver::{Asked, FleetView, Home, PlanWord, Undone, clock, said_to};
use super::report::{Said, Window, together};
use super::saved::{unix_ms, write};
use super::shared::{Beat, Held};
use crate::app::flags::{FlagWord, Receipt, Standing};
use crate::app::on_time::{Looked, Looking};
use crate::app::ops::Word;
use crate::breaker::fleet::Fleet;
use crate::rollout::plan::{Command, Evidence, Phase, Runner, judge};
use crate::rollout::{Flags, Percent, Slot, Tiers};

/// Between looks.
const EVERY: Duration = Duration::from_secs(5);
/// A trip of this pod's own evidence is news for so long; it pauses the plan.
const TRIPPED: Duration = Duration::from_secs(60);
/// A book is far shorter.
const BOOK_BYTES_MAX: u64 = 256 * 1024;
const FORM: u32 = 1;

const NO_PLACE: &str = "a plan needs CROSSFADE_REDIS_URL, or CROSSFADE_STATE_DIR on a single pod";
const SEVERAL: &str = "a plan for several pods needs CROSSFADE_REDIS_URL (CROSSFADE_PODS is above 1)";
const HANGS: &str =
    "CROSSFADE_STATE_DIR does not answer: whether there is a plan is not known, and the share is 0 %";
const GARBAGE: &str = "plan.json cannot be read: no plan, and the share is 0 % until a person sets one";

/// What is on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    form: u32,
    held: Held,
    /// The share, as the plan or a person has left it.
    percent: Percent,
    /// `CROSSFADE_ROLLOUT_PERCENT` at that time.
    configured: Percent,
}

type Loaded = Result<Option<Book>, String>;

fn load(path: &Path) -> Loaded {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    file.take(BOOK_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let book: Book = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if book.form == FORM { Ok(Some(book)) } else { Err(format!("form {}, not {FORM}", book.form)) }
}

/// How it stands with the disk.
#[derive(Debug)]
enum Disk {
    /// There is no place for a book, and why.
    None(&'static str),
    /// It is being read, since a moment ago.
    Looking(PathBuf, Looking<Loaded>),
    /// It has not answered yet.
    Unread(PathBuf, Receiver<Loaded>),
    /// The book lies here.
    At(PathBuf),
}

/// The part of a pod without Redis.
#[derive(Debug)]
pub(super) struct Local {
    disk: Disk,
    book: Option<Book>,
    configured: Percent,
    trouble: Option<String>,
}

impl Local {
    /// Begins to read the book. Until it is known, its share is 0 % in the environment's place.
    pub(super) fn open(state: Option<&Path>, pods: u32, tiers: &mut Tiers) -> Self {
        let configured = tiers.env.percent;
        let mut this = Self { disk: Disk::None(NO_PLACE), book: None, configured, trouble: None };
        let Some(state) = state else { return this };
        if pods > 1 {
            this.disk = Disk::None(SEVERAL);
            return this;
        }
        let path = state.join("plan.json");
        let file = path.clone();
        tiers.env.percent = Percent::ZERO;
        this.trouble = Some(HANGS.to_owned());
        let looking = Looking::begin("plan.json in CROSSFADE_STATE_DIR", move || load(&file));
        this.disk = Disk::Looking(path, looking);
        this
    }

    /// Puts the book's share in the environment's place, if it is there in time.
    pub(super) fn recall(&mut self, tiers: &mut Tiers) {
        let (path, looking) = match std::mem::replace(&mut self.disk, Disk::None(NO_PLACE)) {
            Disk::Looking(path, looking) => (path, looking),
            other => {
                self.disk = other;
                return;
            }
        };
        let loaded = match looking.finish() {
            Looked::InTime(loaded) => loaded,
            Looked::Failed => Err("the reader has failed".to_owned()),
            Looked::Late(later) => {
                self.disk = Disk::Unread(path, later);
                return;
            }
        };
        self.disk = Disk::At(path);
        tiers.env.percent = self.take_in(loaded);
    }

    /// Whether there is a place for a book.
    pub(super) const fn has_place(&self) -> bool {
        !matches!(self.disk, Disk::None(_))
    }

    /// The share that follows from what was read.
    fn take_in(&mut self, loaded: Loaded) -> Percent {
        self.trouble = None;
        let book = match loaded {
            Ok(book) => book,
            Err(error) => {
                tracing::error!(error, "{GARBAGE}");
                self.trouble = Some(GARBAGE.to_owned());
                return Percent::ZERO;
            }
        };
        let kept = book.as_ref().filter(|book| book.held.progress.phase != Phase::Idle);
        let share = kept.filter(|book| book.configured == self.configured).map(|book| book.percent);
        if let Some(book) = kept {
            let (plan, phase) = (&book.held.plan.name, book.held.progress.phase);
            match share {
                Some(percent) => tracing::info!(plan, ?phase, %percent, "the plan goes on where it stood"),
                None => tracing::warn!(
                    plan,
                    was = %book.configured,
                    is = %self.configured,
                    "CROSSFADE_ROLLOUT_PERCENT has changed: it holds, and the plan pauses"
                ),
            }
        }
        self.book = book;
        share.unwrap_or(self.configured)
    }

    const fn home(&self) -> Home {
        match self.disk {
            Disk::None(why) => Home::Nowhere(why),
            Disk::Looking(..) | Disk::Unread(..) | Disk::At(_) => Home::StateDir,
        }
    }

    /// For everybody who wants to know.
    pub(super) fn view(&self, evidence: Option<&Evidence>) -> FleetView {
        let held = self.book.as_ref().map(|book| book.held.clone());
        let gates = held.as_ref().zip(evidence).map(|(held, evidence)| judge(&held.plan.gates, evidence));
        FleetView {
            home: self.home(),
            fleet: Fleet::default(),
            gates,
            drives: held.is_some(),
            held,
            evidence: evidence.map(|evidence| (*evidence, clock())),
            trouble: self.trouble.clone(),
        }
    }

    /// The disk's late answer, if it is there: the share that follows.
    fn late(&mut self) -> Option<Percent> {
        let Disk::Unread(path, later) = &self.disk else { return None };
        let loaded = match later.try_recv() {
            Ok(loaded) => loaded,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("the reader has failed".to_owned()),
        };
        tracing::warn!(path = %path.display(), "CROSSFADE_STATE_DIR answers at last");
        self.disk = Disk::At(path.clone());
        Some(self.take_in(loaded))
    }

    /// Lets watched time pass; the share to set, if the plan orders one.
    fn watch(&mut self, (evidence, tripped): &(Evidence, bool), tiers: &Tiers) -> Option<Percent> {
        let held = self.book.as_ref()?.held.clone();
        let mut runner = Runner::new(held.plan.clone(), held.progress);
        runner.watch(evidence, share(tiers), *tripped, unix_ms());
        // What could not be written is told, and tried at the next look.
        self.settle(&held, runner, tiers.env.percent).unwrap_or_default()
    }

    /// Does what a person says; the share to set, if that follows.
    fn obey(
        &mut self,
        word: &PlanWord,
        expected: Option<&str>,
        tiers: &Tiers,
    ) -> Result<Option<Percent>, Undone> {
        match self.disk {
            Disk::None(why) => return Err(Undone::Refused(why.to_owned())),
            Disk::Looking(..) | Disk::Unread(..) => return Err(Undone::Away(HANGS.to_owned())),
            Disk::At(_) => {}
        }
        let above = [("supabase", &tiers.supabase), ("file", &tiers.file)];
        let above = above.into_iter().find(|(_, slot)| !matches!(slot, Slot::NotConfigured));
        if let Some((tier, _)) = above.filter(|_| !matches!(word, PlanWord::Say(_))) {
            return Err(Undone::Refused(format!(
                "the tier {tier:?} decides, and a plan cannot write it; a plan needs Redis, or no tier above the environment"
            )));
        }
        let held = self.book.as_ref().map(|book| &book.held);
        let (held, runner) = said_to(held, word, expected, unix_ms())?;
        self.settle(&held, runner, tiers.env.percent).map_err(Undone::Away)
    }

    /// Writes what has changed. Nothing has changed where it cannot be written.
    fn settle(&mut self, held: &Held, mut runner: Runner, share: Percent) -> Result<Option<Percent>, String> {
        let Disk::At(path) = &self.disk else { return Ok(None) };
        let order = runner.order();
        if order.is_some() {
            runner.written();
        }
        let progress = runner.progress();
        let percent = order.unwrap_or(share);
        let same = |book: &Book| {
            book.held.progress == progress
                && book.held.plan == held.plan
                && (book.percent, book.configured) == (percent, self.configured)
        };
        if self.book.as_ref().is_some_and(same) {
            return Ok(None);
        }
        let next = Held { revision: held.revision + 1, plan: held.plan.clone(), progress };
        let book = Book { form: FORM, held: next, percent, configured: self.configured };
        let text = serde_json::to_vec_pretty(&book).map_err(|error| error.to_string())?;
        if let Err(error) = write(path, &text) {
            let trouble = format!("plan.json cannot be written ({error}); the plan waits");
            if self.trouble.as_ref() != Some(&trouble) {
                tracing::error!(path = %path.display(), "{trouble}");
                self.trouble = Some(trouble.clone());
            }
            return Err(trouble);
        }
        self.trouble = None;
        if progress.phase != held.progress.phase || order.is_some() {
            let (plan, step) = (&book.held.plan.name, progress.step + 1);
            tracing::info!(plan, step, phase = ?progress.phase, %percent, "the plan");
        }
        self.book = Some(book);
        Ok(order.filter(|order| *order != share))
    }
}

/// What the thread needs.
pub(super) struct Part {
    pub(super) local: Local,
    pub(super) words: mpsc::Sender<Word>,
    pub(super) standing: watch::Receiver<Arc<Standing>>,
    pub(super) view: watch::Sender<FleetView>,
    pub(super) asked: mpsc::Receiver<Asked>,
}

/// Plays the part for ever.
pub(super) async fn run(mut part: Part, look: impl Fn() -> Said) {
    let (mut window, mut beat) = (Window::default(), tokio::time::interval(EVERY));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut evidence = (Evidence::default(), false);
    loop {
        tokio::select! {
            _ = beat.tick() => {
                let mut said = look();
                said.latency = window.slide(&said.latency);
                evidence = gathered(&said);
                part.turn(&evidence).await;
            }
            // A person's share is kept at once, not at the next look.
            Ok(()) = part.standing.changed() => part.turn(&evidence).await,
            Some(asked) = part.asked.recv() => {
                let done = part.obey(&asked).await;
                part.show(&evidence.0);
                asked.answer.send(done).unwrap_or(());
            }
        }
    }
}

/// What this pod alone is evidence of, and whether it has tripped.
fn gathered(said: &Said) -> (Evidence, bool) {
    let text = serde_json::to_string(said).unwrap_or_default();
    let (_, evidence) = together(&[Beat { age: Duration::ZERO, said: text }]);
    let tripped = said.tripped_ms.is_some_and(|ms| Duration::from_millis(ms) < TRIPPED);
    (evidence, tripped)
}

impl Part {
    /// Does what a person says. A disk that cannot be written does not keep anybody on Realtime.
    async fn obey(&mut self, asked: &Asked) -> Result<(), Undone> {
        let standing = Arc::clone(&self.standing.borrow());
        match self.local.obey(&asked.word, asked.expected.as_deref(), &standing.tiers) {
            Ok(None) => Ok(()),
            Ok(Some(percent)) => self.move_fader(&standing, percent).await,
            Err(Undone::Away(why)) if matches!(asked.word, PlanWord::Say(Command::Abort)) => {
                self.move_fader(&standing, Percent::ZERO).await?;
                let after = "the share is 0 % now, but the next start would find the old one";
                Err(Undone::Away(format!("{why}; {after}")))
            }
            Err(undone) => Err(undone),
        }
    }

    async fn turn(&mut self, evidence: &(Evidence, bool)) {
        let standing = Arc::clone(&self.standing.borrow_and_update());
        if let Some(percent) = self.local.late() {
            // Who has set a share meanwhile has set it knowing of the trouble.
            if standing.tiers.env.percent == Percent::ZERO && percent != Percent::ZERO {
                self.move_fader(&standing, percent).await.unwrap_or(());
            }
        } else if let Some(percent) = self.local.watch(evidence, &standing.tiers) {
            self.move_fader(&standing, percent).await.unwrap_or(());
        }
        self.show(&evidence.0);
    }

    /// Sets the share, unless somebody has changed anything since `standing`: that is seen at the next look.
    async fn move_fader(&self, standing: &Standing, percent: Percent) -> Result<(), Undone> {
        let flags = Flags { percent, ..standing.tiers.env.clone() };
        let (answer, answered) = oneshot::channel();
        let receipt = Receipt { expected: Some(standing.version), answer };
        let busy = || Undone::Away("the ops thread does not answer".to_owned());
        self.words.send(Word::Flags(FlagWord::ThisPod(flags, receipt))).await.map_err(|_| busy())?;
        match answered.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => {
                Err(Undone::Away("somebody has changed the share at the same moment; look again".to_owned()))
            }
            Err(_) => Err(busy()),
        }
    }

    fn show(&self, evidence: &Evidence) {
        self.view.send_replace(self.local.view(Some(evidence)));
    }
}

/// The share that holds when nobody's hand is on the switch.
fn share(tiers: &Tiers) -> Percent {
    for slot in [&tiers.redis, &tiers.supabase, &tiers.file] {
        match slot {
            Slot::NotConfigured => {}
            Slot::Silent => return Percent::ZERO,
            Slot::Known(flags, _) => return flags.percent,
        }
    }
    tiers.env.percent
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
