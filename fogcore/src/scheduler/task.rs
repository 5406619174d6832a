//! A task: what is asked, how far it is, and which changes its state allows.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Requirements, SchedulerError, Usage};
use crate::amount::Amount;
use crate::error::{Error, Result};
use crate::id::{AccountId, IdempotencyKey, NodeId, TaskId, TaskKind};
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

/// How long a failed task waits for its next attempt: `initial × factor^(attempt − 1)`, at most
/// `max`, less a share of up to `jitter` that depends on the task and the attempt alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backoff {
    /// The wait after the first attempt. Default 1 s.
    pub initial: Duration,
    /// What each further attempt multiplies it with, 1–10. Default 2.
    pub factor: f64,
    /// The longest wait. Default 5 min.
    pub max: Duration,
    /// How much of the wait may be taken off, 0–1, so that tasks that failed together do not
    /// come back together. Default 0.2.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        let (initial, max) = (Duration::from_secs(1), Duration::from_secs(300));
        Self { initial, factor: 2.0, max, jitter: 0.2 }
    }
}

impl Backoff {
    /// The wait of `task` after its `attempt`-th attempt failed.
    #[must_use]
    pub fn wait(&self, task: TaskId, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.factor.powi(exponent);
        let capped = grown.min(self.max.as_secs_f64());
        // The hash stands in for dice, so that a replay waits as long.
        let digest =
            blake3::hash(&[task.uuid().as_bytes().as_slice(), &attempt.to_le_bytes()].concat());
        let share = f64::from(digest.as_bytes()[0]) / 255.0 * self.jitter;
        Duration::try_from_secs_f64(capped * (1.0 - share)).unwrap_or(self.max)
    }

    fn check(&self) -> Result<()> {
        if !(1.0..=10.0).contains(&self.factor) {
            return Err(Error::invalid("backoff.factor", "must be between 1 and 10"));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::invalid("backoff.jitter", "must be between 0 and 1"));
        }
        Ok(())
    }
}

/// What is asked, apart from the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// What it is about; a node must serve this kind.
    pub kind: TaskKind,
    /// What the node must have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requirements: Requirements,
    /// Higher goes first; among equals, the one that was submitted first. Default 0.
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
}

/// What is not set is not written: it saves half of a task's bytes, and a field that a later version
/// adds leaves fingerprints and classes of old submissions as they were.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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

    /// A number that tasks share which any node either could all run or none: kind and
    /// requirements decide (Borg's equivalence classes, Verma et al., EuroSys 2015, §3.4). A
    /// queue that is ordered by class first can skip all tasks of a class at once.
    ///
    /// # Errors
    /// Internal if the requirements cannot be written as JSON.
    pub fn class(&self) -> Result<i64> {
        let json = serde_json::to_vec(&(&self.kind, &self.requirements))
            .map_err(|e| Error::new(crate::ErrorKind::Internal, e))?;
        let mut bytes = [0; 8];
        blake3::Hasher::new().update(&json).finalize_xof().fill(&mut bytes);
        Ok(i64::from_le_bytes(bytes))
    }
}

/// Where a task is in its life.
///
/// `Queued → Leased → Succeeded`; from `Leased` back to `Queued` when an attempt fails or its
/// lease runs out, or on to `Dead` when that was the last attempt; `Failed` when an executor says
/// that trying again is no use, or the deadline passes in the queue; `Cancelled` from both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits for a node.
    Queued,
    /// A node holds it.
    Leased,
    /// Done and paid.
    Succeeded,
    /// It cannot succeed.
    Failed,
    /// Somebody called it off.
    Cancelled,
    /// All its attempts are used up.
    Dead,
}

impl TaskState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Leased, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Dead];

    /// Whether nothing can change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Leased)
    }

    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A node's claim on a task, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub node: NodeId,
    /// The fencing token: grows with every lease of the task, and only the latest one counts.
    pub fence: u64,
    /// Since when.
    pub granted_at: Timestamp,
    /// Until when, unless it is renewed.
    pub expires_at: Timestamp,
    /// Which of the node's GPUs it may use, by their places in the node's list.
    #[serde(default, skip_serializing_if = "is_default")]
    pub devices: Vec<u32>,
}

/// How far a node says it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The share done.
    pub done: f64,
    /// What it is at, up to 256 characters.
    pub note: String,
}

impl Progress {
    /// A report; the share is clamped to 0–1 and the note cut to 256 characters.
    #[must_use]
    pub fn new(done: f64, note: &str) -> Self {
        let done = if done.is_nan() { 0.0 } else { done.clamp(0.0, 1.0) };
        Self { done, note: note.chars().take(256).collect() }
    }
}

