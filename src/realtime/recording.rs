//! Reads `tests/wire/recordings/*.jsonl` for tests: who said what on which connection, and in which version.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use bytes::Bytes;
use serde_json::Value;

use super::message::{Frame, Vsn};

/// One line of a recording that matters to a client.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// A data frame.
    Frame(Frame),
    /// A close code; 1006 when no close frame came.
    Close(u16),
    /// Status and body of an answer over HTTP.
    Http(u16, String),
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) conn: String,
    pub(crate) from_server: bool,
    pub(crate) vsn: Vsn,
    pub(crate) said: Said,
}

/// The files, in order.
pub(crate) fn files() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/recordings");
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the recordings are in the tree")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "jsonl"))
        .collect();
    files.sort();
    files
}

/// The lines of the recording whose name starts with `prefix`, truncated frames left out.
pub(crate) fn lines(prefix: &str) -> Vec<Line> {
    let path = files()
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .expect("a recording of that name");
    read(&path)
}

pub(crate) fn read(path: &PathBuf) -> Vec<Line> {
    let text = fs::read_to_string(path).expect("readable");
    let mut versions = HashMap::new();
    let mut out = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let conn = word("conn");
        if word("path").contains("websocket") {
            let vsn = if word("path").contains("vsn=2.") { Vsn::V2 } else { Vsn::V1 };
            versions.insert(conn.clone(), vsn);
        }
        if line.get("truncated").is_some() {
            continue;
        }
        let said = match line["kind"].as_str() {
            Some("text") => Said::Frame(Frame::Text(Bytes::from(word("text")))),
            Some("binary") => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(word("base64")).expect("base64");
                Said::Frame(Frame::Binary(Bytes::from(bytes)))
            }
            Some("close") => Said::Close(line["code"].as_u64().unwrap_or(1006) as u16),
            Some("http") if line["status"].is_u64() => {
                Said::Http(line["status"].as_u64().unwrap_or_default() as u16, word("body"))
            }
            _ => continue,
        };
        let vsn = versions.get(&conn).copied().unwrap_or(Vsn::V1);
        out.push(Line { conn, from_server: word("from") == "server", vsn, said });
    }
    out
}
