//! `crossfade health`: asks the running process one of the kubelet's questions, for images without a shell or curl.
//! Same container, same environment, so the same CROSSFADE_METRICS_LISTEN.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;

use super::drain::{reachable, status};
use super::look::Tone;
use super::{Exit, Streams};
use crate::config::{Ops, Strings};

/// Connecting, writing and each read: a process that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(3);
/// The answer is a head and one word.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Arguments of `health`.
#[derive(Clone, Copy, Debug, Args)]
pub struct HealthArgs {
    /// Ask whether clients should be sent here (/readyz), not only whether the process lives (/healthz)
    #[arg(long)]
    pub ready: bool,
    /// The running process's metrics listener, instead of CROSSFADE_METRICS_LISTEN
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: HealthArgs, strings: &Strings, streams: &mut Streams<'_>) -> Exit {
    let listen = match args.metrics.map_or_else(|| Ops::metrics_listen(strings), Ok) {
        Ok(listen) => reachable(listen),
        Err(problems) => return streams.refuse(Exit::Config, &problems),
    };
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let answer = match ask(listen, path) {
        Ok(answer) => answer,
        Err(error) => {
            return streams.refuse(Exit::Unavailable, &format_args!("no answer at {listen}: {error}"));
        }
    };
    match status(&answer) {
        Some(200) if args.json => {
            streams.answer(&format!("{}\n", serde_json::json!({ "ok": true, "asked": path })))
        }
        Some(200) => {
            let ok = streams.out_look.paint(Tone::Good, "ok");
            streams.answer(&(ok + "\n"))
        }
        Some(code) => {
            streams.refuse(Exit::Unavailable, &format_args!("{path} answers {code}: {}", reason(&answer)))
        }
        None => streams.refuse(Exit::Unavailable, &format_args!("{listen} does not speak HTTP/1.1")),
    }
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body's first line: a few fixed words such as `draining`.
fn reason(answer: &[u8]) -> String {
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").and_then(|at| answer.get(at + 4..));
    let text = String::from_utf8_lossy(body.unwrap_or_default());
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_first_line_of_the_body() {
        assert_eq!(reason(b"HTTP/1.1 503 No\r\nA: b\r\n\r\ndraining\nmore"), "draining");
        assert_eq!(reason(b"HTTP/1.1 503 No\r\n\r\n\x1b[31mred"), "[31mred");
        assert_eq!(reason(b"HTTP/1.1 503"), "");
    }
}
