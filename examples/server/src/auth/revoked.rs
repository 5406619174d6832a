//! What was revoked before its time: tokens by their name, sessions by theirs.
//!
//! Every request asks, so the answer is in memory; the store has it, too, and other processes' news
//! are read from there. What would have ended by itself is forgotten.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use fogcore::time::Timestamp;

use super::token::Claims;
use crate::store::Revocation;

/// What was revoked.
#[derive(Debug, Default)]
pub struct Revoked {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    until: HashMap<String, Timestamp>,
    /// The place of the latest one that was read.
    place: i64,
}

impl Revoked {
    /// Whether the token of this [name](token_name) counts no more.
    #[must_use]
    pub fn has(&self, claims: &Claims, name: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_revoked = |name: &str| known.until.contains_key(name);
        is_revoked(name) || claims.sid.as_deref().is_some_and(|sid| is_revoked(&session_name(sid)))
    }

    /// Takes in what was revoked here.
    pub fn add(&self, revocation: &Revocation) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.until.insert(revocation.name.clone(), revocation.until);
    }

    /// Takes in what the store knows.
    pub fn learn(&self, news: Vec<Revocation>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for revocation in news {
            known.place = known.place.max(revocation.place);
            known.until.insert(revocation.name, revocation.until);
        }
    }

    /// After which place of the store to read on. A little before the latest one: those that were
    /// given out before it may have become visible after it.
    #[must_use]
    pub fn read_after(&self) -> i64 {
        const OVERLAP: i64 = 1_000;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        (known.place - OVERLAP).max(0)
    }

    /// Forgets what has ended.
    pub fn forget(&self, now: Timestamp) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.until.retain(|_, until| *until > now);
    }
}

/// The name of a token: its own, or what follows from its text.
#[must_use]
pub fn token_name(claims: &Claims, token: &str) -> String {
    match &claims.jti {
        // With its subject: other providers may use a name twice.
        Some(jti) => format!("token:{}:{jti}", claims.sub),
        None => {
            // Without the signature, which could be written in more than one way.
            let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
            format!("token:{}", blake3::hash(signed.as_bytes()).to_hex())
        }
    }
}

/// The name of a session.
#[must_use]
pub fn session_name(sid: &str) -> String {
    format!("session:{sid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_by_its_name_its_text_or_its_session() {
        let until = "2026-01-02T00:00:00Z".parse().unwrap();
        let revoked = Revoked::default();
        let has = |claims: &Claims, token: &str| revoked.has(claims, &token_name(claims, token));
        let named = Claims { sub: "ada".into(), jti: Some("1".into()), ..Claims::default() };
        let nameless = Claims { sub: "ada".into(), ..Claims::default() };
        let of_session =
            Claims { jti: Some("2".into()), sid: Some("s".into()), ..nameless.clone() };
        let names = [
            (token_name(&named, "a"), &named, "a"),
            (token_name(&nameless, "b.sig"), &nameless, "b.other"),
            (session_name("s"), &of_session, "c"),
        ];
        for (place, (name, claims, text)) in (1..).zip(names) {
            assert!(!has(claims, text), "{name}");
            revoked.learn(vec![Revocation { place, name, until }]);
            assert!(has(claims, text));
        }
        assert!(!has(&nameless, "another"));
        revoked.forget(until);
        assert!(!has(&named, "a"));
    }
}
