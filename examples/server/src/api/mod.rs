//! One folder for each document: its routes, its wire types, its form of errors, and no decision.

pub(crate) mod coordinator;
pub(crate) mod fog;
