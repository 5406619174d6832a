//! Killing a worker at the worst moment: while it holds work.
//!
//! A lease of a small file lasts some milliseconds, so "look, then kill" would mostly kill a
//! worker between two tasks, and nothing would be lost. The victim is therefore stopped first
//! (SIGSTOP). What the database then says of it stays true: it can be looked at in peace, and is
//! either killed (SIGKILL) with the work in its hands, or continued (SIGCONT) and stopped again a
//! little later.

use std::time::Duration;

use anyhow::{Context, Result};
use fogcore::Fog;
use fogcore::id::NodeId;
use fogcore::scheduler::{TaskFilter, TaskState};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::fleet::{Fleet, Member, State};
use crate::store::kind;

/// How long to wait for the database while the victim is stopped: it may hold a lock.
const LOOK: Duration = Duration::from_millis(500);

/// Who was killed, and with how many tasks in its hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Killed {
    pub(crate) node: NodeId,
    pub(crate) pid: u32,
    pub(crate) held: usize,
}

/// Kills the first of `order` (indexes of members) that holds a task, if one does.
pub(crate) async fn kill_a_holder(
    fog: &Fog,
    fleet: &mut Fleet,
    order: &[usize],
) -> Result<Option<Killed>> {
    // A look without stopping anybody first: it rules most out.
    let holders = holders(fog, None).await?;
    let candidate = order.iter().find(|index| {
        let member = &fleet.members[**index];
        member.state == State::Working && holders.contains(&member.node)
    });
    let Some(member) = candidate.map(|index| &mut fleet.members[*index]) else {
        return Ok(None);
    };
    let pid = Pid::from_child(&member.child);
    signal(pid, Signal::STOP)?;
    let held = tokio::select! {
        held = held_when_stopped(fog, member) => held,
        () = fog.clock().sleep(LOOK) => Ok(0),
    };
    match held {
        Ok(held) if held > 0 => kill(member, held).map(Some),
        other => {
            signal(pid, Signal::CONT)?;
            other.map(|_| None)
        }
    }
}

/// Kills a worker, whatever it holds.
pub(crate) fn kill(member: &mut Member, held: usize) -> Result<Killed> {
    signal(Pid::from_child(&member.child), Signal::KILL)?;
    member.child.wait().context("cannot wait for the victim")?;
    member.state = State::Killed;
    Ok(Killed { node: member.node.clone(), pid: member.child.id(), held })
}

async fn held_when_stopped(fog: &Fog, member: &Member) -> Result<usize> {
    // The signal is only on its way when `kill` returns; all threads must have come to rest.
    let options = WaitIdOptions::STOPPED
        | WaitIdOptions::EXITED
        | WaitIdOptions::NOWAIT
        | WaitIdOptions::NOHANG;
    let id = || WaitId::Pid(Pid::from_child(&member.child));
    while waitid(id(), options).context("cannot wait for the victim to stop")?.is_none() {
        fog.clock().sleep(Duration::from_millis(1)).await;
    }
    Ok(holders(fog, Some(member.node.clone())).await?.len())
}

/// The holder of each task that is leased; to one node only, if one is named.
async fn holders(fog: &Fog, node: Option<NodeId>) -> Result<Vec<NodeId>> {
    let filter = TaskFilter {
        state: Some(TaskState::Leased),
        kind: Some(kind()?),
        node,
        ..TaskFilter::default()
    };
    let tasks = fog.tasks(&filter, None, 1_000).await?;
    let leases = tasks.into_iter().filter_map(|task| task.lease);
    Ok(leases.map(|lease| lease.node).collect())
}

fn signal(pid: Pid, signal: Signal) -> Result<()> {
    // A process that ended by itself is a zombie until we wait for it, and takes any signal.
    kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to the victim"))
}
