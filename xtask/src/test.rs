//! `cargo xtask test`: the lint stages, then everything that runs.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::lint;
use crate::stage::{self, Outcome, Stage};

const STAGES: &[Stage] = &[Stage { name: "tests", run: tests }];

pub(crate) fn run(sh: &Shell, args: stage::Args) -> Result<()> {
    stage::run_all(sh, lint::STAGES.iter().chain(STAGES), args)
}

/// Unit, integration and doc tests. Naming any target, `--all-targets` included, would silently
/// leave the doc tests out.
fn tests(sh: &Shell) -> Result<Outcome> {
    cmd!(sh, "cargo test --workspace --all-features").run()?;
    Ok(Outcome::Passed)
}
