//! fogcore for Python: the private module `_fogcore` that the package `fogcore` is built on.
//!
//! This crate parses, calls the core once, and renders. Whatever would be a rule is in the core, and
//! whatever makes it pleasant is in Python, under `python/fogcore`.
//!
//! - A call that takes time returns a number at once. Its answer comes under that number through
//!   the event loop's `bridge`, so no call waits, and none holds the interpreter's lock.
//! - Values cross as JSON (`json`), payloads as bytes, amounts as decimal texts.
//! - What changes something goes on to its end when its caller gives up; what only waits ends.
//! - After a fork, what was opened before it says so instead of waiting for ever (`process`).
#![allow(unsafe_code, reason = "pyo3's macros write the C functions; there is none by hand")]
#![allow(clippy::needless_pass_by_value, reason = "what crosses the boundary is owned")]

mod balancer;
mod breaker;
mod bridge;
mod error;
mod events;
mod fog;
mod json;
mod ledger;
mod log;
mod money;
mod process;
mod signaling;
mod simulate;
mod worker;

#[pyo3::pymodule(gil_used = false)]
mod _fogcore {
    #[pymodule_export]
    use super::{
        balancer::{Balancer, Pick},
        breaker::{Breaker, BreakerPermit},
        bridge::Bridge,
        error::error_kinds,
        events::Events,
        fog::{Fog, open},
        ledger::{Answers, Ledger, Transfer},
        process::forked,
        signaling::{PeerConnection, Signaling},
        simulate::{Simulation, Trace, policies},
        worker::{Job, Worker},
    };
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::log::begin();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
