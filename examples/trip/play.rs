//! The first process: starts the others, takes Realtime away under load, compares the logs, prints the figures.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{LOOK, Process};
use crate::{Failure, Options, now, oracle};

/// Open files of a process besides its sessions' sockets.
const FILES_BESIDE: usize = 300;
/// Totals that stand still for so long have come to rest.
const REST: Duration = Duration::from_secs(15);

/// Only this run's sidecar knows it, on loopback.
const TOKEN: &str = "a-token-that-only-this-example-knows";
const HOT: &str = "crossfade_sessions{lane=\"hot\"}";

struct Cast {
    emulator: Process,
    service: Process,
    proxy: Process,
    metrics: SocketAddr,
    admin: SocketAddr,
    clients: Process,
    patience: Duration,
}

/// When what happened after Realtime was taken away.
struct Times {
    broken: Instant,
    opened: Instant,
    first: Instant,
    last: Instant,
    /// From the trip to the last session, as crossfade itself has measured it.
    own_us: u64,
}

pub(crate) fn play(options: &Options) -> Result<(), Failure> {
    let files = enough_files(options.sessions)?;
    let binary = binary(options)?;
    let folder = std::env::temp_dir().join(format!("crossfade-trip-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = play_in(options, &binary, &folder, files);
    match &done {
        Ok(()) => std::fs::remove_dir_all(&folder)?,
        Err(_) => eprintln!("trip: logs are kept in {}", folder.display()),
    }
    done
}

fn play_in(options: &Options, binary: &Path, folder: &Path, files: usize) -> Result<(), Failure> {
    println!("{} sessions, {} messages/s down, {} up", options.sessions, options.rate, options.rate / 10);
    let mut cast = enter(options, binary, folder, files)?;
    say_load(&mut cast, options, "hot")?;
    let times = trip(&mut cast, options.sessions)?;
    say_load(&mut cast, options, "back on legacy")?;
    let after = scrape(cast.metrics)?;
    rest(&mut cast)?;
    let verdict = closes(&cast, options.sessions);
    leave(&mut cast)?;
    verdict?;
    let (service, clients) =
        (oracle::load(&folder.join("service.log"))?, oracle::load(&folder.join("clients.log"))?);
    print_times(&times);
    for (how, what) in
        [("via_realtime", "released by Realtime"), ("rescued", "rescued"), ("switched_back", "from windows")]
    {
        let n = value(&after, &format!("crossfade_hot_messages_total{{how=\"{how}\"}}")).unwrap_or(0.0);
        println!("{what:>24}: {n}");
    }
    judge(&service, &clients, options.sessions)
}

/// The logs decide; first that they can be damaged and it is noticed.
fn judge(service: &[oracle::Entry], clients: &[oracle::Entry], sessions: usize) -> Result<(), Failure> {
    let (down, up) = oracle::compare(service, clients);
    println!("{:>24}: {} of {} written", "messages read by clients", down.received, down.sent);
    println!("{:>24}: {} of {} written", "messages read by service", up.received, up.sent);
    if !down.is_clean() || !up.is_clean() {
        return Err(Failure::Broken(format!("down {down:?}, up {up:?}")));
    }
    if let Some(blind) = oracle::is_blind_to(service, clients) {
        return Err(Failure::Broken(format!("the comparison does not see {blind}")));
    }
    if (down.received as usize) < sessions {
        return Err(Failure::Broken(format!(
            "{} messages prove nothing for {sessions} sessions",
            down.received
        )));
    }
    println!("{sessions} sessions: no close, nothing lost, doubled, reordered or invented");
    Ok(())
}

fn print_times(times: &Times) {
    let after = |at: Instant, what: &str| {
        let since = at.saturating_duration_since(times.broken).as_secs_f64() * 1e3;
        println!("{what:>24}: {since:.0} ms after Realtime stopped delivering");
    };
    after(times.opened, "breaker open");
    after(times.first, "first session back");
    after(times.last, "last session back");
    println!("{:>24}: {:.1} ms, by its own clock", "trip to last session", times.own_us as f64 / 1e3);
}

/// The soft limit that the sidecar is given; says so when the hard limit is too low.
fn enough_files(sessions: usize) -> Result<usize, Failure> {
    // The sidecar holds two sockets for each session.
    let needed = 2 * sessions + FILES_BESIDE;
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let hard = limits.lines().find_map(|line| {
        let most = line.strip_prefix("Max open files")?.split_whitespace().nth(1)?;
        if most == "unlimited" { Some(usize::MAX) } else { most.parse().ok() }
    });
    match hard {
        Some(hard) if hard < needed => Err(Failure::Unavailable(format!(
            "{sessions} sessions need {needed} open files in the sidecar's process, and the hard limit here is {hard} \
             (`ulimit -Hn`): run it with a higher one (as root: `prlimit --nofile={needed}:{needed} COMMAND`), or \
             with --sessions {}",
            hard.saturating_sub(FILES_BESIDE) / 2
        ))),
        _ => Ok(needed),
    }
}

/// The sidecar's binary: the one that was named, or the one of this profile, built anew by the cargo that runs us.
fn binary(options: &Options) -> Result<PathBuf, Failure> {
    if let Some(given) = &options.crossfade {
        return Ok(given.clone());
    }
    let this = std::env::current_exe()?;
    let folder = this.parent().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", "crossfade"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        if !build.status()?.success() {
            return Err(Failure::Unavailable("the binary cannot be built".to_owned()));
        }
    }
    let binary = folder.join("crossfade");
    let missing = || format!("no binary at {}: build it, or name one with --crossfade", binary.display());
    if binary.exists() { Ok(binary) } else { Err(Failure::Unavailable(missing())) }
}

