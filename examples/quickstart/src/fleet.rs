//! The worker processes, as their parent holds them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fogcore::id::NodeId;
use fogcore::time::Clock;

use crate::shapes::Shape;

/// How long workers may take to stop: [grace](fogcore::FogConfig::grace), and as much again for
/// reports to a store that is slow or full.
const PATIENCE: Duration = Duration::from_secs(8);

/// How a worker process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It lives.
    Working,
    /// We killed it.
    Killed,
    /// It ended, and nobody asked it to.
    Ended(ExitStatus),
}

/// A worker process.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    pub(crate) shape: Shape,
    pub(crate) state: State,
    pub(crate) child: Child,
}

/// All worker processes of a run.
#[derive(Debug)]
pub(crate) struct Fleet {
    database: PathBuf,
    /// How many workers it is to have.
    size: u16,
    /// Names of nodes that work on the same database for somebody else.
    taken: HashSet<NodeId>,
    next: usize,
    pub(crate) members: Vec<Member>,
}

impl Fleet {
    /// No workers yet. Two processes under one name would stop each other's heartbeats from
    /// counting, so those `taken` are left out.
    pub(crate) fn new(database: &Path, size: u16, taken: HashSet<NodeId>) -> Self {
        Self { database: database.to_path_buf(), size, taken, next: 1, members: Vec::new() }
    }

    /// Starts all workers, the shapes in turn.
    pub(crate) fn start(&mut self) -> Result<()> {
        (0..self.size.into()).try_for_each(|index| self.start_one(Shape::of(index)))
    }

    /// Starts one worker. It inherits the working directory and standard error.
    pub(crate) fn start_one(&mut self, shape: Shape) -> Result<()> {
        let node = self.free_name(shape)?;
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let child = Command::new(program)
            .arg("worker")
            .arg("--db")
            .arg(&self.database)
            .args(["--node", node.as_str(), "--shape", &shape.to_string()])
            .args(["--nodes", &self.size.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start the worker {node}"))?;
        self.members.push(Member { node, shape, state: State::Working, child });
        Ok(())
    }

    fn free_name(&mut self, shape: Shape) -> Result<NodeId> {
        loop {
            let name: NodeId = format!("{shape}-{}", self.next).parse()?;
            self.next += 1;
            if !self.taken.contains(&name) {
                return Ok(name);
            }
        }
    }

    /// Those that live.
    pub(crate) fn working(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.state == State::Working)
    }

    /// Looks for workers that ended although nobody asked them to, and returns them.
    ///
    /// # Errors
    /// If none is left to do the work.
    pub(crate) fn check(&mut self) -> Result<Vec<String>> {
        let mut news = Vec::new();
        for member in &mut self.members {
            if member.state == State::Working
                && let Some(status) = member.child.try_wait()?
            {
                member.state = State::Ended(status);
                news.push(format!("worker {} ended by itself: {status}", member.node));
            }
        }
        if !news.is_empty() && self.working().next().is_none() {
            let members = self.members.iter().map(|member| match member.state {
                State::Ended(status) => format!("{} ended by itself: {status}", member.node),
                State::Working | State::Killed => format!("{} was killed", member.node),
            });
            bail!("no worker is left: {}", members.collect::<Vec<_>>().join(", "));
        }
        Ok(news)
    }

    /// Lets all workers stop in good order, and does not wait for ever.
    pub(crate) async fn stop(&mut self, clock: &dyn Clock) {
        for member in &mut self.members {
            drop(member.child.stdin.take());
        }
        let begun = clock.elapsed();
        for member in &mut self.members {
            while matches!(member.child.try_wait(), Ok(None)) {
                if clock.elapsed().saturating_sub(begun) > PATIENCE {
                    eprintln!("worker {} does not stop and is killed", member.node);
                    // It may have ended just now; its leases run out either way.
                    let _ = member.child.kill();
                    let _ = member.child.wait();
                    break;
                }
                clock.sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
