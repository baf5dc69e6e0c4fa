//! One target: an inbox, the machine that decides when to try, and one connection. Each has a task of its own, so that
//! one that hangs holds up nobody else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http_body_util::Full;
use tokio::sync::mpsc;

use super::Figures;
use crate::app::line::Line;
use crate::app::side::clock;
use crate::config::Secret;
use crate::notice::{Answer, Outbox, Wrong};
use crate::proxy;
use crate::sinks::Reply;

/// From dialling to the end of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// At the end of the process what waits has so long.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// Where one target is. Its path is a secret.
pub(super) struct Poster {
    line: Line,
    path: Secret,
    host: HeaderValue,
}

impl Poster {
    /// Posts to this URL; nothing is connected yet. What is wrong never quotes it.
    pub(super) fn new(url: &Secret) -> Result<Self, String> {
        // Some chats put their signature into the query, which a target of the proxy has no use for.
        let text = url.expose();
        let (bare, query) = text.split_once('?').map_or((text, None), |(bare, query)| (bare, Some(query)));
        let target = proxy::Target::with_path(bare).map_err(|error| error.to_string())?;
        let path = target.path();
        let path = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let host = target.host_field();
        Ok(Self { line: Line::new(target, ANSWER_WITHIN)?, path: Secret::new(&path), host })
    }

    async fn post(&mut self, body: String) -> Answer {
        let request = http::Request::post(self.path.expose())
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()));
        let Ok(request) = request else { return Answer::Nothing };
        match self.line.ask(request).await {
            Reply::Answer { status, retry_after, .. } => Answer::Status(status, retry_after),
            Reply::Unknown => Answer::Nothing,
        }
    }
}

type Asked = Pin<Box<dyn Future<Output = (Poster, Answer)>>>;

/// Delivers until the other end of the inbox is dropped, and [`LAST_WITHIN`] longer at most.
pub(super) async fn run(
    name: String,
    poster: Poster,
    mut inbox: mpsc::Receiver<String>,
    figures: Arc<Figures>,
) {
    let mut outbox = Outbox::default();
    let (mut idle, mut asked, mut deadline) = (Some(poster), None::<Asked>, None::<Instant>);
    let mut counted = [0; 3];
    loop {
        let now = clock();
        if let Some(mut poster) = idle.take() {
            match outbox.poll_transmit(now) {
                None => idle = Some(poster),
                Some(body) => {
                    asked = Some(Box::pin(async move {
                        let answer = poster.post(body).await;
                        (poster, answer)
                    }));
                }
            }
        }
        figures.follow(&mut counted, outbox.counts());
        if deadline.is_some_and(|at| at <= now || outbox.is_empty()) {
            outbox.abandon();
            return figures.follow(&mut counted, outbox.counts());
        }
        let wake = [outbox.poll_timeout(), deadline].into_iter().flatten().min();
        let wake = wake.unwrap_or(now + Duration::from_secs(60));
        tokio::select! {
            body = inbox.recv(), if deadline.is_none() => match body {
                Some(body) => outbox.push(body),
                None => deadline = Some(clock() + LAST_WITHIN),
            },
            (poster, answer) = answered(&mut asked), if asked.is_some() => {
                (asked, idle) = (None, Some(poster));
                match outbox.handle_answer(answer, clock()) {
                    Some(Wrong::Refused(status)) => {
                        tracing::warn!(target_name = name, status, "a target refuses notices");
                    }
                    Some(Wrong::Silent) => tracing::warn!(target_name = name, "a target of notices does not answer"),
                    None => {}
                }
            }
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
}

async fn answered(asked: &mut Option<Asked>) -> (Poster, Answer) {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_a_target_asks_us_to_wait_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a/b?sig=x", listener.local_addr().unwrap());
        let mut poster = Poster::new(&Secret::new(&url)).unwrap();
        let target = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"{}") {
                assert_ne!(socket.read_buf(&mut got).await.unwrap(), 0);
            }
            assert!(got.starts_with(b"POST /a/b?sig=x HTTP/1.1\r\n"));
            let answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
            socket.write_all(answer).await.unwrap();
            socket
        };
        let local = tokio::task::LocalSet::new();
        let both = async { tokio::join!(poster.post("{}".to_owned()), target) };
        let (answer, _open) = local.run_until(both).await;
        assert_eq!(answer, Answer::Status(429, Some(Duration::from_secs(7))));
    }
}
