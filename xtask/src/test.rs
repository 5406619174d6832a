//! `cargo xtask test`: the lint stages, then everything that runs.

use anyhow::Result;
use fogcore_dev_postgres::VARIABLE;
use xshell::{Shell, cmd};

use crate::bench;
use crate::lint;
use crate::mobile;
use crate::postgres::Postgres;
use crate::python;
use crate::server;
use crate::stage::{self, Outcome, Stage};
use crate::tools;

const STAGES: &[Stage] = &[
    Stage { name: "tests", run: tests },
    Stage { name: "models", run: models },
    Stage { name: "exports", run: exports },
    Stage { name: "api document", run: server::document },
    Stage { name: "webrtc peers", run: server::peers },
    Stage { name: "python", run: python::tests },
    Stage { name: "kotlin", run: mobile::kotlin_tests },
    Stage { name: "swift text", run: mobile::swift_text },
];

pub(crate) fn run(sh: &Shell, args: &stage::Args) -> Result<()> {
    stage::run_all(sh, lint::STAGES.iter().chain(STAGES), args)
}

/// Unit, integration and doc tests, with one PostgreSQL server for all of them. Naming any target,
/// `--all-targets` included, would silently leave the doc tests out.
fn tests(sh: &Shell) -> Result<Outcome> {
    let postgres = Postgres::find_or_start(sh)?;
    let url = postgres.url();
    cmd!(sh, "cargo test --workspace --all-features").env(VARIABLE, url).run()?;
    Ok(Outcome::Passed)
}

/// What threads share, under every order in which they can run. The flag changes every crate's
/// build, so this one has a folder of its own: in the common one each would throw out the other's.
fn models(sh: &Shell) -> Result<Outcome> {
    let target = bench::target_directory(sh, "Cargo.toml")?.join("loom");
    cmd!(sh, "cargo test --package fogcore --no-default-features --lib loom::")
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", "--cfg fogcore_loom")
        // A model that fails is told by its assertion; the way there is loom's.
        .env("RUST_BACKTRACE", "0")
        .run()?;
    Ok(Outcome::Passed)
}

/// The journal as the real accounting tools read it. The test passes where they are missing; here
/// it may not.
fn exports(sh: &Shell) -> Result<Outcome> {
    let wanted = [tools::HLEDGER, tools::BEAN_CHECK];
    if wanted.iter().any(|tool| tool.locate(sh).is_none()) {
        tools::install_packages(sh, &["hledger", "beancount"]);
    }
    let mut found = Vec::new();
    for tool in wanted {
        match tool.locate(sh) {
            Some(path) => found.push(path),
            None => return Ok(Outcome::Skipped(tool.missing())),
        }
    }
    cmd!(sh, "cargo test --package fogcore --all-features --test export")
        .env("FOGCORE_REQUIRE_TOOLS", "1")
        .env("FOGCORE_HLEDGER", &found[0])
        .env("FOGCORE_BEAN_CHECK", &found[1])
        .run()?;
    Ok(Outcome::Passed)
}
