//! `crossfade emulator`: options, minted keys, and the line that says where it listens.
//! The caller decides where the lines go and what stops it.

use super::config::{Clock, Config, Limits, Policy};
use super::fault::Fault;
use super::rest::Table;
use super::token::{Claims, Secret};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Secret used when none is given; public on purpose, as in Supabase's own local stack.
pub const DEFAULT_SECRET: &str = "crossfade-emulator-secret-for-local-use-only";
/// Minted keys are good for ten years.
const KEY_SECONDS: i64 = 10 * 365 * 86_400;
/// How often the policy file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Options of `crossfade emulator`.
#[derive(Clone, clap::Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:4000", value_name = "ADDR:PORT")]
    pub listen: String,
    /// Secret that signs and checks tokens (HS256).
    #[arg(long, default_value = DEFAULT_SECRET, value_name = "TEXT", hide_default_value = true)]
    pub jwt_secret: String,
    /// Accept only this tenant, the text before the first dot of the Host.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Fault to arm, as JSON or words; may be repeated: "drop after_pushes=10 for_pushes=5".
    #[arg(long, value_name = "FAULT", value_parser = Fault::parse)]
    pub fault: Vec<Fault>,
    /// Policy for private topics; may be repeated: "authenticated:room:*:rw".
    #[arg(long, value_name = "ROLE:TOPIC:r|w|rw", value_parser = Policy::parse)]
    pub policy: Vec<Policy>,
    /// File of such policies, one a line, used besides them; looked at again twice a second.
    #[arg(long, value_name = "FILE")]
    pub policy_file: Option<PathBuf>,
    /// Table of the memory, for /rest/v1 and postgres_changes; may be repeated: "events(id uuid primary key, data jsonb)".
    #[arg(long, value_name = "NAME(COLUMN TYPE, …)", value_parser = Table::parse)]
    pub table: Vec<Table>,
    /// Row-level security of a table of the memory; may be repeated: "anon:events:r". Without one only service_role sees rows.
    #[arg(long, value_name = "ROLE:TABLE:r|w|rw", value_parser = Policy::parse)]
    pub table_policy: Vec<Policy>,
    /// Keep the rows in this PostgreSQL instead of in memory, such as postgresql://postgres@127.0.0.1:5432/postgres.
    #[arg(long, value_name = "URL", conflicts_with_all = ["table", "table_policy"])]
    pub database: Option<String>,
    /// Most rows that one read of /rest/v1 gives.
    #[arg(long, default_value_t = 1_000, value_name = "NUMBER")]
    pub max_rows: u64,
    /// Refuse public channels.
    #[arg(long)]
    pub private_only: bool,
    /// Broadcasts and deliveries per second before listeners are thrown out.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    pub events_per_second: u32,
    /// Joins per second.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    pub joins_per_second: u32,
    /// Sockets with a channel.
    #[arg(long, default_value_t = 200, value_name = "NUMBER")]
    pub users: usize,
    /// Payload limit in units of 1000 bytes.
    #[arg(long, default_value_t = 3_000, value_name = "KB")]
    pub payload_kb: usize,
    /// Seed of made-up ids.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
}

/// Without the secret.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The configuration these options describe.
    #[must_use]
    pub fn config(&self) -> Config {
        let limits = Limits {
            events_per_second: self.events_per_second,
            joins_per_second: self.joins_per_second,
            users: self.users,
            payload_kb: self.payload_kb,
            ..Limits::default()
        };
        Config {
            tenant: self.tenant.clone(),
            limits,
            policies: self.policy.clone(),
            tables: self.table.clone(),
            table_policies: self.table_policy.clone(),
            max_rows: self.max_rows,
            private_only: self.private_only,
            faults: self.fault.clone(),
            ..Config::new(Secret::new(self.jwt_secret.as_str()))
        }
    }

    /// Keys for `anon`, `authenticated` and `service_role`, good for ten years from `clock`.
    #[must_use]
    pub fn keys(&self, clock: Clock) -> [(&'static str, String); 3] {
        let secret = Secret::new(self.jwt_secret.as_str());
        let until = clock.unix(clock.at).saturating_add(KEY_SECONDS);
        ["anon", "authenticated", "service_role"].map(|role| (role, secret.mint(&Claims::of(role, until))))
    }
}

