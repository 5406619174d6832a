//! Until when an answer is worth something, handed from hop to hop.
//!
//! A caller that has gone away is still worked for by everybody behind the one that it asked. So
//! each hop hands on how much time is left: not an instant, because clocks of two machines do not
//! agree, but a number of milliseconds, rounded down, so that a deadline never gets longer. The time
//! on the wire is in nobody's count; who knows it takes it off.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::Deadline;
//!
//! let now = Duration::from_secs(100);
//! let mine = Deadline::after(now, Duration::from_secs(2));
//! let header = mine.to_millis(now + Duration::from_millis(1_250)).to_string();
//! assert_eq!(header, "750");
//!
//! // On the next hop, whose clock shows something else:
//! let there = Duration::from_secs(7);
//! let theirs = Deadline::from_millis_header(&header, there)?;
//! assert_eq!(theirs.left(there), Duration::from_millis(750));
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::time::Duration;

use crate::error::{Error, Result};

/// An instant on this process's clock, which means nothing to another: what goes there is
/// [`to_millis`](Self::to_millis).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Duration);

impl Deadline {
    /// At the instant `at`, counted as `now` is.
    #[must_use]
    pub const fn at(at: Duration) -> Self {
        Self(at)
    }

    /// So much after `now`.
    #[must_use]
    pub const fn after(now: Duration, span: Duration) -> Self {
        Self(now.saturating_add(span))
    }

    /// From what the hop before handed on: whole milliseconds left, in decimal digits.
    ///
    /// # Errors
    /// InvalidInput for what is no such number.
    pub fn from_millis_header(text: &str, now: Duration) -> Result<Self> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(millis) if digits => Ok(Self::after(now, Duration::from_millis(millis))),
            _ => Err(Error::invalid("deadline", "must be a whole number of milliseconds")),
        }
    }

    /// How much time is left; zero when it is over.
    #[must_use]
    pub const fn left(self, now: Duration) -> Duration {
        self.0.saturating_sub(now)
    }

    /// Whether no time is left.
    #[must_use]
    pub const fn is_over(self, now: Duration) -> bool {
        self.left(now).is_zero()
    }

    /// The one that is over first.
    #[must_use]
    pub fn earliest(self, other: Self) -> Self {
        self.min(other)
    }

    /// The whole milliseconds left, to be handed to the next hop. At zero there is nothing to ask
    /// it for.
    #[must_use]
    pub fn to_millis(self, now: Duration) -> u64 {
        u64::try_from(self.left(now).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_number_of_milliseconds_is_refused() {
        for text in ["", "-1", "+1", "1.5", " 1", "1s", "١", "18446744073709551616"] {
            let error = Deadline::from_millis_header(text, Duration::ZERO).unwrap_err();
            assert_eq!(error.field(), Some("deadline"), "{text:?}");
        }
        let far = Deadline::from_millis_header("18446744073709551615", Duration::MAX).unwrap();
        assert_eq!(far, Deadline::at(Duration::MAX));
    }

    #[test]
    fn it_is_over_at_its_instant_and_not_before() {
        let deadline = Deadline::after(Duration::from_secs(1), Duration::from_secs(2));
        let just_before = Duration::from_nanos(2_999_999_999);
        assert!(!deadline.is_over(just_before));
        assert_eq!(deadline.left(just_before), Duration::from_nanos(1));
        assert!(deadline.is_over(Duration::from_secs(3)));
        assert_eq!(deadline.left(Duration::from_secs(9)), Duration::ZERO);
    }

    proptest! {
        /// Each hop has a clock of its own, works for a while, and may have a limit of its own.
        #[test]
        fn a_deadline_never_gets_longer_on_its_way(
            first in 0_u64..100_000_000_000,
            hops in proptest::collection::vec(
                (any::<u32>(), 0_u64..1_000_000_000, 0_u64..100_000_000_000),
                1..10,
            ),
        ) {
            let first = Duration::from_nanos(first);
            let mut deadline = Deadline::after(Duration::ZERO, first);
            let (mut here, mut worked) = (Duration::ZERO, Duration::ZERO);
            for (clock, work, own) in &hops {
                let work = Duration::from_nanos(*work);
                (here, worked) = (here + work, worked + work);
                let header = deadline.to_millis(here).to_string();
                here = Duration::from_nanos(u64::from(*clock));
                let own = Deadline::after(here, Duration::from_nanos(*own));
                let handed_on = Deadline::from_millis_header(&header, here).unwrap();
                deadline = handed_on.earliest(own);
                let left = deadline.left(here);
                prop_assert!(left <= first.saturating_sub(worked));
                prop_assert!(left <= own.left(here));
            }
            let lost = Duration::from_millis(hops.len().try_into().unwrap());
            if hops.iter().all(|(_, _, own)| Duration::from_nanos(*own) > first) {
                let left = deadline.left(here);
                prop_assert!(left + lost >= first.saturating_sub(worked), "a millisecond a hop");
            }
        }
    }
}
