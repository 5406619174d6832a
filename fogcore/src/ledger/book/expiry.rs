//! Holds whose time is over.
//!
//! A hold is over from the moment its timeout ends, whether or not anybody has noticed: no post or
//! void is accepted from then on. Its amount is free, and what it closed is open again, once the
//! ledger has ended it, which is a transfer like all others. The order in which that happens does
//! not depend on who asks.

use super::Book;
use crate::id::TransferId;
use crate::ledger::{LedgerError, Posted, Transfer, TransferFlags, TransferKind};
use crate::time::Timestamp;

/// A pending hold with a timeout, in the order in which such are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) expires_at: Timestamp,
    pub(super) at: Timestamp,
    pub(super) hold: TransferId,
}

impl Due {
    /// When this hold is to be ended, if ever.
    pub(super) fn of(posted: &Posted) -> Option<Self> {
        let (hold, at) = (posted.transfer.id, posted.at);
        posted.expires_at().map(|expires_at| Self { expires_at, at, hold })
    }
}

impl Book {
    /// The holds in the book whose time is over at `now` and that are not ended yet, at most
    /// `limit`: by the time at which it was over, then by that at which they were made, then by
    /// id.
    ///
    /// A store that has only a part of the ledger in the book asks its own index, in that order.
    #[must_use]
    pub fn expired(&self, now: Timestamp, limit: usize) -> Vec<TransferId> {
        let due = self.due.iter().take_while(|due| due.expires_at <= now);
        due.map(|due| due.hold).take(limit).collect()
    }

    /// Ends the holds in the book whose time is over, at most `limit`, in the order of
    /// [`expired`](Self::expired); returns the transfers that ended them. What cannot be ended,
    /// which would be damage, is told to the log and left.
    pub fn expire_due(&mut self, now: Timestamp, limit: usize) -> Vec<Posted> {
        let mut ended = Vec::new();
        for hold in self.expired(now, limit) {
            match self.expire(hold, now) {
                Ok(posted) => ended.push(posted.clone()),
                Err(error) => tracing::error!(%error, %hold, "a hold cannot be ended"),
            }
        }
        ended
    }

    /// Ends a hold whose time is over, by a transfer with the id [`Transfer::expiry_id`], which
    /// has the hold's purpose, reference and user data. If that was done before, it is returned.
    ///
    /// # Errors
    /// [`LedgerError::NotExpired`] if its time is not over, and what else keeps a hold from being
    /// ended.
    pub fn expire(&mut self, hold: TransferId, now: Timestamp) -> Result<&Posted, LedgerError> {
        let held = self.transfers.get(&hold).ok_or(LedgerError::HoldNotFound(hold))?;
        let end = Transfer {
            id: Transfer::expiry_id(hold),
            kind: TransferKind::Expire { hold },
            flags: TransferFlags::NONE,
            timeout_seconds: 0,
            ..held.transfer.clone()
        };
        self.apply(&end, now)
    }
}
