//! What all requests share, and the way that each takes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use fogcore::registry::LivenessPolicy;
use fogcore::{Fog, FogConfig};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::auth::{self, Accounts, Limits, Role, Signer, identify};
use crate::config::{Config, Switch};
use crate::problem::{Answer, MAX_BODY, Problem, Render, in_form};
use crate::{api, events, signaling};

/// How long a request may take, beside sockets.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) fog: Fog,
    pub(crate) accounts: Accounts,
    pub(crate) signer: Signer,
    pub(crate) limits: Limits,
    /// Whether documents that say so let everybody in.
    pub(crate) open: bool,
    pub(crate) database: &'static str,
    pub(crate) sockets: events::Sockets,
    pub(crate) stopping: CancellationToken,
    /// What the library and the server count.
    pub(crate) metrics: PrometheusHandle,
    origins: Vec<HeaderValue>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "fogcore", description = "Published API documents, served from one fog."),
    tags(
        (name = "auth", description = "Who asks"),
        (name = "hosts", description = "Hosts of games"),
        (name = "zones", description = "Parts of a game's world"),
        (name = "sessions", description = "Players of a zone on a host"),
        (name = "signaling", description = "How two peers find each other"),
        (name = "monitoring", description = "How much there is of what"),
        (name = "fog", description = "Nodes, resources, market and tokens"),
    )
)]
struct Documents;

impl App {
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Arc<Self>> {
        let database = config.database();
        if database.starts_with("sqlite:") {
            std::fs::create_dir_all(&config.data_dir)
                .with_context(|| format!("{} cannot be made", config.data_dir.display()))?;
        }
        // The coordinator's hosts are offline after a minute without a beat.
        let minute = Duration::from_secs(60);
        let liveness = LivenessPolicy { suspect_after: minute, offline_after: minute };
        let fog =
            Fog::builder().url(&database).config(FogConfig { liveness, ..FogConfig::default() });
        let fog = fog.open().await.context("the database")?;
        let accounts = Accounts::open(&database).await.context("the accounts")?;
        let origins = config.cors_origins.iter().map(|origin| origin.parse());
        let app = Arc::new(Self {
            fog,
            accounts,
            signer: Signer::new(&config.secret()?),
            limits: Limits::new(config.rate_limit == Switch::On),
            open: config.is_open(),
            database: match database.split(':').next() {
                Some("postgres" | "postgresql") => "postgres",
                Some("sqlite") => "sqlite",
                _ => "memory",
            },
            sockets: events::Sockets::default(),
            stopping: CancellationToken::new(),
            metrics: PrometheusBuilder::new().install_recorder().context("the metrics")?,
            origins: origins.collect::<Result<_, _>>().context("cors_origins")?,
        });
        app.first_administrator(config).await?;
        Ok(app)
    }

    async fn first_administrator(&self, config: &Config) -> anyhow::Result<()> {
        let (Some(email), Some(password)) = (&config.admin_email, &config.admin_password) else {
            return Ok(());
        };
        let failed = |problem: Problem| anyhow::anyhow!("the administrator: {}", problem.message);
        auth::routes::check(email, password, "").map_err(failed)?;
        if self.accounts.by_email(email).await.map_err(failed)?.is_none() {
            let hash = auth::hash_password(password.clone()).await.map_err(failed)?;
            self.accounts.add(email, "", hash, Role::Admin).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Refuses a socket that a page from elsewhere opens: browsers ask nobody before they do.
    pub(crate) fn admit_origin(&self, headers: &HeaderMap) -> Answer<()> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        let from = origin.as_bytes().splitn(2, |byte| *byte == b':').nth(1);
        let is_own = from.and_then(|rest| rest.strip_prefix(b"//")) == Some(host);
        if is_own || self.origins.contains(origin) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::FORBIDDEN, "pages from elsewhere may not connect"))
    }

    pub(crate) async fn close(&self) {
        self.fog.shutdown().await;
        self.accounts.close().await;
    }
}

/// Everything that is served.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let identify = middleware::from_fn_with_state(app.clone(), identify);
    let (router, document) = OpenApiRouter::with_openapi(Documents::openapi())
        .nest("/api", api::coordinator::router().merge(api::fog::router()).layer(identify))
        .nest("/v1/auth", auth::routes::router(app))
        .merge(api::fog::health_router())
        .split_for_parts();
    let hardening = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let request_id = HeaderName::from_static("x-request-id");
    let cors = CorsLayer::new()
        .allow_origin(app.origins.clone())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE]);
    let router = router
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, PATIENCE))
        .route("/metrics", any(measured))
        .route("/ws", any(events::socket))
        .route("/api/signaling/ws", any(signaling::socket))
        .route("/api/v1/signaling/ws", any(signaling::socket))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(formed))
        .layer(cors);
    let harden = |router: Router<_>, (name, value): (HeaderName, &'static str)| {
        router.layer(SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value)))
    };
    hardening
        .into_iter()
        .fold(router, harden)
        .layer(PropagateRequestIdLayer::new(request_id.clone()))
        .layer(SetRequestIdLayer::new(request_id, MakeRequestUuid))
        .with_state(app.clone())
}

/// What is counted, for Prometheus; by the same rules as the documents.
async fn measured(State(app): State<Arc<App>>, request: Request) -> Response {
    match app.identity(request.headers(), None).await {
        Ok(None) if !app.open => Problem::unauthorized("a token is needed").into_response(),
        Ok(_) => app.metrics.render().into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Gives every error the form of the document that its path belongs to.
async fn formed(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is = |families: &[&str]| families.iter().any(|family| path.starts_with(family));
    let coordinator = [
        "/api/hosts",
        "/api/zones",
        "/api/sessions",
        "/api/signaling",
        "/api/monitoring",
        "/api/v1",
    ];
    let render: Render = if is(&coordinator) {
        api::coordinator::render
    } else if is(&["/v1"]) {
        auth::routes::render
    } else {
        api::fog::render
    };
    in_form(next.run(request).await, render)
}
