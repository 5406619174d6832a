//! What is asked: a task's terms, and the limits that they keep.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backoff, MAX_PARENTS, ParentFailure, is_default};
use crate::amount::Amount;
use crate::error::{Error, Result};
use crate::id::{AccountId, IdempotencyKey, TaskId, TaskKind};
use crate::scheduler::queue::LatePolicy;
use crate::scheduler::replicas::{Backup, Reconcile, SlaClass};
use crate::scheduler::{Requirements, SchedulerError};
use crate::time::Timestamp;

/// The largest payload and the largest result, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Who pays for a task, and how much at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The account that pays.
    pub payer: AccountId,
    /// The most that it pays, above zero; reserved while the task is open.
    pub limit: Amount,
}

/// What is asked, apart from the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// What it is about; a node must serve this kind.
    pub kind: TaskKind,
    /// What the node must have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requirements: Requirements,
    /// Higher goes first; among equals whoever pays has a fair share, and of one payer's the
    /// earliest deadline goes first, then the one that was submitted first. Default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i16,
    /// When it must have been handed to a node, or it fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deadline: Option<Timestamp>,
    /// Who pays, and how much at most; without one, nobody is paid.
    #[serde(default, skip_serializing_if = "is_default")]
    pub budget: Option<Budget>,
    /// The client's name for this submission, unique per payer: again with the same content it
    /// gives the same task, with another content it is a conflict.
    #[serde(default, skip_serializing_if = "is_default")]
    pub idempotency_key: Option<IdempotencyKey>,
    /// How many attempts it gets, 1–1,000. Default 3.
    #[serde(default = "default_max_attempts")]
    pub max_attempts: u32,
    /// How long it waits between attempts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backoff: Backoff,
    /// It waits until then; before the deadline, if there is one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_before: Option<Timestamp>,
    /// How long its node may be away, and still finish it, up to 30 days: a lease lasts at least so
    /// long from its beginning and from each renewal. Nobody else has the task meanwhile, so of a
    /// node that never comes back this is also how long the task waits. Default: a lease as any.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offline_for: Option<Duration>,
    /// What becomes of it when its node went silent meanwhile.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reconcile: Reconcile,
    /// Whether a second node may begin when the first one takes very long; of class B only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backup: Backup,
    /// How often it is done, and so how much its result can be relied on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sla: SlaClass,
    /// Whether it is taken in although it is expected to be late, which
    /// [`Fog::submit_all`](crate::Fog::submit_all) finds out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub late: LatePolicy,
    /// How long its result, payload, log and explanation are kept after its end, up to 10 years.
    /// Default: what the fog's [`QueuePolicy`](crate::scheduler::QueuePolicy) says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retain_for: Option<Duration>,
    /// The tasks that must have ended before it may run: its parents, at most 64, submitted before
    /// it or before it in one batch. Their results are kept until it ends, and its job can read them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: Vec<TaskId>,
    /// What becomes of it when one of them ends without success.
    #[serde(default, skip_serializing_if = "is_default")]
    pub if_parent_fails: ParentFailure,
}

/// What a task gave is kept for a week, unless somebody says otherwise.
pub(in crate::scheduler) const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// A month: a device that is away for longer has left.
const MOST_OFFLINE: Duration = Duration::from_secs(30 * 86_400);

/// Ten years: longer than any store is kept without a thought, and far from any overflow.
const MOST_RETENTION: Duration = Duration::from_secs(10 * 366 * 86_400);

pub(in crate::scheduler) fn check_retention(field: &'static str, time: Duration) -> Result<()> {
    if time > MOST_RETENTION {
        return Err(Error::invalid(field, "at most 10 years are allowed"));
    }
    Ok(())
}

const fn default_max_attempts() -> u32 {
    3
}

impl TaskSpec {
    /// A task of this kind that needs nothing special and pays nothing.
    #[must_use]
    pub fn new(kind: TaskKind) -> Self {
        Self {
            kind,
            requirements: Requirements::default(),
            priority: 0,
            deadline: None,
            budget: None,
            idempotency_key: None,
            max_attempts: default_max_attempts(),
            backoff: Backoff::default(),
            not_before: None,
            offline_for: None,
            reconcile: Reconcile::default(),
            backup: Backup::default(),
            sla: SlaClass::default(),
            late: LatePolicy::default(),
            retain_for: None,
            after: Vec::new(),
            if_parent_fails: ParentFailure::default(),
        }
    }

    /// The same task, paid by `payer` with at most `limit`.
    #[must_use]
    pub fn paid_by(self, payer: AccountId, limit: Amount) -> Self {
        Self { budget: Some(Budget { payer, limit }), ..self }
    }

    /// The same task under the client's own name for it.
    #[must_use]
    pub fn named(self, key: IdempotencyKey) -> Self {
        Self { idempotency_key: Some(key), ..self }
    }

    /// The account that pays, if one does.
    #[must_use]
    pub fn payer(&self) -> Option<&AccountId> {
        self.budget.as_ref().map(|budget| &budget.payer)
    }

