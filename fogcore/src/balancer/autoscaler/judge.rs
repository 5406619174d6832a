//! The decision itself: how many nodes a load wants, and what stands against it.

use std::time::Duration;

use super::calm::Calm;
use super::load::Reading;
use super::{ScaleLimit, ScalePolicy, ScaleReason};

/// A calm that was not looked at for so many checks is over.
const MISSED_CHECKS: u32 = 3;

/// All that a decision depends on.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub(super) policy: &'a ScalePolicy,
    pub(super) reading: Reading,
    pub(super) on_its_way: u32,
    /// What will be to do, in nodes' worth of work.
    pub(super) ahead: Option<f64>,
    /// When nodes were added last.
    pub(super) up_at: Option<Duration>,
    /// When the number of nodes was changed last.
    pub(super) changed_at: Option<Duration>,
    pub(super) now: Duration,
}

/// What is decided.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) wanted: u32,
    pub(super) desired: u32,
    pub(super) reason: ScaleReason,
    pub(super) limited_by: Vec<ScaleLimit>,
}

/// What is to do, seen now and foreseen, per ready node.
#[derive(Clone, Copy, Debug)]
struct Demand {
    now: f64,
    ahead: Option<f64>,
}

impl Demand {
    fn highest(self) -> f64 {
        self.ahead.map_or(self.now, |ahead| ahead.max(self.now))
    }
}

impl Situation<'_> {
    pub(super) fn current(&self) -> u32 {
        self.reading.ready.saturating_add(self.on_its_way)
    }

    /// The verdict; `calm` learns whether the load is low.
    pub(super) fn judge(&self, calm: &mut Calm) -> Verdict {
        let policy = self.policy;
        let low = self.reading.load.map(|load| self.cautiously_low(load));
        match low.filter(|low| policy.is_low(low.highest())) {
            Some(low) => {
                let gap = policy.check_every.saturating_mul(MISSED_CHECKS);
                calm.low(self.now, self.needed(low), gap, policy.stabilise_for);
            }
            None => calm.end(),
        }
        let current = self.current();
        // The bounds hold at once, whatever the load: they are somebody's word, not a guess.
        if current < policy.min {
            return Verdict::plain(policy.min, ScaleReason::BelowMin);
        }
        if current > policy.max {
            return Verdict::plain(policy.max, ScaleReason::AboveMax);
        }
        let (Some(load), Some(low)) = (self.reading.load, low) else {
            let Reading { known, ready, .. } = self.reading;
            return Verdict::plain(current, ScaleReason::TooFewKnown { known, ready });
        };
        if let Some(verdict) = self.up(self.cautiously_high(load)) {
            return verdict;
        }
        if !policy.is_low(low.now) {
            return Verdict::plain(current, ScaleReason::WithinBand { load });
        }
        match low.ahead.filter(|ahead| !policy.is_low(*ahead)) {
            Some(predicted) => {
                let below = policy.down_below;
                Verdict::plain(current, ScaleReason::PredictedNotLow { predicted, below })
            }
            None => self.down(low, calm),
        }
    }

    /// Before nodes are added, those that are unknown are taken for idle, as HPA does: what is
    /// not known makes a change smaller, never larger.
    fn cautiously_high(&self, load: f64) -> Demand {
        let share = self.reading.share();
        Demand { now: load * share, ahead: self.ahead_per_node().map(|ahead| ahead * share) }
    }

    /// Before nodes are given back, those that are unknown are taken for as busy as the target.
    fn cautiously_low(&self, load: f64) -> Demand {
        let share = self.reading.share();
        let cautious = |load: f64| load * share + self.policy.target * (1.0 - share);
        Demand { now: cautious(load), ahead: self.ahead_per_node().map(cautious) }
    }

    fn ahead_per_node(&self) -> Option<f64> {
        self.ahead.map(|ahead| ahead / f64::from(self.reading.ready.max(1)))
    }

    fn needed(&self, demand: Demand) -> u32 {
        self.policy.nodes_for(demand.highest() * f64::from(self.reading.ready))
    }

    fn up(&self, demand: Demand) -> Option<Verdict> {
        let (policy, current) = (self.policy, self.current());
        // What is to do, spread over all that are there and will be.
        let spread = f64::from(self.reading.ready) / f64::from(current.max(1));
        let is_high = policy.is_high(demand.now);
        let predicted = demand.ahead.map(|ahead| ahead * spread);
        let will_be_high = predicted.filter(|predicted| policy.is_high(*predicted));
        let above = policy.up_above;
        let reason = match (is_high, will_be_high, policy.predict) {
            (true, None, _) if !policy.is_high(demand.now * spread) => {
                let reason = ScaleReason::OnItsWay { nodes: self.on_its_way };
                return Some(Verdict::plain(current, reason));
            }
            (true, ..) => ScaleReason::LoadHigh { load: demand.now, above },
            (false, Some(predicted), Some(within)) => {
                ScaleReason::PredictedHigh { predicted, above, within }
            }
            (false, ..) => return None,
        };
        let mut verdict = Verdict::plain(self.needed(demand).max(current), reason);
        if let Some(left) = left(policy.cool_down_up, self.up_at, self.now) {
            verdict.limit(current, ScaleLimit::CoolDown { left });
        }
        let step = current.saturating_add(policy.max_step_up.most(current));
        verdict.limit(verdict.desired.min(step), ScaleLimit::Step);
        verdict.limit(verdict.desired.min(policy.max), ScaleLimit::Max);
        Some(verdict)
    }

    fn down(&self, demand: Demand, calm: &Calm) -> Verdict {
        let (policy, current) = (self.policy, self.current());
        let reason = ScaleReason::LoadLow { load: demand.now, below: policy.down_below };
        // So many nodes as would leave `keep` ready: those on their way carry nothing yet.
        let leaving = |keep: u32| current - self.reading.ready.saturating_sub(keep).min(current);
        let mut verdict = Verdict::plain(leaving(self.needed(demand)), reason);
        match calm.highest(self.now, policy.stabilise_for) {
            Ok(keep) => verdict.limit(verdict.desired.max(leaving(keep)), ScaleLimit::BusierLately),
            Err(left) => verdict.limit(current, ScaleLimit::Stabilising { left }),
        }
        if let Some(left) = left(policy.cool_down_down, self.changed_at, self.now) {
            verdict.limit(current, ScaleLimit::CoolDown { left });
        }
        verdict.limit(verdict.desired.max(leaving(policy.min)), ScaleLimit::Min);
        let step = current.saturating_sub(policy.max_step_down.most(current));
        verdict.limit(verdict.desired.max(step), ScaleLimit::Step);
        let known = current.saturating_sub(self.reading.known);
        verdict.limit(verdict.desired.max(known), ScaleLimit::Unknown);
        verdict
    }
}

impl Verdict {
    fn plain(wanted: u32, reason: ScaleReason) -> Self {
        Self { wanted, desired: wanted, reason, limited_by: Vec::new() }
    }

    /// Notes the limit if it makes a difference.
    fn limit(&mut self, desired: u32, limit: ScaleLimit) {
        if desired != self.desired {
            self.desired = desired;
            self.limited_by.push(limit);
        }
    }
}

/// What is left of a cool-down that began at `since`.
fn left(cool_down: Duration, since: Option<Duration>, now: Duration) -> Option<Duration> {
    let left = cool_down.saturating_sub(now.saturating_sub(since?));
    (!left.is_zero()).then_some(left)
}
