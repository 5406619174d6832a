//! The handle on a fog: opened, asked, closed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fogcore::FogConfig;
use fogcore::id::{NodeId, TaskId};
use fogcore::registry::{Beat, Heartbeat, Ineligible, Liveness, Node, NodeFilter, NodeRecord};
use fogcore::scheduler::{TaskFilter, TaskSpec};
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde::Serialize;

use crate::balancer::{self, Balancer};
use crate::bridge::{Bridge, Calls};
use crate::error::Fault;
use crate::events::Events;
use crate::json::{
    Item, limit, name, parse, parse_all, read, read_settings, render, render_bool, render_bytes,
    render_nothing, render_object, text,
};
use crate::money;
use crate::process::OfProcess;
use crate::worker::{self, Worker};

/// A fog of this process, and the calls that are being made to it.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Fog {
    /// None once it was closed: whoever still asks is told so, and the store is let go.
    fog: OfProcess<Mutex<Option<fogcore::Fog>>>,
    calls: OfProcess<Calls>,
}

/// A node with what is known of it.
#[derive(Serialize)]
struct NodeStatus {
    #[serde(flatten)]
    record: NodeRecord,
    liveness: Liveness,
    ineligible: Option<Ineligible>,
    quality: f64,
}

impl NodeStatus {
    fn of(fog: &fogcore::Fog, record: NodeRecord) -> Self {
        let (config, now) = (fog.config(), fog.clock().now());
        Self {
            liveness: record.liveness(now, config.liveness),
            ineligible: record.eligibility(now, &config.power).err(),
            quality: record.quality(),
            record,
        }
    }
}

impl Fog {
    fn lock(&self) -> Result<MutexGuard<'_, Option<fogcore::Fog>>, Fault> {
        Ok(self.fog.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The core's handle.
    pub(crate) fn core(&self) -> Result<fogcore::Fog, Fault> {
        self.lock()?.clone().ok_or_else(Fault::shut_down)
    }

    pub(crate) fn calls(&self) -> Result<&Calls, Fault> {
        self.calls.get()
    }
}

/// Opens the fog on the store that `url` names, with settings in JSON.
#[pyfunction]
#[pyo3(signature = (bridge, url, settings, seed=None))]
pub(crate) fn open(
    bridge: &Bridge,
    url: &str,
    settings: &str,
    seed: Option<u64>,
) -> Result<u64, Fault> {
    let config: FogConfig = read_settings(settings)?;
    let mut builder = fogcore::Fog::builder().url(url).config(config);
    if let Some(seed) = seed {
        builder = builder.seed(seed);
    }
    let calls = Calls::default();
    let of_fog = calls.clone();
    calls.finish(bridge, builder.open(), move |fog| {
        let fog = Mutex::new(Some(fog));
        render_object(Fog { fog: OfProcess::new(fog), calls: OfProcess::new(of_fog) })
    })
}

#[pymethods]
impl Fog {
    /// Stops: workers take no more tasks, what runs has its grace to end, the rest is given back, and
    /// the store is let go. Again, it does nothing.
    fn close(&self, bridge: &Bridge) -> Result<u64, Fault> {
        let fog = self.lock()?.take();
        let calls = self.calls()?.clone();
        let all = async move {
            if let Some(fog) = fog {
                fog.shutdown().await;
                calls.end().await;
            }
            Ok::<(), Fault>(())
        };
        // Among calls of its own: it waits for all of the fog's.
        Calls::default().finish(bridge, all, render_nothing)
    }

    /// The settings, as they are.
    fn settings<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyString>, Fault> {
        Ok(PyString::new(py, &text(self.core()?.config())?))
    }

    /// The time of the fog's clock, in microseconds since 1970.
    fn now(&self) -> Result<i64, Fault> {
        Ok(self.core()?.clock().now().as_micros())
    }

