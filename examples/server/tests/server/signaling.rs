//! Sessions of players, and how their peers meet over our sockets.

use serde_json::{Value, json};

use crate::common::{Asker, Running, start, start_with};
use crate::socket::Socket;

/// Opens a session on a host of its own, and gives its id.
pub(crate) async fn session(asker: &Asker<'_>, name: &str) -> String {
    let host = json!({
        "host_id": name, "player_id": "player-1", "ip_address": "127.0.0.1", "port": 8080,
        "cpu_cores": 8, "memory_mb": 16384, "network_speed_mbps": 1000,
    });
    asker.post("/api/hosts/", host).await.ok();
    asker.post("/api/zones/", json!({"zone_id": "arena", "zone_name": "Arena"})).await.ok();
    let session = json!({"host_id": name, "zone_id": "arena"});
    asker.post("/api/sessions/", session).await.text("session_id")
}

pub(crate) async fn peer(running: &Running, session: &str, peer: &str) -> Socket {
    let path = format!("/api/v1/signaling/ws?peer_id={peer}&session_id={session}");
    Socket::open(running, &path, &[]).await.unwrap()
}

#[tokio::test]
async fn players_come_and_go_and_all_of_it_is_told() {
    let running = start().await;
    let local = running.anybody();
    let id = session(&local, "host-1").await;
    let path = format!("/api/sessions/{id}");
    assert_eq!(local.get(&path).await.ok()["status"], "PENDING");
    local.post(&format!("{path}/activate"), json!({})).await.ok();
    let joined = local.post(&format!("{path}/players"), json!({"player_id": "ada"})).await.ok();
    assert_eq!(joined["message"], "Player ada added to session 1");
    let metrics = json!({"average_latency_ms": 45.5, "average_packet_loss_percent": 0.2});
    local.send(reqwest::Method::PATCH, &format!("{path}/metrics"), Some(metrics)).await.ok();
    let now = local.get(&path).await.ok();
    assert_eq!(
        (&now["status"], &now["connected_players"], &now["average_latency_ms"]),
        (&json!("ACTIVE"), &json!(["ada"]), &json!(45.5))
    );
    assert_eq!(local.get("/api/sessions/1").await.ok()["session_id"], *id);
    assert_eq!(local.get("/api/hosts/host-1").await.ok()["current_zones"], 1);
    assert_eq!(local.get("/api/zones/arena").await.ok()["active_sessions"], 1);
    let dashboard = local.get("/api/monitoring/dashboard").await.ok();
    assert_eq!(dashboard["sessions"]["total_players"], 1);
    assert_eq!(
        dashboard["hosts"],
        json!({
            "total": 1, "online": 1, "offline": 0, "average_quality_score": 100.0,
        })
    );

    local.delete(&format!("{path}/players/ada")).await.ok();
    local.post(&format!("{path}/end"), json!({})).await.ok();
    let late = local.post(&format!("{path}/players"), json!({"player_id": "bob"})).await;
    assert_eq!(late.status, 400);
    assert!(late.text("detail").starts_with("Failed to add player bob to session 1"), "{late:?}");
    assert_eq!(local.get("/api/hosts/host-1").await.ok()["current_zones"], 0);
    for missing in ["/api/sessions/nobody", "/api/sessions/99", "/api/signaling/offer/nobody"] {
        assert_eq!(local.get(missing).await.text("detail").find("Session not found"), Some(0));
    }
}

