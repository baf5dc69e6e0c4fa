//! The demo's stage: starts everybody, follows the script, draws the account.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::{App, Eyes, Tuning};
use crate::breaker::{self, Phase as BreakerPhase};
use crate::config::{Config, Strings};
use crate::emulator::{self, Claims, Limits, Secret};
use crate::proxy::{DrainPlan, Lane};
use crate::rollout::{Bucket, Percent};
use crate::status::Status;

use super::account::{Account, Evidence};
use super::clients::{Clients, Phase, user};
use super::log::{Findings, Log};
use super::service::Service;
use super::view::{Scene, View};

/// What the demo breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Realtime is killed and refuses connections for a while.
    Outage,
    /// Realtime acknowledges and delivers nothing for a while.
    Stall,
    /// Realtime delivers late for a while.
    Slow,
}

/// How the demo is played.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ends by itself after this.
    pub length: Option<Duration>,
    /// How many clients connect.
    pub clients: usize,
    /// What is broken half way.
    pub fault: Option<Fault>,
    /// Listener of the admin API and the dashboard; port 0 is any free one.
    pub admin: SocketAddr,
    /// Keeps reports, drills, incidents and a plan here.
    pub state: Option<std::path::PathBuf>,
}

/// Where a browser and Prometheus find the demo.
#[derive(Clone, Debug)]
pub struct Door {
    /// Of the dashboard.
    pub dashboard: SocketAddr,
    /// Of `/metrics`.
    pub metrics: SocketAddr,
    /// Lets its bearer change things, for as long as the demo lives.
    pub token: String,
}

