//! The tunnel between two raw sockets: what one side writes is what the other reads, whatever the tap does.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::cell::{Order, SessionCell};
use super::pump::Tunnel;
use super::taps::DirectionTap;
use super::tunnel::{EndCause, Ended};
use super::worker::Worker;
use super::{Follows, Io, Lane, News, Notice, Policy, Verdict, Windows};
use crate::budget::Budget;
use crate::hot::{Fallback, ReadBack};
use crate::ledger::{Ledger, Proof, Shed};
use crate::session::{Direction, Seq, SessionId};
use crate::tap::{self, Tap, TapReceiver, Tapped};
use crate::ws::{FrameKind, Limits, Negotiated, close, frame};

/// How long anything may take before the test is hung.
const HANG: Duration = Duration::from_secs(30);

/// Both ends of a session, the session between them, and the mirror's end of the tap.
struct World {
    client: TcpStream,
    service: TcpStream,
    cell: Rc<SessionCell>,
    worker: Rc<Worker>,
    task: JoinHandle<Ended>,
}

/// What stands behind the tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// No mirror at all.
    Off,
    /// A side thread that drains.
    On,
    /// A side thread that never drains: the queue fills up.
    Stuck,
    /// A side thread that is gone.
    Gone,
    /// A tap that panics.
    Panicking,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap().0);
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

#[expect(clippy::disallowed_methods, reason = "tests on real sockets are shells")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn mirror() -> (Tap, TapReceiver, Arc<Ledger>) {
    let ledger = Ledger::new();
    let now = now();
    let (tap, receiver) = tap::channel(Budget::new(32 << 20), Arc::clone(&ledger), now);
    (tap, receiver, ledger)
}

impl World {
    async fn new(tap: Option<Tap>, panicking: bool) -> Self {
        Self::sampled(tap, panicking, true).await
    }

    async fn sampled(tap: Option<Tap>, panicking: bool, sampled: bool) -> Self {
        let verdict = Verdict {
            lane: Lane::Hot,
            reason: "test",
            mirrored: sampled && tap.is_some(),
            follows: Follows::Share { bucket: 0, share: 1000 },
            wants: None,
            subject: None,
            token: None,
        };
        Self::with(Worker::for_tests(tap.clone()), tap, verdict, panicking).await
    }

    /// A session of this lane, on a worker of its own or on a given one.
    async fn of(tap: Option<Tap>, lane: Lane, worker: Option<Rc<Worker>>) -> Self {
        let worker = worker.unwrap_or_else(|| Worker::for_tests(tap.clone()));
        Self::with(worker, tap, Verdict { lane, ..Verdict::LEGACY }, false).await
    }

    async fn with(worker: Rc<Worker>, tap: Option<Tap>, verdict: Verdict, panicking: bool) -> Self {
        let ((client, near), (far, service)) = (pair().await, pair().await);
        let no = worker.sessions().take_number();
        let path: Arc<str> = "/feed".into();
        let cell = Rc::new(SessionCell::new(
            no,
            SessionId::from_bits(7),
            Arc::clone(&path),
            verdict.clone(),
            worker.now(),
        ));
        let taps = [Direction::Up, Direction::Down].map(|dir| {
            let mut one = DirectionTap::new(no, dir).negotiated(Negotiated::None);
            if let Some(tap) = &tap {
                one.mirror_into(tap.clone(), Arc::clone(&path), Limits::default(), Negotiated::None);
                one.want(verdict.mirrored);
            }
            one.panics = panicking;
            one
        });
        let tunnel =
            Tunnel::new((Io::Plain(near), Io::Plain(far)), Rc::clone(&cell), Rc::clone(&worker), taps);
        worker.sessions().enter(&cell);
        let task = tokio::task::spawn_local(tunnel);
        Self { client, service, cell, worker, task }
    }

    fn serve_hot(&self) {
        self.worker
            .sessions()
            .apply(Policy { hot: Ok(()), share_permille: 1000, ..Policy::PASSTHROUGH }, 1012);
        self.worker.sessions().tick(self.worker.now());
    }

    async fn ended(self) -> Ended {
        tokio::time::timeout(HANG, self.task).await.expect("the session hangs").unwrap()
    }
}

