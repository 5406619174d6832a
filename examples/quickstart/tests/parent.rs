//! A parent that is killed at a random moment leaves no process behind and loses nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test reports by panicking and printing, its helpers included"
)]
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::Path;

use common::{amount, audit, count, dice, json, open, rounds, run, spawn, stderr, until};
use fogcore::scheduler::TaskState;
use rand::RngExt;
use rand::rngs::StdRng;

const FILES: usize = 60;

/// The processes that work on `database`, by their command lines.
fn processes(database: &Path) -> Vec<String> {
    let database = database.to_str().unwrap();
    let running = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        // A process may end while it is looked at; a zombie has no command line.
        let line = fs::read(entry.unwrap().path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    running.filter(|line| line.contains(database)).collect()
}

async fn round(dice: &mut StdRng) {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    let paths = common::write_files(&files, FILES);
    let database = folder.path().join("fog.db");
    let arguments = [files.as_os_str(), "--json".as_ref(), "--keep".as_ref()];
    let arguments = arguments.into_iter().chain([database.as_os_str()]);
    let arguments: Vec<_> = arguments.collect();
    let fog = open(&database).await;

    let moment = dice.random_range(0..FILES as u64);
    println!("the parent dies after {moment} tasks");
    let mut parent = spawn(&arguments);
    let what = "the moment to kill";
    until(&fog, what, || async { count(&fog, TaskState::Succeeded).await >= moment }).await;
    // SIGKILL.
    parent.0.kill().unwrap();
    drop(parent);
    let gone = || async { processes(&database).is_empty() };
    until(&fog, "the workers stop without their parent", gone).await;
    let before = count(&fog, TaskState::Succeeded).await;

    let output = run(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = json(&output);
    assert_eq!(summary["succeeded"], FILES);
    assert_eq!(summary["killed"], u64::from(before < FILES as u64));
    assert_eq!(audit(&fog, FILES).await, amount(&summary["paid"]));
    let list = fs::read_to_string(database.with_extension("b3")).unwrap();
    let expected: String = paths.iter().map(|path| common::b3sum(path)).collect();
    assert_eq!(list, expected);
    fog.shutdown().await;
}

#[tokio::test]
async fn a_parent_killed_at_random_leaves_no_worker_and_loses_nothing() {
    let mut dice = dice();
    for _ in 0..rounds() {
        round(&mut dice).await;
    }
}
