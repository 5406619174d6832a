//! When nodes are added or given back, and how fast.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ForecastPolicy;
use crate::error::{Error, Result};

/// The most nodes that an autoscaler looks after.
pub const MAX_NODES: usize = 100_000;

const MAX_REPORTS: usize = 10_000;
const DAY: Duration = Duration::from_secs(86_400);

/// How far one decision may go: the larger of a number of nodes and a share of those there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Nodes, 1–100,000: however few there are, a step goes somewhere.
    pub nodes: u32,
    /// A share of the current nodes, 0–100. 1 doubles them on the way up.
    pub share: f64,
}

impl Step {
    /// The most nodes that one step from `current` adds or gives back.
    #[must_use]
    pub fn most(&self, current: u32) -> u32 {
        self.nodes.max(whole(self.share * f64::from(current)))
    }

    fn check(&self, field: &'static str) -> Result<()> {
        if self.nodes == 0 || self.nodes as usize > MAX_NODES {
            return Err(Error::invalid(field, "nodes must be between 1 and 100000"));
        }
        if !(0.0..=100.0).contains(&self.share) {
            return Err(Error::invalid(field, "share must be between 0 and 100"));
        }
        Ok(())
    }
}

/// When nodes are added or given back. Thresholds, limits and cool-down are the mesh document's;
/// the rest is what users of Kubernetes' HorizontalPodAutoscaler (HPA) know.
///
/// A pure target tracker is `up_above = down_below = target`: then `tolerance` is the dead band.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScalePolicy {
    /// Never fewer nodes, 1 up to `max`. Default 3: one may fail while another is drained.
    pub min: u32,
    /// Never more nodes, up to 100,000. Default 20: what a mistake may cost is known.
    pub max: u32,
    /// Nodes are added when the load is above this, 0–1. Default 0.8: above it queues grow fast.
    pub up_above: f64,
    /// Nodes are given back when the load stays below this, 0–1. Default 0.3: half the nodes
    /// could still carry it.
    pub down_below: f64,
    /// The load that a change aims at, from `down_below` to `up_above`. Default 0.6: a bit above
    /// the middle of the two, so that a change lands far from both and causes no next one.
    pub target: f64,
    /// How far from `target`, as a share of it, the load must at least be, 0–1. Default 0.1, as
    /// HPA's; it matters when a threshold is close to the target.
    pub tolerance: f64,
    /// Time between two checks, 1 s to 1 day; also the step of the forecast. Default 30 s.
    pub check_every: Duration,
    /// No nodes are added for so long after some were, up to 1 day. Default zero: nodes on their
    /// way are counted, so a second request only asks for what is needed beyond them, and an
    /// overload should not wait for it.
    pub cool_down_up: Duration,
    /// No nodes are given back for so long after any change, up to 1 day. Default 300 s: what a
    /// change does to the load is seen before the next.
    pub cool_down_down: Duration,
    /// Nodes are given back only after the load was low at every check for so long, and only as
    /// many as at the busiest of these checks; up to 1 day. Default 300 s, HPA's window.
    pub stabilise_for: Duration,
    /// How far up one decision goes. Default: four nodes or twice as many, as HPA.
    pub max_step_up: Step,
    /// How far down one decision goes. Default: one node or a tenth. HPA may drop all at once, but
    /// here a node is somebody's device, and what it held is moved.
    pub max_step_down: Step,
    /// How far ahead the load is predicted, above zero and up to 1 day; none: it is not. Default
    /// 5 min: about what a node needs from being asked for to being of use.
    pub predict: Option<Duration>,
    /// How predictions follow the load.
    pub forecast: ForecastPolicy,
    /// The share of the ready nodes whose load must be known, above 0 and up to 1; with less
    /// nothing is decided. Default 0.5: fewer may not be like the rest.
    pub min_known: f64,
    /// For so long a node that is promised, not ready or to be given back counts as on its way;
    /// after that a promise counts no more, nor does a node that is not ready, while one that
    /// should be gone counts as there. 1 s to 1 day. Default 10 min: a slow machine has booted.
    pub arrive_within: Duration,
    /// How many reports are kept, 1–10,000. Default 100.
    pub history: usize,
}

impl Default for ScalePolicy {
    fn default() -> Self {
        Self {
            min: 3,
            max: 20,
            up_above: 0.8,
            down_below: 0.3,
            target: 0.6,
            tolerance: 0.1,
            check_every: Duration::from_secs(30),
            cool_down_up: Duration::ZERO,
            cool_down_down: Duration::from_secs(300),
            stabilise_for: Duration::from_secs(300),
            max_step_up: Step { nodes: 4, share: 1.0 },
            max_step_down: Step { nodes: 1, share: 0.1 },
            predict: Some(Duration::from_secs(300)),
            forecast: ForecastPolicy::default(),
            min_known: 0.5,
            arrive_within: Duration::from_secs(600),
            history: 100,
        }
    }
}