async fn read_exactly(socket: &mut TcpStream, want: &[u8]) {
    let mut got = vec![0; want.len()];
    tokio::time::timeout(HANG, socket.read_exact(&mut got)).await.expect("bytes are missing").unwrap();
    assert_eq!(got, want);
}

/// Runs a world on a local set, as a worker would.
fn local<F: Future<Output = ()>>(world: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(world));
}

fn text(body: &str) -> Vec<u8> {
    frame(FrameKind::Text, body.as_bytes(), None)
}

/// A stream of frames with everything in it, then garbage that no walker can follow.
fn wild_bytes(masked: bool) -> Vec<u8> {
    let key = masked.then_some([9, 8, 7, 6]);
    let mut bytes = frame(FrameKind::Text, "héllo".as_bytes(), key);
    bytes.extend(frame(FrameKind::Ping, b"are you there", key));
    bytes.extend(frame(FrameKind::Binary, &vec![0xA5; 70_000], key));
    let mut first = frame(FrameKind::Text, b"frag", key);
    first[0] &= 0x7F;
    bytes.extend(first);
    bytes.extend(frame(FrameKind::Pong, b"", key));
    bytes.extend(frame(FrameKind::Continuation, b"mented", key));
    for n in 0..200 {
        bytes.extend(frame(FrameKind::Text, format!("message {n}").as_bytes(), key));
    }
    bytes.extend((0..5_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]));
    bytes
}

#[test]
fn bytes_are_identical_with_the_tap_off_on_stuck_gone_and_panicking() {
    for behind in [Behind::Off, Behind::On, Behind::Stuck, Behind::Gone, Behind::Panicking] {
        for chunk in [1_usize, 7, 1000, 1 << 20] {
            local(async move {
                let (tap, mut receiver, ledger) = mirror();
                if behind == Behind::Stuck {
                    while tap.offer(stuffing(), &"/".into(), false).is_ok() {}
                }
                let world =
                    World::new((behind != Behind::Off).then_some(tap), behind == Behind::Panicking).await;
                if behind == Behind::Gone {
                    drop(receiver);
                } else if behind == Behind::On {
                    tokio::task::spawn_local(async move {
                        loop {
                            while let Some(item) = receiver.poll_next() {
                                if let Tapped::Message(message) = item {
                                    message.entry.confirm(Proof::ReadBack);
                                }
                            }
                            tokio::task::yield_now().await;
                        }
                    });
                }
                both_ways(world, chunk).await;
                if behind == Behind::On {
                    assert!(ledger.account().seen > 400, "{:?}", ledger.account());
                }
            });
        }
    }
}

/// Writes the wild bytes both ways in chunks and compares what arrives.
async fn both_ways(mut world: World, chunk: usize) {
    let (up, down) = (wild_bytes(true), wild_bytes(false));
    let chunk = if chunk == 1 { up.len() / 3000 } else { chunk };
    let (mut from_client, mut to_client) = world.client.split();
    let (mut from_service, mut to_service) = world.service.split();
    let write_up = async {
        for piece in up.chunks(chunk) {
            to_client.write_all(piece).await.unwrap();
        }
        to_client.shutdown().await.unwrap();
    };
    let write_down = async {
        for piece in down.chunks(chunk) {
            to_service.write_all(piece).await.unwrap();
        }
        to_service.shutdown().await.unwrap();
    };
    let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
    let all = async {
        tokio::join!(
            write_up,
            write_down,
            from_service.read_to_end(&mut got_up),
            from_client.read_to_end(&mut got_down)
        )
    };
    let (.., read_up, read_down) = tokio::time::timeout(HANG, all).await.expect("the tunnel hangs");
    read_up.unwrap();
    read_down.unwrap();
    assert!(got_up == up, "what the service got differs from what the client wrote");
    assert!(got_down == down, "what the client got differs from what the service wrote");
    let panicked = world.worker.shared.sessions[0].tap_panics.load(std::sync::atomic::Ordering::Relaxed);
    let ended = world.ended().await;
    assert_eq!(ended.cause, EndCause::Finished);
    assert_eq!((ended.bytes_up, ended.bytes_down), (up.len() as u64, down.len() as u64));
    assert!(panicked == 0 || panicked == 2, "each direction's tap panics at most once: {panicked}");
}

