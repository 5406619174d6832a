//! What happens when a node fails: breakers, probes, outliers, retries.
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

mod breaker;
mod budget;
mod health;
mod outlier;
mod words;

pub use breaker::{
    Breaker, BreakerChange, BreakerPermit, BreakerPolicy, BreakerState, BreakerStats,
    BreakerWindow, OnChange, OpenReason, Refused,
};
pub use budget::{BudgetPolicy, RetryBudget};
pub use health::{
    AbsenceReason, Health, HealthChange, HealthCheck, HealthPolicy, HealthProbe, ProbeError,
    ProbeOutcome, ProbeTarget,
};
pub use outlier::{EjectReason, Observed, Outlier, OutlierPolicy, far_from_the_rest};
