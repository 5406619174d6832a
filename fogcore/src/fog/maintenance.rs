//! The loop in the background: what must happen although nobody asks for it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Shared, trouble::Trouble};
use crate::error::Result;
use crate::event::Event;
use crate::failover::FailoverOutcome;
use crate::id::NodeId;
use crate::registry::{Liveness, MAX_PAGE, NodeFilter};
use crate::scheduler::{Candidate, MAX_BATCH, Task, queue::preempt, replicas};
use crate::time::Timestamp;

/// What was last told of each node's liveness.
pub(super) type LivenessWatch = HashMap<NodeId, Liveness>;

/// For how many urgent tasks one step makes room.
const URGENT: usize = 256;

/// How many tasks one step takes in hand; what is left is next at once.
const STEP: usize = 1_000;

pub(super) async fn run(shared: Arc<Shared>) {
    let mut watched = shared.clock.elapsed();
    let mut upkeep = Trouble::with("maintenance");
    let mut watch = Trouble::with("the watch on liveness");
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = shared.clock.sleep(upkeep.wait(shared.config.maintain_every)) => {}
        }
        shared.step_failovers();
        // A store that is away for a while must not end the loop.
        match shared.maintain().await {
            Ok(()) => upkeep.over(),
            Err(error) => upkeep.failed(&error),
        }
        let now = shared.clock.elapsed();
        if now.saturating_sub(watched) >= shared.config.heartbeat_every / 2 {
            watched = now;
            match shared.watch_liveness().await {
                Ok(()) => watch.over(),
                Err(error) => watch.failed(&error),
            }
        }
    }
}

impl Shared {
    /// Ends leases, deadlines and holds that ran out, lets retries go, and removes what was kept
    /// for long enough.
    pub(super) async fn maintain(&self) -> Result<()> {
        let now = self.clock.now();
        while self.stores.tasks.promote(now, STEP).await? > 0 {
            self.work.notify_waiters();
        }
        loop {
            let ended = self.stores.tasks.expire(now, STEP).await?;
            ended.iter().for_each(|task| self.announce(task));
            if ended.len() < STEP {
                break;
            }
        }
        self.advance().await?;
        self.make_room(now).await?;
        self.back_up(now).await?;
        while self.stores.tasks.purge(now, STEP).await? == STEP {}
        loop {
            let freed = self.stores.ledger.expire_holds(now, STEP).await?;
            for posted in &freed {
                let transfer = posted.transfer.id;
                self.events.publish(Event::TransferPosted { transfer });
            }
            if freed.len() < STEP {
                break;
            }
        }
        self.maintain_market(STEP).await?;
        self.maintain_signaling(now, STEP).await
    }

    /// Lets urgent tasks that found no place take that of others.
    async fn make_room(&self, now: Timestamp) -> Result<()> {
        let policy = &self.config.preemption;
        if !policy.enabled {
            return Ok(());
        }
        let since = now.saturating_sub(policy.after);
        let passed = self.urgent_passed.load(Ordering::Relaxed);
        let urgent = self.stores.tasks.urgent(since, passed, URGENT).await?;
        // What nobody can make room for must not keep others from it: the next step goes on behind.
        let next = if urgent.len() == URGENT { passed + URGENT } else { 0 };
        self.urgent_passed.store(next, Ordering::Relaxed);
        if urgent.is_empty() {
            return Ok(());
        }
        let may = |node: &Candidate| {
            let never = |task: &Task| node.never(&task.spec.kind, &task.spec.requirements);
            urgent.iter().any(|task| never(task).is_none())
        };
        let nodes = self.some_nodes(MAX_PAGE, now, may).await?;
        let ids: Vec<_> = nodes.iter().map(|node| node.node.id.clone()).collect();
        let running = self.stores.tasks.running(&ids, MAX_PAGE).await?;
        let mut seats = preempt::Seats::new();
        for of in urgent.iter().filter_map(|task| Some(task.part.as_ref()?.of)) {
            if !seats.contains_key(&of)
                && let Some(task) = self.stores.tasks.task(of).await?
            {
                seats.insert(of, task.seats);
            }
        }
        let mut victims = preempt::plan(&urgent, seats, &nodes, &running);
        victims.truncate(MAX_BATCH);
        self.take_back(victims, now.saturating_add(policy.notice), now).await
    }

