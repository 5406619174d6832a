//! How much may be asked: so many requests a minute and so many an hour, for each identity or address.
//!
//! The rule is the generic cell rate algorithm (ATM Forum, Traffic Management 4.0, §4.4.2): of each
//! bucket only the time is kept at which it is full again. So a bucket that is full is as good as
//! none, and memory is bounded by forgetting those. It is a function of the time handed in.
//!
//! ```
//! use std::time::Duration;
//! use fogcore_server::http::quota::{Key, Quotas, Tier};
//!
//! let (quotas, now) = (Quotas::new(1_000), Duration::from_secs(1));
//! let key = Key::Subject("alice".into());
//! for _ in 0..60 {
//!     assert!(quotas.take(&key, Tier::Standard, now).is_allowed());
//! }
//! let refused = quotas.take(&key, Tier::Standard, now);
//! assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much somebody may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// 60 a minute, 1,000 an hour.
    #[default]
    Standard,
    /// 200 a minute, 5,000 an hour.
    Premium,
    /// 500 a minute, 10,000 an hour.
    Enterprise,
}

impl Tier {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Premium => "premium",
            Self::Enterprise => "enterprise",
        }
    }

    /// The tier of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Standard, Self::Premium, Self::Enterprise].into_iter().find(|t| t.name() == name)
    }

    /// What it allows.
    #[must_use]
    pub const fn rates(self) -> [Rate; 2] {
        let [minute, hour] = match self {
            Self::Standard => [60, 1_000],
            Self::Premium => [200, 5_000],
            Self::Enterprise => [500, 10_000],
        };
        [Rate::new(minute, Duration::from_secs(60)), Rate::new(hour, Duration::from_secs(3_600))]
    }
}

/// So many in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, above zero.
    pub limit: u32,
    /// In how much time.
    pub within: Duration,
}

impl Rate {
    /// That many in that time.
    #[must_use]
    pub const fn new(limit: u32, within: Duration) -> Self {
        Self { limit, within }
    }

    fn interval(self) -> Duration {
        self.within / self.limit.max(1)
    }

    /// What is left of a bucket that is full again at `full`.
    fn left(self, full: Duration, now: Duration) -> u32 {
        let used = full.saturating_sub(now).as_nanos().div_ceil(self.interval().as_nanos().max(1));
        self.limit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Those of somebody who is known.
    Subject(String),
    /// Those from an address.
    Address(IpAddr),
    /// Those of all for whom there was no room.
    Others,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many there may be within the rate that is nearest to its end.
    pub limit: u32,
    /// How many are left of them.
    pub remaining: u32,
    /// When all of them are there again.
    pub reset: Duration,
    /// If it was refused: when the next one may come.
    pub retry_after: Option<Duration>,
}

impl Standing {
    /// Whether it was allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.retry_after.is_none()
    }
}

/// The buckets of all.
#[derive(Debug)]
pub struct Quotas {
    most: usize,
    /// When the buckets are full again: one for each rate.
    full: Mutex<HashMap<Key, [Duration; 2]>>,
}

impl Quotas {
    /// Buckets for at most so many; what goes beyond shares one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, full: Mutex::default() }
    }

    /// Counts a request at `now`, a time that never goes back.
    pub fn take(&self, key: &Key, tier: Tier, now: Duration) -> Standing {
        self.take_of(key, tier.rates(), now)
    }

    /// The same with rates of one's own.
    pub fn take_of(&self, key: &Key, rates: [Rate; 2], now: Duration) -> Standing {
        self.judge(key, rates, now, true)
    }

    /// What would become of a request, without counting it.
    pub fn look_at(&self, key: &Key, rates: [Rate; 2], now: Duration) -> Standing {
        self.judge(key, rates, now, false)
    }

    fn judge(&self, key: &Key, rates: [Rate; 2], now: Duration, counts: bool) -> Standing {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if full.len() >= self.most && !full.contains_key(key) {
            full.retain(|_, buckets| buckets.iter().any(|at| *at > now));
        }
        let has_room = full.len() < self.most || full.contains_key(key);
        let key = if has_room { key.clone() } else { Key::Others };
        let mut buckets = full.get(&key).copied().unwrap_or_default();
        let after = rates.map(Rate::interval);
        let after = [0, 1].map(|i| buckets[i].max(now).saturating_add(after[i]));
        let waits = [0, 1].map(|i| after[i].saturating_sub(now.saturating_add(rates[i].within)));
        let wait = waits.into_iter().max().unwrap_or_default();
        let retry_after = (!wait.is_zero()).then_some(wait);
        if retry_after.is_none() && counts {
            buckets = after;
            full.insert(key, buckets);
        }
        let told = |i: usize| Standing {
            limit: rates[i].limit,
            remaining: rates[i].left(buckets[i], now),
            reset: buckets[i].saturating_sub(now),
            retry_after,
        };
        let [first, second] = [told(0), told(1)];
        // The one that ends first is the one to mind.
        if second.remaining < first.remaining { second } else { first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str) -> Key {
        Key::Subject(name.to_owned())
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_minute_and_the_hour_both_count() {
        let quotas = Quotas::new(10);
        let mut allowed = 0;
        // As fast as the minute allows, for an hour.
        for second in 0..3_600 {
            allowed +=
                u32::from(quotas.take(&subject("a"), Tier::Standard, secs(second)).is_allowed());
        }
        // A full bucket at the beginning, and what came in within the hour.
        assert!((1_990..=2_000).contains(&allowed), "{allowed}");
    }

    #[test]
    fn what_was_refused_is_allowed_when_it_said() {
        let quotas = Quotas::new(10);
        let rates = [Rate::new(2, secs(10)), Rate::new(100, secs(1_000))];
        let take = |now| quotas.take_of(&subject("a"), rates, now);
        assert_eq!(take(secs(1)).remaining, 1);
        assert_eq!(take(secs(1)).remaining, 0);
        let refused = take(secs(2));
        let wait = refused.retry_after.unwrap();
        assert!(!take(secs(2) + wait - Duration::from_millis(1)).is_allowed());
        assert!(take(secs(2) + wait).is_allowed());
    }

    #[test]
    fn each_has_a_bucket_until_there_is_no_room() {
        let quotas = Quotas::new(2);
        let rates = [Rate::new(1, secs(10)), Rate::new(9, secs(90))];
        let take = |name: &str, now| quotas.take_of(&subject(name), rates, secs(now)).is_allowed();
        assert!(take("a", 1) && take("b", 1) && !take("a", 1));
        assert!(take("c", 1), "the first of the others");
        assert!(!take("d", 1), "the others share a bucket");
        assert!(take("d", 100), "full buckets are forgotten");
    }
}
