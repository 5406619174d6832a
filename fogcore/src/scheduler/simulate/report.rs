//! What several policies made of one trace, side by side.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Filled, Replayed};

/// Results by policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Whether the trace was made up.
    pub synthetic: bool,
    /// How many seeds each policy had.
    pub seeds: u64,
    /// Each policy by its name.
    pub policies: BTreeMap<String, Row>,
}

/// The means of one policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Allocated GPU share in per cent, when as much had arrived as there is.
    pub allocated_at_100: f64,
    /// The same at 130 %.
    pub allocated_at_130: f64,
    /// What the next task could not use in the end, in per cent of all GPUs.
    pub fragmentation: f64,
    /// How long one seed took.
    pub seconds_per_seed: f64,
    /// The curve that the chart shows: arrived and allocated, 0–1.
    #[serde(skip)]
    pub curve: Vec<(f64, f64)>,
    /// The replay in the trace's own time, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replayed>,
}

impl Row {
    /// The means of these runs, one for each seed, which took `seconds` each.
    #[must_use]
    pub fn of(runs: &[Filled], seconds: f64) -> Self {
        let mean = |value: &dyn Fn(&Filled) -> f64| {
            runs.iter().map(value).sum::<f64>() / runs.len().max(1) as f64
        };
        let steps = runs.iter().map(|run| run.curve.len()).min().unwrap_or(0).saturating_sub(1);
        let step = |step: usize| {
            let arrived = runs.first().map_or(0.0, |run| run.curve[step].0);
            (arrived, mean(&|run| run.curve[step].1))
        };
        Self {
            allocated_at_100: 100.0 * mean(&|run| run.at(1.0)),
            allocated_at_130: 100.0 * mean(&|run| run.at(1.3)),
            fragmentation: 100.0 * mean(&|run| run.fragmentation),
            seconds_per_seed: seconds,
            curve: (0..steps).map(step).collect(),
            replay: None,
        }
    }
}

/// A table, best policy first.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.synthetic {
            writeln!(f, "SYNTHETIC: this trace was made up.")?;
        }
        writeln!(
            f,
            "{:<16}{:>14}{:>14}{:>14}{:>12}",
            "policy", "at 100 % (%)", "at 130 % (%)", "fragments (%)", "s per seed"
        )?;
        let mut rows: Vec<_> = self.policies.iter().collect();
        rows.sort_by(|(_, a), (_, b)| b.allocated_at_130.total_cmp(&a.allocated_at_130));
        for (name, row) in &rows {
            writeln!(
                f,
                "{name:<16}{:>14.2}{:>14.2}{:>14.2}{:>12.3}",
                row.allocated_at_100, row.allocated_at_130, row.fragmentation, row.seconds_per_seed
            )?;
        }
        for (name, row) in &rows {
            let Some(replay) = &row.replay else { continue };
            let churn = if replay.synthetic_churn { ", SYNTHETIC churn" } else { "" };
            writeln!(
                f,
                "{name}: {} done, {} never placed, {} lost{churn}; wait {:.0} s (p95 {:.0} s), \
                 makespan {:.0} s, {:.1} % of GPUs, {:.1} kWh (made-up watts), cost {:.0}, \
                 fairness {:.3}",
                replay.done,
                replay.never_placed,
                replay.lost,
                replay.wait_seconds,
                replay.wait_p95_seconds,
                replay.makespan_seconds,
                100.0 * replay.allocated,
                replay.energy_kwh,
                replay.cost,
                replay.fairness
            )?;
        }
        Ok(())
    }
}
