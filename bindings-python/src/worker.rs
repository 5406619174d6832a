//! Work that Python does: jobs go to the event loop, and come back as what they gave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use fogcore::id::{TaskId, TaskKind};
use fogcore::registry::{Heartbeat, Node};
use fogcore::scheduler::{self, Failure, Output};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::sync::oneshot;

use crate::bridge::{Bridge, Calls, Queue, rendering};
use crate::error::Fault;
use crate::json::{parse, read, render_bytes, render_nothing};
use crate::process::OfProcess;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Told = Result<Output, Failure>;

/// One attempt at a task, in the hands of the event loop.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Job {
    #[pyo3(get)]
    number: u64,
    job: OfProcess<scheduler::Job>,
    done: OfProcess<Mutex<Option<oneshot::Sender<Told>>>>,
    calls: Calls,
}

#[pymethods]
impl Job {
    #[getter]
    fn task(&self) -> Result<String, Fault> {
        Ok(self.job.get()?.task.to_string())
    }

    #[getter]
    fn kind(&self) -> Result<&str, Fault> {
        Ok(self.job.get()?.kind.as_str())
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>, Fault> {
        Ok(PyBytes::new(py, &self.job.get()?.payload))
    }

    #[getter]
    fn attempt(&self) -> Result<u32, Fault> {
        Ok(self.job.get()?.attempt)
    }

    #[getter]
    fn checkpoint<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyBytes>>, Fault> {
        Ok(self.job.get()?.checkpoint.as_ref().map(|bytes| PyBytes::new(py, bytes)))
    }

    #[getter]
    fn parents(&self) -> Result<Vec<String>, Fault> {
        Ok(self.job.get()?.parents.iter().map(ToString::to_string).collect())
    }

    #[getter]
    fn cancelled(&self) -> Result<bool, Fault> {
        Ok(self.job.get()?.cancelled.is_cancelled())
    }

    #[getter]
    fn throttled(&self) -> Result<bool, Fault> {
        Ok(self.job.get()?.is_throttled())
    }

    /// Until when it should have ended, in microseconds since 1970, if its node is wanted.
    #[getter]
    fn stop_by(&self) -> Result<Option<i64>, Fault> {
        Ok(self.job.get()?.stop_asked().map(|stop| stop.until.as_micros()))
    }

    fn report(&self, done: f64, note: &str) -> Result<(), Fault> {
        self.job.get()?.report(done, note);
        Ok(())
    }

    fn log(&self, line: String) -> Result<(), Fault> {
        self.job.get()?.log(line);
        Ok(())
    }

    fn save(&self, checkpoint: Vec<u8>) -> Result<(), Fault> {
        let saved = self.job.get()?.save(checkpoint);
        saved.map_err(|failure| Fault::invalid("checkpoint", &failure.reason))
    }

    fn result_of(&self, bridge: &Bridge, parent: &str) -> Result<u64, Fault> {
        let (job, parent) = (self.job.get()?.clone(), parse::<TaskId>(parent)?);
        self.calls.wait(bridge, async move { job.result_of(parent).await }, render_bytes)
    }

    /// It gave this. A second word, here or of a failure, changes nothing.
    #[pyo3(signature = (result, bytes_moved=None, score=None))]
    fn succeed(
        &self,
        result: Vec<u8>,
        bytes_moved: Option<u64>,
        score: Option<i64>,
    ) -> Result<(), Fault> {
        self.tell(Ok(Output { result: result.into(), bytes_moved, score }))
    }

    /// It goes back into the queue, and the attempt does not count: this is no failure of its own.
    fn give_back(&self, reason: String) -> Result<(), Fault> {
        self.job.get()?.give_back();
        self.tell(Err(Failure::transient(reason)))
    }

    /// It failed; if `permanent`, every attempt would.
    fn fail(&self, reason: String, permanent: bool) -> Result<(), Fault> {
        self.tell(Err(Failure { reason, permanent }))
    }
}

impl Job {
    fn tell(&self, told: Told) -> Result<(), Fault> {
        if let Some(done) = lock(self.done.get()?).take() {
            // Nobody hears it if the job was called off meanwhile.
            let _ = done.send(told);
        }
        Ok(())
    }
}

/// The worker, until somebody stops it.
type Running = Mutex<Option<fogcore::fog::Worker>>;

/// The executor that asks the event loop.
struct Loop {
    queue: Arc<Queue>,
    subscription: u64,
    /// Stopped, if the loop goes away without a word.
    worker: Weak<Running>,
}

impl Loop {
    /// Nobody does the job here any more, nor any other.
    fn gone(&self, job: &scheduler::Job) -> Failure {
        job.give_back();
        if let Some(worker) = self.worker.upgrade() {
            drop(lock(&worker).take());
        }
        Failure::transient("the event loop that served it was closed")
    }
}

/// Tells the loop that a job is called off, unless it ended.
struct CalledOff<'l> {
    of: &'l Loop,
    number: u64,
    ended: bool,
}

