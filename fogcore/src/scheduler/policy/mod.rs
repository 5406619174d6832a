//! Which nodes may have a task, and how good each of them is.
//!
//! A [`Filter`] says why a node is out of the question, a [`Score`] how good it is in one respect.
//! Both are pure and look at one node at a time, so the same ones serve the pull side (is the
//! asker a good choice beside its rivals? [`Matcher`](super::Matcher)) and the push side (which of
//! all nodes is best? [`Cluster`](super::Cluster)). What a whole policy makes of them is in
//! [`Policy`]. A cluster takes filters and scores of your own beside them:
//!
//! ```
//! use std::sync::Arc;
//! use fogcore::registry::{Node, Resources};
//! use fogcore::scheduler::policy::{Filter, Policy, Scale, Score, Seen, Wish};
//! use fogcore::scheduler::{Cluster, Refusal, Requirements, Term};
//! use fogcore::time::Timestamp;
//!
//! /// Nodes that are nearly full are left alone.
//! #[derive(Debug)]
//! struct KeepOneCore;
//!
//! impl Filter for KeepOneCore {
//!     fn name(&self) -> &'static str {
//!         "keep_one_core"
//!     }
//!     fn refuse(&self, wish: &Wish<'_>, node: &Seen<'_>) -> Option<Refusal> {
//!         let (needed, free) = (u64::from(wish.needs.cpu_milli) + 1_000, node.room.cpu_milli);
//!         let free = u64::try_from(free).unwrap_or(0);
//!         (needed > free).then(|| Refusal::TooLittle { resource: "cpu_milli".into(), needed, free })
//!     }
//! }
//!
//! /// The greener the power, the better.
//! #[derive(Debug)]
//! struct Green;
//!
//! impl Score for Green {
//!     fn term(&self) -> Term {
//!         Term::Own("green".into())
//!     }
//!     fn value(&self, _: &Wish<'_>, node: &Seen<'_>, _: &Scale) -> f64 {
//!         node.labels.get("green").and_then(|share| share.parse().ok()).unwrap_or(0.5)
//!     }
//! }
//!
//! let cluster = Cluster::new(Policy::Fog, 1).with_filter(Arc::new(KeepOneCore));
//! let mut cluster = cluster.with_score(Arc::new(Green), 0.3);
//! for (name, cpu_cores, green) in [("coal", 4, "0.1"), ("wind", 4, "0.9"), ("small", 2, "1")] {
//!     let resources = Resources { cpu_cores, memory_mib: 1_024, ..Resources::default() };
//!     let labels = [("green".to_owned(), green.to_owned())].into();
//!     let node = Node { resources, labels, slots: 8, ..Node::new(name.parse()?) };
//!     cluster.add(&node, Default::default())?;
//! }
//! let task = Requirements { cpu_milli: 1_500, ..Requirements::default() };
//! let why = cluster.explain(None, &task, 2, Timestamp::UNIX_EPOCH);
//! assert_eq!(why.refused["keep_one_core"], 1);
//! assert_eq!(why.considered[0].terms[&Term::Own("green".into())], 0.9);
//! assert_eq!(cluster.place(None, &task)?.node.as_str(), "wind");
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::collections::BTreeSet;
use std::fmt;

use super::{Refusal, Requirements, Term};
use crate::amount::Amount;
use crate::id::{NodeId, TaskKind};
use crate::registry::{Eligibility, Gpu, Labels, Liveness};

mod experience;
mod filters;
mod rule;
mod scores;
mod workload;

pub use self::experience::{Experience, Learning, Pace};
pub use self::filters::Standard;
pub use self::rule::{FogPolicy, Policy};
pub use self::scores::{Merit, locality, preference};
pub use self::workload::{Outlook, Shape, Workload};

/// A task, as filters and scores see it.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// What it is about; none if any node will do.
    pub kind: Option<&'a TaskKind>,
    /// What it needs.
    pub needs: &'a Requirements,
}

/// A node, as filters and scores see it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Which node.
    pub id: &'a NodeId,
    /// Its labels.
    pub labels: &'a Labels,
    /// Where it stands.
    pub region: &'a str,
    /// The kinds of tasks that it executes.
    pub serves: &'a BTreeSet<TaskKind>,
    /// How many tasks it executes at once.
    pub slots: u32,
    /// Its GPUs.
    pub gpus: &'a [Gpu],
    /// Its network, in Mbit/s.
    pub bandwidth_mbps: u32,
    /// How it is.
    pub vitals: Vitals,
    /// What is free on it.
    pub room: Room<'a>,
}

