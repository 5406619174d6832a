//! Hosts of the coordinator's document.

use serde_json::{Value, json};

use crate::common::start;

fn host(id: &str) -> Value {
    json!({
        "host_id": id, "player_id": "player-1", "player_name": "One", "ip_address": "192.168.1.100",
        "port": 8080, "public_ip": "203.0.113.1", "cpu_cores": 8, "cpu_frequency_mhz": 3600,
        "memory_mb": 16384, "network_speed_mbps": 1000, "max_players": 50, "max_zones": 5,
        "ice_servers": [{"urls": "stun:stun.example.org:19302"}],
    })
}

#[tokio::test]
async fn a_host_is_a_node_and_keeps_its_number() {
    let running = start().await;
    let local = running.anybody();
    let made = local.post("/api/hosts/", host("a")).await;
    assert_eq!(made.status, 201);
    assert_eq!(
        (&made.body["status"], &made.body["quality_score"]),
        (&json!("ONLINE"), &json!(100.0))
    );
    let other = local.post("/api/hosts/", host("b")).await.ok();
    assert_eq!(local.post("/api/hosts/", host("a")).await.ok()["id"], made.body["id"]);
    assert_ne!(other["id"], made.body["id"]);
    let node = local.get("/api/fog/nodes/a").await.ok();
    assert_eq!(
        (&node["type"], &node["resources"]["memory_gb"]),
        (&json!("coordinator"), &json!(16.0))
    );

    let gone = local.delete("/api/hosts/a").await.ok();
    assert_eq!(gone["message"], "Host unregistered successfully");
    let missing = local.get("/api/hosts/a").await;
    assert_eq!(
        (missing.status.as_u16(), missing.text("detail")),
        (404, "Host not found: a".to_owned())
    );
    assert_eq!(local.get("/api/fog/nodes/a").await.status, 404);
}

#[tokio::test]
async fn a_beat_changes_score_and_status() {
    let running = start().await;
    let local = running.anybody();
    local.post("/api/hosts/", host("a")).await.ok();
    let beat = json!({
        "latency_ms": 25.5, "packet_loss_percent": 0.1, "bandwidth_usage_mbps": 50.0, "current_players": 10,
    });
    let beaten = local.post("/api/hosts/a/heartbeat", beat.clone()).await.ok();
    assert_eq!(beaten["quality_score"], 92.25, "as semantics.md has it");
    let mut full = beat;
    full["current_players"] = json!(50);
    local.post("/api/hosts/a/heartbeat", full).await.ok();
    assert_eq!(local.get("/api/hosts/a").await.ok()["status"], "BUSY");
    let listed = async |query: &str| {
        local.get(&format!("/api/hosts/?{query}")).await.ok().as_array().unwrap().len()
    };
    assert_eq!((listed("status=BUSY").await, listed("status=ONLINE").await), (1, 0));
    assert_eq!((listed("min_quality_score=99").await, listed("").await), (0, 1));
    for wrong in ["status=SLEEPING", "min_quality_score=x", "limit=0"] {
        let answer = local.get(&format!("/api/hosts/?{wrong}")).await;
        assert_eq!(answer.status, 422, "{wrong}");
        assert!(!answer.text("detail").is_empty());
    }
}

#[tokio::test]
async fn a_host_of_nonsense_is_refused() {
    let running = start().await;
    for (field, value) in [
        ("host_id", json!("")),
        ("port", json!(0)),
        ("port", json!(70_000)),
        ("cpu_cores", json!(-1)),
        ("cpu_cores", json!(0)),
        ("memory_mb", json!("much")),
        ("player_id", json!("")),
        ("max_players", json!(0)),
    ] {
        let mut body = host("a");
        body[field] = value.clone();
        let answer = running.anybody().post("/api/hosts/", body).await;
        assert_eq!(answer.status, 422, "{field} {value}");
        assert!(answer.text("detail").contains(field), "{answer:?}");
    }
}