    /// Lets a second node begin with what takes too long.
    async fn back_up(&self, now: Timestamp) -> Result<()> {
        let policy = &self.config.backup;
        if !policy.enabled || !self.is_time_for_late(policy.every) {
            return Ok(());
        }
        let nodes = self.known_nodes().await?;
        let mut running = Vec::new();
        for some in nodes.chunks(MAX_PAGE) {
            let ids: Vec<_> = some.iter().map(|record| record.node.id.clone()).collect();
            running.extend(self.stores.tasks.running(&ids, MAX_PAGE).await?);
        }
        let liveness = self.config.liveness;
        let away = nodes.iter().filter(|node| node.liveness(now, liveness) == Liveness::Offline);
        let away: HashSet<_> = away.map(|record| &record.node.id).collect();
        let mut late = {
            let durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
            let usual = |kind: &_| durations.mean(kind);
            replicas::plan_backups(&running, &usual, &|node| away.contains(node), policy, now)
        };
        late.truncate(MAX_BATCH);
        if late.is_empty() {
            return Ok(());
        }
        for task in self.stores.tasks.back_up(late, now).await? {
            self.events.publish(Event::TaskQueued { task: replicas::part_id(task.id, 1) });
        }
        self.work.notify_waiters();
        Ok(())
    }

    /// Whether the last look for what takes too long was so long ago.
    fn is_time_for_late(&self, every: std::time::Duration) -> bool {
        let elapsed = self.clock.elapsed();
        let mut last = self.looked_for_late.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.is_none_or(|last| elapsed.saturating_sub(last) >= every);
        if is_time {
            *last = Some(elapsed);
        }
        is_time
    }

    /// Tells whose liveness changed since the last look.
    pub(super) async fn watch_liveness(&self) -> Result<()> {
        let mut after = None;
        let mut seen = LivenessWatch::new();
        // Before the look, so that who registers and fails over meanwhile is not taken for gone.
        let failing = self.failing_over();
        loop {
            let filter = NodeFilter::default();
            let page = self.stores.nodes.nodes(&filter, after.as_ref(), MAX_PAGE).await?;
            let now = self.clock.now();
            for record in &page {
                let liveness = record.liveness(now, self.config.liveness);
                seen.insert(record.node.id.clone(), liveness);
            }
            self.learn_of_stays(&page, now);
            match page.last() {
                Some(last) if page.len() == MAX_PAGE => after = Some(last.node.id.clone()),
                _ => break,
            }
        }
        // Somebody in another process may have removed them.
        for node in failing.iter().filter(|node| !seen.contains_key(*node)) {
            self.end_failover(node, FailoverOutcome::NodeRemoved);
        }
        let mut offline = Vec::new();
        {
            let mut known = self.liveness.lock().unwrap_or_else(PoisonError::into_inner);
            for (node, liveness) in &seen {
                let before = known.get(node).copied();
                // A node that is seen for the first time and is well is no news.
                if before.unwrap_or(Liveness::Online) != *liveness {
                    let node = node.clone();
                    self.events.publish(match liveness {
                        Liveness::Online => Event::NodeOnline { node },
                        Liveness::Suspect => Event::NodeSuspect { node },
                        Liveness::Offline => {
                            offline.push(node.clone());
                            Event::NodeOffline { node }
                        }
                    });
                }
            }
            *known = seen;
        }
        for host in offline {
            self.end_sessions_of(&host, true).await?;
        }
        Ok(())
    }
}
