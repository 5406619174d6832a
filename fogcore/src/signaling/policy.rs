//! How much may be said, kept and waited for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Signal;
use crate::error::{Error, Result};

/// How sessions and their mailboxes behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignalingPolicy {
    /// A session in which nothing happens for so long ends. Default 30 min.
    pub idle_after: Duration,
    /// Mail that nobody touches for so long goes. Default 1 h.
    pub mail_expires: Duration,
    /// How long a peer whose connection dropped may resume before the others hear that it left, up
    /// to 1 h. Default 30 s.
    pub grace: Duration,
    /// How long an offer without an answer goes before one from the other peer. Default 30 s.
    pub offer_holds: Duration,
    /// How long what is said to a peer that has not joined yet is kept. Default 60 s.
    pub keep_for_absent: Duration,
    /// The largest session description, in bytes. Default 64 KiB.
    pub max_sdp: usize,
    /// The largest candidate, in bytes. Default 4 KiB.
    pub max_candidate: usize,
    /// The largest message of one's own, in bytes. Default 16 KiB.
    pub max_custom: usize,
    /// The most candidates of a peer that are kept. Default 64.
    pub max_candidates: usize,
    /// The most peers of a session, 1–10,000. Default 256.
    pub max_peers: usize,
    /// The most messages that are kept for a peer that did not acknowledge them, 1–10,000. Default 256.
    pub max_waiting: usize,
    /// The most bytes that are kept for such a peer, up to 64 MiB and at least `max_sdp`. Default
    /// 1 MiB.
    pub max_waiting_bytes: usize,
    /// How many messages a peer may send per second in the long run, 1–1,000,000. Default 50.
    pub rate_per_second: u32,
    /// How many it may send at once. Default 200: all candidates of a few connections. A message
    /// counts as one more for each `max_candidate` bytes that it has, so that large ones do not fill
    /// what is kept.
    pub burst: u32,
    /// As how many messages it counts to join, because all others hear of it. Default 20.
    pub join_counts: u32,
}

impl Default for SignalingPolicy {
    fn default() -> Self {
        Self {
            idle_after: Duration::from_secs(30 * 60),
            mail_expires: Duration::from_secs(3_600),
            grace: Duration::from_secs(30),
            offer_holds: Duration::from_secs(30),
            keep_for_absent: Duration::from_secs(60),
            max_sdp: 64 << 10,
            max_candidate: 4 << 10,
            max_custom: 16 << 10,
            max_candidates: 64,
            max_peers: 256,
            max_waiting: 256,
            max_waiting_bytes: 1 << 20,
            rate_per_second: 50,
            burst: 200,
            join_counts: 20,
        }
    }
}

impl SignalingPolicy {
    /// Checks every limit.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let between = |field, found: usize, max: usize| {
            if (1..=max).contains(&found) {
                return Ok(());
            }
            Err(Error::invalid(field, format!("must be between 1 and {max}")))
        };
        if self.grace > Duration::from_secs(3_600) {
            return Err(Error::invalid("signaling.grace", "at most 1 hour is allowed"));
        }
        between("signaling.max_sdp", self.max_sdp, 1 << 20)?;
        between("signaling.max_candidate", self.max_candidate, 1 << 16)?;
        between("signaling.max_custom", self.max_custom, 1 << 20)?;
        if !(self.max_sdp..=64 << 20).contains(&self.max_waiting_bytes) {
            let why = format!("must be between max_sdp ({}) and 64 MiB", self.max_sdp);
            return Err(Error::invalid("signaling.max_waiting_bytes", why));
        }
        between("signaling.max_candidates", self.max_candidates, 1_024)?;
        between("signaling.max_peers", self.max_peers, 10_000)?;
        between("signaling.max_waiting", self.max_waiting, 10_000)?;
        between("signaling.rate_per_second", self.rate_per_second as usize, 1_000_000)?;
        between("signaling.burst", self.burst as usize, 1_000_000)?;
        between("signaling.join_counts", self.join_counts as usize, 1_000_000)
    }

    /// As how many messages a signal counts.
    pub(super) fn counts(&self, signal: &Signal) -> usize {
        1 + signal.size() / self.max_candidate.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_that_is_broken_is_named() {
        SignalingPolicy::default().check().unwrap();
        type Spoil = fn(&mut SignalingPolicy);
        let cases: [(&str, Spoil); 6] = [
            ("signaling.grace", |p| p.grace = Duration::from_secs(3_601)),
            ("signaling.max_sdp", |p| p.max_sdp = 0),
            ("signaling.max_custom", |p| p.max_custom = 2 << 20),
            ("signaling.max_waiting_bytes", |p| p.max_waiting_bytes = p.max_sdp - 1),
            ("signaling.burst", |p| p.burst = 0),
            ("signaling.join_counts", |p| p.join_counts = 0),
        ];
        for (field, spoil) in cases {
            let mut policy = SignalingPolicy::default();
            spoil(&mut policy);
            assert_eq!(policy.check().unwrap_err().field(), Some(field));
        }
    }
}
