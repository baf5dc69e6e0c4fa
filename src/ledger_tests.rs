//! The account under every way to settle a token.

use super::*;
use crate::session::{Direction, Seq, SessionNo};

fn key(seq: u64) -> Key {
    Key { session: SessionNo(1), dir: Direction::Down, seq: Seq(seq) }
}

#[test]
fn every_way_to_settle_closes_the_account() {
    let ledger = Ledger::new();
    let entries: Vec<Entry> = (1..=4).map(|seq| ledger.open(key(seq))).collect();
    assert_eq!(ledger.account().in_flight, 4);
    let mut entries = entries.into_iter();
    entries.next().unwrap().confirm(Proof::ReadBack);
    entries.next().unwrap().confirm(Proof::AckedOnly);
    entries.next().unwrap().shed(Shed::Quota);
    assert_eq!(ledger.account().imbalance(), 0);
    drop(entries);
    let account = ledger.account();
    assert_eq!((account.seen, account.confirmed, account.acked_only, account.in_flight), (4, 1, 1, 0));
    assert_eq!(account.shed(Shed::Quota), 1);
    assert_eq!(account.internal(), 1, "the fourth was dropped unsettled");
    assert_eq!(account.imbalance(), 0);
}

#[test]
fn a_second_way_settles_once_whichever_ends_first() {
    // (realtime's word, table's word, which is first) to (confirmed, by table, shed as quota)
    for (confirmed, stored, table_first, expected) in [
        (true, true, true, (1, 0, 0)),
        (true, true, false, (1, 0, 0)),
        (true, false, true, (1, 0, 0)),
        (true, false, false, (1, 0, 0)),
        (false, true, true, (1, 1, 0)),
        (false, true, false, (1, 1, 0)),
        (false, false, true, (0, 0, 1)),
        (false, false, false, (0, 0, 1)),
    ] {
        let ledger = Ledger::new();
        let mut entry = ledger.open(key(1));
        let second = entry.second();
        let table = || if stored { second.stored() } else { drop(second) };
        let realtime = || if confirmed { entry.confirm(Proof::ReadBack) } else { entry.shed(Shed::Quota) };
        if table_first {
            table();
            assert_eq!(ledger.account().in_flight, 1, "the table alone settles nothing");
            realtime();
        } else {
            realtime();
            assert_eq!(ledger.account().in_flight, u64::from(!confirmed), "a shed token waits");
            table();
        }
        let account = ledger.account();
        assert_eq!((account.confirmed, account.by_table, account.shed(Shed::Quota)), expected);
        assert_eq!((account.in_flight, account.internal(), account.imbalance()), (0, 0, 0));
    }
}

#[test]
fn a_token_dropped_unsettled_is_a_bug_whatever_the_table_says() {
    let ledger = Ledger::new();
    let mut entry = ledger.open(key(1));
    let second = entry.second();
    drop(entry);
    second.stored();
    assert_eq!((ledger.account().internal(), ledger.account().imbalance()), (1, 0));
}

#[test]
fn what_the_disk_has_and_what_was_inherited_close_the_account() {
    let ledger = Ledger::new();
    ledger.inherit(10, 3);
    ledger.open(key(1)).spool();
    let account = ledger.account();
    assert_eq!((account.spooled, account.inherited, account.in_flight), (11, 13, 0));
    assert_eq!(account.imbalance(), 0);
    ledger.confirm_spooled(6, Proof::ReadBack);
    ledger.shed_spooled(5, Shed::SpoolFull);
    let account = ledger.account();
    assert_eq!((account.spooled, account.confirmed, account.shed(Shed::Crash)), (0, 6, 3));
    assert_eq!(account.imbalance(), 0);
}

#[test]
fn the_index_of_a_reason_is_its_place_in_the_list() {
    for (place, why) in Shed::ALL.into_iter().enumerate() {
        assert_eq!(why as usize, place);
    }
}
