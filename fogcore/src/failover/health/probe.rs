//! The port through which nodes are probed.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::id::NodeId;
use crate::registry::Address;

/// Asks a node whether it is well.
///
/// `Ok` means that the node would take work now. An error means that this one probe went wrong; it
/// changes nothing by itself, because [`HealthCheck`](super::HealthCheck) counts errors and
/// decides. So a probe should not try again on its own, and should not remember.
///
/// The caller bounds a probe with the policy's timeout and may drop the future at any await: when
/// its time is over, when the node falls asleep, at shutdown. What a probe opened must close with
/// its future, and a probe must not block its thread. Probes of several nodes run at the same
/// time. A probe that panics has failed.
///
/// ```
/// use fogcore::failover::{HealthProbe, ProbeError, ProbeTarget};
///
/// /// Games are played on ports that are even.
/// #[derive(Debug)]
/// struct EvenPort;
///
/// #[async_trait::async_trait]
/// impl HealthProbe for EvenPort {
///     async fn probe(&self, target: &ProbeTarget) -> Result<(), ProbeError> {
///         let address = target.address.as_ref().ok_or(ProbeError::NoAddress)?;
///         match address.port.get() % 2 {
///             0 => Ok(()),
///             _ => Err(ProbeError::other("the port is odd")),
///         }
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let target = ProbeTarget { node: "laptop-1".parse()?, address: None };
/// assert_eq!(EvenPort.probe(&target).await, Err(ProbeError::NoAddress));
/// # Ok::<(), fogcore::Error>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait HealthProbe: Send + Sync + fmt::Debug {
    /// Probes `target` once.
    ///
    /// # Errors
    /// Why the node does not seem well.
    async fn probe(&self, target: &ProbeTarget) -> Result<(), ProbeError>;
}

/// Whom to probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProbeTarget {
    /// The node.
    pub node: NodeId,
    /// Where it can be reached, for probes that connect.
    #[serde(default)]
    pub address: Option<Address>,
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProbeError {
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
    #[error("it answered with status {0}")]
    BadStatus(u16),
    /// The probe needs an address, and the node has none.
    #[error("the node has no address")]
    NoAddress,
    /// Anything else; [`ProbeError::other`] bounds the text.
    #[error("{0}")]
    Other(String),
}

impl ProbeError {
    /// The longest text of [`ProbeError::Other`], in characters.
    pub const MAX_TEXT: usize = 256;

    /// Another reason, cut to [`ProbeError::MAX_TEXT`]: it may come from whoever was probed.
    #[must_use]
    pub fn other(text: impl fmt::Display) -> Self {
        Self::Other(text.to_string().chars().take(Self::MAX_TEXT).collect())
    }

    /// Its kind, as a label of metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::BadStatus(_) => "bad_status",
            Self::NoAddress => "no_address",
            Self::Other(_) => "other",
        }
    }
}

impl From<ProbeError> for Error {
    fn from(error: ProbeError) -> Self {
        Self::new(ErrorKind::Unavailable, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_folds_into_unavailable_and_keeps_its_text() {
        let folded = Error::from(ProbeError::BadStatus(503));
        assert_eq!(folded.kind(), ErrorKind::Unavailable);
        assert_eq!(folded.to_string(), "it answered with status 503");
        assert_eq!(folded.downcast_ref(), Some(&ProbeError::BadStatus(503)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let ProbeError::Other(text) = ProbeError::other("é".repeat(1_000)) else { panic!() };
        assert_eq!(text.chars().count(), ProbeError::MAX_TEXT);
    }
}