/// Why the emulator could not run.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The address is taken, not allowed, or not an address.
    #[error("cannot listen on {listen}; try --listen 127.0.0.1:0")]
    Listen {
        /// As given.
        listen: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database is not there.
    #[error("cannot use the database of --database: {0}")]
    Database(String),
    /// The policy file cannot be read, or not understood.
    #[error("cannot use the policies in {path}: {what}")]
    Policies {
        /// As given.
        path: String,
        /// What the system or the reader said.
        what: String,
    },
    /// The greeting could not be written.
    #[error("cannot write to the output")]
    Output(#[source] std::io::Error),
}

/// Runs until `stopped` resolves. Prints the URL and three keys to `out` once it listens.
///
/// # Errors
/// [`CliError`] when it cannot listen or cannot print.
pub async fn run(
    options: Options,
    out: &mut (dyn Write + Send),
    stopped: impl Future<Output = ()>,
) -> Result<(), CliError> {
    let policies = options.policy_file.as_deref().map(policies).transpose()?;
    let mut config = options.config();
    config.policies.extend(policies.unwrap_or_default());
    let failed = |source| CliError::Listen { listen: options.listen.clone(), source };
    let listener = tokio::net::TcpListener::bind(&options.listen).await.map_err(failed)?;
    let Some(url) = &options.database else {
        let (handle, serving) = super::serve(listener, config, options.seed).map_err(failed)?;
        return attend(&options, (handle, serving), out, stopped).await;
    };
    let served = super::serve_with_database(listener, config, options.seed, url).await;
    attend(&options, served.map_err(CliError::Database)?, out, stopped).await
}

async fn attend(
    options: &Options,
    (handle, serving): (super::Handle, impl Future<Output = ()>),
    out: &mut (dyn Write + Send),
    stopped: impl Future<Output = ()>,
) -> Result<(), CliError> {
    greet(options, handle.addr(), out).map_err(CliError::Output)?;
    tokio::select! {
        () = serving => {}
        () = follow(options, &handle) => {}
        () = stopped => handle.stop(),
    }
    Ok(())
}

fn policies(path: &Path) -> Result<Vec<Policy>, CliError> {
    let failed = |what| CliError::Policies { path: path.display().to_string(), what };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Policy::parse_file(&text).map_err(failed)
}

/// Uses the policy file's policies as soon as they change. While it cannot be read, the last ones stay.
async fn follow(options: &Options, handle: &super::Handle) {
    let Some(path) = &options.policy_file else { return std::future::pending().await };
    let mut known = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match policies(path) {
            Ok(read) if known.as_ref() != Some(&read) => {
                let all = options.policy.iter().cloned().chain(read.iter().cloned()).collect();
                handle.with(|emulator, _| emulator.set_policies(all));
                known = Some(read);
            }
            // A file that is being written may be half there for a moment.
            Ok(_) | Err(_) => {}
        }
    }
}

fn greet(options: &Options, addr: std::net::SocketAddr, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let host = options
        .tenant
        .as_ref()
        .map_or(addr.to_string(), |tenant| format!("{tenant}.localhost:{}", addr.port()));
    writeln!(out, "SUPABASE_URL=http://{host}")?;
    writeln!(out, "# rows: http://{host}/rest/v1/TABLE")?;
    writeln!(out, "# WebSocket: ws://{host}/realtime/v1/websocket (or /socket/websocket)")?;
    for (role, key) in options.keys(today()) {
        let name = match role {
            "service_role" => "SUPABASE_SERVICE_ROLE_KEY",
            "anon" => "SUPABASE_ANON_KEY",
            _ => "AUTHENTICATED_TOKEN",
        };
        writeln!(out, "{name}={key}")?;
    }
    for fault in &options.fault {
        writeln!(out, "# fault armed: {}", serde_json::to_string(fault).unwrap_or_default())?;
    }
    out.flush()
}

#[expect(clippy::disallowed_methods, reason = "keys are minted for the wall clock")]
fn today() -> Clock {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock { at: Instant::now(), unix_ms: i64::try_from(unix.as_millis()).unwrap_or(i64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn read(words: &[&str]) -> Result<Options, clap::Error> {
        Command::try_parse_from([&["emulator"], words].concat()).map(|command| command.options)
    }

    #[test]
    fn options_become_a_configuration() {
        let options =
            read(&["--fault", "drop for_pushes=1", "--policy", "anon:x:r", "--users", "3"]).unwrap();
        let config = options.config();
        assert_eq!((config.faults.len(), config.policies.len(), config.limits.users), (1, 1, 3));
        assert!(read(&["--fault", "drop for_push=1"]).is_err());
    }

    #[tokio::test]
    async fn it_prints_an_address_and_keys_that_work() {
        let options = read(&["--listen", "127.0.0.1:0"]).unwrap();
        let mut out = Vec::new();
        run(options.clone(), &mut out, std::future::ready(())).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("SUPABASE_URL=http://127.0.0.1:"));
        let key = text.lines().find_map(|line| line.strip_prefix("SUPABASE_ANON_KEY=")).unwrap();
        let claims = Secret::new(options.jwt_secret).verify(key, today().unix_ms / 1_000).unwrap();
        assert_eq!(claims.role(), "anon");
    }

    #[tokio::test]
    async fn a_bad_policy_file_is_told() {
        let options = read(&["--listen", "127.0.0.1:0", "--policy-file", "/nowhere/policies"]).unwrap();
        let error = run(options, &mut Vec::new(), std::future::ready(())).await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/policies"), "{error}");
    }

    #[tokio::test]
    async fn a_bad_address_is_told() {
        let options = read(&["--listen", "nowhere"]).unwrap();
        let error = run(options, &mut Vec::new(), std::future::ready(())).await.unwrap_err();
        assert!(error.to_string().contains("nowhere"));
    }
}
