//! Alive or not, by the age of the last contact – a function, so that it needs no one to run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Whether a node can be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// It beats within its time.
    Online,
    /// Its beat is late: no new work, but what it holds is left to it.
    Suspect,
    /// Nothing was heard of it for so long that nothing is expected.
    Offline,
}

/// When a silent node becomes suspect, and when offline. The next beat brings it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LivenessPolicy {
    /// Silence that makes a node suspect. Default 30 s: three beats missed at one each 10 s.
    pub suspect_after: Duration,
    /// Silence that makes a node offline. Default 60 s, the coordinator's heartbeat timeout.
    pub offline_after: Duration,
}

impl Default for LivenessPolicy {
    fn default() -> Self {
        Self { suspect_after: Duration::from_secs(30), offline_after: Duration::from_secs(60) }
    }
}

impl LivenessPolicy {
    /// The liveness of a node last heard of at `last_seen`. Up to and including a limit, the
    /// better state holds; a clock that was set back makes nobody late.
    #[must_use]
    pub fn judge(self, last_seen: Timestamp, now: Timestamp) -> Liveness {
        let silence = now.since(last_seen);
        if silence > self.offline_after {
            Liveness::Offline
        } else if silence > self.suspect_after {
            Liveness::Suspect
        } else {
            Liveness::Online
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_leads_through_suspect_to_offline() {
        let start = Timestamp::UNIX_EPOCH;
        let after = |millis| {
            let now = start.saturating_add(Duration::from_millis(millis));
            LivenessPolicy::default().judge(start, now)
        };
        assert_eq!(after(30_000), Liveness::Online);
        assert_eq!(after(30_001), Liveness::Suspect);
        assert_eq!(after(60_000), Liveness::Suspect);
        assert_eq!(after(60_001), Liveness::Offline);
    }

    #[test]
    fn a_clock_that_jumps_back_makes_nobody_late() {
        let seen = Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(1_000_000));
        let judged = LivenessPolicy::default().judge(seen, Timestamp::UNIX_EPOCH);
        assert_eq!(judged, Liveness::Online);
    }
}
