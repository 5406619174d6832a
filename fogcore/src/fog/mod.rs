//! The whole: one handle on a fog, its stores, and the loops that keep it going.
//!
//! [`Fog`] is cheap to clone. Loops in the background take back leases that ran out, let retries
//! go when their backoff is over, and tell who went silent. They stop when the last clone is
//! dropped, or in good order with [`Fog::shutdown`], which leaves no task leased to this process.
//!
//! ```
//! use fogcore::registry::Node;
//! use fogcore::scheduler::{Output, TaskSpec, TaskState, executor_fn};
//! use fogcore::{Fog, amount::Asset};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let fog = Fog::open("memory:").await?;
//! let node = Node { owner: Some("bob".parse()?), slots: 4, ..Node::new("laptop".parse()?) };
//! let node = Node { rates: fogcore::registry::Rates {
//!     per_task: Asset::FOG.parse("0.01")?, ..Default::default()
//! }, ..node };
//! let shout = executor_fn(|job| async move {
//!     Ok(Output { result: job.payload.to_ascii_uppercase().into(), ..Output::default() })
//! });
//! let worker = fog.worker(node).executor("shout".parse()?, shout).start().await?;
//!
//! let alice = "alice".parse()?;
//! fog.ledger().mint(&alice, Asset::FOG.parse("100")?).await?;
//! let spec = TaskSpec::new("shout".parse()?).paid_by(alice, Asset::FOG.parse("0.5")?);
//! let task = fog.submit(spec, "hello").await?;
//!
//! let done = fog.wait(task.id).await?;
//! assert_eq!(done.state, TaskState::Succeeded);
//! assert_eq!(fog.result(task.id).await?.unwrap(), "HELLO");
//! assert_eq!(Asset::FOG.display(done.paid).to_string(), "0.01 FOG");
//! println!("{}", fog.explanation(task.id).await?.unwrap());
//!
//! worker.stop().await;
//! fog.shutdown().await;
//! # Ok::<(), fogcore::Error>(())
//! # }).unwrap();
//! ```

mod balancing;
mod builder;
mod config;
mod economy;
mod experience;
mod failing;
mod health;
mod known;
mod ledger;
mod maintenance;
mod market;
mod metering;
mod nodes;
mod reporting;
mod scaling;
mod signaling;
mod tasks;
mod trouble;
mod worker;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::balancing::Followers;
use self::failing::Failing;
#[cfg(feature = "http-probe")]
pub use self::health::HttpProbe;
use self::health::Monitors;
use self::known::KnownNodes;
use self::maintenance::LivenessWatch;
use self::market::Offered;
use self::scaling::Scaling;
use self::signaling::Rooms;
pub use self::{
    builder::FogBuilder,
    config::FogConfig,
    economy::{Checkpoint, Economy, SharesPaid},
    health::{HealthEvent, HealthMonitor, HealthMonitorBuilder, OnHealth, TcpProbe},
    ledger::{Ledger, MINT},
    market::Marketplace,
    metering::SystemMeter,
    reporting::Report,
    signaling::{Connection, Signaling},
    worker::{Vitals, Worker, WorkerBuilder},
};
use crate::error::Result;
use crate::event::{EventBus, Subscription};
use crate::failover::HealthProbe;
use crate::id::{IdSource, TaskId};
use crate::registry::Node;
use crate::scheduler::Meter;
use crate::scheduler::policy::Experience;
use crate::scheduler::queue::Durations;
use crate::storage::{BufferedNodes, Stores};
use crate::time::Clock;

/// A handle on a fog. Clones share everything.
#[derive(Clone, Debug)]
pub struct Fog {
    shared: Arc<Shared>,
    /// Stops the loops with the last clone.
    _stop: Arc<DropGuard>,
}

