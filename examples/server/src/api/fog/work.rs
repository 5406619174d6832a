//! `/fog/nodes`, `/fog/tasks` and `/fog/leases`: what nodes and clients write, so that a worker in any
//! language can serve. Bodies and answers are the core's own JSON; amounts are texts of base units.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fogcore::fog::Report;
use fogcore::id::{NodeId, TaskId};
use fogcore::registry::{Beat, Heartbeat, Node, NodeRecord};
use fogcore::scheduler::{
    Claim, Explanation, Failure, LogLine, News, Progress, Task, TaskSpec, Usage,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::problem::{Answer, Body, Problem, parse};

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(heartbeat))
        .routes(routes!(remove))
        .routes(routes!(submit))
        .routes(routes!(task))
        .routes(routes!(result))
        .routes(routes!(log))
        .routes(routes!(explanation))
        .routes(routes!(cancel))
        .routes(routes!(lease))
        .routes(routes!(renew))
        .routes(routes!(complete))
}

/// Who works for somebody, or pays for somebody, is that somebody.
fn is_own(app: &App, who: &Identity, account: Option<&str>) -> Answer<()> {
    let is_own = account.is_none_or(|account| who.subject.as_deref() == Some(account));
    if is_own || app.open || who.scopes.contains(&Scope::Admin) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "this account is somebody else's"))
}

async fn node_of(app: &App, who: &Identity, id: &str) -> Answer<NodeRecord> {
    let missing = || Problem::not_found("Node", id);
    let node: NodeId = id.parse().map_err(|_| missing())?;
    let record = app.fog.node(&node).await?.ok_or_else(missing)?;
    is_own(app, who, record.node.owner.as_ref().map(|owner| owner.as_str()))?;
    Ok(record)
}

async fn task_of(app: &App, who: &Identity, id: &str) -> Answer<Task> {
    let id: TaskId = id.parse().map_err(|_| Problem::not_found("Task", id))?;
    let task = app.fog.task(id).await?;
    is_own(app, who, task.spec.payer().map(|payer| payer.as_str()))?;
    Ok(task)
}

/// Registers a node, or changes it. Without an owner it works for free.
#[utoipa::path(post, path = "/fog/nodes", tag = "fog", request_body = Object,
    responses((status = 201, body = Object), (status = 403), (status = 422)))]
async fn register(
    State(app): State<Arc<App>>,
    who: Identity,
    Body(node): Body<Node>,
) -> Answer<(StatusCode, Json<NodeRecord>)> {
    if let Some(existing) = app.fog.node(&node.id).await? {
        is_own(&app, &who, existing.node.owner.as_ref().map(|owner| owner.as_str()))?;
    }
    is_own(&app, &who, node.owner.as_ref().map(|owner| owner.as_str()))?;
    Ok((StatusCode::CREATED, Json(app.fog.register(node).await?)))
}

/// Takes in how a node is; one whose sequence is not newer changes nothing.
#[utoipa::path(post, path = "/fog/nodes/{node_id}/heartbeat", tag = "fog", request_body = Object,
    params(("node_id" = String, Path)), responses((status = 200, body = Object), (status = 403), (status = 404), (status = 422)))]
async fn heartbeat(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
    Body(heartbeat): Body<Heartbeat>,
) -> Answer<Json<NodeRecord>> {
    let record = node_of(&app, &who, &id).await?;
    let (Beat::Accepted(record) | Beat::Stale(record)) =
        app.fog.beat(&record.node.id, heartbeat).await?;
    Ok(Json(record))
}

/// Forgets a node.
#[utoipa::path(delete, path = "/fog/nodes/{node_id}", tag = "fog", params(("node_id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404)))]
async fn remove(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let record = node_of(&app, &who, &id).await?;
    app.fog.remove_node(&record.node.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
struct Submission {
    /// What is asked; `kind` is all that it must have.
    #[schema(value_type = Object)]
    spec: TaskSpec,
    /// What it is asked with, in base64; at most 1 MiB.
    #[serde(default)]
    payload: String,
}

fn bytes(field: &'static str, text: &str) -> Answer<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| Problem::invalid(field, error))
}

/// Submits a task; the same idempotency key again gives the same task.
#[utoipa::path(post, path = "/fog/tasks", tag = "fog", request_body = Submission,
    responses((status = 201, body = Object), (status = 400), (status = 403), (status = 422)))]
