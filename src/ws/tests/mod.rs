//! The world of this room's tests: scripted streams, ways of cutting them, and a model that reads a whole stream
//! at once, in the plainest possible way.

mod assemble;
mod deflate;
mod walk;

use proptest::prelude::*;

use super::walk::Sabotage;
use super::*;
use crate::session::{Direction, Opcode, Seq};

/// Steps without the traces of how the stream was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flat {
    Header(Vec<u8>, Option<Head>),
    Body(Vec<u8>),
    FrameEnd(Head),
    Message { seq: Seq, op: Opcode, compressed: bool, wire_len: u64 },
    Lost(LostWhy),
    Opaque(Vec<u8>),
}

/// Cuts `bytes` into pieces of the given sizes, over and over.
fn cut<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at((*sizes.next()?).clamp(1, rest.len()));
        rest = tail;
        Some(piece)
    })
}

/// What a walker says about a stream that is cut into these sizes; `Err` when it breaks a promise of its own.
fn walked(mut walker: Walker, bytes: &[u8], sizes: &[usize]) -> Result<Vec<Flat>, String> {
    let mut flat: Vec<Flat> = Vec::new();
    for chunk in cut(bytes, sizes) {
        let mut rejoined: Vec<u8> = Vec::new();
        for step in walker.feed(chunk) {
            rejoined.extend(piece(&step));
            flatten(&mut flat, &step)?;
        }
        if rejoined != chunk {
            return Err(format!("{chunk:02x?} came out as {rejoined:02x?}"));
        }
    }
    Ok(flat)
}

/// The bytes of a step.
fn piece<'a>(step: &Step<'a>) -> &'a [u8] {
    match step {
        Step::Header { bytes, .. } | Step::Body { bytes, .. } => bytes,
        Step::Lost { bytes, .. } | Step::Opaque { bytes } => bytes,
        Step::FrameEnd(_) | Step::MessageEnd { .. } => &[],
    }
}

fn flatten(flat: &mut Vec<Flat>, step: &Step<'_>) -> Result<(), String> {
    match *step {
        Step::Header { bytes: [], .. } | Step::Body { bytes: [], .. } | Step::Opaque { bytes: [] } => {
            return Err(format!("empty piece: {step:?}"));
        }
        Step::Header { bytes, head } => match flat.last_mut() {
            Some(Flat::Header(start, open @ None)) => {
                start.extend(bytes);
                *open = head;
            }
            _ => flat.push(Flat::Header(bytes.to_vec(), head)),
        },
        Step::Body { bytes, offset } => {
            let known = if let Some(Flat::Body(start)) = flat.last() { start.len() as u64 } else { 0 };
            if known != offset {
                return Err(format!("offset {offset} after {known} bytes"));
            }
            match flat.last_mut() {
                Some(Flat::Body(start)) => start.extend(bytes),
                _ => flat.push(Flat::Body(bytes.to_vec())),
            }
        }
        Step::FrameEnd(head) => flat.push(Flat::FrameEnd(head)),
        Step::MessageEnd { seq, op, compressed, wire_len } => {
            flat.push(Flat::Message { seq, op, compressed, wire_len });
        }
        Step::Lost { why, bytes } => {
            flat.push(Flat::Lost(why));
            flat.extend((!bytes.is_empty()).then(|| Flat::Opaque(bytes.to_vec())));
        }
        Step::Opaque { bytes } => match flat.last_mut() {
            Some(Flat::Opaque(start)) => start.extend(bytes),
            _ => flat.push(Flat::Opaque(bytes.to_vec())),
        },
    }
    Ok(())
}

/// The model: reads the whole stream at once.
fn model(bytes: &[u8], extensions: Negotiated) -> Vec<Flat> {
    let (mut flat, mut rest) = (Vec::new(), bytes);
    let mut open: Option<(Opcode, bool, u64)> = None;
    let mut seq = Seq::FIRST;
    while !rest.is_empty() {
        let Some((head, size)) = Head::parse(rest) else {
            flat.push(Flat::Header(rest.to_vec(), None));
            break;
        };
        let (header, tail) = rest.split_at(size);
        if let Some(why) = violation(&head, open.is_some(), extensions) {
            flat.push(Flat::Header(header.to_vec(), None));
            flat.push(Flat::Lost(why));
            flat.extend((!tail.is_empty()).then(|| Flat::Opaque(tail.to_vec())));
            break;
        }
        flat.push(Flat::Header(header.to_vec(), Some(head)));
        match head.kind {
            FrameKind::Text => open = Some((Opcode::Text, head.rsv.rsv1(), head.len)),
            FrameKind::Binary => open = Some((Opcode::Binary, head.rsv.rsv1(), head.len)),
            FrameKind::Continuation => open = open.map(|(op, rsv1, len)| (op, rsv1, len + head.len)),
            _ => {}
        }
        let body = &tail[..tail.len().min(usize::try_from(head.len).unwrap_or(usize::MAX))];
        rest = &tail[body.len()..];
        flat.extend((!body.is_empty()).then(|| Flat::Body(body.to_vec())));
        if (body.len() as u64) < head.len {
            break;
        }
        flat.push(Flat::FrameEnd(head));
        if head.kind == FrameKind::Close {
            flat.extend((!rest.is_empty()).then(|| Flat::Opaque(rest.to_vec())));
            break;
        }
        if head.fin && !head.kind.is_control() {
            let (op, compressed, wire_len) = open.take().unwrap();
            flat.push(Flat::Message { seq, op, compressed, wire_len });
            seq = seq.next();
        }
    }
    flat
}

