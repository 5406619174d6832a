//! `/fog/nodes`, `/fog/resources` and `/fog/marketplace`: what there is, and what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fogcore::registry::{Heartbeat, Ineligible, Liveness, NodeKind, NodeRecord, Percent};
use fogcore::scheduler::market::{
    Offer, OfferFilter, OfferState, Resource, TradeFilter, TradeState,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::dto::{exact, mean, number};
use super::{all_nodes, now};
use crate::app::App;
use crate::problem::Answer;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(nodes))
        .routes(routes!(resources))
        .routes(routes!(marketplace))
}

#[derive(Debug, Serialize, ToSchema)]
struct NodeTypes {
    coordinator: usize,
    worker: usize,
    hybrid: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct NodeResources {
    cpu_cores: u32,
    memory_gb: f64,
    storage_gb: f64,
    bandwidth_mbps: u32,
}

#[derive(Debug, Serialize, ToSchema)]
struct NodeView {
    node_id: String,
    /// `worker` if it executes tasks, `coordinator` if it hosts sessions, `hybrid` for both.
    r#type: &'static str,
    /// `active`, `suspect` or `offline`.
    status: &'static str,
    resources: NodeResources,
    last_seen: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Nodes {
    status: &'static str,
    total_nodes: usize,
    active_nodes: usize,
    node_types: NodeTypes,
    nodes: Vec<NodeView>,
    timestamp: String,
}

fn gib(mib: u64) -> f64 {
    mib as f64 / 1_024.0
}

fn role(record: &NodeRecord) -> &'static str {
    let works = record.node.slots > 0 && !record.node.serves.is_empty();
    match (works, record.node.kind == NodeKind::GameHost) {
        (true, true) => "hybrid",
        (false, true) => "coordinator",
        _ => "worker",
    }
}

/// Every node.
#[utoipa::path(get, path = "/fog/nodes", tag = "fog", responses((status = 200, body = Nodes)))]
async fn nodes(State(app): State<Arc<App>>) -> Answer<Json<Nodes>> {
    let (records, now) = (all_nodes(&app.fog).await?, now(&app));
    let policy = app.fog.config().liveness;
    let view = |record: &NodeRecord| NodeView {
        node_id: record.node.id.as_str().to_owned(),
        r#type: role(record),
        status: match record.liveness(now, policy) {
            Liveness::Online => "active",
            Liveness::Suspect => "suspect",
            Liveness::Offline => "offline",
        },
        resources: NodeResources {
            cpu_cores: record.node.resources.cpu_cores,
            memory_gb: gib(record.node.resources.memory_mib),
            storage_gb: gib(record.node.resources.storage_mib),
            bandwidth_mbps: record.node.resources.bandwidth_mbps,
        },
        last_seen: record.last_seen.to_string(),
    };
    let nodes: Vec<_> = records.iter().map(view).collect();
    let of = |role: &str| nodes.iter().filter(|node| node.r#type == role).count();
    Ok(Json(Nodes {
        status: "operational",
        total_nodes: nodes.len(),
        active_nodes: nodes.iter().filter(|node| node.status == "active").count(),
        node_types: NodeTypes {
            coordinator: of("coordinator"),
            worker: of("worker"),
            hybrid: of("hybrid"),
        },
        nodes,
        timestamp: now.to_string(),
    }))
}

#[derive(Debug, Serialize, ToSchema)]
struct Harvesting {
    active_devices: usize,
    total_registered: usize,
    harvest_rate_per_hour: f64,
    idle_capacity_percent: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Available {
    cpu_hours_available: f64,
    memory_gb_hours: f64,
    storage_gb_available: f64,
    bandwidth_mbps_available: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Utilization {
    cpu_utilization: f64,
    memory_utilization: f64,
    storage_utilization: f64,
    bandwidth_utilization: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Energy {
    devices_charging: usize,
    battery_threshold_met: usize,
    thermal_throttling: usize,
    green_energy_ratio: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Rewards {
    tokens_distributed_today: f64,
    avg_reward_per_hour: f64,
    quality_bonus_rate: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Resources {
    status: &'static str,
    harvesting: Harvesting,
    resources: Available,
    utilization: Utilization,
    energy: Energy,
    rewards: Rewards,
    timestamp: String,
}

/// What the nodes that may work have, as they registered and told with their beats. What nobody
/// measures is 0.
#[utoipa::path(get, path = "/fog/resources", tag = "fog", responses((status = 200, body = Resources)))]
async fn resources(State(app): State<Arc<App>>) -> Answer<Json<Resources>> {
    let (records, now) = (all_nodes(&app.fog).await?, now(&app));
    let config = app.fog.config();
    let online: Vec<_> = records
        .iter()
        .filter(|record| record.liveness(now, config.liveness) == Liveness::Online)
        .collect();
    let (mut eligible, mut charging, mut charged, mut hot) = (Vec::new(), 0, 0, 0);
    for record in &online {
        match record.eligibility(now, &config.power) {
            Ok(()) => eligible.push(*record),
            Err(Ineligible::ThermalThrottle) => hot += 1,
            Err(_) => {}
        }
        let power = record.heartbeat.as_ref().and_then(|beat| beat.power);
        charging += usize::from(power.is_some_and(|power| power.charging));
        let battery = power.and_then(|power| power.battery);
        charged += usize::from(battery.is_some_and(|b| b.get() >= config.power.min_battery));
    }
    let utilization = |of: fn(&Heartbeat) -> Option<Percent>| {
        let beats = online.iter().filter_map(|record| record.heartbeat.as_ref());
        mean(beats.filter_map(of).map(Percent::get))
    };
    let cpu = utilization(|beat| beat.cpu);
    let free = |record: &NodeRecord, of: fn(&Heartbeat) -> Option<Percent>| {
        let used = record.heartbeat.as_ref().and_then(of).map_or(0.0, Percent::get);
        1.0 - used / 100.0
    };
    let sum = |value: &dyn Fn(&NodeRecord) -> f64| {
        (eligible.iter().map(|record| value(record)).sum::<f64>() * 100.0).round() / 100.0
    };
    let any_told = online.iter().any(|r| r.heartbeat.as_ref().is_some_and(|b| b.cpu.is_some()));
    let resources = Available {
        cpu_hours_available: sum(&|r| f64::from(r.node.resources.cpu_cores) * free(r, |b| b.cpu)),
        memory_gb_hours: sum(&|r| gib(r.node.resources.memory_mib) * free(r, |b| b.memory)),
        storage_gb_available: sum(&|r| gib(r.node.resources.storage_mib) * free(r, |b| b.storage)),
        bandwidth_mbps_available: eligible
            .iter()
            .map(|record| u64::from(record.node.resources.bandwidth_mbps))
            .sum(),
    };
    Ok(Json(Resources {
        status: "operational",
        harvesting: Harvesting {
            active_devices: eligible.len(),
            total_registered: records.len(),
            harvest_rate_per_hour: resources.cpu_hours_available,
            idle_capacity_percent: if any_told { 100.0 - cpu } else { 0.0 },
        },
        resources,
        utilization: Utilization {
            cpu_utilization: cpu,
            memory_utilization: utilization(|beat| beat.memory),
            storage_utilization: utilization(|beat| beat.storage),
            bandwidth_utilization: utilization(|beat| beat.bandwidth),
        },
        energy: Energy {
            devices_charging: charging,
            battery_threshold_met: charged,
            thermal_throttling: hot,
            green_energy_ratio: 0.0,
        },
        rewards: Rewards {
            tokens_distributed_today: 0.0,
            avg_reward_per_hour: 0.0,
            quality_bonus_rate: 0.0,
        },
        timestamp: now.to_string(),
    }))
}

#[derive(Debug, Serialize, ToSchema)]
struct MarketStats {
    total_offerings: usize,
    active_contracts: usize,
    avg_price_per_hour: f64,
    total_providers: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct Service {
    offer_id: String,
    provider: String,
    node_id: String,
    resource: String,
    region: String,
    /// What is left of it, in thousandths of the resource's unit.
    amount_milli: u64,
    price_per_hour: f64,
    price_per_hour_exact: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct HiddenServices {
    total_hidden_services: u32,
    avg_uptime: f64,
    censorship_resistance: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Market {
    status: &'static str,
    marketplace_stats: MarketStats,
    services: Vec<Service>,
    /// What is wanted of each resource, in thousandths of its unit.
    demand_metrics: BTreeMap<String, u64>,
    hidden_services: HiddenServices,
    timestamp: String,
}

fn name(resource: Resource) -> String {
    let value = serde_json::to_value(resource).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// The market: the first thousand open offers of each resource, and what is hired now.
#[utoipa::path(get, path = "/fog/marketplace", tag = "fog", responses((status = 200, body = Market)))]
async fn marketplace(State(app): State<Arc<App>>) -> Answer<Json<Market>> {
    let (market, asset) = (app.fog.market(), &app.fog.config().asset);
    let mut offers: Vec<Offer> = Vec::new();
    let (mut contracts, mut demand_metrics) = (0, BTreeMap::new());
    for resource in Resource::ALL {
        let open = OfferFilter { state: Some(OfferState::Open), ..OfferFilter::default() };
        offers.extend(market.offers(resource, &open, 0, 1_000).await?);
        let held = TradeFilter { state: Some(TradeState::Held), ..TradeFilter::default() };
        contracts += market.trades(resource, &held, 0, 1_000).await?.len();
        let depth = market.lane(resource).await?.depth;
        let wanted: u64 = depth.values().map(|depth| depth.demand).sum();
        if wanted > 0 {
            demand_metrics.insert(name(resource), wanted);
        }
    }
    let providers: BTreeSet<_> = offers.iter().map(|offer| &offer.spec.owner).collect();
    let marketplace_stats = MarketStats {
        total_offerings: offers.len(),
        active_contracts: contracts,
        avg_price_per_hour: mean(offers.iter().map(|o| number(asset, o.spec.price))),
        total_providers: providers.len(),
    };
    let service = |offer: &Offer| Service {
        offer_id: offer.id.to_string(),
        provider: offer.spec.owner.as_str().to_owned(),
        node_id: offer.spec.node.as_str().to_owned(),
        resource: name(offer.spec.resource),
        region: offer.spec.region.clone(),
        amount_milli: offer.left,
        price_per_hour: number(asset, offer.spec.price),
        price_per_hour_exact: exact(asset, offer.spec.price),
    };
    Ok(Json(Market {
        status: "operational",
        marketplace_stats,
        services: offers.iter().map(service).collect(),
        demand_metrics,
        hidden_services: HiddenServices {
            total_hidden_services: 0,
            avg_uptime: 0.0,
            censorship_resistance: "none",
        },
        timestamp: now(&app).to_string(),
    }))
}
