//! What a call does next: a synchronous function of what happened, of `now` and of the dice.

use std::time::Duration;

use super::attempt::AttemptKind;
use super::policy::Repeat;
use super::report::CallErrorKind;
use crate::balancer::NoNode;
use crate::failover::{Deadline, FailureKind, RetryBudget, RetryPolicy};

/// What a call does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Asks a node.
    Start(AttemptKind),
    /// Waits for who was asked, but no longer than this.
    Wait(Option<Duration>),
    /// Gives up.
    End(CallErrorKind),
}

/// The next attempt, unless an answer comes first.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Duration,
    kind: AttemptKind,
}

/// Where a call stands.
#[derive(Debug)]
pub(super) struct Course<'c> {
    retry: &'c RetryPolicy,
    budget: &'c RetryBudget,
    repeat: Repeat,
    deadline: Option<Deadline>,
    /// Tries one after the other, with those that found no node; hedges and copies not counted.
    tries: u32,
    copies_left: u32,
    hedges_left: u32,
    in_flight: u32,
    /// What began last.
    latest: AttemptKind,
    due: Option<Due>,
}

/// What may be asked for beside the tries one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    pub(super) copies: u32,
    pub(super) hedges: u32,
}

impl<'c> Course<'c> {
    /// A call that begins at `now`.
    pub(super) fn new(
        retry: &'c RetryPolicy,
        budget: &'c RetryBudget,
        repeat: Repeat,
        deadline: Option<Deadline>,
        beside: Beside,
        now: Duration,
    ) -> Self {
        let hedges_left = if repeat == Repeat::Anytime { beside.hedges } else { 0 };
        Self {
            retry,
            budget,
            repeat,
            deadline,
            tries: 0,
            copies_left: beside.copies,
            hedges_left,
            in_flight: 0,
            latest: AttemptKind::First,
            due: Some(Due { at: now, kind: AttemptKind::First }),
        }
    }

    /// Whether nobody works on the request.
    pub(super) const fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Whether the attempt that began last is one of the first ones, which had all of the call's
    /// time: nobody failed, waited or was slow before.
    pub(super) fn has_just_begun(&self) -> bool {
        self.tries == 1 && matches!(self.latest, AttemptKind::First | AttemptKind::Copy)
    }

    pub(super) fn step(&self, now: Duration) -> Step {
        if self.is_idle() && self.is_late(now) {
            return Step::End(CallErrorKind::DeadlineExceeded);
        }
        match self.due {
            Some(due) if due.at <= now && !self.is_late(now) => Step::Start(due.kind),
            Some(due) if due.at > now => Step::Wait(Some(due.at.saturating_sub(now))),
            None if self.is_idle() => Step::End(CallErrorKind::AttemptsExhausted),
            // Too late for another one: those in flight end now.
            _ => Step::Wait(None),
        }
    }

    /// Pays for an attempt that another one may still make needless. Retries were paid for when
    /// they were decided, so that nobody waits for one that is not to come.
    pub(super) fn pay_for(&self, kind: AttemptKind, now: Duration) -> bool {
        !kind.is_hedge() || self.budget.spend(now)
    }

    /// Whether it makes sense to look for a node.
    pub(super) fn can_pay_for(&self, kind: AttemptKind, now: Duration) -> bool {
        !kind.is_hedge() || self.budget.left(now) > 0
    }

    /// An attempt began; `delay` is the hedging delay, if it is known.
    pub(super) fn started(&mut self, kind: AttemptKind, delay: Option<Duration>, now: Duration) {
        match kind {
            AttemptKind::First => {
                self.tries += 1;
                self.budget.earn();
            }
            AttemptKind::Retry => self.tries += 1,
            AttemptKind::Copy => self.copies_left = self.copies_left.saturating_sub(1),
            AttemptKind::Hedge => self.hedges_left = self.hedges_left.saturating_sub(1),
        }
        self.in_flight += 1;
        self.latest = kind;
        self.plan_beside(delay, now);
    }

    /// An attempt beside others did not begin, because there is no further node, or no budget.
    pub(super) fn skipped(&mut self, kind: AttemptKind, delay: Option<Duration>, now: Duration) {
        match kind {
            AttemptKind::Copy => self.copies_left = 0,
            AttemptKind::Hedge => self.hedges_left = self.hedges_left.saturating_sub(1),
            AttemptKind::First | AttemptKind::Retry => {}
        }
        self.plan_beside(delay, now);
    }

