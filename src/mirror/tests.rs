//! Thousands of lives of the mirror on a virtual clock, and proof that they notice what they are there for.

use std::sync::OnceLock;
use std::time::Instant;

use super::Sabotage;
use super::world::live;

/// The one instant that every virtual clock of this room starts from.
pub(super) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant cannot be made of nothing; only its offsets are used"
    )]
    *START.get_or_init(Instant::now)
}

/// Lives per test run: as many as a few seconds allow, about 8 ms each without optimisation.
const LIVES: u64 = if cfg!(debug_assertions) { 800 } else { 20_000 };

#[test]
fn every_life_balances_and_keeps_order() {
    let (mut confirmed, mut seen) = (0, [0u64; 9]);
    for seed in 0..LIVES {
        let account = live(seed, None).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        confirmed += account.confirmed;
        let figures = [
            account.shed,
            account.altered,
            account.republished,
            account.duplicate,
            account.late,
            account.collapsed,
            account.continued,
            account.unconfirmed,
            account.split,
        ];
        seen.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }
    assert!(confirmed > LIVES * 100, "{confirmed}");
    assert!(seen.iter().all(|sum| *sum > LIVES / 10), "the faults must have happened: {seen:?}");
}

#[test]
fn each_sabotage_is_caught() {
    for sabotage in [
        Sabotage::SettleOnAck,
        Sabotage::ForgetChecksum,
        Sabotage::DropContinuation,
        Sabotage::SkipRecipient,
        Sabotage::RepublishUnderNewId,
        Sabotage::TrustFirstPiece,
    ] {
        let caught = (0..LIVES).find(|seed| live(*seed, Some(sabotage)).is_err());
        assert!(caught.is_some(), "{sabotage:?} went unseen");
    }
}
