//! A PostgreSQL of one's own: a fresh cluster in a temporary folder on loopback, gone with the test.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What a Supabase project has: roles, publication, grants.
const PROJECT: &str = "
    CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS;
    GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
    CREATE PUBLICATION supabase_realtime;";

pub struct Cluster {
    server: Child,
    folder: PathBuf,
    port: u16,
    bin: PathBuf,
}

impl Cluster {
    /// Nothing when no PostgreSQL is installed here.
    pub fn start() -> Option<Cluster> {
        let bin = PathBuf::from(said(Command::new("pg_config").arg("--bindir"))?);
        let folder = std::env::temp_dir().join(format!("crossfade-postgres-{}", std::process::id()));
        // What an earlier process of this number may have left.
        std::fs::remove_dir_all(&folder).unwrap_or_default();
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let ids = unprivileged();
        if let Some((user, group)) = ids {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).expect("the folder changes hands");
        }
        let data = folder.join("data");
        let made = as_user(&bin.join("initdb"), ids)
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--locale=C", "--encoding=UTF8", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("its number")
            .port();
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let server = as_user(&bin.join("postgres"), ids)
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "wal_level=logical", "-c", "fsync=off"])
            .args(["-c", "max_connections=40", "-c", "max_wal_senders=4", "-c"])
            .arg(format!("unix_socket_directories={}", folder.display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        let cluster = Cluster { server, folder, port, bin };
        cluster.wait();
        cluster.sql(PROJECT);
        Some(cluster)
    }

    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs SQL as the owner.
    pub fn sql(&self, text: &str) {
        let ran = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", text])
            .output()
            .expect("psql runs");
        assert!(ran.status.success(), "{text}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn wait(&self) {
        let port = self.port.to_string();
        for _ in 0..600 {
            let ready = Command::new(self.bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status();
            if ready.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!(
            "PostgreSQL does not answer: {}",
            std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGQUIT: the cluster is thrown away, there is nothing to save.
        Command::new("kill")
            .args(["-QUIT", &self.server.id().to_string()])
            .status()
            .map(|_| ())
            .unwrap_or_default();
        self.server.wait().map(|_| ()).unwrap_or_default();
        std::fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

/// PostgreSQL refuses to run as root: the user `postgres` then, if there is one.
fn unprivileged() -> Option<(u32, u32)> {
    let number = |command: &mut Command| said(command)?.parse::<u32>().ok();
    let me = number(Command::new("id").arg("-u"))?;
    let user = || number(Command::new("id").args(["-u", "postgres"]));
    let group = || number(Command::new("id").args(["-g", "postgres"]));
    if me == 0 { user().zip(group()) } else { None }
}

fn as_user(program: &Path, ids: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(std::env::temp_dir());
    if let Some((user, group)) = ids {
        command.uid(user).gid(group);
    }
    command
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
