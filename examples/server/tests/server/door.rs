//! Who may come in without a token, how often, and what takes up a place.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{start, start_with};

#[tokio::test]
async fn this_machine_needs_no_token_below_api_and_one_elsewhere() {
    let running = start().await;
    let anybody = running.anybody();
    for path in ["/health", "/openapi.json", "/docs/", "/api/fog/nodes", "/api/hosts/", "/metrics"]
    {
        assert_eq!(anybody.get(path).await.status, 200, "{path}");
    }
    for path in ["/v1/auth/me", "/v1/models", "/v1"] {
        assert_eq!(anybody.get(path).await.status, 401, "{path}");
    }
    let mint = json!({"account_id": "local", "amount": "1"});
    assert_eq!(anybody.post("/api/fog/tokens/mint", mint).await.status, 403, "no administrator");
}

#[tokio::test]
async fn a_page_or_a_proxy_on_this_machine_is_not_this_machine() {
    let running = start().await;
    let strangers = [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("host", "evil.example"),
        ("host", "127.0.0.1.evil.example"),
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
    ];
    for (name, value) in strangers {
        let asker = running.anybody().with(name, value);
        assert_eq!(asker.get("/api/fog/nodes").await.status, 401, "{name}: {value}");
    }
    for (name, value) in
        [("origin", "http://localhost:3000"), ("host", "localhost:8000"), ("host", "[::1]:1")]
    {
        let asker = running.anybody().with(name, value);
        assert_eq!(asker.get("/api/fog/nodes").await.status, 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_open_lets_in_who_has_a_token() {
    let running = start_with(|s| s.open = Some("off".into())).await;
    for path in ["/api/fog/nodes", "/api/hosts/", "/metrics", "/nothing", "/api/fog/nothing"] {
        assert_eq!(running.anybody().get(path).await.status, 401, "{path}");
    }
    for path in ["/health", "/openapi.json", "/docs/"] {
        assert_eq!(running.anybody().get(path).await.status, 200, "{path}");
    }
    assert_eq!(running.admin().await.get("/api/fog/nodes").await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_identity_and_by_address() {
    let running = start_with(|s| {
        s.rate_limit = Some("on".into());
        s.trusted_proxies = Some("127.0.0.0/8".into());
        s.open_registration = Some("on".into());
    })
    .await;
    let from = |address: &str| running.anybody().with("x-forwarded-for", address);
    let first = from("203.0.113.1").get("/health").await;
    assert_eq!(first.header("x-ratelimit-limit"), "60");
    assert_eq!(first.header("x-ratelimit-remaining"), "59");
    assert_eq!(first.header("x-ratelimit-tier"), "standard");
    for _ in 1..60 {
        from("203.0.113.1").get("/health").await;
    }
    let refused = from("203.0.113.1").get("/api/fog/nodes").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.body["error"], "too many requests");
    assert_eq!(from("203.0.113.2").get("/health").await.status, 200, "another address");

    let admin = running.admin().await.with("x-forwarded-for", "203.0.113.1");
    let known = admin.get("/health").await;
    assert_eq!((known.status.as_u16(), known.header("x-ratelimit-remaining")), (200, "59"));
}

#[tokio::test]
async fn guessed_credentials_are_counted() {
    let running = start_with(|s| s.rate_limit = Some("on".into())).await;
    let mut last = 0;
    for _ in 0..61 {
        last = running.bearer("nonsense").get("/api/fog/nodes").await.status.as_u16();
    }
    assert_eq!(last, 429);
}

/// What comes back until the server ends the connection.
async fn rest_of(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("it ends").ok();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_head_or_a_body_that_never_ends_is_cut_off() {
    let running = start_with(|s| {
        (s.head_seconds, s.request_seconds) = (Some("1".into()), Some("1".into()));
    })
    .await;
    let send = async |text: &str| {
        let mut stream = TcpStream::connect(running.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        rest_of(stream).await
    };
    assert!(!send("GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ").await.contains("200 OK"));
    assert_eq!(send("").await, "", "nothing at all");
    let half = "POST /v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{\"email\"";
    let answer = send(half).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"error\":{"), "in the family's form: {answer}");
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one() {
    let running = start_with(|s| s.max_connections = Some("1".into())).await;
    let taken = TcpStream::connect(running.address()).await.unwrap();
    let mut waiting = TcpStream::connect(running.address()).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    waiting.write_all(request).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.read(&mut byte)).await;
    assert!(early.is_err(), "nobody answers while the place is taken");
    drop(taken);
    assert!(rest_of(waiting).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_lets_nobody_in() {
    let running = start().await;
    let address = running.address();
    let mut idle = TcpStream::connect(&address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    running.server.stop().await;
    rest_of(idle).await;
    assert!(TcpStream::connect(&address).await.is_err());
}
