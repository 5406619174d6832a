//! What `test` and `lint` are made of: named stages, run in order, timed, and summed up in a table.
//!
//! A new kind of check (another language's tests, a database) is one more [`Stage`] in a list; how
//! failures, skips and times are handled stays here.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use xshell::Shell;

/// One check with a name of its own in the summary.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Shell) -> Result<Outcome>,
}

/// How a stage ended when it did not fail.
pub(crate) enum Outcome {
    Passed,
    /// The machine lacks something the stage needs; the text says what, and how to install it.
    Skipped(String),
}

#[derive(Clone, clap::Args)]
pub(crate) struct Args {
    /// Run the remaining stages after one has failed
    #[arg(long)]
    keep_going: bool,
    /// Run only the stages of these names
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
}

impl Args {
    fn wants(&self, stage: &Stage) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == stage.name)
    }
}

/// Runs the stages and prints the summary; an error if one of them failed.
pub(crate) fn run_all<'a>(
    sh: &Shell,
    stages: impl IntoIterator<Item = &'a Stage>,
    args: &Args,
) -> Result<()> {
    let policy = Policy {
        keep_going: args.keep_going,
        // Nobody reads the summary of a green CI run, so there a skipped check would stay skipped.
        skip_fails: sh.var("CI").is_ok_and(|value| value == "true"),
    };
    let stages: Vec<_> = stages.into_iter().filter(|stage| args.wants(stage)).collect();
    ensure!(!stages.is_empty(), "there is no stage of that name");
    let rows = execute(sh, stages, policy);
    println!("\n{}", table(&rows));

    let failed: Vec<_> = rows.iter().filter(|row| row.failed()).map(|row| row.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Policy {
    keep_going: bool,
    skip_fails: bool,
}

/// A stage's line in the summary.
struct Row {
    name: &'static str,
    verdict: Verdict,
    elapsed: Duration,
}

impl Row {
    fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Skipped(String),
    Failed(String),
    /// An earlier stage failed.
    NotRun,
}

impl Verdict {
    fn of(result: Result<Outcome>, policy: Policy) -> Self {
        match result {
            Ok(Outcome::Passed) => Self::Ok,
            Ok(Outcome::Skipped(why)) if policy.skip_fails => Self::Failed(why),
            Ok(Outcome::Skipped(why)) => Self::Skipped(why),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Skipped(why) | Self::Failed(why) => why,
            Self::Ok | Self::NotRun => "",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "FAILED",
            Self::NotRun => "not run",
        })
    }
}

fn execute<'a>(
    sh: &Shell,
    stages: impl IntoIterator<Item = &'a Stage>,
    policy: Policy,
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for &Stage { name, run } in stages {
        if !policy.keep_going && rows.iter().any(Row::failed) {
            rows.push(Row { name, verdict: Verdict::NotRun, elapsed: Duration::ZERO });
            continue;
        }
        println!("\n=== {name} ===");
        let (result, elapsed) = timed(|| run(sh));
        let verdict = Verdict::of(result, policy);
        println!("--- {name}: {verdict} in {}", seconds(elapsed));
        rows.push(Row { name, verdict, elapsed });
    }
    rows
}

#[expect(clippy::disallowed_methods, reason = "how long a stage took is told to a person only")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut table = String::new();
    for Row { name, verdict, elapsed } in rows {
        let time = seconds(*elapsed);
        let line = format!("{name:width$}  {verdict:7}  {time:>8}  {}", verdict.detail());
        // Writing to a `String` cannot fail.
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSES: Stage = Stage { name: "passes", run: |_| Ok(Outcome::Passed) };
    const FAILS: Stage = Stage { name: "fails", run: |_| bail!("broken") };
    const SKIPS: Stage =
        Stage { name: "skips", run: |_| Ok(Outcome::Skipped("no tool – install it".into())) };
    const LENIENT: Policy = Policy { keep_going: false, skip_fails: false };

    fn verdicts(stages: &[Stage], policy: Policy) -> Vec<Verdict> {
        let sh = Shell::new().unwrap();
        execute(&sh, stages, policy).into_iter().map(|row| row.verdict).collect()
    }

    #[test]
    fn only_the_stages_that_were_named_are_run() {
        let args = |names: &[&str]| Args {
            keep_going: false,
            only: names.iter().map(ToString::to_string).collect(),
        };
        assert!(args(&[]).wants(&PASSES));
        assert!(args(&["skips", "passes"]).wants(&PASSES));
        assert!(!args(&["skips"]).wants(&PASSES));
        let sh = Shell::new().unwrap();
        assert!(run_all(&sh, &[PASSES], &args(&["none"])).is_err());
    }

    #[test]
    fn the_first_failure_stops_the_run() {
        let verdicts = verdicts(&[PASSES, FAILS, PASSES], LENIENT);
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Failed("broken".into()), Verdict::NotRun]);
    }

    #[test]
    fn keep_going_runs_what_follows_a_failure() {
        let verdicts = verdicts(&[FAILS, PASSES], Policy { keep_going: true, ..LENIENT });
        assert_eq!(verdicts, [Verdict::Failed("broken".into()), Verdict::Ok]);
    }

    #[test]
    fn a_skipped_stage_lets_the_run_go_on() {
        let verdicts = verdicts(&[SKIPS, PASSES], LENIENT);
        assert_eq!(verdicts, [Verdict::Skipped("no tool – install it".into()), Verdict::Ok]);
    }

    #[test]
    fn a_skipped_stage_fails_the_run_where_skips_are_not_allowed() {
        let verdicts = verdicts(&[SKIPS, PASSES], Policy { skip_fails: true, ..LENIENT });
        assert_eq!(verdicts, [Verdict::Failed("no tool – install it".into()), Verdict::NotRun]);
    }

    #[test]
    fn the_summary_has_a_line_per_stage_with_its_reason() {
        let row = |name, verdict| Row { name, verdict, elapsed: Duration::from_millis(1260) };
        let rows = [row("format", Verdict::Ok), row("deny", Verdict::Skipped("no tool".into()))];
        assert_eq!(table(&rows), "format  ok          1.3 s\ndeny    skipped     1.3 s  no tool\n");
    }
}
