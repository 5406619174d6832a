//! The fog's routes.

mod market;
mod nodes;
mod status;
mod tasks;
mod tokens;
mod work;

use fogcore::registry::MAX_PAGE;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::nodes::{may_register, numbered_beat};
use crate::app::App;
use crate::http::problem::Problem;

/// Every route of the fog's family.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(status::router())
        .merge(nodes::router())
        .merge(tasks::router())
        .merge(work::router())
        .merge(market::router())
        .merge(tokens::router())
}

/// How many items a page has: as many as asked for, from 1 to 1,000.
fn page(asked: Option<usize>, default: usize) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(default);
    if (1..=MAX_PAGE).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid("limit", format!("{limit} is not between 1 and {MAX_PAGE}")))
}
