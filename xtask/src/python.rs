//! The package for Python: its tests, its wheels, and what calls cost from there, each in a virtual
//! environment of its own below the build folder.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use xshell::{PushEnv, Shell, cmd};

use crate::bench;
use crate::figure::Figure;
use crate::stage::Outcome;
use crate::tools;

const PACKAGE: &str = "bindings-python";

/// The oldest C library that wheels run with, 2.17 of 2012: what Rust itself asks for, so that no
/// older one would gain anybody.
const GLIBC: Glibc = Glibc(2, 17);

/// The interpreter of an environment that has everything in the file `requirements`, or why there
/// can be none. It is kept from run to run, because pip needs longer than most of the checks.
pub(crate) fn venv(sh: &Shell, name: &str, requirements: &str) -> Result<Result<PathBuf, Outcome>> {
    let Some(system) = tools::PYTHON.locate(sh) else {
        return Ok(Err(Outcome::Skipped(tools::PYTHON.missing())));
    };
    let folder = bench::target_directory(sh, "Cargo.toml")?.join("venv").join(name);
    let python = folder.join("bin/python");
    // Another Python would not look where the packages are.
    let version = cmd!(sh, "{system} --version").quiet().read()?;
    let wanted = format!("# {version}\n{}", sh.read_file(requirements)?);
    let installed = folder.join("installed.txt");
    if python.is_file() && sh.read_file(&installed).is_ok_and(|found| found == wanted) {
        return Ok(Ok(python));
    }
    // Cleared, so that nothing works only because an earlier list had it.
    let create = cmd!(sh, "{system} -m venv --clear {folder}");
    if create.run().is_err() {
        tools::install_packages(sh, &["python3-venv"]);
        if create.run().is_err() {
            let missing = "python3 has no module venv – apt-get install python3-venv";
            return Ok(Err(Outcome::Skipped(missing.to_owned())));
        }
    }
    cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check -r {requirements}")
        .run()?;
    sh.write_file(installed, wanted)?;
    Ok(Ok(python))
}

/// What a person's shell has after `activate`, as long as the result lives: maturin and pyright look
/// there for the environment to install into and to read.
fn activate<'a>(sh: &'a Shell, python: &Path) -> Result<Vec<PushEnv<'a>>> {
    let bin = python.parent().context("the interpreter is in no folder")?;
    let folder = bin.parent().context("the interpreter is in no environment")?;
    let path = sh.var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin.to_owned()].into_iter().chain(env::split_paths(&path)))?;
    // Absolute, as what comes is run from other folders.
    let target = bench::target_directory(sh, "Cargo.toml")?;
    Ok(vec![
        sh.push_env("VIRTUAL_ENV", folder),
        sh.push_env("PATH", path),
        sh.push_env("CARGO_TARGET_DIR", target),
        // The source tree stays as it is.
        sh.push_env("PYTHONDONTWRITEBYTECODE", "1"),
    ])
}

/// Builds the native module into the source tree, and makes the active environment import from
/// there.
fn develop(sh: &Shell, python: &Path, profile: &[&str]) -> Result<()> {
    let _folder = sh.push_dir(PACKAGE);
    let maturin = python.with_file_name("maturin");
    cmd!(sh, "{maturin} develop --locked --quiet {profile...}").run()?;
    Ok(())
}

/// The package as its users have it: what it does, and what type checkers think of it and of the
/// examples. Only here: `cargo test` knows nothing of what is written in Python.
pub(crate) fn tests(sh: &Shell) -> Result<Outcome> {
    let requirements = format!("{PACKAGE}/requirements-test.txt");
    let python = match venv(sh, "python-tests", &requirements)? {
        Ok(python) => python,
        Err(skipped) => return Ok(skipped),
    };
    let caches = bench::target_directory(sh, "Cargo.toml")?.join("mypy");
    let _active = activate(sh, &python)?;
    develop(sh, &python, &[])?;
    let _folder = sh.push_dir(PACKAGE);
    cmd!(sh, "{python} -m pytest -p no:cacheprovider").run()?;
    cmd!(sh, "{python} -m mypy --strict --cache-dir {caches} python/fogcore tests examples")
        .run()?;
    cmd!(sh, "{python} -m pyright").run()?;
    Ok(Outcome::Passed)
}

/// Measures from Python, with the module that users get, beside the same in Rust: what is published
/// is their ratio, and machines differ from day to day.
pub(crate) fn bench(sh: &Shell, args: &bench::Args) -> Result<Vec<Figure>> {
    let requirements = format!("{PACKAGE}/bench/requirements.txt");
    let python = required(venv(sh, "python-bench", &requirements)?)?;
    let _active = activate(sh, &python)?;
    develop(sh, &python, &["--release"])?;
    let mut figures = bench::measure(sh, args, &["--package", "fogcore-benches"], "Cargo.toml")?;
    let script = sh.current_dir().join(PACKAGE).join("bench/bench.py");
    // The peers leave files where they are started.
    let away = sh.create_temp_dir()?;
    let _folder = sh.push_dir(away.path());
    let command = cmd!(sh, "{python} {script}");
    eprintln!("$ {command}");
    figures.extend(bench::printed_figures(command.into())?);
    Ok(figures)
}

