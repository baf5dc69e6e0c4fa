//! A reader of crossfade's `messages` broadcasts (envelope v1), to copy into a consumer. Needs `serde`, `serde_json`,
//! `base64` and `crc32fast`. Format: `docs/envelope.md`.
//!
//! `hold_ms` = 0 hands messages out as they come; more waits so long for the ones before (classes travel at different
//! speeds, repetitions late), and a message that came too late even so is marked `late`.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Bounds, so that a long life does not fill memory.
const STREAMS_MAX: usize = 100_000;
const SEEN_MAX: usize = 4096;
const PIECES_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    v: u64,
    src: String,
    #[serde(rename = "batch")]
    _batch: String,
    #[serde(rename = "at")]
    _at: u64,
    replay: bool,
    messages: Vec<Carried>,
    #[serde(default, rename = "sessions")]
    _sessions: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Carried {
    to: Vec<(u32, u64)>,
    dir: String,
    op: String,
    r#type: String,
    class: String,
    path: String,
    at: u64,
    id: String,
    part: Option<(u16, u16)>,
    #[serde(default)]
    redacted: bool,
    enc: Enc,
    data: String,
    len: usize,
    crc: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Enc {
    Text,
    Base64,
}

/// One message of one session, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub src: String,
    pub session: u32,
    pub seq: u64,
    pub dir: String,
    pub op: String,
    pub kind: String,
    pub class: String,
    pub path: String,
    pub at: u64,
    pub id: String,
    pub replay: bool,
    pub redacted: bool,
    pub data: Vec<u8>,
    /// A later one of its session and direction was handed out before.
    pub late: bool,
}

/// What one envelope gave.
#[derive(Debug, Default)]
pub struct Read {
    pub messages: Vec<Message>,
    /// The envelope was not understood, and why.
    pub refused: Option<String>,
    pub altered: u64,
    pub repeated: u64,
}

type Name = (String, u32, String);

#[derive(Default)]
struct Stream {
    seen: BTreeSet<u64>,
    /// Everything up to here counts as seen.
    floor: u64,
    /// The highest that was handed out.
    last: u64,
    waiting: BTreeMap<u64, (Message, u64)>,
}

/// Checks, puts together, drops repetitions, puts in order.
pub struct Reader {
    hold_ms: u64,
    streams: BTreeMap<Name, Stream>,
    pieces: BTreeMap<(Name, u64), BTreeMap<u16, Vec<u8>>>,
}

impl Reader {
    pub fn new(hold_ms: u64) -> Self {
        Self { hold_ms, streams: BTreeMap::new(), pieces: BTreeMap::new() }
    }

    /// Takes one envelope.
    pub fn read(&mut self, text: &str, now_ms: u64) -> Read {
        let mut out = Read::default();
        let envelope = match serde_json::from_str::<Envelope>(text) {
            Ok(envelope) if envelope.v == 1 => envelope,
            Ok(_) => return Read { refused: Some("v".to_owned()), ..out },
            Err(error) => return Read { refused: Some(error.to_string()), ..out },
        };
        for carried in &envelope.messages {
            let Some(data) = bytes(carried) else {
                out.altered += 1;
                continue;
            };
            for (session, seq) in &carried.to {
                self.take(&envelope, carried, (*session, *seq, now_ms), &data, &mut out);
            }
        }
        out.messages.extend(self.release(now_ms));
        out
    }

    /// What has waited long enough; call it now and then when `hold_ms` is set.
    pub fn release(&mut self, now_ms: u64) -> Vec<Message> {
        let mut ready = Vec::new();
        for stream in self.streams.values_mut() {
            while let Some((seq, (_, since))) = stream.waiting.first_key_value() {
                if *seq > stream.last + 1 && now_ms.saturating_sub(*since) < self.hold_ms {
                    break;
                }
                let Some((seq, (message, _))) = stream.waiting.pop_first() else { break };
                ready.push(Message { late: seq < stream.last, ..message });
                stream.last = stream.last.max(seq);
            }
        }
        ready
    }

    fn take(
        &mut self,
        envelope: &Envelope,
        carried: &Carried,
        at: (u32, u64, u64),
        data: &[u8],
        out: &mut Read,
    ) {
        let (session, seq, now_ms) = at;
        let name = (envelope.src.clone(), session, carried.dir.clone());
        if !self.streams.contains_key(&name) && self.streams.len() >= STREAMS_MAX {
            self.streams.pop_first();
        }
        let stream = self.streams.entry(name.clone()).or_default();
        if seq <= stream.floor || stream.seen.contains(&seq) {
            out.repeated += 1;
            return;
        }
        let data = match carried.part {
            None => data.to_vec(),
            Some(part) => {
                let pieces = self.pieces.entry((name.clone(), seq)).or_default();
                pieces.insert(part.0, data.to_vec());
                if pieces.len() < usize::from(part.1) {
                    if self.pieces.len() > PIECES_MAX {
                        self.pieces.pop_first();
                    }
                    return;
                }
                let pieces = self.pieces.remove(&(name, seq)).unwrap_or_default();
                pieces.into_values().flatten().collect()
            }
        };
        stream.seen.insert(seq);
        if stream.seen.len() > SEEN_MAX {
            stream.floor = stream.floor.max(stream.seen.pop_first().unwrap_or(0));
        }
        let message = Message {
            src: envelope.src.clone(),
            session,
            seq,
            dir: carried.dir.clone(),
            op: carried.op.clone(),
            kind: carried.r#type.clone(),
            class: carried.class.clone(),
            path: carried.path.clone(),
            at: carried.at,
            id: carried.id.clone(),
            replay: envelope.replay,
            redacted: carried.redacted,
            data,
            late: false,
        };
        stream.waiting.insert(seq, (message, now_ms));
    }
}

/// The bytes as they were sent; `None` if they were altered.
fn bytes(carried: &Carried) -> Option<Vec<u8>> {
    let data = match carried.enc {
        Enc::Text => carried.data.clone().into_bytes(),
        Enc::Base64 => STANDARD.decode(&carried.data).ok()?,
    };
    let intact = data.len() == carried.len && format!("{:08x}", crc32fast::hash(&data)) == carried.crc;
    intact.then_some(data)
}
