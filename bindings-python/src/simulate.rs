//! Placement policies on traces. These calls take as long as they take, on the thread that makes
//! them, without the interpreter's lock.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use fogcore::Error;
use fogcore::scheduler::policy::Policy;
use fogcore::scheduler::simulate::{
    self, Churn, FillPolicy, Filled, ReplayPolicy, Report, Row, chart, fill, replay,
};
use fogcore::time::{Clock, SystemClock};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error::Fault;
use crate::json::{parse, text};

/// The names of all policies.
#[pyfunction]
pub(crate) fn policies() -> Vec<String> {
    Policy::ALL.into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// Nodes, and the tasks that come to them.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Trace {
    trace: Arc<simulate::Trace>,
}

#[pymethods]
impl Trace {
    #[staticmethod]
    fn sample(py: Python<'_>, nodes: u32, tasks: u32, seed: u64) -> Self {
        let trace = py.detach(|| simulate::Trace::sample(nodes, tasks, seed));
        Self { trace: Arc::new(trace) }
    }

    #[staticmethod]
    fn read(py: Python<'_>, nodes: &str, tasks: &str) -> Result<Self, Fault> {
        let open = |field, path: &str| {
            File::open(path).map_err(|error| Error::invalid(field, format!("{path}: {error}")))
        };
        // A pipe is waited for when it is opened.
        let trace =
            py.detach(|| simulate::Trace::read(open("nodes", nodes)?, open("tasks", tasks)?))?;
        Ok(Self { trace: Arc::new(trace) })
    }

    #[getter]
    fn synthetic(&self) -> bool {
        self.trace.synthetic
    }

    #[getter]
    fn gpu_milli(&self) -> u64 {
        self.trace.gpu_milli()
    }

    #[getter]
    fn nodes(&self) -> usize {
        self.trace.nodes.len()
    }

    #[getter]
    fn tasks(&self) -> usize {
        self.trace.tasks.len()
    }
}

/// What policies make of a trace, run by run: so that an interrupt is heard between two of them.
#[pyclass(module = "fogcore._fogcore")]
pub(crate) struct Simulation {
    trace: Arc<simulate::Trace>,
    how: FillPolicy,
    clock: SystemClock,
    report: Report,
    runs: Vec<Filled>,
    took: Duration,
}

#[pymethods]
impl Simulation {
    #[new]
    fn new(trace: &Trace, learn: bool) -> Self {
        let trace = Arc::clone(&trace.trace);
        let how = FillPolicy { known: !learn, ..FillPolicy::default() };
        let report = Report { synthetic: trace.synthetic, ..Report::default() };
        let clock = SystemClock::new();
        Self { trace, how, clock, report, runs: Vec::new(), took: Duration::ZERO }
    }

    /// One run of a policy.
    fn run(&mut self, py: Python<'_>, policy: &str, seed: u64) -> Result<(), Fault> {
        let policy: Policy = parse(policy)?;
        let begun = self.clock.elapsed();
        let filled = py.detach(|| fill(&self.trace, &policy, seed, &self.how))?;
        self.took += self.clock.elapsed().saturating_sub(begun);
        self.runs.push(filled);
        Ok(())
    }

    /// All runs of a policy were made: its row is told. With `churn_hours`, nodes of the replay stay
    /// so long on average.
    fn end(
        &mut self,
        py: Python<'_>,
        policy: &str,
        replayed: bool,
        churn_hours: Option<f64>,
    ) -> Result<(), Fault> {
        let (runs, took) = (std::mem::take(&mut self.runs), std::mem::take(&mut self.took));
        let count = u32::try_from(runs.len().max(1)).unwrap_or(u32::MAX);
        let mut row = Row::of(&runs, took.as_secs_f64() / f64::from(count));
        let policy: Policy = parse(policy)?;
        if replayed {
            let stays = churn_hours.map(|hours| Duration::try_from_secs_f64(hours * 3_600.0));
            let stays = stays.transpose().ok().filter(|stays| stays.is_none_or(|s| !s.is_zero()));
            let why = "must be more than zero hours, and not beyond all bounds";
            let stays = stays.ok_or_else(|| Fault::invalid("churn_hours", why))?;
            let churn = stays.map(|stays| Churn { stays, away: stays / 10 });
            let how = ReplayPolicy { churn, ..ReplayPolicy::default() };
            row.replay = Some(py.detach(|| replay(&self.trace, &policy, 1, &how))?);
        }
        self.report.seeds = runs.len() as u64;
        self.report.policies.insert(policy.name().to_owned(), row);
        Ok(())
    }

    /// The report in JSON, as a table and as an SVG picture.
    fn told<'py>(&self, py: Python<'py>) -> Result<[Bound<'py, PyString>; 3], Fault> {
        let json = text(&self.report)?;
        let table = self.report.to_string();
        Ok([json, table, chart(&self.report)].map(|text| PyString::new(py, &text)))
    }
}
