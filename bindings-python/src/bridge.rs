//! How answers come to Python: into a queue that the event loop empties.
//!
//! No thread of this library ever takes the interpreter's lock. What it has to say it puts into the
//! queue of the event loop that asked, and writes a byte into a socket that the loop watches; the loop
//! takes everything there is in one go. So nothing waits for the interpreter, many answers cost one
//! wake-up, and an interpreter that is going away is never called.

use std::collections::HashMap;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fogcore::{Error, ErrorKind};
use futures::FutureExt;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Fault;
use crate::log;
use crate::process::{OfProcess, threads};

/// Makes a Python object of an answer; called by the event loop's thread.
pub(crate) type Render =
    Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>> + Send>;

/// A [`Render`] from a closure, whose lifetimes the compiler would not guess.
pub(crate) fn rendering(
    render: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>> + Send + 'static,
) -> Render {
    Box::new(render)
}

/// What a call gave.
pub(crate) type Answer = Result<Render, Fault>;

/// What waits for an event loop.
#[derive(Default)]
struct Ready {
    answers: Vec<(u64, Answer)>,
    /// How many of them are records for the log.
    records: usize,
    closed: bool,
}

/// So many records wait for a loop that is busy; what comes then is dropped.
const MOST_RECORDS: usize = 1_000;

/// The way to one event loop.
pub(crate) struct Queue {
    ready: Mutex<Ready>,
    waker: UnixStream,
    last: AtomicU64,
    /// Calls that end when nobody waits for them any more.
    waiting: Mutex<HashMap<u64, AbortHandle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// A number that no other call to this loop has.
    pub(crate) fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Gives the loop an answer; false if it is gone.
    pub(crate) fn push(&self, number: u64, answer: Answer) -> bool {
        let mut ready = lock(&self.ready);
        if ready.closed {
            return false;
        }
        let sleeps = ready.answers.is_empty();
        ready.answers.push((number, answer));
        if sleeps {
            // A full socket wakes the loop as well. Within the lock, because the other end is closed
            // only after `closed` was set.
            let _ = (&self.waker).write(&[0]);
        }
        true
    }

    /// Takes no more, and ends what only waits.
    fn close(&self) {
        let answers = {
            let mut ready = lock(&self.ready);
            ready.closed = true;
            std::mem::take(&mut ready.answers)
        };
        // An answer may have a queue's job in it, which looks at the queue when it is dropped.
        drop(answers);
        for (_, call) in lock(&self.waiting).drain() {
            call.abort();
        }
    }

    /// Gives the loop a record for the log, unless too many wait already.
    pub(crate) fn push_record(&self, record: Render) {
        {
            let mut ready = lock(&self.ready);
            if ready.records >= MOST_RECORDS {
                return;
            }
            ready.records += 1;
        }
        self.push(log::RECORDS, Ok(record));
    }
}

/// An event loop's end of the queue.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Bridge {
    queue: OfProcess<Arc<Queue>>,
    socket: UnixStream,
}

#[pymethods]
impl Bridge {
    #[new]
    fn new() -> PyResult<Self> {
        let (socket, waker) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let queue = Queue {
            ready: Mutex::default(),
            waker,
            last: AtomicU64::new(0),
            waiting: Mutex::default(),
        };
        let queue = Arc::new(queue);
        log::add(&queue);
        Ok(Self { queue: OfProcess::new(queue), socket })
    }

    /// The socket to watch.
    fn fileno(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// All answers that are there: number, whether it is one, and the answer or the exception.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let queue = self.queue.get()?;
        let mut bytes = [0; 64];
        // First the bytes: what is put in from now on writes another one.
        while matches!((&self.socket).read(&mut bytes), Ok(read) if read > 0) {}
        let answers = {
            let mut ready = lock(&queue.ready);
            ready.records = 0;
            std::mem::take(&mut ready.answers)
        };
        let all = PyList::empty(py);
        for (number, answer) in answers {
            lock(&queue.waiting).remove(&number);
            let made = answer.map_err(PyErr::from).and_then(|render| render(py));
            let (good, value) = match made {
                Ok(value) => (true, value),
                Err(error) => (false, error.into_value(py).into_bound(py).into_any()),
            };
            all.append(PyTuple::new(
                py,
                [
                    number.into_pyobject(py)?.into_any(),
                    good.into_pyobject(py)?.to_owned().into_any(),
                    value,
                ],
            )?)?;
        }
        Ok(all)
    }

