//! The loop that probes.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::HealthMonitorBuilder;
use super::targets::{Begun, Targets};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventBus};
use crate::failover::{
    AbsenceReason, Health, HealthChange, HealthProbe, ProbeError, ProbeOutcome, ProbeTarget,
};
use crate::fog::Shared;
use crate::id::NodeId;
use crate::time::Clock;

/// Probes that ended, by `result`: `passed`, or the kind of the failure.
pub(super) const PROBES: &str = "fogcore_health_probes_total";
/// How long probes took, in seconds, whatever came of them.
pub(super) const SECONDS: &str = "fogcore_health_probe_seconds";

/// A node whose health changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEvent {
    /// The node.
    pub node: NodeId,
    /// What changed. Changes that came while the listener was busy are told as one.
    pub change: HealthChange,
}

/// Who is told of each change: by the monitor's loop, one at a time, a node's changes in their
/// order. It may call the monitor; it should be quick, because no probe begins meanwhile. If it
/// panics, the monitor goes on.
pub type OnHealth = Arc<dyn Fn(HealthEvent) + Send + Sync>;

/// Probes its targets again and again, and tells whose health changed.
///
/// Cheap to clone; clones share everything, and the loop stops with the last one, or in good order
/// with [`HealthMonitor::shutdown`]. Each probe is counted in the metric
/// `fogcore_health_probes_total`, by `result` (`passed`, or [`ProbeError::name`]), and timed in
/// `fogcore_health_probe_seconds`; probes that were given up are in neither.
///
/// ```
/// use std::sync::Arc;
/// use fogcore::event::{Event, EventBus, Notice};
/// use fogcore::failover::{AbsenceReason, Health, ProbeTarget};
/// use fogcore::fog::{HealthMonitor, TcpProbe};
/// use fogcore::registry::{Address, Port};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
/// let port = Port::new(listener.local_addr().unwrap().port())?;
/// let address = Some(Address { host: "127.0.0.1".to_owned(), port });
///
/// let events = EventBus::new(64);
/// let mut news = events.subscribe();
/// let policy = fogcore::failover::HealthPolicy { jitter: 0.0, ..Default::default() };
/// let monitor =
///     HealthMonitor::builder(Arc::new(TcpProbe)).policy(policy).events(events).start()?;
/// let node: fogcore::id::NodeId = "laptop-1".parse()?;
/// monitor.add(ProbeTarget { node: node.clone(), address })?;
///
/// let healthy = Event::NodeHealth { node: node.clone(), healthy: true };
/// assert_eq!(news.next().await, Some(Notice::Event(healthy)));
/// monitor.absent(&node, AbsenceReason::Asleep);
/// assert_eq!(monitor.health(&node), Some(Health::Absent));
/// monitor.shutdown().await;
/// # Ok::<(), fogcore::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct HealthMonitor {
    core: Arc<Core>,
    /// Stops the loop with the last clone.
    _stop: Arc<DropGuard>,
}

impl fmt::Debug for HealthMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut monitor = f.debug_struct("HealthMonitor");
        monitor.field("probe", &self.core.probe).field("targets", &self.len());
        monitor.finish_non_exhaustive()
    }
}

impl HealthMonitor {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let guard = core.stopping.clone().drop_guard();
        Self { core, _stop: Arc::new(guard) }
    }

    /// A monitor of your own making that asks with `probe`. See also
    /// [`Fog::health_monitor`](crate::Fog::health_monitor).
    #[must_use]
    pub fn builder(probe: Arc<dyn HealthProbe>) -> HealthMonitorBuilder {
        HealthMonitorBuilder::new(probe)
    }

    /// Watches a node; it is probed soon. A node that is watched already keeps its health, unless
    /// its address is another one: then nothing is known of it any more, and it is not absent.
    ///
    /// Who names the address chooses where this process connects to, and private addresses and the
    /// machine itself are not excluded, because a fog's own nodes are often there. An address that
    /// comes from a user must be checked first, also after its name is resolved.
    ///
    /// # Errors
    /// Exhausted if there are too many targets, Unavailable if the monitor has stopped.
    pub fn add(&self, target: ProbeTarget) -> Result<()> {
        if self.core.stopping.is_cancelled() {
            return Err(Error::new(ErrorKind::Unavailable, "the health monitor has stopped"));
        }
        let now = self.core.clock.elapsed();
        let added = self.core.lock().add(target, now);
        self.core.wake.notify_one();
        added
    }

    /// Watches a node no more; false if it was not watched. A probe in flight is given up, and
    /// nothing more is told of the node.
    pub fn remove(&self, node: &NodeId) -> bool {
        let removed = self.core.lock().remove(node);
        self.core.wake.notify_one();
        removed
    }

    /// The node is away, as was to be expected: a probe in flight is given up, and there is no
    /// other until it is [`back`](Self::back). False if it is not watched.
    pub fn absent(&self, node: &NodeId, reason: AbsenceReason) -> bool {
        let now = self.core.clock.elapsed();
        let absent = ProbeOutcome::Absent(reason);
        let known = self.core.lock().happen(node, |check| check.observe(absent, now));
        self.core.wake.notify_one();
        known
    }

    /// The node is there again, and is probed soon. False if it is not watched.
    pub fn back(&self, node: &NodeId) -> bool {
        let now = self.core.clock.elapsed();
        let known = self.core.lock().happen(node, |check| check.back(now));
        self.core.wake.notify_one();
        known
    }

    /// How a node is; none if it is not watched.
    #[must_use]
    pub fn health(&self, node: &NodeId) -> Option<Health> {
        self.core.lock().health(node)
    }

    /// How all targets are.
    #[must_use]
    pub fn all(&self) -> BTreeMap<NodeId, Health> {
        self.core.lock().all()
    }

    /// How many targets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.lock().len()
    }

    /// Whether there are no targets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stops: probes in flight are given up. No task of the monitor is left when this returns, and
    /// nothing more is told. What is known can still be read.
    pub async fn shutdown(&self) {
        self.core.stopping.cancel();
        self.core.done.cancelled().await;
    }
}

