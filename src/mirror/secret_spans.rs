//! Where in a JSON text the values of secret keys stand, down to the byte, without building a document.
//! Iterative and bounded in depth; JSON inside of JSON strings is followed a few levels down.

use std::ops::Range;

use super::secret_names::SecretNames;

/// Deeper nesting is not read. RFC 8259 section 9 allows a reader such a limit; serde_json's is the same.
pub(super) const DEPTH_MAX: u32 = 128;
/// How many times JSON may be packed into a JSON string and still be looked into.
pub(super) const LEVELS_MAX: u8 = 3;
/// What separates documents in one message: JSON white space, and SignalR's record separator.
const SEPARATORS: &[u8] = b" \t\r\n\x1e";

/// A value to be replaced, packed into `level` JSON strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) bytes: Range<usize>,
    pub(super) level: u8,
}

/// The text is not JSON, or deeper than [`DEPTH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The spans of all secret values in one or more JSON documents, in order, none inside another.
pub(super) fn secret_spans(text: &[u8], names: &SecretNames, level: u8) -> Result<Vec<Span>, Unreadable> {
    let mut scan = Scan { text, at: 0, names, level, depth: 0, objects: 0, hiding: None, spans: Vec::new() };
    loop {
        scan.skip(SEPARATORS);
        if scan.at >= text.len() {
            return Ok(scan.spans);
        }
        scan.document()?;
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    names: &'a SecretNames,
    level: u8,
    depth: u32,
    /// One bit per open bracket, innermost lowest: set for an object.
    objects: u128,
    /// Start and depth of the secret value that is being passed over.
    hiding: Option<(usize, u32)>,
    spans: Vec<Span>,
}

enum Next {
    Value,
    FirstItem,
    FirstKey,
    Key,
    Follow,
}

impl Scan<'_> {
    fn document(&mut self) -> Result<(), Unreadable> {
        let mut next = Next::Value;
        loop {
            self.skip(b" \t\r\n");
            next = match next {
                Next::Value => self.value()?,
                Next::FirstItem if self.peek() == Some(b']') => self.close(false)?,
                Next::FirstItem => Next::Value,
                Next::FirstKey if self.peek() == Some(b'}') => self.close(true)?,
                Next::FirstKey | Next::Key => self.key()?,
                Next::Follow => self.follow()?,
            };
            if self.depth == 0 && matches!(next, Next::Follow) {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Result<Next, Unreadable> {
        match self.peek().ok_or(Unreadable)? {
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'"' => {
                let (raw, escaped) = self.string()?;
                if escaped && self.hiding.is_none() {
                    self.look_into(raw)?;
                }
                Ok(self.value_done())
            }
            _ => {
                self.scalar()?;
                Ok(self.value_done())
            }
        }
    }

    fn key(&mut self) -> Result<Next, Unreadable> {
        let (raw, _) = self.string()?;
        self.skip(b" \t\r\n");
        if self.peek() != Some(b':') {
            return Err(Unreadable);
        }
        self.at += 1;
        self.skip(b" \t\r\n");
        if self.hiding.is_none() && self.text.get(raw).is_some_and(|key| self.names.is_secret(key)) {
            self.hiding = Some((self.at, self.depth));
        }
        Ok(Next::Value)
    }

    fn follow(&mut self) -> Result<Next, Unreadable> {
        let in_object = self.objects & 1 == 1;
        match self.peek().ok_or(Unreadable)? {
            b',' => {
                self.at += 1;
                Ok(if in_object { Next::Key } else { Next::Value })
            }
            b'}' => self.close(true),
            b']' => self.close(false),
            _ => Err(Unreadable),
        }
    }

    fn open(&mut self, object: bool) -> Result<Next, Unreadable> {
        if self.depth >= DEPTH_MAX {
            return Err(Unreadable);
        }
        self.at += 1;
        self.depth += 1;
        self.objects = (self.objects << 1) | u128::from(object);
        Ok(if object { Next::FirstKey } else { Next::FirstItem })
    }

    fn close(&mut self, object: bool) -> Result<Next, Unreadable> {
        if (self.objects & 1 == 1) != object {
            return Err(Unreadable);
        }
        self.at += 1;
        self.depth -= 1;
        self.objects >>= 1;
        Ok(self.value_done())
    }

    fn value_done(&mut self) -> Next {
        if let Some((start, depth)) = self.hiding
            && depth == self.depth
        {
            self.hiding = None;
            self.spans.push(Span { bytes: start..self.at, level: self.level });
        }
        Next::Follow
    }

    /// The span between the quotes and whether it has escapes.
    fn string(&mut self) -> Result<(Range<usize>, bool), Unreadable> {
        if self.peek() != Some(b'"') {
            return Err(Unreadable);
        }
        let start = self.at + 1;
        let mut escaped = false;
        let mut at = start;
        loop {
            match self.text.get(at).ok_or(Unreadable)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    at += escape_len(self.text.get(at..).unwrap_or_default())?;
                }
                0..0x20 => return Err(Unreadable),
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Ok((start..at, escaped))
    }

    /// Numbers and literals. Any bare word will do: `NaN` is no JSON, but where it ends is beyond doubt.
    fn scalar(&mut self) -> Result<(), Unreadable> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Unreadable) }
    }

    /// JSON packed into a string (SockJS, Action Cable): looked into like the rest. What starts like JSON and
    /// cannot be read is hidden whole if it could hold a secret.
    fn look_into(&mut self, raw: Range<usize>) -> Result<(), Unreadable> {
        let packed = self.text.get(raw.clone()).unwrap_or_default();
        let first = packed.iter().find(|byte| !byte.is_ascii_whitespace());
        if !matches!(first, Some(b'{' | b'[' | b'\\' | b'"')) {
            return Ok(());
        }
        let (inner, places) = unpack(packed)?;
        let quoted = starts_like_string(&inner);
        if !quoted && !starts_like_json(&inner) {
            return Ok(());
        }
        let too_deep = self.level >= LEVELS_MAX;
        let found = if too_deep { Err(Unreadable) } else { secret_spans(&inner, self.names, self.level + 1) };
        match found {
            Ok(spans) => {
                let outside = |at: usize| places.get(at).map_or(raw.end, |place| raw.start + *place as usize);
                self.spans.extend(spans.into_iter().map(|span| Span {
                    bytes: outside(span.bytes.start)..outside(span.bytes.end),
                    level: span.level,
                }));
            }
            Err(Unreadable) if (too_deep || !quoted) && self.names.is_suspect(&inner) => {
                self.spans.push(Span { bytes: raw.start - 1..raw.end + 1, level: self.level });
            }
            Err(Unreadable) => {}
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, what: &[u8]) {
        while self.peek().is_some_and(|byte| what.contains(&byte)) {
            self.at += 1;
        }
    }
}

/// Whether text begins as a JSON object or array does, generously: `{name: 1}` does, `[INFO] up` does not.
pub(super) fn starts_like_json(text: &[u8]) -> bool {
    let mut bytes = text.iter().filter(|byte| !SEPARATORS.contains(byte));
    match bytes.next() {
        Some(b'{') => true,
        Some(b'[') => {
            let second = bytes.next();
            matches!(
                second,
                None | Some(b'{' | b'[' | b']' | b'"' | b'\'' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
            )
        }
        _ => false,
    }
}

/// Whether text begins as a JSON string does. People quote too, so unreadable text of this kind is no failed JSON.
pub(super) fn starts_like_string(text: &[u8]) -> bool {
    text.iter().find(|byte| !SEPARATORS.contains(byte)) == Some(&b'"')
}

/// Length of the escape sequence that `rest` starts with.
fn escape_len(rest: &[u8]) -> Result<usize, Unreadable> {
    match rest {
        [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(2),
        [_, b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => Ok(6),
        _ => Err(Unreadable),
    }
}

/// Undoes one level of escapes. Each byte comes with the offset at which it stood. What is not ASCII and came as
/// `\u` becomes 0xff: no key and no bracket has such a byte.
pub(super) fn unpack(packed: &[u8]) -> Result<(Vec<u8>, Vec<u32>), Unreadable> {
    let (mut inner, mut places) = (Vec::with_capacity(packed.len()), Vec::with_capacity(packed.len()));
    let mut at = 0;
    while let Some(byte) = packed.get(at) {
        places.push(u32::try_from(at).map_err(|_| Unreadable)?);
        if *byte != b'\\' {
            inner.push(*byte);
            at += 1;
            continue;
        }
        let rest = packed.get(at..).unwrap_or_default();
        at += escape_len(rest)?;
        inner.push(match rest {
            [_, b'b', ..] => 0x08,
            [_, b'f', ..] => 0x0c,
            [_, b'n', ..] => b'\n',
            [_, b'r', ..] => b'\r',
            [_, b't', ..] => b'\t',
            [_, b'u', b'0', b'0', high, low, ..] => ascii(*high, *low).unwrap_or(0xff),
            [_, b'u', ..] => 0xff,
            [_, plain, ..] => *plain,
            _ => return Err(Unreadable),
        });
    }
    Ok((inner, places))
}

fn ascii(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let code = digit(high)? * 16 + digit(low)?;
    code.is_ascii().then_some(code)
}
