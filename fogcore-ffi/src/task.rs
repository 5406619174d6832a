//! Tasks as the other side sees them.

use std::collections::HashMap;

use fogcore::amount::Amount;
use fogcore::id::{AccountId, IdempotencyKey, NodeId, TaskId, TaskKind};
use fogcore::registry::{Millis, Percent};
use fogcore::scheduler::{
    self, Backoff, Budget, GpuRequirement, ParentFailure, Requirements, Selector, SlaClass,
    TaskSpec, TaskState,
};
use fogcore::time::Timestamp;

use crate::values::{Refusal, Span};

/// Who pays for a task, and how much at most.
#[uniffi::remote(Record)]
pub struct Budget {
    /// The account that pays.
    pub payer: AccountId,
    /// The most that it pays, above zero; reserved while the task is open.
    pub limit: Amount,
}

/// How long a task waits between attempts; what is left out is as by default.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct Retry {
    /// The wait after the first attempt. Default 1 s.
    #[uniffi(default)]
    pub initial: Option<Span>,
    /// What each further attempt multiplies it with, 1–10. Default 2.
    #[uniffi(default)]
    pub factor: Option<f64>,
    /// The longest wait. Default 5 min.
    #[uniffi(default)]
    pub at_most: Option<Span>,
    /// How much of the wait may be taken off, 0–1. Default 0.2.
    #[uniffi(default)]
    pub jitter: Option<f64>,
}

impl From<Retry> for Backoff {
    fn from(retry: Retry) -> Self {
        let usual = Self::default();
        Self {
            initial: retry.initial.map_or(usual.initial, |span| span.0),
            factor: retry.factor.unwrap_or(usual.factor),
            max: retry.at_most.map_or(usual.max, |span| span.0),
            jitter: retry.jitter.unwrap_or(usual.jitter),
        }
    }
}

/// What the node must have.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct TaskRequirements {
    /// CPU in thousandths of a core, for the task alone.
    #[uniffi(default)]
    pub cpu_milli: u32,
    /// Memory in MiB, for the task alone.
    #[uniffi(default)]
    pub memory_mib: u64,
    /// Storage in MiB, for the task alone.
    #[uniffi(default)]
    pub storage_mib: u64,
    /// Network bandwidth in Mbit/s that the node must have; tasks share it.
    #[uniffi(default)]
    pub bandwidth_mbps: u32,
    /// How many whole GPUs.
    #[uniffi(default)]
    pub gpus: u32,
    /// Labels that the node must have, with these values; at most 64.
    #[uniffi(default)]
    pub labels: HashMap<String, String>,
    /// The region that the node must stand in.
    #[uniffi(default)]
    pub region: Option<String>,
    /// The most latency that the node may have.
    #[uniffi(default)]
    pub max_latency: Option<Millis>,
    /// The least quality, 0–100.
    #[uniffi(default)]
    pub min_quality: Option<Percent>,
    /// The most that a task of one second that moves nothing may cost there, in base units.
    #[uniffi(default)]
    pub max_price: Option<Amount>,
    /// Whether it wants the node for itself.
    #[uniffi(default)]
    pub exclusive: bool,
}

impl From<TaskRequirements> for Requirements {
    fn from(needs: TaskRequirements) -> Self {
        let mut required: Vec<_> =
            needs.labels.iter().map(|(key, value)| Selector::is(key, value)).collect();
        // A map has no order, and a submission sent twice must be the same.
        required.sort();
        Self {
            cpu_milli: needs.cpu_milli,
            memory_mib: needs.memory_mib,
            storage_mib: needs.storage_mib,
            bandwidth_mbps: needs.bandwidth_mbps,
            gpus: GpuRequirement { count: needs.gpus, ..GpuRequirement::default() },
            required,
            region: needs.region,
            max_latency: needs.max_latency,
            min_quality: needs.min_quality,
            max_price: needs.max_price,
            exclusive: needs.exclusive,
            ..Self::default()
        }
    }
}

