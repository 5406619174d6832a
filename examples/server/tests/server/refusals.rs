//! Refusals: each family's form, for everything that can go wrong before a handler sees it.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Answer, start, start_with};

/// Whether a body is in the form of the path's family.
#[track_caller]
fn is_worded(path: &str, answer: &Answer) {
    let fields: &[&str] = match path {
        path if path.starts_with("/v1") => {
            &["success", "error_code", "message", "timestamp", "request_id", "error"]
        }
        path if path.starts_with("/api/hosts") || path.starts_with("/api/v1") => &["detail"],
        _ => &["error", "details", "timestamp"],
    };
    let body = answer.body.as_object().unwrap_or_else(|| panic!("{path}: {answer:?}"));
    assert!(fields.iter().all(|field| body.contains_key(*field)), "{path}: {answer:?}");
    assert!(answer.header("content-type").starts_with("application/json"), "{answer:?}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_the_familys_form() {
    let running = start().await;
    let admin = running.admin().await;
    for path in ["/", "/x", "/api/fog/x", "/api/p2p/x", "/api/hosts/x/y", "/api/v1/x", "/v1/x"] {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        is_worded(path, &answer);
    }
    for path in ["/api/fog/nodes", "/api/hosts/", "/v1/auth/login"] {
        let answer = admin.send(Method::PATCH, path, None).await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.header("allow").contains("POST"), "{answer:?}");
        is_worded(path, &answer);
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_of_the_wrong_type_or_no_json_are_refused() {
    let running = start_with(|s| s.max_body_bytes = Some("1000".into())).await;
    let client = reqwest::Client::new();
    for path in ["/api/fog/nodes", "/api/hosts/", "/v1/auth/login"] {
        let url = format!("{}{path}", running.server.url());
        let send = async |kind: &str, body: String| {
            let request = client.post(&url).header("content-type", kind).body(body);
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        };
        assert_eq!(send("application/json", "x".repeat(1_001)).await.0, 413, "{path}");
        assert_eq!(send("text/plain", "{}".to_owned()).await.0, 415, "{path}");
        let deep = format!("{}{}", "[".repeat(490), "]".repeat(490));
        for wrong in ["", "{", "nonsense", "[]", "null", &deep, "{} {}"] {
            let (status, body) = send("application/json", wrong.to_owned()).await;
            assert_eq!(status, 422, "{path} {wrong}: {body}");
        }
    }
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let running = start().await;
    let anybody = running.anybody();
    let cases = [
        (json!({"node_id": ""}), "node_id"),
        (json!({"node_id": "a b"}), "node_id"),
        (json!({"node_id": "n", "slots": -1}), "slots"),
        (json!({"node_id": "n", "slots": 70_000}), "slots"),
        (json!({"node_id": "n", "kind": "toaster"}), "kind"),
        (json!({"node_id": "n", "addresses": [{"host": "h", "port": 0}]}), "port"),
        (json!({"node_id": "n", "addresses": [{"host": "h", "port": "x"}]}), "addresses[0].port"),
        (json!({"node_id": "n", "rates": {"per_task": "-1"}}), "rates"),
        (json!({"node_id": "n", "rates": {"per_task": "1e-30"}}), "rates"),
        (json!({"node_id": "n", "owner": "fog:mint"}), "owner"),
    ];
    for (body, field) in cases {
        let answer = anybody.post("/api/fog/nodes", body.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["field"]),
            (422, &json!(field)),
            "{body}: {answer:?}"
        );
    }
    for (query, field) in [("limit=0", "limit"), ("limit=x", "limit"), ("limit=1001", "limit")] {
        let answer = anybody.get(&format!("/api/fog/nodes?{query}")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["field"]),
            (422, &json!(field)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn every_answer_has_a_name_and_tells_browsers_nothing_more() {
    let running = start().await;
    let named = running.anybody().with("x-request-id", "my-name.1").get("/health").await;
    assert_eq!(named.header("x-request-id"), "my-name.1");
    for wrong in ["a b", &"x".repeat(65), "<script>"] {
        let answer = running.anybody().with("x-request-id", wrong).get("/v1/auth/me").await;
        let name = answer.header("x-request-id");
        let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        assert!(name != wrong && !name.is_empty() && name.bytes().all(is_plain), "{wrong}: {name}");
        assert_eq!(answer.text("request_id"), answer.header("x-request-id"));
    }
    assert_eq!(named.header("x-content-type-options"), "nosniff");
    assert!(named.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(named.header("cache-control"), "no-store");
    assert_eq!(named.header("server"), "");
}

#[tokio::test]
async fn only_pages_of_named_origins_may_call() {
    let running = start_with(|s| s.cors_origins = Some("https://fog.example".into())).await;
    let allowed = |origin: &'static str| {
        let asker = running.anybody().with("origin", origin);
        async move {
            let preflight = asker.clone().with("access-control-request-method", "POST");
            let preflight = preflight.send(Method::OPTIONS, "/api/fog/nodes", None).await;
            let refusal = asker.get("/v1/auth/me").await;
            assert_eq!(refusal.status, 401);
            let name = "access-control-allow-origin";
            (preflight.header(name).to_owned(), refusal.header(name).to_owned())
        }
    };
    let own = "https://fog.example".to_owned();
    assert_eq!(allowed("https://fog.example").await, (own.clone(), own));
    assert_eq!(allowed("https://evil.example").await, Default::default());
}

/// What a client would rather not send.
#[tokio::test]
async fn broken_http_harms_nobody() {
    let running = start().await;
    let requests: [&[u8]; 7] = [
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /docs/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /api/fog/nodes/%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /api/fog/nodes/%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\r\n\tb\r\nConnection: close\r\n\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ];
    for request in requests {
        let mut stream = TcpStream::connect(running.address()).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        let first = answer.lines().next().unwrap_or_default();
        assert!(!first.contains(" 200") && !first.contains(" 500"), "{answer}");
        assert!(!answer.contains("root:"), "{answer}");
    }
    assert_eq!(running.anybody().get("/health").await.status, 200);
}

#[tokio::test]
async fn the_document_tells_of_every_route_and_its_refusals() {
    let running = start().await;
    let document = running.anybody().get("/openapi.json").await.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/health",
        "/metrics",
        "/ws",
        "/api/p2p/status",
        "/api/p2p/peers",
        "/api/p2p/messages",
        "/api/fog/nodes",
        "/api/fog/resources",
        "/api/fog/marketplace",
        "/api/fog/tokens",
        "/api/hosts/",
        "/v1/auth/login",
        "/api/fog/nodes/{node_id}/lease",
    ] {
        let operations = paths[path].as_object().unwrap_or_else(|| panic!("{path} is not told"));
        for operation in operations.values() {
            for status in ["401", "404", "422", "429", "500"] {
                assert!(operation["responses"].get(status).is_some(), "{path} {status}");
            }
        }
    }
    let told = document.to_string();
    for schema in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(told.contains(&format!("#/components/schemas/{schema}\"")), "{schema} is not used");
    }
    for reference in told.split("\"#/components/schemas/").skip(1) {
        let (name, _) = reference.split_once('"').unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not there");
    }
    let page = running.anybody().get("/docs/").await;
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
}
