//! Events for a listener that may die: what it did not acknowledge is given again.
//!
//! A [`Subscription`] forgets what it handed out. That is enough within a program, and too little
//! for a listener at the far end of a language boundary, which may be cancelled between taking an
//! event and acting on it. A [`Feed`] numbers what it hands out and keeps it until it is told that
//! the listener is done with it. It keeps no more than one pull may ask for, and whoever does not
//! acknowledge hears the same again; what is lost meanwhile is the bus's to count
//! ([`Notice::Missed`]).
//!
//! ```
//! use fogcore::event::{Event, EventBus, Feed};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let bus = EventBus::new(8);
//! let mut feed = Feed::new(bus.subscribe());
//! bus.publish(Event::NodeOnline { node: "a".parse().unwrap() });
//!
//! let taken = feed.pull(10).await;
//! // The listener dies here. The next one hears the same:
//! assert_eq!(feed.pull(10).await, taken);
//! feed.acknowledge(taken[0].number);
//! bus.publish(Event::NodeOnline { node: "b".parse().unwrap() });
//! assert_eq!(feed.pull(10).await[0].number, 2);
//! # });
//! ```

use std::collections::VecDeque;

use super::{Notice, Subscription};

/// A notice with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    /// Grows by one with each notice of a feed, from 1.
    pub number: u64,
    /// What happened.
    pub notice: Notice,
}

/// A subscription that repeats what was not acknowledged.
#[derive(Debug)]
pub struct Feed {
    subscription: Subscription,
    /// Handed out, or about to be, and not acknowledged; the oldest first.
    pending: VecDeque<Numbered>,
    last: u64,
}

impl Feed {
    /// The most notices of one pull, and so the most that a feed keeps.
    pub const MAX_PULL: usize = 1_000;

    /// A feed of what the subscription hears from now on.
    #[must_use]
    pub const fn new(subscription: Subscription) -> Self {
        Self { subscription, pending: VecDeque::new(), last: 0 }
    }

    /// What was not acknowledged yet, and what happened since; at least one notice, for which it
    /// waits, and at most `limit` (1–1,000; a number outside is brought inside). Empty once the bus
    /// is gone and everything was acknowledged. Dropped while it waits, it loses nothing.
    pub async fn pull(&mut self, limit: usize) -> Vec<Numbered> {
        let limit = limit.clamp(1, Self::MAX_PULL);
        if self.pending.is_empty()
            && let Some(notice) = self.subscription.next().await
        {
            self.keep(notice);
        }
        while self.pending.len() < limit
            && let Some(notice) = self.subscription.try_next()
        {
            self.keep(notice);
        }
        self.pending.iter().take(limit).cloned().collect()
    }

    /// The listener is done with everything up to and including `number`.
    pub fn acknowledge(&mut self, number: u64) {
        while self.pending.front().is_some_and(|first| first.number <= number) {
            self.pending.pop_front();
        }
    }

    fn keep(&mut self, notice: Notice) {
        self.last += 1;
        self.pending.push_back(Numbered { number: self.last, notice });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventBus};

    fn publish(bus: &EventBus, names: std::ops::Range<u32>) {
        for name in names {
            bus.publish(Event::NodeOnline { node: name.to_string().parse().unwrap() });
        }
    }

    fn numbers(taken: &[Numbered]) -> Vec<u64> {
        taken.iter().map(|one| one.number).collect()
    }

    #[tokio::test]
    async fn what_was_not_acknowledged_comes_again_in_front_of_what_is_new() {
        let bus = EventBus::new(16);
        let mut feed = Feed::new(bus.subscribe());
        publish(&bus, 0..3);
        assert_eq!(numbers(&feed.pull(2).await), [1, 2]);
        feed.acknowledge(1);
        assert_eq!(numbers(&feed.pull(10).await), [2, 3]);
        publish(&bus, 3..4);
        assert_eq!(numbers(&feed.pull(10).await), [2, 3, 4]);
        // One from the past is no news, and one from the future cannot be meant for later.
        feed.acknowledge(1);
        feed.acknowledge(99);
        publish(&bus, 4..5);
        assert_eq!(numbers(&feed.pull(10).await), [5]);
    }

    #[tokio::test]
    async fn a_pull_that_is_given_up_loses_nothing() {
        let bus = EventBus::new(16);
        let mut feed = Feed::new(bus.subscribe());
        {
            let mut waiting = std::pin::pin!(feed.pull(5));
            let nothing = futures::poll!(waiting.as_mut());
            assert!(nothing.is_pending());
            publish(&bus, 0..2);
        }
        assert_eq!(numbers(&feed.pull(5).await), [1, 2]);
    }

    #[tokio::test]
    async fn a_silent_listener_costs_a_bounded_amount_and_is_told_what_it_missed() {
        let bus = EventBus::new(8);
        let mut feed = Feed::new(bus.subscribe());
        publish(&bus, 0..4);
        assert_eq!(feed.pull(2).await.len(), 2);
        publish(&bus, 4..100);
        for _ in 0..3 {
            assert_eq!(numbers(&feed.pull(2).await), [1, 2]);
        }
        feed.acknowledge(2);
        let rest = feed.pull(100).await;
        assert_eq!(rest[0].notice, Notice::Missed(90));
        assert_eq!(numbers(&rest), (3..=11).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_end_of_the_bus_is_told_when_everything_was_heard() {
        let bus = EventBus::new(8);
        let mut feed = Feed::new(bus.subscribe());
        publish(&bus, 0..1);
        drop(bus);
        assert_eq!(numbers(&feed.pull(5).await), [1]);
        assert_eq!(numbers(&feed.pull(5).await), [1]);
        feed.acknowledge(1);
        assert!(feed.pull(5).await.is_empty());
    }
}
