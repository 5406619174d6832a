//! How much may wait, and how long what is done is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::AccountId;
use crate::scheduler::SchedulerError;
use crate::scheduler::task::{DEFAULT_RETENTION, check_retention};

/// What a fog takes into its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueuePolicy {
    /// The most tasks of one payer that may be open (waiting or running), at least 1; tasks that
    /// nobody pays count together, as those of one payer. Default 10,000,000: far more than a
    /// client needs at a time, and little enough that one client's mistake does not fill a disk.
    pub open_per_payer: u64,
    /// How long result, payload, log and explanation of a task are kept after its end, unless the
    /// task says otherwise, up to 10 years. Default 7 days.
    pub retain_for: Duration,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self { open_per_payer: 10_000_000, retain_for: DEFAULT_RETENTION }
    }
}

impl QueuePolicy {
    /// Checks every limit.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if self.open_per_payer == 0 {
            return Err(Error::invalid("queue.open_per_payer", "must be at least 1"));
        }
        check_retention("queue.retain_for", self.retain_for)
    }

    /// Whether one more task of `payer`, who has `open` of them, is taken in.
    ///
    /// # Errors
    /// Exhausted, naming the limit.
    pub fn admit(&self, payer: Option<&AccountId>, open: u64) -> Result<()> {
        if open < self.open_per_payer {
            return Ok(());
        }
        let (limit, most) = ("open_per_payer", self.open_per_payer);
        Err(SchedulerError::QueueFull { limit, most, payer: payer.cloned() }.into())
    }
}
