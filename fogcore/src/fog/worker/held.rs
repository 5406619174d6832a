//! What a worker knows of a lease that it holds.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::scheduler::{Notes, Progress, Stop};
use crate::time::{Clock, Timestamp};

/// A lease that the worker holds.
pub(super) struct Held {
    pub(super) renewed: Duration,
    pub(super) progress: watch::Receiver<Option<Progress>>,
    pub(super) notes: Arc<Notes>,
    pub(super) stop: watch::Sender<Option<Stop>>,
    /// When it is dropped, if it was asked to stop.
    pub(super) drop_at: Option<Duration>,
    pub(super) cancelled: CancellationToken,
}

impl Held {
    /// Tells the job that its lease ends at `until`, and sees to it that it ends before.
    pub(super) fn ask_to_stop(&mut self, until: Timestamp, clock: &dyn Clock) {
        if self.drop_at.is_none() {
            // A tenth is left for saving and giving back.
            let left = until.since(clock.now());
            self.drop_at = Some(clock.elapsed().saturating_add(left.mul_f64(0.9)));
            self.stop.send_replace(Some(Stop { until }));
        }
    }
}