async fn submit(
    State(app): State<Arc<App>>,
    who: Identity,
    Body(new): Body<Submission>,
) -> Answer<(StatusCode, Json<Task>)> {
    is_own(&app, &who, new.spec.payer().map(|payer| payer.as_str()))?;
    let task = app.fog.submit(new.spec, bytes("payload", &new.payload)?).await?;
    Ok((StatusCode::CREATED, Json(task)))
}

/// A task as it is now.
#[utoipa::path(get, path = "/fog/tasks/{task_id}", tag = "fog", params(("task_id" = String, Path)),
    responses((status = 200, body = Object), (status = 403), (status = 404)))]
async fn task(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
) -> Answer<Json<Task>> {
    Ok(Json(task_of(&app, &who, &id).await?))
}

#[derive(Serialize, ToSchema)]
struct ResultView {
    /// What the task gave, in base64; null as long as it gave nothing, and once that is gone.
    result: Option<String>,
}

/// What a task gave.
#[utoipa::path(get, path = "/fog/tasks/{task_id}/result", tag = "fog", params(("task_id" = String, Path)),
    responses((status = 200, body = ResultView), (status = 403), (status = 404)))]
async fn result(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
) -> Answer<Json<ResultView>> {
    let task = task_of(&app, &who, &id).await?;
    let result = app.fog.result(task.id).await?;
    Ok(Json(ResultView { result: result.map(|bytes| STANDARD.encode(bytes)) }))
}

/// The last lines that its nodes wrote.
#[utoipa::path(get, path = "/fog/tasks/{task_id}/logs", tag = "fog", params(("task_id" = String, Path)),
    responses((status = 200, body = [Object]), (status = 403), (status = 404)))]
async fn log(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
) -> Answer<Json<Vec<LogLine>>> {
    let task = task_of(&app, &who, &id).await?;
    Ok(Json(app.fog.log(task.id, 0, 1_000).await?))
}

/// Why its latest lease went where it went; before that, where it would go.
#[utoipa::path(get, path = "/fog/tasks/{task_id}/explain", tag = "fog", params(("task_id" = String, Path)),
    responses((status = 200, body = Object), (status = 403), (status = 404)))]
async fn explanation(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
) -> Answer<Json<Explanation>> {
    let task = task_of(&app, &who, &id).await?;
    if let Some(kept) = app.fog.explanation(task.id).await? {
        return Ok(Json(kept));
    }
    Ok(Json(app.fog.explain(&task.spec, 5).await?))
}

/// Calls a task off.
#[utoipa::path(post, path = "/fog/tasks/{task_id}/cancel", tag = "fog", params(("task_id" = String, Path)),
    responses((status = 200, body = Object), (status = 400), (status = 403), (status = 404)))]
async fn cancel(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
) -> Answer<Json<Task>> {
    let task = task_of(&app, &who, &id).await?;
    Ok(Json(app.fog.cancel(task.id).await?))
}

#[derive(Deserialize, ToSchema)]
struct Wish {
    /// The most tasks wanted, 1–1,000.
    #[serde(default = "one")]
    limit: usize,
}

const fn one() -> usize {
    1
}

#[derive(Serialize, ToSchema)]
struct Assigned {
    #[schema(value_type = Object)]
    task: Task,
    /// The lease's fencing token, which renewals and completions name.
    fence: u64,
    /// What it is asked with, in base64.
    payload: String,
    /// What an attempt before this one saved, in base64.
    checkpoint: Option<String>,
}

/// Gives a node leases on tasks that it is the choice for. It renews them before a third of the time
/// is over that they say.
#[utoipa::path(post, path = "/fog/nodes/{node_id}/lease", tag = "fog", request_body = Wish,
    params(("node_id" = String, Path)), responses((status = 200, body = [Assigned]), (status = 403), (status = 404), (status = 422)))]
