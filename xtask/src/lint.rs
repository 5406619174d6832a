//! `cargo xtask lint`: everything that can be said about the code without running its tests.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::stage::{self, Outcome, Stage};
use crate::tools;

/// The cheapest first, so that a slip is told within seconds.
pub(crate) const STAGES: &[Stage] = &[
    Stage { name: "format", run: format },
    Stage { name: "clippy", run: clippy },
    Stage { name: "clippy, no features", run: clippy_without_features },
    Stage { name: "docs", run: docs },
    Stage { name: "dependencies", run: dependencies },
];

pub(crate) fn run(sh: &Shell, args: &stage::Args) -> Result<()> {
    stage::run_all(sh, STAGES, args)
}

fn format(sh: &Shell) -> Result<Outcome> {
    cmd!(sh, "cargo fmt --all --check").run()?;
    Ok(Outcome::Passed)
}

/// `--all-targets` includes the benches, so this also tells that they compile.
fn clippy(sh: &Shell) -> Result<Outcome> {
    cmd!(sh, "cargo clippy --workspace --all-targets --all-features -- -D warnings").run()?;
    Ok(Outcome::Passed)
}

/// The workspace run enables every feature; a library user may enable none.
fn clippy_without_features(sh: &Shell) -> Result<Outcome> {
    cmd!(sh, "cargo clippy --package fogcore --no-default-features --lib -- -D warnings").run()?;
    Ok(Outcome::Passed)
}

fn docs(sh: &Shell) -> Result<Outcome> {
    cmd!(sh, "cargo doc --workspace --no-deps --all-features")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(Outcome::Passed)
}

/// Not `advisories`: those change by the day and need the network, so the CI workflow checks them
/// beside the code instead of failing a commit that changed nothing. And not `duplicate`: it is a
/// warning of a hundred lines per crate, in which an error would drown.
fn dependencies(sh: &Shell) -> Result<Outcome> {
    let Some(deny) = tools::CARGO_DENY.locate(sh) else {
        return Ok(Outcome::Skipped(tools::CARGO_DENY.missing()));
    };
    cmd!(sh, "{deny} check --allow duplicate bans sources licenses").run()?;
    Ok(Outcome::Passed)
}
