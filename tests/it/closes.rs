//! Every way in which a hot session can end, in every state that its window can be in, over real sockets.
//!
//! Both ends keep what they wrote and read, and how their stream ended; that alone decides. The service must see a
//! client's reset as a reset and its FIN as a FIN, and the other way round; a client must have every byte that the
//! service wrote before its end, or a beginning of them where the service's reset has destroyed the rest.

use std::io::ErrorKind;
use std::time::Duration;

use crossfade::emulator::{Claims, Config, Fault, FaultKind, Handle, Secret, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::process::{HANG, Proxy, until};
use super::stage::{ALL_HOT, HOT, audit};
use super::{http::value_in, raw};

const SECRET: &str = "only for the tests of closes";
const DOWN: &str = "crossfade_bytes_total{direction=\"down\"}";
const COMPRESSED: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
/// 1000 with the mask 1234, and 1000 without.
const CLIENT_CLOSE: [u8; 8] = [0x88, 0x82, b'1', b'2', b'3', b'4', 0x03 ^ b'1', 0xE8 ^ b'2'];
const SERVICE_CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xE8];
/// 1012, as a drain says it.
const RESTART_CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xF4];
/// Larger than what a window holds.
const TOO_LARGE: usize = 300 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Empty,
    /// Messages wait for their read-back.
    Waiting,
    /// Some came back, others wait.
    Partly,
    /// In the middle of a message that streams through.
    TooLarge,
    /// Between the fragments of a message.
    Fragment,
    /// The client does not read: the outbox is full, and the service is not read on.
    Paused,
}

impl Window {
    const ALL: [Self; 6] =
        [Self::Empty, Self::Waiting, Self::Partly, Self::TooLarge, Self::Fragment, Self::Paused];

    /// Whether read-backs are withheld in this state.
    const fn waits(self) -> bool {
        matches!(self, Self::Waiting | Self::Partly)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    ServiceClose,
    ServiceFin,
    ServiceReset,
    ClientClose,
    ClientFin,
    ClientReset,
}

impl End {
    const ALL: [Self; 6] = [
        Self::ServiceClose,
        Self::ServiceFin,
        Self::ServiceReset,
        Self::ClientClose,
        Self::ClientFin,
        Self::ClientReset,
    ];
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Fin,
    Reset,
}

struct World {
    service: TcpListener,
    proxy: Proxy,
    realtime: Handle,
}

impl World {
    async fn open(more: &[(&str, &str)]) -> Self {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = Config::new(Secret::new(SECRET));
        config.limits.events_per_second = 1_000_000;
        config.limits.joins_per_second = 100_000;
        let (realtime, run) = serve(listener, config, 1).unwrap();
        tokio::spawn(run);
        let url = format!("http://{}", realtime.addr());
        let key = Secret::new(SECRET).mint(&Claims::of("service_role", 4_000_000_000));
        // Nothing is released because it has waited for long: what waits does so until the end that is tested.
        let mut env = vec![("CROSSFADE_HOT_DEADLINE", "2m"), ("CROSSFADE_PLAN", "custom:1000000")];
        env.extend([("SUPABASE_URL", url.as_str()), ("SUPABASE_KEY", key.as_str())]);
        env.extend(ALL_HOT);
        env.extend(more);
        let proxy = Proxy::start(service.local_addr().unwrap(), None, &env);
        proxy.until_ready(200).await;
        proxy.until_value("crossfade_realtime_connected", 1.0).await;
        Self { service, proxy, realtime }
    }

    fn withhold(&self) {
        self.realtime.inject(Fault::new(FaultKind::Drop));
    }

    fn deliver(&self) {
        self.realtime.clear_faults(None);
    }

    /// Bytes that crossfade has read from the service.
    async fn read_down(&self) -> u64 {
        self.proxy.value(DOWN).await as u64
    }

