//! A call under way: asks whom its [`Course`] says, and listens to all of them at once.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};

use super::Shared;
use super::attempt::{self, Attempt, AttemptKind, Ended, Failure, Limit, Lost};
use super::course::{Beside, Course, Step};
use super::policy::Repeat;
use super::report::{Answer, AttemptOutcome, AttemptReport, CallError, CallErrorKind, CallReport};
use crate::balancer::{Balancer, Dice, Endpoint, NoNode, Permit, Request};
use crate::failover::{Deadline, FailureKind};
use crate::id::NodeId;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) request: Request,
    pub(super) repeat: Repeat,
    pub(super) deadline: Option<Deadline>,
    pub(super) beside: Beside,
}

type Picked<'c> = (Permit<&'c Balancer>, Arc<Endpoint>);

/// Everything in flight is owned by this future: dropping it drops all attempts and gives their
/// permits back.
pub(super) async fn run<T, E, F, Fut>(
    shared: &Shared,
    order: Order,
    mut work: F,
) -> Result<Answer<T>, CallError<E>>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, Failure<E>>>,
{
    let clock = shared.clock.as_ref();
    let mut run = Run::new(shared, order);
    let mut last = None;
    let mut in_flight = FuturesUnordered::new();
    let kind = loop {
        let now = clock.elapsed();
        let ended = match run.course.step(now) {
            Step::End(kind) => break kind,
            Step::Wait(span) => next_of(&mut in_flight, span.map(|span| clock.sleep(span))).await,
            Step::Start(kind) => match run.start(kind, now) {
                Err(kind) => break kind,
                Ok(None) => None,
                Ok(Some((permit, attempt, limit))) => {
                    let place = run.report.attempts.len() - 1;
                    let work = work(attempt);
                    in_flight.push(attempt::make(permit, place, clock, limit, work));
                    None
                }
            },
        };
        let Some(Ended { place, took, result }) = ended else { continue };
        let failed = match result {
            Ok(value) => return Ok(Answer { value, report: run.succeeded(place, took) }),
            Err(Lost::Failed(Failure { kind, sent, error })) => {
                last = Some(error);
                run.failed(place, took, kind, sent, true)
            }
            Err(Lost::OutOfTime { counts }) => {
                last = None;
                run.failed(place, took, FailureKind::Timeout, true, counts)
            }
        };
        if let Err(kind) = failed {
            break kind;
        }
    };
    Err(CallError { kind, report: run.gave_up(kind), last })
}

/// The next one to end; none if the time is over first.
async fn next_of<O>(
    in_flight: &mut FuturesUnordered<impl Future<Output = O>>,
    over: Option<impl Future<Output = ()> + Unpin>,
) -> Option<O> {
    match over {
        Some(over) if in_flight.is_empty() => {
            over.await;
            None
        }
        Some(over) => match select(in_flight.next(), over).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => None,
        },
        None => in_flight.next().await,
    }
}

/// What a call remembers.
struct Run<'c> {
    shared: &'c Shared,
    course: Course<'c>,
    /// Its `except` begins with those that were tried, the latest first.
    request: Request,
    tried: usize,
    deadline: Option<Deadline>,
    dice: Dice,
    began: Duration,
    /// Those in flight count as cancelled until they end.
    report: CallReport,
    /// For the metrics, when the call ends or is dropped.
    result: &'static str,
}

impl<'c> Run<'c> {
    fn new(shared: &'c Shared, order: Order) -> Self {
        let Order { request, repeat, deadline, beside } = order;
        let began = shared.clock.elapsed();
        let retry = &shared.policy.retry;
        let deadline = match (deadline, retry.deadline(began)) {
            (Some(one), Some(other)) => Some(one.earliest(other)),
            (one, other) => one.or(other),
        };
        Self {
            shared,
            course: Course::new(retry, &shared.budget, repeat, deadline, beside, began),
            request,
            tried: 0,
            deadline,
            dice: shared.dice(),
            began,
            report: CallReport::default(),
            result: "cancelled",
        }
    }

    /// Finds a node for an attempt; none if it is not to be.
    #[expect(clippy::type_complexity, reason = "what an attempt is made with, taken apart at once")]
    fn start(
        &mut self,
        kind: AttemptKind,
        now: Duration,
    ) -> Result<Option<(Permit<&'c Balancer>, Attempt, Limit)>, CallErrorKind> {
        let delay = self.shared.hedge_delay();
        let picked = if !self.course.can_pay_for(kind, now) {
            None
        } else if self.course.is_idle() {
            match self.pick_any(now) {
                Ok(picked) => Some(picked),
                Err(no_node) => {
                    let dice = self.dice.throw().number();
                    self.course.nobody(kind, no_node, dice, now)?;
                    return Ok(None);
                }
            }
        } else {
            self.pick_another(now).ok()
        };
        let Some((permit, endpoint)) = picked.filter(|_| self.course.pay_for(kind, now)) else {
            self.course.skipped(kind, delay, now);
            return Ok(None);
        };
        self.course.started(kind, delay, now);
        match kind {
            AttemptKind::Retry => {
                metrics::counter!("fogcore_call_retries_total").increment(1);
            }
            AttemptKind::Hedge => {
                metrics::counter!("fogcore_call_hedges_total").increment(1);
            }
            AttemptKind::First | AttemptKind::Copy => {}
        }
        self.tried += 1;
        self.request.except.insert(0, endpoint.id.clone());
        self.report.attempts.push(AttemptReport {
            node: endpoint.id.clone(),
            kind,
            outcome: AttemptOutcome::Cancelled,
            after: now.saturating_sub(self.began),
            took: Duration::ZERO,
        });
        let retry = &self.shared.policy.retry;
        let attempt = Attempt {
            endpoint,
            index: permit.index(),
            number: u32::try_from(self.tried).unwrap_or(u32::MAX),
            kind,
            deadline: retry.deadline_of_try(self.deadline, now),
        };
        let limit = self.limit(attempt.deadline, now);
        Ok(Some((permit, attempt, limit)))
    }

