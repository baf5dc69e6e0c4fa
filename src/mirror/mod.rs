//! The mirror: every message that the tap saw goes into Realtime, and is only believed to be there once it came back.
//!
//! **Problem.** Realtime's ok means "taken and handed on"; over its limits it acks into the void. It counts each
//! broadcast and each delivery, so one broadcast per frame would use up a plan in minutes: a service that tells a
//! thousand sockets the same thing sends a thousand frames. And some sessions are *hot*: their client gets a message
//! only when it has come back from Realtime, so what they wait for cannot sit in a queue for two seconds.
//!
//! **Decision.** Six pure machines in a row, driven by one shell on the side thread:
//! * [`classify`]: event type and class, by rule, else by measured frequency;
//! * [`redact`]: secrets go before anything else sees the bytes;
//! * [`batch`]: what a hot session awaits is served first and at once, in one queue of its own, so that all `down`
//!   messages of a hot session keep their order; everything else waits for the age or count of its class, and
//!   identical messages travel once with the list of those they stand for;
//! * [`governor`]: gives or withholds each publish, so that the plan's limit is kept;
//! * [`publish`]: at most four unacknowledged broadcasts; what comes back is compared with what was sent (recipients,
//!   length, checksum) and only that settles ledger tokens; what does not come back is published again under the
//!   same name;
//! * [`events`]: copies of shared messages as plain broadcasts for consumers, off the ledger;
//! * the [`ledger`](crate::ledger) holds one token per message, so that nothing is counted by attempts.
//!
//! ```text
//! tap ─▶ classify ─▶ redact ─▶ Record ─▶ Batcher ─▶ Batch ─▶ Publisher ─▶ Push ─▶ link ─▶ Realtime
//!          │ skip                │ Refused               │ PubEvent ◀── read-back ◀────────┘
//!          ▼                     ▼                       ▼
//!       Entry settled         Entry settled        windows of hot sessions, breaker samples
//! ```
//!
//! **Order.** Within a session, direction and class first transmissions keep the order of the tap; a repetition may
//! come later than its successors, and readers sort by `seq`. Collapsing never overtakes (see [`record`] and the
//! lane's own words).
//!
//! **Limits.** Batcher: [`batch::Limits`], refusing the dull classes first; the caller settles the refused as
//! `queue_full` or `too_large`. Publisher: [`publish::FLIGHTS_MAX`] unsettled batches, then it offers no slot and the
//! batcher fills. Batches: [`batch::BATCH_BYTES_MAX`] or the plan's limit. A message that does not fit into a batch is
//! split, when its turn has come, into at most 256 pieces that share its tokens (proved when all are back, lost with
//! the first lost); only what cannot be cut so small is shed as `too_large`. Payload memory is paid for by the pod's
//! budget until the last token is settled; encoded bytes live from encoding to the socket, four broadcasts at most.
//!
//! **Spool.** With one, what would be shed because Realtime cannot be used is given away instead, and comes back as
//! a batch of the backlog ([`stored`]).
//!
//! **Not here.** Sockets and clocks (the shell), the disk, the governor (it gives or withholds slots), whether
//! Realtime may be used (the breaker).

pub mod batch;
pub mod batch_id;
pub mod classify;
mod denied;
pub mod divert;
pub mod event_type;
pub mod events;
pub mod flight;
pub mod frequency;
pub mod governor;
mod lane;
mod parts;
pub mod propose;
pub mod publish;
mod recipient;
pub mod record;
pub mod redact;
pub mod report;
pub mod rules;
mod secret_names;
mod secret_spans;
pub mod settings;
pub mod shard;
pub mod stored;
pub mod tally;
mod watched;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

#[cfg(test)]
pub(crate) use sabotage::Sabotage;