    /// A session whose window is ready to be brought into a state: hot, and a first message has come by Realtime.
    async fn session(&self, more: &str) -> Session {
        let open = self.proxy.value(HOT).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(128 * 1024).unwrap();
        let mut client = socket.connect(self.proxy.clients).await.unwrap();
        client.set_nodelay(true).unwrap();
        let request = raw::UPGRADE.replace("\r\n\r\n", &format!("\r\nX-User-Id: one\r\n{more}\r\n"));
        client.write_all(request.as_bytes()).await.unwrap();
        let (service, _) = raw::upgraded(&self.service, more).await;
        assert!(raw::head(&mut client).await.starts_with("HTTP/1.1 101 "));
        self.proxy.until_value(HOT, open + 1.0).await;
        let compressed = !more.is_empty();
        let mut session =
            Session { client, service, wrote: Vec::new(), got: Vec::new(), left: Vec::new(), compressed };
        session.say(3).await;
        session.read_all().await;
        session
    }

    /// Brings the window into this state. Read-backs are withheld already where the state needs it.
    async fn bring(&self, session: &mut Session, state: Window) {
        let before = self.read_down().await;
        let written = session.wrote.len();
        match state {
            Window::Empty => {}
            Window::Waiting | Window::Partly => session.say(5).await,
            Window::Fragment => session.write(&frame(0x01, b"{\"event\":\"half")).await,
            Window::TooLarge => {
                session.write(&frame(0x01, &vec![b'x'; TOO_LARGE])).await;
                session.read_all().await;
            }
            Window::Paused => return self.pause(session).await,
        }
        let more = (session.wrote.len() - written) as u64;
        until("all of it was taken from the service", async || {
            (self.read_down().await == before + more).then_some(())
        })
        .await;
    }

