//! `/p2p`: who is connected to whom. There is no mesh and no mixnet yet, and the answers say so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fogcore::registry::{Liveness, Millis};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::dto::mean;
use super::{all_nodes, now};
use crate::app::App;
use crate::problem::Answer;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(peers)).routes(routes!(messages))
}

#[derive(Debug, Serialize, ToSchema)]
struct BitChat {
    connected: bool,
    platform: &'static str,
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct BetaNet {
    connected: bool,
    mixnodes: Vec<String>,
    active_circuits: u32,
    privacy_level: u32,
}

#[derive(Debug, Serialize, ToSchema)]
struct P2pStatus {
    status: &'static str,
    services_available: bool,
    bitchat: BitChat,
    betanet: BetaNet,
    timestamp: String,
}

/// Which networks there are.
#[utoipa::path(get, path = "/p2p/status", tag = "fog", responses((status = 200, body = P2pStatus)))]
async fn status(State(app): State<Arc<App>>) -> Json<P2pStatus> {
    Json(P2pStatus {
        status: "operational",
        services_available: false,
        bitchat: BitChat { connected: false, platform: "none", status: "offline" },
        betanet: BetaNet {
            connected: false,
            mixnodes: Vec::new(),
            active_circuits: 0,
            privacy_level: 0,
        },
        timestamp: now(&app).to_string(),
    })
}

#[derive(Debug, Serialize, ToSchema)]
struct Peer {
    peer_id: String,
    connected: bool,
    latency_ms: Option<f64>,
    last_seen: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Mesh {
    connectivity_ratio: f64,
    avg_latency_ms: f64,
    total_bandwidth_mbps: u64,
    redundancy_level: u32,
    active_circuits: u32,
}

#[derive(Debug, Serialize, ToSchema)]
struct Peers {
    status: &'static str,
    total_peers: usize,
    connected_peers: usize,
    topology: &'static str,
    peers: Vec<Peer>,
    mesh_stats: Mesh,
    timestamp: String,
}

/// The nodes, each connected to the coordinator or not.
#[utoipa::path(get, path = "/p2p/peers", tag = "fog", responses((status = 200, body = Peers)))]
async fn peers(State(app): State<Arc<App>>) -> Answer<Json<Peers>> {
    let (nodes, now) = (all_nodes(&app.fog).await?, now(&app));
    let policy = app.fog.config().liveness;
    let peers: Vec<_> = nodes
        .iter()
        .map(|record| Peer {
            peer_id: record.node.id.as_str().to_owned(),
            connected: record.liveness(now, policy) == Liveness::Online,
            latency_ms: record.heartbeat.as_ref().and_then(|b| b.latency).map(Millis::get),
            last_seen: record.last_seen.to_string(),
        })
        .collect();
    let connected = peers.iter().filter(|peer| peer.connected).count();
    let online = nodes.iter().zip(&peers).filter(|(_, peer)| peer.connected);
    let bandwidth = online.map(|(record, _)| u64::from(record.node.resources.bandwidth_mbps)).sum();
    let mesh_stats = Mesh {
        connectivity_ratio: if peers.is_empty() {
            0.0
        } else {
            connected as f64 / peers.len() as f64
        },
        avg_latency_ms: mean(peers.iter().filter_map(|peer| peer.latency_ms)),
        total_bandwidth_mbps: bandwidth,
        redundancy_level: 0,
        active_circuits: 0,
    };
    Ok(Json(Peers {
        status: "operational",
        total_peers: peers.len(),
        connected_peers: connected,
        // Everybody talks to the coordinator.
        topology: "star",
        peers,
        mesh_stats,
        timestamp: now.to_string(),
    }))
}

#[derive(Debug, Serialize, ToSchema)]
struct MessageStats {
    total_sent: u64,
    total_received: u64,
    avg_latency_ms: f64,
    success_rate: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Messages {
    status: &'static str,
    message_stats: MessageStats,
    routing_table: Vec<String>,
    recent_messages: Vec<String>,
    timestamp: String,
}

/// What went over the sockets of signaling since the server began.
#[utoipa::path(get, path = "/p2p/messages", tag = "fog", responses((status = 200, body = Messages)))]
async fn messages(State(app): State<Arc<App>>) -> Json<Messages> {
    let (received, sent) = app.sockets.relayed();
    Json(Messages {
        status: "operational",
        message_stats: MessageStats {
            total_sent: sent,
            total_received: received,
            avg_latency_ms: 0.0,
            success_rate: if received > 0 { (sent as f64 / received as f64).min(1.0) } else { 0.0 },
        },
        routing_table: Vec::new(),
        recent_messages: Vec::new(),
        timestamp: now(&app).to_string(),
    })
}
