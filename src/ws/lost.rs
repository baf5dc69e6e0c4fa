//! Why the tap cannot follow a direction any further. One closed list for the walker and the assembler, because
//! operators read it as one metric label.

/// The reason; the tunnel goes on in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LostWhy {
    /// A continuation frame while no message is open (RFC 6455 section 5.4).
    ContinuationWithoutStart,
    /// A text or binary frame while a fragmented message is open (RFC 6455 section 5.4).
    DataInsideMessage,
    /// A control frame with more than 125 bytes (RFC 6455 section 5.5).
    ControlTooLong,
    /// A control frame without FIN (RFC 6455 section 5.5).
    ControlFragmented,
    /// An opcode without a meaning (RFC 6455 section 5.2).
    ReservedOpcode,
    /// A reserved bit that no negotiated extension uses in this place (RFC 6455 section 5.2, RFC 7692 section 6).
    ReservedBits,
    /// A length with the top bit set (RFC 6455 section 5.2).
    LengthTooBig,
    /// The two ends agreed on an extension that this room does not know. Frames are walked, bodies not read.
    UnknownExtension,
    /// Copying began after messages that the compression may refer to.
    MissedStart,
    /// The compressed data is not DEFLATE.
    InflateCorrupt,
    /// A message inflated beyond the hard cap.
    InflateTooLarge,
    /// A message inflated more steeply than anything sane.
    InflateRatio,
    /// The byte budget had no room for the decompressor.
    InflateBudget,
}

impl LostWhy {
    /// Every reason, in label order.
    pub const ALL: [Self; 13] = [
        Self::ContinuationWithoutStart,
        Self::DataInsideMessage,
        Self::ControlTooLong,
        Self::ControlFragmented,
        Self::ReservedOpcode,
        Self::ReservedBits,
        Self::LengthTooBig,
        Self::UnknownExtension,
        Self::MissedStart,
        Self::InflateCorrupt,
        Self::InflateTooLarge,
        Self::InflateRatio,
        Self::InflateBudget,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContinuationWithoutStart => "continuation_without_start",
            Self::DataInsideMessage => "data_inside_message",
            Self::ControlTooLong => "control_too_long",
            Self::ControlFragmented => "control_fragmented",
            Self::ReservedOpcode => "reserved_opcode",
            Self::ReservedBits => "reserved_bits",
            Self::LengthTooBig => "length_too_big",
            Self::UnknownExtension => "unknown_extension",
            Self::MissedStart => "missed_start",
            Self::InflateCorrupt => "inflate_corrupt",
            Self::InflateTooLarge => "inflate_too_large",
            Self::InflateRatio => "inflate_ratio",
            Self::InflateBudget => "inflate_budget",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_are_distinct() {
        let labels: BTreeSet<_> = LostWhy::ALL.iter().map(|why| why.as_str()).collect();
        assert_eq!(labels.len(), LostWhy::ALL.len());
    }
}
