//! Policies on a trace: `cargo run --release --example simulate -- --nodes FILE --tasks FILE
//! --policy fgd,best_fit,fog --seeds 10 [--json] [--svg FILE] [--replay]`.
//!
//! Without files, a small made-up trace is used. With the files of cluster-trace-gpu-v2023 the
//! figures can be compared with those that Weng et al. published (USENIX ATC 2023).

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use fogcore::Result;
use fogcore::error::Error;
use fogcore::scheduler::policy::Policy;
use fogcore::scheduler::simulate::{
    Churn, FillPolicy, ReplayPolicy, Report, Row, Trace, chart, fill, replay,
};

#[derive(Debug, Parser)]
#[command(about = "Runs placement policies on a trace")]
struct Arguments {
    /// The nodes: CSV with the columns of openb, or a line of JSON for each
    #[arg(long, requires = "tasks")]
    nodes: Option<PathBuf>,
    /// The tasks, in the same form
    #[arg(long, requires = "nodes")]
    tasks: Option<PathBuf>,
    /// Policies, joined by commas; `all` for every one
    #[arg(long, value_delimiter = ',', default_value = "fgd,best_fit,fog")]
    policy: Vec<String>,
    /// How many seeds, from 1
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Let the workload be learned from what arrives, rather than know it beforehand
    #[arg(long)]
    learn: bool,
    /// Also replay the trace in its own time, with seed 1
    #[arg(long)]
    replay: bool,
    /// In the replay, nodes stay so many hours on average, and are away a tenth of that: synthetic
    #[arg(long)]
    churn_hours: Option<f64>,
    /// Print JSON rather than a table
    #[arg(long)]
    json: bool,
    /// Write the curves as an SVG picture
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[expect(clippy::disallowed_methods, reason = "it tells how long a seed takes, in real time")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let trace = match (&arguments.nodes, &arguments.tasks) {
        (Some(nodes), Some(tasks)) => Trace::read(open("nodes", nodes)?, open("tasks", tasks)?)?,
        _ => Trace::sample(100, 1_000, 1),
    };
    let mut report =
        Report { synthetic: trace.synthetic, seeds: arguments.seeds, ..Report::default() };
    let how = FillPolicy { known: !arguments.learn, ..FillPolicy::default() };
    for policy in policies(&arguments.policy)? {
        let begun = now();
        let runs = (1..=arguments.seeds).map(|seed| fill(&trace, &policy, seed, &how));
        let runs = runs.collect::<Result<Vec<_>>>()?;
        let seconds = begun.elapsed().as_secs_f64() / runs.len().max(1) as f64;
        let mut row = Row::of(&runs, seconds);
        if arguments.replay {
            let churn = arguments.churn_hours.map(|hours| {
                let stays = Duration::from_secs_f64(hours.clamp(0.01, 1e6) * 3_600.0);
                Churn { stays, away: stays / 10 }
            });
            let how = ReplayPolicy { churn, ..ReplayPolicy::default() };
            row.replay = Some(replay(&trace, &policy, 1, &how)?);
        }
        report.policies.insert(policy.name().to_owned(), row);
    }
    if let Some(path) = &arguments.svg {
        std::fs::write(path, chart(&report)).map_err(|error| Error::invalid("svg", error))?;
    }
    print(&report, arguments.json)
}

#[expect(clippy::print_stdout, reason = "that is what the program is for")]
fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        let text = serde_json::to_string_pretty(report);
        println!("{}", text.map_err(|error| Error::new(fogcore::ErrorKind::Internal, error))?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn policies(names: &[String]) -> Result<Vec<Policy>> {
    if names.iter().any(|name| name == "all") {
        return Ok(Policy::ALL.into_iter().map(|(_, policy)| policy).collect());
    }
    names.iter().map(|name| name.parse()).collect()
}

fn open(field: &'static str, path: &PathBuf) -> Result<File> {
    File::open(path).map_err(|error| Error::invalid(field, format!("{}: {error}", path.display())))
}
