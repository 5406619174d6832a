//! More nodes, or fewer: the port through which an app is asked.

use std::fmt;

use async_trait::async_trait;
use fogcore::balancer::autoscaler;
use fogcore::balancer::{ScaleHook, ScalePolicy};
use fogcore::id::NodeId;
use fogcore::{Error, ErrorKind};

use crate::values::Span;

/// How many nodes there should be; what is left out is as by default.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct ScaleOptions {
    /// The fewest.
    #[uniffi(default)]
    pub min: Option<u32>,
    /// The most.
    #[uniffi(default)]
    pub max: Option<u32>,
    /// A mean load above this asks for more, 0–1.
    #[uniffi(default)]
    pub up_above: Option<f64>,
    /// A mean load below this gives some back, 0–1.
    #[uniffi(default)]
    pub down_below: Option<f64>,
    /// Time between two checks.
    #[uniffi(default)]
    pub check_every: Option<Span>,
}

impl From<ScaleOptions> for ScalePolicy {
    fn from(options: ScaleOptions) -> Self {
        let usual = Self::default();
        Self {
            min: options.min.unwrap_or(usual.min),
            max: options.max.unwrap_or(usual.max),
            up_above: options.up_above.unwrap_or(usual.up_above),
            down_below: options.down_below.unwrap_or(usual.down_below),
            check_every: options.check_every.map_or(usual.check_every, |span| span.0),
            ..usual
        }
    }
}

/// What a hook is asked.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ScaleRequest {
    /// Grows with each new request; the same one is sent again when its answer was lost.
    pub id: u64,
    /// So many nodes are there or on their way.
    pub from: u32,
    /// So many there should be.
    pub to: u32,
    /// Why, for people.
    pub reason: String,
    /// The mean load, 0–1, if it is known.
    pub load: Option<f64>,
    /// The nodes to give back, least busy first.
    pub remove: Vec<NodeId>,
}

/// What a hook answers.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum ScaleAnswer {
    /// It is done as far as it can be.
    Accepted {
        /// So many nodes are coming, or going.
        on_its_way: u32,
    },
    /// It is not done, and nothing has changed.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// Why nobody knows whether anything was done.
#[derive(Clone, Debug, PartialEq, thiserror::Error, uniffi::Error)]
pub enum ScaleError {
    /// The hook failed; it is asked again after the next check.
    #[error("{reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for ScaleError {
    fn from(thrown: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed { reason: thrown.reason }
    }
}

/// Makes nodes come and go. Implemented by the app.
#[uniffi::export(callback_interface)]
#[async_trait]
pub trait ForeignScaleHook: Send + Sync {
    /// Asks for another number of nodes. It should answer when the request is taken, not when the
    /// nodes are there.
    ///
    /// # Errors
    /// Whatever kept it from taking the request.
    async fn scale(&self, request: ScaleRequest) -> Result<ScaleAnswer, ScaleError>;
}

/// The other side's hook, as the core sees it.
pub(crate) struct ForeignHook(pub(crate) Box<dyn ForeignScaleHook>);

impl fmt::Debug for ForeignHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignHook")
    }
}

#[async_trait]
impl ScaleHook for ForeignHook {
    async fn scale(
        &self,
        request: &autoscaler::ScaleRequest,
    ) -> fogcore::Result<autoscaler::ScaleAnswer> {
        let request = ScaleRequest {
            id: request.id,
            from: request.from,
            to: request.to,
            reason: request.reason.to_string(),
            load: request.load,
            remove: request.remove.clone(),
        };
        match self.0.scale(request).await {
            Ok(ScaleAnswer::Accepted { on_its_way }) => {
                Ok(autoscaler::ScaleAnswer::Accepted { on_its_way })
            }
            Ok(ScaleAnswer::Refused { reason }) => Ok(autoscaler::ScaleAnswer::Refused { reason }),
            Err(error) => Err(Error::new(ErrorKind::Unavailable, error)),
        }
    }
}