/// What the handle and the background loops share.
#[derive(Debug)]
pub(crate) struct Shared {
    stores: Stores,
    /// The nodes' store again, if it keeps beats for a while.
    buffered: Option<Arc<BufferedNodes>>,
    clock: Arc<dyn Clock>,
    meter: Arc<dyn Meter>,
    config: FogConfig,
    ids: IdSource,
    dice: Mutex<StdRng>,
    events: EventBus,
    /// Wakes idle workers of this process.
    work: Notify,
    /// Tells workers of this process which tasks are not wanted any more.
    called_off: broadcast::Sender<TaskId>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    liveness: Mutex<LivenessWatch>,
    known: Mutex<Option<KnownNodes>>,
    reading_nodes: tokio::sync::Mutex<()>,
    /// How many of the most urgent tasks the latest step made room for, or could not.
    urgent_passed: AtomicUsize,
    offered: Offered,
    rooms: Rooms,
    followers: Followers,
    monitors: Monitors,
    failing: Failing,
    scaling: Option<Scaling>,
    /// How long tasks took that ended here.
    durations: Mutex<Durations>,
    /// When it was last looked for tasks that take too long.
    looked_for_late: Mutex<Option<std::time::Duration>>,
    /// What nodes were seen to do.
    experience: Mutex<Experience>,
}

impl Fog {
    /// A fog on the store that `url` names (see [`storage::open`](crate::storage::open)), with
    /// the machine's clock and the default configuration.
    ///
    /// # Errors
    /// What the store says if it cannot be opened.
    pub async fn open(url: &str) -> Result<Self> {
        Self::builder().url(url).open().await
    }

    /// A fog of your own making.
    #[must_use]
    pub fn builder() -> FogBuilder {
        FogBuilder::default()
    }

    /// How it behaves.
    #[must_use]
    pub fn config(&self) -> &FogConfig {
        &self.shared.config
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Its accounts and transfers.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.shared.clone())
    }

    /// The economy of its token: supply, stakes, rewards, grants and shares.
    #[must_use]
    pub fn economy(&self) -> Economy {
        Economy::new(self.shared.clone())
    }

    /// What happens in this process from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.shared.events.subscribe()
    }

    /// A worker that executes tasks as `node`, in this process.
    #[must_use]
    pub fn worker(&self, node: Node) -> WorkerBuilder {
        WorkerBuilder::new(self.clone(), node)
    }

    /// A monitor that asks nodes with `probe`, on this fog's clock. Those who
    /// [`subscribe`](Self::subscribe) hear of changes, and it stops with the fog. Its targets are
    /// told to it, not read from the registry.
    ///
    /// The fog's [balancers](Self::balancer) follow it: a node that it finds unhealthy counts there
    /// as one that does not do well, one that is absent as away, and a node that it watches no more
    /// soon as if it never had. Where several monitors watch a node, one bad answer is enough.
    #[must_use]
    pub fn health_monitor(&self, probe: Arc<dyn HealthProbe>) -> HealthMonitorBuilder {
        HealthMonitor::builder(probe)
            .clock(self.shared.clock.clone())
            .events(self.shared.events.clone())
            .within(self.shared.tasks.clone(), self.shared.stopping.child_token())
            .followed_by(Arc::downgrade(&self.shared))
    }

    /// Does once what the background loop does all the time: ends leases and deadlines that ran
    /// out, lets retries go, moves failovers on by their steps, tells who went silent or came
    /// back, and lets the autoscaler check if that is due, the first time at once. For tests and
    /// simulations.
    ///
    /// # Errors
    /// What the store says.
    pub async fn maintain(&self) -> Result<()> {
        self.shared.step_failovers();
        self.shared.maintain().await?;
        self.shared.watch_liveness().await?;
        self.shared.scale().await
    }

    /// Stops: workers of this process take no more tasks, what runs has [`FogConfig::grace`] to
    /// end, the rest is given back, the loops stop. No task stays leased to this process.
    pub async fn shutdown(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.write_beats().await;
    }
}
