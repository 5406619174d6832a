//! `cargo xtask bench NAME`: runs a benchmark and prints its figures, and only them, on stdout.
//!
//! Every number that the project publishes is the output of this command, so that anyone can repeat
//! it with one line.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use crate::figure::Figure;
use crate::mobile;
use crate::python;

/// The programs to compare with are a workspace of their own, so that nobody who builds the library
/// has to build them.
const PEERS: &str = "benches/peers/Cargo.toml";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The benchmark, a file of benches/; `kotlin` and `python` are those of the bindings
    name: String,
    /// Also run the benchmark of this name in benches/peers
    #[arg(long)]
    peers: bool,
    /// Passed on to criterion, for example `-- --quick`
    #[arg(last = true)]
    criterion: Vec<String>,
}

pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    // Told now rather than after minutes of measuring.
    let peers = format!("benches/peers/benches/{}.rs", args.name);
    ensure!(!args.peers || sh.path_exists(&peers), "--peers needs {peers}, which does not exist");

    let mut figures = match args.name.as_str() {
        "kotlin" => mobile::kotlin_bench(sh)?,
        "python" => python::bench(sh, args)?,
        _ => measure(sh, args, &["--package", "fogcore-benches"], "Cargo.toml")?,
    };
    if args.peers {
        figures.extend(measure(sh, args, &[], PEERS)?);
    }
    ensure!(!figures.is_empty(), "`{}` ran, but measured nothing", args.name);

    figures.sort();
    let mut stdout = io::stdout().lock();
    for figure in &figures {
        writeln!(stdout, "{figure}")?;
    }
    // After printing, so that a name used twice does not cost the whole run.
    if let Some(pair) = figures.windows(2).find(|pair| pair[0].id == pair[1].id) {
        bail!("the figure `{}` was measured twice", pair[0].id);
    }
    Ok(())
}

/// Runs the benchmark in the workspace of `manifest` and collects what it printed and wrote.
pub(crate) fn measure(
    sh: &Shell,
    args: &Args,
    package: &[&str],
    manifest: &str,
) -> Result<Vec<Figure>> {
    let Args { name, criterion, .. } = args;
    let home = target_directory(sh, manifest)?.join("criterion");
    let before = results(&home)?;

    let command = cmd!(sh, "cargo bench --manifest-path {manifest} {package...} --bench {name}")
        .arg("--")
        .args(criterion)
        // Where the system gives large pages on demand: without, a virtual machine spends half of the
        // time of a pick among 100,000 nodes on finding where they are. Peers get them as well.
        .env("MIMALLOC_ALLOW_LARGE_OS_PAGES", "1")
        // Criterion would look for the target folder from the package's folder, not from here.
        .env("CRITERION_HOME", &home);
    eprintln!("$ {command}");
    let mut figures = printed_figures(command.into())
        .with_context(|| format!("the benchmark `{name}` ({manifest})"))?;

    // The folder also holds earlier runs and other benchmarks; their files keep their time.
    let after = results(&home)?;
    for (path, _) in after.iter().filter(|&(path, time)| before.get(path) != Some(time)) {
        figures.push(read_figure(path)?);
    }
    Ok(figures)
}

pub(crate) fn target_directory(sh: &Shell, manifest: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let json = cmd!(sh, "cargo metadata --format-version 1 --no-deps --manifest-path {manifest}")
        .quiet()
        .read()?;
    let metadata: Metadata = serde_json::from_str(&json).context("cargo metadata")?;
    Ok(metadata.target_directory)
}

/// Runs `command` and keeps the figures among its output; the rest goes on to stderr.
pub(crate) fn printed_figures(mut command: Command) -> Result<Vec<Figure>> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("its output is not readable")?;

    let mut figures = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        match Figure::from_line(&line) {
            Some(figure) => figures.push(figure),
            None => eprintln!("{line}"),
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "the benchmark ended with {status}");
    figures.into_iter().collect()
}

/// The result files below criterion's folder and when each was last written.
///
/// `benchmark.json` stands for its benchmark, because criterion writes it after the estimates.
fn results(home: &Path) -> Result<BTreeMap<PathBuf, SystemTime>> {
    let mut results = BTreeMap::new();
    // Before the first benchmark there is no folder.
    let mut folders: Vec<_> = home.is_dir().then(|| home.to_path_buf()).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("new/benchmark.json") {
                let written = fs::metadata(&path)?.modified()?;
                results.insert(path, written);
            }
        }
    }
    Ok(results)
}

fn read_figure(benchmark: &Path) -> Result<Figure> {
    let estimates = benchmark.with_file_name("estimates.json");
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    Figure::from_criterion(&read(benchmark)?, &read(&estimates)?)
        .with_context(|| benchmark.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_newest_result_of_each_benchmark_is_listed() {
        let sh = Shell::new().unwrap();
        let home = sh.create_temp_dir().unwrap();
        let write = |path: &str| sh.write_file(home.path().join(path), "{}").unwrap();
        write("scheduler/place/tasks_s/new/benchmark.json");
        write("scheduler/place/tasks_s/new/estimates.json");
        write("scheduler/place/tasks_s/base/benchmark.json");
        write("scheduler/pick/new/benchmark.json");

        let paths: Vec<_> = results(home.path()).unwrap().into_keys().collect();

        let expected = ["scheduler/pick/new", "scheduler/place/tasks_s/new"];
        assert_eq!(paths, expected.map(|path| home.path().join(path).join("benchmark.json")));
    }

    #[test]
    fn a_result_written_again_has_another_time() {
        let sh = Shell::new().unwrap();
        let home = sh.create_temp_dir().unwrap();
        let path = home.path().join("scheduler/pick/new/benchmark.json");
        sh.write_file(&path, "{}").unwrap();
        let before = results(home.path()).unwrap();

        let later = before[&path] + Duration::from_secs(1);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();

        assert_ne!(results(home.path()).unwrap(), before);
    }

    #[test]
    fn without_a_criterion_folder_there_are_no_results() {
        let sh = Shell::new().unwrap();
        let home = sh.create_temp_dir().unwrap();
        assert!(results(&home.path().join("criterion")).unwrap().is_empty());
    }
}