/// Builds the wheel of this machine's architecture, for every Linux with [`GLIBC`], and has it
/// checked by what PyPI's own images use. Zig brings the C library's old symbols; without it, a
/// wheel would need a C library as new as this machine's.
pub(crate) fn wheels(sh: &Shell) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "wheels for other systems are built on these");
    let requirements = format!("{PACKAGE}/requirements-wheels.txt");
    let python = required(venv(sh, "wheels", &requirements)?)?;
    let out = bench::target_directory(sh, "Cargo.toml")?.join("wheels");
    // What an earlier version left there is not to be published again.
    sh.remove_path(&out)?;

    let _active = activate(sh, &python)?;
    let maturin = python.with_file_name("maturin");
    let manifest = format!("{PACKAGE}/Cargo.toml");
    let tag = format!("manylinux_{}_{}", GLIBC.0, GLIBC.1);
    cmd!(sh, "{maturin} build --release --locked --zig --strip --manifest-path {manifest}")
        .args(["--compatibility", &tag, "--out"])
        .arg(&out)
        .run()?;
    let built = sh.read_dir(&out)?;
    let [wheel] = built.as_slice() else { bail!("{} wheels are in {out:?}", built.len()) };

    let report = cmd!(sh, "{python} -m auditwheel show {wheel}").read()?;
    eprintln!("{report}");
    let needed = Glibc::read(&report).context("auditwheel names no manylinux tag")?;
    ensure!(needed <= GLIBC, "the wheel is no {tag}: it needs {needed:?}");

    let version = crate_version(sh)?;
    let name = wheel.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ensure!(name.starts_with(&format!("fogcore-{version}-")), "{name} has not version {version}");
    let found = installed_version(sh, &python, wheel)?;
    ensure!(found == version, "the wheel says that it is {found}, and the crate is {version}");
    println!("{}", wheel.display());
    Ok(())
}

/// What the wheel says of itself where nothing else of this project can be imported.
fn installed_version(sh: &Shell, python: &Path, wheel: &Path) -> Result<String> {
    let away = sh.create_temp_dir()?;
    let _folder = sh.push_dir(away.path());
    cmd!(sh, "{python} -m venv fresh").run()?;
    let python = away.path().join("fresh/bin/python");
    cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check {wheel}").run()?;
    let program = "import fogcore; print(fogcore.__version__)";
    Ok(cmd!(sh, "{python} -c {program}").read()?)
}

fn crate_version(sh: &Shell) -> Result<String> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let json = cmd!(sh, "cargo metadata --format-version 1 --no-deps").quiet().read()?;
    let metadata: Metadata = serde_json::from_str(&json).context("cargo metadata")?;
    let core = metadata.packages.into_iter().find(|package| package.name == "fogcore");
    Ok(core.context("the workspace has no package fogcore")?.version)
}

/// For commands that a person asked for by name: there is nothing to skip.
fn required(python: Result<PathBuf, Outcome>) -> Result<PathBuf> {
    match python {
        Ok(python) => Ok(python),
        Err(Outcome::Skipped(why)) => bail!(why),
        Err(Outcome::Passed) => bail!("there is no Python"),
    }
}

/// A version of the C library; the older, the more machines have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Glibc(u32, u32);

impl Glibc {
    /// What `auditwheel show` found, from its `consistent with the following platform tag:
    /// "manylinux_2_17_x86_64"`. Later it tells of tags that other choices would give.
    fn read(report: &str) -> Option<Self> {
        // It is wrapped, where depends on the file's name.
        let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, found) = report.split_once("following platform tag:")?;
        let mut words = found.split('"').nth(1)?.strip_prefix("manylinux_")?.split('_');
        let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self(major, minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_that_a_wheel_has_is_read_and_not_those_that_it_could_have() {
        let report = "fogcore-0.1.0-cp310-abi3-linux_x86_64.whl is consistent with the following\n\
            platform tag: \"manylinux_2_17_x86_64\".\n\nThis constrains the platform tag to\n\
            \"manylinux_2_34_x86_64\".";
        assert_eq!(Glibc::read(report), Some(Glibc(2, 17)));
        assert_eq!(Glibc::read("following platform tag: \"linux_x86_64\"."), None);
        assert!(Glibc(2, 17) < Glibc(2, 28));
    }
}
