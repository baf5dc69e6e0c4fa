//! What is kept of trips and drills, and a person's wish for a drill.

use tokio::sync::oneshot;

use super::super::ops::Word;
use super::Console;
use crate::admin::api::{Problem, Reply, model};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl Console {
    /// Newest first.
    pub(super) fn incidents(&self) -> serde_json::Value {
        serde_json::json!({ "incidents": self.eyes.records.names() })
    }

    /// One incident, as its file has it.
    pub(super) async fn incident(&self, id: &str) -> Reply {
        match self.eyes.records.find(id).await {
            Some(incident) => super::json(&incident),
            None => Err(Problem::not_found(
                "there is no such incident; GET /api/v1/incidents names those there are",
            )),
        }
    }

    /// Newest first.
    pub(super) fn drills(&self) -> serde_json::Value {
        serde_json::json!({ "drills": self.eyes.records.drills() })
    }

    /// Begins a drill; its record comes when it has ended.
    pub(super) async fn drill(&self, wanted: serde_json::Value) -> Reply {
        let _: Nothing = super::body(wanted)?;
        let (answer, answered) = oneshot::channel();
        self.words.try_send(Word::Drill(answer)).map_err(|_| Problem::busy("the ops thread"))?;
        let begun = answered.await.map_err(|_| Problem::busy("the ops thread"))?;
        let half = begun.map_err(|why| Problem::conflict(why.as_str(), why.sentence()))?;
        let before = serde_json::json!({ "last": self.eyes.records.last_drill() });
        let percent = f64::from(half.permille) / 10.0;
        let after = serde_json::json!({ "number": half.number, "percent": percent });
        super::json(&model::Changed { before, after, warnings: Vec::new() })
    }
}
