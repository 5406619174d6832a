//! How much there is of what, counted.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use fogcore::registry::{Liveness, MAX_PAGE, Millis, NodeFilter};
use fogcore::signaling::{Session, SessionFilter, SessionStatus, Zone, ZoneFilter, ZoneStatus};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::nodes;
use crate::app::App;
use crate::auth::identity::Reader;
use crate::http::problem::Problem;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(dashboard)).routes(routes!(hosts)).routes(routes!(metrics))
}

/// Hosts.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = HostCounts)]
struct Hosts {
    /// All of them.
    total: usize,
    /// Those that count.
    online: usize,
    /// The others.
    offline: usize,
    /// Over those that count; 0 if none does.
    average_quality_score: f64,
}

/// Zones.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ZoneCounts)]
struct Zones {
    /// All of them.
    total: usize,
    /// Those that take sessions.
    enabled: usize,
    /// The others.
    disabled: usize,
}

/// Sessions.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = SessionCounts)]
struct Sessions {
    /// All of them.
    total: usize,
    /// Those that are played.
    active: usize,
    /// The others.
    inactive: usize,
    /// Players in all of them.
    total_players: usize,
    /// Over those that were measured; 0 if none was.
    average_latency_ms: f64,
}

/// Everything at a glance.
#[derive(Debug, Serialize, ToSchema)]
struct Dashboard {
    hosts: Hosts,
    zones: Zones,
    sessions: Sessions,
    /// What the server stands on, and how that is.
    system: BTreeMap<&'static str, &'static str>,
}

#[expect(clippy::cast_precision_loss, reason = "a statistic of fewer than 2^53")]
const fn float(count: usize) -> f64 {
    count as f64
}

/// To two decimals.
fn mean(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    if values.is_empty() { 0.0 } else { (sum / float(values.len()) * 100.0).round() / 100.0 }
}

/// The qualities of the hosts that count, and how many others there are.
async fn qualities(app: &App) -> Result<(Vec<f64>, usize), Problem> {
    let all = nodes::all(&app.fog, &NodeFilter::default()).await?;
    let is_there = |record: &&_| nodes::liveness(&app.fog, record) != Liveness::Offline;
    let online: Vec<_> = all.iter().filter(is_there).map(|record| record.quality()).collect();
    let offline = all.len() - online.len();
    Ok((online, offline))
}

async fn count_zones(app: &App) -> Result<Zones, Problem> {
    let (mut zones, mut after) = (Zones::default(), 0);
    let is_enabled = |zone: &&Zone| zone.spec.status == ZoneStatus::Enabled;
    loop {
        let page = app.fog.signaling().zones(&ZoneFilter::default(), after, MAX_PAGE).await?;
        zones.total += page.len();
        zones.enabled += page.iter().filter(is_enabled).count();
        match page.last() {
            Some(last) if page.len() == MAX_PAGE => after = last.number,
            _ => break,
        }
    }
    Ok(Zones { disabled: zones.total - zones.enabled, ..zones })
}

async fn count_sessions(app: &App) -> Result<Sessions, Problem> {
    let (mut sessions, mut latencies, mut after) = (Sessions::default(), Vec::new(), 0);
    let is_active = |session: &&Session| session.status == SessionStatus::Active;
    loop {
        let filter = SessionFilter::default();
        let page = app.fog.signaling().sessions(&filter, after, MAX_PAGE).await?;
        sessions.total += page.len();
        sessions.active += page.iter().filter(is_active).count();
        sessions.total_players += page.iter().map(|session| session.players.len()).sum::<usize>();
        latencies.extend(page.iter().filter_map(|one| one.metrics.latency.map(Millis::get)));
        match page.last() {
            Some(last) if page.len() == MAX_PAGE => after = last.number,
            _ => break,
        }
    }
    let inactive = sessions.total - sessions.active;
    Ok(Sessions { inactive, average_latency_ms: mean(&latencies), ..sessions })
}

async fn count(app: &App) -> Result<Dashboard, Problem> {
    let (online, offline) = qualities(app).await?;
    let hosts = Hosts {
        total: online.len() + offline,
        online: online.len(),
        offline,
        average_quality_score: mean(&online),
    };
    let (zones, sessions) = (count_zones(app).await?, count_sessions(app).await?);
    // What was just read from is well.
    let system = [(app.config.database_kind(), "healthy")].into();
    Ok(Dashboard { hosts, zones, sessions, system })
}

/// Everything at a glance.
#[utoipa::path(get, path = "/api/monitoring/dashboard", tag = "monitoring",
    responses((status = 200, body = Dashboard)))]
async fn dashboard(State(app): State<App>, Reader(_): Reader) -> Result<Json<Dashboard>, Problem> {
    Ok(Json(count(&app).await?))
}

/// The same for Prometheus, under the dialect's names.
#[utoipa::path(get, path = "/api/v1/monitoring/metrics", tag = "monitoring",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<App>, Reader(_): Reader) -> Result<String, Problem> {
    let Dashboard { hosts, zones, sessions, .. } = count(&app).await?;
    for (name, value) in [
        ("p2p_hosts_total", float(hosts.total)),
        ("p2p_hosts_online", float(hosts.online)),
        ("p2p_host_quality_score_avg", hosts.average_quality_score),
        ("p2p_zones_total", float(zones.total)),
        ("p2p_zones_enabled", float(zones.enabled)),
        ("p2p_sessions_total", float(sessions.total)),
        ("p2p_sessions_active", float(sessions.active)),
        ("p2p_players_total", float(sessions.total_players)),
        ("p2p_session_latency_ms_avg", sessions.average_latency_ms),
        ("p2p_coordinator_up", 1.0),
    ] {
        metrics::gauge!(name).set(value);
    }
    Ok(app.prometheus.render())
}

/// How many hosts are how good.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Distribution {
    /// A score of 90 and more.
    excellent: usize,
    /// 70 and more.
    good: usize,
    /// 50 and more.
    fair: usize,
    /// Less.
    poor: usize,
}

/// How good the hosts are.
#[derive(Debug, Serialize, ToSchema)]
struct HostStatistics {
    /// Those that count.
    total_online: usize,
    quality_distribution: Distribution,
}

/// How good the hosts are that count.
#[utoipa::path(get, path = "/api/monitoring/hosts/stats", tag = "monitoring",
    responses((status = 200, body = HostStatistics)))]
async fn hosts(State(app): State<App>, Reader(_): Reader) -> Result<Json<HostStatistics>, Problem> {
    let (online, _) = qualities(&app).await?;
    let mut quality_distribution = Distribution::default();
    for quality in &online {
        *match quality {
            90.0.. => &mut quality_distribution.excellent,
            70.0.. => &mut quality_distribution.good,
            50.0.. => &mut quality_distribution.fair,
            _ => &mut quality_distribution.poor,
        } += 1;
    }
    Ok(Json(HostStatistics { total_online: online.len(), quality_distribution }))
}
