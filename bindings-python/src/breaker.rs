//! A circuit breaker for calls that Python makes by itself.

use std::sync::{Arc, Mutex, PoisonError};

use fogcore::failover::{self, BreakerPolicy};
use fogcore::time::{Clock, SystemClock};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::error::Fault;
use crate::json::{read_settings, text};
use crate::process::OfProcess;

/// A circuit breaker, and which exceptions say nothing against the service that is called.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Breaker {
    breaker: OfProcess<Arc<failover::Breaker>>,
    clock: SystemClock,
    /// Classes of exceptions that count as success: the service answered.
    exclude: Py<PyTuple>,
}

/// How a call went.
#[derive(Clone, Copy)]
enum Went {
    Well,
    Badly,
    /// It was called off, which says nothing.
    Nowhere,
}

impl Breaker {
    fn judge(&self, py: Python<'_>, raised: &Bound<'_, PyAny>) -> PyResult<Went> {
        let exclude = self.exclude.bind(py);
        Ok(if !raised.is_instance_of::<PyException>() {
            Went::Nowhere
        } else if !exclude.is_empty() && raised.is_instance(exclude)? {
            Went::Well
        } else {
            Went::Badly
        })
    }
}

#[pymethods]
impl Breaker {
    #[new]
    fn new(settings: &str, exclude: Py<PyTuple>) -> Result<Self, Fault> {
        let policy: BreakerPolicy = read_settings(settings)?;
        let breaker = Arc::new(failover::Breaker::new(policy)?);
        Ok(Self { breaker: OfProcess::new(breaker), clock: SystemClock::new(), exclude })
    }

    /// Calls the function, unless the breaker refuses.
    #[pyo3(signature = (function, /, *args, **kwargs))]
    fn call<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, PyAny>, Fault> {
        let breaker = self.breaker.get()?;
        let permit = breaker.acquire(self.clock.elapsed()).map_err(Fault::refused)?;
        match function.call(args, kwargs) {
            Ok(value) => {
                permit.success(self.clock.elapsed());
                Ok(value)
            }
            Err(error) => {
                let py = function.py();
                match self.judge(py, error.value(py).as_any())? {
                    Went::Well => permit.success(self.clock.elapsed()),
                    Went::Badly => permit.failure(self.clock.elapsed()),
                    Went::Nowhere => drop(permit),
                }
                Err(error.into())
            }
        }
    }

    /// Asks for leave to make a call.
    fn calling(slf: Bound<'_, Self>) -> Result<BreakerPermit, Fault> {
        let this = slf.get();
        let permit = this.breaker.get()?.acquire_owned(this.clock.elapsed());
        let permit = OfProcess::new(Mutex::new(Some(permit.map_err(Fault::refused)?)));
        Ok(BreakerPermit { breaker: slf.unbind(), permit })
    }

    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyString>, Fault> {
        Ok(PyString::new(py, text(&self.breaker.get()?.state())?.trim_matches('"')))
    }

    fn stats<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyString>, Fault> {
        let stats = self.breaker.get()?.stats(self.clock.elapsed());
        Ok(PyString::new(py, &text(&stats)?))
    }

    fn force_open(&self) -> Result<(), Fault> {
        self.breaker.get()?.force_open(self.clock.elapsed());
        Ok(())
    }

    fn force_closed(&self) -> Result<(), Fault> {
        self.breaker.get()?.force_closed(self.clock.elapsed());
        Ok(())
    }

    fn release(&self) -> Result<(), Fault> {
        self.breaker.get()?.release(self.clock.elapsed());
        Ok(())
    }
}

type Permit = failover::BreakerPermit<Arc<failover::Breaker>>;

/// Leave to make one call. Given back without a word, the call was given up, which counts for
/// nothing.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct BreakerPermit {
    breaker: Py<Breaker>,
    permit: OfProcess<Mutex<Option<Permit>>>,
}

impl BreakerPermit {
    fn end(&self, went: Went) -> Result<(), Fault> {
        let permit = self.permit.get()?.lock().unwrap_or_else(PoisonError::into_inner).take();
        let now = self.breaker.get().clock.elapsed();
        match (permit, went) {
            (Some(permit), Went::Well) => permit.success(now),
            (Some(permit), Went::Badly) => permit.failure(now),
            (_, Went::Nowhere) | (None, _) => {}
        }
        Ok(())
    }
}

#[pymethods]
impl BreakerPermit {
    /// The call succeeded. Only the first word counts.
    fn success(&self) -> Result<(), Fault> {
        self.end(Went::Well)
    }

    /// The call failed.
    fn failure(&self) -> Result<(), Fault> {
        self.end(Went::Badly)
    }

    /// The call ended with this exception, or without one.
    fn ended(&self, py: Python<'_>, raised: &Bound<'_, PyAny>) -> Result<(), Fault> {
        let went = match raised.is_none() {
            true => Went::Well,
            false => self.breaker.get().judge(py, raised)?,
        };
        self.end(went)
    }
}