fn stuffing() -> crate::ws::Captured {
    let key = crate::session::Key { session: crate::session::SessionNo(0), dir: Direction::Up, seq: Seq(1) };
    let body = crate::budget::Payload::copy_from(b"x", &Budget::new(1)).ok_or(Shed::Budget);
    crate::ws::Captured { key, op: crate::session::Opcode::Text, at: now(), body, wire_len: 1 }
}

#[test]
fn a_half_close_passes_and_the_other_half_lives_on() {
    local(async {
        let mut world = World::new(None, false).await;
        world.client.write_all(b"last words").await.unwrap();
        world.client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        world.service.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"last words");
        world.service.write_all(b"still here").await.unwrap();
        read_exactly(&mut world.client, b"still here").await;
        world.service.shutdown().await.unwrap();
        assert_eq!(world.client.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(world.ended().await.cause, EndCause::Finished);
    });
}

#[test]
fn a_reset_passes_as_a_reset_after_the_bytes_before_it() {
    local(async {
        let mut world = World::new(None, false).await;
        world.service.write_all(b"before").await.unwrap();
        read_exactly(&mut world.client, b"before").await;
        let service = std::mem::replace(&mut world.service, pair().await.0);
        Io::Plain(service).reset();
        let error = world.client.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(world.ended().await.cause, EndCause::UpstreamReset);

        let mut world = World::new(None, false).await;
        let client = std::mem::replace(&mut world.client, pair().await.0);
        Io::Plain(client).reset();
        let error = world.service.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(world.ended().await.cause, EndCause::ClientReset);
    });
}

#[test]
fn a_client_that_does_not_read_pushes_back_on_the_service_and_gets_everything_later() {
    for hot in [false, true] {
        local(async move {
            let (tap, mut receiver, _ledger) = mirror();
            let world = World::new(Some(tap), false).await;
            if hot {
                world.serve_hot();
            }
            let message = frame(FrameKind::Binary, &vec![0x5A; 16_000], None);
            let (mut reader, mut service) = (world.client, world.service);
            let mut written = 0_usize;
            // The service writes until the kernel takes no more for a while: the push-back has arrived.
            while let Ok(result) =
                tokio::time::timeout(Duration::from_millis(500), service.write_all(&message)).await
            {
                result.unwrap();
                written += 1;
                while let Some(item) = receiver.poll_next() {
                    settle(item);
                }
                assert!(written < 20_000, "320 MB went into a client that does not read");
            }
            let expected = message.repeat(written);
            let mut got = vec![0; expected.len()];
            tokio::time::timeout(HANG, reader.read_exact(&mut got))
                .await
                .expect("bytes are missing")
                .unwrap();
            assert!(got == expected);
        });
    }
}

fn settle(item: Tapped) {
    if let Tapped::Message(message) = item {
        message.entry.confirm(Proof::ReadBack);
    }
}