    fn plan_beside(&mut self, delay: Option<Duration>, now: Duration) {
        self.due = if self.copies_left > 0 {
            Some(Due { at: now, kind: AttemptKind::Copy })
        } else {
            let delay = delay.filter(|_| self.hedges_left > 0);
            delay.map(|delay| Due { at: now.saturating_add(delay), kind: AttemptKind::Hedge })
        };
    }

    /// Nobody takes the request, and nobody works on it.
    ///
    /// # Errors
    /// Why it ends, unless a node may be there soon enough.
    pub(super) fn nobody(
        &mut self,
        kind: AttemptKind,
        no_node: NoNode,
        dice: u64,
        now: Duration,
    ) -> Result<(), CallErrorKind> {
        self.tries += 1;
        let over = CallErrorKind::NoNode(no_node);
        let after = no_node.retry_after.filter(|after| *after <= self.retry.backoff_most);
        let after = after.filter(|_| self.tries < self.retry.attempts).ok_or(over)?;
        // All that wait for the same node must not come back at the same moment.
        let wait = after.saturating_add(self.retry.backoff(self.tries, dice));
        if !self.is_in_time(wait, now) || !self.budget.spend(now) {
            return Err(over);
        }
        self.due = Some(Due { at: now.saturating_add(wait), kind });
        Ok(())
    }

    /// An attempt failed. `sent` is false if the node certainly did not get the request.
    ///
    /// # Errors
    /// Why the call ends, if it does.
    pub(super) fn failed(
        &mut self,
        kind: FailureKind,
        sent: bool,
        delay: Option<Duration>,
        dice: u64,
        now: Duration,
    ) -> Result<(), CallErrorKind> {
        self.in_flight = self.in_flight.saturating_sub(1);
        if !kind.is_retryable() {
            return Err(CallErrorKind::Rejected);
        }
        if !self.is_idle() {
            // Whoever else works on it may be the retry. But if that one hangs, and no hedge is to
            // come any more, somebody else is asked after a while.
            if let (None, Some(delay), Repeat::Anytime) = (self.due, delay, self.repeat)
                && self.is_in_time(delay, now)
                && let Ok(wait) = self.retry_wait(kind, sent, dice, now)
            {
                let at = now.saturating_add(wait.max(delay));
                self.due = Some(Due { at, kind: AttemptKind::Retry });
            }
            return Ok(());
        }
        let at = match self.due {
            // Decided, and paid for, while somebody else worked on it.
            Some(Due { at, kind: AttemptKind::Retry }) => {
                let wait = self.retry.wait_before_next(self.tries, kind, dice, self.deadline, now);
                at.min(now.saturating_add(wait.ok_or(CallErrorKind::DeadlineExceeded)?))
            }
            _ => now.saturating_add(self.retry_wait(kind, sent, dice, now)?),
        };
        self.due = Some(Due { at, kind: AttemptKind::Retry });
        Ok(())
    }

    /// After which wait it is tried again; that is paid for.
    fn retry_wait(
        &self,
        kind: FailureKind,
        sent: bool,
        dice: u64,
        now: Duration,
    ) -> Result<Duration, CallErrorKind> {
        if self.is_late(now) {
            return Err(CallErrorKind::DeadlineExceeded);
        }
        if sent && self.repeat == Repeat::Never {
            return Err(CallErrorKind::NotRepeatable);
        }
        if self.tries >= self.retry.attempts {
            return Err(CallErrorKind::AttemptsExhausted);
        }
        let wait = self.retry.wait_before_next(self.tries, kind, dice, self.deadline, now);
        let wait = wait.ok_or(CallErrorKind::DeadlineExceeded)?;
        if self.budget.spend(now) { Ok(wait) } else { Err(CallErrorKind::BudgetExhausted) }
    }

    fn is_in_time(&self, wait: Duration, now: Duration) -> bool {
        self.deadline.is_none_or(|deadline| wait < deadline.left(now))
    }

    fn is_late(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|deadline| deadline.is_over(now))
    }
}
