//! The rollout's settings: shown, previewed, changed. What a change would move is counted by the workers with the
//! very function that would move it.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::super::flags::{FlagWord, Hand, Receipt, Standing};
use super::super::ops::Word;
use super::super::stores::driver::Home;
use super::status::{lane, scope, units};
use super::{Console, clock, preview};
use crate::admin::api::{Problem, Reply, model};
use crate::mirror::governor::Terms;
use crate::proxy::{Inquiry, Tally, WorkerMessage};
use crate::rollout::plan::Phase;
use crate::rollout::{
    self, Condition, Flags, Percent, RealtimeLane, RuleText, Slot, Then, Tier, Tiers, When,
};

/// What a person wants the rollout to be. What is not named stays.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    percent: Option<serde_json::Value>,
    lane: Option<String>,
    rules: Option<Vec<serde_json::Value>>,
    /// The new percentage again, typed by hand: needed to send more people to Realtime.
    confirm: Option<String>,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    on: bool,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl Console {
    fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.eyes.standing.borrow())
    }

    pub(super) fn rollout(&self) -> model::Rollout {
        let standing = self.standing();
        let settings = &standing.settings;
        let rules = deciding(&standing.tiers).map(|flags| flags.rules.iter().map(rule).collect());
        let percent = units(settings.percent());
        let admitted = f64::from(self.eyes.view.borrow().admission.share_permille) / 1000.0;
        let salt = Sha256::digest(settings.identity.salt.as_bytes());
        model::Rollout {
            version: self.version(standing.version),
            percent,
            effective_percent: if self.eyes.mirrors { percent * admitted } else { 0.0 },
            live_percent: self.eyes.live_percent(),
            lane: lane(settings),
            rules: rules.unwrap_or_default(),
            tier: settings.tier.as_str(),
            tiers: self.tiers(clock()),
            emergency: standing.hands.iter().map(|hand| hand.as_str()).collect(),
            scope: scope(&standing),
            salt_fingerprint: salt.iter().take(4).map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    pub(super) async fn preview(&self, wanted: serde_json::Value) -> Reply {
        let wanted: Wanted = super::body(wanted)?;
        let standing = self.standing();
        let before = deciding(&standing.tiers).cloned().unwrap_or_default();
        let flags = self.wanted(&wanted, &before)?;
        let settings = hypothetical(&standing, flags.clone());
        let tally = self.tally(settings).await?;
        let view = *self.eyes.view.borrow();
        let open = &self.decider.fine.rollout;
        let seen = preview::foresee(
            &tally,
            &preview::Present {
                terms: self.terms.map(|terms| Terms { pods: view.pods, ..terms }),
                quota: self.eyes.figures.snapshot().quota,
                reaches: if scope(&standing) == "fleet" { view.pods } else { 1 },
                lane: flags.lane,
            },
        );
        let mut warnings = self.warnings(&standing, &before, &flags);
        warnings.extend(preview::warnings(&seen, open.open));
        let sentence = format!("{}{}.", sentence(&flags, &tally), preview::words(&seen));
        super::json(&model::Preview {
            moves_to_realtime: tally.to_realtime,
            moves_to_legacy: tally.to_legacy,
            of_open: tally.open,
            messages_per_s_more: seen.messages_per_s_more,
            quota_ratio: seen.quota_ratio,
            month_cost_usd: seen.month_cost_usd,
            takes_s: preview::takes_s(&tally, open),
            warnings,
            sentence,
            version: self.version(standing.version),
        })
    }

    async fn tally(&self, settings: rollout::Settings) -> Result<Tally, Problem> {
        let follow = self.decider.follow_under(settings);
        let mut sum = Tally::default();
        for worker in &self.workers {
            let (answer, answered) = oneshot::channel();
            let asked = WorkerMessage::Ask(Inquiry::Count(follow.clone(), answer));
            worker.post(asked).map_err(|_| Problem::busy("a data worker"))?;
            let one = answered.await.map_err(|_| Problem::busy("a data worker"))?;
            sum.open += one.open;
            sum.to_realtime += one.to_realtime;
            sum.to_legacy += one.to_legacy;
            sum.messages_per_s_more += one.messages_per_s_more;
            sum.awaited_per_s += one.awaited_per_s;
            sum.watched_s += one.watched_s;
        }
        Ok(sum)
    }

    pub(super) async fn change_rollout(&self, wanted: serde_json::Value, if_match: Option<&str>) -> Reply {
        let wanted: Wanted = super::body(wanted)?;
        let standing = self.standing();
        let expected = self.expected(&standing, if_match)?;
        if let Some(tier) = store_above(&standing.tiers) {
            let word = tier.as_str();
            let message =
                format!("the tier {word:?} decides, and it lies above this pod's own value: change it there");
            return Err(Problem::conflict("decided_elsewhere", message));
        }
        let before = standing.tiers.env.clone();
        let flags = self.wanted(&wanted, &before)?;
        confirmed(&wanted, &before, &flags)?;
        let warnings = self.warnings(&standing, &before, &flags);
        let after = summary(&flags);
        let (answer, answered) = oneshot::channel();
        let word = FlagWord::ThisPod(flags, Receipt { expected, answer });
        self.words.try_send(Word::Flags(word)).map_err(|_| Problem::busy("the ops thread"))?;
        let version = answered.await.map_err(|_| Problem::busy("the ops thread"))?;
        let version = version.map_err(|version| stale(&self.version(version)))?;
        let mut after = after;
        after["version"] = self.version(version).into();
        super::json(&model::Changed { before: summary(&before), after, warnings })
    }

    /// The version that must still hold; `None` for `*`.
    fn expected(&self, standing: &Standing, if_match: Option<&str>) -> Result<Option<u64>, Problem> {
        let Some(given) = if_match else {
            let status = axum::http::StatusCode::PRECONDITION_REQUIRED;
            let message = "send `If-Match` with the version that you have seen (GET /api/v1/rollout), or `*`";
            return Err(Problem::new(status, "if_match_required", message));
        };
        let given = given.trim().trim_matches('"');
        if given == "*" {
            return Ok(None);
        }
        let own = self.version(standing.version);
        if given == own { Ok(Some(standing.version)) } else { Err(stale(&own)) }
    }

    fn wanted(&self, wanted: &Wanted, before: &Flags) -> Result<Flags, Problem> {
        let percent = match &wanted.percent {
            None => before.percent,
            Some(value) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text.parse::<Percent>().map_err(|why| Problem::field("percent", why.to_string()))?
            }
        };
        let lane = match &wanted.lane {
            None => before.lane,
            Some(word) => {
                word.parse().map_err(|why: rollout::LaneError| Problem::field("lane", why.to_string()))?
            }
        };
        if lane == RealtimeLane::Cold && !self.decider.cold {
            return Err(Problem::field("lane", "cold needs CROSSFADE_COLD_AUTH, which is not set"));
        }
        if lane == RealtimeLane::Native && !self.decider.native {
            return Err(Problem::field("lane", "native needs SUPABASE_ANON_KEY, which is not configured"));
        }
        if percent > Percent::ZERO && !self.eyes.mirrors {
            return Err(Problem::field(
                "percent",
                "Supabase is not configured: nobody can be fed by Realtime",
            ));
        }
        let rules = match &wanted.rules {
            None => Arc::clone(&before.rules),
            Some(texts) => {
                let parse = |text: &serde_json::Value| serde_json::from_value::<RuleText>(text.clone());
                // What serde says may repeat a value, and a value may be a key: only the place is told.
                let texts = texts.iter().enumerate().map(|(at, text)| {
                    let message =
                        format!("rule {at} is not a rule: name, keys or when, then, and perhaps lane");
                    parse(text).map_err(|_| Problem::field("rules", message))
                });
                let texts: Vec<RuleText> = texts.collect::<Result<_, _>>()?;
                let hasher = &self.standing().settings.identity.hasher.clone();
                rollout::compile(&texts, hasher).map_err(|why| Problem::field("rules", why.to_string()))?
            }
        };
        Ok(Flags { percent, lane, rules })
    }

    fn warnings(&self, standing: &Standing, before: &Flags, flags: &Flags) -> Vec<String> {
        let mut warnings = Vec::new();
        if !standing.hands.is_empty() {
            let hands: Vec<_> = standing.hands.iter().map(|hand| hand.as_str()).collect();
            let hands = hands.join(", ");
            warnings.push(format!(
                "the emergency switch is on (by {hands}): everybody stays on legacy until it is let go"
            ));
        }
        if let Some(tier) = store_above(&standing.tiers) {
            warnings
                .push(format!("the tier {:?} decides; a change on this pod would be refused", tier.as_str()));
        }
        let admission = self.eyes.view.borrow().admission;
        if self.eyes.mirrors && !admission.serves() {
            warnings
                .push(format!("the breaker is {}: nobody moves to Realtime now", admission.phase.as_str()));
        } else if admission.share_permille < 1000 {
            let share = f64::from(admission.share_permille) / 10.0;
            warnings.push(format!("the breaker's paced return admits {share} % of it so far"));
        }
        if [flags.lane, before.lane].iter().any(|lane| *lane != RealtimeLane::Hot) {
            warnings.push(
                "cold and native concern new connections alone; open sessions stay where they are".to_owned(),
            );
        }
        warnings.extend(self.forgotten(standing, before, flags));
        warnings
    }

    /// What of a change this pod does not keep. The book of a plan that was started keeps the share.
    fn forgotten(&self, standing: &Standing, before: &Flags, flags: &Flags) -> Option<String> {
        if scope(standing) == "fleet" {
            return None;
        }
        let view = self.eyes.fleet.borrow();
        let begun = view.held.as_ref().is_some_and(|held| held.progress.phase != Phase::Idle);
        if !begun || view.home != Home::StateDir {
            let all = "this pod alone changes, and forgets it at its next start (no shared store)";
            return Some(all.to_owned());
        }
        let other = flags.lane != before.lane || !Arc::ptr_eq(&flags.rules, &before.rules);
        other.then(|| {
            "lane and rules are forgotten at the next start (no shared store); the share is kept".to_owned()
        })
    }

    pub(super) async fn emergency(&self, asked: serde_json::Value) -> Reply {
        let asked: Switch = super::body(asked)?;
        let hands = |standing: &Standing| standing.hands.iter().map(|hand| hand.as_str()).collect::<Vec<_>>();
        let before = serde_json::json!({ "held_by": hands(&self.standing()) });
        let word = Word::Flags(FlagWord::Emergency(Hand::Api, asked.on));
        self.words.try_send(word).map_err(|_| Problem::busy("the ops thread"))?;
        // Answered after the word before it was heard.
        self.look().await?;
        let held = hands(&self.standing());
        let mut warnings = Vec::new();
        if !asked.on && !held.is_empty() {
            warnings.push(format!("it is still on: held by {}", held.join(", ")));
        }
        super::json(&model::Changed { before, after: serde_json::json!({ "held_by": held }), warnings })
    }
}

