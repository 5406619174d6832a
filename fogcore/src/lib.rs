//! The coordination core for a fog: phones, laptops, GPU boxes and game hosts that nobody owns
//! as one cluster.

pub mod amount;
pub mod balancer;
pub mod error;
pub mod event;
pub mod failover;
pub mod fog;
pub mod id;
pub mod ledger;
pub mod registry;
pub mod scheduler;
pub mod signaling;
pub mod storage;
pub mod time;

pub use error::{Error, ErrorKind, Result};
pub use fog::{Fog, FogConfig};
