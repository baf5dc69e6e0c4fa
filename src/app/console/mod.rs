//! What the admin API asks, answered: from snapshots where there are any, by a question to the owner where not.
//!
//! **Problem.** The API must show and change what other threads own, and nothing that it does may be felt there.
//!
//! **Decision.** The console lives on the admin thread. Figures come from the same atomics and watch channels as the
//! metrics. The breaker is asked by a word to the ops thread, sessions by a question in a worker's inbox; both are
//! bounded and never waited for when full (503), and both answer over a oneshot in a turn of their own. Rates and
//! the history come from one beat a second ([`pulse`]), whether anybody listens or not: there are no counters
//! for the sake of pictures.
//!
//! **Limits.** Rates are averages over five seconds, latencies over a minute, the history is a quarter of an hour
//! in steps of five seconds. What no room measures is null.

mod breaker;
mod kept;
mod link;
mod noise;
mod plan;
mod preview;
mod pulse;
mod reports;
mod rollout;
mod sessions;
mod status;
mod types;
mod why;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Eyes;
use super::decide::Decider;
use super::notices::links::Links;
use super::ops::{Look, Word};
use super::side::clock;
use super::stores::driver::Asked;
use crate::admin::api::{Ask, Change, Problem, Reply, What, model};
use crate::config::Config;
use crate::mirror::flight::Epoch;
use crate::mirror::governor::Terms;
use crate::proxy::{Drain, Running, WorkerHandle};
use pulse::Pulse;
pub(super) use pulse::quantile_ms;

/// How often the figures are taken.
const BEAT: Duration = Duration::from_secs(1);

/// What does not change while the process lives.
struct Names {
    service: String,
    pod: String,
    instance: String,
    upstream: String,
    buffer: u64,
    /// The spool's limit, where there is one.
    spool: Option<u64>,
    /// Where the validator's reports are, if anywhere.
    reports: Option<std::path::PathBuf>,
    /// The plan as it was configured.
    plan: String,
    began: Epoch,
    settings: Vec<model::Setting>,
}

impl Names {
    fn new(config: &Config, began: Epoch) -> Self {
        let setting = |shown: &crate::config::Shown| model::Setting {
            name: shown.name,
            group: shown.group,
            value: shown.value.clone(),
            source: shown.source,
            secret: shown.secret,
            doc: shown.doc,
        };
        Self {
            service: config.service.name.clone(),
            pod: config.service.pod.clone(),
            instance: format!("{:x}", began.unix_ms),
            upstream: config.proxy.upstream.to_string(),
            buffer: config.mirror.buffer,
            spool: config.spool.as_ref().map(|spool| spool.max),
            reports: config.ops.state_dir.as_ref().map(|state| state.join(super::reports::FOLDER)),
            plan: config
                .shown
                .iter()
                .find(|one| one.name == "CROSSFADE_PLAN")
                .and_then(|one| one.value.clone())
                .unwrap_or_default(),
            began,
            settings: config.shown.iter().map(setting).collect(),
        }
    }
}

/// See the module.
pub(super) struct Console {
    names: Names,
    eyes: Eyes,
    words: mpsc::Sender<Word>,
    plan: mpsc::Sender<Asked>,
    decider: Decider,
    /// The plan, where there is one.
    terms: Option<Terms>,
    workers: Vec<WorkerHandle>,
    drain: Drain,
    pulse: Mutex<Pulse>,
    reading: Arc<tokio::sync::Semaphore>,
    links: Option<Arc<Links>>,
}

impl Console {
    /// A console of this process.
    pub(super) fn new(
        (config, began): (&Config, Epoch),
        eyes: &Eyes,
        (words, plan): (mpsc::Sender<Word>, mpsc::Sender<Asked>),
        (running, decider): (&Running, Decider),
    ) -> Self {
        Self {
            names: Names::new(config, began),
            eyes: eyes.clone(),
            words,
            plan,
            decider,
            terms: config.supabase.as_ref().map(super::settings::terms),
            workers: running.workers().to_vec(),
            drain: running.drain_signal(),
            pulse: Mutex::default(),
            reading: Arc::new(tokio::sync::Semaphore::new(reports::READERS_MAX)),
            links: None,
        }
    }