/// How a node is, apart from what runs on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vitals {
    /// Whether it can be counted on.
    pub liveness: Liveness,
    /// Whether its power state lets it work.
    pub eligibility: Eligibility,
    /// Its quality, 0–100.
    pub quality: f64,
    /// Mains power (1) or what is left of the battery (up to 0.5), and how far it is from being
    /// too hot, 0–1.
    pub energy: f64,
    /// How far it is trusted, 0–1.
    pub trust: f64,
    /// Round-trip time to it in ms, if it is known.
    pub latency_ms: Option<f64>,
    /// What a task of a second costs that moves nothing; none if that is beyond counting.
    pub price: Option<Amount>,
    /// How fast it works beside a usual node, above 0; 1 if nothing is known.
    pub speed: f64,
    /// How long it usually stays, in seconds; infinite if it was never seen to leave.
    pub stays_seconds: f64,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            liveness: Liveness::Online,
            eligibility: Ok(()),
            quality: 100.0,
            energy: 1.0,
            trust: 1.0,
            latency_ms: None,
            price: Some(Amount::ZERO),
            speed: 1.0,
            stays_seconds: f64::INFINITY,
        }
    }
}

impl Vitals {
    /// Whether the node may have tasks at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.liveness == Liveness::Online && self.eligibility.is_ok()
    }
}

/// What is free on a node. Below zero, if more is taken than it still has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room<'a> {
    /// CPU in thousandths of a core.
    pub cpu_milli: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Storage in MiB.
    pub storage_mib: i64,
    /// Of each GPU, in thousandths.
    pub gpu_milli: &'a [i16],
    /// How many tasks it has.
    pub tasks: u32,
    /// How many of them want it for themselves.
    pub exclusive: u32,
    /// How many tasks of the wish's group it would share a domain with.
    pub alike: u32,
    /// What is left of its power budget for the wish's class, in milliwatts, if there is one.
    pub power_mw: Option<i64>,
}

impl Room<'_> {
    /// How many GPUs would do for the wish.
    #[must_use]
    pub fn fitting_gpus(&self, wish: &Wish<'_>, gpus: &[Gpu]) -> u32 {
        let wanted = &wish.needs.gpus;
        let milli = i16::try_from(wanted.milli).unwrap_or(i16::MAX);
        let fits = self.gpu_milli.iter().zip(gpus);
        let fits = fits.filter(|(free, gpu)| **free >= milli && wanted.admits(gpu));
        u32::try_from(fits.count()).unwrap_or(u32::MAX)
    }
}

/// Says which nodes are out of the question. Pure: the same answer for the same node and wish.
pub trait Filter: fmt::Debug + Send + Sync {
    /// Its name in explanations, in snake case.
    fn name(&self) -> &'static str;

    /// Why the node cannot have the task; none if this filter has nothing against it.
    fn refuse(&self, wish: &Wish<'_>, node: &Seen<'_>) -> Option<Refusal>;
}

/// Says how good a node is in one respect. Pure, and independent of other nodes.
pub trait Score: fmt::Debug + Send + Sync {
    /// What it measures; [`Term::Own`] with a name of your own, unless it replaces a score that
    /// there is.
    fn term(&self) -> Term;

    /// From 0 (bad) to 1 (good).
    fn value(&self, wish: &Wish<'_>, node: &Seen<'_>, scale: &Scale) -> f64;
}

/// What values are measured against: the best of all nodes that are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The lowest price of a second.
    pub cheapest: f64,
    /// The highest speed.
    pub fastest: f64,
    /// How long the task is expected to take on a usual node, in seconds.
    pub seconds: f64,
    /// How long it takes until any of them begins, in seconds: who would be done sooner by much
    /// less than that is no better for it.
    pub begins: f64,
}

impl Default for Scale {
    fn default() -> Self {
        Self { cheapest: 0.0, fastest: 1.0, seconds: 60.0, begins: 0.0 }
    }
}

/// What the score makes of the node, within the limits that it should keep to.
pub(super) fn bounded(score: &dyn Score, wish: &Wish<'_>, node: &Seen<'_>, scale: &Scale) -> f64 {
    let value = score.value(wish, node, scale);
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

/// A price to compare others with. Only ratios of two of them are used, so a float will do.
pub(super) fn comparable(price: Option<Amount>) -> f64 {
    price.map_or(f64::INFINITY, |price| price.base_units() as f64)
}
