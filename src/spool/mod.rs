//! The spool: a bounded disk queue for what cannot be published now, and what a kill must not take along.
//!
//! **Problem.** Realtime is away for minutes, memory holds seconds, and a pod dies without asking. Queues on disk are
//! known for what they do badly: they lose the oldest data without a word, start by loading everything, stop for good
//! at one damaged byte, and make their caller wait for a slow disk.
//!
//! **Decision.** A record is one batch as it will be published: the whole envelope with its name, its `src`, its
//! (session, seq) pairs. So publishing it again needs nothing from the process that died, and a repetition carries
//! the same name. Pure files decide: [`record`] (format, checksums), [`seal`] (encryption), [`scan`] (finds records in
//! a damaged file), [`promise`] (what a kill takes along at most), [`index`] (segments, what is settled, who gives way),
//! [`share`] (how much of the sending is backlog).
//! One shell, [`disk`], on a thread of its own, does what they say; its caller only ever leaves a command in a bounded
//! queue and reads reports.
//!
//! Segments are append-only files of one class, `CLASS-FIRSTSEQ.seg`, with a list of settled records beside each
//! (`.ack`). A segment whose records are all settled is deleted. When the spool is full, the dullest class gives way,
//! its oldest segment first; what is duller than all that is there is refused. Each drop is counted.
//!
//! | offset | bytes | field (little endian) |
//! |---|---|---|
//! | 0 | 4 | magic `FF 43 46 01` (the last byte is the version) |
//! | 4 | 4 | class (0 critical … 3 low), sealed (0, 1), two zero bytes |
//! | 8 | 8 | seq: rising by one for each class |
//! | 16 | 8 | time of the oldest message, Unix milliseconds |
//! | 24 | 16 | batch (ULID) |
//! | 40 | 4 | messages by recipient |
//! | 44 | 4 | stored bytes of the body |
//! | 48 | 4 | CRC-32 of the stored bytes |
//! | 52 | 4 | CRC-32 of the 52 bytes before |
//! | 56 | … | the envelope, or nonce (12), AES-256-GCM text and tag (16) that also vouches for bytes 0 to 43 |
//!
//! **Durability.** What was appended in one turn is synced together (`fdatasync`; the directory after each new file),
//! and is only called spooled after that. The list of settled records is not synced: losing it means publishing a
//! batch once more under its own name. A failed sync is final: the kernel may have dropped the pages, so the spool is
//! declared broken, takes nothing more, and still hands out what it has.
//!
//! **Limits.** Memory: one bit for each record, one body at a time. A damaged byte costs its record; damage between
//! records is passed over and reported by range. Unsealed bodies are UTF-8, so none can imitate a header. CRC-32 finds
//! accidents; forgery needs the seal. One process at a time (a lock). Local file systems only.
//!
//! **Not here.** What is spooled and when (the side thread), ledger tokens, sockets.

pub mod disk;
pub mod export;
pub mod index;
pub mod promise;
pub mod record;
pub mod scan;
pub mod seal;
pub mod share;

#[cfg(test)]
mod tests;

/// One rule broken on purpose; the tests must notice each.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// What is urgent gives way first.
    EvictUrgentFirst,
}
