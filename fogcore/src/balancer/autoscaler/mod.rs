//! How many nodes there should be: asks for more before the fog is full, and gives nodes back once
//! it has been idle for a while.
//!
//! A threshold alone does this badly. New nodes take minutes, so a request that waits for the
//! overload comes too late; while they start the load is still high, so more are asked for than are
//! needed; and a load that swings around a threshold makes nodes come and go with it. So:
//!
//! - The number of nodes follows from what is to do: `load × ready nodes / target`, rounded up, as
//!   Kubernetes' HorizontalPodAutoscaler has it, once the load is above or below its threshold.
//! - Nodes on their way count: nobody is asked twice for the same.
//! - Nodes are added for what is to do or what a [`Forecast`] says will be, whichever is more. They
//!   are given back only if both are low, were low at every check for a while, and some time after
//!   the latest change.
//! - Unknown is not idle. A node without a load makes a change smaller, never larger; with too few
//!   known ones nothing is decided.
//!
//! Every decision is a synchronous function of what was listed so far and of `now`, a duration
//! counted from any fixed point ([`Clock::elapsed`](crate::time::Clock::elapsed)), and says why and
//! what limited it. The one call that waits, [`Autoscaler::step`], asks a [`ScaleHook`].
//!
//! ```
//! use std::time::Duration;
//! use fogcore::balancer::autoscaler::{Autoscaler, NodeLoad, ScaleAnswer, ScalePolicy, ScaleReason};
//!
//! let mut scaler = Autoscaler::new(ScalePolicy::default())?;
//! let busy = |name: &str| Ok::<_, fogcore::Error>(NodeLoad {
//!     cpu: Some(0.95),
//!     memory: Some(0.85),
//!     ..NodeLoad::new(name.parse()?)
//! });
//! let loads = [busy("a")?, busy("b")?, busy("c")?];
//! let decision = scaler.decide(&loads, Duration::ZERO)?;
//! assert_eq!((decision.current, decision.desired), (3, 5), "0.9 × 3 / 0.6, rounded up");
//!
//! let request = scaler.ask().expect("a change is asked for once");
//! assert_eq!((request.from, request.to), (3, 5));
//! scaler.answered(Ok(ScaleAnswer::Accepted { on_its_way: 2 }));
//!
//! let decision = scaler.decide(&loads, Duration::from_secs(30))?;
//! assert_eq!(decision.reason, ScaleReason::OnItsWay { nodes: 2 });
//! assert!(!decision.changes());
//! # Ok::<(), fogcore::Error>(())
//! ```

mod calm;
mod decision;
mod fleet;
mod forecast;
mod hook;
mod judge;
mod load;
mod policy;

use std::collections::VecDeque;
use std::time::Duration;

use self::calm::Calm;
pub use self::decision::{ScaleDecision, ScaleLimit, ScaleReason};
use self::fleet::{Census, Fleet};
pub use self::forecast::{Forecast, ForecastPolicy, Prediction};
pub use self::hook::{ScaleAnswer, ScaleHook, ScaleOutcome, ScaleReport, ScaleRequest};
use self::judge::Situation;
pub use self::load::NodeLoad;
use self::load::Reading;
pub use self::policy::{MAX_NODES, ScalePolicy, Step};
use crate::error::Result;
use crate::id::NodeId;

/// Decides how many nodes there should be.
#[derive(Debug)]
pub struct Autoscaler {
    policy: ScalePolicy,
    fleet: Fleet,
    /// Of what is to do, in nodes' worth of work: unlike the mean load, it does not fall because
    /// a node joins.
    forecast: Forecast,
    sampled_at: Option<Duration>,
    calm: Calm,
    up_at: Option<Duration>,
    changed_at: Option<Duration>,
    /// When a check was made, even one that was refused: bad input must not make a loop spin.
    checked_at: Option<Duration>,
    latest: Option<ScaleDecision>,
    asked: bool,
    next_id: u64,
    history: VecDeque<ScaleReport>,
}

