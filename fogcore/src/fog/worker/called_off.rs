//! Tasks that are called off in this process, of which a worker need not hear with a renewal.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Core;

impl Core {
    /// Drops what is called off, until the worker has `finished`.
    pub(super) fn hear_what_is_called_off(
        &self,
        finished: &CancellationToken,
    ) -> impl Future<Output = ()> {
        // From now on, not from when it is first polled.
        let mut called_off = self.fog.shared.called_off.subscribe();
        async move {
            loop {
                let heard = tokio::select! {
                    () = finished.cancelled() => return,
                    heard = called_off.recv() => heard,
                };
                let mut held = self.lock();
                match heard {
                    Ok(task) => {
                        for (_, held) in held.iter().filter(|((held, _), _)| *held == task) {
                            tracing::info!(%task, "a task is called off, its work is dropped");
                            held.cancelled.cancel();
                        }
                    }
                    // The next look at the store tells which of them these were.
                    Err(RecvError::Lagged(_)) => {
                        held.values_mut().for_each(|held| held.renewed = Duration::ZERO);
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }
}
