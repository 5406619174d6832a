//! Which node serves a request, and how it went.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fogcore::balancer::{
    self, Affinity, BalancerPolicy, Dice, Key, Request, RequestKind, StrategyKind,
};
use fogcore::failover::{Absence, FailureKind};
use fogcore::id::NodeId;
use fogcore::time::Clock;
use pyo3::exceptions::{PyConnectionError, PyException, PyMemoryError, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde_json::Value;

use crate::error::Fault;
use crate::json::{name, parse, parse_all, text};
use crate::process::OfProcess;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Picks nodes of a fog, and learns from how requests went.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Balancer {
    balancer: OfProcess<Arc<balancer::Balancer>>,
    clock: Arc<dyn Clock>,
    dice: Mutex<Dice>,
}

pub(crate) async fn open(
    fog: fogcore::Fog,
    policy: BalancerPolicy,
    strategy: StrategyKind,
) -> Result<Balancer, Fault> {
    let clock = Arc::clone(fog.clock());
    let seed = u64::from_le_bytes(fog.clock().now().as_micros().to_le_bytes());
    let balancer = fog.balancer(policy, strategy).await?;
    let dice = Mutex::new(Dice::seeded(seed));
    Ok(Balancer { balancer: OfProcess::new(balancer), clock, dice })
}

/// What a request says of itself, beside its place.
#[derive(FromPyObject)]
struct Asked {
    kind: Option<String>,
    request_class: Option<String>,
    region: Option<String>,
    label: Option<(String, String)>,
    key: Option<String>,
    stay_with: Option<String>,
    except_nodes: Vec<String>,
}

impl Balancer {
    fn request(&self, asked: Asked) -> Result<Request, Fault> {
        let balancer = self.balancer.get()?;
        let kind = asked.kind.map(|kind| name::<RequestKind>("kind", &kind)).transpose()?;
        let class = asked.request_class.map(|name| balancer.class(&name)).transpose()?;
        let label = asked.label.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
        let request = Request::new().of_kind(kind.unwrap_or_default());
        let plain = class.is_none() && asked.region.is_none() && label.is_none();
        let request = if plain {
            request
        } else {
            let scope =
                balancer.scope(class.unwrap_or_default(), asked.region.as_deref(), label)?;
            request.within(scope)
        };
        let affinity = asked.stay_with.map(|node| parse::<NodeId>(&node)).transpose()?;
        let affinity = affinity.map_or(Affinity::None, Affinity::Node);
        let except = parse_all(asked.except_nodes)?;
        Ok(Request { key: asked.key.map(Key::of), affinity, except, ..request })
    }

    fn picked(&self, request: &Request) -> Result<Pick, Fault> {
        let now = self.clock.elapsed();
        let permit = {
            let mut dice = lock(&self.dice);
            self.balancer.get()?.pick_owned(request, now, &mut dice)
        };
        let permit = permit.map_err(fogcore::Error::from)?;
        let node = permit.node().ok_or_else(|| {
            let why = "the node that was picked has just left";
            Fault::from(fogcore::Error::new(fogcore::ErrorKind::Unavailable, why))
        })?;
        let (permit, clock) = (OfProcess::new(Mutex::new(Some(permit))), Arc::clone(&self.clock));
        Ok(Pick { node, permit, clock, begun: now })
    }
}

#[pymethods]
impl Balancer {
    /// Picks a node for a request of which nothing is said.
    fn pick(&self) -> Result<Pick, Fault> {
        self.picked(&Request::new())
    }

    /// Picks a node for a request.
    fn pick_for(&self, asked: Asked) -> Result<Pick, Fault> {
        self.picked(&self.request(asked)?)
    }

    /// Why a request would be given to whom; nothing is sent, and nothing counted.
    fn explain<'py>(&self, py: Python<'py>, asked: Asked) -> Result<Bound<'py, PyString>, Fault> {
        let request = self.request(asked)?;
        let mut dice = lock(&self.dice).clone();
        let explained =
            self.balancer.get()?.pick_explained(&request, self.clock.elapsed(), &mut dice).1;
        Ok(PyString::new(py, &text(&explained)?))
    }

    fn __len__(&self) -> Result<usize, Fault> {
        Ok(self.balancer.get()?.len())
    }
}

