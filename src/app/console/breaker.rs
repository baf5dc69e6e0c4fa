//! A person's word to the breaker.

use super::super::ops::Word;
use super::Console;
use crate::admin::api::{Problem, Reply, model};
use crate::breaker::Force;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    mode: String,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl Console {
    pub(super) async fn force(&self, wanted: serde_json::Value) -> Reply {
        let wanted: Wanted = super::body(wanted)?;
        let force = match wanted.mode.as_str() {
            "auto" => Force::Release,
            "forced_open" => Force::Open,
            "forced_closed" => Force::Closed,
            "observe_only" => Force::ObserveOnly,
            _ => {
                let message = "is not one of auto, forced_open, forced_closed, observe_only";
                return Err(Problem::field("mode", message));
            }
        };
        self.say(force).await
    }

    pub(super) async fn reset(&self, wanted: serde_json::Value) -> Reply {
        let _: Nothing = super::body(wanted)?;
        self.say(Force::Reset).await
    }

    async fn say(&self, force: Force) -> Reply {
        let before = self.breaker().await?;
        self.words.try_send(Word::Force(force)).map_err(|_| Problem::busy("the ops thread"))?;
        let after = self.breaker().await?;
        let brief = |b: &model::Breaker| serde_json::json!({ "state": b.state, "mode": b.mode, "latched": b.latched });
        let warnings = match force {
            Force::Closed => vec![
                "nothing takes users off Realtime now: no trigger acts until the mode is auto again"
                    .to_owned(),
            ],
            Force::ObserveOnly => vec!["triggers are reported and do not act".to_owned()],
            Force::Reset | Force::Release if after.state != "closed" => {
                vec!["it probes Realtime before it closes".to_owned()]
            }
            _ => Vec::new(),
        };
        super::json(&model::Changed { before: brief(&before), after: brief(&after), warnings })
    }
}
