//! The documented answers that are sums over the whole fog.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use fogcore::Fog;
use fogcore::registry::{Liveness, MAX_PAGE, NodeFilter, NodeRecord};
use fogcore::scheduler::market::{
    Depth, OfferFilter, OfferState, Resource, TradeFilter, TradeState,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::fog::dto::market::OfferAnswer;
use crate::api::fog::dto::nodes::{gib, status_of};
use crate::api::fog::dto::status::{
    Available, BetaNet, BitChat, Demand, Energy, Harvesting, HiddenServices, MarketplaceAnswer,
    MarketplaceStats, MeshStats, MessageStats, Messages, OPERATIONAL, P2pStatus, Peer, Peers,
    ResourcesAnswer, Rewards, Utilization,
};
use crate::api::{money, nodes};
use crate::app::App;
use crate::auth::identity::Reader;
use crate::http::problem::Problem;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(p2p_status))
        .routes(routes!(peers))
        .routes(routes!(messages))
        .routes(routes!(resources))
        .routes(routes!(marketplace))
}

fn now(app: &App) -> String {
    app.fog.clock().now().to_string()
}

/// How the peer-to-peer network is. This server has neither a Bluetooth radio nor mix nodes.
#[utoipa::path(get, path = "/api/p2p/status", tag = "fog", responses((status = 200, body = P2pStatus)))]
async fn p2p_status(State(app): State<App>, Reader(_): Reader) -> Json<P2pStatus> {
    Json(P2pStatus {
        status: OPERATIONAL,
        services_available: true,
        bitchat: BitChat { connected: false, platform: "none", status: "offline" },
        betanet: BetaNet::default(),
        timestamp: now(&app),
    })
}

/// The peers: the nodes of the fog.
#[utoipa::path(get, path = "/api/p2p/peers", tag = "fog", responses((status = 200, body = Peers)))]
async fn peers(State(app): State<App>, Reader(_): Reader) -> Result<Json<Peers>, Problem> {
    let all = nodes::all(&app.fog, &NodeFilter::default()).await?;
    let is_online = |record: &&NodeRecord| nodes::liveness(&app.fog, record) == Liveness::Online;
    let online: Vec<_> = all.iter().filter(is_online).collect();
    let latencies = online.iter().filter_map(|record| latency(record));
    let bandwidth = |record: &&NodeRecord| u64::from(record.node.resources.bandwidth_mbps);
    let stats = MeshStats {
        connectivity_ratio: share(online.len(), all.len()),
        avg_latency_ms: mean(latencies),
        total_bandwidth_mbps: online.iter().map(bandwidth).sum(),
        redundancy_level: u32::from(!online.is_empty()),
        active_circuits: 0,
    };
    let peer = |record: &NodeRecord| Peer {
        peer_id: record.node.id.to_string(),
        status: status_of(nodes::liveness(&app.fog, record)),
        latency_ms: latency(record),
        last_seen: record.last_seen.to_string(),
    };
    Ok(Json(Peers {
        status: OPERATIONAL,
        total_peers: all.len(),
        connected_peers: online.len(),
        topology: "star",
        peers: all.iter().take(MAX_PAGE).map(peer).collect(),
        mesh_stats: stats,
        timestamp: now(&app),
    }))
}

/// Messages between peers. They do not pass this server, so it has seen none.
#[utoipa::path(get, path = "/api/p2p/messages", tag = "fog", responses((status = 200, body = Messages)))]
async fn messages(State(app): State<App>, Reader(_): Reader) -> Json<Messages> {
    Json(Messages {
        status: OPERATIONAL,
        message_stats: MessageStats::default(),
        routing_table: Vec::new(),
        recent_messages: Vec::new(),
        timestamp: now(&app),
    })
}

/// What the fog has, and how much of it is in use.
#[utoipa::path(get, path = "/api/fog/resources", tag = "fog",
    responses((status = 200, body = ResourcesAnswer)))]
