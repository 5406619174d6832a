//! Errors on their way to Python, where each kind of the core's is a class.

use std::time::Duration;

use fogcore::balancer::NoNode;
use fogcore::failover::Refused;
use fogcore::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// An error of the core's, or one that Python raised meanwhile.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Of the core's.
    Core { error: Error, field: Option<String>, retry_after: Option<Duration> },
    /// Of Python's.
    Python(PyErr),
}

impl Fault {
    /// Bad input in a field that is named by its path: `budget.payer`.
    pub(crate) fn invalid(field: &str, reason: &str) -> Self {
        let error = Error::new(ErrorKind::InvalidInput, format!("{field}: {reason}"));
        Self::Core { error, field: Some(field.to_owned()), retry_after: None }
    }

    /// The same, if it is bad input, of an item of a list.
    pub(crate) fn of_item(self, list: &str, place: usize) -> Self {
        match self {
            Self::Core { error, field: Some(field), .. }
                if error.kind() == ErrorKind::InvalidInput =>
            {
                let error = Error::new(ErrorKind::InvalidInput, format!("{list}[{place}].{error}"));
                let field = Some(format!("{list}[{place}].{field}"));
                Self::Core { error, field, retry_after: None }
            }
            other => other,
        }
    }

    pub(crate) fn shut_down() -> Self {
        Error::new(ErrorKind::Unavailable, "this fog was closed").into()
    }

    pub(crate) fn internal(reason: &'static str) -> Self {
        Error::new(ErrorKind::Internal, reason).into()
    }

    /// Refused by a breaker.
    pub(crate) fn refused(refused: Refused) -> Self {
        let retry_after = refused.retry_after;
        let error = Error::new(ErrorKind::Unavailable, refused);
        Self::Core { error, field: None, retry_after }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let field = error.field().map(str::to_owned);
        let retry_after = error.downcast_ref::<NoNode>().and_then(|none| none.retry_after);
        Self::Core { error, field, retry_after }
    }
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Core { error, field, retry_after } => Python::attach(|py| {
                let retry_after = retry_after.map(|time| time.as_secs_f64());
                let made = py.import("fogcore._errors").and_then(|module| {
                    let reason = error.to_string();
                    module.call_method1("of_kind", (name(error.kind()), reason, field, retry_after))
                });
                made.map_or_else(|failed| failed, Self::from_value)
            }),
            Fault::Python(error) => error,
        }
    }
}

/// The name of a kind, as Python's table of classes has it.
pub(crate) fn name(kind: ErrorKind) -> String {
    kind.to_string()
}

/// The names of all kinds, for the test that each has a class.
#[pyfunction]
pub(crate) fn error_kinds(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    PyList::new(py, ErrorKind::ALL.map(name))
}
