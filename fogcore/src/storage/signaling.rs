//! What keeping sessions and mail has in common in every store.

use crate::error::{Error, Result};
use crate::signaling::{Session, SignalingError, SignalingPolicy};

/// Refuses a session that is over.
pub(super) fn is_open(session: &Session) -> Result<()> {
    if session.status.is_open() {
        return Ok(());
    }
    let (id, status) = (session.id.clone(), session.status);
    Err(SignalingError::SessionOver { id, status }.into())
}

/// Too many peers left something in one session.
pub(super) fn peers_are_full(policy: &SignalingPolicy) -> Error {
    let max = policy.max_peers;
    SignalingError::Full { what: "peers leave mail in a session", max }.into()
}
