//! `crossfade drain`: asks the running process to stop without cutting anyone off, and waits until it has.
//! For preStop, where Kubernetes sends its signal too late: same container, same environment, so the same token.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::Args;

use super::look::Tone;
use super::progress::Progress;
use super::{Exit, Streams};
use crate::config::{Config, Strings};

/// Beyond the grace period: flushing the mirror and ending the threads.
const BEYOND_GRACE: Duration = Duration::from_secs(10);
/// How often somebody looks how many sessions are left.
const LOOK: Duration = Duration::from_millis(500);
/// The answer's head is this long at most.
const HEAD_BYTES_MAX: usize = 4096;

const NO_TOKEN: &str = "draining needs CROSSFADE_ADMIN_TOKEN (or _FILE), the same as the running process has; \
    without one, send that process SIGTERM";

/// Arguments of `drain`.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// The running process's admin listener, instead of CROSSFADE_ADMIN_LISTEN
    #[arg(long, value_name = "ADDR:PORT")]
    pub admin: Option<SocketAddr>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &DrainArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let config = match Config::load(strings) {
        Ok(config) => config,
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let Some(token) = &config.ops.admin_token else { return streams.refuse(Exit::Config, &NO_TOKEN) };
    let admin = reachable(args.admin.unwrap_or(config.ops.admin_listen));
    let (token, patience) = (token.secret.expose(), config.drain.grace + BEYOND_GRACE);
    let mut progress = Progress::new(streams.err_look);
    let began = clock();
    let done = ask(admin, token, patience, &mut || {
        progress.say(began.elapsed(), streams.err, || left(admin, token));
        began.elapsed()
    });
    progress.end(streams.err);
    match done {
        Ok(202) if args.json => {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            streams.answer(&format!("{}\n", serde_json::json!({ "drained": true, "took_ms": took_ms })))
        }
        Ok(202) => {
            let word = streams.out_look.paint(Tone::Good, "drained");
            streams.answer(&(word + "\n"))
        }
        Ok(401) => streams.refuse(Exit::Config, &"the running process has another CROSSFADE_ADMIN_TOKEN"),
        Ok(status) => streams.refuse(Exit::Unavailable, &format_args!("{admin} answers {status}")),
        Err(error) => streams.refuse(Exit::Unavailable, &format_args!("no drain at {admin}: {error}")),
    }
}

/// Where a listener on all addresses is reached from inside.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[expect(clippy::disallowed_methods, reason = "a command is a shell: its clock is the real one")]
pub(super) fn clock() -> Instant {
    Instant::now()
}

/// Sessions that are still open, in words.
fn left(admin: SocketAddr, token: &str) -> String {
    let asked = super::ask::get(admin, "/api/v1/status", Some(token)).ok();
    let status = asked.and_then(|(_, body)| serde_json::from_slice::<serde_json::Value>(&body).ok());
    let open = status.as_ref().and_then(|status| status.pointer("/sessions/open")?.as_object());
    open.map_or_else(
        || "draining".to_owned(),
        |lanes| {
            let left: u64 = lanes.values().filter_map(serde_json::Value::as_u64).sum();
            format!("draining: {left} sessions left")
        },
    )
}

/// What can be read within the patience; `waiting` is called each time that nothing has come, and says how long it took.
fn read(
    stream: &mut TcpStream,
    bytes: &mut [u8],
    patience: Duration,
    waiting: &mut dyn FnMut() -> Duration,
) -> std::io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if waiting() >= patience {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The status of the answer, once the connection has ended.
fn ask(
    admin: SocketAddr,
    token: &str,
    patience: Duration,
    waiting: &mut dyn FnMut() -> Duration,
) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(LOOK))?;
    let request = format!(
        "POST /drain HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut bytes = [0; 512];
    let mut ended = false;
    while !ended && head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let n = read(&mut stream, &mut bytes, patience, waiting)?;
        ended = n == 0;
        head.extend_from_slice(bytes.get(..n).unwrap_or_default());
    }
    let status = status(&head).ok_or(std::io::ErrorKind::InvalidData)?;
    // A reset is an end too: the process is gone.
    while !ended {
        match read(&mut stream, &mut bytes, patience, waiting) {
            Ok(n) => ended = n == 0,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => ended = true,
            Err(error) => return Err(error),
        }
    }
    Ok(status)
}

pub(super) fn status(head: &[u8]) -> Option<u16> {
    std::str::from_utf8(head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listen, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
        assert_eq!(status(b"HTTP/1.1 202 Accepted\r\n"), Some(202));
        assert_eq!(status(b"SSH-2.0-OpenSSH"), None);
    }
}