/// What is asked, apart from the payload.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TaskRequest {
    /// What it is about; a node must serve this kind.
    pub kind: TaskKind,
    /// What the node must have.
    #[uniffi(default)]
    pub requirements: Option<TaskRequirements>,
    /// Higher goes first.
    #[uniffi(default)]
    pub priority: i16,
    /// When it must have been handed to a node, or it fails.
    #[uniffi(default)]
    pub deadline: Option<Timestamp>,
    /// Who pays, and how much at most; without one, nobody is paid.
    #[uniffi(default)]
    pub budget: Option<Budget>,
    /// The client's name for this submission, unique per payer.
    #[uniffi(default)]
    pub idempotency_key: Option<IdempotencyKey>,
    /// How many attempts it gets, 1–1,000; 3 if it is left out.
    #[uniffi(default)]
    pub max_attempts: Option<u32>,
    /// How long it waits between attempts.
    #[uniffi(default)]
    pub retry: Option<Retry>,
    /// It waits until then.
    #[uniffi(default)]
    pub not_before: Option<Timestamp>,
    /// How long its node may be away, and still finish it, up to 30 days.
    #[uniffi(default)]
    pub offline_for: Option<Span>,
    /// How often it is done; by one node if it is left out.
    #[uniffi(default)]
    pub sla: Option<SlaClass>,
    /// How long its result is kept after its end, up to 10 years.
    #[uniffi(default)]
    pub retain_for: Option<Span>,
    /// The tasks that must have ended before it may run, at most 64.
    #[uniffi(default)]
    pub after: Vec<TaskId>,
    /// What becomes of it when one of them ends without success; it is cancelled if it is left
    /// out.
    #[uniffi(default)]
    pub if_parent_fails: Option<ParentFailure>,
}

impl From<TaskRequest> for TaskSpec {
    fn from(request: TaskRequest) -> Self {
        let usual = Self::new(request.kind);
        Self {
            requirements: request.requirements.unwrap_or_default().into(),
            priority: request.priority,
            deadline: request.deadline,
            budget: request.budget,
            idempotency_key: request.idempotency_key,
            max_attempts: request.max_attempts.unwrap_or(usual.max_attempts),
            backoff: request.retry.unwrap_or_default().into(),
            not_before: request.not_before,
            offline_for: request.offline_for.map(|span| span.0),
            sla: request.sla.unwrap_or_default(),
            retain_for: request.retain_for.map(|span| span.0),
            after: request.after,
            if_parent_fails: request.if_parent_fails.unwrap_or_default(),
            ..usual
        }
    }
}

/// One task of a batch that is submitted.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Submission {
    /// What is asked.
    pub request: TaskRequest,
    /// What it is asked with, at most 1 MiB.
    pub payload: Vec<u8>,
}

/// The answer to one task of a batch: one of the two is there.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct SubmitAnswer {
    /// The task, if it was taken in.
    pub task: Option<Task>,
    /// Why it was not.
    pub refusal: Option<Refusal>,
}

impl From<fogcore::Result<scheduler::Submitted>> for SubmitAnswer {
    fn from(answer: fogcore::Result<scheduler::Submitted>) -> Self {
        match answer {
            Ok(submitted) => Self { task: Some(submitted.task.into()), refusal: None },
            Err(error) => Self { task: None, refusal: Some(error.into()) },
        }
    }
}

/// A task as it is now.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// What it is about.
    pub kind: TaskKind,
    /// Where it is in its life.
    pub state: TaskState,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Attempts begun, without those that were given back.
    pub attempts: u32,
    /// Who holds it.
    pub node: Option<NodeId>,
    /// Until when, unless the lease is renewed.
    pub lease_expires_at: Option<Timestamp>,
    /// The share done, 0–1, as its node told last.
    pub progress: Option<f64>,
    /// What its node said with that.
    pub note: Option<String>,
    /// Why the latest attempt, or the task, ended without success.
    pub failure: Option<String>,
    /// The node that did it.
    pub done_by: Option<NodeId>,
    /// What its node's owner was paid.
    pub paid: Amount,
    /// How long it kept a slot busy, when it is done.
    pub busy: Option<Span>,
    /// When its state became final.
    pub ended_at: Option<Timestamp>,
}

