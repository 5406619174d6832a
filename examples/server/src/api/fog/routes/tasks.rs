//! Tasks: submitted, looked at, called off, and explained.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fogcore::id::TaskId;
use fogcore::scheduler::{Task, TaskFilter};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page;
use crate::api::fog::dto::tasks::{
    ExplanationAnswer, LineAnswer, LogAnswer, LogQuery, ResultAnswer, TaskAnswer, TaskSubmission,
    TasksAnswer, TasksQuery,
};
use crate::app::App;
use crate::auth::Identity;
use crate::auth::identity::{Reader, Writer};
use crate::http::extract::{Body, PathId, Query};
use crate::http::problem::Problem;

/// How many of the nodes that could have a task are told with every term.
const TOLD: usize = 10;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, submit))
        .routes(routes!(get))
        .routes(routes!(result))
        .routes(routes!(log))
        .routes(routes!(cancel))
        .routes(routes!(explain))
}

/// The task, which must be there and the caller's. One that nobody pays for is of whoever knows its
/// id: it is not listed for others.
async fn managed(app: &App, identity: &Identity, id: TaskId) -> Result<Task, Problem> {
    let task = app.fog.task(id).await?;
    identity.must_manage(task.spec.payer())?;
    Ok(task)
}

/// Your tasks, in the order of submission.
#[utoipa::path(get, path = "/api/fog/tasks", tag = "tasks", params(TasksQuery),
    responses((status = 200, body = TasksAnswer)))]
async fn list(
    State(app): State<App>,
    Reader(identity): Reader,
    Query(asked): Query<TasksQuery>,
) -> Result<Json<TasksAnswer>, Problem> {
    let limit = page(asked.limit, 100)?;
    let payer = match asked.payer {
        Some(named) => Some(named.parse()?),
        None if identity.is_operator() => None,
        None => Some(identity.account.clone()),
    };
    identity.must_manage(payer.as_ref())?;
    let filter = TaskFilter {
        state: asked.state,
        kind: asked.kind.map(|kind| kind.parse()).transpose()?,
        node: asked.node.map(|node| node.parse()).transpose()?,
        payer,
    };
    let after = asked.after.map(TaskId::from_uuid);
    let tasks = app.fog.tasks(&filter, after, limit).await?;
    let next = tasks.last().filter(|_| tasks.len() == limit).map(|last| last.id.to_string());
    let asset = &app.fog.config().asset;
    Ok(Json(TasksAnswer {
        tasks: tasks.iter().map(|task| TaskAnswer::of(asset, task)).collect(),
        next,
    }))
}

/// Submit a task. Its budget is reserved until it ends.
#[utoipa::path(post, path = "/api/fog/tasks", tag = "tasks", request_body = TaskSubmission,
    responses((status = 201, body = TaskAnswer)))]
async fn submit(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<TaskSubmission>,
) -> Result<(StatusCode, Json<TaskAnswer>), Problem> {
    let asset = &app.fog.config().asset;
    let (spec, payload) = asked.parse(&identity.account, asset)?;
    if let Some(payer) = spec.payer() {
        identity.must_own(payer)?;
    }
    let task = app.fog.submit(spec, payload).await?;
    Ok((StatusCode::CREATED, Json(TaskAnswer::of(asset, &task))))
}

/// A task as it is now.
#[utoipa::path(get, path = "/api/fog/tasks/{task_id}", tag = "tasks",
    params(("task_id" = uuid::Uuid, Path)), responses((status = 200, body = TaskAnswer)))]
async fn get(
    State(app): State<App>,
    Reader(identity): Reader,
    PathId(id): PathId<TaskId>,
) -> Result<Json<TaskAnswer>, Problem> {
    let task = managed(&app, &identity, id).await?;
    Ok(Json(TaskAnswer::of(&app.fog.config().asset, &task)))
}

/// What a task gave, if it succeeded and that is still kept.
#[utoipa::path(get, path = "/api/fog/tasks/{task_id}/result", tag = "tasks",
    params(("task_id" = uuid::Uuid, Path)), responses((status = 200, body = ResultAnswer)))]
async fn result(
    State(app): State<App>,
    Reader(identity): Reader,
    PathId(id): PathId<TaskId>,
) -> Result<Json<ResultAnswer>, Problem> {
    let task = managed(&app, &identity, id).await?;
    let missing = || {
        let state = task.state;
        Problem::not_found(format!("the task is {state} and has no result that is kept"))
    };
    let result = app.fog.result(id).await?.ok_or_else(missing)?;
    Ok(Json(ResultAnswer { task_id: id.to_string(), result: result.into() }))
}

/// What a task's holders wrote.
#[utoipa::path(get, path = "/api/fog/tasks/{task_id}/logs", tag = "tasks",
    params(("task_id" = uuid::Uuid, Path), LogQuery), responses((status = 200, body = LogAnswer)))]
async fn log(
    State(app): State<App>,
    Reader(identity): Reader,
    PathId(id): PathId<TaskId>,
    Query(asked): Query<LogQuery>,
) -> Result<Json<LogAnswer>, Problem> {
    managed(&app, &identity, id).await?;
    let limit = page(asked.limit, 1_000)?;
    let lines = app.fog.log(id, asked.after.unwrap_or(0), limit).await?;
    let lines = lines.into_iter().map(LineAnswer::from).collect();
    Ok(Json(LogAnswer { task_id: id.to_string(), lines }))
}

/// Call a task off. Its budget is free again.
#[utoipa::path(post, path = "/api/fog/tasks/{task_id}/cancel", tag = "tasks",
    params(("task_id" = uuid::Uuid, Path)), responses((status = 200, body = TaskAnswer)))]
async fn cancel(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(id): PathId<TaskId>,
) -> Result<Json<TaskAnswer>, Problem> {
    managed(&app, &identity, id).await?;
    let task = app.fog.cancel(id).await?;
    Ok(Json(TaskAnswer::of(&app.fog.config().asset, &task)))
}

/// Why a task's latest lease went where it went; of one that had none, where it would go now, or
/// what stands in its way.
#[utoipa::path(get, path = "/api/fog/tasks/{task_id}/explain", tag = "tasks",
    params(("task_id" = uuid::Uuid, Path)), responses((status = 200, body = ExplanationAnswer)))]
async fn explain(
    State(app): State<App>,
    Reader(identity): Reader,
    PathId(id): PathId<TaskId>,
) -> Result<Json<ExplanationAnswer>, Problem> {
    let task = managed(&app, &identity, id).await?;
    let explanation = match app.fog.explanation(id).await? {
        Some(explanation) => explanation,
        None => app.fog.explain(&task.spec, TOLD).await?,
    };
    let text = explanation.to_string();
    Ok(Json(ExplanationAnswer { task_id: id.to_string(), text, explanation }))
}
