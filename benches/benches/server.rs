//! The reference server under load, beside a bare one: requests for one host, heartbeats, lists of
//! 1,000 hosts, signals passed on between peers, and what idle sockets cost.
//!
//! The servers are processes of their own (this program again), so that what they take is theirs
//! alone. The load comes over loopback from one thread and sixteen connections that wait for each
//! answer. Server and floor take turns, several rounds each, and the best of each counts: others use
//! the machine, too. `floor` answers a constant of the same size, with axum and nothing around it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that fails should stop")]
#![allow(clippy::print_stdout, reason = "figures")]
#![allow(
    clippy::disallowed_methods,
    reason = "what is measured is the system's time; nothing outlives it"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use fogcore_server::Server;
use fogcore_server::config::{Config, Settings};
use futures::future::join_all;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// As in the server's own program.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROLE: &str = "FOGCORE_BENCH_ROLE";
const HOSTS: usize = 1_000;
const CONNECTIONS: usize = 16;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
/// Pairs of peers, and what each peer says: below what a peer may say at once.
const PAIRS: usize = 400;
const SAID: usize = 150;
const IDLE: usize = 20_000;
/// Files that are no idle sockets.
const OTHERS: u64 = 200;

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("server") => serve(false),
        Ok("floor") => serve(true),
        _ => measure(),
    }
}

/// What a child does: it serves until its standard input ends.
fn serve(is_floor: bool) {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        if is_floor {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            println!("{}", listener.local_addr().unwrap());
            tokio::spawn(async { axum::serve(listener, floor()).await.unwrap() });
            return until_told().await;
        }
        let text = |text: &str| Some(text.to_owned());
        let settings = Settings {
            port: text("0"),
            data_dir: Some(folder.path().display().to_string()),
            rate_limit: text("off"),
            ..Settings::default()
        };
        let server = Server::start(Config::from_settings(settings).unwrap()).await.unwrap();
        println!("{}", server.address());
        until_told().await;
        server.stop().await;
    });
}

async fn until_told() {
    let read = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(read).await.unwrap().unwrap();
}

/// Constants of the sizes that the server's answers have.
fn floor() -> Router {
    let size = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let constant = |bytes: usize| {
        let body = Bytes::from(format!("\"{}\"", "x".repeat(bytes - 2)));
        async move || ([(CONTENT_TYPE, "application/json")], body)
    };
    Router::new()
        .route("/host", get(constant(size("HOST_BYTES"))))
        .route("/beat", post(constant(size("BEAT_BYTES"))))
        .route("/list", get(constant(size("LIST_BYTES"))))
}

/// A server in a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(role: &str, sizes: &[(&str, usize)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
        for (name, size) in sizes {
            command.env(name, size.to_string());
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { address: line.trim().parse().unwrap(), child }
    }

    fn resident_bytes(&self) -> u64 {
        let id = i32::try_from(self.child.id()).unwrap();
        let status = procfs::process::Process::new(id).unwrap().status().unwrap();
        status.vmrss.unwrap() * 1_024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

type Connection = SendRequest<Full<Bytes>>;

async fn connect(to: SocketAddr) -> Connection {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    requests
}

async fn ask(
    connection: &mut Connection,
    method: &Method,
    path: &str,
    body: Option<&Bytes>,
) -> Bytes {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let request = request.header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(body.cloned().unwrap_or_default())).unwrap();
    let answer = connection.send_request(request).await.unwrap();
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    answer.into_body().collect().await.unwrap().to_bytes()
}

/// What is asked for, over and over.
struct Load {
    method: Method,
    paths: Vec<String>,
    body: Option<Bytes>,
}

