//! The lines of a recording.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One line of a `.jsonl` file.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// Line number in the file, from 1.
    #[serde(skip)]
    pub number: usize,
    pub t_ms: f64,
    #[serde(default)]
    pub conn: String,
    pub from: String,
    pub kind: String,
    pub text: Option<String>,
    pub base64: Option<String>,
    pub code: Option<u16>,
    pub method: Option<String>,
    pub path: Option<String>,
    pub status: Option<u16>,
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    pub body: Option<String>,
    #[serde(default)]
    pub truncated: bool,
    pub bytes: Option<usize>,
}

impl Line {
    pub fn server(&self) -> bool {
        self.from == "server"
    }

    pub fn upgrade(&self) -> bool {
        self.method.as_deref().is_some_and(|method| method.contains("upgrade"))
    }

    /// Text or body with what the recorder cut filled in again: it cut only runs of one character.
    pub fn whole(&self) -> String {
        let text = self.text.as_ref().or(self.body.as_ref()).cloned().unwrap_or_default();
        if !self.truncated {
            return text;
        }
        let Some((start, end)) = text.split_once('…') else { return text };
        let missing = self.bytes.unwrap_or(0).saturating_sub(start.len() + end.len());
        let run = start.chars().last().unwrap_or('y').to_string();
        format!("{start}{}{end}", run.repeat(missing))
    }
}

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

pub fn load(name: &str) -> Vec<Line> {
    let path = folder().join("recordings").join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(&path).expect("a recording named in the manifest");
    let parse = |(index, line): (usize, &str)| {
        let line: Line = serde_json::from_str(line).expect("a recording holds JSON lines");
        Line { number: index + 1, ..line }
    };
    text.lines().enumerate().map(parse).collect()
}
