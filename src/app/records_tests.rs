//! The thread that writes, on real folders; and a disk that hangs.

use std::time::Duration;

use super::*;
use crate::drill::Cause;
use crate::incident::{Figures, Recorder, Trip};

const HANG: Duration = Duration::from_secs(60);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-{name}-{}", std::process::id()));
        // Of a run before this one, if there was one.
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn drill(number: u32) -> drill::Record {
    drill::Record {
        number,
        at_ms: u64::from(number) * 1_000,
        cause: Cause::Person,
        percent: 1.0,
        hot: 100,
        moved: 1,
        to_legacy_ms: Some(20.0),
        to_hot_ms: Some(30.5),
        left: 0,
        outcome: Outcome::Passed,
    }
}

fn incident(second: u64) -> Incident {
    let mut recorder = Recorder::new("service", "pod", "1");
    let trigger = crate::breaker::Trigger::Stall;
    let trip = crate::breaker::Trip { trigger, measured: 2.5, limit: 2.0, samples: 3 };
    recorder.tripped(Trip { trip, open_for: HANG, latched: false }, second * 1_000);
    recorder.take(false, &Figures::default(), second * 1_000).unwrap()
}

/// Hands it over when the thread has room: these tests are about what is written, not about what is shed.
fn with_room(records: &Records, mut job: impl FnMut(&Records)) {
    let before = records.lost();
    loop {
        job(records);
        if records.lost.swap(before, Ordering::Relaxed) == before {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn incidents_are_written_whole_bounded_and_found_by_the_next_process() {
    let folder = Folder::new("incidents");
    let records = start(Some(&folder.0)).unwrap();
    for second in 0..FILES_MAX as u64 + 3 {
        with_room(&records, |records| records.incident(incident(second)));
    }
    let last = Incident { complete: false, ..incident(FILES_MAX as u64 + 2) };
    with_room(&records, |records| records.incident(last.clone()));
    records.end().unwrap();
    assert_eq!(records.lost(), 0);
    let names = list(&folder.0.join(INCIDENTS)).unwrap();
    assert_eq!(names.len(), FILES_MAX);
    assert_eq!(names[0], "19700101T000003Z-stall", "the oldest have given way");
    assert_eq!(records.names().len(), FILES_MAX);
    assert_eq!(records.names()[0], last.id, "newest first, each once");

    let next = start(Some(&folder.0)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let found = async {
            loop {
                // Until the thread has read the folder, nothing is known of it.
                if let Some(found) = next.find(&last.id).await {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(tokio::time::timeout(HANG, found).await.unwrap(), last, "written anew, read from disk");
        for bad in ["../drills", "", "19700101T000000Z-stall"] {
            assert_eq!(next.find(bad).await, None, "{bad}");
        }
    });
    next.end().unwrap();
}

#[test]
fn drills_are_kept_across_processes_and_bounded() {
    let folder = Folder::new("drills");
    let most = drill::RECORDS_MAX as u32;
    std::fs::write(folder.0.join(DRILLS), "torn by a cra\n").unwrap();
    let records = start(Some(&folder.0)).unwrap();
    for number in 1..=3 * most {
        with_room(&records, |records| records.drill(drill(number)));
    }
    records.end().unwrap();
    let written = read_drills(&folder.0.join(DRILLS)).unwrap();
    assert!((most as usize..2 * most as usize).contains(&written.len()), "{} lines", written.len());
    assert_eq!(written.last(), Some(&drill(3 * most)));
    let order: Vec<u32> = written.iter().map(|record| record.number).collect();
    assert!(order.windows(2).all(|two| two[0] + 1 == two[1]), "{order:?}");

    let next = start(Some(&folder.0)).unwrap();
    // The thread reads before it takes a job, so the new one comes last whatever the order here.
    with_room(&next, |next| next.drill(drill(7)));
    next.end().unwrap();
    assert_eq!(next.last_drill(), Some(drill(7)));
    let shown = next.drills();
    assert_eq!((shown.len(), &shown[1]), (drill::RECORDS_MAX, &drill(3 * most)));
    assert_eq!(next.outcomes().iter().sum::<u64>(), 1, "counters are this process's own");
}

#[test]
fn without_a_folder_the_latest_are_in_memory() {
    let records = start(None).unwrap();
    for second in 0..HELD_MAX as u64 + 2 {
        records.incident(incident(second));
    }
    records.drill(drill(1));
    assert_eq!(
        (records.names().len(), records.lost(), records.incidents()),
        (HELD_MAX, 0, HELD_MAX as u64 + 2)
    );
    assert_eq!(records.last_drill(), Some(drill(1)));
}

/// A pipe without a writer hangs whoever opens it, as a volume that is gone does.
#[test]
fn a_hanging_disk_holds_up_neither_the_start_nor_a_trip() {
    let folder = Folder::new("hanging");
    let pipe = folder.0.join(DRILLS);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let records = start(Some(&folder.0)).unwrap();
    // All of this returns although the thread hangs; what does not fit its queue is counted.
    for second in 0..3 * WAITING_MAX as u64 {
        records.incident(incident(second));
    }
    assert!(records.lost() >= WAITING_MAX as u64, "{}", records.lost());
    assert_eq!(records.names().len(), HELD_MAX);
    // Somebody writes, and the disk answers again.
    std::fs::write(&pipe, "").unwrap();
    records.end().unwrap();
    assert!(!list(&folder.0.join(INCIDENTS)).unwrap().is_empty());
}