    fn register(&self, bridge: &Bridge, node: &str) -> Result<u64, Fault> {
        let (fog, node) = (self.core()?, read::<Node>(node)?);
        let register = async move {
            let record = fog.register(node).await?;
            Ok::<_, Fault>(NodeStatus::of(&fog, record))
        };
        self.calls()?.finish(bridge, register, render)
    }

    fn beat(&self, bridge: &Bridge, node: &str, heartbeat: &str) -> Result<u64, Fault> {
        let (fog, node) = (self.core()?, parse::<NodeId>(node)?);
        let heartbeat: Heartbeat = read(heartbeat)?;
        let beat = async move {
            let (Beat::Accepted(record) | Beat::Stale(record)) = fog.beat(&node, heartbeat).await?;
            Ok::<_, Fault>(NodeStatus::of(&fog, record))
        };
        self.calls()?.finish(bridge, beat, render)
    }

    fn node(&self, bridge: &Bridge, node: &str) -> Result<u64, Fault> {
        let (fog, node) = (self.core()?, parse::<NodeId>(node)?);
        let look = async move {
            let found = fog.node(&node).await?;
            Ok::<_, Fault>(found.map(|record| NodeStatus::of(&fog, record)))
        };
        self.calls()?.wait(bridge, look, render)
    }

    fn nodes(
        &self,
        bridge: &Bridge,
        filter: &str,
        after: Option<&str>,
        count: u32,
    ) -> Result<u64, Fault> {
        let (fog, filter) = (self.core()?, read::<NodeFilter>(filter)?);
        let after = after.map(parse::<NodeId>).transpose()?;
        let look = async move {
            let found = fog.nodes(&filter, after.as_ref(), limit(count)).await?;
            let found = found.into_iter().map(|record| NodeStatus::of(&fog, record));
            Ok::<_, Fault>(found.collect::<Vec<_>>())
        };
        self.calls()?.wait(bridge, look, render)
    }

    fn remove_node(&self, bridge: &Bridge, node: &str) -> Result<u64, Fault> {
        let (fog, node) = (self.core()?, parse::<NodeId>(node)?);
        self.calls()?.finish(bridge, async move { fog.remove_node(&node).await }, render_bool)
    }

    /// Registers the node and begins to serve tasks of these kinds. Under `subscription`, a number
    /// of the loop's own, the loop is given jobs, and the numbers of jobs that are called off.
    fn serve(&self, bridge: &Bridge, node: &str, kinds: Vec<String>) -> Result<(u64, u64), Fault> {
        let (fog, node, kinds) = (self.core()?, read::<Node>(node)?, parse_all(kinds)?);
        let queue = bridge.queue()?;
        let subscription = queue.number();
        let start = worker::start(fog, node, kinds, std::sync::Arc::clone(queue), subscription);
        let calls = self.calls()?.clone();
        let made = |started| render_object(Worker::new(started, calls));
        let call = self.calls()?.finish(bridge, start, made)?;
        Ok((call, subscription))
    }

    fn submit(&self, bridge: &Bridge, spec: &str, payload: Vec<u8>) -> Result<u64, Fault> {
        let (fog, spec) = (self.core()?, read::<TaskSpec>(spec)?);
        self.calls()?.finish(bridge, async move { fog.submit(spec, payload).await }, render)
    }

    /// Each answer on its own: a task or why it was not taken in.
    fn submit_all(&self, bridge: &Bridge, all: Vec<(String, Vec<u8>)>) -> Result<u64, Fault> {
        let fog = self.core()?;
        let all = all.into_iter().enumerate().map(|(place, (spec, payload))| {
            let spec = read::<TaskSpec>(&spec).map_err(|fault| fault.of_item("submissions", place));
            Ok((spec?, payload.into()))
        });
        let all = all.collect::<Result<Vec<_>, Fault>>()?;
        let submit = async move {
            let answers = fog.submit_all(all).await?.into_iter();
            let answers = answers.map(|answer| Item::of(answer.map(|submitted| submitted.task)));
            Ok::<_, Fault>(answers.collect::<Vec<_>>())
        };
        self.calls()?.finish(bridge, submit, render)
    }