fn stale(own: &str) -> Problem {
    let status = axum::http::StatusCode::PRECONDITION_FAILED;
    let message = format!("somebody has changed the rollout meanwhile: its version is {own} now; look again");
    Problem::new(status, "stale_version", message)
}

/// The store that decides instead of this pod's own value.
fn store_above(tiers: &Tiers) -> Option<Tier> {
    let stores = [(Tier::Redis, &tiers.redis), (Tier::Supabase, &tiers.supabase), (Tier::File, &tiers.file)];
    stores.into_iter().find(|(_, slot)| !matches!(slot, Slot::NotConfigured)).map(|(tier, _)| tier)
}

/// The flags that hold when nobody's hand is on the switch; `None` while the deciding store is silent.
fn deciding(tiers: &Tiers) -> Option<&Flags> {
    for slot in [&tiers.redis, &tiers.supabase, &tiers.file] {
        match slot {
            Slot::NotConfigured => {}
            Slot::Silent => return None,
            Slot::Known(flags, _) => return Some(flags),
        }
    }
    Some(&tiers.env)
}

/// The settings as if these flags held and nobody's hand were on the switch.
fn hypothetical(standing: &Standing, flags: Flags) -> rollout::Settings {
    Tiers { env: flags, ..Tiers::default() }.settings(&standing.settings.identity)
}