impl ScalePolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if self.min == 0 || self.min > self.max {
            return Err(Error::invalid("min", "must be between 1 and max"));
        }
        if self.max as usize > MAX_NODES {
            return Err(Error::invalid("max", "must be at most 100000"));
        }
        self.check_shares()?;
        self.check_times()?;
        self.max_step_up.check("max_step_up")?;
        self.max_step_down.check("max_step_down")?;
        if !(1..=MAX_REPORTS).contains(&self.history) {
            return Err(Error::invalid("history", "must be between 1 and 10000"));
        }
        self.forecast.check()
    }

    fn check_shares(&self) -> Result<()> {
        if !(self.up_above > 0.0 && self.up_above <= 1.0) {
            return Err(Error::invalid("up_above", "must be above 0 and at most 1"));
        }
        if !(0.0..=self.up_above).contains(&self.down_below) {
            return Err(Error::invalid("down_below", "must be between 0 and up_above"));
        }
        if !(self.target > 0.0 && (self.down_below..=self.up_above).contains(&self.target)) {
            let order = "must be above 0, and between down_below and up_above";
            return Err(Error::invalid("target", order));
        }
        if !(0.0..=1.0).contains(&self.tolerance) {
            return Err(Error::invalid("tolerance", "must be between 0 and 1"));
        }
        if !(self.min_known > 0.0 && self.min_known <= 1.0) {
            return Err(Error::invalid("min_known", "must be above 0 and at most 1"));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<()> {
        let second = Duration::from_secs(1);
        let long = [("check_every", self.check_every), ("arrive_within", self.arrive_within)];
        if let Some((field, _)) = long.iter().find(|(_, time)| !(second..=DAY).contains(time)) {
            return Err(Error::invalid(field, "must be between 1 s and 1 day"));
        }
        let short = [
            ("cool_down_up", self.cool_down_up),
            ("cool_down_down", self.cool_down_down),
            ("stabilise_for", self.stabilise_for),
        ];
        if let Some((field, _)) = short.iter().find(|(_, time)| *time > DAY) {
            return Err(Error::invalid(field, "must be at most 1 day"));
        }
        match self.predict {
            Some(ahead) if ahead.is_zero() || ahead > DAY => {
                Err(Error::invalid("predict", "must be above zero and at most 1 day"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a load is so high that nodes should be added.
    pub(super) fn is_high(&self, load: f64) -> bool {
        load > self.up_above && load > self.target * (1.0 + self.tolerance)
    }

    /// Whether a load is so low that nodes could be given back.
    pub(super) fn is_low(&self, load: f64) -> bool {
        load < self.down_below && load < self.target * (1.0 - self.tolerance)
    }

    /// How many nodes carry `demand`, in nodes' worth of work, at the target.
    pub(super) fn nodes_for(&self, demand: f64) -> u32 {
        // A sum of shares is seldom exact: 6.000000001 nodes are six.
        whole((demand / self.target - 1e-9).ceil())
    }
}

/// The whole part; what is no number or negative gives zero, what is too large the most.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "taking the whole part of a float is what this is for"
)]
const fn whole(value: f64) -> u32 {
    value as u32
}

/// A length as the number of nodes that it is.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
        let policy = ScalePolicy::default;
        let zero = Duration::ZERO;
        let long = DAY + Duration::from_nanos(1);
        let forecast = ForecastPolicy { level: 2.0, ..ForecastPolicy::default() };
        let cases = [
            ("min", ScalePolicy { min: 0, ..policy() }),
            ("min", ScalePolicy { min: 21, ..policy() }),
            ("max", ScalePolicy { max: 100_001, ..policy() }),
            ("up_above", ScalePolicy { up_above: 1.01, ..policy() }),
            ("up_above", ScalePolicy { up_above: f64::NAN, ..policy() }),
            ("down_below", ScalePolicy { down_below: 0.81, ..policy() }),
            ("down_below", ScalePolicy { down_below: -0.1, ..policy() }),
            ("target", ScalePolicy { target: 0.29, ..policy() }),
            ("target", ScalePolicy { target: 0.81, ..policy() }),
            ("target", ScalePolicy { target: 0.0, down_below: 0.0, ..policy() }),
            ("tolerance", ScalePolicy { tolerance: f64::INFINITY, ..policy() }),
            ("min_known", ScalePolicy { min_known: 0.0, ..policy() }),
            ("check_every", ScalePolicy { check_every: zero, ..policy() }),
            ("arrive_within", ScalePolicy { arrive_within: long, ..policy() }),
            ("cool_down_up", ScalePolicy { cool_down_up: long, ..policy() }),
            ("cool_down_down", ScalePolicy { cool_down_down: Duration::MAX, ..policy() }),
            ("stabilise_for", ScalePolicy { stabilise_for: long, ..policy() }),
            ("predict", ScalePolicy { predict: Some(zero), ..policy() }),
            ("max_step_up", ScalePolicy { max_step_up: Step { nodes: 0, share: 1.0 }, ..policy() }),
            (
                "max_step_down",
                ScalePolicy { max_step_down: Step { nodes: 1, share: -1.0 }, ..policy() },
            ),
            ("history", ScalePolicy { history: 0, ..policy() }),
            ("level", ScalePolicy { forecast, ..policy() }),
        ];
        for (field, policy) in cases {
            assert_eq!(policy.check().unwrap_err().field(), Some(field), "{policy:?}");
        }
        policy().check().unwrap();
    }

    #[test]
    fn a_policy_in_json_needs_only_what_differs() {
        let policy: ScalePolicy = serde_json::from_str(r#"{"max": 7, "target": 0.5}"#).unwrap();
        assert_eq!(policy, ScalePolicy { max: 7, target: 0.5, ..ScalePolicy::default() });
    }

    #[test]
    fn a_step_is_the_larger_of_its_two_measures() {
        let step = Step { nodes: 4, share: 1.0 };
        assert_eq!([step.most(0), step.most(3), step.most(9)], [4, 4, 9]);
        let step = Step { nodes: 1, share: 0.1 };
        assert_eq!([step.most(3), step.most(19), step.most(40)], [1, 1, 4]);
    }

    #[test]
    fn rounding_does_not_cost_a_node() {
        let policy = ScalePolicy { target: 0.1, down_below: 0.0, ..ScalePolicy::default() };
        assert_eq!(policy.nodes_for(0.1 + 0.2), 3);
        assert_eq!(policy.nodes_for(0.301), 4);
        assert_eq!(policy.nodes_for(0.0), 0);
    }
}
