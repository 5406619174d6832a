//! Tasks on the wire.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fogcore::amount::{Asset, DecimalText};
use fogcore::id::AccountId;
use fogcore::registry::{Millis, Percent};
use fogcore::scheduler::{
    Explanation, GpuRequirement, LogLine, Requirements, Selector, SlaClass, Task, TaskSpec,
    TaskState,
};
use fogcore::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::nodes::within;
use crate::api::money;
use crate::http::extract::number;
use crate::http::problem::Problem;

/// Bytes on the wire: as text if they are one, or else in base64.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Payload {
    /// The bytes as UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "hello")]
    pub text: Option<String>,
    /// The bytes in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl Payload {
    /// The bytes.
    ///
    /// # Errors
    /// Both forms at once, or what is no base64.
    pub fn parse(self, field: &'static str) -> Result<Bytes, Problem> {
        match (self.text, self.base64) {
            (Some(_), Some(_)) => Err(Problem::invalid(field, "either text or base64, not both")),
            (Some(text), None) => Ok(text.into()),
            (None, Some(base64)) => {
                let bytes = STANDARD.decode(base64);
                bytes.map(Bytes::from).map_err(|error| Problem::invalid(field, error.to_string()))
            }
            (None, None) => Ok(Bytes::new()),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self { text: Some(text.to_owned()), base64: None },
            Err(_) => Self { text: None, base64: Some(STANDARD.encode(bytes)) },
        }
    }
}

/// A task that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TaskSubmission {
    /// What it is about; a node must serve this kind.
    #[schema(example = "shout", min_length = 1, max_length = 64)]
    pub kind: String,
    /// What it is asked with, at most 1 MiB.
    #[serde(default)]
    pub payload: Payload,
    /// What the node must have.
    #[serde(default)]
    pub requirements: RequirementsBody,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i16,
    /// When it must have been handed to a node, in RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// It waits until then, in RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// The most that it may cost, in tokens; reserved while it is open. Without one, nobody is paid.
    #[schema(value_type = Option<String>, example = "0.5")]
    pub budget: Option<DecimalText>,
    /// The account that pays. Default: your own.
    pub payer: Option<String>,
    /// Your own name for it: sent again, it is the same task.
    pub idempotency_key: Option<String>,
    /// How many attempts it gets, 1–1,000. Default 3.
    #[schema(minimum = 1, maximum = 1000)]
    pub max_attempts: Option<u32>,
    /// How often it is done, and so how much its result can be relied on: `s`, `a` or `b` (default).
    #[serde(default)]
    #[schema(value_type = String, example = "b")]
    pub sla: SlaClass,
    /// The tasks that must have ended before.
    #[serde(default)]
    pub after: Vec<uuid::Uuid>,
}

/// What a task needs of a node. Zero, empty and none ask for nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct RequirementsBody {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Storage.
    pub storage_mib: u64,
    /// Network.
    pub bandwidth_mbps: u32,
    /// How many GPUs.
    pub gpus: u32,
    /// Thousandths of each GPU. Default 1,000.
    #[schema(minimum = 1, maximum = 1000)]
    pub gpu_milli: Option<u32>,
    /// Memory of each GPU.
    pub gpu_memory_mib: u64,
    /// GPU models that will do.
    pub gpu_models: Vec<String>,
    /// Labels that the node must have.
    pub labels: BTreeMap<String, String>,
    /// Where it must stand.
    pub region: Option<String>,
    /// The most latency that it may have.
    pub max_latency_ms: Option<f64>,
    /// The least quality, 0–100.
    pub min_quality: Option<f64>,
    /// Whether it wants the node for itself.
    pub exclusive: bool,
}

impl RequirementsBody {
    fn parse(self) -> Result<Requirements, Problem> {
        let gpus = GpuRequirement {
            count: self.gpus,
            milli: self.gpu_milli.unwrap_or(GpuRequirement::default().milli),
            memory_mib: self.gpu_memory_mib,
            models: self.gpu_models,
        };
        Ok(Requirements {
            cpu_milli: self.cpu_milli,
            memory_mib: self.memory_mib,
            storage_mib: self.storage_mib,
            bandwidth_mbps: self.bandwidth_mbps,
            gpus,
            required: self.labels.iter().map(|(key, value)| Selector::is(key, value)).collect(),
            region: self.region,
            max_latency: within("requirements.max_latency_ms", self.max_latency_ms, Millis::new)?,
            min_quality: within("requirements.min_quality", self.min_quality, Percent::new)?,
            exclusive: self.exclusive,
            ..Requirements::default()
        })
    }
}

