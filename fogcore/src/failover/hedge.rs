//! When to ask a second node, because the first one takes longer than nearly all calls do.
//!
//! A hedged request waits for as long as, say, 95 of 100 calls take, then asks somebody else too,
//! and takes whichever answer comes first: for a few per cent more calls, the slowest ones are no
//! slower than the second-fastest of two (Dean and Barroso, "The Tail at Scale", CACM 2013). The
//! wait is learnt: [`HedgeDelay`] counts latencies in buckets that are a thirty-second of a power
//! of two wide, as HdrHistogram's are. Recording and asking take no lock, and memory depends on the
//! policy alone. Hedges are paid from the [`RetryBudget`](super::RetryBudget), because a service
//! that is slow as a whole must not be asked twice as much.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{HedgeDelay, HedgePolicy};
//!
//! let latencies = HedgeDelay::new(HedgePolicy::default())?;
//! assert_eq!(latencies.delay(), None, "nothing is known yet");
//! (1..=1_000).for_each(|millis| latencies.record(Duration::from_millis(millis)));
//! let delay = latencies.delay().unwrap();
//! assert!(Duration::from_millis(880) < delay && delay < Duration::from_millis(980));
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::failover::words::{low, nanos, whole};

/// When, and how often, somebody else is asked too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HedgePolicy {
    /// The share of calls that end without a hedge, 0.5–0.9999. Default 0.95.
    pub percentile: f64,
    /// The shortest delay, from 1 µs. Default 1 ms: below it, a hedge costs more than it saves.
    pub at_least: Duration,
    /// The longest delay, up to 1 day. Default 10 s.
    pub at_most: Duration,
    /// So many latencies must be known before anything is hedged, 1–100,000. Default 100.
    pub min_samples: u32,
    /// After so many more latencies, those before count half, 1,000–1,000,000. Default 10,000.
    pub half_life: u32,
    /// The most nodes that are asked beside the first one, 0–8; each after another delay.
    /// Default 1.
    pub most: u32,
}

impl Default for HedgePolicy {
    fn default() -> Self {
        Self {
            percentile: 0.95,
            at_least: Duration::from_millis(1),
            at_most: Duration::from_secs(10),
            min_samples: 100,
            half_life: 10_000,
            most: 1,
        }
    }
}

impl HedgePolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if !(0.5..=0.9999).contains(&self.percentile) {
            return Err(Error::invalid("percentile", "must be between 0.5 and 0.9999"));
        }
        if self.at_most > Duration::from_secs(86_400) {
            return Err(Error::invalid("at_most", "must be at most 1 day"));
        }
        if !(Duration::from_micros(1)..=self.at_most).contains(&self.at_least) {
            return Err(Error::invalid("at_least", "must be between 1 µs and at_most"));
        }
        if !(1..=100_000).contains(&self.min_samples) {
            return Err(Error::invalid("min_samples", "must be between 1 and 100000"));
        }
        if !(1_000..=1_000_000).contains(&self.half_life) {
            return Err(Error::invalid("half_life", "must be between 1000 and 1000000"));
        }
        if self.most > 8 {
            return Err(Error::invalid("most", "must be at most 8"));
        }
        Ok(())
    }
}

/// A power of two is cut into `2^CUTS` buckets.
const CUTS: u32 = 5;

/// The delay is worked out anew after so many latencies: going through the buckets then costs each
/// of them only a few loads.
const EVERY: u64 = 64;

/// Learns how long calls take, and tells after which delay another node should be asked.
///
/// The delay is the percentile of what was recorded, too long by at most a thirty-second of itself,
/// never too short, and as of at most 64 latencies ago. It stays within the policy's bounds.
#[derive(Debug)]
pub struct HedgeDelay {
    policy: HedgePolicy,
    /// The number of the first bucket; what is faster than all is counted there.
    first: u64,
    /// The last one counts what is slower than all.
    buckets: Box<[AtomicU32]>,
    /// Latencies ever recorded.
    recorded: AtomicU64,
    /// Nanoseconds; zero while too little is known.
    delay: AtomicU64,
}

