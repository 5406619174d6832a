//! The server as its users meet it: a process of its own, real requests, real sockets, wrong input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fogcore::time::{Clock, SystemClock};
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const SECRET: &str = "a secret of at least thirty-two bytes";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server that is killed when it is dropped.
struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Answer {
    status: u16,
    body: Value,
    headers: hyper::HeaderMap,
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fogcore-server"));
    command
        .env_clear()
        .env("PORT", "0")
        .env("DATA_DIR", folder)
        .env("JWT_SECRET_KEY", SECRET)
        .env("ADMIN_EMAIL", "admin@example.org")
        .env("ADMIN_PASSWORD", "correct horse")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

impl Server {
    fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut process = command(folder).envs(settings.iter().copied()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").expect("it says where it is").1.to_owned();
        Self { process, address }
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(bytes))).unwrap();
        let answer = async move {
            let answer = sender.send_request(request).await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            Answer { status, body, headers }
        };
        let (answer, _) = tokio::join!(answer, connection);
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, "", Some(body)).await
    }

    async fn log_in(&self) -> String {
        let login = json!({ "email": "Admin@example.org", "password": "correct horse" });
        let answer = self.post("/v1/auth/login", login).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["access_token"].as_str().unwrap().to_owned()
    }

    /// A session with its host and zone.
    async fn session(&self, token: &str) -> String {
        let host = json!({
            "host_id": "host-1", "player_id": "p", "player_name": "Päivi", "ip_address": "10.0.0.1",
            "port": 8080, "cpu_cores": 8, "cpu_frequency_mhz": 3600, "memory_mb": 16384,
            "network_speed_mbps": 1000,
        });
        let made = self.ask("POST", "/api/hosts/", token, Some(host)).await;
        assert_eq!((made.status, &made.body["quality_score"]), (201, &json!(100.0)));
        let zone = json!({ "zone_id": "prontera", "zone_name": "Prontera", "max_players": 4 });
        assert_eq!(self.ask("POST", "/api/zones/", token, Some(zone)).await.status, 201);
        let session = json!({ "host_id": "host-1", "zone_id": "prontera" });
        let made = self.ask("POST", "/api/sessions/", token, Some(session)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.body["session_id"].as_str().unwrap().to_owned()
    }

    async fn socket(&self, path: &str) -> Result<Socket, tungstenite::Error> {
        let url = format!("ws://{}{path}", self.address);
        tokio_tungstenite::connect_async(url).await.map(|(socket, _)| socket)
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it should be done by now")
}

/// The next message that is no ping.
async fn hear(socket: &mut Socket) -> Value {
    loop {
        let message = soon(socket.next()).await.expect("the socket is open").unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_meet_and_everything_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let session = server.session("").await;
    let path = format!("/api/sessions/{session}");
    for player in ["ann", "bob", "ann"] {
        let joined = server.post(&format!("{path}/players"), json!({ "player_id": player })).await;
        assert_eq!(joined.status, 200, "{}", joined.body);
    }
    let offer = json!({ "session_id": session, "peer_id": "ann", "sdp": "v=0\r\n" });
    assert_eq!(server.post("/api/signaling/offer", offer).await.status, 200);
    let token = server.log_in().await;
    let key = json!({ "name": "ci", "scopes": ["read"] });
    let key = server.ask("POST", "/v1/auth/api-keys", &token, Some(key)).await;
    assert_eq!(key.status, 201);
    assert_eq!(server.ask("POST", "/v1/auth/logout", &token, None).await.status, 200);
    // Dropped, it is killed: SIGKILL, not a word of farewell.
    drop(server);

    let server = Server::start(folder.path(), &[("REQUIRE_TOKEN", "true")]);
    assert_eq!(server.get(&path).await.status, 401);
    assert_eq!(server.ask("GET", &path, &token, None).await.status, 401, "it was revoked");
    let token = server.log_in().await;
    let found = server.ask("GET", &path, &token, None).await;
    assert_eq!(found.body["connected_players"], json!(["ann", "bob"]));
    let offer = format!("/api/signaling/offer/{session}");
    assert_eq!(server.ask("GET", &offer, &token, None).await.body["sdp"], "v=0\r\n");
    let keys = server.ask("GET", "/v1/auth/api-keys", &token, None).await;
    assert_eq!(keys.body[0]["name"], "ci");
    assert!(keys.body[0].get("api_key").is_none(), "it is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_has_the_form_of_its_document() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let deep = (0..50_000).map(|_| "[").collect::<String>();
    let cases = [
        ("GET", "/api/hosts/none", None, 404, "detail"),
        ("GET", "/api/hosts/?limit=x", None, 422, "detail"),
        ("PUT", "/api/zones/", None, 405, "detail"),
        ("GET", "/api/sessions/%2e%2e%2fetc", None, 404, "detail"),
        ("POST", "/api/hosts/", Some(json!({ "host_id": "" })), 422, "detail"),
        ("POST", "/api/hosts/", Some(json!(deep)), 422, "detail"),
        ("GET", "/api/fog/none", None, 404, "error"),
        ("GET", "/none", None, 404, "error"),
        ("GET", "/v1/auth/me", None, 401, "error"),
        ("POST", "/v1/auth/login", Some(json!({ "email": "a" })), 422, "error"),
    ];
    for (method, path, body, status, form) in cases {
        let answer = server.ask(method, path, "", body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert!(answer.body.get(form).is_some(), "{method} {path}: {}", answer.body);
        assert!(answer.headers.contains_key("x-request-id"), "{method} {path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    // Too much is refused before it is sent.
    let mut large = TcpStream::connect(&server.address).await.unwrap();
    let head = "POST /api/hosts/ HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 9000000\r\n\r\n";
    large.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    soon(large.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    let missing = server.post("/api/zones/", json!({ "zone_id": "z" })).await;
    assert_eq!(missing.body["field"], "zone_name");
    let document = server.get("/openapi.json").await.body;
    assert_eq!(document["openapi"].as_str().unwrap().split('.').next(), Some("3"));
    assert!(document["paths"].get("/api/sessions/{session_id}/players").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_what_it_says_and_nothing_else_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("REQUIRE_TOKEN", "true")]);
    let path = "/api/hosts/";
    let now = SystemClock::new().now().as_micros() / 1_000_000;
    let claims =
        |exp: i64, scope: &[&str]| json!({ "sub": "x", "exp": exp, "jti": "1", "scope": scope });
    let sign = |algorithm, claims: &Value, secret: &str| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    };
    let later = now + 600;
    // Of another identity provider that knows the secret: as good as what it says.
    let reader = sign(Algorithm::HS256, &claims(later, &["read"]), SECRET);
    assert_eq!(server.ask("GET", path, &reader, None).await.status, 200);
    assert_eq!(server.ask("POST", path, &reader, Some(json!({}))).await.status, 403);
    let own = server.log_in().await;
    let (head, rest) = own.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let none = base64_url(r#"{"alg":"none","typ":"JWT"}"#);
    let other_body = base64_url(&claims(later, &["read", "write", "admin"]).to_string());
    let bad = [
        sign(Algorithm::HS256, &claims(later, &["read"]), "another secret of thirty-two bytes!!"),
        sign(Algorithm::HS256, &claims(now - 1, &["read"]), SECRET),
        sign(Algorithm::HS512, &claims(later, &["read"]), SECRET),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{head}.{other_body}.{signature}"),
        "not a token".to_owned(),
    ];
    for token in bad {
        let refused = server.ask("GET", path, &token, None).await;
        assert_eq!(refused.status, 401, "{token}");
        assert!(!refused.body.to_string().contains(SECRET));
    }
    let unknown = json!({ "email": "nobody@example.org", "password": "whatever it is" });
    let wrong = json!({ "email": "admin@example.org", "password": "whatever it is" });
    let (unknown, wrong) =
        (server.post("/v1/auth/login", unknown).await, server.post("/v1/auth/login", wrong).await);
    assert_eq!((unknown.status, &unknown.body), (401, &wrong.body));
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let guess = json!({ "email": "eve@example.org", "password": "a guess, again" });
        let answer = server.post("/v1/auth/login", guess).await;
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
        }
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

fn base64_url(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_peers_find_each_other_and_a_dropped_socket_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let session = server.session("").await;
    let path = |peer: &str| format!("/api/v1/signaling/ws?peer_id={peer}&session_id={session}");
    let mut ann = server.socket(&path("ann")).await.unwrap();
    assert_eq!(hear(&mut ann).await["type"], "session-joined");
    say(&mut ann, json!({ "type": "offer", "to": "bob", "sdp": "early" })).await;
    let mut bob = server.socket(&path("bob")).await.unwrap();
    let joined = hear(&mut bob).await;
    assert_eq!(joined["peers"], json!(["ann"]));
    let offer = hear(&mut bob).await;
    assert_eq!(
        (&offer["type"], &offer["from"], &offer["sdp"]),
        (&json!("offer"), &json!("ann"), &json!("early"))
    );
    assert_eq!(hear(&mut ann).await["type"], "peer-joined");
    // Whoever says to be somebody else is still who he is.
    say(
        &mut bob,
        json!({ "type": "answer", "target_peer_id": "ann", "sdp": "yes", "from": "eve" }),
    )
    .await;
    let answer = hear(&mut ann).await;
    assert_eq!((&answer["from"], &answer["sdp"]), (&json!("bob"), &json!("yes")));
    // The socket drops; what is said meanwhile comes after the last that was heard.
    drop(bob);
    let candidate =
        json!({ "candidate": "candidate:1 1 UDP 1 10.0.0.1 9 typ host", "sdpMid": "0" });
    say(&mut ann, json!({ "type": "ice-candidate", "to": "bob", "candidate": candidate })).await;
    let (token, seen) = (joined["resume"].as_str().unwrap(), offer["seq"].as_u64().unwrap());
    let resume = format!("{}&resume={token}&after={seen}", path("bob"));
    let mut bob = server.socket(&resume).await.unwrap();
    let heard = hear(&mut bob).await;
    assert_eq!((&heard["candidate"], heard["seq"].as_u64()), (&candidate, Some(seen + 1)));
    for (wrong, told) in [
        (json!({ "type": "offer", "sdp": "x" }), "to and sdp required"),
        (json!({ "type": "dance" }), "Unknown message type: dance"),
        (json!({ "type": "join" }), "session_id required"),
    ] {
        say(&mut bob, wrong).await;
        assert_eq!(hear(&mut bob).await["message"], told);
    }
    bob.send(Message::text("{")).await.unwrap();
    assert_eq!(hear(&mut bob).await["message"], "Invalid JSON");
    say(&mut bob, json!({ "type": "leave" })).await;
    assert_eq!(hear(&mut bob).await["type"], "session-left");
    let left = hear(&mut ann).await;
    assert_eq!((&left["type"], &left["peer_id"]), (&json!("peer-left"), &json!("bob")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_are_for_who_may_and_nobody_speaks_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("REQUIRE_TOKEN", "true")]);
    let admin = server.log_in().await;
    let session = server.session(&admin).await;
    let new = json!({ "email": "ann@example.org", "password": "pass the salt" });
    let ann = server.post("/v1/auth/register", new).await;
    assert_eq!(ann.status, 201, "{}", ann.body);
    let (token, id) = (&ann.body["access_token"], &ann.body["user"]["id"]);
    let (token, id) = (token.as_str().unwrap(), id.as_str().unwrap());
    let path = |peer: &str, token: &str| {
        format!("/api/v1/signaling/ws?peer_id={peer}&session_id={session}&token={token}")
    };
    for refused in [path("x", ""), path("x", "wrong"), path("somebody-else", token)] {
        assert!(server.socket(&refused).await.is_err(), "{refused}");
    }
    let mut own = server.socket(&path(id, token)).await.unwrap();
    assert_eq!(hear(&mut own).await["type"], "session-joined");
    let mut events = server.socket(&format!("/ws?token={token}")).await.unwrap();
    assert_eq!(hear(&mut events).await["type"], "connection_established");
    say(&mut events, json!({ "type": "subscribe", "channel": "p2p" })).await;
    assert_eq!(hear(&mut events).await["type"], "subscription_confirmed");
    let mut phone = server.socket(&path(&format!("{id}:phone"), token)).await.unwrap();
    hear(&mut phone).await;
    let told = hear(&mut events).await;
    assert_eq!(
        (&told["type"], &told["data"]["event"]["type"]),
        (&json!("p2p_update"), &json!("peer_joined"))
    );
    events.send(Message::text("{")).await.unwrap();
    assert_eq!(hear(&mut events).await["code"], "JSON_DECODE_ERROR");
    let mut silent = server.socket("/ws").await.unwrap();
    say(&mut silent, json!({ "type": "authenticate", "token": token })).await;
    assert_eq!(hear(&mut silent).await["type"], "connection_established");
}

/// What a worker in any language does: register, lease, renew, complete – and be paid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_serves_tasks_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let node = json!({ "id": "laptop", "serves": ["add"], "slots": 1 });
    let made = server.post("/api/fog/nodes", node).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let wrong = server.post("/api/fog/nodes", json!({ "id": "two words" })).await;
    assert_eq!((wrong.status, &wrong.body["field"]), (422, &json!("id")));
    let payload = json!({ "spec": { "kind": "add" }, "payload": "WzEsMl0=" });
    let task = server.post("/api/fog/tasks", payload).await;
    assert_eq!(task.status, 201, "{}", task.body);
    let id = task.body["id"].as_str().unwrap();
    let path = |what: &str| format!("/api/fog/tasks/{id}{what}");
    assert_eq!(server.get(&path("/result")).await.body["result"], Value::Null);
    assert_eq!(server.get(&path("/explain")).await.body["chosen"], "laptop");
    let given = server.post("/api/fog/nodes/laptop/lease", json!({})).await.body;
    assert_eq!((&given[0]["task"]["id"], &given[0]["payload"]), (&json!(id), &json!("WzEsMl0=")));
    let claim = json!({ "task": id, "node": "laptop", "fence": given[0]["fence"] });
    let with = |more: Value| {
        let mut claim = claim.clone();
        claim.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claim
    };
    let renewed = with(json!({ "progress": 0.5, "note": "half", "log": ["adding"] }));
    assert_eq!(server.post("/api/fog/leases/renew", renewed).await.body["progress"]["done"], 0.5);
    let stale = with(json!({ "fence": 9, "result": "Mw==" }));
    assert_eq!(server.post("/api/fog/leases/complete", stale).await.status, 400);
    let both = with(json!({ "result": "Mw==", "error": "no" }));
    assert_eq!(server.post("/api/fog/leases/complete", both).await.body["field"], "result");
    let done = with(json!({ "result": "Mw==" }));
    let done = server.post("/api/fog/leases/complete", done).await;
    assert_eq!((done.status, &done.body["state"]), (200, &json!("succeeded")));
    assert_eq!(server.get(&path("/result")).await.body["result"], "Mw==");
    assert_eq!(server.get(&path("/logs")).await.body[0]["text"], "adding");
    assert_eq!(server.post(&path("/cancel"), json!({})).await.status, 400);
    assert_eq!(server.get("/api/fog/tasks/none").await.status, 404);
}

/// The worker in Python that stands beside the server, as its users start it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_in_python_adds_and_reports_what_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let submit = async |payload: &str| {
        let task = json!({ "spec": { "kind": "add" }, "payload": base64_text(payload) });
        server.post("/api/fog/tasks", task).await.body["id"].as_str().unwrap().to_owned()
    };
    let (good, bad) = (submit("[1, 2.5]").await, submit("no list").await);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker/worker.py");
    let url = format!("http://{}", server.address);
    let output = Command::new("python3")
        .arg(script)
        .args([&url, "laptop", "--tasks", "2"])
        .output()
        .expect("python3 is needed: apt-get install python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result = server.get(&format!("/api/fog/tasks/{good}/result")).await.body;
    assert_eq!(result["result"], base64_text("3.5"));
    let failed = server.get(&format!("/api/fog/tasks/{bad}")).await.body;
    assert_eq!(failed["state"], "failed");
    assert!(failed["failure"].as_str().unwrap().starts_with("JSONDecodeError"), "{failed}");
}

fn base64_text(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The dialect of existing game clients: lower case, and the best first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dialect_is_another_skin_of_the_same_engine() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let old = server.session("").await;
    let small = json!({
        "host_id": "small", "ip_address": "10.0.0.2", "port": 1, "cpu_cores": 1, "memory_mb": 512,
        "network_speed_mbps": 100, "max_zones": 1,
    });
    let made = server.post("/api/v1/hosts/register", small).await;
    assert_eq!((made.status, &made.body["status"]), (201, &json!("online")), "{}", made.body);
    let hosts = server.get("/api/v1/hosts/?status_filter=online").await.body;
    let names: Vec<_> = hosts.as_array().unwrap().iter().map(|host| &host["host_id"]).collect();
    assert_eq!(names, ["host-1", "small"], "the best first");
    assert_eq!(server.get("/api/v1/hosts/available/best").await.body["host_id"], "host-1");
    let beat = json!({ "latency_ms": 5, "packet_loss_percent": 0, "current_players": 1, "current_zones": 0 });
    let beaten = server.post("/api/v1/hosts/small/heartbeat", beat.clone()).await;
    assert_eq!(beaten.body["latency_ms"], 5.0, "{}", beaten.body);
    let without = json!({ "latency_ms": 5, "packet_loss_percent": 0, "current_players": 1 });
    let refused = server.post("/api/v1/hosts/small/heartbeat", without).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("current_zones")));
    let new = json!({ "host_id": "small", "zone_id": "prontera", "player_ids": ["ann", "bob"] });
    let session = server.post("/api/v1/sessions/", new.clone()).await;
    assert_eq!(session.status, 201, "{}", session.body);
    assert_eq!(
        (&session.body["status"], &session.body["current_players"]),
        (&json!("pending"), &json!(2))
    );
    let full = server.post("/api/v1/sessions/", new).await;
    assert_eq!(full.status, 400, "one zone is all that it takes");
    let active = server.get("/api/v1/sessions/zone/prontera/active").await.body;
    assert_eq!(active.as_array().unwrap().len(), 2);
    let path = format!("/api/v1/sessions/{old}/end?reason=over");
    assert_eq!(server.post(&path, json!({})).await.body["end_reason"], "over");
    let closed =
        server.ask("PATCH", "/api/v1/zones/prontera/status?new_status=disabled", "", None).await;
    assert_eq!(closed.body["status"], "disabled");
    assert_eq!(server.ask("DELETE", "/api/v1/hosts/small", "", None).await.status, 204);
    assert_eq!(server.get("/api/v1/monitoring/metrics").await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 200);
}

/// A page that somebody visits must not reach the server on the same machine through their browser.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_from_elsewhere_open_no_socket() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("CORS_ORIGINS", "https://game.example")]);
    let own = format!("http://{}", server.address);
    let cases = [
        (own.as_str(), true),
        ("https://game.example", true),
        ("https://evil.example", false),
        ("null", false),
    ];
    for (origin, may) in cases {
        for path in ["/ws", "/api/v1/signaling/ws?peer_id=x"] {
            let url = format!("ws://{}{path}", server.address);
            let mut request = url.into_client_request().unwrap();
            request.headers_mut().insert("origin", origin.parse().unwrap());
            let connected = tokio_tungstenite::connect_async(request).await.is_ok();
            assert_eq!(connected, may, "{origin} {path}");
        }
    }
}

#[test]
fn a_door_without_a_lock_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    for settings in [
        vec![("HOST", "0.0.0.0"), ("JWT_SECRET_KEY", "short")],
        vec![("JWT_SECRET_KEY", "short")],
        vec![("ADMIN_PASSWORD", "short")],
        vec![("PORT", "70000")],
    ] {
        let output = command(folder.path()).envs(settings.clone()).output().unwrap();
        assert!(!output.status.success(), "{settings:?}");
    }
    let mut open = command(folder.path());
    open.env_remove("JWT_SECRET_KEY").env("HOST", "0.0.0.0");
    assert!(!open.output().unwrap().status.success());
    let fine = command(folder.path()).arg("--check-config").output().unwrap();
    assert!(fine.status.success());
}