/// Why the demo could not be played.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A port cannot be bound on loopback, or a thread not be made.
    #[error("the demo needs free ports on 127.0.0.1")]
    Io(#[from] std::io::Error),
    /// The configuration that the demo writes is refused (a bug).
    #[error("the demo's own configuration is refused: {0}")]
    Config(String),
    /// The sidecar does not start.
    #[error("the sidecar does not start")]
    Start(#[from] crate::app::StartError),
    /// It did not become ready.
    #[error("after {0:?} {1} was still missing")]
    NotReady(Duration, &'static str),
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// The final account.
    pub account: Account,
}

/// The share of the demo's users that is to be hot.
const PERCENT: &str = "50";
const SALT: &str = "crossfade";
/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long Realtime is away under `--fault`.
const AWAY: Duration = Duration::from_secs(5);
/// How often pictures are drawn and conditions are looked at.
const FRAME: Duration = Duration::from_millis(50);
/// Without a length, the picture goes on until the person at the terminal quits.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The breaker's numbers for a demo: what takes minutes in production takes seconds.
fn hurried() -> breaker::Config {
    let step = |share_permille, ms| breaker::Step { share_permille, hold: Duration::from_millis(ms) };
    breaker::Config {
        cooldown: Duration::from_secs(3),
        probe_interval: Duration::from_millis(100),
        probe_deadline: Duration::from_secs(2),
        connect_span: Duration::from_secs(1),
        pace: vec![step(250, 700), step(500, 700)],
        latch_trips: 10,
        ..breaker::Config::default()
    }
}

/// Everybody on the stage.
struct Cast {
    app: App,
    eyes: Eyes,
    service: Service,
    clients: Clients,
    emulator: emulator::Handle,
    phase: watch::Sender<Phase>,
    started: Instant,
    count: usize,
    door: Option<Door>,
}

/// Plays the demo. `draw` gets a scene about twenty times a second and says whether to go on.
///
/// # Errors
/// [`DemoError`] when it cannot be played at all; a broken promise is in the account.
pub async fn play(
    options: Options,
    mut draw: impl FnMut(&View, &Scene<'_>) -> bool,
) -> Result<Outcome, DemoError> {
    let (cast, crowd) = enter(&options).await?;
    let mut show = Show { view: View::default(), options, fault: "up", cast, quit: false };
    show.say("sidecar, service and Realtime emulator are up; the breaker has closed");
    let evidence = show.run(&mut draw).await?;
    let Show { cast, .. } = show;
    cast.phase.send_replace(Phase::Leaving);
    drop(tokio::time::timeout(PATIENCE, crowd).await);
    let eyes = cast.eyes.clone();
    let closes =
        cast.clients.unasked_closes.load(Ordering::Relaxed) + cast.clients.refused.load(Ordering::Relaxed);
    let plan =
        DrainPlan { settle: Duration::ZERO, finish: Duration::from_secs(1), grace: Duration::from_secs(5) };
    cast.app.drain(plan).await;
    cast.emulator.stop();
    let status = eyes.status(now());
    let findings = Log::compare(&cast.service.written, &cast.clients.received)
        .and(Log::compare(&cast.clients.sent, &cast.service.read));
    let account = Account::draw(&Evidence {
        findings,
        clients: cast.count as u64,
        closes,
        status: &status,
        lanes: evidence.lanes,
        predicted_hot: predicted_hot(cast.count),
        fault: evidence.hot_again,
    });
    Ok(Outcome { account })
}

/// What the run itself has to tell the account.
struct Seen {
    lanes: [i64; Lane::ALL.len()],
    hot_again: Option<bool>,
}

struct Show {
    view: View,
    options: Options,
    fault: &'static str,
    cast: Cast,
    quit: bool,
}

impl Show {
    /// The script: settle, break something if asked to, come back, fall silent, settle the account.
    async fn run(&mut self, draw: &mut impl FnMut(&View, &Scene<'_>) -> bool) -> Result<Seen, DemoError> {
        let wanted = predicted_hot(self.cast.count);
        self.until(draw, PATIENCE, |status, _| status.open[Lane::Hot as usize] == wanted).await;
        let lanes = self.status().open;
        self.say(&format!(
            "{} of {} clients are fed by Realtime",
            lanes[Lane::Hot as usize],
            self.cast.count
        ));
        let length = self.options.length.unwrap_or(FOREVER);
        let hot_again = match self.options.fault {
            None => None,
            Some(fault) => {
                self.until(draw, (length / 4).min(Duration::from_secs(6)), |_, _| false).await;
                Some(self.break_and_mend(fault, draw, wanted).await)
            }
        };
        let left = length.saturating_sub(self.elapsed()).saturating_sub(Duration::from_secs(2));
        self.until(draw, left, |_, _| false).await;
        self.quit = false;
        self.say("the service falls silent; what is on its way arrives");
        self.cast.service.quiet.store(true, Ordering::Relaxed);
        self.cast.phase.send_replace(Phase::Listening);
        let arrived = |status: &Status, found: &Findings| {
            found.sent == found.received && status.ledger.in_flight == 0 && status.mirror.waiting == 0
        };
        let mut calm = 0;
        self.until(draw, PATIENCE, |status, found| {
            calm = if arrived(status, found) { calm + 1 } else { 0 };
            calm > 6
        })
        .await;
        Ok(Seen { lanes, hot_again })
    }

    /// Takes Realtime away, waits for the trip, the return to legacy and the way back. Returns whether all clients
    /// of the cohort became hot again.
    async fn break_and_mend(
        &mut self,
        fault: Fault,
        draw: &mut impl FnMut(&View, &Scene<'_>) -> bool,
        wanted: i64,
    ) -> bool {
        let kind = match fault {
            Fault::Outage => {
                self.cast.emulator.restart(AWAY, true);
                None
            }
            Fault::Stall => Some(emulator::FaultKind::Drop),
            Fault::Slow => Some(emulator::FaultKind::Slow { delay_ms: 3_000 }),
        };
        if let Some(kind) = kind {
            let lasting = u64::try_from(AWAY.as_millis()).unwrap_or(u64::MAX);
            self.cast.emulator.inject(emulator::Fault::new(kind).lasting(lasting));
        }
        self.fault = "DOWN";
        self.say("Realtime is taken away (cool-down is 3 s in the demo, 60 s in production)");
        let back =
            |status: &Status, _: &Findings| status.breaker.trips > 0 && status.open[Lane::Hot as usize] == 0;
        if self.until(draw, PATIENCE, back).await {
            let status = self.status();
            let why = status.breaker.last_trip.map_or("", breaker::Trigger::as_str);
            self.say(&format!("breaker open ({why}): every client is on legacy, inside its open socket"));
        }
        self.until(draw, AWAY, |_, _| false).await;
        self.fault = "up";
        self.say("Realtime is back; the breaker probes before it trusts");
        let again = |status: &Status, _: &Findings| {
            status.breaker.phase == BreakerPhase::Closed && status.open[Lane::Hot as usize] == wanted
        };
        let again = self.until(draw, 2 * PATIENCE, again).await;
        self.say(if again {
            "the cohort is back on Realtime, step by step"
        } else {
            "the cohort did not return"
        });
        again
    }

    /// Draws until the condition holds, the time is over or the person quits. Returns whether it held.
    async fn until(
        &mut self,
        draw: &mut impl FnMut(&View, &Scene<'_>) -> bool,
        longest: Duration,
        mut holds: impl FnMut(&Status, &Findings) -> bool,
    ) -> bool {
        let started = now();
        loop {
            let status = self.status();
            let findings = self.findings();
            let scene = Scene {
                elapsed: self.elapsed(),
                total: self.options.length,
                status: &status,
                findings,
                clients: self.cast.clients.open.load(Ordering::Relaxed),
                closes: self.cast.clients.unasked_closes.load(Ordering::Relaxed),
                fault: self.fault,
                door: self.cast.door.as_ref(),
            };
            self.view.observe(&scene);
            self.quit |= !draw(&self.view, &scene);
            if holds(&status, &findings) {
                return true;
            }
            if self.quit || now().saturating_duration_since(started) >= longest {
                return false;
            }
            tokio::time::sleep(FRAME).await;
        }
    }

    /// Totals only: the full comparison is made once, at the end.
    fn findings(&self) -> Findings {
        let cast = &self.cast;
        Findings {
            sent: cast.service.written.total() + cast.clients.sent.total(),
            received: cast.clients.received.total() + cast.service.read.total(),
            ..Findings::default()
        }
    }

    fn status(&self) -> Status {
        self.cast.eyes.status(now())
    }

    fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.cast.started)
    }

    fn say(&mut self, text: &str) {
        let elapsed = self.elapsed();
        self.view.note(elapsed, text);
    }
}

/// Starts everybody; the future is the crowd of clients.
async fn enter(options: &Options) -> Result<(Cast, tokio::task::JoinHandle<()>), DemoError> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (started, count) = (now(), options.clients);
    let secret = Secret::new("a secret that only this demo knows");
    let mut settings = emulator::Config::new(secret.clone());
    settings.limits = Limits::generous();
    let (emulator, serving) = emulator::serve(TcpListener::bind(loopback).await?, settings, 1)?;
    tokio::spawn(serving);
    let key = secret.mint(&Claims::of("service_role", unix_secs().saturating_add(24 * 3600)));
    let listener = TcpListener::bind(loopback).await?;
    let upstream = listener.local_addr()?;
    let service = Service::default();
    tokio::spawn(service.clone().serve(listener));
    let token = token()?;
    let state = options.state.as_ref().and_then(|folder| folder.to_str());
    let kept = state.map(|folder| ("CROSSFADE_STATE_DIR", folder));
    let strings = Strings::of(
        [
            ("CROSSFADE_UPSTREAM", format!("ws://{upstream}").as_str()),
            ("CROSSFADE_LISTEN", "127.0.0.1:0"),
            ("CROSSFADE_METRICS_LISTEN", "127.0.0.1:0"),
            ("CROSSFADE_ADMIN_LISTEN", options.admin.to_string().as_str()),
            ("CROSSFADE_ADMIN_TOKEN", token.as_str()),
            ("CROSSFADE_SERVICE", "demo"),
            ("CROSSFADE_POD", "demo-0"),
            ("SUPABASE_URL", format!("http://{}", emulator.addr()).as_str()),
            ("SUPABASE_KEY", key.as_str()),
            ("CROSSFADE_PLAN", "custom:1000000"),
            ("CROSSFADE_ROLLOUT_PERCENT", PERCENT),
            ("CROSSFADE_ROLLOUT_SALT", SALT),
        ]
        .into_iter()
        .chain(kept),
    );
    let config = Config::load(&strings).map_err(|problems| DemoError::Config(problems.to_string()))?;
    let tuning = Tuning { breaker: Some(hurried()), ..Tuning::default() };
    let app = App::start(&config, &tuning)?;
    let eyes = app.eyes();
    let listens = app.addresses();
    let door =
        listens.admin.zip(listens.metrics).map(|(dashboard, metrics)| Door { dashboard, metrics, token });
    while eyes.status(now()).breaker.phase != BreakerPhase::Closed {
        if now().saturating_duration_since(started) > PATIENCE {
            return Err(DemoError::NotReady(PATIENCE, "a closed breaker"));
        }
        tokio::time::sleep(FRAME).await;
    }
    let clients = Clients::default();
    let (phase, follow) = watch::channel(Phase::Talking);
    let crowd = tokio::spawn(clients.clone().run(app.addresses().proxy, count, follow));
    Ok((Cast { app, eyes, service, clients, emulator, phase, started, count, door }, crowd))
}

/// A token that nobody can guess and that dies with the demo.
fn token() -> Result<String, std::io::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the frozen bucket function says about the demo's users.
fn predicted_hot(count: usize) -> i64 {
    let percent: Percent = PERCENT.parse().unwrap_or(Percent::ZERO);
    let hot = |index: &usize| Bucket::of(SALT.as_bytes(), user(*index).as_bytes()).is_within(percent);
    i64::try_from((0..count).filter(hot).count()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the stage is a shell: its clock is the real one")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the stage is a shell: its clock is the real one")]
fn unix_secs() -> i64 {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(unix.as_secs()).unwrap_or(i64::MAX)
}