    /// Writes until nothing moves any more.
    async fn pause(&self, session: &mut Session) {
        let message = text(&vec![b'y'; 60_000], session.compressed);
        let mut last = None;
        until("the client's slowness reaches the service", async || {
            loop {
                if session.left.is_empty() {
                    session.left.clone_from(&message);
                }
                match session.service.try_write(&session.left) {
                    Ok(n) => {
                        session.wrote.extend(session.left.drain(..n));
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        break;
                    }
                }
            }
            let now = (self.read_down().await, session.wrote.len());
            let rests = last == Some(now);
            last = Some(now);
            rests.then_some(())
        })
        .await;
    }
}

struct Session {
    client: TcpStream,
    service: TcpStream,
    /// What the service's socket took.
    wrote: Vec<u8>,
    /// What the client read.
    got: Vec<u8>,
    /// The rest of the message that the service is in the middle of.
    left: Vec<u8>,
    compressed: bool,
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        small @ 0..126 => frame.push(u8::try_from(small).unwrap()),
        medium @ 126..65_536 => {
            frame.push(126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        large => {
            frame.push(127);
            frame.extend((large as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// A text message; compressed ones are stored blocks (RFC 7692 section 7.2.3.3).
fn text(body: &[u8], compressed: bool) -> Vec<u8> {
    if !compressed {
        return frame(0x81, body);
    }
    let len = u16::try_from(body.len()).unwrap();
    let mut block = vec![0];
    block.extend(len.to_le_bytes());
    block.extend((!len).to_le_bytes());
    block.extend(body);
    block.push(0);
    frame(0xC1, &block)
}

impl Session {
    async fn write(&mut self, bytes: &[u8]) {
        timeout(HANG, self.service.write_all(bytes)).await.unwrap().unwrap();
        self.wrote.extend(bytes);
    }

    /// So many messages.
    async fn say(&mut self, count: usize) {
        for _ in 0..count {
            let body = format!("{{\"event\":\"tick\",\"n\":{}}}", self.wrote.len());
            self.write(&text(body.as_bytes(), self.compressed)).await;
        }
    }

    /// The client reads all that the service wrote.
    async fn read_all(&mut self) {
        let mut chunk = vec![0; 64 * 1024];
        while self.got.len() < self.wrote.len() {
            let n = timeout(HANG, self.client.read(&mut chunk)).await.unwrap().unwrap();
            assert!(n > 0, "the client's stream ended early");
            self.got.extend(&chunk[..n]);
        }
        assert!(self.got == self.wrote, "the client read something else");
    }

    /// The service finishes its message and says this, while the client reads to the end of it.
    async fn finish(&mut self, last: &[u8]) {
        let mut rest = std::mem::take(&mut self.left);
        rest.extend(last);
        self.wrote.extend(&rest);
        let wanted = self.wrote.len();
        let (reader, mut chunk) = (&mut self.client, vec![0; 64 * 1024]);
        let reading = async {
            while self.got.len() < wanted {
                let n = reader.read(&mut chunk).await.unwrap();
                assert!(n > 0, "the client's stream ended early: {} of {wanted}", self.got.len());
                self.got.extend(&chunk[..n]);
            }
        };
        let both = async { tokio::join!(self.service.write_all(&rest), reading).0.unwrap() };
        timeout(HANG, both).await.unwrap();
        assert!(self.got == self.wrote, "the client read something else");
    }

    /// Reads what is left of the client's stream, and how it ends.
    async fn client_end(&mut self) -> Ended {
        end(&mut self.client, &mut self.got).await
    }

    /// Reads what the client said, exactly this.
    async fn service_reads(&mut self, wanted: &[u8]) {
        let mut got = vec![0; wanted.len()];
        timeout(HANG, self.service.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, wanted, "the service read something else");
    }

    /// How the service's stream ends; nothing may come before that.
    async fn service_end(&mut self) -> Ended {
        let mut rest = Vec::new();
        let ended = end(&mut self.service, &mut rest).await;
        assert!(rest.is_empty(), "the service read something that nobody said");
        ended
    }

    /// FIN from both, seen by both.
    async fn part(&mut self) {
        self.service.shutdown().await.unwrap();
        assert_eq!(self.client_end().await, Ended::Fin);
        self.client.shutdown().await.unwrap();
        assert_eq!(self.service_end().await, Ended::Fin);
        assert!(self.got == self.wrote, "something came after all");
    }
}

/// Reads to the end of a stream.
async fn end(socket: &mut TcpStream, got: &mut Vec<u8>) -> Ended {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match timeout(HANG, socket.read(&mut chunk)).await.expect("no end") {
            Ok(0) => return Ended::Fin,
            Ok(n) => got.extend(&chunk[..n]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                return Ended::Reset;
            }
        }
    }
}

fn reset(socket: &TcpStream) {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Ends a session, and holds what both ends saw against what the other did.
async fn run(mut one: Session, state: Window, how: End) {
    match how {
        End::ServiceClose => {
            one.finish(&SERVICE_CLOSE).await;
            one.client.write_all(&CLIENT_CLOSE).await.unwrap();
            one.service_reads(&CLIENT_CLOSE).await;
            one.part().await;
        }
        End::ServiceFin => {
            if !(state.waits() || state == Window::Fragment) {
                one.finish(&[]).await;
            }
            // What is held is released by the end itself.
            one.service.shutdown().await.unwrap();
            assert_eq!(one.client_end().await, Ended::Fin);
            assert!(one.got == one.wrote, "{} of {} bytes", one.got.len(), one.wrote.len());
            // The other half still lives.
            one.client.write_all(b"\x81\x821234\x59\x5B").await.unwrap();
            one.service_reads(b"\x81\x821234\x59\x5B").await;
            one.client.shutdown().await.unwrap();
            assert_eq!(one.service_end().await, Ended::Fin);
        }
        End::ServiceReset => {
            reset(&one.service);
            let Session { mut client, service, wrote, mut got, .. } = one;
            drop(service);
            assert_eq!(end(&mut client, &mut got).await, Ended::Reset);
            assert!(wrote.starts_with(&got), "the client read something else");
            let whole = matches!(state, Window::TooLarge | Window::Paused) || got.len() == wrote.len();
            assert!(whole, "{} of {} bytes", got.len(), wrote.len());
        }
        End::ClientClose => {
            one.client.write_all(&CLIENT_CLOSE).await.unwrap();
            one.service_reads(&CLIENT_CLOSE).await;
            one.finish(&SERVICE_CLOSE).await;
            one.part().await;
        }
        End::ClientFin => {
            one.client.shutdown().await.unwrap();
            assert_eq!(one.service_end().await, Ended::Fin);
            let last = if matches!(state, Window::TooLarge | Window::Fragment) {
                frame(0x80, b"the end")
            } else {
                text(b"the end", one.compressed)
            };
            one.service.set_nodelay(true).unwrap();
            if state.waits() {
                // The service's own end releases what waits.
                one.write(&last).await;
                one.service.shutdown().await.unwrap();
            } else {
                one.finish(&last).await;
                one.service.shutdown().await.unwrap();
            }
            assert_eq!(one.client_end().await, Ended::Fin);
            assert!(one.got == one.wrote, "{} of {} bytes", one.got.len(), one.wrote.len());
        }
        End::ClientReset => {
            reset(&one.client);
            let Session { client, mut service, .. } = one;
            drop(client);
            let mut heard = Vec::new();
            assert_eq!(end(&mut service, &mut heard).await, Ended::Reset);
            assert!(heard.is_empty(), "the service read something that nobody said");
        }
    }
}

async fn every_end(extensions: &str) {
    let world = World::open(&[]).await;
    for state in Window::ALL {
        for how in End::ALL {
            println!("{state:?} {how:?}");
            let mut session = world.session(extensions).await;
            if state.waits() {
                world.withhold();
            }
            world.bring(&mut session, state).await;
            if state.waits() {
                assert!(session.got.len() < session.wrote.len(), "nothing waits");
            }
            run(session, state, how).await;
            world.deliver();
            world.proxy.until_value(HOT, 0.0).await;
            world.proxy.until_value("crossfade_sessions{lane=\"legacy\"}", 0.0).await;
        }
    }
    audit(&world.proxy).await;
    let scrape = world.proxy.scrape().await;
    let ended =
        |cause: &str| value_in(&scrape, &format!("crossfade_sessions_ended_total{{cause=\"{cause}\"}}"));
    assert_eq!((ended("client_reset"), ended("upstream_reset")), (6.0, 6.0), "{scrape}");
    assert_eq!(value_in(&scrape, "crossfade_tap_panics_total"), 0.0, "{scrape}");
}

#[tokio::test]
async fn every_end_in_every_state_of_the_window_is_carried_over_as_it_is() {
    every_end("").await;
}

#[tokio::test]
async fn compressed_sessions_end_as_the_others_do() {
    every_end(COMPRESSED).await;
}

/// One session's end by a drain: everything that was taken from the service, then 1012; the service hears 1001.
async fn told(state: Window, mut session: Session) {
    if state == Window::Paused {
        // The close waits for a boundary between two messages; what the service wrote behind it is cut off.
        let rest = std::mem::take(&mut session.left);
        session.wrote.extend(&rest);
        let Session { client, service, got, .. } = &mut session;
        let reading = async {
            let mut chunk = vec![0; 64 * 1024];
            while !got.ends_with(&RESTART_CLOSE) {
                let n = client.read(&mut chunk).await.unwrap();
                assert!(n > 0, "no close after {} bytes", got.len());
                got.extend(&chunk[..n]);
            }
        };
        let both = async { tokio::join!(service.write_all(&rest), reading).0.unwrap() };
        timeout(HANG, both).await.unwrap();
        let taken = session.got.len() - RESTART_CLOSE.len();
        assert!(session.wrote.starts_with(&session.got[..taken]), "the client read something else");
        let cut = &session.wrote[taken..];
        assert!(cut.is_empty() || cut.starts_with(&[0x81, 126]), "cut in the middle of a message");
        session.wrote.truncate(taken);
    }
    session.wrote.extend(RESTART_CLOSE);
    session.read_all().await;
    session.client.write_all(&CLIENT_CLOSE).await.unwrap();
    let mut told = [0; 8];
    timeout(HANG, session.service.read_exact(&mut told)).await.unwrap().unwrap();
    // Masked with a key of crossfade's own.
    assert!(told.starts_with(&[0x88, 0x82]), "{state:?}: {told:?}");
    assert_eq!([told[6] ^ told[2], told[7] ^ told[3]], [0x03, 0xE9], "{state:?}: {told:?}");
    session.service.shutdown().await.unwrap();
    assert_eq!(session.client_end().await, Ended::Fin, "{state:?}");
    assert_eq!(session.service_end().await, Ended::Fin, "{state:?}");
    assert!(session.got == session.wrote, "{state:?}: something came after the close");
}

#[tokio::test]
async fn a_drain_empties_every_window_and_then_says_why() {
    let mut world = World::open(&[("CROSSFADE_DRAIN_GRACE", "55s"), ("CROSSFADE_DRAIN_SETTLE", "0s")]).await;
    let mut all = Vec::new();
    for state in Window::ALL {
        all.push((state, world.session("").await));
    }
    for (state, session) in all.iter_mut().filter(|(state, _)| !state.waits()) {
        world.bring(session, *state).await;
    }
    world.withhold();
    for (state, session) in all.iter_mut().filter(|(state, _)| state.waits()) {
        world.bring(session, *state).await;
        assert!(session.got.len() < session.wrote.len(), "nothing waits");
    }
    world.proxy.process.signal("TERM");
    // All at once: who has been told and does not answer is not waited for for long.
    let told = all.into_iter().map(|(state, session)| tokio::spawn(told(state, session)));
    for one in told.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(world.proxy.process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn compressed_sessions_move_both_ways_and_miss_nothing() {
    let world = World::open(&[]).await;
    let mut all = Vec::new();
    for extensions in [COMPRESSED, "", COMPRESSED] {
        all.push(world.session(extensions).await);
    }
    let everybody = all.len() as f64;
    for _ in 0..3 {
        world.withhold();
        for session in &mut all {
            session.say(20).await;
        }
        world.realtime.restart(Duration::from_millis(100), true);
        world.proxy.until_value(HOT, 0.0).await;
        for session in &mut all {
            // Neither what waited nor what comes now needs Realtime.
            session.read_all().await;
            session.say(20).await;
            session.read_all().await;
        }
        world.deliver();
        world.proxy.until_value(HOT, everybody).await;
        for session in &mut all {
            session.say(20).await;
            session.read_all().await;
        }
    }
    let scrape = world.proxy.scrape().await;
    assert!(value_in(&scrape, "crossfade_moves_to_hot_total") >= 3.0 * everybody, "{scrape}");
    for session in all {
        run(session, Window::Empty, End::ServiceClose).await;
    }
}

/// A session that holds too much goes back alone; when all together hold too much, those that add to it go.
#[tokio::test]
async fn heavy_sessions_go_back_by_their_own_budget_and_by_that_of_the_pod() {
    let budgets = [("CROSSFADE_WINDOW_SESSION", "200KiB"), ("CROSSFADE_WINDOW_POD", "500KiB")];
    let world = World::open(&budgets).await;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(world.session("").await);
    }
    world.withhold();
    let heavy = text(&vec![b'h'; 60_000], false);
    // Four of them are more than a session may hold; one of each other session fits.
    for _ in 0..4 {
        all[0].write(&heavy).await;
    }
    world.proxy.until_value(HOT, 5.0).await;
    all[0].read_all().await;
    for session in &mut all[1..] {
        session.write(&heavy).await;
    }
    // The second of each is more than the pod may hold together: those that are one too many go back, the others stay.
    for session in &mut all[1..] {
        session.write(&heavy).await;
    }
    let full = "crossfade_moves_back_total{reason=\"window_full\"}";
    until("the pod's budget is kept", async || (world.proxy.value(full).await >= 2.0).then_some(())).await;
    assert!(world.proxy.value(HOT).await >= 1.0, "not everybody has to go");
    world.deliver();
    world.realtime.restart(Duration::from_millis(100), true);
    for session in &mut all {
        session.read_all().await;
    }
    for session in all {
        run(session, Window::Empty, End::ClientClose).await;
    }
}
