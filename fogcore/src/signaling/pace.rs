//! How fast each peer may say something, whether it stays or comes and goes.

use std::collections::BTreeMap;

use super::{SignalingError, SignalingPolicy};
use crate::id::PeerId;
use crate::time::Timestamp;

/// When each peer's next message would be due if it sent at its rate (the theoretical arrival time
/// of the generic cell rate algorithm, ITU-T I.371), in microseconds. Who has been quiet for long
/// enough is not in it, and need not be.
#[derive(Debug, Default)]
pub(super) struct Pace(BTreeMap<PeerId, i64>);

impl Pace {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Lets a peer say what counts as so many messages, or refuses.
    pub(super) fn take(
        &mut self,
        peer: &PeerId,
        messages: usize,
        policy: &SignalingPolicy,
        now: Timestamp,
    ) -> Result<(), SignalingError> {
        // Whoever comes and goes under new names all the time.
        let max = 4 * policy.max_peers;
        if self.0.len() >= max && !self.0.contains_key(peer) {
            self.sweep(now);
            if self.0.len() >= max {
                return Err(SignalingError::Full { what: "peers come and go in a session", max });
            }
        }
        let now = now.as_micros();
        let step = 1_000_000 / i64::from(policy.rate_per_second.max(1));
        let most = step.saturating_mul(i64::from(policy.burst));
        // What is larger than all that is allowed at once takes all of it.
        let messages = i64::try_from(messages).unwrap_or(i64::MAX).min(i64::from(policy.burst));
        let due = self.0.get(peer).map_or(now, |due| now.max(*due));
        let due = due.saturating_add(step.saturating_mul(messages));
        let over = due.saturating_sub(now).saturating_sub(most);
        if over > 0 {
            let wait_ms = u64::try_from(over / 1_000).unwrap_or_default() + 1;
            return Err(SignalingError::TooFast { peer: peer.clone(), wait_ms });
        }
        self.0.insert(peer.clone(), due);
        Ok(())
    }

    /// Forgets who has been quiet for long enough.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|_, due| *due > now.as_micros());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn take(pace: &mut Pace, name: &str, messages: usize, millis: u64) -> bool {
        let policy = SignalingPolicy {
            rate_per_second: 10,
            burst: 5,
            max_peers: 1,
            ..SignalingPolicy::default()
        };
        let now = NOW.saturating_add(std::time::Duration::from_millis(millis));
        pace.take(&name.parse().unwrap(), messages, &policy, now).is_ok()
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let mut pace = Pace::default();
        assert!((0..5).all(|_| take(&mut pace, "a", 1, 0)) && !take(&mut pace, "a", 1, 0));
        assert!(take(&mut pace, "a", 1, 100) && !take(&mut pace, "a", 1, 100));
        assert!(!take(&mut pace, "a", 99, 400), "that much is not due yet");
        assert!(take(&mut pace, "a", 99, 600), "what is too large for any burst takes a whole one");
        assert!(!take(&mut pace, "a", 1, 600));
    }

    #[test]
    fn new_names_all_the_time_are_no_way_around() {
        let mut pace = Pace::default();
        assert!((0..4).all(|number| take(&mut pace, &format!("p{number}"), 1, 0)));
        assert!(!take(&mut pace, "p4", 1, 0));
        assert!(take(&mut pace, "p4", 1, 100), "the others have been quiet for long enough");
    }
}
