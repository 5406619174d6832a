//! What was decided, and why.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Prediction;
use crate::id::NodeId;

/// What one check found and decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleDecision {
    /// When.
    pub at: Duration,
    /// The nodes that count: ready or on their way. Neither those that were accepted to go, nor
    /// those that should have been ready long ago.
    pub current: u32,
    /// Those of them that are ready.
    pub ready: u32,
    /// Those of the ready ones whose load is known.
    pub known: u32,
    /// The mean load of the known nodes, 0–1; none if too few are known.
    pub load: Option<f64>,
    /// The mean load that is expected once all current nodes are ready. It may be above 1: more
    /// than they can do. None without a load or without enough samples.
    pub predicted: Option<Prediction>,
    /// How many nodes the load alone would have; no limit is applied yet.
    pub wanted: u32,
    /// How many there should be now, from the policy's `min` to its `max`. If it differs from
    /// `current`, the hook is asked.
    pub desired: u32,
    /// Why.
    pub reason: ScaleReason,
    /// What kept `desired` from `wanted`.
    pub limited_by: Vec<ScaleLimit>,
    /// The nodes to give back, least busy first.
    pub remove: Vec<NodeId>,
}

impl ScaleDecision {
    /// Whether the number of nodes should change.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.desired != self.current
    }
}

/// Why so many nodes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScaleReason {
    /// There are fewer nodes than there must be, whatever the load.
    BelowMin,
    /// There are more nodes than there may be, whatever the load.
    AboveMax,
    /// Too few nodes say how busy they are; nothing is decided.
    TooFewKnown {
        /// So many do.
        known: u32,
        /// Of so many that are ready.
        ready: u32,
    },
    /// The load is high.
    LoadHigh {
        /// The load; nodes that are unknown are taken for idle.
        load: f64,
        /// The threshold.
        above: f64,
    },
    /// The load will be high.
    PredictedHigh {
        /// What it will be per node that is there or on its way.
        predicted: f64,
        /// The threshold.
        above: f64,
        /// In so much time.
        within: Duration,
    },
    /// The load is high, and the nodes on their way will be enough.
    OnItsWay {
        /// How many are on their way.
        nodes: u32,
    },
    /// The load is low, and will be. If nothing changes without a limit, fewer nodes would be
    /// above the target.
    LoadLow {
        /// The load; nodes that are unknown are taken for as busy as the target.
        load: f64,
        /// The threshold.
        below: f64,
    },
    /// The load is low, but will not stay so.
    PredictedNotLow {
        /// What it will be per ready node.
        predicted: f64,
        /// The threshold.
        below: f64,
    },
    /// The load is neither high nor low.
    WithinBand {
        /// The load.
        load: f64,
    },
}

impl fmt::Display for ScaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowMin => write!(f, "there are fewer nodes than there must be"),
            Self::AboveMax => write!(f, "there are more nodes than there may be"),
            Self::TooFewKnown { known, ready } => {
                write!(f, "the load of only {known} of {ready} ready nodes is known")
            }
            Self::LoadHigh { load, above } => {
                write!(f, "the load {load:.2} is above {above:.2}")
            }
            Self::PredictedHigh { predicted, above, within } => {
                let within = within.as_secs();
                write!(f, "the load in {within} s, {predicted:.2}, is above {above:.2}")
            }
            Self::OnItsWay { nodes } => {
                write!(f, "the load is high, and {nodes} nodes on their way will be enough")
            }
            Self::LoadLow { load, below } => {
                write!(f, "the load {load:.2} is below {below:.2}")
            }
            Self::PredictedNotLow { predicted, below } => {
                write!(f, "the load is low, but soon {predicted:.2}, not below {below:.2}")
            }
            Self::WithinBand { load } => write!(f, "the load {load:.2} is neither high nor low"),
        }
    }
}

/// What keeps the desired number of nodes from the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScaleLimit {
    /// The least nodes that must be ready.
    Min,
    /// The most nodes that may be.
    Max,
    /// How far one decision goes.
    Step,
    /// The time after the latest change is not over.
    CoolDown {
        /// So much is left.
        left: Duration,
    },
    /// The load was not low for long enough.
    Stabilising {
        /// So much is left, if it stays low.
        left: Duration,
    },
    /// At the busiest check of the window more nodes were needed than now.
    BusierLately,
    /// Only nodes whose load is known are given back.
    Unknown,
}
