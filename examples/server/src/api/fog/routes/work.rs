//! What a worker in any language does: it leases tasks, renews its leases while it works, and reports
//! how its attempts ended.

use axum::Json;
use axum::extract::State;
use fogcore::id::{NodeId, TaskId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::nodes::managed;
use crate::api::fog::dto::work::{
    AssignmentAnswer, CompleteBody, LeaseAnswer, LeaseBody, ReleaseBody, RenewBody, WorkAnswer,
};
use crate::app::App;
use crate::auth::identity::Writer;
use crate::http::extract::{Body, OptionalBody, PathId};
use crate::http::problem::Problem;

/// Items in one request: each may have a MiB of payload.
const MOST: usize = 100;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(lease))
        .routes(routes!(renew))
        .routes(routes!(complete))
        .routes(routes!(release))
}

fn at_most(field: &'static str, found: usize) -> Result<(), Problem> {
    if (1..=MOST).contains(&found) {
        return Ok(());
    }
    Err(Problem::invalid(field, format!("{found} items, 1 to {MOST} are allowed")))
}

/// Ask for tasks that this node is the choice for.
#[utoipa::path(post, path = "/api/fog/nodes/{node_id}/lease", tag = "work",
    params(("node_id" = String, Path)), request_body = Option<LeaseBody>,
    responses((status = 200, body = LeaseAnswer)))]
async fn lease(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(node): PathId<NodeId>,
    OptionalBody(asked): OptionalBody<LeaseBody>,
) -> Result<Json<LeaseAnswer>, Problem> {
    managed(&app, &identity, &node).await?;
    let limit = asked.limit.unwrap_or(1);
    at_most("limit", limit)?;
    let config = app.fog.config();
    let granted = app.fog.lease(&node, limit).await?;
    let told = granted.into_iter().map(|one| AssignmentAnswer::of(&config.asset, one)).collect();
    Ok(Json(LeaseAnswer { assignments: told, lease_seconds: config.lease.as_secs_f64() }))
}

/// Hold on to leases, and tell how far the work is. An answer with `preempt_at` asks for the task
/// back by then.
#[utoipa::path(post, path = "/api/fog/nodes/{node_id}/renew", tag = "work",
    params(("node_id" = String, Path)), request_body = RenewBody,
    responses((status = 200, body = WorkAnswer)))]
async fn renew(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(node): PathId<NodeId>,
    Body(asked): Body<RenewBody>,
) -> Result<Json<WorkAnswer>, Problem> {
    managed(&app, &identity, &node).await?;
    at_most("leases", asked.leases.len())?;
    let claims: Vec<_> =
        asked.leases.into_iter().map(|lease| lease.parse(&node)).collect::<Result<_, _>>()?;
    let tasks = claims.iter().map(|(claim, _)| claim.task).collect();
    let answers = app.fog.renew(claims).await?;
    Ok(Json(WorkAnswer::of(&app.fog.config().asset, tasks, answers)))
}

/// Report how attempts ended. A success pays the node's owner by the node's rates, at most the
/// budget, in the same step; the same report again pays nothing more.
#[utoipa::path(post, path = "/api/fog/nodes/{node_id}/complete", tag = "work",
    params(("node_id" = String, Path)), request_body = CompleteBody,
    responses((status = 200, body = WorkAnswer)))]
async fn complete(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(node): PathId<NodeId>,
    Body(asked): Body<CompleteBody>,
) -> Result<Json<WorkAnswer>, Problem> {
    managed(&app, &identity, &node).await?;
    at_most("reports", asked.reports.len())?;
    let reports: Vec<_> =
        asked.reports.into_iter().map(|report| report.parse(&node)).collect::<Result<_, _>>()?;
    let tasks = reports.iter().map(|report| report.claim.task).collect();
    let answers = app.fog.report(reports).await?;
    Ok(Json(WorkAnswer::of(&app.fog.config().asset, tasks, answers)))
}

/// Give leases back: the tasks wait again, and the attempts do not count.
#[utoipa::path(post, path = "/api/fog/nodes/{node_id}/release", tag = "work",
    params(("node_id" = String, Path)), request_body = ReleaseBody,
    responses((status = 200, body = WorkAnswer)))]
async fn release(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(node): PathId<NodeId>,
    Body(asked): Body<ReleaseBody>,
) -> Result<Json<WorkAnswer>, Problem> {
    managed(&app, &identity, &node).await?;
    at_most("leases", asked.leases.len())?;
    let claims: Vec<_> = asked.leases.iter().map(|lease| lease.of(&node)).collect();
    let tasks: Vec<TaskId> = claims.iter().map(|claim| claim.task).collect();
    let answers = app.fog.release(claims).await?;
    Ok(Json(WorkAnswer::of(&app.fog.config().asset, tasks, answers)))
}
