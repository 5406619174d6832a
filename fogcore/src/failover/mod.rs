//! What happens when a node fails: breakers, probes, outliers, retries, hedges, and whose traffic
//! goes where.
//!
//! Every decision is a synchronous function of what was observed and of `now`, a duration counted
//! from any fixed point ([`Clock::elapsed`](crate::time::Clock::elapsed)).
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{Breaker, BreakerPolicy};
//!
//! let breaker = Breaker::new(BreakerPolicy::default())?;
//! let began = Duration::ZERO;
//! let permit = breaker.acquire(began).expect("a new breaker is closed");
//! permit.success(began + Duration::from_millis(20));
//! # Ok::<(), fogcore::Error>(())
//! ```

pub(crate) mod atomics;
mod breaker;
mod breakers;
mod budget;
mod deadline;
mod error;
mod failure;
mod health;
mod hedge;
mod outlier;
mod plan;
mod retry;
pub(crate) mod telling;
pub(crate) mod words;

pub use breaker::{
    Breaker, BreakerChange, BreakerPermit, BreakerPolicy, BreakerState, BreakerStats,
    BreakerWindow, OnChange, OpenReason, Refused,
};
pub(crate) use breaker::{FrozenBreaker, OnTaggedChange, Ticket};
pub use breakers::{BreakerStanding, Breakers, RequestClass};
pub use budget::{BudgetPolicy, RetryBudget};
pub use deadline::Deadline;
pub use error::FailoverError;
pub use failure::{Absence, FailureKind, LoweringPolicy};
pub use health::{
    AbsenceReason, Health, HealthChange, HealthCheck, HealthPolicy, HealthProbe, ProbeError,
    ProbeOutcome, ProbeTarget,
};
pub use hedge::{HedgeDelay, HedgePolicy};
pub use outlier::{EjectReason, Observed, Outlier, OutlierPolicy, far_from_the_rest};
pub use plan::{
    Failover, FailoverOutcome, FailoverPolicy, FailoverReason, FailoverStarted, FailoverStrategy,
    FailureRecord, MAX_REASON_CHARS, NodeStanding, TrafficShare,
};
pub use retry::RetryPolicy;
