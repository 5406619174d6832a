//! Tasks in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryStore;
use crate::error::Result;
use crate::id::{NodeId, TaskId};
use crate::registry::page_limit;
use crate::scheduler::queue::{Ahead, Victim};
use crate::scheduler::replicas::Trust;
use crate::scheduler::{
    self, Assignment, Claim, Completion, Explanation, LeaseRequest, LogLine, Matcher, NewTask,
    Offer, QueuePolicy, Renewal, SchedulerError, Submitted, Tally, Task, TaskCounts, TaskFilter,
    TaskStore,
};
use crate::storage::check_batch;
use crate::time::Timestamp;

#[async_trait]
impl TaskStore for MemoryStore {
    async fn submit(
        &self,
        tasks: Vec<NewTask>,
        policy: QueuePolicy,
        now: Timestamp,
    ) -> Result<Vec<Result<Submitted>>> {
        check_batch(tasks.len(), scheduler::MAX_BATCH)?;
        Ok(self.lock().each(tasks, now, |set, task| set.submit(task, &policy, now)))
    }

    async fn lease(&self, request: LeaseRequest, now: Timestamp) -> Result<Vec<Assignment>> {
        let limit = page_limit(request.limit)?;
        let state = &mut *self.lock();
        let near = state.index.neighbours(&state.nodes, &state.set);
        let candidates = state.index.candidates(&request, &near, limit, &state.set);
        let loads = state.index.loads();
        let expires_at = now.saturating_add(request.duration);
        let LeaseRequest { asker, rivals, policy, .. } = request;
        let (node, owner) = (asker.node.id.clone(), asker.node.owner.clone());
        let mut matcher = Matcher::new(asker, rivals, loads, near, policy, now);
        let mut assignments = Vec::new();
        for id in candidates {
            if assignments.len() == limit {
                break;
            }
            let Some(task) = state.set.task(id) else { continue };
            if !state.set.may_have(task, &node, owner.as_ref()) {
                continue;
            }
            match matcher.offer(task) {
                Offer::Taken(explanation) => {
                    let task =
                        state.set.lease(id, *explanation, owner.as_ref(), now, expires_at)?;
                    let payload = state.payloads.get(&task.work()).cloned().unwrap_or_default();
                    let checkpoint = state.checkpoints.get(&id).cloned();
                    state.index.turns.serve(task.spec.payer());
                    assignments.push(Assignment { task, payload, checkpoint });
                }
                Offer::Unfit => {}
                Offer::Enough => break,
            }
        }
        state.settle(now);
        Ok(assignments)
    }

    async fn renew(&self, renewals: Vec<Renewal>, now: Timestamp) -> Result<Vec<Result<Task>>> {
        check_batch(renewals.len(), scheduler::MAX_BATCH)?;
        Ok(self.lock().each(renewals, now, |set, renewal| set.renew(renewal, now)))
    }

    async fn complete(
        &self,
        completions: Vec<Completion>,
        now: Timestamp,
    ) -> Result<Vec<Result<Task>>> {
        check_batch(completions.len(), scheduler::MAX_BATCH)?;
        Ok(self.lock().each(completions, now, |set, completion| set.complete(completion, now)))
    }

    async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<Vec<Result<Task>>> {
        check_batch(claims.len(), scheduler::MAX_BATCH)?;
        Ok(self.lock().each(claims, now, |set, claim| set.release(claim, now)))
    }

    async fn cancel(&self, task: TaskId, now: Timestamp) -> Result<Task> {
        let state = &mut *self.lock();
        let answer = state.set.cancel(task, now);
        state.settle(now);
        answer
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let state = &mut *self.lock();
        let due = state.index.due(now, limit);
        let answers = state.each(due, now, |set, id| set.expire(id, now));
        Ok(crate::storage::ended(answers))
    }

