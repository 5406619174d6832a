//! One attempt: what the caller's closure is told and answers, and how long it may take.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use serde::{Deserialize, Serialize};

use crate::balancer::{Balancer, Endpoint, Permit};
use crate::failover::{Deadline, FailureKind};
use crate::time::Clock;

/// What is to be sent where. Handed to the closure once per attempt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The node to ask.
    pub endpoint: Arc<Endpoint>,
    /// Its place in the balancer, for tables beside it: [`Permit::index`].
    pub index: u32,
    /// The number of the attempt within its call, from 1.
    pub number: u32,
    /// Why it is made.
    pub kind: AttemptKind,
    /// Until when its answer is worth something; what is left of it should be handed to the node
    /// ([`Deadline::to_millis`]). The closure's future is dropped then.
    pub deadline: Option<Deadline>,
}

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// It is the first one.
    First,
    /// It is one of several that a redundant call makes at once.
    Copy,
    /// Those before it failed.
    Retry,
    /// The one before it takes long.
    Hedge,
}

impl AttemptKind {
    /// Whether it was made because another one takes long.
    #[must_use]
    pub const fn is_hedge(self) -> bool {
        matches!(self, Self::Hedge)
    }
}

/// An attempt failed: how, and the caller's own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<E> {
    /// What that says about the node, and about another try.
    pub kind: FailureKind,
    /// Whether the node may have got the request.
    pub sent: bool,
    /// The caller's own error.
    pub error: E,
}

impl<E> Failure<E> {
    /// It failed as `kind`; the node may have got the request.
    pub const fn new(kind: FailureKind, error: E) -> Self {
        Self { kind, sent: true, error }
    }

    /// The same failure of a request that certainly did not reach the node (no connection came
    /// about): even what must not be sent twice may be sent to another node now.
    #[must_use]
    pub fn before_sending(self) -> Self {
        Self { sent: false, ..self }
    }
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.error)
    }
}

/// How long an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) span: Option<Duration>,
    /// Whether it counts against the node if it takes longer. An attempt that only got the time
    /// that others left of the call's says little about its node.
    pub(super) counts: bool,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Ended<T, E> {
    /// Its place in the report.
    pub(super) place: usize,
    pub(super) took: Duration,
    pub(super) result: Result<T, Lost<E>>,
}

#[derive(Debug)]
pub(super) enum Lost<E> {
    Failed(Failure<E>),
    OutOfTime { counts: bool },
}

/// Makes an attempt, and tells the balancer how it went. Dropped, it is given up: `permit` is
/// dropped after `work` (an async function drops its arguments last to first).
pub(super) async fn make<T, E>(
    permit: Permit<&Balancer>,
    place: usize,
    clock: &dyn Clock,
    limit: Limit,
    work: impl Future<Output = Result<T, Failure<E>>>,
) -> Ended<T, E> {
    let result = match limit.span {
        Some(span) => within(work, clock, span).await,
        None => Some(work.await),
    };
    let took = clock.elapsed().saturating_sub(permit.picked_at());
    let result = match result {
        Some(Ok(value)) => {
            permit.success(took);
            Ok(value)
        }
        Some(Err(failure)) => {
            permit.failure(failure.kind, took);
            Err(Lost::Failed(failure))
        }
        None => {
            if limit.counts {
                permit.failure(FailureKind::Timeout, took);
            }
            Err(Lost::OutOfTime { counts: limit.counts })
        }
    };
    Ended { place, took, result }
}

/// What `work` gives within `span`. An answer that is there when the time is over still counts.
async fn within<O>(work: impl Future<Output = O>, clock: &dyn Clock, span: Duration) -> Option<O> {
    match select(pin!(work), clock.sleep(span)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
