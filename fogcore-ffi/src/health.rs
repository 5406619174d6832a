//! Whether nodes are well, by a probe that the app brings along.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use fogcore::failover::{self, Health, HealthPolicy, ProbeError, ProbeTarget};
use fogcore::id::NodeId;
use fogcore::registry::Address;

use crate::error::FogError;
use crate::fog::Fog;
use crate::handles::Counted;
use crate::runtime;
use crate::values::Span;

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error, uniffi::Error)]
pub enum ProbeFailure {
    /// The address is there, and nobody listens at the port.
    #[error("the connection was refused")]
    Refused,
    /// The time was over before there was an answer.
    #[error("there was no answer in time")]
    TimedOut,
    /// No way leads to the address, or its name is not known.
    #[error("the address cannot be reached")]
    Unreachable,
    /// It answered with a status that does not mean well.
    #[error("it answered with status {status}")]
    BadStatus {
        /// The status.
        status: u16,
    },
    /// The probe needs an address, and the node has none.
    #[error("the node has no address")]
    NoAddress,
    /// Anything else.
    #[error("{reason}")]
    Other {
        /// Why, the first 256 characters of which are kept.
        reason: String,
    },
}

impl From<ProbeFailure> for ProbeError {
    fn from(failure: ProbeFailure) -> Self {
        match failure {
            ProbeFailure::Refused => Self::Refused,
            ProbeFailure::TimedOut => Self::TimedOut,
            ProbeFailure::Unreachable => Self::Unreachable,
            ProbeFailure::BadStatus { status } => Self::BadStatus(status),
            ProbeFailure::NoAddress => Self::NoAddress,
            ProbeFailure::Other { reason } => Self::other(reason),
        }
    }
}

impl From<uniffi::UnexpectedUniFFICallbackError> for ProbeFailure {
    fn from(thrown: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Other { reason: format!("the probe threw: {}", thrown.reason) }
    }
}

/// Asks a node whether it is well. Implemented by the app.
#[uniffi::export(callback_interface)]
#[async_trait]
pub trait ForeignProbe: Send + Sync {
    /// Probes a node once; its call is cancelled when its time is over.
    ///
    /// # Errors
    /// Why the node does not seem well.
    async fn probe(&self, node: NodeId, address: Option<Address>) -> Result<(), ProbeFailure>;
}

/// The other side's probe, as the core sees it.
struct Foreign(Box<dyn ForeignProbe>);

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignProbe")
    }
}

#[async_trait]
impl failover::HealthProbe for Foreign {
    async fn probe(&self, target: &ProbeTarget) -> Result<(), ProbeError> {
        let ProbeTarget { node, address } = target.clone();
        Ok(self.0.probe(node, address).await?)
    }
}

/// Watches nodes; the fog's balancers follow it. Given back, it watches no more.
#[derive(Debug, uniffi::Object)]
pub struct HealthMonitor {
    monitor: fogcore::fog::HealthMonitor,
    _counted: Counted,
}

#[uniffi::export]
impl HealthMonitor {
    /// Watches a node.
    ///
    /// # Errors
    /// Exhausted for too many; Unavailable once the fog shut down.
    pub fn add(&self, node: NodeId, address: Option<Address>) -> Result<(), FogError> {
        Ok(self.monitor.add(ProbeTarget { node, address })?)
    }

    /// Watches a node no more; false if it was not watched.
    pub fn remove(&self, node: NodeId) -> bool {
        self.monitor.remove(&node)
    }

    /// What it thinks of a node, if it watches it.
    pub fn health(&self, node: NodeId) -> Option<Health> {
        self.monitor.health(&node)
    }
}

#[uniffi::export]
impl Fog {
    /// Watches nodes with a probe, each every so often and for so long at most; by default every
    /// 10 s, for 5 s.
    ///
    /// # Errors
    /// InvalidInput for times that make no sense; Unavailable once the fog was shut down.
    pub fn watch(
        &self,
        probe: Box<dyn ForeignProbe>,
        every: Option<Span>,
        timeout: Option<Span>,
    ) -> Result<Arc<HealthMonitor>, FogError> {
        let usual = HealthPolicy::default();
        let policy = HealthPolicy {
            every: every.map_or(usual.every, |span| span.0),
            timeout: timeout.map_or(usual.timeout, |span| span.0),
            ..usual
        };
        let _entered = runtime::enter()?;
        let builder = self.core()?.health_monitor(Arc::new(Foreign(probe)));
        let monitor = builder.policy(policy).start()?;
        Ok(Arc::new(HealthMonitor { monitor, _counted: Counted::new() }))
    }
}
