//! Stopping: what is under way finishes, sessions are told, nothing outlives the grace period.

use std::net::TcpStream;
use std::time::Duration;

use super::super::*;
use super::world::*;
use crate::ws::FrameKind;

const AT_ONCE: DrainPlan = DrainPlan { settle: Duration::ZERO, finish: HANG, grace: HANG };

fn draining<T>(world: &World, plan: DrainPlan, meanwhile: impl FnOnce() -> T) -> (DrainReport, T) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let running = &world.running;
    std::thread::scope(|scope| {
        let drain = scope.spawn(move || runtime.block_on(running.drain(plan)));
        let result = meanwhile();
        (drain.join().unwrap(), result)
    })
}

fn reach(world: &World, phase: Phase) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(world.running.drain_signal().reached(phase));
}

#[test]
fn plain_requests_finish_then_sessions_are_told() {
    let world = World::start();
    let mut idle = world.client_says(GET);
    let mut service = world.service.accept();
    service.head();
    service.send(OK);
    idle.head();
    idle.exactly(2);
    let mut busy = world.client_says("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    service.head();
    let (mut client, mut upstream) = world.session();
    assert!(world.running.drain_signal().is_ready());
    let (report, ()) = draining(&world, AT_ONCE, || {
        assert_eq!(idle.rest(), (vec![], End::Fin), "an idle connection is closed");
        // The listener is closed by another thread than the idle connection.
        let began = now();
        while TcpStream::connect(world.running.local_addr()).is_ok() {
            assert!(now() - began < HANG, "nobody new is let in");
        }
        assert_eq!(world.running.drain_signal().phase(), Phase::Finishing);
        let still = crate::ws::frame(FrameKind::Text, b"still", Some([1, 2, 3, 4]));
        client.send(&still);
        assert_eq!(upstream.exactly(still.len()), still);
        service.send(OK);
        assert!(busy.head().starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(busy.rest(), (b"ok".to_vec(), End::Fin));
        let told = crate::ws::close(1012, "", None);
        assert_eq!(client.exactly(told.len()), told, "the client is told at a frame boundary");
        client.send(crate::ws::close(1012, "", Some([5, 6, 7, 8])));
        let heard = upstream.exactly(8);
        let code: Vec<u8> = heard[6..].iter().zip(&heard[2..]).map(|(byte, key)| byte ^ key).collect();
        assert_eq!((&heard[..2], code), (&[0x88, 0x82][..], 1001_u16.to_be_bytes().to_vec()));
        drop(upstream);
        assert_eq!(client.rest(), (vec![], End::Fin));
    });
    assert_eq!((report.plain_left, report.sessions_left), (0, 0));
    assert!(!world.running.drain_signal().is_ready());
    world.running.stop();
}

#[test]
fn while_it_settles_everyone_is_served() {
    let world = World::start();
    let plan = DrainPlan { settle: HANG, finish: HANG, grace: HANG };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = async {
        world.running.drain_signal().reached(Phase::Settling).await;
        assert!(!world.running.drain_signal().is_ready());
        world.others_are_served();
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = served => {}
            _ = world.running.drain(plan) => panic!("served while settling"),
        }
    });
}

#[test]
fn grace_ends() {
    let world = World::start();
    let mut stuck = world.client_says(GET);
    let mut service = world.service.accept();
    service.head();
    let soon = Duration::from_millis(50);
    let plan = DrainPlan { settle: Duration::ZERO, finish: soon, grace: soon };
    let (report, ()) = draining(&world, plan, || reach(&world, Phase::Expired));
    assert_eq!((report.plain_left, report.sessions_left), (1, 0));
    assert_eq!(stuck.rest().0, b"");
    assert_eq!(service.rest().0, b"");
    world.running.stop();
}

#[test]
fn workers_say_that_they_live_and_the_service_can_be_probed() {
    let world = World::with(|config| config.workers = Some(2));
    assert_eq!(world.running.workers().len(), 2);
    assert!(world.running.health(now()).iter().all(|silence| *silence < HANG));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(world.running.probe_upstream()).unwrap();
    world.service.accept();
    let deaf = World::with(|config| config.upstream = Target::service("http://127.0.0.1:1").unwrap());
    let error = runtime.block_on(deaf.running.probe_upstream()).unwrap_err();
    assert_eq!(error.fault, Fault::ConnectRefused);
}