async fn resources(
    State(app): State<App>,
    Reader(_): Reader,
) -> Result<Json<ResourcesAnswer>, Problem> {
    let all = nodes::all(&app.fog, &NodeFilter::default()).await?;
    let is_online = |record: &&NodeRecord| nodes::liveness(&app.fog, record) == Liveness::Online;
    let online: Vec<_> = all.iter().filter(is_online).collect();
    let able: Vec<_> =
        online.iter().copied().filter(|record| nodes::is_eligible(&app.fog, record)).collect();
    let available = available(&able);
    let utilization = utilization(&online);
    let has_cpu = online.iter().any(|record| used(record).is_some_and(|beat| beat.cpu.is_some()));
    let harvesting = Harvesting {
        active_devices: able.len(),
        total_registered: all.len(),
        harvest_rate_per_hour: available.cpu_hours_available,
        idle_capacity_percent: if has_cpu { 100.0 - utilization.cpu_utilization } else { 0.0 },
    };
    Ok(Json(ResourcesAnswer {
        status: OPERATIONAL,
        harvesting,
        resources: available,
        utilization,
        energy: energy(&app.fog, &online),
        rewards: rewards(&app).await?,
        timestamp: now(&app),
    }))
}

fn used(record: &NodeRecord) -> Option<&fogcore::registry::Heartbeat> {
    record.heartbeat.as_ref()
}

fn latency(record: &NodeRecord) -> Option<f64> {
    used(record).and_then(|beat| beat.latency).map(|latency| latency.get())
}

/// What of a resource is free; all of it, where nobody told how much is in use.
fn free(have: f64, used: Option<fogcore::registry::Percent>) -> f64 {
    have * (1.0 - used.map_or(0.0, |used| used.get()) / 100.0)
}

fn available(able: &[&NodeRecord]) -> Available {
    let sum = |part: fn(&NodeRecord) -> f64| able.iter().map(|record| part(record)).sum::<f64>();
    Available {
        cpu_hours_available: sum(|record| {
            free(record.node.resources.cpu_cores.into(), used(record).and_then(|beat| beat.cpu))
        }),
        memory_gb_hours: sum(|record| {
            free(gib(record.node.resources.memory_mib), used(record).and_then(|beat| beat.memory))
        }),
        storage_gb_available: sum(|record| {
            free(gib(record.node.resources.storage_mib), used(record).and_then(|beat| beat.storage))
        }),
        bandwidth_mbps_available: sum(|record| {
            let have = record.node.resources.bandwidth_mbps.into();
            free(have, used(record).and_then(|beat| beat.bandwidth))
        }),
    }
}

/// The means of what was told, weighted by what the nodes have.
fn utilization(online: &[&NodeRecord]) -> Utilization {
    type Part = fn(&NodeRecord) -> (f64, Option<fogcore::registry::Percent>);
    let weighted = |part: Part| {
        let told = online.iter().filter_map(|record| {
            let (have, used) = part(record);
            Some((have, used?.get()))
        });
        let (sum, weight) =
            told.fold((0.0, 0.0), |(sum, all), (have, used)| (sum + have * used, all + have));
        if weight > 0.0 { sum / weight } else { 0.0 }
    };
    Utilization {
        cpu_utilization: weighted(|record| {
            (record.node.resources.cpu_cores.into(), used(record).and_then(|beat| beat.cpu))
        }),
        memory_utilization: weighted(|record| {
            (gib(record.node.resources.memory_mib), used(record).and_then(|beat| beat.memory))
        }),
        storage_utilization: weighted(|record| {
            (gib(record.node.resources.storage_mib), used(record).and_then(|beat| beat.storage))
        }),
        bandwidth_utilization: weighted(|record| {
            let have = record.node.resources.bandwidth_mbps.into();
            (have, used(record).and_then(|beat| beat.bandwidth))
        }),
    }
}

