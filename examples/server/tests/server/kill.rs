//! A server that is killed under load: whatever it answered is there when it comes back.
//!
//! `FOGCORE_KILL_ROUNDS` says how often to kill, `FOGCORE_SEED` repeats a run as far as the moments
//! go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::program::{program, started};

/// Who writes at once.
const WRITERS: usize = 6;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What one writer was told, in order.
#[derive(Default)]
struct Told {
    /// Sessions, with their players, their latest latency and their latest offer.
    sessions: BTreeMap<String, (Vec<String>, f64, String)>,
    /// Offers of the marketplace.
    offers: Vec<String>,
}

struct Writer {
    client: reqwest::Client,
    url: String,
    name: String,
    answered: Arc<AtomicUsize>,
    /// Rung after each answer.
    bell: Arc<Notify>,
}

impl Writer {
    /// The answer; none once the server is gone.
    async fn ask(&self, method: Method, path: &str, body: Value) -> Option<Value> {
        let request = self.client.request(method, format!("{}{path}", self.url)).json(&body);
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let body = answer.json().await.ok()?;
        assert!(status.is_success(), "{path}: {status} {body}");
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.bell.notify_one();
        Some(body)
    }

    /// Writes until the server is gone.
    async fn write(self) -> Told {
        let mut told = Told::default();
        let mut number = 0;
        while self.write_one(number, &mut told).await.is_some() {
            number += 1;
        }
        told
    }

    async fn write_one(&self, number: u32, told: &mut Told) -> Option<()> {
        let host = format!("{}-{number}", self.name);
        let body = json!({
            "host_id": host, "player_id": "p", "ip_address": "::1", "port": 1, "cpu_cores": 8,
            "memory_mb": 1024, "network_speed_mbps": 1000,
        });
        self.ask(Method::POST, "/api/hosts/", body).await?;
        let body = json!({"host_id": host, "zone_id": "arena"});
        let opened = self.ask(Method::POST, "/api/sessions/", body).await?;
        let id = opened["session_id"].as_str().unwrap().to_owned();
        let (players, latency, offer) = told.sessions.entry(id.clone()).or_default();
        let path = format!("/api/sessions/{id}");
        for player in ["ada", "bob"] {
            let body = json!({"player_id": player});
            self.ask(Method::POST, &format!("{path}/players"), body).await?;
            players.push(player.to_owned());
        }
        let measured = f64::from(number + 1);
        let body = json!({"average_latency_ms": measured, "quality_score": 50.0});
        self.ask(Method::PATCH, &format!("{path}/metrics"), body).await?;
        *latency = measured;
        let sdp = format!("v=0 {host}");
        let body = json!({"session_id": id, "peer_id": "ada", "sdp": sdp});
        self.ask(Method::POST, "/api/signaling/offer", body).await?;
        *offer = sdp;
        let body = json!({
            "node_id": host, "resource": "cpu", "amount_milli": 1000, "price_per_hour": "0.5",
        });
        let placed = self.ask(Method::POST, "/api/fog/marketplace/offers", body).await?;
        told.offers.push(placed["offer"]["offer_id"].as_str().unwrap().to_owned());
        Some(())
    }
}

async fn get(url: &str, path: &str) -> Value {
    let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_answered_is_there_after_a_kill() {
    let any = StdRng::try_from_rng(&mut SysRng).unwrap().next_u64();
    let seed = number("FOGCORE_SEED", any);
    println!("FOGCORE_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    for _ in 0..number("FOGCORE_KILL_ROUNDS", 2) {
        round(dice.random_range(1..400)).await;
    }
}

/// Kills the server once it has answered so often.
async fn round(answers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, url) = started(program(folder.path(), &[])).await;
    let client = reqwest::Client::new();
    let zone = json!({"zone_id": "arena", "zone_name": "Arena"});
    client.post(format!("{url}/api/zones/")).json(&zone).send().await.unwrap();
    let (answered, bell) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let writers = (0..WRITERS).map(|number| {
        let (answered, bell) = (answered.clone(), bell.clone());
        let name = format!("w{number}");
        Writer { client: client.clone(), url: url.clone(), name, answered, bell }.write()
    });
    let kill = async {
        while answered.load(Ordering::Relaxed) < answers {
            bell.notified().await;
        }
        child.kill().await.unwrap();
    };
    let all = async { tokio::join!(futures_util::future::join_all(writers), kill) };
    let (told, ()) = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();

    let (mut child, url) = started(program(folder.path(), &[])).await;
    let market = get(&url, "/api/fog/marketplace/offers?resource=cpu&limit=1000").await.to_string();
    for told in told {
        for (id, (players, latency, offer)) in told.sessions {
            let session = get(&url, &format!("/api/sessions/{id}")).await;
            let there = session["connected_players"].as_array().unwrap();
            assert!(players.iter().all(|player| there.contains(&json!(player))), "{session}");
            if latency > 0.0 {
                assert_eq!(session["average_latency_ms"], latency);
            }
            if !offer.is_empty() {
                let left = get(&url, &format!("/api/signaling/offer/{id}")).await;
                assert_eq!(left["sdp"], offer);
            }
        }
        for offer in told.offers {
            assert!(market.contains(&offer), "{offer}");
        }
    }
    child.kill().await.unwrap();
}
