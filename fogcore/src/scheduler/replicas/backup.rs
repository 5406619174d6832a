//! A second node for work that takes too long.
//!
//! The last tasks of a job are often slow because of where they run, not because of what they are
//! (Dean and Ghemawat, OSDI 2004, §3.6). So a task that allows it gets a backup attempt once it runs
//! for much longer than its kind usually does, the one that is furthest beyond first, and only a
//! small share of all that runs at a time, so that backups do not become the load that makes
//! everything slow (Zaharia et al., OSDI 2008). A task whose node went silent while it may work
//! offline gets one at once, if it says that the fastest result counts.
//!
//! The backup is a replica: it is leased to another node than the task's, and has one attempt. The
//! first result is the task's, and is paid from its hold; the other node's lease is not valid any
//! more, which it hears with its next renewal. If the first attempt comes to nothing while the
//! backup runs, the task waits for that. A task has at most one backup in its life.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SlaClass;
use crate::error::{Error, Result};
use crate::id::{NodeId, TaskKind};
use crate::scheduler::{Claim, Task};
use crate::time::Timestamp;

/// Whether a task may be worked on by a second node while a first one is at it. Only for work that
/// does no harm when it is done twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backup {
    /// No: it may not be safe.
    #[default]
    Never,
    /// Once it takes much longer than usual.
    WhenLate,
}

/// What happens to a task that may be done [offline](crate::scheduler::TaskSpec::offline_for) when
/// its node went silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reconcile {
    /// It stays with its node until the lease is over.
    #[default]
    KeepOriginal,
    /// Another node begins, too, and the first result counts. Only for work that does no harm when
    /// it is done twice.
    Fastest,
    /// Another node begins, too. When the first one is back with its result, or its lease is over,
    /// the better of the results that are there counts, by the
    /// [score](crate::scheduler::Output::score) that each was given; without two scores, the
    /// first node's. Only for work that does no harm when it is done twice.
    Best,
}

impl Reconcile {
    /// Whether another node begins when the first one is silent.
    #[must_use]
    pub const fn lets_others_begin(self) -> bool {
        matches!(self, Self::Fastest | Self::Best)
    }
}

/// When tasks get a backup attempt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupPolicy {
    /// Whether they do at all. Default true: only tasks that ask for it are concerned.
    pub enabled: bool,
    /// How many times as long as its kind usually takes a task must have run, 1–1,000. Default 2.
    pub factor: f64,
    /// How long it must have run at least, whatever is usual. Default 10 s: less is not worth the
    /// way to another node.
    pub least: Duration,
    /// Which share of what runs may have a backup at a time, 0–1; one task may in any case. Default
    /// 0.1.
    pub share: f64,
    /// Time between two looks for such tasks, which read all that runs. Default 5 s.
    pub every: Duration,
}

impl Default for BackupPolicy {
    fn default() -> Self {
        let (least, every) = (Duration::from_secs(10), Duration::from_secs(5));
        Self { enabled: true, factor: 2.0, least, share: 0.1, every }
    }
}

impl BackupPolicy {
    /// Checks every limit.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if !(1.0..=1_000.0).contains(&self.factor) {
            return Err(Error::invalid("backup.factor", "must be between 1 and 1000"));
        }
        if !(0.0..=1.0).contains(&self.share) {
            return Err(Error::invalid("backup.share", "must be between 0 and 1"));
        }
        Ok(())
    }
}

/// Whether a task has leave to get a backup, apart from how long it has run.
#[must_use]
pub fn may_have(task: &Task, now: Timestamp) -> bool {
    let spec = &task.spec;
    let asks = spec.backup == Backup::WhenLate
        || (spec.reconcile.lets_others_begin() && spec.offline_for.is_some());
    let is_free = task.part.is_none() && task.parts == 0 && spec.sla == SlaClass::B;
    let stays = task.lease.as_ref().is_some_and(|lease| lease.preempt_at.is_none());
    asks && is_free && stays && spec.deadline.is_none_or(|deadline| deadline > now)
}