impl Drop for CalledOff<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let number = self.number;
            let told = rendering(move |py| Ok(number.into_pyobject(py)?.into_any()));
            self.of.queue.push(self.of.subscription, Ok(told));
        }
    }
}

#[async_trait]
impl scheduler::Executor for Loop {
    async fn execute(&self, job: scheduler::Job) -> Result<Output, Failure> {
        let number = self.queue.number();
        let (done, told) = oneshot::channel();
        let given = Job {
            number,
            job: OfProcess::new(job.clone()),
            done: OfProcess::new(Mutex::new(Some(done))),
            calls: Calls::default(),
        };
        let given = rendering(move |py| Ok(Bound::new(py, given)?.into_any()));
        if !self.queue.push(self.subscription, Ok(given)) {
            return Err(self.gone(&job));
        }
        let mut guard = CalledOff { of: self, number, ended: false };
        let told = told.await;
        guard.ended = true;
        told.unwrap_or_else(|_| Err(self.gone(&job)))
    }
}

pub(crate) type Vitals = Arc<Mutex<Heartbeat>>;

/// A worker that runs, and how its node is.
pub(crate) struct Started {
    worker: Arc<Running>,
    vitals: Vitals,
}

pub(crate) async fn start(
    fog: fogcore::Fog,
    node: Node,
    kinds: Vec<TaskKind>,
    queue: Arc<Queue>,
    subscription: u64,
) -> Result<Started, Fault> {
    let worker = Arc::new(Running::default());
    let of_loop = Loop { queue, subscription, worker: Arc::downgrade(&worker) };
    let executor: Arc<dyn scheduler::Executor> = Arc::new(of_loop);
    let vitals = Vitals::default();
    let read = Arc::clone(&vitals);
    let mut builder = fog.worker(node).vitals(Arc::new(move || lock(&read).clone()));
    for kind in kinds {
        builder = builder.executor(kind, Arc::clone(&executor));
    }
    let started = builder.start().await?;
    *lock(&worker) = Some(started);
    Ok(Started { worker, vitals })
}

/// A node at work in this process. Given back without a stop, it stops as well, and nobody waits.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Worker {
    worker: OfProcess<Arc<Running>>,
    vitals: Vitals,
    calls: Calls,
}

impl Worker {
    pub(crate) fn new(started: Started, calls: Calls) -> Self {
        let Started { worker, vitals } = started;
        Self { worker: OfProcess::new(worker), vitals, calls }
    }
}

#[pymethods]
impl Worker {
    /// How the node is from now on.
    fn update(&self, heartbeat: &str) -> Result<(), Fault> {
        *lock(&self.vitals) = read(heartbeat)?;
        Ok(())
    }

    /// Takes no more tasks, lets what runs end in time, gives back the rest.
    fn stop(&self, bridge: &Bridge) -> Result<u64, Fault> {
        let worker = lock(self.worker.get()?).take();
        let stop = async move {
            if let Some(worker) = worker {
                worker.stop().await;
            }
            Ok::<(), Fault>(())
        };
        self.calls.finish(bridge, stop, render_nothing)
    }
}
