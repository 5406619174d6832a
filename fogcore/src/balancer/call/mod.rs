//! One call that does it all: picks a node, guards it, asks it, judges the answer, and asks
//! another node if that helps.
//!
//! Retries are simple to write and hard to get right. Tried again on the same node, a request meets
//! the same trouble; at once, it meets everybody else who failed; without a budget, retries are what
//! turns an overload into an outage; after the deadline, nobody wants the answer. And whoever races
//! two nodes must not forget to give the loser's place back. A [`Caller`] puts the pieces together
//! that do this: the [`Balancer`] with its breakers, and [`CallPolicy`] with retries, hedges and the
//! budget of both. What is sent, and how an answer is to be judged, is up to a closure.
//!
//! - **Elsewhere**: a retry or a hedge goes to a node that the call did not try, as long as there is
//!   one that takes it.
//! - **Budget**: each call earns a part of a retry; retries, hedges, and waits for a node to come
//!   back spend. All calls of a caller share one purse.
//! - **Time**: attempts and waits share the deadline. What is left of it is in
//!   [`Attempt::deadline`], to be handed to the node.
//! - **Judgement**: the [`FailureKind`] says whether the node is at fault and whether another try
//!   may help. An attempt that takes longer than `per_try_timeout`, or than all of the call's time,
//!   is a timeout of its node's. One that only had what others had left of that time is cancelled.
//! - **Cancellation**: nothing is spawned. Dropping the call's future drops all that it has in
//!   flight, and their nodes are neither blamed nor kept busy.
//!
//! Latencies are learnt from all calls of a caller, so requests of different sorts (a lookup, a
//! rendering) are best given a caller each, on the same balancer and budget.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use fogcore::balancer::{
//!     Balancer, BalancerPolicy, CallPolicy, Caller, Endpoint, Failure, Repeat, Request, StrategyKind,
//! };
//! use fogcore::failover::{BudgetPolicy, FailureKind, RetryPolicy};
//! use fogcore::time::SystemClock;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fogcore::Result<()> {
//! let balancer = Arc::new(Balancer::new(BalancerPolicy::default(), StrategyKind::RoundRobin)?);
//! for name in ["laptop", "phone"] {
//!     balancer.join(Endpoint::new(name.parse()?), Duration::ZERO)?;
//! }
//! let policy = CallPolicy {
//!     retry: RetryPolicy { backoff_first: Duration::ZERO, ..RetryPolicy::default() },
//!     // A purse is empty at first; here the very first call pays for a retry.
//!     budget: BudgetPolicy { share: 1.0, ..BudgetPolicy::default() },
//!     ..CallPolicy::default()
//! };
//! let clock = Arc::new(SystemClock::new());
//! let caller = Caller::builder(balancer, clock).policy(policy).build()?;
//!
//! let deadline = caller.deadline(Duration::from_secs(2));
//! let answer = caller
//!     .call(Request::new(), Repeat::AfterFailure, Some(deadline), |attempt| async move {
//!         // Send it to `attempt.endpoint` here.
//!         match attempt.number {
//!             1 => Err(Failure::new(FailureKind::Unreachable, std::io::Error::other("no route"))),
//!             _ => Ok(format!("hello from {}", attempt.endpoint.id)),
//!         }
//!     })
//!     .await?;
//! assert!(answer.value.starts_with("hello"));
//! let [first, second] = &answer.report.attempts[..] else { panic!() };
//! assert_ne!(first.node, second.node);
//! # Ok(())
//! # }
//! ```

mod attempt;
mod course;
mod policy;
mod report;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use attempt::{Attempt, AttemptKind, Failure};
pub use policy::{CallPolicy, Repeat};
pub use report::{Answer, AttemptOutcome, AttemptReport, CallError, CallErrorKind, CallReport};

use self::course::Beside;
use self::run::{Order, run};
use super::{Balancer, Dice, Request};
use crate::error::Result;
use crate::failover::{Deadline, FailureKind, HedgeDelay, RetryBudget};
use crate::time::Clock;

/// The most copies of a redundant call.
const MOST_COPIES: u8 = 8;

/// Makes calls. A clone is the same caller: it shares the budget and what was learnt.
#[derive(Clone, Debug)]
pub struct Caller {
    shared: Arc<Shared>,
}

/// What all calls share.
#[derive(Debug)]
struct Shared {
    balancer: Arc<Balancer>,
    clock: Arc<dyn Clock>,
    policy: CallPolicy,
    budget: Arc<RetryBudget>,
    hedge: Option<HedgeDelay>,
    seed: u64,
    calls: AtomicU64,
    turns: Turns,
}

impl Shared {
    /// Each call has dice of its own, so that they need no lock.
    fn dice(&self) -> Dice {
        Dice::for_call(self.seed, self.calls.fetch_add(1, Ordering::Relaxed))
    }

    fn hedge_delay(&self) -> Option<Duration> {
        self.hedge.as_ref()?.delay()
    }
}

/// Whose turn it is. Dice that live for one call cannot remember it.
#[derive(Debug)]
struct Turns(AtomicU64);

impl Turns {
    fn take(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// A pick that took `turn` went on until `next`, because nodes whose turn it was took nothing.
    fn passed(&self, turn: u64, next: u64) {
        let more = next.wrapping_sub(turn).saturating_sub(1);
        if more > 0 {
            self.0.fetch_add(more, Ordering::Relaxed);
        }
    }
}

/// Makes a [`Caller`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct CallerBuilder {
    balancer: Arc<Balancer>,
    clock: Arc<dyn Clock>,
    policy: CallPolicy,
    budget: Option<Arc<RetryBudget>>,
    seed: u64,
}