    /// With links that people can use.
    pub(super) fn with_links(self, links: Option<Arc<Links>>) -> Self {
        Self { links, ..self }
    }

    /// What it sees.
    pub(super) fn eyes(&self) -> Eyes {
        self.eyes.clone()
    }

    /// Answers one question.
    pub(super) async fn answer(self: Arc<Self>, ask: Ask) -> Reply {
        match ask {
            Ask::Status => json(&self.status().await?),
            Ask::Quota => json(&self.quota(&self.eyes.status(clock()))),
            Ask::Spool => json(&self.spool()),
            Ask::Types => json(&self.types()),
            Ask::Reports => self.reports().await,
            Ask::Report { id, with_samples } => self.report(id, with_samples).await,
            Ask::Discrepancies => Ok(self.discrepancies()),
            Ask::Noise => json(&self.noise()),
            Ask::Breaker => json(&self.breaker().await?),
            Ask::Config => {
                json(&self.names.settings).map(|settings| serde_json::json!({ "settings": settings }))
            }
            Ask::History => json(&self.pulse().history()),
            Ask::Sessions(query) => self.sessions(query).await,
            Ask::Session { id, with_key } => self.session(&id, with_key).await,
            Ask::Rollout => json(&self.rollout()),
            Ask::Plan => json(&self.plan()),
            Ask::Preview(body) => self.preview(body).await,
            Ask::Incidents => Ok(self.incidents()),
            Ask::Incident(id) => self.incident(&id).await,
            Ask::Drills => Ok(self.drills()),
            Ask::Link(token) => self.look_link(&token).await,
            Ask::UseLink(token) => self.use_link(&token).await,
            Ask::Change(change) => self.change(change).await,
        }
    }

    async fn change(&self, change: Change) -> Reply {
        let Change { what, subject, body, if_match } = change;
        let subject = subject.unwrap_or_default();
        match what {
            What::Rollout => self.change_rollout(body, if_match.as_deref()).await,
            What::Emergency => self.emergency(body).await,
            What::Plan(change) => self.change_plan(change, body, if_match.as_deref()).await,
            What::Breaker => self.force(body).await,
            What::BreakerReset => self.reset(body).await,
            What::MoveSession => self.move_session(&subject, body).await,
            What::CloseSession => self.close_session(&subject, body).await,
            What::Drill => self.drill(body).await,
        }
    }

    /// Takes the figures once a second, for ever.
    pub(super) async fn beat(self: Arc<Self>) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let now = clock();
            let sample = self.sample(now);
            self.pulse().take(sample, now);
        }
    }

    fn pulse(&self) -> std::sync::MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) -> Result<Look, Problem> {
        let (answer, answered) = oneshot::channel();
        self.words.try_send(Word::Look(answer)).map_err(|_| Problem::busy("the ops thread"))?;
        answered.await.map_err(|_| Problem::busy("the ops thread"))
    }
}

/// Reads what was sent. Says which field is wrong, and never repeats a value.
fn body<T: serde::de::DeserializeOwned>(body: serde_json::Value) -> Result<T, Problem> {
    let body = if body.is_null() { serde_json::json!({}) } else { body };
    serde_json::from_value(body).map_err(|error| {
        // Of what serde says, unknown and missing fields name no value; the rest may.
        let what = error.to_string();
        let told = what.starts_with("unknown field") || what.starts_with("missing field");
        let what = if told { what } else { "a field has a wrong type".to_owned() };
        let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
        Problem::new(status, "invalid_body", format!("the body cannot be used: {what}"))
    })
}

fn json(value: &impl serde::Serialize) -> Reply {
    serde_json::to_value(value).map_err(|error| {
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "internal", format!("the answer cannot be written as JSON ({error})"))
    })
}
