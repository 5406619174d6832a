//! The server as programs in other languages see it: its document, asked for everything that it
//! allows, and WebRTC peers of another implementation, which meet through its signaling.

use std::path::PathBuf;

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::bench;
use crate::python;
use crate::stage::Outcome;
use crate::tools;

/// How many requests are made up for each operation; the longer, the more is found.
const EXAMPLES: &str = "FOGCORE_SCHEMA_EXAMPLES";

/// The server's program, built.
fn program(sh: &Shell) -> Result<PathBuf> {
    // With the features of all members, as the tests were built.
    cmd!(sh, "cargo build --workspace --all-features --bin fogcore-server").run()?;
    let name = format!("fogcore-server{}", std::env::consts::EXE_SUFFIX);
    Ok(bench::target_directory(sh, "Cargo.toml")?.join("debug").join(name))
}

/// No 500, and nothing that the document does not tell of.
pub(crate) fn document(sh: &Shell) -> Result<Outcome> {
    let requirements = "examples/server/tests/document/requirements.txt";
    let python = match python::venv(sh, "schemathesis", requirements)? {
        Ok(python) => python,
        Err(skipped) => return Ok(skipped),
    };
    let examples = sh.var(EXAMPLES).unwrap_or_else(|_| "5".to_owned());
    let program = program(sh)?;
    cmd!(sh, "{python} examples/server/tests/document/check.py {program} {examples}").run()?;
    Ok(Outcome::Passed)
}

/// Peers of libwebrtc, which is what browsers have.
pub(crate) fn peers(sh: &Shell) -> Result<Outcome> {
    if let Some(missing) = [tools::NODE, tools::NPM].iter().find(|tool| tool.locate(sh).is_none()) {
        return Ok(Outcome::Skipped(missing.missing()));
    }
    let program = program(sh)?;
    // Beside the build, so that the tree stays as it is.
    let folder = bench::target_directory(sh, "Cargo.toml")?.join("peers");
    sh.create_dir(&folder)?;
    for file in ["package.json", "package-lock.json", "meet.mjs"] {
        sh.copy_file(format!("examples/server/tests/peers/{file}"), &folder)?;
    }
    let _folder = sh.push_dir(&folder);
    cmd!(sh, "npm ci --no-audit --no-fund").run()?;
    cmd!(sh, "node meet.mjs {program}").run()?;
    Ok(Outcome::Passed)
}
