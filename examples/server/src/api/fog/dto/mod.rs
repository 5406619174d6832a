//! What goes over the wire in the fog's family.

pub mod market;
pub mod nodes;
pub mod status;
pub mod tasks;
pub mod tokens;
pub mod work;
