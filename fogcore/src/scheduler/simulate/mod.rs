//! Policies on traces: how much fits, how long tasks wait, what it costs.
//!
//! Two things can be done with a [`Trace`]:
//!
//! * [`fill()`]: tasks drawn from the trace arrive one after another and never leave, until they ask
//!   for 130 % of all GPUs. How much of the GPUs is allocated by then? This is the protocol of Weng
//!   et al., "Beware of Fragmentation" (USENIX ATC 2023), whose results can be compared.
//! * [`replay()`]: tasks come when the trace says so and stay as long as it says, wait in a queue,
//!   and lose their nodes where [`Churn`] says so.
//!
//! Both follow from the trace, the policy and the seed alone. Nodes, tasks and behaviour that were
//! made up carry a mark that says so ([`Trace::synthetic`], [`Churn`]); reports repeat it.
//!
//! ```
//! use fogcore::scheduler::policy::Policy;
//! use fogcore::scheduler::simulate::{FillPolicy, Trace, fill};
//!
//! let trace = Trace::sample(20, 200, 1);
//! assert!(trace.synthetic);
//! let filled = fill(&trace, &Policy::Thrift, 1, &FillPolicy::default())?;
//! assert!(filled.at(1.3) > 0.5 && filled.at(1.3) <= 1.0);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod chart;
mod fill;
mod read;
mod replay;
mod report;
mod sample;

pub use self::chart::chart;
pub use self::fill::{FillPolicy, Filled, fill};
pub use self::replay::{Churn, ReplayPolicy, Replayed, replay};
pub use self::report::{Report, Row};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Requirements;
use crate::registry::Node;

/// Nodes, and the tasks that come to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The nodes, in the order of the file.
    pub nodes: Vec<Node>,
    /// The tasks, in the order of the file.
    pub tasks: Vec<TraceTask>,
    /// Whether it was made up rather than recorded.
    pub synthetic: bool,
}

/// A task of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceTask {
    /// Its name in the trace.
    pub name: String,
    /// Who wants it, for fairness; empty if nobody is named.
    #[serde(default)]
    pub payer: String,
    /// When it comes, from the beginning of the trace.
    #[serde(default)]
    pub arrives: Duration,
    /// How long it runs on a usual node.
    #[serde(default)]
    pub runs: Duration,
    /// What it needs.
    #[serde(default)]
    pub requirements: Requirements,
}

impl Trace {
    /// What all GPUs of its nodes are, in thousandths.
    #[must_use]
    pub fn gpu_milli(&self) -> u64 {
        self.nodes.iter().map(|node| node.resources.gpus.len() as u64 * 1_000).sum()
    }
}
