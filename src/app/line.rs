//! One kept connection for requests of a sink: a new one after any failure, an answer within a bounded time.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::proxy::{Dialer, Target, Tcp};
use crate::sinks::Reply;

/// Of an answer's body: errors of PostgREST and Realtime are shorter.
const BODY_BYTES_MAX: usize = 16 << 10;

/// See the module. To be used on a `LocalSet`.
pub(super) struct Line {
    dialer: Dialer,
    within: Duration,
    body_max: usize,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Line {
    /// No connection yet. `within`: from dialling to the end of an answer.
    pub(super) fn new(target: Target, within: Duration) -> Result<Self, String> {
        let dialer = Dialer::new(target, None, within, Tcp::default()).map_err(|error| error.to_string())?;
        Ok(Self { dialer, within, body_max: BODY_BYTES_MAX, sender: None })
    }

    /// With answers that may be this long.
    pub(super) fn with_body_max(self, body_max: usize) -> Self {
        Self { body_max, ..self }
    }

    /// Sends the request, in origin form and with its `host`.
    pub(super) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Reply {
        let reply = tokio::time::timeout(self.within, self.exchange(request)).await.ok().flatten();
        if reply.is_none() {
            self.sender = None;
        }
        reply.unwrap_or(Reply::Unknown)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Option<Reply> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let io = self.dialer.dial().await.ok()?;
                let (sender, connection) = http1::handshake(TokioIo::new(io)).await.ok()?;
                // Ends with the connection; what it says is said by the request, too.
                tokio::task::spawn_local(async move { drop(connection.await) });
                sender
            }
        };
        sender.ready().await.ok()?;
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
        // A longer body is none of theirs; the status is enough then.
        let body = Limited::new(answer.into_body(), self.body_max).collect().await;
        let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
        if body.is_ok() {
            self.sender = Some(sender);
        }
        Some(Reply::Answer {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            body: body.unwrap_or_default(),
        })
    }
}

/// A field that may hold the key.
pub(super) fn secret_header(name: &'static str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_static(name), value))
}
