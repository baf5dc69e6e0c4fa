//! The file and its two threads: restarts keep what was saved, and no disk holds anybody up.

use super::*;
use crate::breaker::{Config as Numbers, Force, Mode, Phase, State};

/// Nothing that must happen takes longer.
const HANG: Duration = Duration::from_secs(60);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-memory-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn latched() -> Breaker {
    let config = Numbers { latch_trips: 1, probes: 1, ..Numbers::default() };
    let mut breaker = Breaker::new(config, 1, clock());
    let probe = breaker.take_probe(clock()).unwrap();
    let end = crate::breaker::ProbeEnd::Good;
    breaker.record(crate::breaker::Outcome::Probe { probe, end }, clock());
    for _ in 0..20 {
        breaker.record(crate::breaker::Outcome::Failed(crate::breaker::Fault::Refused), clock());
    }
    assert!(matches!(breaker.state(), State::Open { latched: true, .. }), "{:?}", breaker.state());
    breaker
}

/// The next process.
fn next(folder: &Folder) -> (Breaker, bool) {
    let mut breaker = Breaker::new(Numbers::default(), 2, clock());
    let by_person = restore(&mut breaker, Recall::begin(&folder.0).finish().as_ref(), clock());
    (breaker, by_person)
}

#[test]
fn a_latch_outlives_the_process_and_so_does_its_reset() {
    let folder = Folder::new("latch");
    let mut breaker = latched();
    let mut memory = Memory::start(&folder.0, &Arc::default(), false).unwrap();
    memory.follow(&breaker, clock());
    drop(memory);
    assert!(matches!(next(&folder).0.state(), State::Open { latched: true, .. }));

    let mut memory = Memory::start(&folder.0, &Arc::default(), false).unwrap();
    memory.follow(&breaker, clock());
    breaker.force(Force::Reset, clock());
    memory.person_spoke();
    memory.follow(&breaker, clock());
    drop(memory);
    assert_eq!(next(&folder).0.state().phase(), Phase::HalfOpen, "the reset survived");
}

#[test]
fn forced_open_survives_as_a_persons_word_and_not_as_the_environments() {
    for (by_person, mode) in [(true, Mode::ForcedOpen), (false, Mode::Auto)] {
        let folder = Folder::new(&format!("forced-{by_person}"));
        let mut breaker = Breaker::new(Numbers::default(), 1, clock());
        breaker.force(Force::Open, clock());
        let mut memory = Memory::start(&folder.0, &Arc::default(), false).unwrap();
        if by_person {
            memory.person_spoke();
        }
        memory.follow(&breaker, clock());
        drop(memory);
        let (again, restored) = next(&folder);
        assert_eq!((again.mode(), restored), (mode, by_person));
    }
}

#[test]
fn what_is_no_state_starts_half_open() {
    let folder = Folder::new("garbage");
    for garbage in [&b""[..], b"{\"version\":1,", b"{\"version\":99}", &vec![b'x'; 100_000]] {
        fs::write(folder.file(), garbage).unwrap();
        let (breaker, _) = next(&folder);
        assert_eq!((breaker.state().phase(), breaker.mode()), (Phase::HalfOpen, Mode::Auto));
    }
    fs::remove_file(folder.file()).unwrap();
    fs::create_dir(folder.file()).unwrap();
    assert_eq!(next(&folder).0.state().phase(), Phase::HalfOpen, "a folder in its place");
}

#[test]
fn a_disk_that_fails_is_counted_and_written_to_later() {
    let folder = Folder::new("fails");
    let writes = Arc::<Writes>::default();
    // A folder stands where the new file would be written.
    fs::create_dir(folder.0.join("breaker.json.new")).unwrap();
    let mut memory = Memory::start(&folder.0, &writes, false).unwrap();
    let mut breaker = latched();
    memory.follow(&breaker, clock());
    let began = clock();
    while writes.read().1 == 0 {
        assert!(began.elapsed() < HANG, "no write was tried");
        std::thread::yield_now();
    }
    fs::remove_dir(folder.0.join("breaker.json.new")).unwrap();
    breaker.force(Force::Open, clock());
    memory.follow(&breaker, clock());
    drop(memory);
    assert!(matches!(next(&folder).0.state(), State::Open { latched: true, .. }));
}

#[test]
fn the_newest_state_takes_the_place_of_what_waits() {
    let desk = Desk::default();
    for text in ["one", "two", "three"] {
        desk.lock().text = Some(text.to_owned());
    }
    assert_eq!(desk.next().as_deref(), Some("three"));
    desk.lock().text = Some("newer".to_owned());
    desk.again("failed".to_owned());
    assert_eq!(desk.next().as_deref(), Some("newer"), "what failed makes room");
    desk.lock().closed = true;
    desk.again("failed".to_owned());
    assert_eq!(desk.next(), None, "a disk that fails does not keep the process");
}
