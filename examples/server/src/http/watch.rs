//! What is seen of requests: a line in the log and a few metrics each. Never a query or a body: they
//! may hold tokens.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::request_id::RequestId;
use crate::app::App;

/// Logs and counts the request.
pub async fn watch(State(app): State<App>, request: Request, next: Next) -> Response {
    let clock = app.fog.clock().clone();
    let id = RequestId::of(request.extensions());
    let span = tracing::info_span!(
        "request",
        id = id.as_str(),
        method = %request.method(),
        path = request.uri().path(),
    );
    // By route, not by path: there are as many paths as nodes.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = known(request.method());
    let begun = clock.elapsed();
    let response = next.run(request).instrument(span.clone()).await;
    let took = clock.elapsed().saturating_sub(begun);
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, millis = millis(took), "answered"));
    let route = route.unwrap_or_else(|| "none".to_owned());
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.to_string())];
    metrics::counter!("fogcore_server_requests_total", &labels).increment(1);
    metrics::histogram!("fogcore_server_request_seconds", &labels[..2]).record(took.as_secs_f64());
    response
}

/// The method, unless a client made it up: labels must be few.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
