//! `/ws`: what happens in the fog, told to whoever may hear it.
//!
//! One task, the [hub](Hub), listens to the fog, turns events into messages once, and puts them on a
//! bounded bus; each socket has a place on it. Whoever reads too slowly loses the oldest messages and
//! is told how many; nobody waits for a reader. What is told is a hint: the truth is a GET away.

pub mod hub;
pub mod message;
pub mod routes;
mod socket;

pub use self::hub::{Hub, run};
