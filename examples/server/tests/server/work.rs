//! Nodes and tasks, from a worker's side and from a client's.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Asker, start};

fn node(id: &str) -> Value {
    json!({
        "node_id": id, "kind": "laptop", "slots": 2, "serves": ["shout"],
        "resources": {"cpu_cores": 4, "memory_mib": 8192, "storage_mib": 2048, "bandwidth_mbps": 100},
        "rates": {"per_task": "0.01"},
    })
}

fn shout(text: &str) -> Value {
    json!({"kind": "shout", "payload": {"text": text}})
}

async fn submit(asker: &Asker<'_>, task: Value) -> String {
    let made = asker.post("/api/fog/tasks", task).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text("task_id")
}

#[tokio::test]
async fn a_task_is_leased_renewed_reported_and_paid_once() {
    let running = start().await;
    let admin = running.admin().await;
    let ((ada, payer), (bob, owner)) = (running.user("ada").await, running.user("bob").await);
    admin.post("/api/fog/tokens/mint", json!({"account_id": payer, "amount": 1})).await.ok();
    assert_eq!(bob.post("/api/fog/nodes", node("laptop")).await.status, 201);
    let mut task = shout("hello");
    (task["budget"], task["idempotency_key"]) = (json!("0.5"), json!("first"));
    let id = submit(&ada, task.clone()).await;
    assert_eq!(submit(&ada, task).await, id, "sent again");
    let reserved = ada.get("/api/fog/tokens").await.ok();
    assert_eq!(reserved["user_balance"]["locked_balance_exact"], "0.500000000000000000");

    let lease = "/api/fog/nodes/laptop/lease";
    assert_eq!(ada.send(Method::POST, lease, None).await.status, 403, "not her node");
    let leased = bob.send(Method::POST, lease, None).await.ok();
    let assignment = &leased["assignments"][0];
    assert_eq!(
        (&assignment["task"]["task_id"], &assignment["payload"]["text"]),
        (&json!(id), &json!("hello"))
    );
    let fence = assignment["fence"].clone();

    let news =
        json!({"task_id": id, "fence": fence, "progress": 0.5, "note": "half", "log": ["one"]});
    let renewed = bob.post("/api/fog/nodes/laptop/renew", json!({"leases": [news]})).await.ok();
    assert_eq!(renewed["results"][0]["task"]["progress"], 0.5);
    let log = ada.get(&format!("/api/fog/tasks/{id}/logs")).await.ok();
    assert_eq!(log["lines"][0]["text"], "one");

    let report = json!({"task_id": id, "fence": fence, "result": {"text": "HELLO"}});
    for _ in 0..2 {
        let body = json!({"reports": [report]});
        let done = bob.post("/api/fog/nodes/laptop/complete", body).await.ok();
        assert_eq!(done["results"][0]["task"]["state"], "succeeded", "{done}");
    }
    let result = ada.get(&format!("/api/fog/tasks/{id}/result")).await.ok();
    assert_eq!(result["result"], json!({"text": "HELLO"}));
    let earned = bob.get("/api/fog/tokens").await.ok();
    assert_eq!(earned["user_balance"]["balance_exact"], "0.010000000000000000");
    assert_eq!(earned["recent_transactions"][0]["type"], "task_reward");
    assert_eq!(earned["user_balance"]["account_id"], owner.as_str());
    let resources = ada.get("/api/fog/resources").await.ok();
    assert_eq!(resources["rewards"]["tokens_distributed_today_exact"], "0.010000000000000000");
    let why = ada.get(&format!("/api/fog/tasks/{id}/explain")).await.ok();
    assert_eq!(why["explanation"]["chosen"], "laptop");
}

