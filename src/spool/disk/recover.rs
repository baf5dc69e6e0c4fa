//! What lies in a directory: names, a walk over headers, what was settled. Nothing is loaded, bodies are not read.
//! Torn tails are cut off, damage is reported by file and range.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::checkpoint::{self, Checkpoint};
use crate::envelope::Class;
use crate::spool::index::{Segment, settled_by};
use crate::spool::promise::Promise;
use crate::spool::record::{HEADER_LEN, Header};
use crate::spool::scan::{Found, Scanner};

/// The file of promises.
pub(super) const PROMISE: &str = "promise";

pub(super) fn segment_path(dir: &Path, class: Class, base: u64) -> PathBuf {
    dir.join(format!("{}-{base:016x}.seg", class.as_str()))
}

pub(super) fn list_path(dir: &Path, class: Class, base: u64) -> PathBuf {
    dir.join(format!("{}-{base:016x}.ack", class.as_str()))
}

fn parse_name(name: &str) -> Option<(Class, u64)> {
    let (class, base) = name.strip_suffix(".seg")?.split_once('-')?;
    let class = Class::ALL.into_iter().find(|one| one.as_str() == class)?;
    u64::from_str_radix(base, 16).ok().filter(|_| base.len() == 16).map(|base| (class, base))
}

/// One segment as it was found.
#[derive(Clone, Debug)]
pub struct SegmentFacts {
    /// Its class.
    pub class: Class,
    /// Its file.
    pub path: PathBuf,
    /// What the index needs.
    pub segment: Segment,
    /// Records in it, settled or not.
    pub records: u64,
    /// The highest number in it.
    pub last_seq: u64,
    /// Time of its newest message, in Unix milliseconds.
    pub newest_ms: u64,
    /// Ranges of bytes that are no record.
    pub damaged: Vec<(u64, u64)>,
    /// Where a write that did not end begins.
    pub torn: Option<u64>,
}

/// Everything in a directory.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The segments, by class and age.
    pub segments: Vec<SegmentFacts>,
    /// The last account, if there is one that can be read.
    pub account: Option<Checkpoint>,
    /// The newest promise.
    pub promise: Option<Promise>,
}

/// Walks over all segments of a directory without changing anything.
///
/// # Errors
/// The directory or a file cannot be read.
pub fn inspect(dir: &Path) -> io::Result<Inventory> {
    let mut names: Vec<(Class, u64)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(entry?.file_name().to_str().and_then(parse_name));
    }
    names.sort_unstable();
    let segments =
        names.into_iter().map(|(class, base)| walk(dir, class, base)).collect::<io::Result<_>>()?;
    let promise = fs::read(dir.join(PROMISE)).ok().and_then(|bytes| Promise::newest(&bytes));
    Ok(Inventory { segments, account: checkpoint::read(dir).ok().flatten(), promise })
}

fn walk(dir: &Path, class: Class, base: u64) -> io::Result<SegmentFacts> {
    let path = segment_path(dir, class, base);
    let file = File::open(&path)?;
    let len = file.metadata()?.len();
    let mut segment = Segment::new(base);
    match fs::read(list_path(dir, class, base)) {
        Ok(list) => segment.preset(settled_by(&list), len / HEADER_LEN as u64 + 1),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut facts = SegmentFacts {
        class,
        path,
        segment,
        records: 0,
        last_seq: base,
        newest_ms: 0,
        damaged: Vec::new(),
        torn: None,
    };
    each_record(&file, len, |found| match found {
        Found::Record { header, .. } => {
            facts.records += 1;
            facts.last_seq = facts.last_seq.max(header.seq);
            facts.newest_ms = facts.newest_ms.max(header.at_ms);
            if !facts.segment.is_settled(header.seq) {
                facts.segment.add(&header);
            }
        }
        Found::Damaged { from, to } => facts.damaged.push((from, to)),
        Found::Torn { from } => facts.torn = Some(from),
    })?;
    facts.segment.len = facts.torn.unwrap_or(len);
    facts.segment.synced = facts.segment.len;
    Ok(facts)
}

fn each_record(file: &File, len: u64, mut take: impl FnMut(Found)) -> io::Result<()> {
    let mut scanner = Scanner::new(0, len);
    let mut window = vec![0; 64 << 10];
    while let Some((at, want)) = scanner.wants() {
        let room = window.get_mut(..want).unwrap_or_default();
        let got = read_at(file, room, at)?;
        if let Some(found) = scanner.feed(window.get(..got).unwrap_or_default()) {
            take(found);
        }
        if got == 0 {
            break;
        }
    }
    Ok(())
}

/// Reads until the room is full or the file ends.
pub(super) fn read_at(file: &File, mut room: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut sum = 0;
    while !room.is_empty() {
        match file.read_at(room, at) {
            Ok(0) => break,
            Ok(got) => {
                sum += got;
                at += got as u64;
                room = room.get_mut(got..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// The stored body behind a header.
pub(super) fn read_body(file: &File, at: u64, header: &Header) -> io::Result<Vec<u8>> {
    let mut body = vec![0; header.body_len as usize];
    let got = read_at(file, &mut body, at + HEADER_LEN as u64)?;
    body.truncate(got);
    Ok(body)
}

impl SegmentFacts {
    /// Calls `take` with every record that is not settled, in order, its body not yet opened.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_open(&self, mut take: impl FnMut(Header, Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let file = File::open(&self.path)?;
        let mut result = Ok(());
        each_record(&file, self.segment.len, |found| {
            if let Found::Record { at, header } = found
                && !self.segment.is_settled(header.seq)
                && result.is_ok()
            {
                result = read_body(&file, at, &header).and_then(|body| take(header, body));
            }
        })?;
        result
    }
}
