//! Users, sessions and roles.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{ADMIN, PASSWORD, start, start_with};

#[tokio::test]
async fn a_user_registers_logs_in_and_is_known() {
    let running = start().await;
    let (ada, account) = running.user("ada").await;
    let me = ada.get("/v1/auth/me").await.ok();
    assert_eq!(me["account_id"], account.as_str());
    assert_eq!((&me["role"], &me["user"]["email"]), (&json!("user"), &json!("ada@example.org")));
    assert_eq!(me["scopes"], json!(["read", "write"]));

    let again = running.log_in("Ada@Example.org ", PASSWORD).await.ok();
    assert_eq!((&again["token_type"], &again["expires_in"]), (&json!("Bearer"), &json!(86_400)));
    assert!(again["user"].get("password_hash").is_none());

    let body = json!({"email": "ada@example.org", "password": PASSWORD});
    let twin = running.anybody().post("/v1/auth/register", body).await;
    assert_eq!((twin.status.as_u16(), &twin.body["error"]["code"]), (409, &json!("CONFLICT")));
    let body = json!({"email": "bob@example.org", "password": "short"});
    let weak = running.anybody().post("/v1/auth/register", body).await;
    assert_eq!(
        (weak.status.as_u16(), &weak.body["error"]["details"]["field"]),
        (422, &json!("password"))
    );
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_look_the_same() {
    let running = start().await;
    let without_name = |mut body: Value| {
        for field in ["timestamp", "request_id"] {
            body.as_object_mut().unwrap().remove(field);
        }
        body
    };
    let wrong = running.log_in(ADMIN, "not the password").await;
    let unknown = running.log_in("nobody@example.org", "not the password").await;
    let no_address = running.log_in("nobody", "not the password").await;
    assert_eq!((wrong.status, wrong.header("www-authenticate")), (unknown.status, "Bearer"));
    assert_eq!(wrong.status, 401);
    let told = without_name(wrong.body);
    assert_eq!(told["error"]["code"], "AUTHENTICATION_ERROR");
    assert_eq!(told, without_name(unknown.body));
    assert_eq!(told, without_name(no_address.body));
}

#[tokio::test]
async fn wrong_passwords_lock_an_account_for_a_while_and_no_other() {
    let running = start().await;
    running.user("ada").await;
    for _ in 0..10 {
        assert_eq!(running.log_in(ADMIN, "not the password").await.status, 401);
    }
    let locked = running.log_in(ADMIN, PASSWORD).await;
    assert_eq!(locked.status, 429, "the right one, too");
    assert!(locked.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(running.log_in("ada@example.org", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_second_use_ends_the_session() {
    let running = start().await;
    let first = running.log_in(ADMIN, PASSWORD).await;
    let refresh = async |token: &str| {
        running.anybody().post("/v1/auth/refresh", json!({"refresh_token": token})).await
    };
    let second = refresh(&first.text("refresh_token")).await;
    assert_eq!(second.status, 200);
    let access = running.bearer(&second.text("access_token"));
    assert_eq!(access.get("/v1/auth/me").await.status, 200);

    assert_eq!(refresh(&first.text("refresh_token")).await.status, 401, "stolen");
    assert_eq!(refresh(&second.text("refresh_token")).await.status, 401);
    assert_eq!(access.get("/v1/auth/me").await.status, 401);
    assert_eq!(refresh("fogr_nonsense").await.status, 401);
}

#[tokio::test]
async fn a_revoked_token_ends_alone_and_a_logout_ends_the_session() {
    let running = start().await;
    let login = running.log_in(ADMIN, PASSWORD).await;
    let old = running.bearer(&login.text("access_token"));
    let fresh = old.send(Method::POST, "/v1/auth/refresh", None).await;
    let fresh = running.bearer(&fresh.text("access_token"));
    assert_eq!(fresh.send(Method::POST, "/v1/auth/revoke", None).await.status, 200);
    assert_eq!(fresh.get("/v1/auth/me").await.status, 401);
    assert_eq!(old.get("/v1/auth/me").await.status, 200);

    let other = running.admin().await;
    assert_eq!(old.send(Method::POST, "/v1/auth/logout", None).await.status, 200);
    assert_eq!(old.get("/v1/auth/me").await.status, 401);
    let refresh = json!({"refresh_token": login.text("refresh_token")});
    assert_eq!(running.anybody().post("/v1/auth/refresh", refresh).await.status, 401);
    assert_eq!(other.get("/v1/auth/me").await.status, 200, "another session");
}

#[tokio::test]
async fn only_its_owner_or_an_administrator_revokes_a_token() {
    let running = start().await;
    let (ada, _) = running.user("ada").await;
    let login = running.log_in(ADMIN, PASSWORD).await;
    for token in ["access_token", "refresh_token"] {
        let body = json!({"token": login.text(token)});
        assert_eq!(ada.post("/v1/auth/revoke", body).await.status, 403, "{token}");
    }
    let body = json!({"token": "nonsense"});
    assert_eq!(ada.post("/v1/auth/revoke", body).await.status, 200, "as good as revoked");
    let admin = running.bearer(&login.text("access_token"));
    assert_eq!(admin.get("/v1/auth/me").await.status, 200);
}

#[tokio::test]
async fn another_role_needs_another_login() {
    let running = start().await;
    let (ada, account) = running.user("ada").await;
    let admin = running.admin().await;
    let path = format!("/v1/auth/users/{account}/role");
    let put = async |asker: &crate::common::Asker<'_>| {
        asker.send(Method::PUT, &path, Some(json!({"role": "operator"}))).await
    };
    let refused = put(&ada).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["error_code"]),
        (403, &json!("INSUFFICIENT_PERMISSIONS"))
    );
    assert_eq!(put(&admin).await.ok()["role"], "operator");
    assert_eq!(ada.get("/v1/auth/me").await.status, 401);
    let login = running.log_in("ada@example.org", PASSWORD).await;
    assert_eq!(login.body["user"]["role"], "operator");
}

#[tokio::test]
async fn where_registration_is_not_open_an_administrator_registers() {
    let running = start_with(|s| s.open_registration = Some("off".into())).await;
    let body = json!({"email": "ada@example.org", "password": PASSWORD});
    let path = "/v1/auth/register";
    assert_eq!(running.anybody().post(path, body.clone()).await.status, 401);
    assert_eq!(running.admin().await.post(path, body).await.status, 201);
    let (login, other) = (running.log_in("ada@example.org", PASSWORD).await, "bob@example.org");
    let ada = running.bearer(&login.text("access_token"));
    assert_eq!(ada.post(path, json!({"email": other, "password": PASSWORD})).await.status, 403);
}
