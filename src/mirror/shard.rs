//! Which topic a message goes to: the one that is read back, or the one that costs no delivery.
//! A session's messages may be on both (what it awaits is always read back); `seq` gives their order.

use crate::session::SessionNo;

/// A topic of this pod, with a batcher and a publisher of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shard {
    /// `crossfade:{service}:{pod}`: our own subscription proves what arrives.
    ReadBack,
    /// `crossfade:{service}:{pod}:acked`: nobody of ours listens; settled by Realtime's ok, as `acked_only`.
    Acked,
}

impl Shard {
    /// The topic's name, without `realtime:`.
    #[must_use]
    pub fn topic(self, service: &str, pod: &str) -> String {
        match self {
            Self::ReadBack => format!("crossfade:{service}:{pod}"),
            Self::Acked => format!("crossfade:{service}:{pod}:acked"),
        }
    }
}

/// What is read back besides what hot sessions await.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Everything.
    All,
    /// Nothing else.
    Hot,
    /// The sessions of this share, in 0.001 %.
    Sessions(u32),
}

impl Sampling {
    /// Whether a second topic is needed at all.
    #[must_use]
    pub const fn splits(self) -> bool {
        !matches!(self, Self::All | Self::Sessions(100_000..))
    }

    /// The shard of a message.
    #[must_use]
    pub const fn shard(self, session: SessionNo, awaited: bool) -> Shard {
        let reads = match self {
            Self::All => true,
            Self::Hot => awaited,
            Self::Sessions(share) => awaited || part(session) < share as u64,
        };
        if reads { Shard::ReadBack } else { Shard::Acked }
    }
}

/// A number from 0 to 99,999 for a session: its number, well mixed (SplitMix64), so that neighbours and the
/// workers' strides are spread evenly.
const fn part(session: SessionNo) -> u64 {
    let mut x = (session.0 as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) % 100_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_share_of_the_sessions_whatever_their_stride() {
        for stride in [1, 2, 8, 1000] {
            let sampled = (0..20_000).filter(|n| {
                Sampling::Sessions(10_000).shard(SessionNo(n * stride), false) == Shard::ReadBack
            });
            let share = sampled.count();
            assert!((1_800..=2_200).contains(&share), "{share} of 20,000 at stride {stride}, not 10 %");
        }
    }

    #[test]
    fn what_is_awaited_is_always_read_back() {
        for sampling in [Sampling::All, Sampling::Hot, Sampling::Sessions(0)] {
            assert_eq!(sampling.shard(SessionNo(7), true), Shard::ReadBack);
        }
        assert_eq!(Sampling::Hot.shard(SessionNo(7), false), Shard::Acked);
        assert_eq!(Sampling::Sessions(0).shard(SessionNo(7), false), Shard::Acked);
        let splits = [Sampling::All, Sampling::Hot, Sampling::Sessions(100_000), Sampling::Sessions(1)]
            .map(Sampling::splits);
        assert_eq!(splits, [false, true, false, true]);
    }
}