    fn limit(&self, until: Option<Deadline>, now: Duration) -> Limit {
        let own = self.shared.policy.retry.per_try_timeout;
        let left = self.deadline.map(|deadline| deadline.left(now));
        let by_own = own.is_some_and(|own| left.is_none_or(|left| own <= left));
        let span = until.map(|until| until.left(now));
        Limit { span, counts: by_own || self.course.has_just_begun() }
    }

    /// A node that was not tried yet; if there is none, any one.
    fn pick_any(&mut self, now: Duration) -> Result<Picked<'c>, NoNode> {
        self.pick(now).or_else(|no_node| {
            if self.tried == 0 {
                return Err(no_node);
            }
            let tried: Vec<NodeId> = self.request.except.drain(..self.tried).collect();
            let picked = self.pick(now);
            self.request.except.splice(..0, tried);
            picked
        })
    }

    /// A node that was not tried yet.
    fn pick_another(&mut self, now: Duration) -> Result<Picked<'c>, NoNode> {
        let (permit, endpoint) = self.pick(now)?;
        // The balancer looks at a limited number of those that were tried.
        if self.request.except[..self.tried].contains(&endpoint.id) {
            return Err(NoNode::unknown());
        }
        Ok((permit, endpoint))
    }

    fn pick(&mut self, now: Duration) -> Result<Picked<'c>, NoNode> {
        /// A node may leave between being picked and being looked at; not so many in a row.
        const TRIES: usize = 4;
        let shared = self.shared;
        for _ in 0..TRIES {
            let turn = shared.turns.take();
            self.dice.turn_to(turn);
            let picked = shared.balancer.pick(&self.request, now, &mut self.dice);
            shared.turns.passed(turn, self.dice.next_turn());
            let permit = picked?;
            if let Some(endpoint) = permit.endpoint() {
                return Ok((permit, endpoint));
            }
        }
        Err(NoNode::unknown())
    }

    fn failed(
        &mut self,
        place: usize,
        took: Duration,
        kind: FailureKind,
        sent: bool,
        counts: bool,
    ) -> Result<(), CallErrorKind> {
        if let Some(attempt) = self.report.attempts.get_mut(place) {
            attempt.took = took;
            if counts {
                attempt.outcome = AttemptOutcome::Failed(kind);
            }
        }
        let (now, delay) = (self.shared.clock.elapsed(), self.shared.hedge_delay());
        let dice = self.dice.throw().number();
        self.course.failed(kind, sent, delay, dice, now)
    }

    fn succeeded(&mut self, place: usize, took: Duration) -> CallReport {
        self.result = "success";
        let report = self.finish(Some((place, took)));
        if let Some(hedge) = &self.shared.hedge {
            let delay = hedge.delay();
            let told = |attempt: &AttemptReport| match attempt.outcome {
                AttemptOutcome::Succeeded => true,
                // Nobody knows how long it would have taken, but longer than this. Left out, each
                // hedge would make the delay shorter.
                AttemptOutcome::Cancelled => delay.is_some_and(|delay| attempt.took >= delay),
                AttemptOutcome::Failed(_) => false,
            };
            let told = report.attempts.iter().filter(|attempt| told(attempt));
            told.for_each(|attempt| hedge.record(attempt.took));
        }
        report
    }

    fn gave_up(&mut self, kind: CallErrorKind) -> CallReport {
        self.result = kind.as_str();
        self.finish(None)
    }

    /// The report, where those in flight end now.
    fn finish(&mut self, success: Option<(usize, Duration)>) -> CallReport {
        let mut report = std::mem::take(&mut self.report);
        report.took = self.shared.clock.elapsed().saturating_sub(self.began);
        for (place, attempt) in report.attempts.iter_mut().enumerate() {
            if let Some((_, took)) = success.filter(|(winner, _)| *winner == place) {
                (attempt.outcome, attempt.took) = (AttemptOutcome::Succeeded, took);
            } else if attempt.outcome == AttemptOutcome::Cancelled && attempt.took.is_zero() {
                attempt.took = report.took.saturating_sub(attempt.after);
            }
        }
        report
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        metrics::counter!("fogcore_calls_total", "result" => self.result).increment(1);
    }
}
