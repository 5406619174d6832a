//! How a fog behaves: every default is a field with its reason.

use std::collections::BTreeMap;
use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::amount::Asset;
use crate::balancer::WeightPolicy;
use crate::error::{Error, Result};
use crate::failover::FailoverPolicy;
use crate::id::AccountId;
use crate::ledger::economy::EconomyPolicy;
use crate::registry::{LivenessPolicy, PowerPolicy};
use crate::scheduler::market::MarketPolicy;
use crate::scheduler::{
    PlacementPolicy, QueuePolicy,
    queue::{FairShares, PreemptionPolicy},
    replicas::BackupPolicy,
};
use crate::signaling::SignalingPolicy;

/// How a fog behaves. All processes on one store should agree in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FogConfig {
    /// What tasks are paid in. Default FOG.
    pub asset: Asset,
    /// Supply, stakes, rewards and fees of that asset.
    pub economy: EconomyPolicy,
    /// How the marketplace behaves.
    pub market: MarketPolicy,
    /// When a silent node becomes suspect, and when offline.
    pub liveness: LivenessPolicy,
    /// When a device may work.
    pub power: PowerPolicy,
    /// How nodes are weighed for a task.
    pub placement: PlacementPolicy,
    /// How much may wait, and how long what is done is kept.
    pub queue: QueuePolicy,
    /// When urgent tasks take the place of others.
    pub preemption: PreemptionPolicy,
    /// When tasks that take very long get a second node.
    pub backup: BackupPolicy,
    /// How much more of the fog than others a payer may have while others wait, 1e-6 to 1e6; who
    /// is not named has 1. See [`fair`](crate::scheduler::queue::fair).
    pub fair_weights: Arc<BTreeMap<AccountId, f64>>,
    /// How much of the requests a node gets from the fog's balancers, by what it has.
    pub weights: WeightPolicy,
    /// How sessions of players and their mailboxes behave.
    pub signaling: SignalingPolicy,
    /// How a node's traffic leaves it when it [fails over](crate::Fog::fail_over).
    pub failover: FailoverPolicy,
    /// How many other nodes an asker is weighed against at most, drawn at random when there are
    /// more. Default 8: the gain of each further choice falls quickly (Mitzenmacher 2001).
    pub max_rivals: usize,
    /// How long a lease is, 100 ms to 1 day. Default 30 s: a task of a dead node waits this long.
    /// A third of it passes between two renewals.
    pub lease: Duration,
    /// Time between two beats of a worker's node. Default 10 s: three missed make it suspect.
    pub heartbeat_every: Duration,
    /// How late a beat may reach the store after it was answered, up to 5 s. Default 0: not at all. For
    /// processes that hear of many nodes; a crash loses so much of what they told, and each of these
    /// processes sees so late what others write about nodes.
    pub beats_within: Duration,
    /// Time between two looks for leases, deadlines and backoffs that ran out. Default 250 ms.
    pub maintain_every: Duration,
    /// How long an idle worker waits before it asks again, unless work is submitted in its own
    /// process, which wakes it. Default 50 ms.
    pub idle_poll: Duration,
    /// Time between two reports of a task's progress. Default 1 s.
    pub progress_every: Duration,
    /// How long what is running may go on after shutdown began. Default 10 s.
    pub grace: Duration,
    /// How many events are kept for a slow subscriber. Default 4,096.
    pub event_capacity: usize,
}

impl Default for FogConfig {
    fn default() -> Self {
        Self {
            asset: Asset::FOG,
            economy: EconomyPolicy::default(),
            market: MarketPolicy::default(),
            liveness: LivenessPolicy::default(),
            power: PowerPolicy::default(),
            placement: PlacementPolicy::default(),
            queue: QueuePolicy::default(),
            preemption: PreemptionPolicy::default(),
            backup: BackupPolicy::default(),
            fair_weights: Arc::default(),
            weights: WeightPolicy::default(),
            signaling: SignalingPolicy::default(),
            failover: FailoverPolicy::default(),
            max_rivals: 8,
            lease: Duration::from_secs(30),
            heartbeat_every: Duration::from_secs(10),
            beats_within: Duration::ZERO,
            maintain_every: Duration::from_millis(250),
            idle_poll: Duration::from_millis(50),
            progress_every: Duration::from_secs(1),
            grace: Duration::from_secs(10),
            event_capacity: 4_096,
        }
    }
}

impl FogConfig {
    /// Checks what would make a fog stand still or spin.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let (tick, day) = (Duration::from_millis(1), Duration::from_secs(86_400));
        let times = [
            ("lease", self.lease, Duration::from_millis(100)),
            ("heartbeat_every", self.heartbeat_every, tick),
            ("maintain_every", self.maintain_every, tick),
            ("idle_poll", self.idle_poll, tick),
            ("progress_every", self.progress_every, tick),
        ];
        for (field, time, least) in times {
            if !(least..=day).contains(&time) {
                let range = format!("{time:?} is not between {least:?} and 1 day");
                return Err(Error::invalid(field, range));
            }
        }
        if self.beats_within > Duration::from_secs(5) {
            return Err(Error::invalid("beats_within", "at most 5 s are allowed"));
        }
        if !(1..=1 << 20).contains(&self.event_capacity) {
            return Err(Error::invalid("event_capacity", "must be between 1 and 1048576"));
        }
        if self.max_rivals > 256 {
            return Err(Error::invalid("max_rivals", "at most 256 are allowed"));
        }
        if self.liveness.suspect_after > self.liveness.offline_after {
            let order = "a node cannot become suspect after it is offline";
            return Err(Error::invalid("liveness", order));
        }
        let p = &self.placement;
        let terms = p.weights().into_iter().map(|(_, weight)| weight);
        if !terms.chain([p.tolerance]).all(|weight| (0.0..=1.0).contains(&weight)) {
            return Err(Error::invalid("placement", "every weight must be between 0 and 1"));
        }
        let p = &self.power;
        let power = [p.min_battery, p.start_below, p.throttle_at, p.stop_at];
        if !power.iter().all(|limit| limit.is_finite()) {
            return Err(Error::invalid("power", "every limit must be a finite number"));
        }
        self.queue.check()?;
        self.preemption.check()?;
        self.backup.check()?;
        FairShares::check_weights(&self.fair_weights)?;
        self.economy.check()?;
        self.market.check()?;
        self.weights.check()?;
        self.signaling.check()?;
        self.failover.check()
    }
}
