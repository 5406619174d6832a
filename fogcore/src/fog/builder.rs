//! Making a fog.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::balancing::Followers;
use super::failing::Failing;
use super::health::Monitors;
use super::scaling::Scaling;
use super::{Fog, FogConfig, Shared, SystemMeter};
use crate::balancer::{Autoscaler, ScaleHook};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventBus;
use crate::id::IdSource;
use crate::ledger::Account;
use crate::scheduler::{Meter, settlement};
use crate::storage::{self, BufferedNodes, Stores};
use crate::time::{Clock, SystemClock};

/// So many tasks may be called off at once before workers have to ask the store which they were.
const KEPT_CALLED_OFF: usize = 256;

/// Makes a [`Fog`].
///
/// ```
/// # use fogcore::{Fog, FogConfig, time::ManualClock, time::Timestamp};
/// # use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
/// let config = FogConfig { max_rivals: 4, ..FogConfig::default() };
/// let fog = Fog::builder().clock(clock).config(config).seed(7).open().await?;
/// assert_eq!(fog.config().max_rivals, 4);
/// # Ok::<(), fogcore::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct FogBuilder {
    url: Option<String>,
    stores: Option<Stores>,
    clock: Option<Arc<dyn Clock>>,
    meter: Option<Arc<dyn Meter>>,
    config: FogConfig,
    seed: Option<u64>,
    manual: bool,
    scaling: Option<Scaling>,
}

impl FogBuilder {
    /// On the store that `url` names; see [`storage::open`]. Default `memory:`.
    #[must_use]
    pub fn url(self, url: &str) -> Self {
        Self { url: Some(url.to_owned()), ..self }
    }

    /// On stores that are open already; they come before a URL.
    #[must_use]
    pub fn stores(self, stores: Stores) -> Self {
        Self { stores: Some(stores), ..self }
    }

    /// With another clock than the machine's.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// With another meter than the system's, for what this process's workers' tasks take.
    #[must_use]
    pub fn meter(self, meter: Arc<dyn Meter>) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// Behaving otherwise than by default.
    #[must_use]
    pub fn config(self, config: FogConfig) -> Self {
        Self { config, ..self }
    }

    /// With ids and choices that come out the same again. Only for one process per store: two
    /// with the same seed make colliding ids. Default: from the operating system.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Without the background loop: only [`Fog::maintain`] does its work. For simulations.
    #[must_use]
    pub fn without_loops(self) -> Self {
        Self { manual: true, ..self }
    }

    /// With an autoscaler, which looks at all nodes of the fog every
    /// [`check_every`](crate::balancer::ScalePolicy::check_every), the first time after so long, and
    /// asks `hook` for more or gives some back. Only one process of a fog should have one.
    ///
    /// A node counts as ready while it beats, may work, and no monitor finds it unwell; one that
    /// does not is on its way. A node that is offline, absent or drained does not count at all. A
    /// hook that panics, or takes longer than until the next check, has failed. What was asked is
    /// told as [`Event::ScaleAsked`](crate::event::Event::ScaleAsked), in
    /// [`Fog::scale_history`], and in the counter
    /// `fogcore_autoscaler_requests_total{direction,outcome}`. Who is given back is the hook's to
    /// drain, for instance with [`Fog::fail_over`].
    ///
    /// ```
    /// # use fogcore::balancer::autoscaler::{Autoscaler, ScaleAnswer, ScaleHook, ScalePolicy};
    /// # use fogcore::balancer::autoscaler::ScaleRequest;
    /// # use fogcore::time::{ManualClock, Timestamp};
    /// # use fogcore::{Fog, Result};
    /// # use std::sync::Arc;
    /// #[derive(Debug)]
    /// struct Volunteers;
    ///
    /// #[async_trait::async_trait]
    /// impl ScaleHook for Volunteers {
    ///     async fn scale(&self, request: &ScaleRequest) -> Result<ScaleAnswer> {
    ///         // Here somebody would be rung up.
    ///         Ok(ScaleAnswer::Accepted { on_its_way: request.to.abs_diff(request.from) })
    ///     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    /// let scaler = Autoscaler::new(ScalePolicy { min: 2, ..ScalePolicy::default() })?;
    /// let fog = Fog::builder().autoscaler(scaler, Arc::new(Volunteers));
    /// # let fog = fog.clock(clock).without_loops();
    /// let fog = fog.open().await?;
    /// # fog.maintain().await?;
    /// // After the first check:
    /// let asked = &fog.scale_history()[0].request;
    /// assert_eq!((asked.from, asked.to), (0, 2), "{}", asked.reason);
    /// # Ok::<(), fogcore::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn autoscaler(self, autoscaler: Autoscaler, hook: Arc<dyn ScaleHook>) -> Self {
        Self { scaling: Some(Scaling::new(autoscaler, hook)), ..self }
    }

    /// Opens the fog, and the accounts of its own.
    ///
    /// # Errors
    /// InvalidInput for a configuration or URL that makes no sense; what the store says.
    pub async fn open(self) -> Result<Fog> {
        self.config.check()?;
        let stores = match self.stores {
            Some(stores) => stores,
            None => storage::open(self.url.as_deref().unwrap_or("memory:")).await?,
        };
        let mut random = match self.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut SysRng)
                .map_err(|error| Error::new(ErrorKind::Unavailable, error))?,
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let within = self.config.beats_within;
        let buffered = (within > Duration::ZERO)
            .then(|| Arc::new(BufferedNodes::new(stores.nodes.clone(), clock.clone(), within)));
        let stores = match &buffered {
            Some(buffered) => Stores { nodes: buffered.clone(), ..stores },
            None => stores,
        };
        let shared = Arc::new(Shared {
            stores,
            buffered,
            meter: self.meter.unwrap_or_else(|| Arc::new(SystemMeter)),
            failing: Failing::new(self.config.failover.clone(), &*clock)?,
            clock,
            ids: IdSource::seeded(random.next_u64()),
            dice: Mutex::new(random),
            events: EventBus::new(self.config.event_capacity),
            config: self.config,
            work: Notify::new(),
            called_off: broadcast::Sender::new(KEPT_CALLED_OFF),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            liveness: Mutex::default(),
            rooms: super::signaling::Rooms::default(),
            known: Mutex::default(),
            reading_nodes: tokio::sync::Mutex::default(),
            urgent_passed: std::sync::atomic::AtomicUsize::default(),
            offered: super::market::Offered::default(),
            followers: Followers::default(),
            monitors: Monitors::default(),
            scaling: self.scaling,
            durations: Mutex::default(),
            looked_for_late: Mutex::default(),
            experience: Mutex::default(),
        });
        let guard = shared.stopping.clone().drop_guard();
        let fog = Fog { shared: shared.clone(), _stop: Arc::new(guard) };
        let asset = shared.config.asset.clone();
        fog.ledger().open_any(Account::new(settlement::escrow(), asset)).await?;
        fog.economy().found().await?;
        if !self.manual {
            shared.tasks.spawn(super::maintenance::run(shared.clone()));
            shared.tasks.spawn(super::scaling::run(shared.clone()));
            shared.tasks.spawn(super::nodes::write_beats(shared.clone()));
        }
        Ok(fog)
    }
}
