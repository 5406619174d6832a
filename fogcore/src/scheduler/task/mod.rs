//! A task: what is asked, how far it is, and which changes its state allows.

mod after;
mod backoff;
mod checkpoint;
mod log;
mod spec;
mod state;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    after::{MAX_PARENTS, ParentFailure},
    backoff::Backoff,
    checkpoint::Checkpoint,
    log::{LogLine, MAX_LOG_LINE, MAX_LOG_LINES},
    spec::{Budget, MAX_BYTES, TaskSpec},
    state::TaskState,
};
pub(in crate::scheduler) use self::{
    after::{Verdict, judge},
    log::cut,
    spec::{DEFAULT_RETENTION, check_retention},
};
use super::replicas::{MAX_PARTS, Part, Seat, part_id};
use super::{SchedulerError, Usage};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{NodeId, TaskId};
use crate::time::Timestamp;

/// What is not set is not written: it saves half of a task's bytes, and a field that a later version
/// adds leaves fingerprints and classes of old submissions as they were.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// If it has to make room for a more urgent task: when it ends, whether it is renewed or not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preempt_at: Option<Timestamp>,
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
    /// How long result, payload, log and explanation are kept after its end.
    #[serde(default = "default_retention", skip_serializing_if = "is_default_retention")]
    pub retain_for: Duration,
    /// When they were removed, if they were.
    #[serde(default, skip_serializing_if = "is_default")]
    pub purged_at: Option<Timestamp>,
    /// How many lines its holders wrote so far; the latest [`MAX_LOG_LINES`] of them are kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log_lines: u64,
    /// What its holders saved for the next attempt, while it is open.
    #[serde(default, skip_serializing_if = "is_default")]
    pub checkpoint: Option<Checkpoint>,
    /// Whether other tasks wait, or waited, for it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub awaited: bool,
    /// While it waits: whether it does so until somebody resumes it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: bool,
    /// If it is a replica of another task: which.
    #[serde(default, skip_serializing_if = "is_default")]
    pub part: Option<Part>,
    /// How many replicas it has, a backup included.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parts: u8,
    /// Where they are, or were done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seats: Vec<Seat>,
    /// The replica that gave its result.
    #[serde(default, skip_serializing_if = "is_default")]
    pub result_of: Option<TaskId>,
}

const fn default_retention() -> Duration {
    DEFAULT_RETENTION
}

fn is_default_retention(time: &Duration) -> bool {
    *time == DEFAULT_RETENTION
}

mod base64_digest {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::scheduler) fn serialize<S: Serializer>(
        digest: &[u8; 32],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD_NO_PAD.encode(digest))
    }

    pub(in crate::scheduler) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(from)?;
        let bytes = STANDARD_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map_err(|_| D::Error::custom("a digest has 32 bytes"))
    }
}

impl Task {
    /// A task that was just submitted and waits.
    #[must_use]
    pub fn new(id: TaskId, spec: Arc<TaskSpec>, fingerprint: [u8; 32], now: Timestamp) -> Self {
        let ready_at = spec.not_before.map_or(now, |from| from.max(now));
        Self {
            id,
            spec,
            fingerprint,
            submitted_at: now,
            state: TaskState::Queued,
            ready_at,
            attempts: 0,
            fence: 0,
            lease: None,
            progress: None,
            failure: None,
            done_by: None,
            usage: None,
            paid: Amount::ZERO,
            ended_at: None,
            retain_for: DEFAULT_RETENTION,
            purged_at: None,
            log_lines: 0,
            checkpoint: None,
            awaited: false,
            held: false,
            part: None,
            parts: 0,
            seats: Vec::new(),
            result_of: None,
        }
    }

    /// Whether it is the backup of a task that is done once.
    #[must_use]
    pub fn is_backup(&self) -> bool {
        self.part.is_some() && self.spec.sla.replicas() == 0
    }

    /// Whether it waits for its replicas, or its backup, to end.
    #[must_use]
    pub fn waits_for_parts(&self) -> bool {
        self.state == TaskState::Waiting && self.parts > 0
    }

    /// The task whose payload and budget are meant: of a replica, what it is a replica of.
    #[must_use]
    pub fn work(&self) -> TaskId {
        self.part.as_ref().map_or(self.id, |part| part.of)
    }

    /// The tasks that may change with this one: of a replica, the task and its other replicas; of a
    /// task, its replicas.
    #[must_use]
    pub fn family(&self) -> Vec<TaskId> {
        let work = self.work();
        let parts = if self.part.is_some() { MAX_PARTS } else { self.parts };
        let of = self.part.as_ref().map(|part| part.of);
        of.into_iter().chain((1..=parts).map(|number| part_id(work, number))).collect()
    }

    /// As [`TaskSpec::class`], but replicas are apart by their number: each may go where the others
    /// may not.
    ///
    /// # Errors
    /// As there.
    pub fn class(&self) -> Result<i64> {
        let number = self.part.as_ref().map_or(0, |part| i64::from(part.number));
        // Any odd number far from small ones will do.
        Ok(self.spec.class()?.wrapping_add(number.wrapping_mul(0x5851_f42d_4c95_7f2d)))
    }

    /// Until when what belongs to it is kept, if it ended and that is still there.
    #[must_use]
    pub fn kept_until(&self) -> Option<Timestamp> {
        let ended_at = self.ended_at.filter(|_| self.purged_at.is_none())?;
        Some(ended_at.saturating_add(self.retain_for))
    }

    /// Hands the task to `node` until `expires_at`.
    ///
    /// # Errors
    /// Conflict unless it is queued.
    pub(in crate::scheduler) fn grant(
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
        self.lease = Some(Lease {
            node: node.clone(),
            fence: self.fence,
            granted_at: now,
            expires_at,
            preempt_at: None,
            devices,
        });
        Ok(())
    }

    /// The lease, if `claim` is the one that counts.
    ///
    /// # Errors
    /// Conflict for any other holder or fencing token, or if nobody holds the task.
    pub(in crate::scheduler) fn held_by(&mut self, claim: &super::Claim) -> Result<&mut Lease> {
        let (task, state) = (self.id, self.state);
        match &mut self.lease {
            Some(lease) if lease.fence == claim.fence && lease.node == claim.node => Ok(lease),
            _ => Err(SchedulerError::StaleLease { task, fence: claim.fence, state }.into()),
        }
    }

    /// Takes the lease away and ends the task.
    pub(in crate::scheduler) fn end(
        &mut self,
        state: TaskState,
        failure: Option<String>,
        now: Timestamp,
    ) {
        debug_assert!(state.is_final());
        self.state = state;
        self.lease = None;
        self.held = false;
        self.ended_at = Some(now);
        self.failure = failure;
    }

    /// Lets a task that waited for others wait for a node.
    pub(in crate::scheduler) fn enqueue(&mut self, now: Timestamp) {
        self.state = TaskState::Queued;
        self.held = false;
        self.failure = None;
        self.ready_at = self.spec.not_before.map_or(now, |from| from.max(now));
    }

    /// Takes the lease away and puts the task back in the queue.
    pub(in crate::scheduler) fn requeue(&mut self, ready_at: Timestamp) {
        self.state = TaskState::Queued;
        self.lease = None;
        self.progress = None;
        self.ready_at = ready_at;
    }
}
