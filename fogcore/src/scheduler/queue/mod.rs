//! The queue: how long it may get, who is next in it, and what is counted of it.
//!
//! Higher priority goes first. Among equals whoever pays has a fair share of the fog
//! ([`fair`]), and among the tasks of one payer the earliest deadline goes first, then the
//! one that was submitted first. All of this is decided by functions without I/O; stores only find
//! what they are about.
//!
//! ```
//! use fogcore::scheduler::queue::QueuePolicy;
//!
//! let policy = QueuePolicy { open_per_payer: 10, ..QueuePolicy::default() };
//! assert!(policy.admit(None, 9).is_ok());
//! let full = policy.admit(None, 10).unwrap_err();
//! assert_eq!(full.kind(), fogcore::ErrorKind::Exhausted);
//! ```

pub mod count;
pub mod fair;
pub mod forecast;
mod policy;
pub mod preempt;

pub(in crate::scheduler) use self::count::count_change;
pub use self::{
    count::{Count, Counts, Demand, Group},
    fair::{FairShares, Lane, Rank, Turns},
    forecast::{Ahead, Durations, Forecast, LatePolicy},
    policy::QueuePolicy,
    preempt::{PreemptionPolicy, Victim},
};
