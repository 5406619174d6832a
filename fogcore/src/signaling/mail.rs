//! What a peer of a session left for the others: its offer, its answer and its candidates.

use serde::{Deserialize, Serialize};

use super::{SignalingError, SignalingPolicy};
use crate::error::{Error, Result};
use crate::id::PeerId;
use crate::time::Timestamp;

/// What a peer says about how it can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Signal {
    /// A session description that asks for an answer. A further one restarts ICE.
    Offer {
        /// In SDP.
        sdp: String,
    },
    /// The answer to one.
    Answer {
        /// In SDP.
        sdp: String,
    },
    /// An address that the peer may be reached at; trickled, as they are found.
    IceCandidate {
        /// As the peer's WebRTC stack gave it: a line of SDP, or JSON.
        candidate: String,
    },
    /// There are no more candidates.
    EndOfCandidates,
    /// Something of the application's own, for peers that are connected; it is not left as mail.
    Custom {
        /// In whatever form they agreed on.
        data: String,
    },
}

impl Signal {
    /// Checks that it is neither empty nor too large. What it says is for the peers to understand.
    ///
    /// # Errors
    /// InvalidInput with the field `sdp`, `candidate` or `data`.
    pub fn check(&self, policy: &SignalingPolicy) -> Result<()> {
        let (field, text, max) = match self {
            Self::Offer { sdp } | Self::Answer { sdp } => ("sdp", sdp, policy.max_sdp),
            Self::IceCandidate { candidate } => ("candidate", candidate, policy.max_candidate),
            Self::Custom { data } => ("data", data, policy.max_custom),
            Self::EndOfCandidates => return Ok(()),
        };
        if text.trim().is_empty() {
            return Err(Error::invalid(field, "must not be empty"));
        }
        if text.len() > max {
            return Err(SignalingError::TooLarge { field, found: text.len(), max }.into());
        }
        Ok(())
    }

    /// What the peer wrote, in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Self::Offer { sdp: text }
            | Self::Answer { sdp: text }
            | Self::IceCandidate { candidate: text }
            | Self::Custom { data: text } => text.len(),
            Self::EndOfCandidates => 0,
        }
    }
}

/// What a peer left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Who.
    pub peer: PeerId,
    /// Its offer, if it made one.
    pub offer: Option<String>,
    /// Its answer, if it gave one.
    pub answer: Option<String>,
    /// Its candidates, in order.
    pub candidates: Vec<String>,
    /// Whether there are no more.
    pub ended: bool,
    /// When its offer came.
    pub offered_at: Option<Timestamp>,
    /// When its answer came.
    pub answered_at: Option<Timestamp>,
    /// When it was written or read last.
    pub used_at: Timestamp,
}

impl Mail {
    /// Nothing.
    #[must_use]
    pub const fn empty(peer: PeerId, now: Timestamp) -> Self {
        Self {
            peer,
            offer: None,
            answer: None,
            candidates: Vec::new(),
            ended: false,
            offered_at: None,
            answered_at: None,
            used_at: now,
        }
    }

    /// Takes in a signal: a new offer begins anew, so it clears the peer's answer and candidates.
    ///
    /// # Errors
    /// InvalidInput with the field's name; Exhausted for too many candidates.
    pub fn put(&mut self, signal: Signal, policy: &SignalingPolicy, now: Timestamp) -> Result<()> {
        signal.check(policy)?;
        match signal {
            Signal::Offer { sdp } => {
                *self = Self::empty(self.peer.clone(), now);
                (self.offer, self.offered_at) = (Some(sdp), Some(now));
            }
            Signal::Answer { sdp } => {
                (self.answer, self.answered_at) = (Some(sdp), Some(now));
            }
            // A line that is sent again says nothing new.
            Signal::IceCandidate { candidate } if self.candidates.contains(&candidate) => {}
            Signal::IceCandidate { candidate } => {
                if self.candidates.len() >= policy.max_candidates {
                    let max = policy.max_candidates;
                    return Err(SignalingError::Full { what: "candidates are kept", max }.into());
                }
                self.candidates.push(candidate);
            }
            Signal::EndOfCandidates => self.ended = true,
            Signal::Custom { .. } => {
                return Err(Error::invalid("type", "is only for peers that are connected"));
            }
        }
        self.used_at = self.used_at.max(now);
        Ok(())
    }

    /// Whether nobody has used it for too long.
    #[must_use]
    pub fn is_stale(&self, policy: &SignalingPolicy, now: Timestamp) -> bool {
        super::session::is_stale(self.used_at, policy, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn offer(sdp: &str) -> Signal {
        Signal::Offer { sdp: sdp.into() }
    }

    fn candidate(text: &str) -> Signal {
        Signal::IceCandidate { candidate: text.into() }
    }

    #[test]
    fn a_new_offer_clears_what_belonged_to_the_old_one() {
        let policy = SignalingPolicy { max_candidates: 2, ..SignalingPolicy::default() };
        let mut mail = Mail::empty("a".parse().unwrap(), NOW);
        for signal in [offer("one"), candidate("1"), candidate("2"), candidate("1")] {
            mail.put(signal, &policy, NOW).unwrap();
        }
        assert_eq!(mail.candidates, ["1", "2"]);
        let full = mail.put(candidate("3"), &policy, NOW).unwrap_err();
        assert_eq!(full.kind(), crate::ErrorKind::Exhausted);
        mail.put(Signal::EndOfCandidates, &policy, NOW).unwrap();
        mail.put(Signal::Answer { sdp: "yes".into() }, &policy, NOW).unwrap();
        mail.put(offer("two"), &policy, NOW).unwrap();
        let fresh = Mail { offer: Some("two".into()), offered_at: Some(NOW), ..mail.clone() };
        assert_eq!(mail, fresh);
        assert!(mail.answer.is_none() && mail.candidates.is_empty() && !mail.ended);
    }

    #[test]
    fn what_is_empty_or_too_large_is_refused_by_name() {
        let policy = SignalingPolicy::default();
        for (signal, field) in [
            (offer(" "), "sdp"),
            (offer(&"x".repeat(policy.max_sdp + 1)), "sdp"),
            (candidate(""), "candidate"),
            (candidate(&"x".repeat(policy.max_candidate + 1)), "candidate"),
            (Signal::Custom { data: String::new() }, "data"),
            (Signal::Custom { data: "x".repeat(policy.max_custom + 1) }, "data"),
        ] {
            assert_eq!(signal.check(&policy).unwrap_err().field(), Some(field));
        }
        offer(&"x".repeat(policy.max_sdp)).check(&policy).unwrap();
        let mut mail = Mail::empty("a".parse().unwrap(), NOW);
        let kept = mail.put(Signal::Custom { data: "hello".into() }, &policy, NOW).unwrap_err();
        assert_eq!(kept.field(), Some("type"));
    }
}
