//! The families of routes, each a room of its own: `router()`, its wire types, its form of errors, and
//! no decision of the domain inside. A handler parses, calls the fog, and renders.

pub mod coordinator;
pub mod document;
pub mod fog;
mod money;
pub mod nodes;
pub mod system;
pub mod v1;
