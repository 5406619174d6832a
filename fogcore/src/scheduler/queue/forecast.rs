//! When a task would begin, and end, if it were submitted now: an estimate, from what is ahead of it
//! and how long such tasks took.
//!
//! A client that cannot use a late result is better told at once than when the deadline has passed.
//! The estimate takes the work ahead as if it were spread evenly over the slots that could do it:
//! more than that is not known, and a finer model of what is not known would only look better.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::scheduler::queue::forecast::{Ahead, Durations, forecast};
//!
//! let kind: fogcore::id::TaskKind = "render".parse()?;
//! let mut durations = Durations::default();
//! durations.observe(&kind, Duration::from_secs(10));
//! let ahead = Ahead { queued: [(kind.clone(), 8)].into(), ..Ahead::default() };
//! let expected = forecast(&kind, &ahead, &durations, 4).unwrap();
//! assert_eq!(expected.begins_in, Duration::from_secs(20));
//! assert_eq!(expected.ends_in, Duration::from_secs(30));
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::TaskKind;

/// Whether a task that is expected to be late is taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatePolicy {
    /// Yes: the estimate may be wrong.
    #[default]
    Accept,
    /// Not if it is expected to begin after its deadline.
    RefuseBegin,
    /// Not if it is expected to end after its deadline.
    RefuseEnd,
}

/// What is ahead of a task, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Tasks that wait and come first: more urgent ones, and as urgent ones that are due earlier.
    pub queued: BTreeMap<TaskKind, u64>,
    /// Tasks that run.
    pub running: BTreeMap<TaskKind, u64>,
}

/// How many kinds are learned about at most; later ones are not.
const MOST_KINDS: usize = 4_096;

/// How much the latest task counts: the last 50 or so decide.
const WEIGHT: f64 = 0.02;

/// How long tasks took, by kind, as one process saw them: a moving average of those that succeeded.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    kinds: HashMap<TaskKind, f64>,
}

impl Durations {
    /// Takes in that a task of this kind kept a slot busy for so long.
    pub fn observe(&mut self, kind: &TaskKind, took: Duration) {
        let took = took.as_secs_f64();
        if let Some(mean) = self.kinds.get_mut(kind) {
            *mean += WEIGHT * (took - *mean);
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.insert(kind.clone(), took);
        }
    }

    /// How long tasks of this kind take on average, if any was seen.
    #[must_use]
    pub fn mean(&self, kind: &TaskKind) -> Option<Duration> {
        self.seconds(kind).and_then(|mean| Duration::try_from_secs_f64(mean).ok())
    }

    fn seconds(&self, kind: &TaskKind) -> Option<f64> {
        self.kinds.get(kind).copied()
    }
}

/// When a task is expected to begin and to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// How long until a node has it.
    pub begins_in: Duration,
    /// How long until it is done.
    pub ends_in: Duration,
}

/// What is expected of a task of this kind with that ahead of it, if so many slots work on all of
/// it; none while nobody knows how long such a task takes, or nobody is there to do it.
#[must_use]
pub fn forecast(
    kind: &TaskKind,
    ahead: &Ahead,
    durations: &Durations,
    slots: u64,
) -> Option<Forecast> {
    let own = durations.seconds(kind)?;
    if slots == 0 {
        return None;
    }
    // Of what nobody has seen yet, it is likely that it takes as long as what somebody asks for.
    let work = |tasks: &BTreeMap<TaskKind, u64>| -> f64 {
        let each = tasks.iter();
        each.map(|(kind, count)| *count as f64 * durations.seconds(kind).unwrap_or(own)).sum()
    };
    let count = |tasks: &BTreeMap<TaskKind, u64>| tasks.values().sum::<u64>();
    let is_free = count(&ahead.queued).saturating_add(count(&ahead.running)) < slots;
    // What runs is half way, on average.
    let all = work(&ahead.queued) + work(&ahead.running) / 2.0;
    let begins = if is_free { 0.0 } else { all / slots as f64 };
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Some(Forecast { begins_in: time(begins), ends_in: time(begins + own) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> TaskKind {
        name.parse().unwrap()
    }

    #[test]
    fn a_free_slot_means_now_and_what_runs_counts_by_half() {
        let mut durations = Durations::default();
        durations.observe(&kind("a"), Duration::from_secs(8));
        let running = |count| Ahead { running: [(kind("a"), count)].into(), ..Ahead::default() };
        let begins =
            |ahead: &Ahead| forecast(&kind("a"), ahead, &durations, 4).unwrap().begins_in.as_secs();
        assert_eq!(begins(&running(3)), 0);
        assert_eq!(begins(&running(4)), 4);
        let both = Ahead { queued: [(kind("unseen"), 2)].into(), ..running(4) };
        assert_eq!(begins(&both), 8);
    }

    #[test]
    fn nothing_is_said_of_what_nobody_has_seen_or_does() {
        let mut durations = Durations::default();
        assert_eq!(forecast(&kind("a"), &Ahead::default(), &durations, 4), None);
        durations.observe(&kind("a"), Duration::from_secs(8));
        assert_eq!(forecast(&kind("a"), &Ahead::default(), &durations, 0), None);
        assert!(forecast(&kind("a"), &Ahead::default(), &durations, 1).is_some());
    }

    #[test]
    fn the_latest_tasks_decide() {
        let mut durations = Durations::default();
        durations.observe(&kind("a"), Duration::from_secs(100));
        (0..300).for_each(|_| durations.observe(&kind("a"), Duration::from_secs(10)));
        let mean = durations.mean(&kind("a")).unwrap().as_secs_f64();
        assert!((10.0..11.0).contains(&mean), "{mean}");
    }
}