impl TaskSubmission {
    /// The task, paid by `payer` unless it names another one.
    ///
    /// # Errors
    /// The field that cannot be.
    pub fn parse(self, payer: &AccountId, asset: &Asset) -> Result<(TaskSpec, Bytes), Problem> {
        let spec = TaskSpec::new(self.kind.parse()?);
        let payer = self.payer.map_or_else(|| Ok(payer.clone()), |named| named.parse())?;
        let budget = self.budget.map(|text| money::read(asset, "budget", &text)).transpose()?;
        let spec = TaskSpec {
            requirements: self.requirements.parse()?,
            priority: self.priority,
            deadline: self.deadline,
            not_before: self.not_before,
            idempotency_key: self.idempotency_key.map(|key| key.parse()).transpose()?,
            max_attempts: self.max_attempts.unwrap_or(spec.max_attempts),
            sla: self.sla,
            after: self.after.into_iter().map(fogcore::id::TaskId::from_uuid).collect(),
            ..spec
        };
        let spec = match budget {
            Some(limit) => spec.paid_by(payer, limit),
            None => spec,
        };
        Ok((spec, self.payload.parse("payload")?))
    }
}

/// Which tasks are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TasksQuery {
    /// In this state.
    #[param(value_type = Option<String>)]
    pub state: Option<TaskState>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Held, or done, by this node.
    pub node: Option<String>,
    /// Paid by this account. Default: your own; those who look after tasks see all.
    pub payer: Option<String>,
    /// Only tasks behind this one.
    pub after: Option<uuid::Uuid>,
    /// How many, 1–1,000. Default 100.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// A task.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskAnswer {
    /// Its id.
    pub task_id: String,
    /// What it is about.
    pub kind: String,
    /// `waiting`, `queued`, `leased`, `succeeded`, `failed`, `cancelled` or `dead`.
    pub state: &'static str,
    /// Higher goes first.
    pub priority: i16,
    /// Who pays.
    pub payer: Option<String>,
    /// The most that it may cost, exactly.
    pub budget_exact: Option<String>,
    /// What was paid for it, exactly.
    pub paid_exact: String,
    /// Attempts begun.
    pub attempts: u32,
    /// The node that holds it.
    pub node: Option<String>,
    /// Until when, in RFC 3339.
    #[schema(format = DateTime)]
    pub lease_expires_at: Option<String>,
    /// If the node has to give it back: when, in RFC 3339.
    #[schema(format = DateTime)]
    pub preempt_at: Option<String>,
    /// How far it is, 0–1.
    pub progress: Option<f64>,
    /// What the node is at.
    pub note: Option<String>,
    /// Why the latest attempt, or the task, ended without success.
    pub failure: Option<String>,
    /// The node that did it.
    pub done_by: Option<String>,
    /// When it was submitted, in RFC 3339.
    #[schema(format = DateTime)]
    pub submitted_at: String,
    /// When it ended, in RFC 3339.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

impl TaskAnswer {
    /// A task as it is.
    #[must_use]
    pub fn of(asset: &Asset, task: &Task) -> Self {
        let (spec, lease) = (&task.spec, task.lease.as_ref());
        let budget = spec.budget.as_ref();
        Self {
            task_id: task.id.to_string(),
            kind: spec.kind.to_string(),
            state: task.state.name(),
            priority: spec.priority,
            payer: budget.map(|budget| budget.payer.to_string()),
            budget_exact: budget.map(|budget| asset.decimal(budget.limit)),
            paid_exact: asset.decimal(task.paid),
            attempts: task.attempts,
            node: lease.map(|lease| lease.node.to_string()),
            lease_expires_at: lease.map(|lease| lease.expires_at.to_string()),
            preempt_at: lease.and_then(|lease| lease.preempt_at).map(|at| at.to_string()),
            progress: task.progress.as_ref().map(|progress| progress.done),
            note: task.progress.as_ref().map(|progress| progress.note.clone()),
            failure: task.failure.clone(),
            done_by: task.done_by.as_ref().map(ToString::to_string),
            submitted_at: task.submitted_at.to_string(),
            ended_at: task.ended_at.map(|at| at.to_string()),
        }
    }
}

/// A page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub struct TasksAnswer {
    /// In the order of submission.
    pub tasks: Vec<TaskAnswer>,
    /// Where the next page begins (`after`), if there may be one.
    pub next: Option<String>,
}

/// What a task gave.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResultAnswer {
    /// The task.
    pub task_id: String,
    /// What it gave.
    pub result: Payload,
}

/// Which lines of a log are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Only lines behind this number.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<u64>)]
    pub after: Option<u64>,
    /// How many, 1–1,000. Default 1,000.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// A line of a task's log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineAnswer {
    /// Its number within the task, from 1.
    pub number: u64,
    /// When it came, in RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// The fencing token of the attempt.
    pub fence: u64,
    /// What it says.
    pub text: String,
}

impl From<LogLine> for LineAnswer {
    fn from(line: LogLine) -> Self {
        Self { number: line.number, at: line.at.to_string(), fence: line.fence, text: line.text }
    }
}

/// A task's log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogAnswer {
    /// The task.
    pub task_id: String,
    /// The lines that are kept, in order.
    pub lines: Vec<LineAnswer>,
}

/// Why a task went where it went, or why it waits.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplanationAnswer {
    /// The task.
    pub task_id: String,
    /// For people.
    pub text: String,
    /// Who was considered, with every term, and who was refused by what.
    #[schema(value_type = Object)]
    pub explanation: Explanation,
}