/// Leave to send a node one request, and the clock that runs meanwhile. Given back without a word,
/// the request was given up, which says nothing about the node.
///
/// ```python
/// with balancer.pick() as picked:
///     print(picked.node)
/// ```
#[pyclass(frozen, module = "fogcore")]
pub(crate) struct Pick {
    node: NodeId,
    permit: OfProcess<Mutex<Option<balancer::Permit<Arc<balancer::Balancer>>>>>,
    clock: Arc<dyn Clock>,
    begun: Duration,
}

impl Pick {
    fn latency(&self, told: Option<f64>) -> Result<Duration, Fault> {
        match told {
            None => Ok(self.clock.elapsed().saturating_sub(self.begun)),
            Some(seconds) => Duration::try_from_secs_f64(seconds)
                .map_err(|_| Fault::invalid("latency", "must be zero seconds or more")),
        }
    }

    fn take(&self) -> Result<Option<balancer::Permit<Arc<balancer::Balancer>>>, Fault> {
        Ok(lock(self.permit.get()?).take())
    }

    fn fail(&self, kind: FailureKind, latency: Duration) -> Result<(), Fault> {
        if let Some(permit) = self.take()? {
            permit.failure(kind, latency);
        }
        Ok(())
    }
}

#[pymethods]
impl Pick {
    /// The node that was picked.
    #[getter]
    fn node(&self) -> &str {
        self.node.as_str()
    }

    /// The request succeeded, after `latency` seconds, or as long ago as the pick was made. Only the
    /// first word counts.
    ///
    /// ```python
    /// balancer.pick().success(latency=0.012)
    /// ```
    #[pyo3(signature = (latency=None))]
    fn success(&self, latency: Option<f64>) -> Result<(), Fault> {
        let latency = self.latency(latency)?;
        if let Some(permit) = self.take()? {
            permit.success(latency);
        }
        Ok(())
    }

    /// The request failed: "error", "timeout", "unreachable", "overloaded", "out_of_memory",
    /// "rejected" (every node would refuse it), or that the node is "asleep", "charging",
    /// "off_network" or "user_active".
    ///
    /// ```python
    /// balancer.pick().failure("overloaded", retry_after=5)
    /// ```
    #[pyo3(signature = (kind="error", latency=None, retry_after=None))]
    fn failure(
        &self,
        kind: &str,
        latency: Option<f64>,
        retry_after: Option<f64>,
    ) -> Result<(), Fault> {
        let latency = self.latency(latency)?;
        let retry_after = retry_after.map(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| Fault::invalid("retry_after", "must be zero seconds or more"))
        });
        let retry_after = retry_after.transpose()?;
        let kind = match kind {
            "overloaded" => FailureKind::Overloaded { retry_after },
            other => match serde_json::from_value::<Absence>(Value::from(other)) {
                Ok(absence) => FailureKind::Absent(absence),
                Err(_) => name("kind", other)?,
            },
        };
        self.fail(kind, latency)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Success, or the failure that the exception is; what is no `Exception` (a cancellation, an
    /// interrupt) says nothing about the node.
    fn __exit__(
        &self,
        _class: &Bound<'_, PyAny>,
        raised: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> Result<bool, Fault> {
        let latency = self.latency(None)?;
        if raised.is_none() {
            self.success(None)?;
        } else if raised.is_instance_of::<PyTimeoutError>() {
            self.fail(FailureKind::Timeout, latency)?;
        } else if raised.is_instance_of::<PyConnectionError>() {
            self.fail(FailureKind::Unreachable, latency)?;
        } else if raised.is_instance_of::<PyMemoryError>() {
            self.fail(FailureKind::OutOfMemory, latency)?;
        } else if raised.is_instance_of::<PyException>() {
            self.fail(FailureKind::Error, latency)?;
        } else {
            drop(self.take()?);
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        format!("<Pick of node {:?}>", self.node.as_str())
    }
}