    fn task(&self, bridge: &Bridge, task: &str) -> Result<u64, Fault> {
        let (fog, task) = (self.core()?, parse::<TaskId>(task)?);
        self.calls()?.wait(bridge, async move { fog.task(task).await }, render)
    }

    fn tasks(
        &self,
        bridge: &Bridge,
        filter: &str,
        after: Option<&str>,
        count: u32,
    ) -> Result<u64, Fault> {
        let (fog, filter) = (self.core()?, read::<TaskFilter>(filter)?);
        let after = after.map(parse::<TaskId>).transpose()?;
        let look = async move { fog.tasks(&filter, after, limit(count)).await };
        self.calls()?.wait(bridge, look, render)
    }

    fn task_counts(&self, bridge: &Bridge) -> Result<u64, Fault> {
        let fog = self.core()?;
        self.calls()?.wait(bridge, async move { fog.counts().await }, render)
    }

    /// Waits until the task's state is final, wherever it is executed.
    fn wait(&self, bridge: &Bridge, task: &str) -> Result<u64, Fault> {
        let (fog, task) = (self.core()?, parse::<TaskId>(task)?);
        self.calls()?.wait(bridge, async move { fog.wait(task).await }, render)
    }

    fn result(&self, bridge: &Bridge, task: &str) -> Result<u64, Fault> {
        let (fog, task) = (self.core()?, parse::<TaskId>(task)?);
        self.calls()?.wait(bridge, async move { fog.result(task).await }, render_bytes)
    }

    fn cancel(&self, bridge: &Bridge, task: &str) -> Result<u64, Fault> {
        let (fog, task) = (self.core()?, parse::<TaskId>(task)?);
        self.calls()?.finish(bridge, async move { fog.cancel(task).await }, render)
    }

    fn resume(&self, bridge: &Bridge, task: &str) -> Result<u64, Fault> {
        let (fog, task) = (self.core()?, parse::<TaskId>(task)?);
        self.calls()?.finish(bridge, async move { fog.resume(task).await }, render)
    }

    /// Why the latest lease went where it went: the explanation and its text.
    fn explanation(&self, bridge: &Bridge, task: &str) -> Result<u64, Fault> {
        let (fog, task) = (self.core()?, parse::<TaskId>(task)?);
        let look = async move {
            let found = fog.explanation(task).await?;
            Ok::<_, Fault>(found.map(|found| (found.to_string(), found)))
        };
        self.calls()?.wait(bridge, look, render)
    }

    /// Where a task like this one would go: the explanation and its text.
    fn explain(&self, bridge: &Bridge, spec: &str, top: u32) -> Result<u64, Fault> {
        let (fog, spec) = (self.core()?, read::<TaskSpec>(spec)?);
        let look = async move {
            let found = fog.explain(&spec, limit(top)).await?;
            Ok::<_, Fault>((found.to_string(), found))
        };
        self.calls()?.wait(bridge, look, render)
    }

    fn log(&self, bridge: &Bridge, task: &str, after: u64, count: u32) -> Result<u64, Fault> {
        let (fog, task) = (self.core()?, parse::<TaskId>(task)?);
        self.calls()?.wait(bridge, async move { fog.log(task, after, limit(count)).await }, render)
    }

    fn balancer(&self, bridge: &Bridge, settings: &str, strategy: &str) -> Result<u64, Fault> {
        let fog = self.core()?;
        let (policy, strategy) = (read_settings(settings)?, name("strategy", strategy)?);
        let open = balancer::open(fog, policy, strategy);
        self.calls()?.finish(bridge, open, render_object::<Balancer>)
    }

    fn events(&self) -> Result<Events, Fault> {
        Ok(Events::new(self.core()?.subscribe(), self.calls()?.clone()))
    }

    /// An amount of the fog's asset, in base units, from its decimal text.
    fn base_units(&self, field: &str, amount: &str) -> Result<String, Fault> {
        let fog = self.core()?;
        Ok(money::read(&fog.config().asset, field, amount)?.to_string())
    }
}
