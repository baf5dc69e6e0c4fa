//! The plan of a single pod: kept with the share, found again, and never a step too far.

use super::*;
use crate::app::flags::FlagBook;
use crate::rollout::plan::{Match, Plan, Why};
use crate::rollout::{Identity, KeyHasher, Tier};

const GOOD: Evidence = Evidence {
    matching: Some(Match { pairs: 3_000, matched: 3_000 }),
    breaker_closed: Some(true),
    p95_ms: Some(90.0),
    quota: Some(0.3),
};

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-plan-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or(());
    }
}

fn percent(text: &str) -> Percent {
    text.parse().unwrap()
}

fn tiers(env: &str) -> Tiers {
    Tiers { env: Flags { percent: percent(env), ..Flags::default() }, ..Tiers::default() }
}

/// Opened, and what the disk has kept taken over.
fn opened(state: Option<&Path>, pods: u32, tiers: &mut Tiers) -> Local {
    let mut local = Local::open(state, pods, tiers);
    local.recall(tiers);
    local
}

fn start() -> PlanWord {
    let text = r#"{"schema":1,"name":"p","steps":[{"percent":"10","bake_seconds":60},{"percent":"50","bake_seconds":60}]}"#;
    PlanWord::Start(Some(Box::new(Plan::parse(text.as_bytes()).unwrap())))
}

fn phase(local: &Local) -> (usize, Phase) {
    let progress = local.book.as_ref().unwrap().held.progress;
    (progress.step, progress.phase)
}

#[test]
fn the_share_that_was_left_holds_after_a_restart_and_a_new_variable_is_a_persons_word() {
    let folder = Folder::new("restart");
    let open = |env: &str| {
        let mut tiers = tiers(env);
        (opened(Some(&folder.0), 1, &mut tiers), tiers)
    };
    let (mut local, mut own) = open("2");
    assert_eq!((own.env.percent, local.home()), (percent("2"), Home::StateDir), "there is no plan yet");
    assert_eq!(local.obey(&start(), None, &own), Ok(Some(percent("10"))));
    assert_eq!(open("2").1.env.percent, percent("10"), "written before the fader moves");
    own.env.percent = percent("10");
    assert_eq!(local.obey(&PlanWord::Say(Command::Promote), None, &own), Ok(Some(percent("50"))));
    own.env.percent = percent("50");
    assert_eq!(local.watch(&(GOOD, false), &own), None);
    // A person pulls it down: the plan pauses, and the person's share outlives the pod.
    own.env.percent = percent("3");
    assert_eq!(local.watch(&(GOOD, false), &own), None);
    assert_eq!(phase(&local), (1, Phase::Paused(Why::Moved)));
    let (mut local, mut own) = open("2");
    assert_eq!((own.env.percent, phase(&local)), (percent("3"), (1, Phase::Paused(Why::Moved))));
    assert_eq!(local.obey(&PlanWord::Say(Command::Resume), None, &own), Ok(Some(percent("50"))));
    own.env.percent = percent("50");
    // The variable is changed: it holds, and the plan finds that it was moved.
    let (mut local, own) = open("7");
    assert_eq!((own.env.percent, phase(&local)), (percent("7"), (1, Phase::Running)));
    local.watch(&(GOOD, false), &own);
    assert_eq!(phase(&local), (1, Phase::Paused(Why::Moved)));
    assert_eq!(open("7").1.env.percent, percent("7"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.0.join("plan.json")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_pods_own_trip_pauses_it_and_a_done_plan_keeps_its_share() {
    let folder = Folder::new("trip");
    let mut own = tiers("0");
    let mut local = opened(Some(&folder.0), 1, &mut own);
    own.env.percent = local.obey(&start(), Some("none"), &own).unwrap().unwrap();
    local.watch(&(GOOD, true), &own);
    assert_eq!(phase(&local), (0, Phase::Paused(Why::FleetTrip)));
    local.obey(&PlanWord::Say(Command::Resume), None, &own).unwrap();
    own.env.percent = local.obey(&PlanWord::Say(Command::Promote), None, &own).unwrap().unwrap();
    local.obey(&PlanWord::Say(Command::Promote), None, &own).unwrap();
    assert_eq!(phase(&local), (1, Phase::Done));
    let mut again = tiers("0");
    opened(Some(&folder.0), 1, &mut again);
    assert_eq!(again.env.percent, percent("50"), "nobody falls back at a restart");
    let said = |tripped_ms| Said { tripped_ms, ..Said::default() };
    assert_eq!([Some(59_999), Some(60_000), None].map(|ms| gathered(&said(ms)).1), [true, false, false]);
}

#[test]
fn what_cannot_be_kept_is_refused_with_what_is_missing() {
    let folder = Folder::new("refused");
    let mut own = tiers("25");
    let refused = |local: &mut Local, own: &Tiers| match local.obey(&start(), None, own) {
        Err(Undone::Refused(why)) => why,
        other => format!("{other:?}"),
    };
    assert!(refused(&mut opened(None, 1, &mut own), &own).contains("CROSSFADE_STATE_DIR"));
    let mut several = opened(Some(&folder.0), 2, &mut own);
    assert!(refused(&mut several, &own).contains("CROSSFADE_REDIS_URL"));
    assert_eq!(several.home(), Home::Nowhere(SEVERAL));
    let mut local = opened(Some(&folder.0), 1, &mut own);
    let above = Tiers { file: Slot::Silent, ..own.clone() };
    assert!(refused(&mut local, &above).contains("\"file\" decides"));
    assert_eq!(
        local.obey(&PlanWord::Say(Command::Pause), None, &own),
        Err(Undone::Refused("there is no plan; start one".to_owned()))
    );
    assert_eq!(local.obey(&start(), Some("seen"), &own), Err(Undone::Stale));
    assert_eq!(own.env.percent, percent("25"));
    // A disk that takes nothing: nothing has happened.
    std::fs::create_dir_all(folder.0.join("plan.json.new")).unwrap();
    assert!(matches!(local.obey(&start(), None, &own), Err(Undone::Away(_))));
    assert!(local.book.is_none() && local.trouble.is_some());
    // Garbage: nobody knows which step held.
    std::fs::write(folder.0.join("plan.json"), "{\"form\":1,").unwrap();
    let mut local = opened(Some(&folder.0), 1, &mut own);
    assert_eq!((own.env.percent, local.trouble.as_deref()), (Percent::ZERO, Some(GARBAGE)));
    std::fs::remove_dir(folder.0.join("plan.json.new")).unwrap();
    assert_eq!(local.obey(&start(), None, &own), Ok(Some(percent("10"))), "a person sets one");
    assert_eq!(local.trouble, None);
}

/// A pod's loop with the ops thread's book at its other end.
struct Pod {
    asks: mpsc::Sender<Asked>,
    view: watch::Receiver<FleetView>,
    standing: watch::Receiver<Arc<Standing>>,
}

fn pod(local: Local, tiers: Tiers) -> Pod {
    let chain = "header:x-user-id".parse().unwrap();
    let identity = Identity { salt: "salt".to_owned(), chain, hasher: KeyHasher::new(&[7; 32]) };
    let book = FlagBook::new(identity, tiers);
    let (words, mut heard) = mpsc::channel(8);
    let (asks, asked) = mpsc::channel(8);
    let view = watch::Sender::new(FleetView::default());
    let (seen, standing) = (view.subscribe(), book.subscribe());
    let part = Part { local, words, standing: standing.clone(), view, asked };
    tokio::spawn(async move {
        while let Some(word) = heard.recv().await {
            if let Word::Flags(word) = word {
                book.hear(word);
            }
        }
    });
    // As it lives in the process; it ends when the words' reader has gone with the test's runtime.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let gone = part.words.clone();
            tokio::select! {
                () = run(part, Said::default) => {}
                () = gone.closed() => {}
            }
        });
    });
    Pod { asks, view: seen, standing }
}

