//! The routes of the coordinator's document, and of its dialect.

mod dialect;
mod hosts;
mod mail;
mod monitoring;
mod players;
mod sessions;
mod zones;

use utoipa_axum::router::OpenApiRouter;

pub(super) use self::hosts::best_first;
pub(super) use self::sessions::may_speak_as;
use super::socket;
use crate::app::App;

/// Every route of the coordinator's family.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(hosts::router())
        .merge(zones::router())
        .merge(sessions::router())
        .merge(mail::router())
        .merge(monitoring::router())
        .merge(dialect::router())
        .merge(players::router())
        .merge(socket::router())
}