/// More people on Realtime, or another lane for them, must be typed; the way back must not be held up.
fn confirmed(wanted: &Wanted, before: &Flags, after: &Flags) -> Result<(), Problem> {
    let text = after.percent.to_string();
    let given = wanted.confirm.as_deref().map(|given| given.trim().trim_end_matches('%').trim());
    let raises = after.percent > before.percent || wanted.rules.is_some() || after.lane != before.lane;
    match given {
        Some(given) if given == text => Ok(()),
        None if !raises => Ok(()),
        _ => Err(Problem::field("confirm", format!("must repeat the new percentage, here {text:?}"))),
    }
}

fn summary(flags: &Flags) -> serde_json::Value {
    serde_json::json!({
        "percent": units(flags.percent), "lane": flags.lane.as_str(), "rules": flags.rules.len(),
    })
}

fn sentence(flags: &Flags, tally: &Tally) -> String {
    let mut parts = Vec::new();
    if tally.to_realtime > 0 {
        parts.push(format!("{} to Realtime", tally.to_realtime));
    }
    if tally.to_legacy > 0 {
        parts.push(format!("{} back to legacy", tally.to_legacy));
    }
    let moves = if parts.is_empty() { "nobody".to_owned() } else { parts.join(" and ") };
    format!("{} %: moves {moves}, of {} open sessions", flags.percent, tally.open)
}

fn rule(rule: &rollout::Rule) -> model::Rule {
    let (keys, when) = match &rule.when {
        When::Keys(keys) => (Some(keys.len()), Vec::new()),
        When::All(conditions) => (None, conditions.iter().map(condition).collect()),
    };
    let (then, percent) = match &rule.then {
        Then::Deny => ("deny", None),
        Then::Allow => ("allow", None),
        Then::Percent(percent) => ("percent", Some(units(*percent))),
        Then::Experiment(_) => ("experiment", None),
    };
    let lane = rule.lane.map(RealtimeLane::as_str);
    model::Rule { name: rule.name.to_string(), keys, when, then, percent, lane }
}

const fn condition(condition: &Condition) -> &'static str {
    match condition {
        Condition::Path(_) => "path",
        Condition::Outside(_) => "outside",
        Condition::Cookie(..) => "cookie",
        Condition::Header(..) => "header",
        Condition::Claim(..) => "claim",
        Condition::Subprotocol(_) => "subprotocol",
        Condition::Cidr(_) => "cidr",
    }
}