impl Autoscaler {
    /// An autoscaler that has seen nothing. Its requests are numbered from 1.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn new(policy: ScalePolicy) -> Result<Self> {
        policy.check()?;
        Ok(Self {
            forecast: Forecast::new(policy.forecast)?,
            policy,
            fleet: Fleet::default(),
            sampled_at: None,
            calm: Calm::default(),
            up_at: None,
            changed_at: None,
            checked_at: None,
            latest: None,
            asked: false,
            next_id: 1,
            history: VecDeque::new(),
        })
    }

    /// The same autoscaler with its next request numbered `id`: for a hook that remembers the
    /// requests of an earlier process.
    #[must_use]
    pub fn numbered_from(self, id: u64) -> Self {
        Self { next_id: id, ..self }
    }

    /// Its policy.
    #[must_use]
    pub fn policy(&self) -> &ScalePolicy {
        &self.policy
    }

    /// The latest decision.
    #[must_use]
    pub fn latest(&self) -> Option<&ScaleDecision> {
        self.latest.as_ref()
    }

    /// What was asked, oldest first; the policy says how many reports are kept.
    pub fn history(&self) -> impl ExactSizeIterator<Item = &ScaleReport> {
        self.history.iter()
    }

    /// How long it is until the next check.
    #[must_use]
    pub fn next_check(&self, now: Duration) -> Duration {
        let due = self.checked_at.map(|at| at.saturating_add(self.policy.check_every));
        due.map_or(Duration::ZERO, |due| due.saturating_sub(now))
    }

    /// Looks at the nodes and decides. Every node that is there is listed: one that is missing is
    /// gone, and one whose load is unknown is listed without it.
    ///
    /// Meant for every `check_every`. What comes between is decided, too, but the forecast leaves
    /// it out.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a load that is no share, or a node that is listed
    /// twice; nothing has changed.
    pub fn decide(&mut self, loads: &[NodeLoad], now: Duration) -> Result<ScaleDecision> {
        load::check(loads)?;
        let Census { ready, on_its_way } = self.fleet.update(loads, now, self.policy.arrive_within);
        let reading = Reading::of(&ready, self.policy.min_known);
        let ahead = self.foresee(reading, now)?;
        let situation = Situation {
            policy: &self.policy,
            reading,
            on_its_way,
            ahead: ahead.map(|ahead| ahead.value),
            up_at: self.up_at,
            changed_at: self.changed_at,
            now,
        };
        let verdict = situation.judge(&mut self.calm);
        let current = situation.current();
        let decision = ScaleDecision {
            at: now,
            current,
            ready: reading.ready,
            known: reading.known,
            load: reading.load,
            predicted: ahead.map(|ahead| ahead.scaled(1.0 / f64::from(current.max(1)))),
            wanted: verdict.wanted,
            desired: verdict.desired,
            reason: verdict.reason,
            limited_by: verdict.limited_by,
            remove: self.to_remove(&ready, current.saturating_sub(verdict.desired), on_its_way),
        };
        self.checked_at = Some(now);
        self.asked = false;
        self.latest = Some(decision.clone());
        Ok(decision)
    }

    /// The request that the latest decision makes, if it changes something and was not asked yet.
    /// Until the hook's answer is handed in, its report says that there is none.
    ///
    /// A request whose answer is unknown, and which is still the same, keeps its id.
    pub fn ask(&mut self) -> Option<ScaleRequest> {
        let decision = self.latest.as_ref().filter(|latest| !self.asked && latest.changes())?;
        let mut request = ScaleRequest {
            id: self.next_id,
            from: decision.current,
            to: decision.desired,
            reason: decision.reason,
            load: decision.load,
            remove: decision.remove.clone(),
        };
        match self.history.back() {
            Some(ScaleReport { request: before, outcome, .. })
                if before.is_like(&request)
                    && matches!(
                        outcome,
                        ScaleOutcome::Unanswered | ScaleOutcome::Failed { .. }
                    ) =>
            {
                request.id = before.id;
            }
            _ => self.next_id = self.next_id.saturating_add(1),
        }
        self.asked = true;
        if self.history.len() >= self.policy.history {
            self.history.pop_front();
        }
        let outcome = ScaleOutcome::Unanswered;
        let report = ScaleReport { at: decision.at, request: request.clone(), outcome };
        self.history.push_back(report);
        Some(request)
    }

    /// The hook's answer to the latest request; none if there is none without an answer.
    pub fn answered(&mut self, answer: Result<ScaleAnswer>) -> Option<ScaleReport> {
        let report = self.history.back_mut()?;
        if report.outcome != ScaleOutcome::Unanswered {
            return None;
        }
        report.outcome = answer.into();
        let report = report.clone();
        if let ScaleOutcome::Accepted { on_its_way } = report.outcome {
            self.accepted(&report.request, on_its_way, report.at);
        }
        Some(report)
    }

    /// If a check is due, decides, and asks the hook if something should change. None: no check
    /// was due, or nothing should; [`Autoscaler::latest`] says why. What the hook says, and that it
    /// failed, is in the report.
    ///
    /// Dropping it while it waits for the hook, as a timeout does, leaves the request without an
    /// answer; the next check sends it again.
    ///
    /// It sets the gauges `fogcore_autoscaler_desired` (nodes) and `fogcore_autoscaler_load` (0–1;
    /// NaN while it is unknown).
    ///
    /// # Errors
    /// As [`Autoscaler::decide`]; the next check is due at its usual time.
    pub async fn step(
        &mut self,
        loads: &[NodeLoad],
        hook: &dyn ScaleHook,
        now: Duration,
    ) -> Result<Option<ScaleReport>> {
        let Some(request) = self.check(loads, now)? else { return Ok(None) };
        let answer = hook.scale(&request).await;
        Ok(self.answered(answer))
    }

    /// The part of [`Autoscaler::step`] before the hook, for whoever asks it without holding on to
    /// the autoscaler: if a check is due, decides, and gives the request if there is one. The
    /// answer goes to [`Autoscaler::answered`].
    ///
    /// # Errors
    /// As [`Autoscaler::decide`]; the next check is due at its usual time.
    pub fn check(&mut self, loads: &[NodeLoad], now: Duration) -> Result<Option<ScaleRequest>> {
        if !self.next_check(now).is_zero() {
            return Ok(None);
        }
        self.checked_at = Some(now);
        let decision = self.decide(loads, now)?;
        metrics::gauge!("fogcore_autoscaler_desired").set(f64::from(decision.desired));
        metrics::gauge!("fogcore_autoscaler_load").set(decision.load.unwrap_or(f64::NAN));
        Ok(self.ask())
    }

    /// What will be to do, in nodes' worth of work, after it has learned what is to do now.
    fn foresee(&mut self, reading: Reading, now: Duration) -> Result<Option<Prediction>> {
        let (Some(load), Some(ahead)) = (reading.load, self.policy.predict) else {
            return Ok(None);
        };
        let every = self.policy.check_every;
        let steps = match self.sampled_at {
            Some(before) => steps(now.saturating_sub(before).saturating_add(every / 2), every),
            None => 1,
        };
        if steps > 0 {
            self.forecast.skip(steps - 1);
            self.forecast.observe(load * f64::from(reading.ready))?;
            self.sampled_at = Some(now);
        }
        let ahead = self.forecast.predict(steps_up(ahead, every));
        Ok(ahead.map(Prediction::not_negative))
    }

    /// The idlest nodes of those that go; nodes on their way are called off first, and as many as
    /// the policy's `min` stay ready.
    fn to_remove(&self, ready: &[&NodeLoad], going: u32, on_its_way: u32) -> Vec<NodeId> {
        let min = usize::try_from(self.policy.min).unwrap_or(usize::MAX);
        let going = match going {
            0 => return Vec::new(),
            going if self.is_above_max(ready, on_its_way) => going.saturating_sub(on_its_way),
            going => going,
        };
        let going = usize::try_from(going).unwrap_or(usize::MAX);
        let mut nodes = load::idlest(ready);
        nodes.truncate(going.min(ready.len().saturating_sub(min)));
        nodes
    }

    fn is_above_max(&self, ready: &[&NodeLoad], on_its_way: u32) -> bool {
        policy::count(ready.len()).saturating_add(on_its_way) > self.policy.max
    }

    fn accepted(&mut self, request: &ScaleRequest, on_its_way: u32, at: Duration) {
        let until = at.saturating_add(self.policy.arrive_within);
        self.changed_at = Some(at);
        if request.to > request.from {
            self.up_at = Some(at);
            self.fleet.promise(on_its_way.min(request.to - request.from), until);
            return;
        }
        let going = on_its_way.min(request.from - request.to);
        let named = policy::count(request.remove.len()).min(going);
        let nodes = request.remove.iter().take(usize::try_from(named).unwrap_or(usize::MAX));
        self.fleet.leave(nodes, until);
        self.fleet.call_off(going - named);
    }
}

/// How many whole steps there are in a time.
fn steps(time: Duration, step: Duration) -> u32 {
    u32::try_from(time.as_nanos() / step.as_nanos().max(1)).unwrap_or(u32::MAX)
}

/// How many steps it takes to get as far.
fn steps_up(time: Duration, step: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(step.as_nanos().max(1))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