/// A task as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// What was asked.
    pub spec: Arc<TaskSpec>,
    /// The digest of what was asked, payload included; base64 in JSON.
    #[serde(with = "base64_digest")]
    pub fingerprint: [u8; 32],
    /// When.
    pub submitted_at: Timestamp,
    /// Where it is in its life.
    pub state: TaskState,
    /// While it is queued: when it may be leased.
    pub ready_at: Timestamp,
    /// Attempts begun, without those that were given back.
    pub attempts: u32,
    /// The latest fencing token; 0 before the first lease.
    pub fence: u64,
    /// While it is leased: by whom, until when.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lease: Option<Lease>,
    /// What its node told last.
    #[serde(default, skip_serializing_if = "is_default")]
    pub progress: Option<Progress>,
    /// Why the latest attempt, or the task, ended without success.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure: Option<String>,
    /// The node that did it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub done_by: Option<NodeId>,
    /// What the work took, when it is done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub usage: Option<Usage>,
    /// What its node's owner was paid.
    pub paid: Amount,
    /// When its state became final.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ended_at: Option<Timestamp>,
}

mod base64_digest {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD_NO_PAD.encode(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(from)?;
        let bytes = STANDARD_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map_err(|_| D::Error::custom("a digest has 32 bytes"))
    }
}

impl Task {
    /// A task that was just submitted and waits.
    #[must_use]
    pub fn new(id: TaskId, spec: Arc<TaskSpec>, fingerprint: [u8; 32], now: Timestamp) -> Self {
        Self {
            id,
            spec,
            fingerprint,
            submitted_at: now,
            state: TaskState::Queued,
            ready_at: now,
            attempts: 0,
            fence: 0,
            lease: None,
            progress: None,
            failure: None,
            done_by: None,
            usage: None,
            paid: Amount::ZERO,
            ended_at: None,
        }
    }

    /// Hands the task to `node` until `expires_at`.
    ///
    /// # Errors
    /// Conflict unless it is queued.
    pub(super) fn grant(
        &mut self,
        node: &NodeId,
        devices: Vec<u32>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<()> {
        if self.state != TaskState::Queued {
            return Err(SchedulerError::WrongState { task: self.id, state: self.state }.into());
        }
        self.state = TaskState::Leased;
        self.attempts += 1;
        self.fence += 1;
        self.progress = None;
        let (node, fence) = (node.clone(), self.fence);
        self.lease = Some(Lease { node, fence, granted_at: now, expires_at, devices });
        Ok(())
    }

    /// The lease, if `claim` is the one that counts.
    ///
    /// # Errors
    /// Conflict for any other holder or fencing token, or if nobody holds the task.
    pub(super) fn held_by(&mut self, claim: &super::Claim) -> Result<&mut Lease> {
        let (task, state) = (self.id, self.state);
        match &mut self.lease {
            Some(lease) if lease.fence == claim.fence && lease.node == claim.node => Ok(lease),
            _ => Err(SchedulerError::StaleLease { task, fence: claim.fence, state }.into()),
        }
    }

    /// Takes the lease away and ends the task.
    pub(super) fn end(&mut self, state: TaskState, failure: Option<String>, now: Timestamp) {
        debug_assert!(state.is_final());
        self.state = state;
        self.lease = None;
        self.ended_at = Some(now);
        self.failure = failure;
    }

    /// Takes the lease away and puts the task back in the queue.
    pub(super) fn requeue(&mut self, ready_at: Timestamp) {
        self.state = TaskState::Queued;
        self.lease = None;
        self.progress = None;
        self.ready_at = ready_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TaskSpec {
        TaskSpec::new("add".parse().unwrap())
    }

    #[test]
    fn the_backoff_grows_to_its_maximum_and_stays_within_its_jitter() {
        let (backoff, task) = (Backoff::default(), TaskId::derive(b"t", "task"));
        for (attempt, seconds) in [(1, 1.0), (2, 2.0), (5, 16.0), (60, 300.0), (u32::MAX, 300.0)] {
            let wait = backoff.wait(task, attempt).as_secs_f64();
            assert!((seconds * 0.8..=seconds).contains(&wait), "attempt {attempt}: {wait} s");
        }
        assert_eq!(backoff.wait(task, 3), backoff.wait(task, 3));
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
    fn kind_and_requirements_make_the_class_and_everything_makes_the_fingerprint() {
        let urgent = TaskSpec { priority: 9, ..spec() };
        assert_eq!(spec().class().unwrap(), urgent.class().unwrap());
        let fingerprint = spec().fingerprint(b"x").unwrap();
        assert_ne!(fingerprint, urgent.fingerprint(b"x").unwrap());
        assert_ne!(fingerprint, spec().fingerprint(b"y").unwrap());
        let mut large = spec();
        large.requirements.memory_mib = 1;
        assert_ne!(spec().class().unwrap(), large.class().unwrap());
    }
}
