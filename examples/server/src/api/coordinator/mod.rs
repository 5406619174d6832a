//! The coordinator's document, `/api/hosts` to `/api/monitoring`, and the dialect of it that game
//! clients speak, `/api/v1`: hosts of games, which are nodes of the fog, the zones of their world,
//! sessions, and how the peers of a session meet.

mod dto;
pub mod error;
mod routes;
mod socket;

pub use self::error::FAMILY;
pub use self::routes::router;