#[tokio::test]
async fn a_stale_lease_is_a_conflict_and_a_released_one_waits_again() {
    let running = start().await;
    let local = running.anybody();
    local.post("/api/fog/nodes", node("laptop")).await.ok();
    let id = submit(&local, shout("hello")).await;
    let take = async || {
        let leased = local.post("/api/fog/nodes/laptop/lease", json!({"limit": 5})).await.ok();
        leased["assignments"][0]["fence"].as_u64().unwrap()
    };
    let claim = |fence: u64| json!({"task_id": id, "fence": fence});
    let first = take().await;
    let body = json!({"leases": [claim(first)]});
    let released = local.post("/api/fog/nodes/laptop/release", body).await.ok();
    assert_eq!(released["results"][0]["task"]["state"], "queued");
    let second = take().await;
    assert!(second > first);
    let mut stale = claim(first);
    stale["result"] = json!({"text": "late"});
    let body = json!({"reports": [stale]});
    let answer = local.post("/api/fog/nodes/laptop/complete", body).await.ok();
    assert_eq!(answer["results"][0]["error_kind"], "conflict");
    let mut failed = claim(second);
    (failed["error"], failed["permanent"]) = (json!("no voice"), json!(true));
    let body = json!({"reports": [failed]});
    let answer = local.post("/api/fog/nodes/laptop/complete", body).await.ok();
    assert_eq!(answer["results"][0]["task"]["state"], "failed");
    assert_eq!(local.get(&format!("/api/fog/tasks/{id}/result")).await.status, 404);
    for wrong in [json!({"reports": []}), json!({"reports": [claim(1)]})] {
        assert_eq!(local.post("/api/fog/nodes/laptop/complete", wrong).await.status, 422);
    }
}

#[tokio::test]
async fn tasks_are_their_payers() {
    let running = start().await;
    let admin = running.admin().await;
    let ((ada, payer), (bob, _)) = (running.user("ada").await, running.user("bob").await);
    admin.post("/api/fog/tokens/mint", json!({"account_id": payer, "amount": "1"})).await.ok();
    let mut task = shout("secret");
    task["budget"] = json!("0.1");
    let id = submit(&ada, task.clone()).await;
    let path = format!("/api/fog/tasks/{id}");
    assert_eq!(bob.get(&path).await.status, 403);
    assert_eq!(bob.send(Method::POST, &format!("{path}/cancel"), None).await.status, 403);
    assert_eq!(bob.get("/api/fog/tasks").await.ok()["tasks"], json!([]));
    assert_eq!(bob.get(&format!("/api/fog/tasks?payer={payer}")).await.status, 403);
    task["payer"] = json!(payer);
    assert_eq!(bob.post("/api/fog/tasks", task).await.status, 403, "not his money");
    assert_eq!(ada.get("/api/fog/tasks").await.ok()["tasks"][0]["task_id"], id.as_str());

    let waits = ada.get(&format!("{path}/explain")).await.ok();
    assert_eq!(waits["explanation"]["chosen"], json!(null));
    let cancelled = ada.send(Method::POST, &format!("{path}/cancel"), None).await.ok();
    assert_eq!(cancelled["state"], "cancelled");
    let free = ada.get("/api/fog/tokens").await.ok();
    assert_eq!(free["user_balance"]["locked_balance_exact"], "0.000000000000000000");
    let mut dear = shout("dear");
    dear["budget"] = json!("2");
    assert_eq!(ada.post("/api/fog/tasks", dear).await.status, 409, "more than she has");
    assert_eq!(ada.get("/api/fog/tasks/nonsense").await.status, 422);
    let missing = uuid::Uuid::nil();
    assert_eq!(ada.get(&format!("/api/fog/tasks/{missing}")).await.status, 404);
}

#[tokio::test]
async fn nodes_are_their_owners() {
    let running = start().await;
    let ((ada, _), (bob, bobs)) = (running.user("ada").await, running.user("bob").await);
    ada.post("/api/fog/nodes", node("laptop")).await.ok();
    let refused = [
        bob.post("/api/fog/nodes", node("laptop")).await,
        bob.post("/api/fog/nodes/laptop/heartbeat", json!({})).await,
        bob.post("/api/fog/nodes/laptop/drain", json!({"force": true})).await,
        bob.delete("/api/fog/nodes/laptop").await,
    ];
    assert!(refused.iter().all(|answer| answer.status == 403), "{refused:?}");
    let mut given = node("desk");
    given["owner"] = json!(bobs);
    assert_eq!(ada.post("/api/fog/nodes", given).await.status, 403, "nobody speaks for another");
    assert_eq!(running.anybody().delete("/api/fog/nodes/laptop").await.status, 200);
    assert_eq!(ada.get("/api/fog/nodes/laptop").await.status, 404);
}

