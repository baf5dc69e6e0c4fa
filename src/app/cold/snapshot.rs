//! The last rows of the table for a client that is new: one request to PostgREST with the client's own rights.

use bytes::Bytes;
use http::Request;
use http::header::{HOST, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;

use super::fine::Plan;
use crate::cold::admit::Source;
use crate::cold::{Frame, wire};
use crate::proxy::{Dialer, Target, Tcp};

/// An answer with more bytes is not read.
const BODY_BYTES_MAX: usize = 4 << 20;

/// The rows, oldest first; `None` where they were not given.
pub(super) async fn rows(plan: &Plan, token: Option<&str>) -> Option<Vec<Frame>> {
    let Source::Table(table) = &plan.rules.source else { return Some(Vec::new()) };
    let mut url = plan.link.endpoint.rows(table)?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("order", &format!("{}.desc", plan.order));
        query.append_pair("limit", &plan.limits.snapshot.to_string());
        if let Some((column, filter)) = plan.filter.as_ref().and_then(|filter| filter.split_once('=')) {
            query.append_pair(column, filter);
        }
    }
    let target = Target::with_path(url.as_str().split('?').next()?).ok()?;
    let mut request = Request::get(format!("{}?{}", url.path(), url.query().unwrap_or_default()));
    let headers = request.headers_mut()?;
    headers.insert(HOST, target.host_field());
    for (name, value) in plan.link.endpoint.http_headers(&plan.link.key) {
        headers.insert(HeaderName::from_static(name), secret(&value)?);
    }
    if let Some(token) = token {
        headers.insert(http::header::AUTHORIZATION, secret(&format!("Bearer {token}"))?);
    }
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let dialer = Dialer::new(target, None, plan.limits.join_timeout, Tcp::default()).ok()?;
    let io = dialer.dial().await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.ok()?;
    // Ends with the connection; what it says is said by the request, too.
    tokio::task::spawn_local(async move { drop(connection.await) });
    let answer = sender.send_request(request).await.ok()?;
    if !answer.status().is_success() {
        tracing::warn!(status = answer.status().as_u16(), "the cold lane's snapshot was refused");
        return None;
    }
    let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await.ok()?.to_bytes();
    let rows: Vec<&RawValue> = serde_json::from_slice(&body).ok()?;
    Some(rows.iter().rev().filter_map(|row| wire::record(row.get(), plan.column.as_deref())).collect())
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
