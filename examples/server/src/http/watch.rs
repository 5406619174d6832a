//! What is seen of requests: a line in the log and a few metrics each. Never a query or a body: they
//! may hold tokens.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use fogcore::time::Clock;
use metrics::{Counter, Histogram};
use tracing::Span;

use super::request_id::RequestId;

/// Where requests of one kind are counted: found once, because finding it costs more than counting.
#[derive(Clone)]
struct Counted {
    requests: Counter,
    seconds: Histogram,
}

/// Counts requests by method, route and status, of all of which there are few.
#[derive(Default)]
pub struct Watch(RwLock<HashMap<Kind, Counted>>);

/// A method, a route (not a path: there are as many of those as nodes), a status.
type Kind = (&'static str, Option<Arc<str>>, StatusCode);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct Watched {
    /// Whatever is logged meanwhile belongs to it.
    pub span: Span,
    method: &'static str,
    route: Option<MatchedPath>,
    begun: Duration,
}

impl Watch {
    /// A request begins.
    #[must_use]
    pub fn begin(clock: &dyn Clock, request: &Request, id: &RequestId) -> Watched {
        let span = tracing::info_span!(
            "request",
            id = id.as_str(),
            method = %request.method(),
            path = request.uri().path(),
        );
        let route = request.extensions().get::<MatchedPath>().cloned();
        Watched { span, method: known(request.method()), route, begun: clock.elapsed() }
    }

    /// It is answered.
    pub fn end(&self, clock: &dyn Clock, watched: &Watched, response: &Response) {
        let took = clock.elapsed().saturating_sub(watched.begun);
        let status = response.status();
        let millis = took.as_secs_f64() * 1_000.0;
        watched.span.in_scope(|| tracing::debug!(status = status.as_u16(), millis, "answered"));
        let counted = self.counted(watched, status);
        counted.requests.increment(1);
        counted.seconds.record(took.as_secs_f64());
    }

    fn counted(&self, watched: &Watched, status: StatusCode) -> Counted {
        let route = watched.route.as_ref().map(|path| Arc::from(path.as_str()));
        let kind = (watched.method, route, status);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned();
        known.unwrap_or_else(|| {
            let route = kind.1.as_deref().unwrap_or("none").to_owned();
            let labels = [("method", kind.0.to_owned()), ("route", route)];
            let seconds = metrics::histogram!("fogcore_server_request_seconds", &labels);
            let [method, route] = labels;
            let labels = [method, route, ("status", status.as_str().to_owned())];
            let requests = metrics::counter!("fogcore_server_requests_total", &labels);
            let counted = Counted { requests, seconds };
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(kind).or_insert(counted).clone()
        })
    }
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