    async fn promote(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let limit = page_limit(limit)?;
        let state = &mut *self.lock();
        let due = state.index.delayed_until(now, limit);
        for id in &due {
            if let Some(task) = state.set.task(*id) {
                state.index.update(task, now);
            }
        }
        Ok(due.len())
    }

    async fn ahead(&self, priority: i16, deadline: Option<Timestamp>) -> Result<Ahead> {
        let state = self.lock();
        Ok(state.index.ahead(priority, deadline, &state.set))
    }

    async fn urgent(&self, since: Timestamp, skip: usize, limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let state = self.lock();
        Ok(state.index.urgent(since, skip, limit, &state.set))
    }

    async fn running(&self, nodes: &[NodeId], limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let state = self.lock();
        let held = nodes.iter().flat_map(|node| state.index.held_by(node).take(limit));
        Ok(held.filter_map(|id| state.set.task(id)).cloned().collect())
    }

    async fn preempt(
        &self,
        victims: Vec<Victim>,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Task>> {
        check_batch(victims.len(), scheduler::MAX_BATCH)?;
        let answers = self.lock().each(victims, now, |set, victim| set.preempt(&victim, at));
        Ok(crate::storage::ended(answers))
    }

    async fn back_up(&self, late: Vec<Claim>, now: Timestamp) -> Result<Vec<Task>> {
        check_batch(late.len(), scheduler::MAX_BATCH)?;
        let answers = self.lock().each(late, now, |set, late| set.back_up(&late, now));
        Ok(crate::storage::ended(answers))
    }

    async fn advance(&self, now: Timestamp, limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let state = &mut *self.lock();
        let due = state.links.due(limit);
        let answers = state.each(due, now, |set, id| set.advance(id, now));
        Ok(crate::storage::ended(answers))
    }

    async fn resume(&self, task: TaskId, now: Timestamp) -> Result<Task> {
        let state = &mut *self.lock();
        let answer = state.set.resume(task, now);
        state.settle(now);
        answer
    }

    async fn purge(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let limit = page_limit(limit)?;
        let state = &mut *self.lock();
        let links = &state.links;
        let due = state.index.kept_until(now, limit, |id| !links.is_needed(id));
        let purged = state.each(due, now, |set, id| set.purge(id, now));
        Ok(purged.into_iter().flatten().filter(|purged| *purged).count())
    }

    async fn task(&self, task: TaskId) -> Result<Option<Task>> {
        Ok(self.lock().set.task(task).cloned())
    }

    async fn tasks(
        &self,
        filter: &TaskFilter,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let state = self.lock();
        let start = match after {
            Some(id) => state.index.place(id).ok_or(SchedulerError::TaskNotFound(id))?,
            None => 0,
        };
        let tasks = state.index.in_order(start).filter_map(|id| state.set.task(id));
        Ok(tasks.filter(|task| filter.matches(task)).take(limit).cloned().collect())
    }

    async fn result(&self, task: TaskId) -> Result<Option<Bytes>> {
        let state = self.lock();
        let of = state.set.task(task).and_then(|task| task.result_of).unwrap_or(task);
        Ok(state.results.get(&of).cloned())
    }

    async fn explanation(&self, task: TaskId) -> Result<Option<Explanation>> {
        Ok(self.lock().explanations.get(&task).cloned())
    }

    async fn log(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<LogLine>> {
        let limit = page_limit(limit)?;
        let state = self.lock();
        let lines = state.logs.get(&task).into_iter().flat_map(|log| {
            log.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, line)| line)
        });
        Ok(lines.take(limit).cloned().collect())
    }

    async fn counts(&self) -> Result<TaskCounts> {
        Ok(self.lock().index.counts())
    }

    async fn trust(&self) -> Result<BTreeMap<NodeId, Trust>> {
        Ok(self.lock().trust.clone())
    }

    async fn tallies(&self) -> Result<BTreeMap<NodeId, Tally>> {
        Ok(self.lock().tallies.clone())
    }
}
