//! `/monitoring`: how much there is of what, counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fogcore::registry::{Liveness, Millis, NodeFilter};
use fogcore::signaling::{SessionFilter, SessionStatus, ZoneFilter, ZoneStatus};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::problem::Answer;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(dashboard)).routes(routes!(hosts)).routes(routes!(metrics))
}

const PAGE: usize = 1_000;

#[derive(Debug, Default, Serialize, ToSchema)]
struct Hosts {
    total: usize,
    online: usize,
    offline: usize,
    average_quality_score: f64,
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct Zones {
    total: usize,
    enabled: usize,
    disabled: usize,
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct Sessions {
    total: usize,
    active: usize,
    inactive: usize,
    total_players: usize,
    average_latency_ms: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Dashboard {
    hosts: Hosts,
    zones: Zones,
    sessions: Sessions,
    system: BTreeMap<&'static str, &'static str>,
}

fn mean(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    if values.is_empty() { 0.0 } else { (sum / values.len() as f64 * 100.0).round() / 100.0 }
}

/// The qualities of the hosts that are online, and how many others there are.
async fn qualities(app: &App) -> Answer<(Vec<f64>, usize)> {
    let (now, policy) = (app.fog.clock().now(), app.fog.config().liveness);
    let (mut online, mut offline, mut after) = (Vec::new(), 0, None);
    loop {
        let page = app.fog.nodes(&NodeFilter::default(), after.as_ref(), PAGE).await?;
        for record in &page {
            match record.liveness(now, policy) {
                Liveness::Offline => offline += 1,
                _ => online.push(record.quality()),
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.node.id.clone()),
            _ => return Ok((online, offline)),
        }
    }
}

/// Everything at a glance.
#[utoipa::path(get, path = "/monitoring/dashboard", tag = "monitoring",
    responses((status = 200, body = Dashboard)))]
async fn dashboard(State(app): State<Arc<App>>) -> Answer<Json<Dashboard>> {
    Ok(Json(count(&app).await?))
}

async fn count(app: &App) -> Answer<Dashboard> {
    let (online, offline) = qualities(app).await?;
    let hosts = Hosts {
        total: online.len() + offline,
        online: online.len(),
        offline,
        average_quality_score: mean(&online),
    };
    let signaling = app.fog.signaling();
    let (mut zones, mut after) = (Zones::default(), 0);
    loop {
        let page = signaling.zones(&ZoneFilter::default(), after, PAGE).await?;
        zones.total += page.len();
        zones.enabled += page.iter().filter(|z| z.spec.status == ZoneStatus::Enabled).count();
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.number,
            _ => break,
        }
    }
    zones.disabled = zones.total - zones.enabled;
    let (mut sessions, mut latencies, mut after) = (Sessions::default(), Vec::new(), 0);
    loop {
        let page = signaling.sessions(&SessionFilter::default(), after, PAGE).await?;
        sessions.total += page.len();
        for session in &page {
            sessions.active += usize::from(session.status == SessionStatus::Active);
            sessions.total_players += session.players.len();
            latencies.extend(session.metrics.latency.map(Millis::get));
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.number,
            _ => break,
        }
    }
    sessions.inactive = sessions.total - sessions.active;
    sessions.average_latency_ms = mean(&latencies);
    // What was just read from is well.
    let system = [(app.database, "healthy")].into();
    Ok(Dashboard { hosts, zones, sessions, system })
}

/// The same for Prometheus, under the dialect's names.
#[utoipa::path(get, path = "/v1/monitoring/metrics", tag = "monitoring", responses((status = 200, body = String)))]
async fn metrics(State(app): State<Arc<App>>) -> Answer<String> {
    let Dashboard { hosts, zones, sessions, .. } = count(&app).await?;
    let gauges = [
        ("p2p_hosts_total", hosts.total as f64),
        ("p2p_hosts_online", hosts.online as f64),
        ("p2p_host_quality_score_avg", hosts.average_quality_score),
        ("p2p_zones_total", zones.total as f64),
        ("p2p_zones_enabled", zones.enabled as f64),
        ("p2p_sessions_total", sessions.total as f64),
        ("p2p_sessions_active", sessions.active as f64),
        ("p2p_players_total", sessions.total_players as f64),
        ("p2p_session_latency_ms_avg", sessions.average_latency_ms),
        ("p2p_coordinator_up", 1.0),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name).set(value);
    }
    Ok(app.metrics.render())
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct Distribution {
    excellent: usize,
    good: usize,
    fair: usize,
    poor: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct HostStatistics {
    total_online: usize,
    quality_distribution: Distribution,
}

/// How good the hosts are that are online.
#[utoipa::path(get, path = "/monitoring/hosts/stats", tag = "monitoring",
    responses((status = 200, body = HostStatistics)))]
async fn hosts(State(app): State<Arc<App>>) -> Answer<Json<HostStatistics>> {
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
