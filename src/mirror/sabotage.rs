//! Named ways to break the mirror, each of which the simulation must notice.
//! Compiled into tests only.

use bytes::Bytes;

use crate::envelope::{Check, Envelope, decode, encode};

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// An ok from Realtime counts as delivery.
    SettleOnAck,
    /// What comes back is believed without looking at length and checksum.
    ForgetChecksum,
    /// The recipients that did not fit into a batch are forgotten.
    DropContinuation,
    /// The last recipient of a list is not written.
    SkipRecipient,
    /// A repetition gets a batch name of its own.
    RepublishUnderNewId,
    /// The first piece of a split message that comes back proves all of it.
    TrustFirstPiece,
}

impl Sabotage {
    pub(super) fn maim(chosen: Option<Self>, body: Bytes) -> Bytes {
        if chosen != Some(Self::SkipRecipient) {
            return body;
        }
        let mut envelope = decode(&body).expect("our own envelope");
        for received in &mut envelope.messages {
            let to = received.message.to.to_mut();
            if to.len() > 1 {
                to.pop();
            }
        }
        Bytes::from(encode(&envelope))
    }

    pub(super) fn trust(chosen: Option<Self>, mut envelope: Envelope<'_>) -> Envelope<'_> {
        if chosen == Some(Self::ForgetChecksum) {
            for received in &mut envelope.messages {
                received.check = Check::Verified;
            }
        }
        envelope
    }
}