impl HedgeDelay {
    /// One that knows nothing yet. With the default policy it takes less than 2 KiB.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn new(policy: HedgePolicy) -> Result<Self> {
        policy.check()?;
        let (first, last) = (bucket_of(nanos(policy.at_least)), bucket_of(nanos(policy.at_most)));
        let buckets = (first..=last).map(|_| AtomicU32::new(0)).collect();
        let (recorded, delay) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { policy, first, buckets, recorded, delay })
    }

    /// The most nodes that are asked beside the first one.
    #[must_use]
    pub const fn most(&self) -> u32 {
        self.policy.most
    }

    /// A call took so long. Only calls that went well should be told of: those that fail at once
    /// would make the delay too short.
    pub fn record(&self, latency: Duration) {
        let place = bucket_of(nanos(latency)).saturating_sub(self.first);
        let place = usize::try_from(place).unwrap_or(usize::MAX).min(self.buckets.len() - 1);
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        let recorded = self.recorded.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let enough = u64::from(self.policy.min_samples);
        if recorded == enough || recorded > enough && recorded.is_multiple_of(EVERY) {
            self.learn();
        }
        let half_life = u64::from(self.policy.half_life);
        if recorded.is_multiple_of(half_life) {
            self.forget_half(recorded / half_life);
        }
    }

    /// After how long another node should be asked; none while too little is known, or if nobody
    /// else should be asked at all.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        let delay = self.delay.load(Ordering::Relaxed);
        (delay != 0 && self.policy.most > 0).then(|| Duration::from_nanos(delay))
    }

    fn learn(&self) {
        let counts = || self.buckets.iter().map(|bucket| u64::from(bucket.load(Ordering::Relaxed)));
        // The nearest rank: so many latencies must not be above the delay.
        let rank = whole((counts().sum::<u64>() as f64 * self.policy.percentile).ceil()).max(1);
        let mut seen = 0;
        let reached = |count| {
            seen += count;
            seen >= rank
        };
        // Others count on meanwhile, so that the sum is reached at the last bucket at the latest,
        // unless a half is forgotten just now: then the delay stays as it is.
        let Some(place) = counts().position(reached) else { return };
        let bucket = self.first.saturating_add(place as u64);
        let bounds = nanos(self.policy.at_least)..=nanos(self.policy.at_most);
        let delay = end_of(bucket).clamp(*bounds.start(), *bounds.end());
        self.delay.store(delay, Ordering::Relaxed);
    }

    /// Halves all counts, for the `time`-th time.
    ///
    /// What is left of an odd count goes to the next slower bucket: the slow ones are spread so thin
    /// that each often counts one, and rounded down one by one, the tail would vanish. The first one
    /// has something to begin with every other time, so that no single latency stays for ever.
    fn forget_half(&self, time: u64) {
        let mut left = low(time & 1);
        for bucket in &self.buckets {
            let half = |count: u32| Some(count / 2 + (count % 2 + left) / 2);
            // It always gives a new value, so it always succeeds; another thread may count between.
            let counted = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, half);
            left = (counted.unwrap_or(0) + left) % 2;
        }
    }
}

/// The number of the bucket that counts `nanos`: the power of two, and the bits that follow the
/// first one. Below `2^CUTS` each number has a bucket of its own.
const fn bucket_of(nanos: u64) -> u64 {
    let bits = u64::BITS - nanos.leading_zeros();
    if bits <= CUTS {
        return nanos;
    }
    let shift = bits - 1 - CUTS;
    ((shift as u64) << CUTS) + (nanos >> shift)
}