/// Waits for the next message at the tap.
async fn tapped(receiver: &mut TapReceiver) -> tap::Message {
    let wait = async {
        loop {
            match receiver.poll_next() {
                Some(Tapped::Message(message)) => return message,
                Some(_) => {}
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(HANG, wait).await.expect("nothing came to the tap")
}

fn returned(world: &World, seq: u64) {
    let what = News::Returned(ReadBack::Matched);
    world.worker.sessions().notify(&[Notice { no: world.cell.no, seq: Seq(seq), what }], world.worker.now());
}

#[test]
fn a_hot_message_waits_for_its_read_back_and_a_ping_does_not() {
    local(async {
        let (tap, mut receiver, _ledger) = mirror();
        let mut world = World::new(Some(tap), false).await;
        world.serve_hot();
        world.service.write_all(&text("one")).await.unwrap();
        let message = tapped(&mut receiver).await;
        assert!(message.hot);
        message.entry.confirm(Proof::ReadBack);
        assert_eq!(world.cell.lane(), Lane::Hot);
        world.service.write_all(&frame(FrameKind::Ping, b"p", None)).await.unwrap();
        read_exactly(&mut world.client, &frame(FrameKind::Ping, b"p", None)).await;
        returned(&world, 1);
        read_exactly(&mut world.client, &text("one")).await;
        world.client.write_all(&frame(FrameKind::Text, b"up", Some([1, 2, 3, 4]))).await.unwrap();
        read_exactly(&mut world.service, &frame(FrameKind::Text, b"up", Some([1, 2, 3, 4]))).await;
        settle(Tapped::Message(tapped(&mut receiver).await));
    });
}

#[test]
fn outside_the_sample_a_session_is_mirrored_only_while_it_is_hot() {
    local(async {
        let (tap, mut receiver, ledger) = mirror();
        let mut world = World::sampled(Some(tap), false, false).await;
        let up = frame(FrameKind::Text, b"up", Some([1, 2, 3, 4]));
        world.service.write_all(&text("one")).await.unwrap();
        read_exactly(&mut world.client, &text("one")).await;
        world.client.write_all(&up).await.unwrap();
        read_exactly(&mut world.service, &up).await;
        let left_out = |ledger: &Ledger| {
            let account = ledger.account();
            (account.seen, account.shed(Shed::Unsampled))
        };
        assert_eq!(left_out(&ledger), (2, 2), "nobody has copied them, and the account says so");
        world.serve_hot();
        world.service.write_all(&text("two")).await.unwrap();
        settle(Tapped::Message(tapped(&mut receiver).await));
        returned(&world, 2);
        read_exactly(&mut world.client, &text("two")).await;
        world.client.write_all(&up).await.unwrap();
        read_exactly(&mut world.service, &up).await;
        settle(Tapped::Message(tapped(&mut receiver).await));
        assert_eq!(left_out(&ledger), (4, 2), "both directions of a hot session");
        let back = Policy { hot: Err(Fallback::Rollout), ..Policy::PASSTHROUGH };
        world.worker.sessions().apply(back, 1012);
        world.worker.sessions().tick(world.worker.now());
        world.service.write_all(&text("three")).await.unwrap();
        read_exactly(&mut world.client, &text("three")).await;
        assert_eq!(left_out(&ledger), (5, 3));
    });
}

#[test]
fn going_back_writes_the_window_in_order_inside_the_open_socket() {
    local(async {
        let (tap, mut receiver, _ledger) = mirror();
        let mut world = World::new(Some(tap), false).await;
        world.serve_hot();
        let (one, two, three) = (text("one"), text("two"), text("three"));
        // "two" is cut in the middle when the breaker opens.
        world.service.write_all(&[one.clone(), two[..3].to_vec()].concat()).await.unwrap();
        settle(Tapped::Message(tapped(&mut receiver).await));
        let open = Policy { hot: Err(Fallback::Breaker), close_native: true, ..Policy::PASSTHROUGH };
        world.worker.sessions().apply(open, 1012);
        world.service.write_all(&two[3..]).await.unwrap();
        read_exactly(&mut world.client, &[one, two].concat()).await;
        assert_eq!(world.cell.lane(), Lane::Legacy);
        assert_eq!(world.cell.fallback(), Some(Fallback::Breaker));
        settle(Tapped::Message(tapped(&mut receiver).await));
        // And hot again, in the same socket.
        world.serve_hot();
        world.service.write_all(&three).await.unwrap();
        let message = tapped(&mut receiver).await;
        assert!(message.hot);
        settle(Tapped::Message(message));
        returned(&world, 3);
        read_exactly(&mut world.client, &three).await;
    });
}

#[test]
fn a_message_that_does_not_come_back_is_rescued_by_the_tick() {
    local(async {
        let (tap, mut receiver, _ledger) = mirror();
        let mut world = World::new(Some(tap), false).await;
        world.serve_hot();
        world.service.write_all(&text("one")).await.unwrap();
        settle(Tapped::Message(tapped(&mut receiver).await));
        while !world.worker.sessions().wants_tick() {
            tokio::task::yield_now().await;
        }
        world.worker.sessions().tick(world.worker.now() + Duration::from_millis(600));
        read_exactly(&mut world.client, &text("one")).await;
    });
}

#[test]
fn the_services_close_ends_the_window_and_passes_after_it() {
    local(async {
        let (tap, mut receiver, _ledger) = mirror();
        let mut world = World::new(Some(tap), false).await;
        world.serve_hot();
        world.service.write_all(&text("one")).await.unwrap();
        settle(Tapped::Message(tapped(&mut receiver).await));
        world.service.write_all(&close(4404, "application code", None)).await.unwrap();
        read_exactly(&mut world.client, &[text("one"), close(4404, "application code", None)].concat()).await;
        world.client.write_all(&close(4404, "", Some([5, 5, 5, 5]))).await.unwrap();
        read_exactly(&mut world.service, &close(4404, "", Some([5, 5, 5, 5]))).await;
        drop(std::mem::replace(&mut world.service, pair().await.0));
        assert_eq!(world.client.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

#[test]
fn a_silent_side_thread_puts_hot_sessions_on_legacy() {
    local(async {
        let (tap, mut receiver, _ledger) = mirror();
        let mut world = World::new(Some(tap), false).await;
        world.serve_hot();
        world.service.write_all(&text("one")).await.unwrap();
        settle(Tapped::Message(tapped(&mut receiver).await));
        world.worker.sessions().tick(world.worker.now() + Duration::from_millis(1100));
        read_exactly(&mut world.client, &text("one")).await;
        assert_eq!(world.cell.fallback(), Some(Fallback::SideStuck));
    });
}

#[test]
fn a_drain_tells_the_client_1012_and_the_service_1001_at_frame_boundaries() {
    local(async {
        let mut world = World::new(None, false).await;
        let message = text("whole");
        world.service.write_all(&message[..4]).await.unwrap();
        read_exactly(&mut world.client, &message[..4]).await;
        world.cell.order(Order::Close(1012));
        world.service.write_all(&message[4..]).await.unwrap();
        read_exactly(&mut world.client, &[message[4..].to_vec(), close(1012, "", None)].concat()).await;
        let last = frame(FrameKind::Text, b"my last", Some([1, 1, 1, 1]));
        let goodbye = close(1012, "", Some([2, 2, 2, 2]));
        world.client.write_all(&[last.clone(), goodbye].concat()).await.unwrap();
        let told = close(1001, "", Some(world.worker.mask_key()));
        let mut got = vec![0; last.len() + told.len()];
        tokio::time::timeout(HANG, world.service.read_exact(&mut got)).await.expect("no close").unwrap();
        assert_eq!(got[..last.len()], last);
        assert_eq!(got[last.len()..last.len() + 2], told[..2], "a masked close of two bytes");
        let code: Vec<u8> =
            got[last.len() + 6..].iter().zip(&got[last.len() + 2..]).map(|(b, k)| b ^ k).collect();
        assert_eq!(code, 1001_u16.to_be_bytes());
        world.service.shutdown().await.unwrap();
        assert_eq!(world.ended().await.cause, EndCause::Drained);
    });
}

#[test]
fn an_idle_session_is_told_and_then_cut_and_a_busy_one_is_not() {
    const LIMIT: Duration = Duration::from_secs(10);
    local(async {
        let worker = Worker::for_tests(None);
        let mut idle = World::of(None, Lane::Legacy, Some(Rc::clone(&worker))).await;
        let mut busy = World::of(None, Lane::Legacy, Some(Rc::clone(&worker))).await;
        let start = worker.now();
        for second in 1..=21 {
            // Either direction keeps a session alive; both messages have been counted once they are read.
            let (from, to) = if second % 2 == 0 {
                (&mut busy.client, &mut busy.service)
            } else {
                (&mut busy.service, &mut busy.client)
            };
            from.write_all(&text("I am here")).await.unwrap();
            read_exactly(to, &text("I am here")).await;
            tokio::task::yield_now().await;
            worker.sessions().end_idle(LIMIT, start + Duration::from_secs(second));
            if second == 9 {
                assert!(!idle.cell.is_ordered_for_tests(), "not yet");
            }
            if second == 12 {
                read_exactly(&mut idle.client, &close(1001, "", None)).await;
            }
        }
        let mut rest = Vec::new();
        tokio::time::timeout(HANG, idle.client.read_to_end(&mut rest)).await.expect("not cut").unwrap();
        tokio::time::timeout(HANG, idle.service.read_to_end(&mut rest)).await.expect("not cut").unwrap();
        assert_eq!((rest, idle.ended().await.cause), (vec![], EndCause::Idle));
        assert!(!busy.cell.is_ordered_for_tests() && !busy.task.is_finished());
    });
}

#[test]
fn a_drain_writes_nothing_where_no_boundary_is_known() {
    local(async {
        let mut world = World::new(None, false).await;
        // An opcode that says nothing about where its frame ends would be known; an impossible length is not.
        let lost = [&[0x82, 127][..], &[0xFF; 8], b"no frames from here on"].concat();
        world.service.write_all(&lost).await.unwrap();
        read_exactly(&mut world.client, &lost).await;
        world.cell.order(Order::Close(1012));
        world.service.write_all(b"still not").await.unwrap();
        read_exactly(&mut world.client, b"still not").await;
        world.cell.order(Order::Cut);
        let mut rest = Vec::new();
        tokio::time::timeout(HANG, world.client.read_to_end(&mut rest)).await.expect("no end").unwrap();
        assert!(rest.is_empty(), "a close in the middle of somebody's bytes");
        assert_eq!(world.ended().await.cause, EndCause::Cut);
    });
}

/// Sends `count` messages up and their answers down through the tunnel.
async fn echo(world: &mut World, count: usize) {
    let (up, down) = ([0x81, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g'], [0x81, 4, b'p', b'o', b'n', b'g']);
    let mut buffer = [0; 16];
    for _ in 0..count {
        world.client.write_all(&up).await.unwrap();
        world.service.read_exact(&mut buffer[..up.len()]).await.unwrap();
        world.service.write_all(&down).await.unwrap();
        world.client.read_exact(&mut buffer[..down.len()]).await.unwrap();
    }
}

#[test]
fn an_echo_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let mut world = local.block_on(&runtime, World::new(None, false));
    let mut allocations = |count| {
        let echoes = || local.block_on(&runtime, echo(&mut world, count));
        allocation_counter::measure(echoes).count_total
    };
    allocations(100); // buffers of the runtime grow to their size
    let (few, many) = (allocations(100), allocations(1100));
    assert_eq!(many, few, "a thousand echoes more cost {} allocations more", many - few);
}

#[test]
fn native_sessions_are_told_to_connect_again_a_few_at_a_time() {
    local(async {
        let mut worlds = Vec::new();
        let first = World::of(None, Lane::Native, None).await;
        let worker = Rc::clone(&first.worker);
        worlds.push(first);
        for _ in 0..19 {
            worlds.push(World::of(None, Lane::Native, Some(Rc::clone(&worker))).await);
        }
        let open = Policy { hot: Err(Fallback::Breaker), close_native: true, ..Policy::PASSTHROUGH };
        worker.sessions().apply(open, 1012);
        worker.sessions().tick(worker.now());
        let told = |worlds: &[World]| worlds.iter().filter(|world| world.cell.is_ordered_for_tests()).count();
        assert_eq!(told(&worlds), 8, "one tick tells a few");
        worker.sessions().tick(worker.now());
        worker.sessions().tick(worker.now());
        assert!(!worker.sessions().wants_tick());
        for world in &mut worlds {
            read_exactly(&mut world.client, &close(1012, "", None)).await;
        }
    });
}

#[test]
fn windows_that_hold_too_much_together_let_go_in_order() {
    local(async {
        let (tap, mut receiver, _ledger) = mirror();
        let windows = Windows::new(1000);
        let worker = Worker::with_windows_for_tests(Some(tap.clone()), Arc::clone(&windows));
        let follows = Follows::Share { bucket: 0, share: 1000 };
        let verdict = Verdict {
            lane: Lane::Hot,
            reason: "test",
            mirrored: true,
            follows,
            wants: None,
            subject: None,
            token: None,
        };
        let mut world = World::with(worker, Some(tap), verdict, false).await;
        world.serve_hot();
        let messages: Vec<Vec<u8>> = (0..4).map(|n| text(&format!("{n}").repeat(300))).collect();
        for message in &messages {
            world.service.write_all(message).await.unwrap();
            settle(Tapped::Message(tapped(&mut receiver).await));
        }
        read_exactly(&mut world.client, &messages.concat()).await;
        assert_eq!(world.cell.fallback(), Some(Fallback::WindowFull));
        assert_eq!(windows.held(), 0);
    });
}

#[test]
fn a_stream_that_ends_inside_a_control_frame_of_a_hot_session_ends_for_the_client_too() {
    for torn in [&[0x89_u8][..], &[0x89, 5, b'a'], &[0x81, 5, b'a']] {
        local(async move {
            let (tap, mut receiver, _ledger) = mirror();
            let mut world = World::new(Some(tap), false).await;
            world.serve_hot();
            world.service.write_all(&text("one")).await.unwrap();
            settle(Tapped::Message(tapped(&mut receiver).await));
            world.service.write_all(torn).await.unwrap();
            world.service.shutdown().await.unwrap();
            let mut got = Vec::new();
            let all = world.client.read_to_end(&mut got);
            tokio::time::timeout(HANG, all).await.expect("the end does not pass").unwrap();
            assert_eq!(got, [&text("one"), torn].concat());
        });
    }
}

#[test]
fn a_client_that_does_not_read_is_counted_as_held_up_until_it_reads() {
    use std::sync::atomic::Ordering::Relaxed;

    /// More than both sockets take.
    const MANY: usize = 64 << 20;
    local(async {
        let World { mut client, mut service, worker, task, .. } = World::new(None, false).await;
        let held = |dir: usize| worker.sessions().counters().held[dir].load(Relaxed);
        let writer = tokio::task::spawn_local(async move {
            service.write_all(&vec![b'x'; MANY]).await.unwrap();
            service.shutdown().await.unwrap();
        });
        let is_held = async {
            while held(1) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANG, is_held).await.expect("nobody is held up");
        assert_eq!((held(0), held(1)), (0, 1));
        assert_eq!(worker.sessions().counters().held_us[1].load(Relaxed), 0, "added when the wait is over");

        let mut got = Vec::new();
        tokio::time::timeout(HANG, client.read_to_end(&mut got)).await.unwrap().unwrap();
        assert_eq!(got.len(), MANY);
        writer.await.unwrap();
        drop(client);
        tokio::time::timeout(HANG, task).await.unwrap().unwrap();
        assert_eq!((held(0), held(1)), (0, 0));
        assert!(worker.sessions().counters().held_us[1].load(Relaxed) > 0);
    });
}

#[test]
fn a_session_that_ends_while_it_is_held_up_is_held_up_no_more() {
    use std::sync::atomic::Ordering::Relaxed;

    local(async {
        let World { client, mut service, worker, task, .. } = World::new(None, false).await;
        let held = || worker.sessions().counters().held[1].load(Relaxed);
        let writer = tokio::task::spawn_local(async move {
            // Until it is told that nobody reads.
            while service.write_all(&[b'x'; 65_536]).await.is_ok() {}
        });
        let is_held = async {
            while held() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANG, is_held).await.expect("nobody is held up");
        drop(client);
        tokio::time::timeout(HANG, task).await.unwrap().unwrap();
        tokio::time::timeout(HANG, writer).await.unwrap().unwrap();
        assert_eq!(held(), 0);
    });
}

#[test]
fn a_turn_that_passed_everything_on_is_timed() {
    local(async {
        let World { mut client, mut service, worker, .. } = World::new(None, false).await;
        let mut counts = [0; crate::proxy::TIMING_EDGES.len() + 1];
        assert_eq!(worker.sessions().counters().overhead.add_to(&mut counts), 0.0);
        service.write_all(&text("one")).await.unwrap();
        read_exactly(&mut client, &text("one")).await;
        let seconds = worker.sessions().counters().overhead.add_to(&mut counts);
        assert_eq!(counts.iter().sum::<u64>(), 1, "the first of 64");
        assert!(seconds > 0.0, "{seconds}");
    });
}

/// Writes until the tunnel takes no more, as far as some turns of the loop can tell.
async fn fill(socket: &TcpStream) {
    for _ in 0..50 {
        while socket.try_write(&[0x82; 16 * 1024]).is_ok() {}
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

/// The kernel tells of a reset once, and a write may be the one that hears it; what is read afterwards looks like a FIN.
#[test]
fn a_reset_that_a_write_has_heard_of_is_still_a_reset_on_the_other_side() {
    for client_breaks in [true, false] {
        local(async move {
            let World { client, service, task, .. } = World::new(None, false).await;
            let (near, mut far) = if client_breaks { (client, service) } else { (service, client) };
            // The far side is behind, so that nobody reads the near one when it breaks.
            fill(&near).await;
            socket2::SockRef::from(&near).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(near);
            for _ in 0..20 {
                drop(far.try_write(b"is anybody there?"));
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
            let mut rest = Vec::new();
            let read = tokio::time::timeout(HANG, far.read_to_end(&mut rest)).await.expect("no end");
            let kind = read.map_err(|error| error.kind());
            assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset), "{} bytes", rest.len());
            let cause = tokio::time::timeout(HANG, task).await.expect("the session hangs").unwrap().cause;
            let expected = if client_breaks { EndCause::ClientReset } else { EndCause::UpstreamReset };
            assert_eq!(cause, expected);
        });
    }
}