#[tokio::test]
async fn a_zone_sets_its_bars_and_stands_while_it_is_played() {
    let running = start().await;
    let local = running.anybody();
    session(&local, "host-1").await;
    let patch = async |change: Value| {
        local.send(reqwest::Method::PATCH, "/api/zones/arena", Some(change)).await
    };
    let changed =
        patch(json!({"status": "MAINTENANCE", "max_players": 2, "recommended_players": 2}))
            .await
            .ok();
    assert_eq!((&changed["status"], &changed["max_players"]), (&json!("MAINTENANCE"), &json!(2)));
    let refused =
        local.post("/api/sessions/", json!({"host_id": "host-1", "zone_id": "arena"})).await;
    assert_eq!(refused.status, 400);
    assert_eq!(patch(json!({"min_host_quality_score": 101})).await.status, 422);
    assert_eq!(local.delete("/api/zones/arena").await.status, 400, "somebody plays in it");
    local.post("/api/sessions/1/end", json!({})).await.ok();
    local.delete("/api/zones/arena").await.ok();
    assert_eq!(local.get("/api/zones/arena").await.text("detail"), "Zone not found: arena");
    assert_eq!(local.get("/api/zones/?p2p_enabled=true").await.ok(), json!([]));
}

#[tokio::test]
async fn peers_that_poll_find_offers_answers_and_candidates() {
    let running = start().await;
    let local = running.anybody();
    let id = session(&local, "host-1").await;
    for (kind, peer, text) in [("offer", "a", "v=0 o"), ("answer", "b", "v=0 a")] {
        let body = json!({"session_id": id, "peer_id": peer, "sdp": text});
        local.post(&format!("/api/signaling/{kind}"), body).await.ok();
        let found = local.get(&format!("/api/signaling/{kind}/{id}")).await.ok();
        assert_eq!(found, json!({"peer_id": peer, "sdp": text}));
    }
    for number in 0..2 {
        let body = json!({"session_id": id, "peer_id": "a", "candidate": format!("c{number}")});
        local.post("/api/signaling/ice-candidate", body).await.ok();
    }
    let found = local.get(&format!("/api/signaling/ice-candidates/{id}")).await.ok();
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(found[1], json!({"peer_id": "a", "candidate": "c1"}));
}

#[tokio::test]
async fn signals_arrive_stamped_also_at_who_comes_later_or_again() {
    let running = start().await;
    let id = session(&running.anybody(), "host-1").await;
    let mut a = peer(&running, &id, "a").await;
    assert_eq!(a.hear().await["peers"], json!([]));
    // Kept until b is there.
    a.say(json!({"type": "offer", "to": "b", "sdp": "v=0", "from": "mallory"})).await;
    let mut b = peer(&running, &id, "b").await;
    let joined = b.hear().await;
    assert_eq!((&joined["type"], &joined["peers"]), (&json!("session-joined"), &json!(["a"])));
    let offer = b.hear().await;
    assert_eq!(
        (&offer["type"], &offer["from"], &offer["sdp"]),
        (&json!("offer"), &json!("a"), &json!("v=0"))
    );
    assert_eq!(a.hear().await, json!({"type": "peer-joined", "peer_id": "b", "seq": 2}));

    // The socket drops; what is said meanwhile is heard after it.
    drop(b);
    a.say(json!({"type": "ice-candidate", "to": "b", "candidate": {"candidate": "c"}})).await;
    a.say(json!({"type": "ping"})).await;
    a.hear_of("pong").await;
    let path = format!(
        "/api/v1/signaling/ws?peer_id=b&session_id={id}&resume={}&after={}",
        joined["resume"].as_str().unwrap(),
        offer["seq"],
    );
    let mut b = Socket::open(&running, &path, &[]).await.unwrap();
    let candidate = b.hear().await;
    assert_eq!(candidate["candidate"], json!({"candidate": "c"}));
    let guess = path.replace("resume=", "resume=x");
    let mut thief = Socket::open(&running, &guess, &[]).await.unwrap();
    assert_eq!(thief.hear().await["type"], "error");

    // Whoever writes with underscores is answered so.
    b.say(json!({"type": "ice_candidate", "to": "a", "candidate": ""})).await;
    assert_eq!(a.hear().await["type"], "end-of-candidates");
    b.say(json!({"type": "leave"})).await;
    assert_eq!(b.hear().await["type"], "session_left");
    assert_eq!(a.hear_of("peer-left").await["peer_id"], "b");
}