/// The largest number that is counted in a bucket.
const fn end_of(bucket: u64) -> u64 {
    let Some(shift) = (bucket >> CUTS).checked_sub(1) else { return bucket };
    let begin = bucket - (shift << CUTS);
    begin << shift | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest latency that enough of them do not exceed.
    fn exact(latencies: &[u64], percentile: f64) -> u64 {
        let mut sorted = latencies.to_vec();
        sorted.sort_unstable();
        let wanted = sorted.len() as f64 * percentile;
        let enough = (1_u32..).zip(&sorted).find(|(rank, _)| f64::from(*rank) >= wanted);
        *enough.unwrap().1
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
        let policy = HedgePolicy::default();
        let day = Duration::from_secs(86_400);
        for (policy, field) in [
            (HedgePolicy { percentile: 1.0, ..policy }, "percentile"),
            (HedgePolicy { percentile: f64::NAN, ..policy }, "percentile"),
            (HedgePolicy { at_least: Duration::ZERO, ..policy }, "at_least"),
            (HedgePolicy { at_least: 2 * policy.at_most, ..policy }, "at_least"),
            (HedgePolicy { at_most: 2 * day, ..policy }, "at_most"),
            (HedgePolicy { min_samples: 0, ..policy }, "min_samples"),
            (HedgePolicy { half_life: 999, ..policy }, "half_life"),
            (HedgePolicy { most: 9, ..policy }, "most"),
        ] {
            assert_eq!(HedgeDelay::new(policy).unwrap_err().field(), Some(field));
        }
    }

    #[test]
    fn nothing_is_hedged_before_enough_is_known_or_when_nobody_may_be_asked() {
        let hedge = HedgeDelay::new(HedgePolicy::default()).unwrap();
        let never = HedgePolicy { most: 0, ..HedgePolicy::default() };
        let never = HedgeDelay::new(never).unwrap();
        for _ in 0..99 {
            hedge.record(Duration::from_millis(20));
            never.record(Duration::from_millis(20));
        }
        assert_eq!(hedge.delay(), None);
        hedge.record(Duration::from_millis(20));
        never.record(Duration::from_millis(20));
        assert!(hedge.delay().is_some());
        assert_eq!(never.delay(), None);
    }

    #[test]
    fn the_delay_stays_within_the_policys_bounds() {
        let hedge = HedgeDelay::new(HedgePolicy::default()).unwrap();
        (0..100).for_each(|_| hedge.record(Duration::ZERO));
        let delay = hedge.delay().unwrap();
        let least = Duration::from_millis(1);
        assert!(least <= delay && delay <= least * 33 / 32, "{delay:?}");
        let hedge = HedgeDelay::new(HedgePolicy::default()).unwrap();
        (0..100).for_each(|_| hedge.record(Duration::MAX));
        assert_eq!(hedge.delay(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn what_was_slow_long_ago_is_forgotten() {
        let policy = HedgePolicy { half_life: 1_000, ..HedgePolicy::default() };
        let hedge = HedgeDelay::new(policy).unwrap();
        (0..5_000).for_each(|_| hedge.record(Duration::from_secs(2)));
        assert!(hedge.delay().unwrap() >= Duration::from_secs(2));
        (0..5_000).for_each(|_| hedge.record(Duration::from_millis(5)));
        assert!(hedge.delay().unwrap() < Duration::from_millis(6), "{:?}", hedge.delay());
        let kept: u32 = hedge.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum();
        assert!(kept <= 2_000, "a count cannot grow without end");
    }

    /// Of a hundred calls nine are slow, each in its own way; the percentile is among them.
    #[test]
    fn a_tail_that_is_spread_thin_is_not_forgotten_before_the_rest() {
        let policy = HedgePolicy { half_life: 1_000, ..HedgePolicy::default() };
        let hedge = HedgeDelay::new(policy).unwrap();
        for number in 0..1_000_u64 {
            // Ninety slow ones, each an eighteenth of an octave from the one before.
            let slow = 100.0 * 2_f64.powf((number / 11) as f64 / 18.0);
            let millis = if number % 11 == 10 { slow } else { 2.0 };
            hedge.record(Duration::from_secs_f64(millis / 1e3));
        }
        let kept = |range: std::ops::Range<usize>| -> u32 {
            hedge.buckets[range].iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
        };
        let tail = usize::try_from(bucket_of(50_000_000) - hedge.first).unwrap();
        assert_eq!(kept(tail..hedge.buckets.len()), 45);
        assert_eq!(kept(0..tail), 455);
        hedge.learn();
        // The 475th of 500 is still one of the slow ones.
        assert!(hedge.delay().unwrap() > Duration::from_millis(100), "{:?}", hedge.delay());
    }

    #[test]
    fn a_single_slow_call_is_forgotten_in_the_end() {
        let policy = HedgePolicy { half_life: 1_000, ..HedgePolicy::default() };
        let hedge = HedgeDelay::new(policy).unwrap();
        hedge.record(Duration::from_secs(9));
        (0..2_000).for_each(|_| hedge.record(Duration::from_millis(5)));
        let slow = usize::try_from(bucket_of(9_000_000_000) - hedge.first).unwrap();
        assert_eq!(hedge.buckets[slow].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn threads_lose_no_latency_and_agree_on_the_delay() {
        let policy = HedgePolicy { half_life: 1_000_000, ..HedgePolicy::default() };
        let hedge = HedgeDelay::new(policy).unwrap();
        std::thread::scope(|scope| {
            for offset in 1..=4 {
                let hedge = &hedge;
                scope.spawn(move || {
                    for number in 0..2_000 {
                        let micros = 10_000 * (number % 100) + offset;
                        hedge.record(Duration::from_micros(micros));
                    }
                });
            }
        });
        let kept: u32 = hedge.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum();
        assert_eq!(kept, 8_000);
        hedge.learn();
        let delay = hedge.delay().unwrap();
        let exact = Duration::from_micros(940_004);
        assert!(exact <= delay && delay <= exact * 33 / 32, "{delay:?}");
    }

    #[test]
    fn the_last_bucket_ends_with_the_last_number() {
        assert_eq!(end_of(bucket_of(u64::MAX)), u64::MAX);
    }

    proptest! {
        #[test]
        fn buckets_are_narrow_and_follow_one_another(shift in 0_u32..64, number: u64) {
            let number = number >> shift;
            let bucket = bucket_of(number);
            let end = end_of(bucket);
            prop_assert!(number <= end);
            prop_assert!(end - number <= number >> CUTS, "{number} ends at {end}");
            if end < u64::MAX {
                prop_assert_eq!(bucket_of(end + 1), bucket + 1);
            }
        }

        /// The counts below any bucket are half of what they were, rounded one way.
        #[test]
        fn half_of_what_is_below_any_latency_is_forgotten(
            latencies in proptest::collection::vec(1_000_000_u64..10_000_000_000, 1..300),
            time: u64,
        ) {
            let hedge = HedgeDelay::new(HedgePolicy::default()).unwrap();
            latencies.iter().for_each(|nanos| hedge.record(Duration::from_nanos(*nanos)));
            let sums = || {
                let counts = hedge.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
                counts.scan(0, |sum, count| {
                    *sum += count;
                    Some(*sum)
                })
            };
            let before: Vec<u32> = sums().collect();
            hedge.forget_half(time);
            let up = u32::try_from(time % 2).unwrap();
            for (before, after) in before.into_iter().zip(sums()) {
                prop_assert_eq!(after, (before + up) / 2);
            }
        }

        #[test]
        fn the_delay_is_the_exact_percentile_or_a_thirty_second_more(
            latencies in proptest::collection::vec(1_000_u64..10_000_000_000, 1..600),
            // Most latencies of a service are alike; both kinds of histories are drawn.
            spread in 0_u32..34,
            percentile in 0.5..0.9999_f64,
        ) {
            let latencies: Vec<_> =
                latencies.into_iter().map(|nanos| (nanos >> spread).max(1_000)).collect();
            let policy = HedgePolicy {
                percentile,
                at_least: Duration::from_micros(1),
                min_samples: 1,
                ..HedgePolicy::default()
            };
            let hedge = HedgeDelay::new(policy).unwrap();
            latencies.iter().for_each(|nanos| hedge.record(Duration::from_nanos(*nanos)));
            // Asked without more ado, it is the percentile of what was there a few calls ago.
            let known = match latencies.len() as u64 / EVERY * EVERY {
                0 => 1,
                known => usize::try_from(known).unwrap(),
            };
            for known in [known, latencies.len()] {
                let exact = exact(&latencies[..known], percentile);
                let delay = nanos(hedge.delay().unwrap());
                prop_assert!(exact <= delay && delay <= exact + exact / 32, "{delay} of {exact}");
                hedge.learn();
            }
        }
    }
}
