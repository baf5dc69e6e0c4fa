//! `tests/wire/manifest.toml`: what is claimed of each recording, and how the server was set up for it.

use super::recording;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub recording: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    /// Every server line of the file is compared.
    Full,
    /// The lines outside `skip` are.
    Part,
    /// Nothing yet.
    Later,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub file: String,
    pub claim: Claim,
    /// How many server lines are compared.
    #[serde(default)]
    pub lines: usize,
    /// Why not everything is.
    #[serde(default)]
    pub why: String,
    /// The recorder left lines out: only closes are compared.
    #[serde(default)]
    pub closes_only: bool,
    /// How many frames each connection received, where the recorder counted instead of writing them down.
    #[serde(default)]
    pub frames: BTreeMap<String, usize>,
    /// The recorder wrote down the server's answers to the client's close frames.
    #[serde(default = "yes")]
    pub answers_to_close: bool,
    #[serde(default = "tolerance")]
    pub tolerance_ms: f64,
    #[serde(default)]
    pub config: Setup,
    #[serde(default)]
    pub skip: Vec<Skip>,
    #[serde(default)]
    pub action: Vec<Action>,
    #[serde(default)]
    pub restore: Vec<Restore>,
    /// Ranges of lines that answer inputs of the same moment: each connection hears all of them, in any order.
    #[serde(default)]
    pub same_moment: Vec<[usize; 2]>,
}

/// How to fill in again what the recorder cut off a client's body; beginning and length must come out as recorded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    pub line: usize,
    #[serde(default)]
    pub head: String,
    /// `#` stands for the index, `@` for a run of `y`.
    #[serde(default)]
    pub piece: String,
    #[serde(default)]
    pub count: usize,
    #[serde(default)]
    pub run: usize,
    /// Without pieces: the last character before the cut is repeated up to this tail.
    #[serde(default)]
    pub tail: String,
}

impl Restore {
    pub fn body(&self, line: &recording::Line) -> String {
        let cut = line.body.clone().unwrap_or_default();
        let start = cut.trim_end_matches('…');
        let bytes = line.bytes.expect("a cut line has its length");
        let body = if self.count == 0 {
            let run = start.chars().last().expect("a beginning").to_string();
            format!("{start}{}{}", run.repeat(bytes - start.len() - self.tail.len()), self.tail)
        } else {
            let run = "y".repeat(self.run);
            let piece = |index: usize| self.piece.replace('#', &index.to_string()).replace('@', &run);
            let pieces: Vec<String> = (0..self.count).map(piece).collect();
            format!("{}{}{}", self.head, pieces.join(", "), self.tail)
        };
        assert!(
            body.starts_with(start) && body.len() == bytes,
            "line {}: restored to {} bytes",
            self.line,
            body.len()
        );
        body
    }
}

const fn yes() -> bool {
    true
}

const fn tolerance() -> f64 {
    1_000.0
}

/// How the recorded server was set up.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    pub events_per_second: Option<u32>,
    pub first_subscription_ms: Option<u64>,
    /// The server ran so long before the recording began.
    #[serde(default)]
    pub started_before_ms: u64,
    #[serde(default)]
    pub policies: Vec<String>,
    /// `schema.table(column,…)`.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Unix milliseconds at the recording's start, where its frames name points in time.
    pub unix_ms: Option<i64>,
}

/// Lines that are neither played nor compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// First and last line number.
    pub lines: [usize; 2],
    pub why: String,
}

/// What the recorder did to the server outside of the wire.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub at_ms: f64,
    pub run: Deed,
    #[serde(default)]
    pub conn: String,
    /// A path, a text frame, a payload, or the body of a request: `@` stands for a run of `x`.
    #[serde(default)]
    pub text: String,
    /// Repeat at this interval…
    #[serde(default)]
    pub every_ms: f64,
    /// …until then.
    #[serde(default)]
    pub until_ms: f64,
    #[serde(default)]
    pub limits: LimitChange,
    #[serde(default)]
    pub on: bool,
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub topic: String,
    #[serde(default)]
    pub private: bool,
    /// Method and path; for rows under `/rest/v1/`.
    #[serde(default)]
    pub request: String,
    /// How long that run is.
    #[serde(default)]
    pub run_of: usize,
    /// So many rows: the body is an array of it, with `#` for their numbers from `first` on.
    #[serde(default)]
    pub count: usize,
    #[serde(default)]
    pub first: usize,
    /// Every answer has this status…
    #[serde(default)]
    pub status: u16,
    /// …and the first so many are compared with the recorded ones.
    #[serde(default)]
    pub shown: usize,
}

impl Action {
    /// The body of a request for rows.
    pub fn rows(&self) -> String {
        let one = self.text.replace('@', &"x".repeat(self.run_of));
        if self.count == 0 {
            return one;
        }
        let each = (self.first..self.first + self.count).map(|number| one.replace('#', &number.to_string()));
        format!("[{}]", each.collect::<Vec<_>>().join(","))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    Terminate,
    Kill,
    Start,
    Connect,
    Text,
    Ping,
    Limits,
    Suspend,
    Reload,
    PrivateOnly,
    SqlSend,
    SqlSendBinary,
    /// A request to `/rest/v1` that does to the rows what the recorder's SQL did.
    Rows,
    /// One of many equal requests of which the recorder wrote down the first answers and the number of each.
    Request,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitChange {
    pub events_per_second: Option<u32>,
    pub joins_per_second: Option<u32>,
    pub channels_per_socket: Option<usize>,
    pub users: Option<usize>,
    pub payload_kb: Option<usize>,
    pub presence_per_second: Option<u32>,
}

pub fn load() -> Manifest {
    let text = std::fs::read_to_string(recording::folder().join("manifest.toml")).expect("the manifest");
    toml::from_str(&text).expect("the manifest is TOML of the described shape")
}

impl Manifest {
    pub fn entry(&self, file: &str) -> &Entry {
        self.recording.iter().find(|entry| entry.file.starts_with(file)).expect("an entry of the manifest")
    }

    /// Every file has one entry and every entry a file.
    pub fn check_files(&self) {
        let folder = std::fs::read_dir(recording::folder().join("recordings")).expect("the recordings");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.expect("a file").file_name().into_string().expect("a name");
            name.trim_end_matches(".jsonl").to_owned()
        };
        let files: BTreeSet<String> = folder.map(name).collect();
        let claimed: BTreeSet<String> = self.recording.iter().map(|entry| entry.file.clone()).collect();
        assert_eq!(files, claimed);
        assert_eq!(claimed.len(), self.recording.len(), "an entry appears twice");
    }
}

impl Entry {
    /// What is left out must be explained.
    pub fn check_words(&self) -> Result<(), String> {
        match self.claim {
            Claim::Full if !self.skip.is_empty() || self.closes_only => {
                Err("full, but something is left out".to_owned())
            }
            Claim::Part | Claim::Later if self.why.trim().is_empty() => Err("say why".to_owned()),
            _ if self.skip.iter().any(|skip| skip.why.trim().is_empty()) => {
                Err("a skip without a reason".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The last line of the moment that a line belongs to.
    pub fn moment(&self, number: usize) -> Option<usize> {
        self.same_moment.iter().find(|lines| (lines[0]..=lines[1]).contains(&number)).map(|lines| lines[1])
    }

    pub fn skips(&self, number: usize) -> bool {
        self.skip.iter().any(|skip| (skip.lines[0]..=skip.lines[1]).contains(&number))
    }
}
