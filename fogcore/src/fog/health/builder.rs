//! Making a monitor.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::monitor::{Core, HealthMonitor, OnHealth, PROBES, SECONDS};
use super::targets::Targets;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventBus;
use crate::failover::{HealthPolicy, HealthProbe};
use crate::fog::Shared;
use crate::time::{Clock, SystemClock};

/// Makes a [`HealthMonitor`].
pub struct HealthMonitorBuilder {
    probe: Arc<dyn HealthProbe>,
    policy: HealthPolicy,
    clock: Option<Arc<dyn Clock>>,
    seed: Option<u64>,
    max_concurrent: usize,
    max_targets: usize,
    on_change: Option<OnHealth>,
    events: Option<EventBus>,
    fog: Option<Weak<Shared>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl fmt::Debug for HealthMonitorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthMonitorBuilder").field("probe", &self.probe).finish_non_exhaustive()
    }
}

impl HealthMonitorBuilder {
    pub(super) fn new(probe: Arc<dyn HealthProbe>) -> Self {
        Self {
            probe,
            policy: HealthPolicy::default(),
            clock: None,
            seed: None,
            max_concurrent: 32,
            max_targets: 100_000,
            on_change: None,
            events: None,
            fog: None,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Probing as often, and deciding as, this policy says.
    #[must_use]
    pub fn policy(self, policy: HealthPolicy) -> Self {
        Self { policy, ..self }
    }

    /// With another clock than the machine's (or than the fog's).
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// With jitter that comes out the same again. Default: from the operating system, so that
    /// several monitors of the same nodes do not probe them at the same moments.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// With at most so many probes at the same time, 1–4,096. Default 32. A probe that is due
    /// waits for its turn, and its timeout begins only then.
    #[must_use]
    pub fn max_concurrent(self, max_concurrent: usize) -> Self {
        Self { max_concurrent, ..self }
    }

    /// With at most so many targets, 1–1,000,000. Default 100,000.
    #[must_use]
    pub fn max_targets(self, max_targets: usize) -> Self {
        Self { max_targets, ..self }
    }

    /// Telling of each change.
    #[must_use]
    pub fn on_change(self, on_change: OnHealth) -> Self {
        Self { on_change: Some(on_change), ..self }
    }

    /// Publishing [`Event::NodeHealth`](crate::event::Event::NodeHealth) when a node becomes
    /// healthy or unhealthy.
    #[must_use]
    pub fn events(self, events: EventBus) -> Self {
        Self { events: Some(events), ..self }
    }

    /// With a loop among these tasks, stopped with that token.
    pub(in crate::fog) fn within(self, tasks: TaskTracker, stopping: CancellationToken) -> Self {
        Self { tasks, stopping, ..self }
    }

    /// Heard by the balancers of this fog.
    pub(in crate::fog) fn followed_by(self, fog: Weak<Shared>) -> Self {
        Self { fog: Some(fog), ..self }
    }

    /// Begins to probe, on the tokio runtime of the caller. There are no targets yet.
    ///
    /// # Errors
    /// InvalidInput with the field's name; Unavailable outside a tokio runtime, or if the
    /// operating system has no randomness to give.
    pub fn start(self) -> Result<HealthMonitor> {
        self.policy.check()?;
        if !(1..=4_096).contains(&self.max_concurrent) {
            return Err(Error::invalid("max_concurrent", "must be between 1 and 4096"));
        }
        if !(1..=1_000_000).contains(&self.max_targets) {
            return Err(Error::invalid("max_targets", "must be between 1 and 1000000"));
        }
        let unavailable = ErrorKind::Unavailable;
        let runtime = Handle::try_current().map_err(|error| Error::new(unavailable, error))?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => SysRng.try_next_u64().map_err(|error| Error::new(unavailable, error))?,
        };
        metrics::describe_counter!(PROBES, "Health probes that ended, by result");
        metrics::describe_histogram!(SECONDS, metrics::Unit::Seconds, "Time of health probes");
        let targets = Targets::new(self.policy, seed, self.max_targets);
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let core = Arc::new(Core {
            probe: self.probe,
            timeout: self.policy.timeout,
            clock,
            max_concurrent: self.max_concurrent,
            on_change: self.on_change,
            events: self.events,
            fog: self.fog,
            targets: Mutex::new(targets),
            wake: Notify::new(),
            stopping: self.stopping,
            done: CancellationToken::new(),
        });
        if let Some(fog) = core.fog.as_ref().and_then(Weak::upgrade) {
            fog.monitors.add(&core);
        }
        let (running, done) = (core.clone(), core.done.clone().drop_guard());
        let looping = async move {
            running.run().await;
            drop(done);
        };
        self.tasks.spawn_on(looping, &runtime);
        Ok(HealthMonitor::new(core))
    }
}