/// Everybody on the stage, every session open and hot.
fn enter(options: &Options, binary: &Path, folder: &Path, files: usize) -> Result<Cast, Failure> {
    let patience = Duration::from_secs(options.patience);
    let this = std::env::current_exe()?;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let part = |role: &str, rate: usize| {
        let every = (1_000 * options.sessions / rate.max(1)).max(1);
        let log = folder.join(format!("{role}.log"));
        let (sessions, every, log) =
            (options.sessions.to_string(), every.to_string(), log.display().to_string());
        words(&[role, "--sessions", &sessions, "--every-ms", &every, "--log", &log])
    };
    let emulator = Process::start("the emulator", (&this, &words(&["emulator"])), &[], files, patience)?;
    let (_, url) = emulator.line(|line| line.strip_prefix("url ").map(str::to_owned))?;
    let (_, key) = emulator.line(|line| line.strip_prefix("key ").map(str::to_owned))?;
    let service =
        Process::start("the service", (&this, &part("service", options.rate)), &[], files, patience)?;
    let (_, upstream) = service.line(|line| line.strip_prefix("listening ").map(str::to_owned))?;
    let env = environment(&upstream, url, key, folder);
    let mut proxy = Process::start("crossfade", (binary, &words(&["run"])), &env, files, patience)?;
    let listens =
        |proxy: &Process, name: &str| proxy.line(|line| address_in(line, name)).map(|(_, address)| address);
    let (clients, metrics) = (listens(&proxy, "proxy")?, listens(&proxy, "metrics")?);
    let admin = listens(&proxy, "admin")?;
    until(&mut proxy, patience, "the breaker closes", || {
        Ok(value(&scrape(metrics)?, "crossfade_breaker_state{state=\"closed\"}") == Some(1.0))
    })?;
    // A machine that is busy with thousands of handshakes must not trip before its time.
    say_to_breaker(admin, "forced_closed")?;
    let mut args = part("clients", (options.rate / 10).max(1));
    args.extend(words(&["--proxy", &clients.to_string()]));
    let began = now();
    let clients = Process::start("the clients", (&this, &args), &[], files, patience)?;
    let mut cast = Cast { emulator, service, proxy, metrics, admin, clients, patience };
    let wanted = options.sessions as f64;
    let said = &cast.clients;
    until(&mut cast.proxy, patience, "every session is hot", || {
        if said.figure("refused") > 0 {
            return Err(Failure::Unavailable(format!("a client could not connect:\n{}", said.last())));
        }
        Ok(value(&scrape(metrics)?, HOT) == Some(wanted))
    })?;
    println!("every session is hot after {:.1} s", began.elapsed().as_secs_f64());
    Ok(cast)
}

fn environment(upstream: &str, url: String, key: String, folder: &Path) -> Vec<(&'static str, String)> {
    let any = || "127.0.0.1:0".to_owned();
    vec![
        ("CROSSFADE_UPSTREAM", format!("ws://{upstream}")),
        ("CROSSFADE_LISTEN", any()),
        ("CROSSFADE_METRICS_LISTEN", any()),
        ("CROSSFADE_ADMIN_LISTEN", any()),
        ("CROSSFADE_LOG_FORMAT", "json".to_owned()),
        ("CROSSFADE_POD", "trip-0".to_owned()),
        ("CROSSFADE_ROLLOUT_PERCENT", "100".to_owned()),
        ("CROSSFADE_ADMIN_TOKEN", TOKEN.to_owned()),
        // A limit that is not reached: what is measured is the way back, not a plan.
        ("CROSSFADE_PLAN", "custom:1000000".to_owned()),
        ("CROSSFADE_STATE_DIR", folder.join("state").display().to_string()),
        ("SUPABASE_URL", url),
        ("SUPABASE_KEY", key),
    ]
}

