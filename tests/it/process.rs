//! One process of the real binary: its lines are read while it lives, and it is killed by its own id in the end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Nothing that must happen takes longer.
pub(crate) const HANG: Duration = Duration::from_secs(60);
/// How often a condition that nobody announces is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// So many of the last lines are shown when a test fails.
const SHOWN: usize = 40;

/// Lines of both streams, in the order of their arrival.
#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

pub(crate) struct Process {
    child: Child,
    what: String,
    lines: Arc<Lines>,
}

#[expect(clippy::disallowed_methods, reason = "tests on real processes are shells")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `holds` gives something.
pub(crate) async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(began.elapsed() < HANG, "{what} did not happen");
        tokio::time::sleep(LOOK).await;
    }
}

impl Process {
    /// Starts `crossfade` with these arguments and nothing but this environment.
    pub(crate) fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::of(Command::new(env!("CARGO_BIN_EXE_crossfade")).args(args).stdin(Stdio::null()), env)
    }

    /// As [`start`](Self::start), and no file may grow beyond so many blocks of 512 bytes: a disk that is full.
    pub(crate) fn start_limited(blocks: u32, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string()]);
        command.arg(env!("CARGO_BIN_EXE_crossfade")).args(args).stdin(Stdio::null());
        Self::of(&mut command, env)
    }

    /// Starts this command with nothing but this environment.
    pub(crate) fn of(command: &mut Command, env: &[(&str, &str)]) -> Self {
        let what = format!("{command:?}");
        let mut child = command
            .env_clear()
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Lines::default());
        follow(child.stdout.take().unwrap(), Arc::clone(&lines));
        follow(child.stderr.take().unwrap(), Arc::clone(&lines));
        Self { child, what, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line in which `find` finds something, written already or later.
    pub(crate) fn line<T>(&self, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let began = now();
        let mut lines = self.lines.lines.lock().unwrap();
        let mut next = 0;
        loop {
            for line in &lines[next..] {
                if let Some(found) = find(line) {
                    return found;
                }
            }
            next = lines.len();
            assert!(began.elapsed() < HANG, "`{}` never wrote the line", self.what);
            lines = self.lines.more.wait_timeout(lines, LOOK).unwrap().0;
        }
    }

    /// Everything written so far.
    pub(crate) fn output(&self) -> String {
        self.lines.lines.lock().unwrap().join("\n")
    }

    /// Sends a signal by its name, to this process alone.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the end of the process", async || child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
        if std::thread::panicking() {
            let lines = self.lines.lines.lock().map(|lines| lines.clone()).unwrap_or_default();
            let last = lines.len().saturating_sub(SHOWN);
            eprintln!("--- `{}`, last lines:\n{}", self.what, lines[last..].join("\n"));
        }
    }
}

/// Runs a command to its end: its exit code and both of its streams.
pub(crate) async fn ran(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_crossfade"));
    command.args(args).env_clear().envs(env.iter().copied()).kill_on_drop(true);
    let ran = tokio::time::timeout(HANG, command.output()).await.unwrap().unwrap();
    (ran.status.code(), String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap())
}

fn follow(stream: impl Read + Send + 'static, lines: Arc<Lines>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lines.lock().unwrap().push(line);
            lines.more.notify_all();
        }
    });
}

/// The Realtime emulator and what it printed.
pub(crate) struct Emulator {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) service_key: String,
    pub(crate) anon_key: String,
}

impl Emulator {
    /// Starts it with limits that no test reaches, and these faults.
    pub(crate) fn start(faults: &[&str]) -> Self {
        Self::start_with(faults, &[])
    }

    /// As [`start`](Self::start), with these arguments besides.
    pub(crate) fn start_with(faults: &[&str], more: &[&str]) -> Self {
        let mut args = vec!["emulator", "--listen", "127.0.0.1:0", "--events-per-second", "1000000"];
        args.extend(["--joins-per-second", "100000", "--users", "100000"]);
        for fault in faults {
            args.extend(["--fault", fault]);
        }
        args.extend(more);
        let process = Process::start(&args, &[]);
        let value = |name: &str| process.line(|line| line.strip_prefix(name).map(str::to_owned));
        let url = value("SUPABASE_URL=");
        let (anon_key, service_key) = (value("SUPABASE_ANON_KEY="), value("SUPABASE_SERVICE_ROLE_KEY="));
        Self { process, url, service_key, anon_key }
    }
}

/// How the process is started, with this environment.
pub(crate) type Start<'a> = &'a dyn Fn(&[(&str, &str)]) -> Process;

/// `crossfade run`, listening on ports that the system chose.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) clients: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Proxy {
    pub(crate) fn start(upstream: SocketAddr, emulator: Option<&Emulator>, more: &[(&str, &str)]) -> Self {
        Self::start_by(&|env| Process::start(&["run"], env), upstream, emulator, more)
    }

    pub(crate) fn start_by(
        start: Start<'_>,
        upstream: SocketAddr,
        emulator: Option<&Emulator>,
        more: &[(&str, &str)],
    ) -> Self {
        let upstream = format!("ws://{upstream}");
        let mut env = vec![
            ("CROSSFADE_UPSTREAM", upstream.as_str()),
            ("CROSSFADE_LISTEN", "127.0.0.1:0"),
            ("CROSSFADE_METRICS_LISTEN", "127.0.0.1:0"),
            ("CROSSFADE_ADMIN_LISTEN", "127.0.0.1:0"),
            ("CROSSFADE_LOG_FORMAT", "json"),
            ("CROSSFADE_POD", "test-0"),
        ];
        if let Some(emulator) = emulator {
            env.extend([("SUPABASE_URL", emulator.url.as_str()), ("SUPABASE_KEY", &emulator.service_key)]);
            env.push(("CROSSFADE_PLAN", "custom:1000000"));
        }
        env.extend(more);
        let mut this = Self::of(start(&env));
        this.clients = super::tls::around(this.clients, more);
        this
    }

    /// One that was started otherwise.
    pub(crate) fn of(process: Process) -> Self {
        let address = |listener: &str| process.line(|line| address_in(line, listener));
        let (clients, metrics, admin) = (address("proxy"), address("metrics"), address("admin"));
        Self { process, clients, metrics, admin }
    }
}

/// Where this listener is, if the line says so.
pub(crate) fn address_in(line: &str, listener: &str) -> Option<SocketAddr> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let ours = event["message"] == "listening" && event["listener"] == listener;
    ours.then(|| event["addr"].as_str().unwrap().parse().unwrap())
}