impl CallerBuilder {
    /// How calls are tried again and hedged. Default: [`CallPolicy`]'s.
    pub fn policy(self, policy: CallPolicy) -> Self {
        Self { policy, ..self }
    }

    /// A purse that other callers spend from, too, instead of one by the policy.
    pub fn budget(self, budget: Arc<RetryBudget>) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// What picks and waits are drawn from. Default 0. Processes that ask the same nodes should
    /// have different seeds, so that they do not come back at the same moment.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The caller.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn build(self) -> Result<Caller> {
        let Self { balancer, clock, policy, budget, seed } = self;
        policy.check()?;
        let budget = match budget {
            Some(budget) => budget,
            None => Arc::new(RetryBudget::new(policy.budget)?),
        };
        let hedge = policy.hedge.map(HedgeDelay::new).transpose()?;
        // Where a round begins follows from the seed, too.
        let turns = Turns(AtomicU64::new(Dice::seeded(seed).next_turn()));
        let calls = AtomicU64::new(0);
        let shared = Shared { balancer, clock, policy, budget, hedge, seed, calls, turns };
        Ok(Caller { shared: Arc::new(shared) })
    }
}

impl Caller {
    /// Begins a caller for the nodes of `balancer`. The balancer must be told times of `clock`
    /// only.
    pub fn builder(balancer: Arc<Balancer>, clock: Arc<dyn Clock>) -> CallerBuilder {
        CallerBuilder { balancer, clock, policy: CallPolicy::default(), budget: None, seed: 0 }
    }

    /// Asks nodes until one gives an answer: as often, as soon and for as long as `repeat`, the
    /// policy, the budget and `deadline` allow. `work` sends the request of one [`Attempt`]; its
    /// future is dropped when the attempt is out of time, or another one is faster.
    ///
    /// A deadline is counted on the caller's clock: [`Self::deadline`], or what the hop before
    /// handed on. The policy's own holds, too.
    ///
    /// If `work` panics, so does the call; no node is blamed for it.
    ///
    /// # Errors
    /// [`CallError`], with its [`CallErrorKind`]:
    /// - `Rejected` at once when the request is at fault.
    /// - `NotRepeatable`, `AttemptsExhausted`, `BudgetExhausted` when the last attempt in flight
    ///   failed and there may be no other one.
    /// - `DeadlineExceeded` when the time is over, or would be before the next try.
    /// - `NoNode` when nobody takes the request. If a node is expected back within the policy's
    ///   `backoff_most`, that is waited for, which counts and costs as a try does.
    pub async fn call<T, E, F, Fut>(
        &self,
        request: Request,
        repeat: Repeat,
        deadline: Option<Deadline>,
        work: F,
    ) -> Result<Answer<T>, CallError<E>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, Failure<E>>>,
    {
        let hedges = self.shared.hedge.as_ref().map_or(0, HedgeDelay::most);
        let beside = Beside { copies: 0, hedges };
        run(&self.shared, Order { request, repeat, deadline, beside }, work).await
    }

    /// The same as [`Self::call`], for work that gives errors of its own and has one function that
    /// says what they mean.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_classified<T, E, C, F, Fut>(
        &self,
        request: Request,
        repeat: Repeat,
        deadline: Option<Deadline>,
        classify: C,
        mut work: F,
    ) -> Result<Answer<T>, CallError<E>>
    where
        C: Fn(&E) -> FailureKind,
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let classify = &classify;
        self.call(request, repeat, deadline, |attempt| {
            let work = work(attempt);
            async move { work.await.map_err(|error| Failure::new(classify(&error), error)) }
        })
        .await
    }

    /// Asks `factor` nodes at once, 1–8 (what is more counts as 8), or as many as there are, and
    /// takes the first answer: for when no answer may be lost
    /// ([`FailoverStrategy::Redundant`](crate::failover::FailoverStrategy::Redundant)). Copies are
    /// what was asked for, so they cost no budget. If all fail, further nodes are tried one after
    /// the other. The request must be one that may be sent any number of times.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_redundant<T, E, F, Fut>(
        &self,
        factor: u8,
        request: Request,
        deadline: Option<Deadline>,
        work: F,
    ) -> Result<Answer<T>, CallError<E>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, Failure<E>>>,
    {
        let copies = u32::from(factor.clamp(1, MOST_COPIES) - 1);
        let beside = Beside { copies, hedges: 0 };
        let repeat = Repeat::Anytime;
        run(&self.shared, Order { request, repeat, deadline, beside }, work).await
    }

    /// The time on the caller's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.clock.elapsed()
    }

    /// The deadline of a call that may take so long from now on.
    #[must_use]
    pub fn deadline(&self, span: Duration) -> Deadline {
        Deadline::after(self.now(), span)
    }

    /// The nodes that it asks.
    #[must_use]
    pub fn balancer(&self) -> &Arc<Balancer> {
        &self.shared.balancer
    }

    /// The purse that its retries and hedges are paid from.
    #[must_use]
    pub fn budget(&self) -> &Arc<RetryBudget> {
        &self.shared.budget
    }

    /// After how long it asks another node, too; none while too little is known, or if it never
    /// does.
    #[must_use]
    pub fn hedge_delay(&self) -> Option<Duration> {
        self.shared.hedge_delay()
    }
}
