//! The fleet against a real redis-server: one driver, fencing, pods that come and go.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::*;
use crate::config::Secret;
use crate::rollout::plan::{Match, Why};
use crate::rollout::{Document, KeyHasher};

const GOOD: Evidence = Evidence {
    matching: Some(Match { pairs: 3_000, matched: 3_000 }),
    breaker_closed: Some(true),
    p95_ms: Some(90.0),
    quota: Some(0.3),
};

/// A server that ends with this.
struct Server(Child, Place);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap_or(());
        drop(self.0.wait());
    }
}

fn server() -> Option<Server> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let args = ["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()];
    let spawned = std::process::Command::new("redis-server").args(args).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        println!("skip: redis-server is not here (apt-get install redis-server)");
        return None;
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ready to accept")), "redis-server did not start");
    let url = Secret::new(&format!("redis://127.0.0.1:{port}/0"));
    Some(Server(child, Place { url, service: "shop".to_owned(), poll: Duration::from_secs(3600) }))
}

impl Server {
    async fn shared(&self) -> Shared {
        Shared::new(self.1.clone(), connect(&self.1.client().unwrap()).await.unwrap())
    }

    async fn ask(&self, words: &[&str]) {
        let mut connection = connect(&self.1.client().unwrap()).await.unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.exec_async(&mut connection).await.unwrap();
    }

    fn part(&self, pod: &str) -> (Part, mpsc::Receiver<Word>) {
        let (words, heard) = mpsc::channel(64);
        let view = watch::Sender::new(FleetView::default());
        let part = Part {
            place: self.1.clone(),
            pod: pod.to_owned(),
            words,
            view,
            asked: mpsc::channel(1).1,
            pods_min: 1,
        };
        (part, heard)
    }
}

fn plan() -> Plan {
    let text = r#"{"schema":1,"name":"p","steps":[{"percent":"10","bake_seconds":60},{"percent":"50","bake_seconds":60}]}"#;
    Plan::parse(text.as_bytes()).unwrap()
}

async fn stands(shared: &mut Shared) -> (Progress, Percent) {
    let read = shared.read().await.unwrap();
    (parse(&read.plan).unwrap().progress, percent(&read.flags))
}

#[tokio::test]
async fn one_driver_moves_the_fader_and_a_fenced_one_does_not() {
    let Some(server) = server() else { return };
    let (mut one, mut two) = (server.shared().await, server.shared().await);
    server
        .ask(&["SET", "crossfade:shop:flags", r#"{"schema":1,"version":7,"percent":"0","lane":"native"}"#])
        .await;
    let start = PlanWord::Start(Some(Box::new(plan())));
    let refused = obey(&mut two, &PlanWord::Start(None), None).await.unwrap_err();
    assert_eq!(refused, Undone::Refused("there is no plan; start one".to_owned()));
    assert_eq!(obey(&mut two, &start, Some("seen")).await, Err(Undone::Stale));
    obey(&mut two, &start, Some("none")).await.unwrap();
    assert_eq!(stands(&mut one).await.1, "10".parse().unwrap());
    let flags = one.read().await.unwrap().flags;
    let document = Document::parse(flags.as_bytes(), &KeyHasher::new(b"")).unwrap();
    assert_eq!((document.version, document.flags.lane), (8, crate::rollout::RealtimeLane::Native));
    let refused = obey(&mut one, &start, None).await.unwrap_err();
    assert!(matches!(&refused, Undone::Refused(why) if why.contains("is running")), "{refused:?}");

    let first = one.lease("one").await.unwrap().unwrap();
    assert_eq!(two.lease("two").await.unwrap(), None, "there is one driver");
    assert_eq!(one.lease("one").await.unwrap(), Some(first));
    let began = stands(&mut one).await.0.seen_unix_ms;
    let look = |seconds: u64| began + seconds * 1_000;
    assert_eq!(drive(&mut one, first, (&GOOD, false), look(30)).await.unwrap(), Commit::Done);
    assert_eq!(stands(&mut one).await.0.baked_ms, 30_000);
    // The first driver hangs until its lease has run out, and comes back.
    server.ask(&["DEL", "crossfade:shop:plan:lease"]).await;
    let second = two.lease("two").await.unwrap().unwrap();
    assert!(second > first);
    assert_eq!(drive(&mut one, first, (&GOOD, false), look(60)).await.unwrap(), Commit::Fenced);
    assert_eq!(stands(&mut two).await.0.baked_ms, 30_000);
    assert_eq!(drive(&mut two, second, (&GOOD, false), look(60)).await.unwrap(), Commit::Done);
    let (progress, percent) = stands(&mut two).await;
    assert_eq!((progress.step, percent), (1, "50".parse().unwrap()), "step and flags in one stroke");
    drive(&mut two, second, (&GOOD, true), look(62)).await.unwrap();
    let (progress, percent) = stands(&mut two).await;
    assert_eq!((progress.phase, percent), (Phase::Paused(Why::FleetTrip), "50".parse().unwrap()));
    obey(&mut one, &PlanWord::Say(Command::Abort), None).await.unwrap();
    assert_eq!(stands(&mut two).await, (Progress { phase: Phase::Aborted, ..progress }, Percent::ZERO));
}

#[tokio::test]
async fn a_change_made_between_reading_and_writing_is_not_overwritten() {
    let Some(server) = server() else { return };
    let mut shared = server.shared().await;
    let read = shared.read().await.unwrap();
    server.ask(&["SET", "crossfade:shop:flags", r#"{"schema":1,"version":1,"percent":"3"}"#]).await;
    let held = Held { revision: 1, plan: plan(), progress: Progress::IDLE };
    let flags = edited(&read.flags, Percent::FULL).unwrap();
    assert_eq!(shared.commit(0, &read, &held, Some(&flags)).await.unwrap(), Commit::Moved);
    let after = shared.read().await.unwrap();
    assert_eq!((percent(&after.flags), after.plan.as_str()), ("3".parse().unwrap(), ""));
}

#[tokio::test]
async fn pods_hear_each_other_and_two_trips_open_the_third() {
    let Some(server) = server() else { return };
    let said = |tripped_ms| Said { tripped_ms, quota: Some(0.1), ..Said::default() };
    let mut shared = server.shared().await;
    let pods = ["a", "b", "c"].map(|pod| server.part(pod));
    for ((part, _), tripped) in pods.iter().zip([Some(1_000), Some(2_000), None]) {
        part.turn(&mut shared, &said(tripped)).await.unwrap();
    }
    let [_, _, (third, mut heard)] = pods;
    let mut words = Vec::new();
    while let Ok(word) = heard.try_recv() {
        words.push(word);
    }
    match words.as_slice() {
        [Word::Pods(3), Word::Fleet(fleet)] => assert_eq!((fleet.tripped, fleet.needed), (2, 2)),
        other => panic!("{other:?}"),
    }
    let view = third.view.borrow().clone();
    assert_eq!((view.fleet.live, view.drives, view.held.is_none()), (3, false, true));
}
