//! The process that all of this belongs to: its threads, and what must not be used after a fork.
//!
//! A fork copies memory and no threads: whoever holds a fog in the child would wait for ever, and
//! locks may have been copied while they were held. So what belongs to a process says so
//! ([`OfProcess`]): in the child it can neither be used nor, because that could wait as well, be
//! dropped. The child opens a fog of its own.

use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use fogcore::{Error, ErrorKind};
use pyo3::pyfunction;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::Fault;

/// None of the threads ever blocks: SQLite has its own.
const THREADS: usize = 2;

/// See [`forks`].
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The threads of the process after so many forks. It lives as long as the process does.
static RUNTIME: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);

/// Tells that this process is a child that was just forked.
#[pyfunction]
pub(crate) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between the process that loaded this library and this one.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// The threads that all calls run on.
pub(crate) fn threads() -> Result<Handle, Fault> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match *runtime {
        Some((at, runtime)) if at == forks() => Ok(runtime.handle().clone()),
        _ => {
            let builder = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("fogcore")
                .enable_all()
                .build();
            let new = builder.map_err(|error| Error::new(ErrorKind::Unavailable, error))?;
            let new: &'static Runtime = Box::leak(Box::new(new));
            *runtime = Some((forks(), new));
            Ok(new.handle().clone())
        }
    }
}

/// Something that only the process may touch that made it.
#[derive(Debug)]
pub(crate) struct OfProcess<T> {
    /// There until it is dropped.
    value: Option<T>,
    made_after: u32,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), made_after: forks() }
    }

    fn is_ours(&self) -> bool {
        self.made_after == forks()
    }

    /// The thing, in the process that made it.
    #[inline]
    pub(crate) fn get(&self) -> Result<&T, Fault> {
        self.value.as_ref().filter(|_| self.is_ours()).ok_or_else(|| {
            let why = "this belongs to the process before the fork: open a fog after forking";
            Error::new(ErrorKind::Unavailable, why).into()
        })
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if !self.is_ours() {
            mem::forget(self.value.take());
        }
    }
}