impl Pod {
    async fn say(&self, word: PlanWord) -> Result<(), Undone> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Asked { word, expected: None, answer }).await.unwrap();
        answered.await.unwrap()
    }

    fn share(&self) -> Percent {
        self.standing.borrow().tiers.env.percent
    }
}

#[tokio::test]
async fn a_disk_that_answers_late_gives_the_share_then_and_says_so_meanwhile() {
    let mut own = tiers("25");
    let mut local = opened(None, 1, &mut own);
    let (answers, later) = std::sync::mpsc::sync_channel(1);
    // As `open` leaves it when nothing came in time.
    own.env.percent = Percent::ZERO;
    let folder = Folder::new("late");
    local.disk = Disk::Unread(folder.0.join("plan.json"), later);
    local.trouble = Some(HANGS.to_owned());
    let mut pod = pod(local, own);
    pod.view.wait_for(|view| view.trouble.as_deref() == Some(HANGS)).await.unwrap();
    assert_eq!((pod.say(start()).await, pod.share()), (Err(Undone::Away(HANGS.to_owned())), Percent::ZERO));
    answers.send(Ok(None)).unwrap();
    let hang = Duration::from_secs(60);
    let back = pod.standing.wait_for(|standing| standing.tiers.env.percent == percent("25"));
    assert!(tokio::time::timeout(hang, back).await.is_ok(), "no plan was kept: the variable holds");
    pod.view.wait_for(|view| view.trouble.is_none()).await.unwrap();
    pod.say(start()).await.unwrap();
    assert_eq!(pod.share(), percent("10"));
    let view = pod.view.borrow().clone();
    assert_eq!((view.drives, view.held.unwrap().progress.phase), (true, Phase::Running));
}

#[tokio::test]
async fn ending_the_plan_works_on_a_dead_disk_too() {
    let folder = Folder::new("dead");
    let mut own = tiers("0");
    let local = opened(Some(&folder.0), 1, &mut own);
    let pod = pod(local, own);
    pod.say(start()).await.unwrap();
    assert_eq!((pod.share(), pod.standing.borrow().settings.tier), (percent("10"), Tier::Env));
    // In the way of every further writing; one may be under way at this moment.
    while std::fs::create_dir(folder.0.join("plan.json.new")).is_err() {
        std::thread::yield_now();
    }
    let undone = pod.say(PlanWord::Say(Command::Abort)).await;
    assert!(matches!(&undone, Err(Undone::Away(why)) if why.contains("0 % now")), "{undone:?}");
    assert_eq!(pod.share(), Percent::ZERO);
}