    /// Nobody waits for this call any more. If it only waits itself, it ends; else it goes on.
    fn give_up(&self, number: u64) -> PyResult<()> {
        if let Some(call) = lock(&self.queue.get()?.waiting).remove(&number) {
            call.abort();
        }
        Ok(())
    }

    /// The loop is gone: whoever has something to say to it is told so.
    fn close(&self) -> PyResult<()> {
        self.queue.get()?.close();
        Ok(())
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // Of another process, it is left alone.
        if let Ok(queue) = self.queue.get() {
            queue.close();
        }
    }
}

impl Bridge {
    pub(crate) fn queue(&self) -> Result<&Arc<Queue>, Fault> {
        self.queue.get()
    }
}

/// The calls of one fog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    running: TaskTracker,
    stopping: CancellationToken,
}

impl Calls {
    /// Does work to its end, whether anybody waits for that or not: what changes something must not
    /// be torn in two. The answer comes under the number that is returned.
    pub(crate) fn finish<T, E>(
        &self,
        bridge: &Bridge,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
        render: impl FnOnce(T) -> Answer + Send + 'static,
    ) -> Result<u64, Fault>
    where
        T: Send + 'static,
        E: Into<Fault> + Send + 'static,
    {
        let queue = Arc::clone(bridge.queue()?);
        let number = queue.number();
        let work = async move {
            let answer = caught(work, render).await;
            // Nobody may be there to hear it.
            queue.push(number, answer);
        };
        self.running.spawn_on(work, &threads()?);
        Ok(number)
    }

    /// Waits for something as long as the caller does and the fog is there.
    pub(crate) fn wait<T, E>(
        &self,
        bridge: &Bridge,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
        render: impl FnOnce(T) -> Answer + Send + 'static,
    ) -> Result<u64, Fault>
    where
        T: Send + 'static,
        E: Into<Fault> + Send + 'static,
    {
        self.wait_or(bridge, work, render, || Err(Fault::shut_down()))
    }

    /// As [`Calls::wait`], with an answer for whoever waits while the fog is closed.
    pub(crate) fn wait_or<T, E>(
        &self,
        bridge: &Bridge,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
        render: impl FnOnce(T) -> Answer + Send + 'static,
        closed: impl FnOnce() -> Answer + Send + 'static,
    ) -> Result<u64, Fault>
    where
        T: Send + 'static,
        E: Into<Fault> + Send + 'static,
    {
        let queue = Arc::clone(bridge.queue()?);
        let number = queue.number();
        let (stopping, answers) = (self.stopping.clone(), Arc::clone(&queue));
        let work = async move {
            let answer = tokio::select! {
                answer = caught(work, render) => answer,
                () = stopping.cancelled() => closed(),
            };
            answers.push(number, answer);
        };
        // Held until the call is known: it may have ended by the time it is.
        let mut waiting = lock(&queue.waiting);
        let call = self.running.spawn_on(work, &threads()?);
        waiting.insert(number, call.abort_handle());
        Ok(number)
    }

    /// Gives up what only waits, and returns when everything else is done.
    pub(crate) async fn end(&self) {
        self.stopping.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

async fn caught<T, E: Into<Fault>>(
    work: impl Future<Output = Result<T, E>>,
    render: impl FnOnce(T) -> Answer,
) -> Answer {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(answer) => answer.map_err(Into::into).and_then(render),
        Err(_) => Err(Error::new(
            ErrorKind::Internal,
            "the call panicked; its thread told more on the standard error",
        )
        .into()),
    }
}