/// Lets the service write for a while, by its own count.
fn say_load(cast: &mut Cast, options: &Options, what: &str) -> Result<(), Failure> {
    let goal = cast.service.figure("written") + (options.rate * options.load) as u64;
    let service = &cast.service;
    until(&mut cast.proxy, cast.patience, "the service writes", || Ok(service.figure("written") >= goal))?;
    println!("{} messages written in all, every session {what}", cast.service.figure("written"));
    Ok(())
}

/// Takes Realtime away and waits until nobody is hot any more.
fn trip(cast: &mut Cast, sessions: usize) -> Result<Times, Failure> {
    // From here on the breaker decides.
    say_to_breaker(cast.admin, "auto")?;
    cast.emulator.say("break")?;
    let (broken, ()) = cast.emulator.line(|line| (line == "broken").then_some(()))?;
    let (metrics, mut first) = (cast.metrics, None);
    until(&mut cast.proxy, cast.patience, "every session is back on legacy", || {
        let hot = value(&scrape(metrics)?, HOT);
        if first.is_none() && hot.is_some_and(|hot| hot < sessions as f64) {
            first = Some(now());
        }
        Ok(hot == Some(0.0))
    })?;
    let last = now();
    let event = |line: &str, message: &str| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        (event["message"].as_str()?.starts_with(message)).then_some(event)
    };
    let (opened, _) = cast.proxy.line(|line| event(line, "breaker opened"))?;
    let (_, told) = cast.proxy.line(|line| event(line, "every session is back on legacy"))?;
    let own_us = told["took_us"].as_u64().unwrap_or(0);
    Ok(Times { broken, opened, first: first.unwrap_or(last), last, own_us })
}

/// A person's word to the breaker.
fn say_to_breaker(admin: SocketAddr, mode: &str) -> Result<(), Failure> {
    let body = format!("{{\"mode\":\"{mode}\"}}");
    let mut socket = TcpStream::connect(admin)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        socket,
        "POST /api/v1/breaker HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let said = answer.starts_with("HTTP/1.1 200");
    if said { Ok(()) } else { Err(Failure::Broken(format!("the breaker does not hear: {answer}"))) }
}

/// Nobody writes any more; waits until both ends have read what was written, or nothing changes.
fn rest(cast: &mut Cast) -> Result<(), Failure> {
    cast.service.say("listen")?;
    cast.clients.say("listen")?;
    let (service, clients) = (&cast.service, &cast.clients);
    let mut last = ([0; 4], now());
    // Figures are said ten times a second: what is equal now may be old, so it must stay so for a while.
    until(&mut cast.proxy, cast.patience, "the ends rest", || {
        let figures = [
            service.figure("written"),
            clients.figure("read"),
            clients.figure("written"),
            service.figure("read"),
        ];
        if figures != last.0 {
            last = (figures, now());
        }
        let equal = figures[0] == figures[1] && figures[2] == figures[3];
        Ok(last.1.elapsed() > if equal { REST / 10 } else { REST })
    })
}

/// The clients' word on their sockets.
fn closes(cast: &Cast, sessions: usize) -> Result<(), Failure> {
    let (open, unasked) = (cast.clients.figure("open"), cast.clients.figure("unasked"));
    if open == sessions as u64 && unasked == 0 {
        return Ok(());
    }
    Err(Failure::Broken(format!(
        "{unasked} sockets were closed under their clients, {open} of {sessions} are open"
    )))
}

/// Everybody goes home; the ends leave their logs.
fn leave(cast: &mut Cast) -> Result<(), Failure> {
    cast.clients.say("leave")?;
    if !cast.clients.ended()?.success() {
        return Err(Failure::Broken(format!("the clients failed:\n{}", cast.clients.last())));
    }
    cast.service.say("leave")?;
    if !cast.service.ended()?.success() {
        return Err(Failure::Broken(format!("the service failed:\n{}", cast.service.last())));
    }
    cast.proxy.lives()
}

/// Waits until it holds; meanwhile crossfade must live.
fn until(
    proxy: &mut Process,
    patience: Duration,
    what: &str,
    mut holds: impl FnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let began = now();
    while !holds()? {
        proxy.lives()?;
        if began.elapsed() > patience {
            let last = proxy.last();
            return Err(Failure::Broken(format!("{what}: not within {patience:?}; crossfade says:\n{last}")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn scrape(metrics: SocketAddr) -> Result<String, Failure> {
    let mut socket = TcpStream::connect(metrics)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

/// The value of one series, named as it is in the text.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

fn address_in(line: &str, listener: &str) -> Option<SocketAddr> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let ours = event["message"] == "listening" && event["listener"] == listener;
    ours.then(|| event["addr"].as_str()?.parse().ok()).flatten()
}