/// What the handle and the loop share.
pub(super) struct Core {
    pub(super) probe: Arc<dyn HealthProbe>,
    pub(super) timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) max_concurrent: usize,
    pub(super) on_change: Option<OnHealth>,
    pub(super) events: Option<EventBus>,
    /// The fog whose balancers follow it.
    pub(super) fog: Option<Weak<Shared>>,
    pub(super) targets: Mutex<Targets>,
    /// Somebody else than the loop changed the targets.
    pub(super) wake: Notify,
    pub(super) stopping: CancellationToken,
    /// The loop and all its probes have ended.
    pub(super) done: CancellationToken,
}

/// A probe that ended.
struct Ended {
    begun: Begun,
    result: Result<(), ProbeError>,
    took: Duration,
    at: Duration,
}

impl Core {
    pub(super) async fn run(&self) {
        // Aborts what is left in it when it is dropped.
        let mut probes = JoinSet::new();
        loop {
            self.tell();
            let wait = self.begin_due(&mut probes);
            let sleep = async {
                match wait {
                    Some(wait) => self.clock.sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stopping.cancelled() => break,
                () = self.wake.notified() => {}
                () = sleep => {}
                Some(ended) = probes.join_next() => {
                    // An error says only that the probe was given up.
                    if let Ok(ended) = ended {
                        self.end(ended);
                    }
                }
            }
        }
        probes.shutdown().await;
    }

    /// Begins what is due and has a place, and says how long until there is more to begin; none
    /// if only another end or another target can make it so.
    fn begin_due(&self, probes: &mut JoinSet<Ended>) -> Option<Duration> {
        let now = self.clock.elapsed();
        let mut targets = self.lock();
        while probes.len() < self.max_concurrent {
            let Some(begun) = targets.begin(now) else {
                return targets.wait(now);
            };
            let target = begun.target.clone();
            let running = probe(self.probe.clone(), begun, self.clock.clone(), self.timeout);
            targets.began(&target.node, probes.spawn(running));
        }
        None
    }

    fn end(&self, ended: Ended) {
        let Ended { begun, result, took, at } = ended;
        let name = result.as_ref().map_or_else(ProbeError::name, |()| "passed");
        metrics::counter!(PROBES, "result" => name).increment(1);
        metrics::histogram!(SECONDS).record(took.as_secs_f64());
        let outcome = ProbeOutcome::from_result(result, took);
        self.lock().end(&begun.target.node, begun.number, outcome, at);
    }

    /// Tells what is news by now. What a listener makes of it is the next round's, so that one
    /// which answers news with news does not keep the loop here.
    fn tell(&self) {
        let untold = self.lock().untold();
        for _ in 0..untold {
            let Some(event) = self.lock().tell() else { return };
            if let Some(fog) = self.fog.as_ref().and_then(Weak::upgrade) {
                fog.health_changed(&event.node, &event.change);
            }
            if let (Some(events), Some(healthy)) = (&self.events, verdict(event.change.to)) {
                events.publish(Event::NodeHealth { node: event.node.clone(), healthy });
            }
            if let Some(on_change) = &self.on_change {
                let told = catch_unwind(AssertUnwindSafe(|| on_change(event)));
                if told.is_err() {
                    tracing::error!("a listener to changes of health panicked");
                }
            }
        }
    }

    /// How a node is; none if it is not watched, or nobody watches any more.
    pub(super) fn opinion(&self, node: &NodeId) -> Option<Health> {
        if self.stopping.is_cancelled() {
            return None;
        }
        self.lock().health(node)
    }

    fn lock(&self) -> MutexGuard<'_, Targets> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verdict(health: Health) -> Option<bool> {
    match health {
        Health::Healthy => Some(true),
        Health::Unhealthy => Some(false),
        Health::Unknown | Health::Absent => None,
    }
}

async fn probe(
    probe: Arc<dyn HealthProbe>,
    begun: Begun,
    clock: Arc<dyn Clock>,
    timeout: Duration,
) -> Ended {
    let began = clock.elapsed();
    let asking = AssertUnwindSafe(probe.probe(&begun.target)).catch_unwind();
    let result = tokio::select! {
        biased;
        result = asking => match result {
            Ok(Err(ProbeError::Other(text))) => Err(ProbeError::other(text)),
            Ok(result) => result,
            Err(_) => Err(ProbeError::other("the probe panicked")),
        },
        () = clock.sleep(timeout) => Err(ProbeError::TimedOut),
    };
    let at = clock.elapsed();
    Ended { begun, result, took: at.saturating_sub(began), at }
}