    /// Checks every limit that the types do not hold already, the payload's length included.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self, payload: &[u8]) -> Result<()> {
        if payload.len() > MAX_BYTES {
            let found = payload.len();
            return Err(SchedulerError::TooLarge { field: "payload", found }.into());
        }
        if !(1..=1_000).contains(&self.max_attempts) {
            return Err(Error::invalid("max_attempts", "must be between 1 and 1000"));
        }
        if self.payer().is_some_and(AccountId::is_reserved) {
            return Err(Error::invalid("budget", "accounts named fog: are the fog's own"));
        }
        if self.budget.as_ref().is_some_and(|budget| budget.limit.is_zero()) {
            return Err(Error::invalid("budget", "must be more than zero, or left out"));
        }
        self.backoff.check()?;
        if self.not_before.zip(self.deadline).is_some_and(|(from, until)| from >= until) {
            return Err(Error::invalid("not_before", "must be before the deadline"));
        }
        let distinct: std::collections::BTreeSet<_> = self.after.iter().collect();
        if self.after.len() > MAX_PARENTS || distinct.len() < self.after.len() {
            return Err(Error::invalid("after", "at most 64 tasks, each named once, are allowed"));
        }
        if self.offline_for.is_some_and(|time| time > MOST_OFFLINE) {
            return Err(Error::invalid("offline_for", "at most 30 days are allowed"));
        }
        if let Some(time) = self.retain_for {
            check_retention("retain_for", time)?;
        }
        self.requirements.check()
    }

    /// The digest of the whole submission: two with one idempotency key must agree in it.
    ///
    /// # Errors
    /// Internal if the spec cannot be written as JSON.
    pub fn fingerprint(&self, payload: &[u8]) -> Result<[u8; 32]> {
        let json =
            serde_json::to_vec(self).map_err(|e| Error::new(crate::ErrorKind::Internal, e))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(json.len() as u64).to_le_bytes()).update(&json).update(payload);
        Ok(hasher.finalize().into())
    }

    /// A number that tasks of one payer share which any node either could all run or none: kind
    /// and requirements decide (Borg's equivalence classes, Verma et al., EuroSys 2015, §3.4). A
    /// queue that is ordered by class first can skip all tasks of a class at once, and finds the
    /// tasks of each payer however many others wait.
    ///
    /// # Errors
    /// Internal if the requirements cannot be written as JSON.
    pub fn class(&self) -> Result<i64> {
        let json = serde_json::to_vec(&(&self.kind, &self.requirements, self.payer()))
            .map_err(|e| Error::new(crate::ErrorKind::Internal, e))?;
        let mut bytes = [0; 8];
        blake3::Hasher::new().update(&json).finalize_xof().fill(&mut bytes);
        Ok(i64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TaskSpec {
        TaskSpec::new("add".parse().unwrap())
    }

    #[test]
    fn every_limit_names_its_field() {
        let big = vec![0; MAX_BYTES + 1];
        assert_eq!(spec().check(&big).unwrap_err().field(), Some("payload"));
        let free = spec().paid_by("alice".parse().unwrap(), Amount::ZERO);
        assert_eq!(free.check(b"").unwrap_err().field(), Some("budget"));
        let never = TaskSpec { max_attempts: 0, ..spec() };
        assert_eq!(never.check(b"").unwrap_err().field(), Some("max_attempts"));
        let nan = Backoff { jitter: f64::NAN, ..Backoff::default() };
        let nan = TaskSpec { backoff: nan, ..spec() };
        assert_eq!(nan.check(b"").unwrap_err().field(), Some("backoff.jitter"));
    }

    #[test]
    fn times_that_contradict_each_other_are_refused() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).ok();
        let late = TaskSpec { not_before: at(5), deadline: at(5), ..spec() };
        assert_eq!(late.check(b"").unwrap_err().field(), Some("not_before"));
        TaskSpec { not_before: at(4), deadline: at(5), ..spec() }.check(b"").unwrap();
        let away = TaskSpec { offline_for: Some(Duration::MAX), ..spec() };
        assert_eq!(away.check(b"").unwrap_err().field(), Some("offline_for"));
        let long = TaskSpec { retain_for: Some(Duration::MAX), ..spec() };
        assert_eq!(long.check(b"").unwrap_err().field(), Some("retain_for"));
    }

    #[test]
    fn kind_requirements_and_payer_make_the_class_and_everything_makes_the_fingerprint() {
        let urgent = TaskSpec { priority: 9, ..spec() };
        assert_eq!(spec().class().unwrap(), urgent.class().unwrap());
        let fingerprint = spec().fingerprint(b"x").unwrap();
        assert_ne!(fingerprint, urgent.fingerprint(b"x").unwrap());
        assert_ne!(fingerprint, spec().fingerprint(b"y").unwrap());
        let mut large = spec();
        large.requirements.memory_mib = 1;
        assert_ne!(spec().class().unwrap(), large.class().unwrap());
        let paid = |limit| spec().paid_by("alice".parse().unwrap(), Amount::from_base_units(limit));
        assert_ne!(spec().class().unwrap(), paid(1).class().unwrap());
        assert_eq!(paid(1).class().unwrap(), paid(2).class().unwrap());
    }
}
