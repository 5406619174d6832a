//! How often somebody may ask.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Identity;
use crate::problem::{Answer, Problem};

/// Requests per identity, or per address of those without one, and attempts to log in.
pub(crate) struct Limits {
    requests: Option<DefaultKeyedRateLimiter<String>>,
    logins: DefaultKeyedRateLimiter<String>,
    asked: AtomicU64,
}

/// Who has not asked for a while is forgotten after so many requests.
const TIDY_EVERY: u64 = 4_096;

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limits")
    }
}

const fn per_minute(most: u32) -> Quota {
    match NonZeroU32::new(most) {
        Some(most) => Quota::per_minute(most),
        None => Quota::per_minute(NonZeroU32::MIN),
    }
}

impl Limits {
    pub(crate) fn new(on: bool) -> Self {
        Self {
            requests: on.then(|| RateLimiter::keyed(per_minute(600))),
            logins: RateLimiter::keyed(per_minute(10)),
            asked: AtomicU64::new(0),
        }
    }

    /// Counts a request.
    pub(crate) fn admit(&self, identity: &Identity, from: Option<IpAddr>) -> Answer<()> {
        let Some(requests) = &self.requests else { return Ok(()) };
        if self.asked.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.tidy();
        }
        let who = identity.subject.clone().or_else(|| from.map(|from| from.to_string()));
        check(requests, &who.unwrap_or_default())
    }

    /// Counts an attempt to log in: per account, and per address.
    pub(crate) fn admit_login(&self, email: &str, from: Option<IpAddr>) -> Answer<()> {
        if self.requests.is_none() {
            return Ok(());
        }
        check(&self.logins, &format!("account {email}"))?;
        check(&self.logins, &format!("address {}", from.map(|f| f.to_string()).unwrap_or_default()))
    }

    /// Forgets who has not asked for a while.
    fn tidy(&self) {
        for limiter in self.requests.iter().chain([&self.logins]) {
            limiter.retain_recent();
        }
    }
}

fn check(limiter: &DefaultKeyedRateLimiter<String>, who: &String) -> Answer<()> {
    limiter.check_key(who).map_err(|until| {
        let wait = until.wait_time_from(DefaultClock::default().now());
        Problem {
            retry_after: Some(wait.as_secs() + 1),
            ..Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests")
        }
    })
}