#[tokio::test]
async fn a_beat_is_counted_and_shown() {
    let running = start().await;
    let local = running.anybody();
    local.post("/api/fog/nodes", node("phone")).await.ok();
    let beat = json!({
        "latency_ms": 20.0, "cpu_percent": 25.0,
        "power": {"battery_percent": 80.0, "charging": true, "temperature_celsius": 60.0},
    });
    let taken = local.post("/api/fog/nodes/phone/heartbeat", beat.clone()).await.ok();
    assert_eq!((&taken["accepted"], &taken["node"]["eligible"]), (&json!(true), &json!(false)));
    assert_eq!(taken["node"]["ineligible_reason"], "thermal_throttle");
    assert_eq!(local.post("/api/fog/nodes/phone/heartbeat", beat).await.ok()["accepted"], true);
    let stale = local.post("/api/fog/nodes/phone/heartbeat", json!({"sequence": 1})).await.ok();
    assert_eq!(stale["accepted"], false);
    let wrong = local.post("/api/fog/nodes/phone/heartbeat", json!({"cpu_percent": 101})).await;
    assert_eq!((wrong.status.as_u16(), &wrong.body["field"]), (422, &json!("cpu_percent")));
    assert_eq!(local.post("/api/fog/nodes/none/heartbeat", json!({})).await.status, 404);

    let resources = local.get("/api/fog/resources").await.ok();
    assert_eq!(resources["utilization"]["cpu_utilization"], 25.0);
    assert_eq!(resources["energy"]["devices_charging"], 1);
    assert_eq!(resources["energy"]["thermal_throttling"], 1);
    assert_eq!(resources["harvesting"]["active_devices"], 0, "too warm");
    let peers = local.get("/api/p2p/peers").await.ok();
    assert_eq!(peers["mesh_stats"]["avg_latency_ms"], 20.0);
    assert_eq!(peers["mesh_stats"]["total_bandwidth_mbps"], 100);
}

#[tokio::test]
async fn a_drained_node_gets_nothing_until_it_registers_again() {
    let running = start().await;
    let local = running.anybody();
    for id in ["laptop", "desk"] {
        local.post("/api/fog/nodes", node(id)).await.ok();
    }
    let drained = local.send(Method::POST, "/api/fog/nodes/laptop/drain", None).await.ok();
    assert_eq!(
        (&drained["status"], &drained["replacements"]),
        (&json!("draining"), &json!(["desk"]))
    );
    let last = local.send(Method::POST, "/api/fog/nodes/desk/drain", None).await;
    assert_eq!(last.status, 409, "the last healthy one");
    submit(&local, shout("hello")).await;
    let lease = async || {
        let leased = local.send(Method::POST, "/api/fog/nodes/laptop/lease", None).await.ok();
        leased["assignments"].as_array().unwrap().len()
    };
    assert_eq!(lease().await, 0);
    local.post("/api/fog/nodes", node("laptop")).await.ok();
    // Equals take turns: the other one has to be out of the way.
    local.delete("/api/fog/nodes/desk").await.ok();
    assert_eq!(lease().await, 1);
}

#[tokio::test]
async fn ten_thousand_items_come_in_pages() {
    let running = start().await;
    let fog = running.server.fog();
    for number in 0..10_000 {
        let id = format!("node-{number:05}").parse().unwrap();
        fog.register(fogcore::registry::Node::new(id)).await.unwrap();
    }
    let (local, mut path, mut seen) = (running.anybody(), "/api/fog/nodes".to_owned(), 0);
    loop {
        let page = local.get(&path).await.ok();
        assert_eq!(page["total_nodes"], 10_000);
        seen += page["nodes"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/fog/nodes?limit=999&after={next}");
    }
    assert_eq!(seen, 10_000);
}

#[tokio::test]
async fn a_worker_in_another_language_does_tasks() {
    let installed = tokio::process::Command::new("python3").arg("--version").output().await;
    if installed.is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "python3 is not installed: apt-get install python3"
        );
        return;
    }
    let running = start().await;
    let local = running.anybody();
    let id = submit(&local, shout("hello")).await;
    let output = tokio::process::Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/worker.py"))
        .args(["--once", "--fog", &running.server.url()])
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        told.trim(),
        format!("{id} succeeded"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let result = local.get(&format!("/api/fog/tasks/{id}/result")).await.ok();
    assert_eq!(result["result"]["text"], "HELLO");
}