fn energy(fog: &Fog, online: &[&NodeRecord]) -> Energy {
    let policy = &fog.config().power;
    let powers: Vec<_> =
        online.iter().filter_map(|record| used(record).and_then(|beat| beat.power)).collect();
    let has_enough = |battery: fogcore::registry::Percent| battery.get() >= policy.min_battery;
    Energy {
        devices_charging: powers.iter().filter(|p| p.charging && p.battery.is_some()).count(),
        battery_threshold_met: powers.iter().filter(|p| p.battery.is_some_and(has_enough)).count(),
        thermal_throttling: powers.iter().filter(|p| policy.must_throttle(p)).count(),
        green_energy_ratio: 0.0,
    }
}

async fn rewards(app: &App) -> Result<Rewards, Problem> {
    let (sum, since) = app.rewards.until_now(&app.fog).await?;
    let (config, hours) = (app.fog.config(), since.as_secs_f64() / 3_600.0);
    let tokens = money::number(&config.asset, sum);
    Ok(Rewards {
        tokens_distributed_today: tokens,
        tokens_distributed_today_exact: config.asset.decimal(sum),
        avg_reward_per_hour: if hours > 0.0 { tokens / hours } else { 0.0 },
        quality_bonus_rate: f64::from(config.economy.reward.quality_at_most) / 100.0,
    })
}

/// What is for hire, and what it costs.
#[utoipa::path(get, path = "/api/fog/marketplace", tag = "fog",
    responses((status = 200, body = MarketplaceAnswer)))]
async fn marketplace(
    State(app): State<App>,
    Reader(_): Reader,
) -> Result<Json<MarketplaceAnswer>, Problem> {
    let (market, asset) = (app.fog.market(), &app.fog.config().asset);
    let mut stats = MarketplaceStats::default();
    let (mut services, mut demand) = (Vec::new(), BTreeMap::new());
    let (mut prices, mut providers) = (Vec::new(), BTreeSet::new());
    for resource in Resource::ALL {
        let lane = market.lane(resource).await?;
        stats.total_offerings += lane.open_offers;
        stats.active_contracts += held_trades(&app, resource).await?;
        let depth = lane.depth.values().fold(Depth::default(), |all, region| Depth {
            supply: all.supply.saturating_add(region.supply),
            demand: all.demand.saturating_add(region.demand),
        });
        let told = Demand {
            supply: units(depth.supply),
            demand: units(depth.demand),
            open_bids: lane.open_bids,
            trades: lane.trades,
        };
        demand.insert(resource.name(), told);
        let open = OfferFilter { state: Some(OfferState::Open), ..OfferFilter::default() };
        let mut after = 0;
        loop {
            let page = market.offers(resource, &open, after, MAX_PAGE).await?;
            for offer in page.iter().filter(|offer| offer.left > 0) {
                prices.push(money::number(asset, offer.spec.price));
                providers.insert(offer.spec.owner.clone());
                if services.len() < MAX_PAGE {
                    services.push(OfferAnswer::of(asset, offer));
                }
            }
            match page.last() {
                Some(last) if page.len() == MAX_PAGE => after = last.place,
                _ => break,
            }
        }
    }
    stats.avg_price_per_hour = mean(prices.into_iter());
    stats.total_providers = providers.len();
    Ok(Json(MarketplaceAnswer {
        status: OPERATIONAL,
        marketplace_stats: stats,
        services,
        demand_metrics: demand,
        hidden_services: HiddenServices {
            total_hidden_services: 0,
            avg_uptime: 0.0,
            censorship_resistance: "none",
        },
        timestamp: now(&app),
    }))
}

async fn held_trades(app: &App, resource: Resource) -> Result<usize, Problem> {
    let held = TradeFilter { state: Some(TradeState::Held), ..TradeFilter::default() };
    let (mut count, mut after) = (0, 0);
    loop {
        let page = app.fog.market().trades(resource, &held, after, MAX_PAGE).await?;
        count += page.len();
        match page.last() {
            Some(last) if page.len() == MAX_PAGE => after = last.place,
            _ => return Ok(count),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "told to people")]
fn units(thousandths: u64) -> f64 {
    thousandths as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "told to people")]
fn share(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// Zero if there is nothing.
fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}
