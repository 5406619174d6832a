//! Which node serves a request, asked from the other side.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use fogcore::balancer::{
    self, Affinity, BalancerPolicy, Dice, Key, Request, RequestKind, StrategyKind,
};
use fogcore::failover::{Absence, FailureKind};
use fogcore::id::NodeId;
use fogcore::time::Clock;

use crate::error::FogError;
use crate::fog::Fog;
use crate::handles::Counted;
use crate::values::Span;

/// How a balancer behaves; what is left out is as by default.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct BalancerOptions {
    /// How it chooses. Default: by all that is measured.
    #[uniffi(default)]
    pub strategy: Option<StrategyKind>,
    /// Keys of the labels by which requests may ask for a part of the nodes, at most 16.
    #[uniffi(default)]
    pub subset_keys: Vec<String>,
    /// Names of the request classes beside the general one, at most 15.
    #[uniffi(default)]
    pub classes: Vec<String>,
    /// For how long the share of a new or recovered node grows. Default 10 s.
    #[uniffi(default)]
    pub slow_start: Option<Span>,
}

/// A request to be given a node; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct PickRequest {
    /// What it mostly needs.
    #[uniffi(default)]
    pub kind: Option<RequestKind>,
    /// The class that it belongs to.
    #[uniffi(default)]
    pub request_class: Option<String>,
    /// The region where nodes are preferred.
    #[uniffi(default)]
    pub region: Option<String>,
    /// The key of the label that nodes must have; one of the balancer's `subset_keys`.
    #[uniffi(default)]
    pub label: Option<String>,
    /// The value of that label.
    #[uniffi(default)]
    pub label_value: Option<String>,
    /// What consistent hashing goes by: a user, a document.
    #[uniffi(default)]
    pub key: Option<String>,
    /// The node that served the session before, which is kept as long as it takes work.
    #[uniffi(default)]
    pub stay_with: Option<NodeId>,
    /// Nodes that were tried already.
    #[uniffi(default)]
    pub except: Vec<NodeId>,
}

/// A node that was picked, and leave to send it one request.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Picked {
    /// The node.
    pub node: NodeId,
    /// To be told how the request went.
    pub permit: Arc<Permit>,
}

/// How a request failed.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum CallFailure {
    /// The node answered that it failed, or with what makes no sense.
    Error,
    /// It did not answer in time.
    Timeout,
    /// No connection came about, or it broke.
    Unreachable,
    /// It has too much to do.
    Overloaded {
        /// After how long it wants to be asked again, if it told.
        retry_after: Option<Span>,
    },
    /// The memory, of the node or its GPU, was too small.
    OutOfMemory,
    /// The request is at fault: every node would refuse it.
    Rejected,
    /// The node is away, as was to be expected of it.
    Absent {
        /// Why.
        reason: Absence,
    },
}

impl From<CallFailure> for FailureKind {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Error => Self::Error,
            CallFailure::Timeout => Self::Timeout,
            CallFailure::Unreachable => Self::Unreachable,
            CallFailure::Overloaded { retry_after } => {
                Self::Overloaded { retry_after: retry_after.map(|span| span.0) }
            }
            CallFailure::OutOfMemory => Self::OutOfMemory,
            CallFailure::Rejected => Self::Rejected,
            CallFailure::Absent { reason } => Self::Absent(reason),
        }
    }
}

/// Picks nodes of a fog, and learns from how requests went.
#[derive(uniffi::Object)]
pub struct Balancer {
    balancer: Arc<balancer::Balancer>,
    clock: Arc<dyn Clock>,
    dice: Mutex<Dice>,
    _counted: Counted,
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer").field("nodes", &self.balancer.len()).finish_non_exhaustive()
    }
}

impl Balancer {
    fn request(&self, asked: PickRequest) -> Result<Request, FogError> {
        let class = asked.request_class.map(|name| self.balancer.class(&name)).transpose()?;
        let label = asked.label.as_deref().zip(asked.label_value.as_deref());
        let request = Request::new().of_kind(asked.kind.unwrap_or_default());
        let plain = class.is_none() && asked.region.is_none() && label.is_none();
        let request = if plain {
            request
        } else {
            let class = class.unwrap_or_default();
            request.within(self.balancer.scope(class, asked.region.as_deref(), label)?)
        };
        let affinity = asked.stay_with.map_or(Affinity::None, Affinity::Node);
        let key = asked.key.map(Key::of);
        Ok(Request { key, affinity, except: asked.except, ..request })
    }
}

#[uniffi::export]
impl Balancer {
    /// Picks a node.
    ///
    /// # Errors
    /// Unavailable if none takes the request, with the time after which one may; NotFound for a
    /// class and InvalidInput for a label that the balancer does not know.
    pub fn pick(&self, request: PickRequest) -> Result<Picked, FogError> {
        let request = self.request(request)?;
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let permit = self
            .balancer
            .pick_owned(&request, self.clock.elapsed(), &mut dice)
            .map_err(fogcore::Error::from)?;
        let gone = || FogError::unavailable("the node that was picked has just left");
        let node = permit.node().ok_or_else(gone)?;
        let permit = Mutex::new(Some(permit));
        Ok(Picked { node, permit: Arc::new(Permit { permit, _counted: Counted::new() }) })
    }

    /// How many nodes it knows.
    pub fn size(&self) -> u64 {
        u64::try_from(self.balancer.len()).unwrap_or(u64::MAX)
    }
}

/// Leave to send a node one request. Given back without a word, the request was given up, which
/// says nothing about the node; a second word changes nothing.
#[derive(Debug, uniffi::Object)]
pub struct Permit {
    permit: Mutex<Option<balancer::Permit<Arc<balancer::Balancer>>>>,
    _counted: Counted,
}

impl Permit {
    fn take(&self) -> Option<balancer::Permit<Arc<balancer::Balancer>>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[uniffi::export]
impl Permit {
    /// The request succeeded, after `latency`.
    pub fn success(&self, latency: Span) {
        if let Some(permit) = self.take() {
            permit.success(latency.0);
        }
    }

    /// The request failed, after `latency`.
    pub fn failure(&self, kind: CallFailure, latency: Span) {
        if let Some(permit) = self.take() {
            permit.failure(kind.into(), latency.0);
        }
    }
}

#[uniffi::export]
impl Fog {
    /// A balancer over this fog's nodes, which follows them as long as it is there.
    ///
    /// # Errors
    /// InvalidInput for options that make no sense; else what the store says.
    pub async fn balancer(&self, options: BalancerOptions) -> Result<Arc<Balancer>, FogError> {
        let fog = self.core()?;
        let usual = BalancerPolicy::default();
        let policy = BalancerPolicy {
            subset_keys: options.subset_keys,
            classes: options.classes,
            slow_start: options.slow_start.map_or(usual.slow_start, |span| span.0),
            ..usual
        };
        let strategy = options.strategy.unwrap_or_default();
        let open = async move {
            let clock = Arc::clone(fog.clock());
            let seed = u64::from_le_bytes(fog.clock().now().as_micros().to_le_bytes());
            let balancer = fog.balancer(policy, strategy).await?;
            let dice = Mutex::new(Dice::seeded(seed));
            Ok::<_, FogError>(Arc::new(Balancer {
                balancer,
                clock,
                dice,
                _counted: Counted::new(),
            }))
        };
        self.calls.finish(open).await
    }
}