async fn lease(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
    Body(wish): Body<Wish>,
) -> Answer<Json<Vec<Assigned>>> {
    let record = node_of(&app, &who, &id).await?;
    let given = app.fog.lease(&record.node.id, wish.limit).await?;
    let assigned = given.into_iter().map(|given| Assigned {
        fence: given.task.fence,
        payload: STANDARD.encode(&given.payload),
        checkpoint: given.checkpoint.map(|bytes| STANDARD.encode(bytes)),
        task: given.task,
    });
    Ok(Json(assigned.collect()))
}

#[derive(Deserialize, ToSchema)]
struct Renewing {
    /// The task, by its id.
    task: String,
    node: String,
    fence: u64,
    /// The share done, 0–1.
    progress: Option<f64>,
    #[serde(default)]
    note: String,
    #[serde(default)]
    log: Vec<String>,
    /// What the next attempt should begin with, in base64.
    checkpoint: Option<String>,
}

fn claim(task: &str, node: &NodeRecord, fence: u64) -> Answer<Claim> {
    Ok(Claim { task: parse("task", task)?, node: node.node.id.clone(), fence })
}

/// Holds on to a lease, and tells how far it is. 400 means that the lease is lost and the work in vain;
/// a `preempt_at` in the task's lease, that it ends then.
#[utoipa::path(post, path = "/fog/leases/renew", tag = "fog", request_body = Renewing,
    responses((status = 200, body = Object), (status = 400), (status = 403), (status = 404), (status = 422)))]
async fn renew(
    State(app): State<Arc<App>>,
    who: Identity,
    Body(renewing): Body<Renewing>,
) -> Answer<Json<Task>> {
    let node = node_of(&app, &who, &renewing.node).await?;
    let claim = claim(&renewing.task, &node, renewing.fence)?;
    let checkpoint = renewing.checkpoint.map(|text| bytes("checkpoint", &text)).transpose()?;
    let news = News {
        progress: renewing.progress.map(|done| Progress::new(done, &renewing.note)),
        log: renewing.log,
        checkpoint: checkpoint.map(Into::into),
    };
    let mut answers = app.fog.renew(vec![(claim, news)]).await?;
    let answer = answers.pop().ok_or_else(|| Problem::not_found("Task", &renewing.task))?;
    Ok(Json(answer?))
}

#[derive(Deserialize, ToSchema)]
struct Completing {
    /// The task, by its id.
    task: String,
    node: String,
    fence: u64,
    /// What it gave, in base64, at most 1 MiB; or else why it failed.
    result: Option<String>,
    error: Option<String>,
    /// Of a failure: whether another attempt would end the same way.
    #[serde(default)]
    permanent: bool,
    /// Of a result: how good it is, if that can be told; higher is better.
    score: Option<i64>,
    #[serde(default)]
    log: Vec<String>,
}

/// Ends an attempt; for a success the node's owner is paid by its rates for the time since the lease
/// began, within the budget.
#[utoipa::path(post, path = "/fog/leases/complete", tag = "fog", request_body = Completing,
    responses((status = 200, body = Object), (status = 400), (status = 403), (status = 404), (status = 422)))]
async fn complete(
    State(app): State<Arc<App>>,
    who: Identity,
    Body(done): Body<Completing>,
) -> Answer<Json<Task>> {
    let record = node_of(&app, &who, &done.node).await?;
    let claim = claim(&done.task, &record, done.fence)?;
    let ended = match (done.result, done.error) {
        (Some(result), None) => Ok(bytes("result", &result)?.into()),
        (None, Some(reason)) => Err(Failure { reason, permanent: done.permanent }),
        _ => return Err(Problem::invalid("result", "either this or an error is needed")),
    };
    let usage = Usage::default();
    let report = Report { claim, ended, usage, log: done.log, score: done.score };
    let mut answers = app.fog.report(vec![report]).await?;
    let answer = answers.pop().ok_or_else(|| Problem::not_found("Task", &done.task))?;
    Ok(Json(answer?))
}