fn violation(head: &Head, open: bool, extensions: Negotiated) -> Option<LostWhy> {
    let data_start = matches!(head.kind, FrameKind::Text | FrameKind::Binary);
    let bits = match extensions {
        Negotiated::None => head.rsv != Rsv::NONE,
        Negotiated::Deflate(_) => head.rsv.rsv2() || head.rsv.rsv3() || (head.rsv.rsv1() && !data_start),
        Negotiated::Unknown => false,
    };
    let control = head.kind.is_control();
    [
        (head.len >> 63 != 0, LostWhy::LengthTooBig),
        (bits, LostWhy::ReservedBits),
        (matches!(head.kind, FrameKind::Reserved(_)), LostWhy::ReservedOpcode),
        (control && !head.fin, LostWhy::ControlFragmented),
        (control && head.len > 125, LostWhy::ControlTooLong),
        (data_start && open, LostWhy::DataInsideMessage),
        (head.kind == FrameKind::Continuation && !open, LostWhy::ContinuationWithoutStart),
    ]
    .into_iter()
    .find_map(|(broken, why)| broken.then_some(why))
}

/// A message as the sender sees it: its fragments, with pings in between.
#[derive(Clone, Debug)]
struct Message {
    op: Opcode,
    fragments: Vec<Vec<u8>>,
    pings: bool,
    rsv1: bool,
    mask: Option<[u8; 4]>,
}

impl Message {
    fn text(body: &[u8]) -> Self {
        Self { op: Opcode::Text, fragments: vec![body.to_vec()], pings: false, rsv1: false, mask: None }
    }

    fn masked(self, key: [u8; 4]) -> Self {
        Self { mask: Some(key), ..self }
    }

    fn body(&self) -> Vec<u8> {
        self.fragments.concat()
    }

    fn wire(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, body) in self.fragments.iter().enumerate() {
            let kind = match (at, self.op) {
                (0, Opcode::Text) => FrameKind::Text,
                (0, Opcode::Binary) => FrameKind::Binary,
                _ => FrameKind::Continuation,
            };
            let rsv = if at == 0 && self.rsv1 { Rsv::ONE } else { Rsv::NONE };
            let fin = at + 1 == self.fragments.len();
            out.extend(fragment(&Head { fin, rsv, kind, mask: self.mask, len: 0 }, body));
            if self.pings && !fin {
                out.extend(frame(FrameKind::Ping, b"still there?", self.mask));
            }
        }
        out
    }
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop_oneof![8 => 0usize..12, 3 => 120usize..132, 3 => 0usize..3000, 1 => 65_530usize..65_541];
    (sizes, any::<u8>())
        .prop_map(|(size, seed)| (0..size).map(|i| seed.wrapping_add((i * i) as u8)).collect())
}

prop_compose! {
    fn messages()(
        text in any::<bool>(),
        fragments in prop_oneof![3 => prop::collection::vec(bodies(), 1), 1 => prop::collection::vec(bodies(), 1..5)],
        pings in any::<bool>(),
        mask in any::<Option<[u8; 4]>>(),
    ) -> Message {
        let op = if text { Opcode::Text } else { Opcode::Binary };
        Message { op, fragments, pings, rsv1: false, mask }
    }
}

fn wire(messages: &[Message]) -> Vec<u8> {
    messages.iter().flat_map(Message::wire).collect()
}

/// Sizes to cut by: everything at once, single bytes, and anything between.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![usize::MAX]),
        Just(vec![1]),
        prop::collection::vec(1usize..20, 1..8),
        prop::collection::vec(prop_oneof![1usize..200, 1000usize..70_000], 1..8),
    ]
}

/// A stream in which every rule about fragments and control frames matters once.
fn exemplary() -> Vec<u8> {
    let key = [0xA1, 0xB2, 0xC3, 0xD4];
    let parts = vec![b"one".to_vec(), vec![], b"three and a little more".to_vec(), vec![]];
    let fragmented =
        Message { op: Opcode::Binary, fragments: parts, pings: true, rsv1: false, mask: Some(key) };
    let mut bytes = wire(&[
        Message::text(b"Hello").masked(key),
        Message::text(b"").masked(key),
        fragmented,
        Message::text(&[b'x'; 300]).masked(key),
    ]);
    bytes.extend(close(1000, "done", Some(key)));
    bytes.extend(b"trailing bytes");
    bytes
}
