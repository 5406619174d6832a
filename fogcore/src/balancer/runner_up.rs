//! Who was weighed for the last request and came second, for each thread or so.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::failover::words::{high, low, pair};

/// How many are remembered: more cores than this share them.
const STRIPES: usize = 8;

/// The runners-up of one scope, each in a cache line of its own.
#[derive(Debug, Default)]
pub(super) struct RunnersUp {
    parts: [Part; STRIPES],
}

/// `changes << 32 | number`; zero: nobody.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(AtomicU64);

impl RunnersUp {
    /// Who it was, if no node has changed since: otherwise it may belong here no more.
    #[inline]
    pub(super) fn recall(&self, stripe: u16, changes: u64) -> Option<u32> {
        let word = self.part(stripe).load(Ordering::Relaxed);
        (word != 0 && high(word) == low(changes)).then_some(low(word))
    }

    #[inline]
    pub(super) fn remember(&self, stripe: u16, changes: u64, number: Option<u32>) {
        let word = number.map_or(0, |number| pair(low(changes), number));
        self.part(stripe).store(word, Ordering::Relaxed);
    }

    fn part(&self, stripe: u16) -> &AtomicU64 {
        &self.parts[usize::from(stripe) % STRIPES].0
    }

    /// All of them, for a snapshot taken after so many changes.
    pub(super) fn all(&self, changes: u64) -> Vec<Option<u32>> {
        (0..STRIPES).zip(0..).map(|(_, stripe)| self.recall(stripe, changes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_up_is_recalled_by_its_own_thread_until_a_node_changes() {
        let runners_up = RunnersUp::default();
        runners_up.remember(3, 7, Some(42));
        assert_eq!(runners_up.recall(3, 7), Some(42));
        assert_eq!(runners_up.recall(4, 7), None);
        assert_eq!(runners_up.recall(3, 8), None);
        runners_up.remember(3, 7, None);
        assert_eq!(runners_up.recall(3, 7), None);
    }

    #[test]
    fn a_snapshot_holds_all_that_can_be_recalled() {
        let runners_up = RunnersUp::default();
        runners_up.remember(0, 7, Some(0));
        runners_up.remember(1, 6, Some(1));
        runners_up.remember(2, 7, Some(2));
        let all = runners_up.all(7);
        assert_eq!(all[..4], [Some(0), None, Some(2), None]);
    }
}
