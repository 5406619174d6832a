//! Passwords: hashed with Argon2id, in threads that may block.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use crate::problem::{Answer, Problem};

/// A hash that no password has: checking one for an unknown user takes as long as for a known one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                      2yJHkLX7C0zWjzCfxcLQFgZyRlDyR5Y4zT9X0Wv0XNw";

fn failed(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "a password cannot be hashed");
    Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

pub(crate) async fn hash(password: String) -> Answer<String> {
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
    });
    hashed.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// Whether the password is the one with this hash; without a hash it takes as long and is not.
pub(super) async fn verify(password: String, hash: Option<String>) -> Answer<bool> {
    let checked = tokio::task::spawn_blocking(move || {
        let known = hash.is_some();
        let hash = hash.as_deref().unwrap_or(NOBODY);
        let Ok(parsed) = PasswordHash::new(hash) else { return false };
        Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && known
    });
    checked.await.map_err(|error| failed(&error))
}