/// Which of the `running` tasks get a backup now; `usual` tells how long a kind takes, if that is
/// known, and `is_away` which nodes went silent.
#[must_use]
pub fn plan(
    running: &[Task],
    usual: &dyn Fn(&TaskKind) -> Option<Duration>,
    is_away: &dyn Fn(&NodeId) -> bool,
    policy: &BackupPolicy,
    now: Timestamp,
) -> Vec<Claim> {
    let under_way = running.iter().filter(|task| task.parts > 0).count();
    let own = running.iter().filter(|task| task.part.is_none()).count();
    let has_room = |more: usize| {
        let all = under_way + more + 1;
        all == 1 || all as f64 <= policy.share * own as f64
    };
    // How many times as long as it should.
    let lateness = |task: &Task| {
        let lease = task.lease.as_ref()?;
        let ran = now.since(lease.granted_at);
        if task.spec.reconcile.lets_others_begin()
            && task.spec.offline_for.is_some()
            && is_away(&lease.node)
        {
            return Some(f64::INFINITY);
        }
        let usual = usual(&task.spec.kind).filter(|_| task.spec.backup == Backup::WhenLate)?;
        let most = usual.mul_f64(policy.factor).max(policy.least);
        (ran > most).then(|| ran.as_secs_f64() / most.as_secs_f64())
    };
    let late = running.iter().filter(|task| may_have(task, now));
    let mut late: Vec<_> = late.filter_map(|task| Some((lateness(task)?, task))).collect();
    late.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let claim = |task: &Task| {
        let lease = task.lease.as_ref()?;
        Some(Claim { task: task.id, node: lease.node.clone(), fence: lease.fence })
    };
    let some = late.into_iter().enumerate().take_while(|(place, _)| has_room(*place));
    some.filter_map(|(_, (_, task))| claim(task)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::TaskId;
    use crate::scheduler::{Lease, TaskSpec, TaskState};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(seconds))
    }

    /// A task that runs since then, on a node of this name.
    fn runs(since: u64, node: &str, change: impl FnOnce(&mut TaskSpec)) -> Task {
        let mut spec = TaskSpec::new("work".parse().unwrap());
        spec.backup = Backup::WhenLate;
        change(&mut spec);
        let id = TaskId::derive(node.as_bytes(), &since.to_string());
        let mut task = Task::new(id, Arc::new(spec), [0; 32], at(0));
        task.state = TaskState::Leased;
        task.lease = Some(Lease {
            node: node.parse().unwrap(),
            fence: 1,
            granted_at: at(since),
            expires_at: at(10_000),
            preempt_at: None,
            devices: Vec::new(),
        });
        task
    }

    fn planned(running: &[Task], policy: BackupPolicy) -> Vec<String> {
        let usual = |_: &TaskKind| Some(Duration::from_secs(20));
        let plan = plan(running, &usual, &|node| node.as_str() == "away", &policy, at(100));
        plan.iter().map(|claim| claim.node.as_str().to_owned()).collect()
    }

    #[test]
    fn what_is_furthest_beyond_the_usual_time_goes_first_and_only_a_share_of_all() {
        let mut running = vec![
            runs(60, "in-time", |_| {}),
            runs(59, "late", |_| {}),
            runs(10, "very-late", |_| {}),
            runs(0, "unasked", |spec| spec.backup = Backup::Never),
            runs(0, "leaves", |spec| spec.deadline = Some(at(100))),
            runs(0, "replicated", |spec| spec.sla = SlaClass::A),
        ];
        let all = BackupPolicy { share: 1.0, ..BackupPolicy::default() };
        assert_eq!(planned(&running, all), ["very-late", "late"]);
        assert_eq!(planned(&running, BackupPolicy::default()), ["very-late"], "one may always");
        running[0].parts = 1;
        assert!(planned(&running, BackupPolicy::default()).is_empty(), "one has one");
        let patient = BackupPolicy { least: Duration::from_secs(90), ..all };
        assert!(planned(&running, patient).is_empty());
    }

    #[test]
    fn who_is_away_is_helped_at_once_if_the_fastest_counts() {
        let offline = |spec: &mut TaskSpec| {
            spec.backup = Backup::Never;
            spec.offline_for = Some(Duration::from_secs(1_000));
        };
        let fastest = |spec: &mut TaskSpec| {
            offline(spec);
            spec.reconcile = Reconcile::Fastest;
        };
        let policy = BackupPolicy { share: 1.0, ..BackupPolicy::default() };
        let running = [runs(98, "away", fastest), runs(0, "there", fastest)];
        assert_eq!(planned(&running, policy), ["away"]);
        assert!(planned(&[runs(98, "away", offline)], policy).is_empty());
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused() {
        let refused = |policy: BackupPolicy| policy.check().unwrap_err().field().map(str::to_owned);
        let policy = BackupPolicy::default();
        let low = refused(BackupPolicy { factor: 0.5, ..policy });
        assert_eq!(low.as_deref(), Some("backup.factor"));
        let much = refused(BackupPolicy { share: f64::NAN, ..policy });
        assert_eq!(much.as_deref(), Some("backup.share"));
    }
}
