//! Nodes that are asked, all the time, whether they are well.
//!
//! [`HealthMonitor`] asks, [`TcpProbe`] and [`HttpProbe`] are ways of asking, and what the answers
//! mean is decided in [`failover`](crate::failover).
//!
//! Nothing here asks whether a target may be connected to: that is for whoever adds it to decide
//! ([`HealthMonitor::add`]), and adapters must, for addresses that come from users.

mod builder;
#[cfg(feature = "http-probe")]
mod http;
mod monitor;
mod opinion;
mod targets;
mod tcp;

pub use self::builder::HealthMonitorBuilder;
#[cfg(feature = "http-probe")]
pub use self::http::HttpProbe;
pub use self::monitor::{HealthEvent, HealthMonitor, OnHealth};
pub(in crate::fog) use self::opinion::{Monitors, Probed};
pub use self::tcp::TcpProbe;
