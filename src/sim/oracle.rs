//! What stands outside the product: reads what the client got and what Realtime really delivered, with decoders of
//! its own, and compares both with what the service wrote.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::script::Script;

/// One client's view: a decoder for unmasked frames, and how far the client has read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    data: usize,
    control: usize,
}

impl Reader {
    /// Takes bytes off the socket. What the client has got must always be a prefix of what was written.
    pub(super) fn take(&mut self, bytes: &[u8], script: &Script) -> Result<(), String> {
        self.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(len) = frame_len(&self.buffer[at..]) {
            let frame = &self.buffer[at..at + len];
            let is_control = frame[0] & 0x08 != 0;
            let (next, written, what) = if is_control {
                (&mut self.control, &script.control, "control frame")
            } else {
                (&mut self.data, &script.data, "data frame")
            };
            if written.get(*next).map(Vec::as_slice) != Some(frame) {
                return Err(format!("the client's {what} {next} of {} is another one", written.len()));
            }
            *next += 1;
            at += len;
        }
        self.buffer.drain(..at);
        Ok(())
    }

    /// Everything that was written has been read.
    pub(super) fn complete(&self, script: &Script) -> Result<(), String> {
        let (data, control) = (script.data.len(), script.control.len());
        if (self.data, self.control, self.buffer.len()) == (data, control, 0) {
            return Ok(());
        }
        let rest = self.buffer.len();
        Err(format!(
            "{} of {data} data, {} of {control} control frames, {rest} bytes",
            self.data, self.control
        ))
    }
}

/// The length of the first frame, if it is whole (RFC 6455 section 5.2, without masks).
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let short = usize::from(bytes.get(1)? & 0x7F);
    let (size, header) = match short {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        size => (size, 2),
    };
    (bytes.len() >= header + size).then_some(header + size)
}

/// What Realtime really gave back: the messages that arrived on the reading socket as the service had sent them.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// (session's number, place in the session), and the batch in which it came first.
    arrived: HashMap<(u64, u64), String>,
    renamed: Option<(u64, u64)>,
}

impl Witness {
    pub(super) fn arrived(&self) -> u64 {
        self.arrived.len() as u64
    }

    /// A message that came again under another batch's name, so that no consumer could tell.
    pub(super) fn renamed(&self) -> Option<(u64, u64)> {
        self.renamed
    }

    /// Looks at a frame of the reading socket. `body_of` gives what the service sent under that name.
    pub(super) fn read<'a>(&mut self, frame: &[u8], body_of: impl Fn(u64, u64) -> Option<&'a [u8]>) {
        let Some(envelope) = envelope(frame) else { return };
        for message in envelope["messages"].as_array().into_iter().flatten() {
            let Some(data) = message["data"].as_str() else { continue };
            let bytes = match message["enc"].as_str() {
                Some("text") => data.as_bytes().to_vec(),
                _ => STANDARD.decode(data).unwrap_or_default(),
            };
            for to in message["to"].as_array().into_iter().flatten() {
                let (Some(session), Some(seq)) = (to[0].as_u64(), to[1].as_u64()) else { continue };
                if body_of(session, seq) == Some(&bytes) {
                    let batch = envelope["batch"].as_str().unwrap_or_default();
                    let first = self.arrived.entry((session, seq)).or_insert_with(|| batch.to_owned());
                    if first != batch {
                        self.renamed = Some((session, seq));
                    }
                }
            }
        }
    }
}

/// The envelope in a broadcast of either protocol.
fn envelope(frame: &[u8]) -> Option<Value> {
    if let Ok(message) = serde_json::from_slice::<Value>(frame) {
        let payload = if message.is_array() { &message[4] } else { &message["payload"] };
        return Some(payload["payload"].clone()).filter(Value::is_object);
    }
    let start = frame.windows(8).position(|at| at.starts_with(b"{\"v\":1,\""))?;
    serde_json::from_slice(&frame[start..]).ok()
}
