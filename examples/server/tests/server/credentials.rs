//! Tokens that are forged, tokens of others, and API keys.

use fogcore_server::auth::Secret;
use fogcore_server::auth::token::{Claims, Tokens};
use reqwest::Method;
use serde_json::json;

use crate::common::{SECRET, start, start_with};

/// Far enough ahead for every test, and below what a time can be.
const LATER: i64 = 4_000_000_000;

fn signed_with(secret: &str, claims: &Claims) -> String {
    Tokens::new(&Secret::new(secret.as_bytes()).unwrap()).make(claims).unwrap()
}

fn claims(scope: &[&str]) -> Claims {
    let scope = scope.iter().map(|&scope| scope.to_owned()).collect();
    Claims { sub: "someone".into(), exp: LATER, scope, ..Claims::default() }
}

#[tokio::test]
async fn forged_expired_and_strange_tokens_are_refused_everywhere() {
    let running = start().await;
    let good = signed_with(SECRET, &claims(&["read"]));
    assert_eq!(running.bearer(&good).get("/api/fog/nodes").await.status, 200);
    let [header, body, signature]: [&str; 3] =
        good.split('.').collect::<Vec<_>>().try_into().unwrap();
    // {"alg":"none"} and {"alg":"HS512"}
    let (none, hs512) = ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzUxMiJ9");
    let forged = [
        signed_with("another secret that is long enough", &claims(&["admin"])),
        signed_with(SECRET, &Claims { exp: 1_000, ..claims(&["read"]) }),
        signed_with(SECRET, &Claims { nbf: Some(LATER - 1), ..claims(&["read"]) }),
        signed_with(SECRET, &Claims { sub: "fog:mint".into(), ..claims(&["read"]) }),
        signed_with(SECRET, &Claims { sub: "two words".into(), ..claims(&["read"]) }),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{hs512}.{body}.{signature}"),
        format!("{header}.{body}x.{signature}"),
        format!("{header}.{body}"),
        "nonsense".to_owned(),
    ];
    for token in forged {
        let answer = running.bearer(&token).get("/api/fog/nodes").await;
        assert_eq!(answer.status, 401, "{token}: what is wrong is not as good as nothing");
        assert_eq!(answer.body["details"], "the token or key is not valid");
        let refused = running.bearer(&token).send(Method::POST, "/v1/auth/refresh", None).await;
        assert_eq!(refused.status, 401, "{token}");
    }
    for scheme in ["Basic YTpi", "Bearer", "bearer  "] {
        let asker = running.anybody().with("authorization", scheme);
        assert_eq!(asker.get("/api/fog/nodes").await.status, 401, "{scheme}");
    }
}

#[tokio::test]
async fn a_token_of_another_provider_may_what_it_says() {
    let running = start().await;
    let node = json!({"node_id": "theirs"});
    let status = async |scope: &[&str], method: Method, path: &str| {
        let asker = running.bearer(&signed_with(SECRET, &claims(scope)));
        asker.send(method, path, Some(node.clone())).await.status.as_u16()
    };
    assert_eq!(status(&["read"], Method::GET, "/api/fog/nodes").await, 200);
    assert_eq!(status(&["read"], Method::POST, "/api/fog/nodes").await, 403);
    assert_eq!(status(&["write"], Method::POST, "/api/fog/nodes").await, 201);
    assert_eq!(status(&["write"], Method::GET, "/api/fog/nodes").await, 403);
    assert_eq!(status(&[], Method::GET, "/api/fog/nodes").await, 403);

    let theirs = running.bearer(&signed_with(SECRET, &claims(&["read"])));
    let me = theirs.get("/v1/auth/me").await.ok();
    assert_eq!((&me["account_id"], &me["user"]), (&json!("someone"), &json!(null)));
    let refresh = theirs.send(Method::POST, "/v1/auth/refresh", None).await;
    assert_eq!(refresh.status, 403, "how long it lasts is the provider's to say");
    assert_eq!(theirs.send(Method::POST, "/v1/auth/logout", None).await.status, 200);
    assert_eq!(theirs.get("/v1/auth/me").await.status, 401, "revoked without a name");
}

#[tokio::test]
async fn a_key_is_shown_once_and_does_what_it_may() {
    let running = start().await;
    let (ada, account) = running.user("ada").await;
    let made = ada.post("/v1/auth/api-keys", json!({"name": "laptop", "scopes": ["read"]})).await;
    assert_eq!(made.status, 201);
    let (key, id) = (made.text("api_key"), made.text("id"));
    let asker = running.anybody().with("x-api-key", &key);
    assert_eq!(asker.get("/v1/auth/me").await.ok()["account_id"], account.as_str());
    assert_eq!(asker.post("/api/fog/nodes", json!({"node_id": "n"})).await.status, 403);

    let listed = ada.get("/v1/auth/api-keys").await.ok();
    assert_eq!(listed["api_keys"][0]["id"], id.as_str());
    assert!(!listed.to_string().contains(&key) && listed["api_keys"][0].get("digest").is_none());

    let (bob, _) = running.user("bob").await;
    let path = format!("/v1/auth/api-keys/{id}");
    assert_eq!(bob.delete(&path).await.status, 404, "not his");
    assert_eq!(ada.delete(&path).await.status, 200);
    assert_eq!(asker.get("/v1/auth/me").await.status, 401);
    let other = format!("{}0", &key[..key.len() - 1]);
    for wrong in ["", "nonsense", &other] {
        let asker = running.anybody().with("x-api-key", wrong);
        assert_eq!(asker.get("/api/fog/nodes").await.status, 401, "{wrong}");
    }
}

#[tokio::test]
async fn a_key_gives_no_more_than_its_maker_has() {
    let running = start().await;
    let (ada, _) = running.user("ada").await;
    let make =
        async |asker: &crate::common::Asker<'_>, body| asker.post("/v1/auth/api-keys", body).await;
    let admin = json!({"name": "a", "scopes": ["read", "admin"]});
    assert_eq!(make(&ada, admin.clone()).await.status, 403);
    assert_eq!(make(&ada, json!({"name": "a", "tier": "enterprise"})).await.status, 403);
    assert_eq!(make(&ada, json!({"name": ""})).await.status, 422);
    let made = make(&running.admin().await, admin).await;
    let key = running.anybody().with("x-api-key", &made.text("api_key"));
    assert_eq!(make(&key, json!({"name": "b"})).await.status, 403, "a key makes no keys");
}

#[tokio::test]
async fn where_a_second_factor_is_needed_only_a_token_that_says_so_will_do() {
    let running = start_with(|s| s.require_mfa = Some("on".into())).await;
    let (ada, _) = running.user("ada").await;
    assert_eq!(ada.get("/api/fog/nodes").await.status, 403);
    assert_eq!(ada.get("/v1/auth/me").await.status, 200);
    let verified = Claims { mfa_verified: true, ..claims(&["read"]) };
    let verified = running.bearer(&signed_with(SECRET, &verified));
    assert_eq!(verified.get("/api/fog/nodes").await.status, 200);
}
