//! What a worker and the server tell each other.

use std::time::Duration;

use fogcore::fog::Report;
use fogcore::id::{NodeId, TaskId};
use fogcore::scheduler::{Assignment, Claim, Failure, News, Progress, Task, Usage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::tasks::{Payload, TaskAnswer};
use crate::http::problem::Problem;
use fogcore::amount::Asset;

/// A wish for work.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct LeaseBody {
    /// How many tasks at most, 1–100. Default 1.
    #[schema(minimum = 1, maximum = 100)]
    pub limit: Option<usize>,
}

/// A task in the hands of the node.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssignmentAnswer {
    /// The task.
    pub task: TaskAnswer,
    /// The fencing token: says which lease is spoken of.
    pub fence: u64,
    /// What the task is asked with.
    pub payload: Payload,
    /// What an attempt before this one saved.
    pub checkpoint: Option<Payload>,
}

impl AssignmentAnswer {
    /// An assignment.
    #[must_use]
    pub fn of(asset: &Asset, assignment: Assignment) -> Self {
        Self {
            task: TaskAnswer::of(asset, &assignment.task),
            fence: assignment.task.fence,
            payload: assignment.payload.into(),
            checkpoint: assignment.checkpoint.map(Payload::from),
        }
    }
}

/// What was leased.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeaseAnswer {
    /// The tasks; none if there is nothing to do for this node now.
    pub assignments: Vec<AssignmentAnswer>,
    /// How long a lease lasts. A third of it should pass between two renewals.
    pub lease_seconds: f64,
}

/// Which lease is spoken of.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ClaimBody {
    /// The task.
    pub task_id: Uuid,
    /// Its lease's fencing token.
    pub fence: u64,
}

impl ClaimBody {
    /// The claim of this node.
    #[must_use]
    pub fn of(&self, node: &NodeId) -> Claim {
        Claim { task: TaskId::from_uuid(self.task_id), node: node.clone(), fence: self.fence }
    }
}

/// Leases to hold on to.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RenewBody {
    /// At most 100.
    #[schema(max_items = 100)]
    pub leases: Vec<RenewalBody>,
}

/// A lease to hold on to, and what there is to say.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RenewalBody {
    /// The task.
    pub task_id: Uuid,
    /// Its lease's fencing token.
    pub fence: u64,
    /// How far it is, 0–1.
    pub progress: Option<f64>,
    /// What the node is at.
    #[serde(default)]
    pub note: String,
    /// Lines for the task's log.
    #[serde(default)]
    pub log: Vec<String>,
    /// What the next attempt should begin with, at most 1 MiB.
    pub checkpoint: Option<Payload>,
}

impl RenewalBody {
    /// The claim of this node, and its news.
    ///
    /// # Errors
    /// A checkpoint that is no base64.
    pub fn parse(self, node: &NodeId) -> Result<(Claim, News), Problem> {
        let claim = ClaimBody { task_id: self.task_id, fence: self.fence }.of(node);
        let checkpoint = self.checkpoint.map(|payload| payload.parse("checkpoint")).transpose()?;
        let progress = self.progress.map(|done| Progress::new(done, &self.note));
        Ok((claim, News { progress, log: self.log, checkpoint }))
    }
}

/// Attempts that ended.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CompleteBody {
    /// At most 100.
    #[schema(max_items = 100)]
    pub reports: Vec<ReportBody>,
}

/// How an attempt ended: with a result, or with a reason.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ReportBody {
    /// The task.
    pub task_id: Uuid,
    /// Its lease's fencing token.
    pub fence: u64,
    /// What it gave, at most 1 MiB.
    pub result: Option<Payload>,
    /// Why it gave nothing.
    pub error: Option<String>,
    /// Whether another attempt would end the same way.
    #[serde(default)]
    pub permanent: bool,
    /// How good the result is, if you can tell; higher is better. Of several results, the best may count.
    pub score: Option<i64>,
    /// What was measured.
    #[serde(default)]
    pub usage: UsageBody,
    /// Lines for the task's log.
    #[serde(default)]
    pub log: Vec<String>,
}

/// What an attempt took, as far as the worker measured it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct UsageBody {
    /// CPU time of all cores.
    pub cpu_ms: Option<u64>,
    /// GPU time of all GPUs.
    pub gpu_ms: Option<u64>,
    /// Memory × time.
    pub memory_mib_ms: Option<u64>,
    /// Bytes that came in.
    pub bytes_in: Option<u64>,
    /// Bytes that went out.
    pub bytes_out: Option<u64>,
}

impl ReportBody {
    /// The report of this node.
    ///
    /// # Errors
    /// Neither a result nor an error, or both.
    pub fn parse(self, node: &NodeId) -> Result<Report, Problem> {
        let ended = match (self.result, self.error) {
            (Some(result), None) => Ok(result.parse("result")?),
            (None, Some(reason)) => Err(Failure { reason, permanent: self.permanent }),
            _ => {
                return Err(Problem::invalid(
                    "result",
                    "either a result or an error, and not both",
                ));
            }
        };
        let usage = Usage {
            busy: None,
            cpu: self.usage.cpu_ms.map(Duration::from_millis),
            memory_mib_millis: self.usage.memory_mib_ms,
            gpu: self.usage.gpu_ms.map(Duration::from_millis),
            bytes_in: self.usage.bytes_in,
            bytes_out: self.usage.bytes_out,
            bytes_moved: None,
            energy_millijoules: None,
        };
        let claim = ClaimBody { task_id: self.task_id, fence: self.fence }.of(node);
        Ok(Report { claim, ended, usage, log: self.log, score: self.score })
    }
}

/// Leases to give back.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ReleaseBody {
    /// At most 100.
    #[schema(max_items = 100)]
    pub leases: Vec<ClaimBody>,
}

/// What became of each item, in order.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkAnswer {
    /// One for each.
    pub results: Vec<ItemAnswer>,
}

/// What became of an item.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemAnswer {
    /// The task.
    pub task_id: String,
    /// The task as it is now, if all went well.
    pub task: Option<TaskAnswer>,
    /// Why not. A lease that is not the current one is lost: the work is in vain.
    pub error: Option<String>,
    /// `not_found`, `conflict`, … if not.
    pub error_kind: Option<String>,
}

impl WorkAnswer {
    /// The answers to these tasks.
    #[must_use]
    pub fn of(asset: &Asset, tasks: Vec<TaskId>, answers: Vec<fogcore::Result<Task>>) -> Self {
        let item = |(id, answer): (TaskId, fogcore::Result<Task>)| match answer {
            Ok(task) => ItemAnswer {
                task_id: id.to_string(),
                task: Some(TaskAnswer::of(asset, &task)),
                error: None,
                error_kind: None,
            },
            Err(error) => {
                let kind = serde_json::to_value(error.kind()).unwrap_or_default();
                let problem = Problem::from(error);
                ItemAnswer {
                    task_id: id.to_string(),
                    task: None,
                    error: Some(problem.message),
                    error_kind: kind.as_str().map(str::to_owned),
                }
            }
        };
        Self { results: tasks.into_iter().zip(answers).map(item).collect() }
    }
}
