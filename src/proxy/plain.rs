//! Every request that is no upgrade: streamed to the service over a pooled connection, its answer streamed back.
//! The message is parsed and written anew, so that whatever a client does to its framing, the service sees exactly
//! one request with one length.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;

use super::body::{AnswerBody, ClientBody, RequestBody, hold_for_continue, relay};
use super::connection::ClientSide;
use super::dial::Connector;
use super::error::{ConnectionError, Fault};
use super::headers::strip_hop_by_hop;
use super::upgrade::send_alone;
use super::watch::InFlight;
use super::worker::Shared;

/// Connections to the service that a worker keeps for plain requests.
pub(super) type Pool = Client<Connector, RequestBody>;

/// The most fields an answer may have.
pub(super) const ANSWER_FIELDS_MAX: usize = 256;

/// A pool for one worker. A request that met a connection just being closed is sent again on another one, if
/// nothing of it had been written.
pub(super) fn pool(shared: &Shared) -> Pool {
    Client::builder(Local)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(shared.config.deadlines.pool_idle)
        .pool_max_idle_per_host(shared.config.limits.pool_idle)
        .http1_preserve_header_case(true)
        .http1_max_headers(ANSWER_FIELDS_MAX)
        .set_host(false)
        .build(Connector(Arc::clone(&shared.upstream)))
}

/// Runs the pool's background work on the worker's own thread.
#[derive(Clone, Copy)]
struct Local;

impl hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for Local {
    fn execute(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::task::spawn_local(work);
    }
}

/// Passes one request on and gives back the service's answer.
pub(super) async fn forward(
    client: &ClientSide,
    request: Request<ClientBody>,
) -> Result<Response<AnswerBody>, ConnectionError> {
    let shared = &client.worker.shared;
    let (mut parts, body) = request.into_parts();
    restate(&mut parts, &body, client)?;
    parts.uri = client
        .upstream
        .target()
        .absolute(&parts.uri)
        .map_err(|error| ConnectionError::new(Fault::HeadMalformed, error))?;
    let expects = has_expectation(&parts.headers) && !body.is_end_stream();
    let mut request = Request::from_parts(parts, RequestBody::new(body, InFlight::enter(&client.watch)));
    if expects {
        hold_for_continue(&mut request, shared.config.deadlines.expect);
    }
    let broken = request.body().broken();
    let answer = async {
        if client.upstream.announces() {
            return send_alone(client, &client.upstream, request).await;
        }
        let answer = client.worker.pool.request(request).await;
        answer.map_err(|error| exchange_error(error, &broken))
    };
    let answer = match shared.config.deadlines.response {
        Some(limit) => tokio::time::timeout(limit, answer)
            .await
            .map_err(|elapsed| ConnectionError::new(Fault::ResponseTimeout, elapsed))?,
        None => answer.await,
    };
    let mut answer = answer?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault::SwitchingUnasked.into());
    }
    clean_answer(&mut answer)?;
    Ok(relay(answer, InFlight::enter(&client.watch)))
}

/// Makes a request's head fit for the next hop: fields of this hop gone, forwarding fields added, one framing.
pub(super) fn restate(
    parts: &mut Parts,
    body: &ClientBody,
    client: &ClientSide,
) -> Result<(), ConnectionError> {
    let shared = &client.worker.shared;
    let coded = parts.headers.get_all(TRANSFER_ENCODING).iter();
    if coded.into_iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(Fault::TransferCoding.into());
    }
    strip_hop_by_hop(&mut parts.headers);
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    // RFC 9112 section 3.2.2: an absolute request target overrules Host.
    if let Some(authority) = parts.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|error| ConnectionError::new(Fault::HostInvalid, error))?;
        parts.headers.insert(HOST, host);
    } else if !parts.headers.contains_key(HOST) {
        parts.headers.insert(HOST, client.upstream.target().host_field());
    }
    shared.config.trusted.extend(&mut parts.headers, client.peer.ip(), client.tls);
    parts.version = Version::HTTP_11;
    Ok(())
}

/// Makes an answer's head fit for the client: fields of the other hop gone, one framing. `Upgrade` stays on a 426,
/// which has no meaning without it (RFC 9110 section 15.5.22).
pub(super) fn clean_answer(answer: &mut Response<Incoming>) -> Result<(), ConnectionError> {
    let wanted = match answer.status() {
        StatusCode::UPGRADE_REQUIRED => answer.headers().get(UPGRADE).cloned(),
        _ => None,
    };
    let headers = answer.headers_mut();
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
        let coded = headers.get_all(TRANSFER_ENCODING).iter();
        if coded.into_iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            return Err(Fault::UpstreamMalformed.into());
        }
    }
    strip_hop_by_hop(headers);
    if let Some(protocol) = wanted {
        headers.insert(UPGRADE, protocol);
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    *answer.version_mut() = Version::HTTP_11;
    Ok(())
}

/// Names what went wrong between the request and its answer.
pub(super) fn exchange_error(
    error: impl StdError + Send + Sync + 'static,
    broken: &AtomicBool,
) -> ConnectionError {
    if broken.load(Ordering::Relaxed) {
        return ConnectionError::new(Fault::RequestBody, error);
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    let mut fault = Fault::UpstreamClosed;
    while let Some(this) = cause {
        if let Some(ours) = this.downcast_ref::<ConnectionError>() {
            fault = ours.fault;
            break;
        }
        if let Some(hyper) = this.downcast_ref::<hyper::Error>()
            && (hyper.is_parse() || hyper.is_parse_too_large())
        {
            fault = Fault::UpstreamMalformed;
            break;
        }
        cause = this.source();
    }
    ConnectionError::new(fault, error)
}

fn has_expectation(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
