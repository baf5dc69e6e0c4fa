//! The pod's part in the fleet: a heartbeat every few seconds, the governor's number of pods, the fleet's trips, and,
//! for the one pod that holds the lease, the plan.

use std::time::{Duration, Instant};

use redis::RedisResult;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot, watch};

use super::redis::{Place, connect, said};
use super::report::{Said, Window, together};
use super::saved::unix_ms;
use super::shared::{Commit, Held, Read, Shared};
use crate::app::ops::Word;
use crate::breaker::fleet::Fleet;
use crate::rollout::Percent;
use crate::rollout::plan::{Command, Evidence, GateReport, Phase, Plan, Progress, Runner, judge};

/// Between heartbeats: a pod is gone after four that are missing.
const EVERY: Duration = Duration::from_secs(5);
/// Attempts of a person's change against others' changes.
const ATTEMPTS: u32 = 5;
/// Evidence that is older is none: four looks are missing.
const OLD: Duration = Duration::from_secs(20);

/// A person's word about the plan.
#[derive(Clone, Debug)]
pub(crate) enum PlanWord {
    /// Begins, with this plan or with the one that is there; not while one runs.
    Start(Option<Box<Plan>>),
    /// Pause, resume, promote, abort.
    Say(Command),
}

/// Why a person's word was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// The plan stands elsewhere than the person has seen.
    Stale,
    /// It makes no sense now, or not here.
    Refused(String),
    /// Where the plan is kept does not answer.
    Away(String),
}

/// A person's word and where the answer goes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) word: PlanWord,
    /// Only while the plan has this [`tag`]; `None`: wherever it stands.
    pub(crate) expected: Option<String>,
    pub(crate) answer: oneshot::Sender<Result<(), Undone>>,
}

/// Where the plan is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Home {
    /// Nowhere, and what is missing.
    Nowhere(&'static str),
    /// In `CROSSFADE_STATE_DIR` of the only pod.
    StateDir,
    /// In Redis, for all pods.
    #[default]
    Redis,
}

/// What is known of fleet and plan, as of the last look.
#[derive(Clone, Debug, Default)]
pub(crate) struct FleetView {
    pub(crate) home: Home,
    pub(crate) fleet: Fleet,
    /// The plan and where it stands.
    pub(crate) held: Option<Held>,
    /// What its gates say.
    pub(crate) gates: Option<GateReport>,
    /// What the gates are asked about, and when it was gathered.
    pub(crate) evidence: Option<(Evidence, Instant)>,
    /// Whether this pod drives it.
    pub(crate) drives: bool,
    /// What keeps the plan from being driven.
    pub(crate) trouble: Option<String>,
}

impl FleetView {
    /// Before Redis has answered for the first time.
    pub(super) fn unheard() -> Self {
        Self { trouble: Some("Redis has not answered yet".to_owned()), ..Self::default() }
    }

    /// What is known now. Evidence that has grown old is none: nobody has looked since.
    pub(crate) fn fresh(&self, now: Instant) -> Evidence {
        let fresh = self.evidence.filter(|(_, at)| now.saturating_duration_since(*at) < OLD);
        fresh.map_or_else(Evidence::default, |(evidence, _)| evidence)
    }
}

