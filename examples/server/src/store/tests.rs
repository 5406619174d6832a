//! One suite over every database.

use std::time::Duration;

#[cfg(unix)]
#[path = "../../../../fogcore/tests/common/postgres.rs"]
mod postgres_server;

use super::*;
use crate::auth::Scope;
use crate::http::quota::Tier;

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(seconds))
}

fn ada() -> User {
    User {
        id: "user-1".parse().unwrap(),
        email: "ada@example.org".to_owned(),
        name: "Ada".to_owned(),
        password_hash: "$argon2id$…".to_owned(),
        role: Role::User,
        tier: Tier::Premium,
        created_at: at(1),
    }
}

async fn users_are_kept_and_addresses_are_unique(store: &dyn IdentityStore) {
    assert!(store.add_user(&ada()).await.unwrap());
    let twin = User { id: "user-2".parse().unwrap(), ..ada() };
    assert!(!store.add_user(&twin).await.unwrap());
    assert!(store.user("user-2").await.unwrap().is_none());
    let found = store.user_by_email("ada@example.org").await.unwrap().unwrap();
    assert!(found == ada());
    assert!(store.set_role("user-1", Role::Operator).await.unwrap());
    assert!(!store.set_role("nobody", Role::Admin).await.unwrap());
    assert_eq!(store.user("user-1").await.unwrap().unwrap().role, Role::Operator);
}

async fn a_refresh_token_is_used_once(store: &dyn IdentityStore) {
    let session = Session {
        id: "s1".to_owned(),
        user: ada().id,
        created_at: at(1),
        expires_at: at(100),
        ended_at: None,
    };
    store.add_session(&session).await.unwrap();
    let token = RefreshToken {
        digest: vec![7; 32],
        session: "s1".to_owned(),
        expires_at: at(50),
        used_at: None,
    };
    store.add_refresh(&token).await.unwrap();
    let used = store.use_refresh(&[7; 32], at(2)).await.unwrap().unwrap();
    assert_eq!(used, RefreshToken { used_at: Some(at(2)), ..token });
    assert_eq!(store.use_refresh(&[7; 32], at(3)).await.unwrap(), None);
    assert_eq!(store.refresh(&[7; 32]).await.unwrap(), Some(used));
    assert_eq!(store.use_refresh(&[8; 32], at(3)).await.unwrap(), None);

    assert_eq!(store.open_sessions("user-1", at(99)).await.unwrap(), [session]);
    store.end_session("s1", at(4)).await.unwrap();
    store.end_session("s1", at(5)).await.unwrap();
    assert_eq!(store.session("s1").await.unwrap().unwrap().ended_at, Some(at(4)));
    assert!(store.open_sessions("user-1", at(5)).await.unwrap().is_empty());
}

async fn revocations_are_read_in_order_and_forgotten_in_time(store: &dyn IdentityStore) {
    for (name, until) in [("a", 10), ("b", 20), ("a", 30)] {
        store.revoke(name, at(until)).await.unwrap();
    }
    let all = store.revocations(0, 10).await.unwrap();
    let told: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.until)).collect();
    assert_eq!(told, [("a", at(10)), ("b", at(20))]);
    assert_eq!(store.revocations(all[0].place, 10).await.unwrap(), all[1..]);
    assert_eq!(store.revocations(0, 1).await.unwrap(), all[..1]);
    store.purge(at(10)).await.unwrap();
    assert_eq!(store.revocations(0, 10).await.unwrap(), all[1..]);
}

async fn keys_count_until_they_are_revoked(store: &dyn IdentityStore) {
    let key = KeyRecord {
        id: "0123".to_owned(),
        digest: vec![1; 32],
        account: ada().id,
        name: "laptop".to_owned(),
        role: Role::User,
        scopes: [Scope::Read, Scope::Write].into_iter().collect(),
        tier: Tier::Standard,
        created_at: at(1),
        revoked_at: None,
    };
    store.add_key(&key).await.unwrap();
    assert_eq!(store.key("0123").await.unwrap().as_ref(), Some(&key));
    assert!(store.revoke_key("0123", at(9)).await.unwrap());
    assert!(!store.revoke_key("0123", at(10)).await.unwrap());
    let revoked = KeyRecord { revoked_at: Some(at(9)), ..key };
    assert_eq!(store.keys(&ada().id).await.unwrap(), [revoked]);
    assert!(store.keys(&"bob".parse().unwrap()).await.unwrap().is_empty());
}

async fn suite(store: &dyn IdentityStore) {
    store.ping().await.unwrap();
    users_are_kept_and_addresses_are_unique(store).await;
    a_refresh_token_is_used_once(store).await;
    revocations_are_read_in_order_and_forgotten_in_time(store).await;
    keys_count_until_they_are_revoked(store).await;
}

#[tokio::test]
async fn memory_keeps_what_it_should() {
    suite(&*open("memory:").await.unwrap()).await;
}

#[tokio::test]
async fn sqlite_keeps_what_it_should_beside_a_fog() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?keep_mib=1", folder.path().join("fog.db").display());
    let _fog = fogcore::Fog::open(&url).await.unwrap();
    suite(&*open(&url).await.unwrap()).await;
    let again = open(&url).await.unwrap();
    assert!(again.user("user-1").await.unwrap().is_some());
    fogcore::Fog::open(&url).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn postgres_keeps_what_it_should_beside_a_fog() {
    let database = postgres_server::Database::fresh().await;
    let url = database.url();
    let _fog = fogcore::Fog::open(&url).await.unwrap();
    suite(&*open(&url).await.unwrap()).await;
    open(&url).await.unwrap();
    fogcore::Fog::open(&url).await.unwrap();
}

#[tokio::test]
async fn another_url_is_refused_without_repeating_it() {
    let error = open("mysql://user:secret@host/db").await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}
