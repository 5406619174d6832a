//! Workers that are killed at random moments lose nothing, and nothing is paid twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test reports by panicking and printing, its helpers included"
)]
mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::{Kept, audit, count, dice, open, rounds, spawn, tasks, until};
use fogcore::Fog;
use fogcore::amount::Asset;
use fogcore::scheduler::{TaskSpec, TaskState};
use rand::RngExt;
use rand::rngs::StdRng;

const FILES: usize = 40;

fn worker(database: &Path, name: &str) -> Kept {
    let (shape, _) = name.split_once('-').unwrap();
    let arguments = ["worker", "--node", name, "--shape", shape, "--db"];
    spawn(arguments.map(OsStr::new).into_iter().chain([database.as_os_str()]))
}

/// Submits a digest of each file, as any client of the fog could.
async fn submit(fog: &Fog, paths: &[PathBuf]) {
    let (customer, limit) = ("customer".parse().unwrap(), Asset::FOG.parse("1").unwrap());
    let funds = limit.scaled(paths.len() as u64, 1).unwrap();
    fog.ledger().mint(&customer, funds).await.unwrap();
    let submissions = paths.iter().map(|path| {
        let spec = TaskSpec::new("digest-file".parse().unwrap());
        let spec = TaskSpec { max_attempts: 100, ..spec.paid_by(customer.clone(), limit) };
        (spec, path.as_os_str().as_bytes().to_vec().into())
    });
    for answer in fog.submit_all(submissions.collect()).await.unwrap() {
        answer.unwrap();
    }
}

async fn round(dice: &mut StdRng) {
    let folder = tempfile::tempdir().unwrap();
    let paths = common::write_files(folder.path(), FILES);
    let database = folder.path().join("fog.db");
    let fog = open(&database).await;
    let mut workers: Vec<_> =
        ["phone-1", "laptop-2", "box-3"].map(|name| worker(&database, name)).into();
    submit(&fog, &paths).await;

    let moment = dice.random_range(0..FILES as u64);
    let victim = dice.random_range(0..workers.len());
    let respawn = dice.random_bool(0.5);
    println!("worker {victim} dies after {moment} tasks, respawn: {respawn}");
    let what = "the moment to kill";
    until(&fog, what, || async { count(&fog, TaskState::Succeeded).await >= moment }).await;
    // SIGKILL.
    workers[victim].0.kill().unwrap();
    drop(workers.remove(victim));
    if respawn {
        workers.push(worker(&database, "laptop-4"));
    }

    let all = FILES as u64;
    until(&fog, "all tasks done", || async { count(&fog, TaskState::Succeeded).await == all })
        .await;
    audit(&fog, FILES).await;
    for (task, path) in tasks(&fog).await.into_iter().zip(&paths) {
        let result = fog.result(task.id).await.unwrap().unwrap();
        let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
        let content = std::fs::read(path).unwrap();
        assert_eq!(result["digest"], blake3::hash(&content).to_hex().as_str());
        assert_eq!(result["bytes"], content.len());
    }
    // The end of its input ends a worker, in good order.
    for Kept(child) in &mut workers {
        drop(child.stdin.take());
        let child = std::sync::Mutex::new(child);
        let ended = || async { child.lock().unwrap().try_wait().unwrap().is_some() };
        until(&fog, "a worker stops at the end of its input", ended).await;
        assert!(child.lock().unwrap().wait().unwrap().success());
    }
    fog.shutdown().await;
}

#[tokio::test]
async fn workers_killed_at_random_lose_nothing_and_nothing_is_paid_twice() {
    let mut dice = dice();
    for _ in 0..rounds() {
        round(&mut dice).await;
    }
}
