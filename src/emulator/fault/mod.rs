//! Faults that can be scripted: what goes wrong, for which topics, after and for how many pushes or how long.
//! Everything runs on the machine's clock and counts, so the same script fails in the same way every time.

use serde::{Deserialize, Serialize};

mod active;
mod apply;
mod requests;

#[cfg(test)]
mod tests;

pub(super) use active::{Effects, Faults};
pub use requests::RequestFate;

/// One fault. In JSON: `{"kind":"slow","delay_ms":200,"topic":"room:*","after_pushes":10,"for_pushes":5}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only for topics (without `realtime:`) that fit; a trailing `*` stands for any rest. Absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// For faults on HTTP requests: only for paths (without `/realtime/v1`) that fit; a trailing `*` stands for any rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Let so many matching pushes (or requests) pass first.
    #[serde(default)]
    pub after_pushes: u64,
    /// Act on so many matching pushes (or requests). `refuse_connects` counts upgrades instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_pushes: Option<u64>,
    /// Begin so long after the injection.
    #[serde(default)]
    pub after_ms: u64,
    /// End so long after the first effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Pushes wait until the fault ends, then go on in order. Without a topic everything waits, heartbeats too.
    Stall,
    /// Acked but not delivered.
    Drop,
    /// Neither acked nor delivered.
    Lose,
    /// Answered with an error and not delivered.
    Nack,
    /// Acked and delivered later; order is kept.
    Slow {
        /// How much later.
        delay_ms: u64,
    },
    /// TCP resets. Without counts: at once, for every socket with a channel in scope.
    Reset {
        /// Whose.
        #[serde(default)]
        of: Who,
    },
    /// Half of the frame that answers or delivers a push, then the end of the connection.
    Cut {
        /// Whose.
        #[serde(default)]
        of: Who,
    },
    /// Delivered twice.
    Duplicate,
    /// Delivered after the next push of the topic, or after 200 ms when none comes.
    Reorder,
    /// Delivered with one character changed.
    Corrupt,
    /// Listeners are thrown out as if over the message limit.
    RateLimit,
    /// The server restarts.
    Restart {
        /// How long it is away.
        #[serde(default = "restart_ms")]
        down_ms: u64,
        /// Kill instead of SIGTERM.
        #[serde(default)]
        kill: bool,
    },
    /// New upgrades are refused with this status after 2 s.
    RefuseConnects {
        /// HTTP status.
        #[serde(default = "refuse_status")]
        status: u16,
    },
    /// Tokens of channels in scope expire now.
    Expire,
    /// HTTP requests, for rows too, are answered with this status and not carried out.
    RefuseRequests {
        /// HTTP status.
        #[serde(default = "refuse_status")]
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// HTTP requests are carried out and answered later.
    SlowRequests {
        /// How much later.
        delay_ms: u64,
    },
    /// The connection of an HTTP request ends and nothing is carried out.
    CutRequests,
    /// HTTP requests are carried out, then the connection ends without an answer.
    LoseAnswers,
}

/// Whose connection a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The one that pushed.
    Sender,
    /// Those that would have been delivered to.
    Listeners,
    /// Both.
    #[default]
    All,
}

const fn restart_ms() -> u64 {
    1_000
}

const fn refuse_status() -> u16 {
    503
}

/// Fields a fault may have in JSON; anything else is a mistake worth telling.
const FIELDS: [&str; 13] = [
    "kind",
    "topic",
    "path",
    "after_pushes",
    "for_pushes",
    "after_ms",
    "for_ms",
    "delay_ms",
    "of",
    "down_ms",
    "kill",
    "status",
    "retry_after",
];

impl Fault {
    /// A fault of `kind` that begins at once, hits everything and does not end by itself.
    #[must_use]
    pub fn new(kind: FaultKind) -> Fault {
        Fault { kind, topic: None, path: None, after_pushes: 0, for_pushes: None, after_ms: 0, for_ms: None }
    }

    /// Only for topics that fit.
    #[must_use]
    pub fn on(self, topic: &str) -> Fault {
        Fault { topic: Some(topic.to_owned()), ..self }
    }

    /// Lets `pushes` pass, then acts on `count`.
    #[must_use]
    pub fn pushes(self, pushes: u64, count: u64) -> Fault {
        Fault { after_pushes: pushes, for_pushes: Some(count), ..self }
    }

    /// Ends so long after the first effect.
    #[must_use]
    pub fn lasting(self, ms: u64) -> Fault {
        Fault { for_ms: Some(ms), ..self }
    }

    /// Reads one fault: a JSON object, or only its kind (`drop`), or kind and fields (`slow delay_ms=200 topic=room:*`).
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Fault, String> {
        let text = text.trim();
        let value = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?
        } else {
            short_form(text)?
        };
        if let Some(unknown) = value.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(format!("unknown field {unknown}; known: {}", FIELDS.join(", ")));
        }
        serde_json::from_value(serde_json::Value::Object(value)).map_err(|error| error.to_string())
    }

    /// Whether it happens once by itself instead of waiting for pushes.
    pub(super) fn at_once(&self) -> bool {
        match self.kind {
            FaultKind::Restart { .. } | FaultKind::Expire => self.after_pushes == 0,
            FaultKind::Reset { .. } => {
                self.after_pushes == 0 && self.for_pushes.is_none() && self.for_ms.is_none()
            }
            _ => false,
        }
    }

    /// How many pushes it acts on.
    pub(super) fn times(&self) -> u64 {
        match self.kind {
            FaultKind::Reset { .. } | FaultKind::Cut { .. } if self.for_ms.is_none() => {
                self.for_pushes.unwrap_or(1)
            }
            FaultKind::Restart { .. } | FaultKind::Expire => 1,
            _ => self.for_pushes.unwrap_or(u64::MAX),
        }
    }
}

fn short_form(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    let mut words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let kind = words.next().ok_or("empty; expected a kind such as drop")?;
    let mut map = serde_json::Map::from_iter([("kind".to_owned(), kind.into())]);
    for word in words {
        let (key, value) =
            word.split_once('=').ok_or_else(|| format!("expected FIELD=VALUE, found {word}"))?;
        let value = match key {
            "topic" | "path" | "of" => value.into(),
            "kill" => value.parse::<bool>().map_err(|_| format!("{key} must be true or false"))?.into(),
            _ => value.parse::<u64>().map_err(|_| format!("{key} must be a whole number"))?.into(),
        };
        map.insert(key.to_owned(), value);
    }
    Ok(map)
}
