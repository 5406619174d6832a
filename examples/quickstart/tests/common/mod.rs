//! What the tests of the real processes share: running them, and auditing what they left.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use fogcore::Fog;
use fogcore::amount::{Amount, Asset};
use fogcore::ledger::{AccountFilter, HoldState, Purpose, TransferKind};
use fogcore::scheduler::{Task, TaskFilter, TaskState, settlement};
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take: far more than it does, so that only what hangs fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test, deaf to the environment that cargo gives its tests.
pub(crate) fn quickstart() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.env_remove("RUST_LOG").env_remove("CARGO_MANIFEST_DIR");
    command
}

/// Runs it to its end, which must come in time.
pub(crate) fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let mut command = quickstart();
    command.args(arguments).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let pid = Pid::from_child(&child);
    let (sender, ended) = mpsc::sync_channel(1);
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    ended.recv_timeout(DEADLINE).map_or_else(
        |_| {
            kill_process(pid, Signal::KILL).unwrap();
            let output = ended.recv().unwrap().unwrap();
            panic!("it did not end: {}", stderr(&output));
        },
        Result::unwrap,
    )
}

/// The one JSON object that it wrote.
pub(crate) fn json(output: &Output) -> Value {
    let shown = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A child that does not outlive its test.
pub(crate) struct Kept(pub(crate) Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it with a pipe to its standard input.
pub(crate) fn spawn(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Kept {
    let mut command = quickstart();
    command.args(arguments).stdin(Stdio::piped());
    Kept(command.stdout(Stdio::null()).spawn().unwrap())
}

pub(crate) async fn open(database: &Path) -> Fog {
    let url = format!("sqlite:{}", database.display());
    Fog::open(&url).await.unwrap()
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until<F: Future<Output = bool>>(fog: &Fog, what: &str, ask: impl Fn() -> F) {
    let (clock, begun) = (fog.clock(), fog.clock().elapsed());
    while !ask().await {
        assert!(clock.elapsed() - begun < DEADLINE, "still not: {what}");
        clock.sleep(Duration::from_millis(2)).await;
    }
}

/// How many tasks are in a state.
pub(crate) async fn count(fog: &Fog, state: TaskState) -> u64 {
    fog.counts().await.unwrap().get(&state).copied().unwrap_or(0)
}

/// All tasks.
pub(crate) async fn tasks(fog: &Fog) -> Vec<Task> {
    let tasks = fog.tasks(&TaskFilter::default(), None, 1_000).await;
    tasks.unwrap()
}

/// Checks that every one of `expected` tasks succeeded and was paid for exactly once, that
/// nothing is reserved any more, and that the books balance. Returns what was paid in all.
pub(crate) async fn audit(fog: &Fog, expected: usize) -> Amount {
    let (tasks, ledger) = (tasks(fog).await, fog.ledger());
    assert_eq!(tasks.len(), expected, "tasks");
    let (mut by_owner, mut all) = (BTreeMap::new(), Amount::ZERO);
    for task in tasks {
        assert_eq!(task.state, TaskState::Succeeded, "{task:?}");
        assert!(task.lease.is_none() && !task.paid.is_zero(), "{task:?}");
        let reward = ledger.posted(settlement::reward_id(task.id)).await.unwrap();
        let reward = reward.expect("a reward for every task").transfer;
        assert_eq!(reward.purpose, Purpose::TaskReward);
        let TransferKind::Direct { debit, credit, amount } = reward.kind else {
            panic!("not a direct transfer: {reward:?}");
        };
        assert_eq!((debit, amount), (settlement::escrow(), task.paid));
        let owner = format!("owner-of-{}", task.done_by.unwrap());
        assert_eq!(credit.as_str(), owner);
        let hold = ledger.posted(settlement::hold_id(task.id)).await.unwrap();
        assert_eq!(hold.unwrap().hold, Some(HoldState::Posted));
        let sum: &mut Amount = by_owner.entry(owner).or_default();
        *sum = sum.checked_add(amount).unwrap();
        all = all.checked_add(amount).unwrap();
    }
    // No owner has more than these rewards, so none of them came twice.
    for account in ledger.accounts(&AccountFilter::default(), None, 1_000).await.unwrap() {
        assert!(account.debits_pending.is_zero(), "{account:?}");
        assert!(account.credits_pending.is_zero(), "{account:?}");
        if account.id.as_str().starts_with("owner-of-") {
            let earned = by_owner.get(account.id.as_str());
            assert_eq!(account.credits_posted, earned.copied().unwrap_or_default());
            assert!(account.debits_posted.is_zero());
        }
    }
    assert!(ledger.trial_balance().await.unwrap().is_balanced());
    all
}

/// The amount that the JSON tells.
pub(crate) fn amount(value: &Value) -> Amount {
    Asset::FOG.parse(value.as_str().unwrap()).unwrap()
}

/// Writes `count` small files, each different, and returns their paths in order.
pub(crate) fn write_files(folder: &Path, count: usize) -> Vec<PathBuf> {
    let paths = (0..count).map(|index| {
        let path = folder.join(format!("file-{index:04}.txt"));
        std::fs::write(&path, format!("file {index}\n").repeat(index + 1)).unwrap();
        path
    });
    paths.collect()
}

/// The line that b3sum writes for a file whose name needs no escaping.
pub(crate) fn b3sum(path: &Path) -> String {
    let digest = blake3::hash(&std::fs::read(path).unwrap());
    format!("{}  {}\n", digest.to_hex(), path.display())
}

/// Dice from `FOGCORE_SEED`, or from a seed of their own; either way it is told.
pub(crate) fn dice() -> StdRng {
    let seed = match std::env::var("FOGCORE_SEED") {
        Ok(seed) => seed.parse().expect("FOGCORE_SEED is a number"),
        Err(_) => StdRng::try_from_rng(&mut SysRng).unwrap().next_u64(),
    };
    println!("FOGCORE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// How often the tests that kill at random do so.
pub(crate) fn rounds() -> usize {
    let rounds = std::env::var("FOGCORE_KILL_ROUNDS");
    rounds.map_or(3, |rounds| rounds.parse().expect("FOGCORE_KILL_ROUNDS is a number"))
}
