//! All nodes in memory, for deciding where tasks go.
//!
//! A [`Cluster`] knows what nodes have and what is taken of them, GPU by GPU, and finds the node
//! that its [`Policy`] likes best without looking at all of them: nodes that are alike stand
//! together (see `index`), and the search begins where the best can be. It decides without I/O and
//! without a clock; whoever owns it tells it what happened.
//!
//! Nothing is taken twice, and what was taken is given back once: an [`Allocation`] that was
//! released is refused the second time. A node may shrink below what is taken of it; then it has
//! less than nothing free, gets no new tasks until that is over, and whoever asked is told whom to
//! move.
//!
//! ```
//! use fogcore::registry::{Node, Resources};
//! use fogcore::scheduler::{Cluster, Requirements, policy::Policy};
//!
//! let mut cluster = Cluster::new(Policy::BinPack, 1);
//! for (name, cpu_cores) in [("small", 2), ("large", 16)] {
//!     let resources = Resources { cpu_cores, memory_mib: 1_024, ..Resources::default() };
//!     cluster.add(&Node { resources, slots: 8, ..Node::new(name.parse()?) }, Default::default())?;
//! }
//! let task = Requirements { cpu_milli: 1_500, ..Requirements::default() };
//! let first = cluster.place(None, &task)?;
//! assert_eq!(first.node.as_str(), "small");
//! assert_eq!(cluster.place(None, &task)?.node.as_str(), "large");
//! cluster.release(first.allocation)?;
//! assert!(cluster.release(first.allocation).is_err());
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand_pcg::Pcg32;

mod allocation;
mod batch;
mod bounds;
mod change;
mod error;
mod explain;
mod index;
mod measure;
mod node;
mod place;
mod query;
mod weigh;
mod worth;

pub use self::allocation::Allocation;
pub use self::batch::{Nsga2, Plan};
pub use self::error::ClusterError;
pub use self::place::Placement;

use self::allocation::Allocations;
use self::index::Index;
use self::node::{Kept, Member, Profile};
use super::policy::{Experience, Filter, Outlook, Policy, Scale, Score, Workload};
use crate::id::NodeId;
use crate::time::Timestamp;

/// Nodes and what is taken of them.
#[derive(Debug)]
pub struct Cluster {
    policy: Policy,
    dice: Pcg32,
    members: Vec<Option<Member>>,
    vacant: Vec<u32>,
    by_id: HashMap<NodeId, u32>,
    profiles: Vec<Kept>,
    profile_of: HashMap<Profile, u32>,
    allocations: Allocations,
    /// Of each group that is kept apart, how many tasks are in each domain.
    groups: HashMap<String, HashMap<Domain, u32>>,
    index: Index,
    workload: Workload,
    learns: bool,
    /// By the model of the GPU; the first is for nodes without one.
    outlooks: Vec<(Option<String>, Outlook)>,
    /// The largest amounts that any node has, as powers of two.
    most: [i64; 3],
    scale: Scale,
    /// Filters beside the standard ones.
    filters: Vec<Arc<dyn Filter>>,
    experience: Experience,
    /// When the latest was told of which a time is known.
    told_at: Timestamp,
    limits: Limits,
    scratch: place::Scratch,
    states: u32,
    /// How many profiles nobody has any more.
    empty_profiles: u32,
}

/// How much a decision may look at where a policy gives no bounds to search by (random, dot
/// product, the GPU heuristics, FGD), and where the fog's own goes by what was learned of a kind. The
/// others are exact for any number of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Up to so many nodes, all are weighed. Default 2,048.
    pub exact_up_to: usize,
    /// Of more nodes, the first that fit are weighed, so many of them. Default 128.
    pub weighed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { exact_up_to: 2_048, weighed: 128 }
    }
}

/// What tasks of one group may share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Domain {
    Node(u32),
    Label(String, String),
}

impl Cluster {
    /// A cluster without nodes. The seed decides where chance does.
    #[must_use]
    pub fn new(policy: Policy, seed: u64) -> Self {
        let workload = Workload::default();
        let outlooks = vec![(None, workload.outlook(None))];
        Self {
            policy,
            dice: Pcg32::seed_from_u64(seed),
            members: Vec::new(),
            vacant: Vec::new(),
            by_id: HashMap::new(),
            profiles: Vec::new(),
            profile_of: HashMap::new(),
            allocations: Allocations::default(),
            groups: HashMap::new(),
            index: Index::new(),
            workload,
            learns: true,
            outlooks,
            most: [1; 3],
            scale: Scale::default(),
            filters: Vec::new(),
            experience: Experience::default(),
            told_at: Timestamp::UNIX_EPOCH,
            limits: Limits::default(),
            scratch: place::Scratch::default(),
            states: 0,
            empty_profiles: 0,
        }
    }

    /// The same cluster with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same cluster with one more filter of your own. It is asked after the
    /// [standard ones](super::policy::Standard), by every policy, and counted in explanations by its
    /// name. An example is in [`policy`](super::policy).
    #[must_use]
    pub fn with_filter(mut self, filter: Arc<dyn Filter>) -> Self {
        self.filters.push(filter);
        self
    }

    /// The same cluster with one more score of your own, from 0 (bad) to 1 (good), and its weight
    /// beside those of [`FogPolicy`](super::policy::FogPolicy), which add up to 1.1. It is asked for each task, as it may
    /// depend on it. Only the fog's own policy has scores; any other is replaced by it.
    #[must_use]
    pub fn with_score(mut self, score: Arc<dyn Score>, weight: f64) -> Self {
        let policy = self.fog_policy().cloned().unwrap_or_default();
        self.set_policy(Policy::Weighted(policy.with_score(score, weight).into()));
        self
    }

    /// The same cluster with a workload that is known already, and learns no more.
    #[must_use]
    pub fn with_workload(mut self, workload: Workload) -> Self {
        (self.workload, self.learns) = (workload, false);
        self.look_again();
        self
    }

    /// Its policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Goes by another policy from now on. All nodes are put in its order, which takes time.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        (0..members).for_each(|number| self.value(number));
        self.settle_all();
    }

    /// How many nodes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether it has no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many allocations are open.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Where the task is that was given this place, while it is.
    #[must_use]
    pub fn node_of(&self, allocation: Allocation) -> Option<&NodeId> {
        let taken = self.allocations.get(allocation)?;
        self.member(taken.node).map(|member| &member.id)
    }

    /// The GPUs that were given, by their places in the node's list.
    #[must_use]
    pub fn devices_of(&self, allocation: Allocation) -> Vec<u32> {
        let taken = self.allocations.get(allocation);
        let places = taken.into_iter().flat_map(|taken| taken.places());
        places.filter_map(|place| u32::try_from(place).ok()).collect()
    }

    /// FGD's measure of the whole cluster: the idle GPU share, in thousandths, that the next task
    /// could not use.
    #[must_use]
    pub fn fragmentation(&self) -> f64 {
        let members = self.members.iter().flatten();
        members
            .map(|m| {
                let outlook = self.outlook_of(m.profile);
                outlook.fragmentation(m.free.cpu_milli, &m.gpu_milli)
            })
            .sum()
    }

    fn member(&self, number: u32) -> Option<&Member> {
        self.members.get(number as usize)?.as_ref()
    }

    fn outlook_of(&self, profile: u32) -> &Outlook {
        let number = self.profiles.get(profile as usize).map_or(0, |kept| kept.outlook);
        &self.outlooks[number.min(self.outlooks.len() - 1)].1
    }
}