/// Answers per second, from one thread and [`CONNECTIONS`] connections.
fn rate(runtime: &Runtime, to: SocketAddr, load: &Load) -> f64 {
    runtime.block_on(async {
        let begun = Instant::now();
        let each = (0..CONNECTIONS).map(async |number| {
            let mut connection = connect(to).await;
            let mut answers = 0_u32;
            let mut paths = load.paths.iter().cycle().skip(number * 61 % load.paths.len());
            while begun.elapsed() < ROUND {
                let path = paths.next().unwrap();
                ask(&mut connection, &load.method, path, load.body.as_ref()).await;
                answers += 1;
            }
            answers
        });
        let answers: u32 = join_all(each).await.into_iter().sum();
        f64::from(answers) / begun.elapsed().as_secs_f64()
    })
}

fn figure(id: &str, value: f64, unit: &str) {
    println!("figure {id} {value:.2} {unit}");
}

fn host(number: usize) -> Value {
    json!({
        "host_id": format!("host-{number:05}"), "player_id": format!("player-{number}"),
        "player_name": "Player", "ip_address": "192.168.1.100", "port": 8_080,
        "public_ip": "203.0.113.1", "cpu_cores": 8, "cpu_frequency_mhz": 3_600,
        "memory_mb": 16_384, "network_speed_mbps": 1_000, "max_players": 50, "max_zones": 5,
    })
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn measure() {
    let many = allow_many_files();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = Process::start("server", &[]);
    let beat = bytes(&json!({
        "latency_ms": 25.5, "packet_loss_percent": 0.1, "bandwidth_usage_mbps": 50.0,
        "current_players": 10,
    }));
    let path = |number| format!("/api/hosts/host-{number:05}");
    let sizes = runtime.block_on(async {
        let mut connection = connect(server.address).await;
        for number in 0..HOSTS {
            let body = bytes(&host(number));
            ask(&mut connection, &Method::POST, "/api/hosts/", Some(&body)).await;
        }
        let beaten = format!("{}/heartbeat", path(0));
        [
            ("HOST_BYTES", ask(&mut connection, &Method::GET, &path(0), None).await.len()),
            ("BEAT_BYTES", ask(&mut connection, &Method::POST, &beaten, Some(&beat)).await.len()),
            ("LIST_BYTES", ask(&mut connection, &Method::GET, "/api/hosts/", None).await.len()),
        ]
    });
    let floor = Process::start("floor", &sizes);
    let beats = (0..HOSTS).map(|number| format!("{}/heartbeat", path(number))).collect();
    let cases = [
        ("get_host", "floor", Method::GET, (0..HOSTS).map(path).collect(), "/host", None),
        ("heartbeat", "floor_post", Method::POST, beats, "/beat", Some(beat)),
        ("list_1000", "floor_list", Method::GET, vec!["/api/hosts/".to_owned()], "/list", None),
    ];
    for (name, floor_name, method, paths, constant, body) in cases {
        let ours = Load { method: method.clone(), paths, body: body.clone() };
        let bare = Load { method, paths: vec![constant.to_owned()], body };
        let (mut best, mut best_bare) = (0_f64, 0_f64);
        for _ in 0..ROUNDS {
            best = best.max(rate(&runtime, server.address, &ours));
            best_bare = best_bare.max(rate(&runtime, floor.address, &bare));
        }
        figure(&format!("server.{name}"), best, "/s");
        figure(&format!("server.{floor_name}"), best_bare, "/s");
        figure(&format!("server.{name}_of_floor"), best / best_bare, "ratio");
    }
    drop(floor);
    let (rate, cores) = runtime.block_on(relay(&server));
    figure("server.ws_relay", rate, "/s");
    figure("server.ws_relay_per_core", rate / cores, "/s");
    drop(server);
    runtime.block_on(idle(many));
}

type Socket = WebSocketStream<TcpStream>;

async fn open(to: SocketAddr, path: &str) -> Socket {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    client_async(format!("ws://{to}{path}"), stream).await.unwrap().0
}

/// Waits for a message of this type.
async fn hear(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no {kind}") };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == kind {
            return message;
        }
        assert_ne!(message["type"], "error", "{message}");
    }
}

