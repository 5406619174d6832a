//! How long the load has been low without a break, and how many nodes it needed at most meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

/// A row of checks at which the load was low.
#[derive(Clone, Debug, Default)]
pub(super) struct Calm {
    since: Option<Duration>,
    latest: Duration,
    /// When how many nodes were needed; only those that no later one exceeds, so the first is the
    /// highest, and there are never more than different numbers of nodes.
    needs: VecDeque<(Duration, u32)>,
}

impl Calm {
    /// The load was low at `now`, and `need` nodes would carry it. Nobody knows how it was if the
    /// check before is longer ago than `gap`.
    pub(super) fn low(&mut self, now: Duration, need: u32, gap: Duration, window: Duration) {
        if now.saturating_sub(self.latest) > gap {
            self.end();
        }
        self.since.get_or_insert(now);
        self.latest = now;
        while self.needs.back().is_some_and(|(_, other)| *other <= need) {
            self.needs.pop_back();
        }
        self.needs.push_back((now, need));
        while self.needs.front().is_some_and(|(at, _)| at.saturating_add(window) < now) {
            self.needs.pop_front();
        }
    }

    /// The load was not low, or is not known.
    pub(super) fn end(&mut self) {
        self.since = None;
        self.needs.clear();
    }

    /// The most nodes that were needed within the window.
    ///
    /// # Errors
    /// How much longer the load must stay low.
    pub(super) fn highest(&self, now: Duration, window: Duration) -> Result<u32, Duration> {
        let calm = self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        match self.needs.front() {
            Some((_, need)) if calm >= window => Ok(*need),
            _ => Err(window.saturating_sub(calm)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);
    const GAP: Duration = Duration::from_secs(90);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    proptest! {
        /// Beside a list of all checks.
        #[test]
        fn it_says_what_a_list_of_all_checks_says(
            checks in proptest::collection::vec((1_u64..100, 0_u32..8, 0_u8..20), 1..200),
        ) {
            let (mut calm, mut list) = (Calm::default(), Vec::<(Duration, u32)>::new());
            let mut now = at(0);
            for (wait, need, kind) in checks {
                now += at(wait);
                if kind == 0 {
                    calm.end();
                    list.clear();
                } else {
                    if list.last().is_some_and(|(before, _)| now - *before > GAP) {
                        list.clear();
                    }
                    calm.low(now, need, GAP, WINDOW);
                    list.push((now, need));
                }
                let long = list.first().is_some_and(|(first, _)| now - *first >= WINDOW);
                let within = list.iter().filter(|(then, _)| now - *then <= WINDOW);
                let highest = within.map(|(_, need)| *need).max().filter(|_| long);
                prop_assert_eq!(calm.highest(now, WINDOW).ok(), highest);
                prop_assert!(calm.needs.len() <= 8);
            }
        }
    }

    #[test]
    fn it_says_how_much_longer_it_must_stay_low() {
        let mut calm = Calm::default();
        assert_eq!(calm.highest(at(500), WINDOW), Err(WINDOW));
        calm.low(at(500), 4, GAP, WINDOW);
        assert_eq!(calm.highest(at(500), Duration::ZERO), Ok(4), "no window, no wait");
        calm.low(at(560), 3, GAP, WINDOW);
        assert_eq!(calm.highest(at(560), WINDOW), Err(at(240)));
    }
}