#[tokio::test]
async fn a_message_that_makes_no_sense_is_told_so() {
    let running = start().await;
    let id = session(&running.anybody(), "host-1").await;
    let mut a = peer(&running, &id, "a").await;
    a.hear_of("session-joined").await;
    for (said, told) in [
        (json!({"type": "offer", "sdp": "v=0"}), "to and sdp required"),
        (json!({"type": "ice-candidate", "to": "b"}), "to and candidate required"),
        (json!({"type": "join"}), "session_id required"),
        (json!({"type": "dance"}), "Unknown message type: dance"),
        (json!({"type": "offer", "to": "", "sdp": "v=0"}), "Failed to deliver offer to "),
        (json!([1, 2]), "Unknown message type: "),
    ] {
        a.say(said).await;
        assert_eq!(a.hear().await["message"], told);
    }
    assert_eq!(Socket::open(&running, "/api/v1/signaling/ws", &[]).await.err(), Some(422));
    let mut lenient = Socket::open(&running, "/api/signaling/ws", &[]).await.unwrap();
    lenient.say(json!({"type": "join", "session_id": id, "peer_id": "c"})).await;
    assert_eq!(lenient.hear().await["type"], "session-joined");
}

#[tokio::test]
async fn a_peer_speaks_for_itself_alone() {
    let running = start_with(|settings| settings.open = Some("off".to_owned())).await;
    let admin = running.admin().await;
    let id = session(&admin, "host-1").await;
    let (user, account) = {
        let body = json!({"email": "eve@example.org", "password": crate::common::PASSWORD});
        let made = admin.post("/v1/auth/register", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let account = made.body["user"]["id"].as_str().unwrap().to_owned();
        (made.text("access_token"), account)
    };
    let open = async |peer: &str, token: &str| {
        let path = format!("/api/signaling/ws?peer_id={peer}&session_id={id}&token={token}");
        Socket::open(&running, &path, &[]).await.map(drop)
    };
    assert_eq!(open(&account, "").await, Err(401));
    assert_eq!(open(&account, &user).await, Ok(()));
    assert_eq!(open(&format!("{account}:phone"), &user).await, Ok(()));
    assert_eq!(open("ada", &user).await, Err(403));
    let eve = running.bearer(&user);
    let offer = json!({"session_id": id, "peer_id": "ada", "sdp": "v=0"});
    assert_eq!(eve.post("/api/signaling/offer", offer).await.status, 403);
    for (method, path, body) in [
        ("POST", "/api/zones/", Some(json!({"zone_id": "z", "zone_name": "Z"}))),
        ("POST", "/api/sessions/1/end", Some(json!({}))),
        ("POST", "/api/sessions/1/players", Some(json!({"player_id": "ada"}))),
        ("DELETE", "/api/hosts/host-1", None),
        ("POST", "/api/v1/sessions/cleanup", Some(json!({}))),
        ("POST", "/api/v1/auth/token", Some(json!({"player_id": "ada"}))),
    ] {
        let answer = eve.send(method.parse().unwrap(), path, body).await;
        assert_eq!(answer.status, 403, "{method} {path}");
    }
    let own = json!({"player_id": account});
    eve.post("/api/sessions/1/players", own).await.ok();

    // A game's own server hands out tokens for players.
    let key = admin
        .post("/v1/auth/api-keys", json!({"name": "game", "scopes": ["read", "write"]}))
        .await
        .text("api_key");
    let asked = json!({"player_id": "ada", "api_key": key});
    let made = running.anybody().post("/api/v1/auth/token", asked).await;
    assert_eq!(made.text("token"), made.text("access_token"));
    assert_eq!(open("ada", &made.text("token")).await, Ok(()));
    assert_eq!(open("bob", &made.text("token")).await, Err(403));
    let again = json!({"refresh_token": made.text("refresh_token")});
    let again = running.anybody().post("/api/v1/auth/refresh", again).await;
    assert_eq!(open("ada", &again.text("token")).await, Ok(()));
}

#[tokio::test]
async fn a_page_from_elsewhere_opens_no_signaling_here() {
    let running = start().await;
    let id = session(&running.anybody(), "host-1").await;
    let path = format!("/api/signaling/ws?peer_id=a&session_id={id}");
    let from = |origin| [("origin", origin)];
    assert_eq!(Socket::open(&running, &path, &from("http://evil.example")).await.err(), Some(401));
    assert!(Socket::open(&running, &path, &from("http://localhost:3000")).await.is_ok());
}

#[tokio::test]
async fn the_dialect_is_another_skin_of_the_same_engine() {
    let running = start().await;
    let local = running.anybody();
    let id = session(&local, "host-1").await;
    let host = local.get("/api/v1/hosts/available/best").await.ok();
    assert_eq!((&host["host_id"], &host["status"]), (&json!("host-1"), &json!("online")));
    assert_eq!(local.get("/api/v1/hosts/?status_filter=offline").await.ok(), json!([]));
    assert_eq!(local.get("/api/v1/hosts/?status_filter=asleep").await.status, 422);
    let beat = json!({"latency_ms": 10.0, "packet_loss_percent": 0.0, "current_players": 1});
    let missing = local.post("/api/v1/hosts/host-1/heartbeat", beat.clone()).await;
    assert!(missing.status == 422 && missing.text("detail").contains("current_zones"));
    let mut beat = beat;
    beat["current_zones"] = json!(1);
    let beaten = local.post("/api/v1/hosts/host-1/heartbeat", beat).await.ok();
    assert_eq!((&beaten["latency_ms"], &beaten["current_zones"]), (&json!(10.0), &json!(1)));

    let zone = local.post("/api/v1/zones/arena/disable-p2p", json!({})).await.ok();
    assert_eq!((&zone["p2p_enabled"], &zone["status"]), (&json!(false), &json!("enabled")));
    assert_eq!(local.get("/api/v1/zones/p2p/enabled").await.ok(), json!([]));
    local.post("/api/v1/zones/arena/enable-p2p", json!({})).await.ok();
    let body = json!({"host_id": "host-1", "zone_id": "arena", "player_ids": ["x", "y"]});
    let second = local.post("/api/v1/sessions/", body).await;
    assert_eq!((second.status.as_u16(), &second.body["status"]), (201, &json!("pending")));
    assert_eq!(second.body["connected_players"], json!(["x", "y"]));
    let path = format!("/api/v1/sessions/{id}");
    let metrics = json!({"avg_latency_ms": 7.5, "packet_loss_percent": 1.0});
    let measured =
        local.send(reqwest::Method::PATCH, &format!("{path}/metrics"), Some(metrics)).await.ok();
    assert_eq!(measured["average_latency_ms"], 7.5);
    let open = local.get("/api/v1/sessions/zone/arena/active").await.ok();
    assert_eq!(open.as_array().unwrap().len(), 2);
    let ended = local.post(&format!("{path}/end?reason=enough"), json!({})).await.ok();
    assert_eq!((&ended["status"], &ended["end_reason"]), (&json!("ended"), &json!("enough")));
    let cleaned = local.post("/api/v1/sessions/cleanup?timeout_minutes=30", json!({})).await.ok();
    assert_eq!(cleaned["message"], "Cleaned up 0 inactive sessions");

    // A session by way of the socket, on the best host that the zone takes.
    let mut a = Socket::open(&running, "/api/v1/signaling/ws?peer_id=a", &[]).await.unwrap();
    a.say(json!({"type": "create_session", "zone": "arena", "capabilities": {}})).await;
    let created = a.hear().await;
    assert_eq!(
        (&created["type"], &created["host_id"]),
        (&json!("session_created"), &json!("host-1"))
    );
    assert_eq!(a.hear().await["type"], "session_joined");
    assert_eq!(local.delete("/api/v1/hosts/host-1").await.status, 204);
    assert_eq!(a.hear().await["type"], "session_ended");
    let none = local.get("/api/v1/hosts/available/best").await;
    assert_eq!(
        (none.status.as_u16(), none.text("detail")),
        (404, "No available hosts found".into())
    );
}
