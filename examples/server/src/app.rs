//! What all requests share, and the one router over all families.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use fogcore::Fog;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::timeout::TimeoutLayer;
use tracing::Instrument;
use utoipa_axum::router::OpenApiRouter;

use crate::api::{self, coordinator, fog};
use crate::auth::{self, Auth};
use crate::config::Config;
use crate::http::family::Family;
use crate::http::kept::Kept;
use crate::http::problem::{Kind, Problem};
use crate::http::quota::Quotas;
use crate::http::request_id::X_REQUEST_ID;
use crate::http::watch::Watch;
use crate::http::{admit, family, headers, request_id};
use crate::store::IdentityStore;
use crate::ws::{self, Hub};

/// Identities and addresses whose requests are counted apart; the rest share what one has.
pub(crate) const COUNTED_APART: usize = 100_000;

/// A handle on what all requests share.
#[derive(Clone, Debug)]
pub struct App(Arc<Shared>);

/// What all requests share.
#[derive(Debug)]
pub struct Shared {
    /// How the server behaves.
    pub config: Config,
    /// The engine.
    pub fog: Fog,
    /// Who asks.
    pub auth: Auth,
    /// What the server itself keeps.
    pub store: Arc<dyn IdentityStore>,
    /// How much they ask.
    pub quotas: Quotas,
    /// What many ask for.
    pub kept: Arc<Kept>,
    /// What is seen of requests.
    pub watch: Watch,
    /// Who listens.
    pub hub: Arc<Hub>,
    /// What was paid today, as far as it was read.
    pub rewards: fog::RewardsToday,
    /// Renders the metrics.
    pub prometheus: PrometheusHandle,
    /// Sockets and loops end with it.
    pub stopping: CancellationToken,
    /// What runs beside requests.
    pub tasks: TaskTracker,
}

impl Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Shares it.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

/// Every route, documented, and everything around them.
pub fn router(app: App) -> Router {
    let (routes, document) = OpenApiRouter::with_openapi(api::document::base())
        .merge(api::system::router())
        .merge(auth::routes::router())
        .merge(fog::router())
        .merge(coordinator::router())
        .merge(ws::routes::router())
        .split_for_parts();
    let routes = routes.merge(api::document::router(document));
    // The last one is the outermost. Few, because each costs every request something.
    routes
        .layer(DefaultBodyLimit::max(app.config.limits.body))
        .layer(middleware::from_fn_with_state(app.clone(), admit::admit))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            app.config.limits.request,
        ))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(option_layer(cors(&app.config)))
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app)
}

/// What every answer has, whatever became of the request: a name, a form, headers, a line in the log.
async fn around(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let clock = &**app.fog.clock();
    let id = request_id::name(&mut request);
    let family = Family::of(request.uri().path());
    let is_page = request.uri().path().starts_with("/docs");
    let watched = Watch::begin(clock, &request, &id);
    let response = next.run(request).instrument(watched.span.clone()).await;
    let mut response = family::render(family, response, clock, &id);
    headers::secure(is_page, &mut response);
    app.watch.end(clock, &watched, &response);
    request_id::tell(id, &mut response);
    response
}

/// What it panicked with is told to the log alone, which the panic hook did.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(Kind::Internal).into_response()
}

/// What browsers are told about pages of other origins; nothing, if none may call.
fn cors(config: &Config) -> Option<CorsLayer> {
    if config.cors_origins.is_empty() {
        return None;
    }
    let told = [
        "x-request-id",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "retry-after",
    ];
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(config.cors_origins.iter().cloned()))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-api-key"),
            X_REQUEST_ID,
        ])
        .expose_headers(told.map(HeaderName::from_static));
    Some(layer)
}
