//! Bodies on their way through: streamed, never collected, and marked as part of an exchange under way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::error::{Fault, Side};
use super::watch::InFlight;

/// The token of a fault in our own answers.
pub(super) const ERROR_FIELD: HeaderName = HeaderName::from_static("x-crossfade-error");

/// A request's body on its way to the service.
pub(super) struct RequestBody {
    inner: Incoming,
    gate: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    broken: Arc<AtomicBool>,
    _in_flight: InFlight,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, in_flight: InFlight) -> Self {
        Self { inner, gate: None, broken: Arc::default(), _in_flight: in_flight }
    }

    /// Becomes true once reading from the client has failed.
    pub(super) fn broken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.broken)
    }
}

/// Holds the body back until the service says 100, or `limit` has passed: only when the body is asked for does
/// hyper send the client its own 100, so the service decides whether the client sends the body at all.
pub(super) fn hold_for_continue(request: &mut Request<RequestBody>, limit: Duration) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    hyper::ext::on_informational(request, move |answer| {
        if answer.status() == http::StatusCode::CONTINUE {
            told.notify_one();
        }
    });
    request.body_mut().gate = Some(Box::pin(async move {
        // Elapsed is as good as told: RFC 9110 section 10.1.1 forbids waiting for ever.
        drop(tokio::time::timeout(limit, go.notified()).await);
    }));
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(gate) = &mut self.gate {
            ready!(gate.as_mut().poll(cx));
            self.gate = None;
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Err(_)) = &frame {
            self.broken.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body on its way to the client.
pub(super) struct AnswerBody {
    content: Content,
    _in_flight: InFlight,
}

enum Content {
    /// The service's, streamed.
    Service(Incoming),
    /// Ours, whole; `None` when sent, and for a 101.
    Own(Option<Bytes>),
}

/// The service's answer as it is.
pub(super) fn relay(answer: Response<Incoming>, in_flight: InFlight) -> Response<AnswerBody> {
    answer.map(|body| AnswerBody { content: Content::Service(body), _in_flight: in_flight })
}

/// An answer without content.
pub(super) fn empty(in_flight: InFlight) -> AnswerBody {
    AnswerBody { content: Content::Own(None), _in_flight: in_flight }
}

/// An answer of ours with this content.
pub(super) fn own(content: Bytes, in_flight: InFlight) -> AnswerBody {
    AnswerBody { content: Content::Own(Some(content)), _in_flight: in_flight }
}

/// Our own answer to a request that failed.
pub(super) fn refuse(fault: Fault, in_flight: InFlight) -> Response<AnswerBody> {
    let text = refusal_text(fault);
    let mut answer = Response::new(AnswerBody { content: Content::Own(Some(text)), _in_flight: in_flight });
    *answer.status_mut() = fault.status();
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(ERROR_FIELD, HeaderValue::from_static(fault.as_str()));
    if fault.side() == Side::Downstream {
        // What follows on the connection may not be what the client, or someone through it, says it is.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if fault == Fault::UpgradeRate {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if fault == Fault::MethodConnect {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(http::header::ALLOW, allowed);
    }
    answer
}

/// The same answer as bytes, for a connection that hyper has given up.
pub(super) fn refusal_bytes(fault: Fault) -> Vec<u8> {
    let text = refusal_text(fault);
    let status = fault.status();
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: text/plain; charset=utf-8\r\n{ERROR_FIELD}: {}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        fault.as_str(),
        text.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&text);
    answer
}

fn refusal_text(fault: Fault) -> Bytes {
    Bytes::from(format!("crossfade: {} ({})\n", fault.sentence(), fault.as_str()))
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.content {
            Content::Service(body) => Pin::new(body).poll_frame(cx),
            Content::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Service(body) => body.is_end_stream(),
            Content::Own(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Service(body) => body.size_hint(),
            Content::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}