/// Signals passed on per second, and how many cores the server was busy with meanwhile.
async fn relay(server: &Process) -> (f64, f64) {
    let mut connection = connect(server.address).await;
    let zone = bytes(&json!({ "zone_id": "arena", "zone_name": "Arena" }));
    ask(&mut connection, &Method::POST, "/api/zones/", Some(&zone)).await;
    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        let host = format!("host-{number:05}");
        let session = bytes(&json!({ "host_id": host, "zone_id": "arena" }));
        let opened = ask(&mut connection, &Method::POST, "/api/sessions/", Some(&session)).await;
        let opened: Value = serde_json::from_slice(&opened).unwrap();
        let id = opened["session_id"].as_str().unwrap();
        let path = |peer| format!("/api/signaling/ws?peer_id={peer}&session_id={id}");
        let mut first = open(server.address, &path("a")).await;
        hear(&mut first, "session-joined").await;
        let mut second = open(server.address, &path("b")).await;
        hear(&mut second, "session-joined").await;
        hear(&mut first, "peer-joined").await;
        pairs.push((first, second));
    }
    let candidate = "candidate:1 1 UDP 2130706431 192.168.1.100 54321 typ host";
    let to = |peer: &str| {
        let message = json!({ "type": "ice-candidate", "to": peer, "candidate": candidate });
        Message::text(message.to_string())
    };
    let (to_first, to_second) = (to("a"), to("b"));
    let (begun, before) = (Instant::now(), cpu_time(server));
    let talks = pairs.iter_mut().map(async |(first, second)| {
        let talk = async |socket: &mut Socket, message: &Message| {
            let (mut said, mut heard) = socket.split();
            let say = async {
                for _ in 0..SAID {
                    said.feed(message.clone()).await.unwrap();
                }
                said.flush().await.unwrap();
            };
            let listen = async {
                for _ in 0..SAID {
                    let Some(Ok(Message::Text(_))) = heard.next().await else { panic!("deaf") };
                }
            };
            futures::join!(say, listen);
        };
        futures::join!(talk(first, &to_second), talk(second, &to_first));
    });
    join_all(talks).await;
    let took = begun.elapsed().as_secs_f64();
    let busy = cpu_time(server) - before;
    let passed_on = u32::try_from(PAIRS * SAID * 2).unwrap();
    (f64::from(passed_on) / took, busy / took)
}

/// CPU seconds of a process so far.
fn cpu_time(process: &Process) -> f64 {
    let id = i32::try_from(process.child.id()).unwrap();
    let stat = procfs::process::Process::new(id).unwrap().stat().unwrap();
    let ticks = u32::try_from(stat.utime + stat.stime).unwrap();
    f64::from(ticks) / f64::from(u32::try_from(procfs::ticks_per_second()).unwrap())
}

/// What idle sockets cost the server.
async fn idle(many: usize) {
    let server = Process::start("server", &[]);
    let before = server.resident_bytes();
    let mut sockets = Vec::with_capacity(many);
    while sockets.len() < many {
        let some = (0..100).map(|_| open(server.address, "/api/signaling/ws"));
        sockets.extend(join_all(some).await);
    }
    let after = server.resident_bytes();
    let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 10).unwrap()) / 1_024.0;
    figure("server.idle_sockets", f64::from(u32::try_from(sockets.len()).unwrap()), "sockets");
    figure("server.idle_memory", mib(after), "MiB");
    figure("server.idle_memory_before", mib(before), "MiB");
}

/// How many sockets there can be: each is a file, and who may raises the limit.
fn allow_many_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Some are needed for other things.
    let enough = Some(IDLE as u64 + OTHERS);
    if setrlimit(Resource::Nofile, Rlimit { current: enough, maximum: enough }).is_err() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    }
    let limit = getrlimit(Resource::Nofile).current.map_or(IDLE as u64, |all| all - OTHERS);
    IDLE.min(usize::try_from(limit).unwrap())
}