/// What a person has seen of the plan: which one it is, its step and its phase. Baking alone does not change it.
pub(crate) fn tag(held: Option<&Held>) -> String {
    let Some(held) = held else { return "none".to_owned() };
    let text = serde_json::to_string(&(&held.plan, held.progress.step, held.progress.phase));
    let hash = Sha256::digest(text.unwrap_or_default().as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What a pod needs for its part.
pub(crate) struct Part {
    pub(crate) place: Place,
    /// Unique among pods and restarts.
    pub(crate) pod: String,
    pub(crate) words: mpsc::Sender<Word>,
    pub(crate) view: watch::Sender<FleetView>,
    pub(crate) asked: mpsc::Receiver<Asked>,
    /// `CROSSFADE_PODS`: the governor is never told of fewer.
    pub(crate) pods_min: u32,
}

/// Plays the part for ever; a Redis that is away changes nothing but that nobody drives.
pub(super) async fn run(mut part: Part, look: impl Fn() -> Said) {
    let client = match part.place.client() {
        Ok(client) => client,
        Err(error) => return tracing::error!(error = said(&error), "the fleet cannot be joined"),
    };
    let mut window = Window::default();
    loop {
        let ended = match connect(&client).await {
            Ok(connection) => {
                let mut shared = Shared::new(part.place.clone(), connection);
                turns(&mut part, &mut shared, (&look, &mut window)).await
            }
            Err(error) => error,
        };
        tracing::warn!(error = said(&ended), "the fleet cannot be heard; this pod goes on alone");
        let away = format!("Redis cannot be reached ({})", said(&ended));
        part.view.send_modify(|view| {
            view.drives = false;
            view.trouble = Some(away.clone());
        });
        while let Ok(asked) = part.asked.try_recv() {
            asked.answer.send(Err(Undone::Away(away.clone()))).unwrap_or(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn turns(
    part: &mut Part,
    shared: &mut Shared,
    (look, window): (&impl Fn() -> Said, &mut Window),
) -> redis::RedisError {
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {
                let mut said = look();
                said.latency = window.slide(&said.latency);
                if let Err(error) = part.turn(shared, &said).await {
                    return error;
                }
            }
            Some(asked) = part.asked.recv() => {
                let done = obey(shared, &asked.word, asked.expected.as_deref()).await;
                // Whoever looks after the answer sees what came of it.
                if let Ok(read) = shared.read().await {
                    part.view.send_modify(|view| view.held = parse(&read.plan));
                }
                asked.answer.send(done).unwrap_or(());
            }
        }
    }
}

impl Part {
    /// One heartbeat and, with the lease, one look at the plan.
    pub(super) async fn turn(&self, shared: &mut Shared, said: &Said) -> RedisResult<()> {
        let text = serde_json::to_string(said).unwrap_or_default();
        let (fleet, evidence) = together(&shared.beat(&self.pod, &text).await?);
        for word in
            [Some(Word::Pods(fleet.live.max(self.pods_min))), fleet.trips().then_some(Word::Fleet(fleet))]
        {
            let Some(word) = word else { continue };
            if self.words.send(word).await.is_err() {
                tracing::debug!("nobody listens to the fleet any more");
            }
        }
        let token = shared.lease(&self.pod).await?;
        if let Some(token) = token {
            drive(shared, token, (&evidence, fleet.trips()), unix_ms()).await?;
        }
        let held = parse(&shared.read().await?.plan);
        let gates = held.as_ref().map(|held| judge(&held.plan.gates, &evidence));
        self.view.send_replace(FleetView {
            home: Home::Redis,
            fleet,
            held,
            gates,
            evidence: Some((evidence, clock())),
            drives: token.is_some(),
            trouble: None,
        });
        Ok(())
    }
}

/// One look at the plan by its driver.
pub(super) async fn drive(
    shared: &mut Shared,
    token: u64,
    (evidence, tripped): (&Evidence, bool),
    now_unix_ms: u64,
) -> RedisResult<Commit> {
    let read = shared.read().await?;
    let Some(held) = parse(&read.plan) else { return Ok(Commit::Done) };
    let mut runner = Runner::new(held.plan.clone(), held.progress);
    runner.watch(evidence, percent(&read.flags), tripped, now_unix_ms);
    let done = settle(shared, token, (&read, &held), runner).await?;
    if done == Commit::Fenced {
        tracing::warn!(token, "another pod drives the plan; this one has lost its lease");
    }
    Ok(done)
}

/// Writes what has changed, with the flags if the plan orders it.
async fn settle(
    shared: &mut Shared,
    token: u64,
    (read, held): (&Read, &Held),
    mut runner: Runner,
) -> RedisResult<Commit> {
    let flags = match runner.order() {
        None => None,
        Some(percent) => match edited(&read.flags, percent) {
            Ok(text) => Some((text, percent)),
            Err(error) => {
                tracing::error!(error, "the plan cannot change the flags; it waits");
                return Ok(Commit::Moved);
            }
        },
    };
    if flags.is_some() {
        runner.written();
    }
    let progress = runner.progress();
    if progress == held.progress {
        return Ok(Commit::Done);
    }
    let next = Held { revision: held.revision + 1, plan: held.plan.clone(), progress };
    let text = flags.as_ref().map(|(text, _)| text.as_str());
    let done = shared.commit(token, read, &next, text).await?;
    if let (Commit::Done, Some((_, percent))) = (done, flags) {
        tracing::info!(plan = next.plan.name, step = progress.step + 1, percent = %percent, "the plan moves the fader");
    }
    if done == Commit::Done && progress.phase != held.progress.phase {
        tracing::info!(plan = next.plan.name, phase = ?progress.phase, "the plan's phase");
    }
    Ok(done)
}

/// Does what a person says; any pod may, since a change names what it has read.
pub(super) async fn obey(shared: &mut Shared, word: &PlanWord, expected: Option<&str>) -> Result<(), Undone> {
    let away = |error: redis::RedisError| Undone::Away(format!("Redis cannot be reached ({})", said(&error)));
    for _ in 0..ATTEMPTS {
        let read = shared.read().await.map_err(away)?;
        let held = parse(&read.plan);
        let (held, runner) = said_to(held.as_ref(), word, expected, unix_ms())?;
        match settle(shared, 0, (&read, &held), runner).await.map_err(away)? {
            Commit::Done => return Ok(()),
            Commit::Moved | Commit::Fenced => {}
        }
    }
    Err(Undone::Away(
        "others change the plan or its flags at the same time, or the flags cannot be read; try again"
            .to_owned(),
    ))
}

/// The plan that a word is about, and the machine after the word.
pub(super) fn said_to(
    held: Option<&Held>,
    word: &PlanWord,
    expected: Option<&str>,
    now_unix_ms: u64,
) -> Result<(Held, Runner), Undone> {
    if expected.is_some_and(|expected| expected != tag(held)) {
        return Err(Undone::Stale);
    }
    let held = match (word, held) {
        (PlanWord::Start(Some(_)), Some(held)) if held.progress.phase == Phase::Running => {
            let name = &held.plan.name;
            return Err(Undone::Refused(format!("the plan {name:?} is running; pause or abort it first")));
        }
        (PlanWord::Start(Some(plan)), held) => {
            let revision = held.map_or(0, |held| held.revision);
            Held { revision, plan: (**plan).clone(), progress: Progress::IDLE }
        }
        (_, Some(held)) => held.clone(),
        (_, None) => return Err(Undone::Refused("there is no plan; start one".to_owned())),
    };
    let mut runner = Runner::new(held.plan.clone(), held.progress);
    let command = match word {
        PlanWord::Start(_) => Command::Start,
        PlanWord::Say(command) => *command,
    };
    runner.command(command, now_unix_ms).map_err(|refused| Undone::Refused(refused.to_string()))?;
    Ok((held, runner))
}

#[expect(clippy::disallowed_methods, reason = "evidence grows old by the real clock")]
pub(super) fn clock() -> Instant {
    Instant::now()
}

fn parse(text: &str) -> Option<Held> {
    serde_json::from_str(text).ok()
}

/// What the flags say; 0 where they say nothing.
fn percent(flags: &str) -> Percent {
    let read: Option<serde_json::Value> = serde_json::from_str(flags).ok();
    let percent = read.and_then(|flags| serde_json::from_value(flags.get("percent")?.clone()).ok());
    percent.unwrap_or_default()
}

/// The flags with another percentage and the next version; everything else stays as it is written.
fn edited(flags: &str, percent: Percent) -> Result<String, String> {
    let mut document = match flags {
        "" => serde_json::json!({"schema": crate::rollout::SCHEMA}),
        flags => serde_json::from_str(flags).map_err(|_| "they are no JSON".to_owned())?,
    };
    let fields = document.as_object_mut().ok_or("they are no JSON object")?;
    let version = fields
        .get("version")
        .map_or(Some(0), serde_json::Value::as_u64)
        .ok_or("their version is no number")?;
    fields.insert("version".to_owned(), (version + 1).into());
    fields.insert("percent".to_owned(), percent.to_string().into());
    Ok(document.to_string())
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
