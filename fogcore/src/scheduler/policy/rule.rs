//! The policies: what each of them thinks is the best place.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Merit, Score};
use crate::error::Error;
use crate::scheduler::Term;

/// How a [`Cluster`](crate::scheduler::Cluster) chooses among the nodes that could have a task.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Policy {
    /// Any of them, each as likely; to compare with.
    Random,
    /// The emptiest: what runs disturbs itself least.
    Spread,
    /// Best fit: the fullest, by what is free of CPU and GPUs, each as a share of the largest
    /// node's. Memory counts as much where there are no GPUs; where there are, it decides between
    /// equals, as the published rule has no memory.
    BinPack,
    /// The one whose free resources point least in the task's direction (after Tetris, Grandl et
    /// al., SIGCOMM 2014): by the dot product of what is free and what is asked.
    DotProduct,
    /// GPUs that are shared already, the fullest first, then idle ones of nodes in use, and idle
    /// nodes last (after Weng et al., as below), with their steps and ties: among equals, the node
    /// that came first, which is where all tasks without GPUs go.
    GpuPacking,
    /// Tasks that ask for GPUs in the same way (a share, one, two, …) together, in the fullest node
    /// (after Gandiva, Xiao et al., OSDI 2018), with the steps and ties of Weng et al., as above.
    GpuClustering,
    /// Fragmentation gradient descent (Weng et al., USENIX ATC 2023), with the rounding and the
    /// ties that give its published results: where the share of GPUs that the next task could not
    /// use grows least, in steps of 100 thousandths, and among equals where least is idle.
    Fgd,
    /// Where waste and imbalance grow least: the same idea, seen to the end. See
    /// [`Outlook`](super::Outlook).
    Thrift,
    /// The fog's own: nodes that are fast, cheap, powered and likely to stay, and of those the
    /// one that [`Policy::Thrift`] would take.
    #[default]
    Fog,
    /// The fog's own with other weights or scores.
    Weighted(Arc<FogPolicy>),
}

impl Policy {
    /// Those without parameters, by name.
    pub const ALL: [(&'static str, Self); 9] = [
        ("random", Self::Random),
        ("spread", Self::Spread),
        ("best_fit", Self::BinPack),
        ("dot_product", Self::DotProduct),
        ("gpu_packing", Self::GpuPacking),
        ("gpu_clustering", Self::GpuClustering),
        ("fgd", Self::Fgd),
        ("thrift", Self::Thrift),
        ("fog", Self::Fog),
    ];

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Spread => "spread",
            Self::BinPack => "best_fit",
            Self::DotProduct => "dot_product",
            Self::GpuPacking => "gpu_packing",
            Self::GpuClustering => "gpu_clustering",
            Self::Fgd => "fgd",
            Self::Thrift => "thrift",
            Self::Fog => "fog",
            Self::Weighted(_) => "weighted",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, policy)| policy).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            Error::invalid("policy", format!("\"{name}\" is none of {}", names.join(", ")))
        })
    }
}

/// The weights of the fog's own policy.
#[derive(Clone, Debug)]
pub struct FogPolicy {
    /// What a node is worth by itself, with the weight of each.
    pub of_the_node: Vec<(Arc<dyn Score>, f64)>,
    /// What it is worth for the task in hand, with the weight of each.
    pub for_the_task: Vec<(Arc<dyn Score>, f64)>,
    /// How much a GPU counts that would be wasted or stranded. Default 0.1: between nodes that
    /// are about as good it decides, and it sends nobody to a bad one.
    pub fit: f64,
}

impl Default for FogPolicy {
    fn default() -> Self {
        let weighed = |merits: &[(Merit, f64)]| {
            let merits = merits.iter();
            merits.map(|(merit, weight)| (Arc::new(*merit) as Arc<dyn Score>, *weight)).collect()
        };
        Self {
            of_the_node: weighed(&[
                (Merit::Speed, 0.25),
                (Merit::Stay, 0.2),
                (Merit::Energy, 0.15),
                (Merit::Price, 0.1),
                (Merit::Quality, 0.1),
            ]),
            for_the_task: weighed(&[(Merit::Locality, 0.15), (Merit::Preference, 0.05)]),
            fit: 0.1,
        }
    }
}

impl FogPolicy {
    /// The same with one more score for the task in hand; a weight below zero is none.
    #[must_use]
    pub fn with_score(mut self, score: Arc<dyn Score>, weight: f64) -> Self {
        self.for_the_task.push((score, if weight.is_finite() { weight.max(0.0) } else { 0.0 }));
        self
    }

    /// Each term and its weight; they are added up as they are.
    pub fn weights(&self) -> impl Iterator<Item = (Term, f64)> {
        let scores = self.of_the_node.iter().chain(&self.for_the_task);
        scores.map(|(score, weight)| (score.term(), *weight)).chain([(Term::Fit, self.fit)])
    }
}
