//! The clock is a parameter: the same policy runs on the wall clock and on a simulated year.
//!
//! Only [`SystemClock`] may read the real clock. Everything else is handed a [`Clock`], or better
//! still a [`Timestamp`], because a decision is a function of its inputs and `now` is one of them.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::time::{Clock, ManualClock};
//!
//! let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
//! clock.advance(Duration::from_secs(90));
//! assert_eq!(clock.now().to_string(), "2026-01-01T00:01:30Z");
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::error::Error;

/// A point in time: whole microseconds, within the years −9999 to 9999. Its text form is
/// RFC 3339 in UTC; on input an offset is allowed and its instant is kept.
///
/// Whole microseconds, because every store can hold them: what comes back is what went in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// Why a time was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not an RFC 3339 time.
    #[error("{0:?} is not an RFC 3339 time such as 2026-01-31T10:00:00Z")]
    NotRfc3339(String),
    /// Outside the years −9999 to 9999.
    #[error("{0} µs since 1970 is outside the years −9999 to 9999")]
    OutOfRange(i64),
}

impl From<TimeError> for Error {
    fn from(error: TimeError) -> Self {
        Self::invalid("time", error)
    }
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// The time `micros` microseconds after 1970 (before, if negative).
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] outside the years −9999 to 9999.
    pub fn from_micros(micros: i64) -> Result<Self, TimeError> {
        match jiff::Timestamp::from_microsecond(micros) {
            Ok(_) => Ok(Self(micros)),
            Err(_) => Err(TimeError::OutOfRange(micros)),
        }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This time plus `duration`, stopping at the last one that can be told.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros).min(jiff::Timestamp::MAX.as_second() * 1_000_000))
    }

    /// This time minus `duration`, stopping at the first one that can be told.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros).max(jiff::Timestamp::MIN.as_second() * 1_000_000))
    }

    /// How long after `earlier` this is; zero when it is not (a clock that was set back must not
    /// make an age negative).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn civil(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.civil().fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        text.parse::<jiff::Timestamp>()
            .map(|time| Self(time.as_microsecond()))
            .map_err(|_| TimeError::NotRfc3339(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimeError;
    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

/// Tells the time and waits. Implementations must be cheap: every decision asks for `now`.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current time. It may jump, in both directions, as wall clocks do.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start. It never goes back, so durations are measured with it.
    fn elapsed(&self) -> Duration;

    /// Returns once `duration` has passed.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// The machine's clock; [`Clock::elapsed`] counts from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the real clock")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the real clock")]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that may wait for real")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that stands still until it is told to move: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<Manual>,
}

#[derive(Debug)]
struct Manual {
    now: Timestamp,
    elapsed: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    slept: u64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let state = Manual { now, elapsed: Duration::ZERO, sleepers: BTreeMap::new(), slept: 0 };
        Self { state: Mutex::new(state) }
    }

    /// Moves the clock forward and wakes who has slept long enough, earliest first.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.lock();
        state.now = state.now.saturating_add(duration);
        state.elapsed = state.elapsed.saturating_add(duration);
        let still_asleep = {
            let end = (state.elapsed, u64::MAX);
            state.sleepers.split_off(&end)
        };
        for (_, sleeper) in std::mem::replace(&mut state.sleepers, still_asleep) {
            // A sleeper that gave up is nobody's loss.
            let _ = sleeper.send(());
        }
    }

    /// Sets the wall clock as an administrator would: [`Clock::now`] jumps, [`Clock::elapsed`]
    /// does not, and nobody wakes.
    pub fn jump_to(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// How many are asleep: a test waits for this before it advances the clock.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.values().filter(|sleeper| !sleeper.is_closed()).count()
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    async fn sleep(&self, duration: Duration) {
        let woken = {
            let mut state = self.lock();
            if duration.is_zero() {
                return;
            }
            let (sender, woken) = oneshot::channel();
            let key = (state.elapsed.saturating_add(duration), state.slept);
            state.slept += 1;
            state.sleepers.insert(key, sender);
            woken
        };
        // The sender is dropped only with the clock, and then nobody can wake anybody.
        let _ = woken.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_offset_keeps_its_instant_and_less_than_a_microsecond_is_cut() {
        let time: Timestamp = "2026-03-01T14:00:00.000000999+02:00".parse().unwrap();
        assert_eq!(time, noon());
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-03-01T12:00:00Z\"");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-03-01"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
        }
        assert!(Timestamp::from_micros(i64::MAX).is_err());
    }

    #[test]
    fn arithmetic_stops_at_the_ends_of_time() {
        let end = noon().saturating_add(Duration::MAX);
        assert_eq!(end.saturating_add(Duration::from_secs(1)), end);
        assert_eq!(noon().since(end), Duration::ZERO);
        assert!(end.to_string().starts_with("9999-"));
    }

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come_and_not_before() {
        let clock = std::sync::Arc::new(ManualClock::at(noon()));
        let sleep = |seconds| {
            let clock = clock.clone();
            tokio_test_spawn(async move { clock.sleep(Duration::from_secs(seconds)).await })
        };
        let (short, long) = (sleep(1), sleep(10));
        while clock.sleepers() < 2 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(1));
        short.await.unwrap();
        assert_eq!(clock.sleepers(), 1);
        assert!(!long.is_finished());
        clock.advance(Duration::from_secs(9));
        long.await.unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "a test may spawn and await at once")]
    fn tokio_test_spawn<F>(future: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(future)
    }

    #[test]
    fn a_jump_of_the_wall_clock_leaves_durations_alone() {
        let clock = ManualClock::at(noon());
        clock.advance(Duration::from_secs(5));
        clock.jump_to(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.elapsed(), Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }
}
