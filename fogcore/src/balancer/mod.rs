//! Which node serves a request, and how many nodes there should be.

pub mod autoscaler;

pub use autoscaler::{Autoscaler, NodeLoad, ScaleHook, ScalePolicy};