impl From<scheduler::Task> for Task {
    fn from(task: scheduler::Task) -> Self {
        let (node, expires) = task.lease.map(|lease| (lease.node, lease.expires_at)).unzip();
        let (progress, note) = task.progress.map(|told| (told.done, told.note)).unzip();
        Self {
            id: task.id,
            kind: task.spec.kind.clone(),
            state: task.state,
            submitted_at: task.submitted_at,
            attempts: task.attempts,
            node,
            lease_expires_at: expires,
            progress,
            note,
            failure: task.failure,
            done_by: task.done_by,
            paid: task.paid,
            busy: task.usage.and_then(|usage| usage.busy).map(Span),
            ended_at: task.ended_at,
        }
    }
}

/// Which tasks are wanted; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct TaskFilter {
    /// In this state.
    #[uniffi(default)]
    pub state: Option<TaskState>,
    /// Of this kind.
    #[uniffi(default)]
    pub kind: Option<TaskKind>,
    /// Held, or done, by this node.
    #[uniffi(default)]
    pub node: Option<NodeId>,
    /// Paid by this account.
    #[uniffi(default)]
    pub payer: Option<AccountId>,
}

impl From<TaskFilter> for scheduler::TaskFilter {
    fn from(filter: TaskFilter) -> Self {
        let TaskFilter { state, kind, node, payer } = filter;
        Self { state, kind, node, payer }
    }
}

/// How many tasks are in a state.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TaskCount {
    /// The state.
    pub state: TaskState,
    /// How many.
    pub tasks: u64,
}

/// A line of a task's log.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TaskLog {
    /// Its number, from 1.
    pub number: u64,
    /// What its holder wrote.
    pub text: String,
}

/// A node that was considered for a task.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Considered {
    /// The node.
    pub node: NodeId,
    /// Why it was out of the question, for people; none if it was not.
    pub refused: Option<String>,
    /// The sum of value × weight over all terms, 0–1.
    pub score: f64,
    /// How good it is in each term, 0–1.
    pub terms: HashMap<String, f64>,
}

/// Why a task went where it went, or nowhere.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Explanation {
    /// The node that got the task; none if nobody could.
    pub chosen: Option<NodeId>,
    /// The whole of it, for people.
    pub text: String,
    /// The nodes that were considered.
    pub considered: Vec<Considered>,
    /// When.
    pub at: Timestamp,
}

impl From<scheduler::Explanation> for Explanation {
    fn from(explanation: scheduler::Explanation) -> Self {
        let text = explanation.to_string();
        let considered = explanation.considered.into_iter().map(|one| Considered {
            node: one.node,
            refused: one.refused.map(|refusal| refusal.to_string()),
            score: one.score,
            terms: one.terms.into_iter().map(|(term, value)| (term.to_string(), value)).collect(),
        });
        Self {
            chosen: explanation.chosen,
            text,
            considered: considered.collect(),
            at: explanation.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_says_nothing_else_is_the_cores_default() {
        let kind: TaskKind = "resize".parse().unwrap();
        let request = TaskRequest {
            kind: kind.clone(),
            requirements: None,
            priority: 0,
            deadline: None,
            budget: None,
            idempotency_key: None,
            max_attempts: None,
            retry: None,
            not_before: None,
            offline_for: None,
            sla: None,
            retain_for: None,
            after: Vec::new(),
            if_parent_fails: None,
        };
        assert_eq!(TaskSpec::from(request), TaskSpec::new(kind));
    }

    #[test]
    fn labels_make_the_same_submission_in_any_order() {
        let labels = |keys: [&str; 3]| TaskRequirements {
            labels: keys.map(|key| (key.to_owned(), "yes".to_owned())).into(),
            ..TaskRequirements::default()
        };
        let (one, other) = (labels(["a", "b", "c"]), labels(["c", "a", "b"]));
        assert_eq!(Requirements::from(one), Requirements::from(other));
    }
}
