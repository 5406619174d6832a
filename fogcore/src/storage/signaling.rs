//! What keeping sessions and mail has in common in every store.

use crate::error::Error;
use crate::signaling::{SignalingError, SignalingPolicy};

/// Too many peers left something in one session.
pub(super) fn peers_are_full(policy: &SignalingPolicy) -> Error {
    let max = policy.max_peers;
    SignalingError::Full { what: "peers leave mail in a session", max }.into()
}
