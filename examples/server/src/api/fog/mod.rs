//! The fog's document, `/api/p2p` and `/api/fog`: what it asks for, computed from the engine, and the
//! calls without which all of it would stay empty.

pub mod dto;
pub mod error;
mod rewards;
mod routes;

pub use self::error::FAMILY;
pub use self::rewards::RewardsToday;
pub use self::routes::router;

/// What other families do with nodes, too.
pub(crate) mod writing {
    pub(crate) use super::routes::{may_register, numbered_beat};
}
