//! Any history of tasks, against a model of a page: leases, reports that are late or come twice,
//! preemption, replicas, backups, cancellation, and crashes at any point, after which the file is opened
//! again without ever having been closed. After each step each task is as the model says, nobody
//! has more than its slots, and every hold is that of an open task.
//!
//! `FOGCORE_HISTORY_CASES` says how many histories, and `FOGCORE_HISTORY_STEPS` how long they are.
#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_enum_variant,
    reason = "a test, whose values are few"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fogcore::ErrorKind;
use fogcore::amount::{Amount, Asset};
use fogcore::id::{AccountId, NodeId, TaskId, TransferId};
use fogcore::ledger::{Account, Purpose, Transfer};
use fogcore::registry::{LivenessPolicy, Node, NodeRecord, PowerPolicy};
use fogcore::scheduler::queue::{FairShares, Victim};
use fogcore::scheduler::replicas::part_id;
use fogcore::scheduler::{
    Assignment, Backoff, Backup, Candidate, Claim, Completion, LeaseRequest, NewTask, Outcome,
    PlacementPolicy, QueuePolicy, Renewal, SlaClass, Task, TaskFilter, TaskSpec, TaskState, Usage,
    settlement,
};
use fogcore::storage::{self, Stores};
use fogcore::time::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::Config;

const SLOTS: u32 = 2;
const LEASE: u64 = 30;

#[derive(Clone, Copy, Debug)]
enum How {
    Right,
    Wrong,
    Fails,
    FailsForGood,
}

#[derive(Clone, Debug)]
enum Op {
    Submit {
        limit: u128,
        attempts: u32,
        sla: SlaClass,
        priority: i16,
    },
    /// These nodes ask at the same time, each for so many.
    Lease(Vec<(u8, usize)>),
    Report(usize, How),
    Renew(usize),
    Release(usize),
    Preempt(usize, u64),
    BackUp(usize),
    Cancel(usize),
    Wait(u64),
}

/// A step, and whether its process dies within it: after so many turns of its runtime.
#[derive(Clone, Debug)]
struct Step {
    op: Op,
    dies: Option<u16>,
}

fn op() -> impl Strategy<Value = Op> {
    let how = prop_oneof![
        6 => Just(How::Right), 1 => Just(How::Wrong), 2 => Just(How::Fails),
        1 => Just(How::FailsForGood)
    ];
    let sla = prop_oneof![4 => Just(SlaClass::B), 1 => Just(SlaClass::A), 1 => Just(SlaClass::S)];
    prop_oneof![
        4 => (0..100_u128, 1..4_u32, sla, -1..=1_i16).prop_map(|(limit, attempts, sla, priority)| {
            Op::Submit { limit, attempts, sla, priority }
        }),
        5 => prop::collection::vec((0..4_u8, 1..4_usize), 1..4).prop_map(Op::Lease),
        6 => (0..64_usize, how).prop_map(|(claim, how)| Op::Report(claim, how)),
        2 => (0..64_usize).prop_map(Op::Renew),
        1 => (0..64_usize).prop_map(Op::Release),
        2 => (0..64_usize, 0..20_u64).prop_map(|(claim, notice)| Op::Preempt(claim, notice)),
        3 => (0..64_usize).prop_map(Op::BackUp),
        1 => (0..64_usize).prop_map(Op::Cancel),
        2 => (1..40_u64).prop_map(Op::Wait),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let dies = prop_oneof![5 => Just(None), 1 => (0..400_u16).prop_map(Some)];
    (op(), dies).prop_map(|(op, dies)| Step { op, dies })
}

/// A lease as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    node: NodeId,
    expires: u64,
    preempt: Option<u64>,
}

/// A task as the model knows it.
#[derive(Clone, Debug)]
struct Mine {
    state: TaskState,
    attempts: u32,
    fence: u64,
    held: Option<Held>,
    done_by: Option<NodeId>,
    paid: u128,
    limit: u128,
    most: u32,
    sla: SlaClass,
    /// What it is a replica of.
    of: Option<TaskId>,
    parts: u8,
    /// What it gave, and what its node asks for that.
    gave: Option<(&'static str, u128)>,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    tasks: BTreeMap<TaskId, Mine>,
    /// Those that clients submitted, in order.
    own: Vec<TaskId>,
    claims: Vec<Claim>,
}

impl Model {
    fn submit(&mut self, id: TaskId, limit: u128, most: u32, sla: SlaClass) {
        let mine = Mine {
            state: TaskState::Queued,
            attempts: 0,
            fence: 0,
            held: None,
            done_by: None,
            paid: 0,
            limit,
            most,
            sla,
            of: None,
            parts: 0,
            gave: None,
        };
        self.tasks.insert(id, mine);
        self.own.push(id);
        (0..sla.replicas()).for_each(|_| self.add_part(id));
    }

    fn add_part(&mut self, of: TaskId) {
        let task = self.tasks.get_mut(&of).unwrap();
        task.state = TaskState::Waiting;
        task.parts += 1;
        let number = task.parts;
        let part = Mine {
            state: TaskState::Queued,
            of: Some(of),
            limit: task.limit / u128::from(task.sla.replicas().max(1)),
            parts: 0,
            attempts: 0,
            fence: 0,
            held: None,
            ..task.clone()
        };
        self.tasks.insert(part_id(of, number), part);
    }

    /// Lets a second node begin, if the task may have one.
    fn back_up(&mut self, claim: &Claim) {
        let mine = &self.tasks[&claim.task];
        let is_asked = self.is_held(claim) && mine.sla == SlaClass::B && mine.of.is_none();
        if is_asked && mine.parts == 0 && mine.held.as_ref().unwrap().preempt.is_none() {
            self.add_part(claim.task);
            self.tasks.get_mut(&claim.task).unwrap().state = TaskState::Leased;
        }
    }

    fn is_backup(&self, id: TaskId) -> bool {
        let mine = &self.tasks[&id];
        mine.of.is_some() && mine.sla == SlaClass::B
    }

    fn parts(&self, of: TaskId) -> Vec<TaskId> {
        (1..=self.tasks[&of].parts).map(|number| part_id(of, number)).collect()
    }

    fn is_held(&self, claim: &Claim) -> bool {
        let mine = &self.tasks[&claim.task];
        mine.fence == claim.fence && mine.held.as_ref().is_some_and(|held| held.node == claim.node)
    }

    fn grant(&mut self, given: &Task) {
        let lease = given.lease.as_ref().unwrap();
        let mine = self.tasks.get_mut(&given.id).unwrap();
        assert_eq!(mine.state, TaskState::Queued, "{given:?} was not to be had");
        mine.state = TaskState::Leased;
        mine.attempts += 1;
        mine.fence += 1;
        let (node, of) = (lease.node.clone(), mine.of);
        mine.held = Some(Held { node: node.clone(), expires: self.now + LEASE, preempt: None });
        let claim = Claim { task: given.id, node: node.clone(), fence: lease.fence };
        self.claims.push(claim);
        if let Some(of) = of {
            let others = self.parts(of).into_iter().filter(|part| *part != given.id);
            let at = |part: TaskId| self.tasks[&part].held.as_ref().map(|held| held.node.clone());
            assert!(others.filter_map(at).all(|other| other != node), "two replicas at {node}");
        }
    }

    fn requeue(&mut self, id: TaskId, counts: bool) {
        let is_backup = self.is_backup(id);
        let backup = self.tasks.get(&part_id(id, 1));
        let is_backed_up = backup.is_some_and(|backup| backup.state == TaskState::Leased);
        let mine = self.tasks.get_mut(&id).unwrap();
        mine.held = None;
        mine.attempts -= u32::from(!counts);
        let is_over = counts && (mine.attempts >= mine.most || is_backup);
        if is_backup && !counts {
            return self.end(id, TaskState::Cancelled);
        }
        mine.state = if is_backed_up { TaskState::Waiting } else { TaskState::Queued };
        if !is_backed_up {
            self.end_parts(id);
            if is_over {
                self.end(id, TaskState::Dead);
            }
        }
    }

    /// Ends what is open of a task's replicas.
    fn end_parts(&mut self, of: TaskId) {
        for part in self.parts(of) {
            let part = self.tasks.get_mut(&part).unwrap();
            if !part.state.is_final() {
                (part.state, part.held) = (TaskState::Cancelled, None);
            }
        }
    }

    /// A backup has ended: its result is the task's, or the task goes on without.
    fn end_backup(&mut self, of: TaskId, id: TaskId) {
        let (backup, task) = (self.tasks[&id].clone(), self.tasks.get_mut(&of).unwrap());
        if task.state.is_final() {
            return;
        }
        if let Some((_, price)) = backup.gave {
            (task.paid, task.done_by) = (price, backup.done_by);
            self.end(of, TaskState::Succeeded);
            self.tasks.get_mut(&id).unwrap().paid = price;
        } else if task.state == TaskState::Waiting {
            if backup.state == TaskState::Failed {
                self.end(of, TaskState::Failed);
            } else if task.attempts >= task.most {
                self.end(of, TaskState::Dead);
            } else {
                task.state = TaskState::Queued;
            }
        }
    }

    fn end(&mut self, id: TaskId, state: TaskState) {
        let mine = self.tasks.get_mut(&id).unwrap();
        assert!(!mine.state.is_final(), "it ends twice");
        (mine.state, mine.held) = (state, None);
        let Some(of) = mine.of else { return self.end_parts(id) };
        if self.is_backup(id) {
            return self.end_backup(of, id);
        }
        let parts = self.parts(of);
        let all: Vec<_> = parts.iter().map(|part| &self.tasks[part]).collect();
        if self.tasks[&of].state.is_final() || all.iter().any(|part| !part.state.is_final()) {
            return;
        }
        let gave: Vec<_> = all.iter().filter_map(|part| part.gave).collect();
        let most = ["right", "wrong"]
            .into_iter()
            .find(|text| gave.iter().filter(|(given, _)| given == text).count() >= 2);
        match most {
            Some(text) => {
                let mut sum = 0;
                for part in &parts {
                    let part = self.tasks.get_mut(part).unwrap();
                    if let Some((_, price)) = part.gave.filter(|(given, _)| *given == text) {
                        part.paid = price;
                        sum += price;
                    }
                }
                self.tasks.get_mut(&of).unwrap().paid = sum;
                self.end(of, TaskState::Succeeded);
            }
            None if self.tasks[&of].sla == SlaClass::A && parts.len() == 2 => self.add_part(of),
            None => self.end(of, TaskState::Failed),
        }
    }

    /// What an accepted report does.
    fn report(&mut self, claim: &Claim, how: How) {
        let mine = self.tasks.get_mut(&claim.task).unwrap();
        let text = if matches!(how, How::Right) { "right" } else { "wrong" };
        match how {
            How::Right | How::Wrong => {
                mine.done_by = Some(claim.node.clone());
                if mine.of.is_some() {
                    mine.gave = Some((text, mine.limit));
                } else {
                    mine.paid = mine.limit;
                }
                self.end(claim.task, TaskState::Succeeded);
            }
            How::Fails => self.requeue(claim.task, true),
            How::FailsForGood => self.end(claim.task, TaskState::Failed),
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        let is_due = |mine: &Mine| mine.held.as_ref().is_some_and(|held| held.expires <= now);
        let due = self.tasks.iter().filter(|(_, mine)| is_due(mine)).map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            let held = self.tasks[&id].held.clone().unwrap();
            self.requeue(id, held.preempt.is_none_or(|end| end > now));
        }
    }
}

fn at(seconds: u64) -> Timestamp {
    let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    start.saturating_add(Duration::from_secs(seconds))
}

fn account(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

async fn fund(stores: &Stores) {
    let accounts = vec![
        Account::new(account("mint"), Asset::FOG),
        Account::new(account("alice"), Asset::FOG).limited_to_credits(),
        Account::new(account("bob"), Asset::FOG).limited_to_credits(),
        Account::new(settlement::escrow(), Asset::FOG),
    ];
    for opened in stores.ledger.open_accounts(accounts, at(0)).await.unwrap() {
        opened.unwrap();
    }
    let id = TransferId::derive(b"history", "mint");
    let (mint, alice) = (account("mint"), account("alice"));
    let mint = Transfer::direct(id, &mint, &alice, units(1_000_000), Purpose::Mint);
    stores.ledger.transfer(vec![mint], at(0)).await.unwrap().remove(0).unwrap();
}

fn asks(node: u8, limit: usize, now: Timestamp) -> LeaseRequest {
    let mut node = Node::new(format!("n{node}").parse().unwrap());
    node.serves.insert("work".parse().unwrap());
    node.slots = SLOTS;
    let record = NodeRecord::new(node, now);
    let (liveness, power) = (LivenessPolicy::default(), PowerPolicy::default());
    LeaseRequest {
        asker: Candidate::judge(&record, now, liveness, &power),
        rivals: Vec::new(),
        policy: PlacementPolicy::default(),
        shares: FairShares::default(),
        limit,
        duration: Duration::from_secs(LEASE),
    }
}

/// One step, ready to be sent, and again.
#[derive(Clone, Debug)]
enum Call {
    Submit(NewTask),
    Lease(Vec<LeaseRequest>),
    Report(Completion, How),
    Renew(Claim),
    Release(Claim),
    Preempt(Claim, u64),
    BackUp(Claim),
    Cancel(TaskId),
    Wait,
}

/// What came of it.
#[derive(Debug)]
enum Answer {
    Leased(Vec<Assignment>),
    One(Result<Option<Task>, ErrorKind>),
}

/// Makes a call of a step; none if there is nothing that it could be about.
fn call(model: &Model, op: &Op) -> Option<Call> {
    let claim = |place: usize| model.claims.iter().rev().nth(place % 12).cloned();
    Some(match op {
        Op::Submit { limit, attempts, sla, priority } => {
            let id = TaskId::derive(b"history", &model.own.len().to_string());
            let backoff = Backoff { initial: Duration::ZERO, ..Backoff::default() };
            let (max_attempts, sla, priority) = (*attempts, *sla, *priority);
            let spec = TaskSpec::new("work".parse().unwrap());
            let spec =
                TaskSpec { max_attempts, backoff, sla, priority, backup: Backup::WhenLate, ..spec };
            let is_free = *limit == 0;
            let spec = if is_free { spec } else { spec.paid_by(account("alice"), units(*limit)) };
            Call::Submit(NewTask { id, spec: Arc::new(spec), payload: "x".into() })
        }
        Op::Lease(askers) => {
            let now = at(model.now);
            Call::Lease(askers.iter().map(|(node, limit)| asks(*node, *limit, now)).collect())
        }
        Op::Report(place, how) => {
            let claim = claim(*place)?;
            let price = model.tasks[&claim.task].limit;
            let reward = (price > 0).then(|| (account("bob"), units(price)));
            let permanent = matches!(how, How::FailsForGood);
            let outcome = match how {
                How::Right => Outcome::Succeeded { result: "right".into(), reward },
                How::Wrong => Outcome::Succeeded { result: "wrong".into(), reward },
                _ => Outcome::Failed { reason: "made up".to_owned(), permanent },
            };
            let usage = Usage::default();
            Call::Report(Completion { claim, outcome, usage, log: Vec::new(), score: None }, *how)
        }
        Op::Renew(place) => Call::Renew(claim(*place)?),
        Op::Release(place) => Call::Release(claim(*place)?),
        Op::BackUp(place) => Call::BackUp(claim(*place)?),
        Op::Preempt(place, notice) => Call::Preempt(claim(*place)?, model.now + notice),
        Op::Cancel(place) => Call::Cancel(*model.own.get(place % model.own.len().max(1))?),
        Op::Wait(_) => Call::Wait,
    })
}

async fn send(stores: &Stores, call: Call, now: u64) -> Answer {
    fn one(answer: fogcore::Result<Task>) -> Answer {
        Answer::One(answer.map(Some).map_err(|error| error.kind()))
    }
    let (tasks, time) = (&stores.tasks, at(now));
    match call {
        Call::Submit(new) => {
            let mut answers = tasks.submit(vec![new], QueuePolicy::default(), time).await.unwrap();
            one(answers.remove(0).map(|submitted| submitted.task))
        }
        Call::Lease(requests) => {
            let all = requests.into_iter().map(|request| tasks.lease(request, time));
            let all = futures::future::join_all(all).await;
            Answer::Leased(all.into_iter().flat_map(Result::unwrap).collect())
        }
        Call::Report(report, _) => one(tasks.complete(vec![report], time).await.unwrap().remove(0)),
        Call::Renew(claim) => {
            let renewal = Renewal::new(claim, at(now + LEASE));
            one(tasks.renew(vec![renewal], time).await.unwrap().remove(0))
        }
        Call::Release(claim) => one(tasks.release(vec![claim], time).await.unwrap().remove(0)),
        Call::Preempt(claim, until) => {
            let (task, fence) = (claim.task, claim.fence);
            let victim = Victim { task, fence, makes_room_for: None };
            Answer::One(Ok(tasks.preempt(vec![victim], at(until), time).await.unwrap().pop()))
        }
        Call::BackUp(claim) => {
            Answer::One(Ok(tasks.back_up(vec![claim], time).await.unwrap().pop()))
        }
        Call::Cancel(task) => one(tasks.cancel(task, time).await),
        Call::Wait => {
            tasks.promote(time, 1_000).await.unwrap();
            tasks.expire(time, 1_000).await.unwrap();
            Answer::One(Ok(None))
        }
    }
}

/// Does in the model what was done, and checks the answer; without one, what is in the store tells
/// which leases there were.
fn follow(model: &mut Model, call: Call, answer: Option<Answer>, found: &[Task]) {
    let kind = |answer: Option<Answer>| match answer {
        Some(Answer::One(answer)) => Some(answer.map(|_| ())),
        _ => None,
    };
    let claimed = |model: &Model, claim: &Claim, answer: Option<Answer>| {
        let counts = model.is_held(claim);
        if let Some(answer) = kind(answer) {
            assert_eq!(answer, if counts { Ok(()) } else { Err(ErrorKind::Conflict) });
        }
        counts
    };
    match call {
        Call::Submit(new) => {
            let limit = new.spec.budget.as_ref().map_or(0, |budget| budget.limit.base_units());
            model.submit(new.id, limit, new.spec.max_attempts, new.spec.sla);
        }
        Call::Lease(_) => match answer {
            Some(Answer::Leased(given)) => given.iter().for_each(|one| model.grant(&one.task)),
            _ => {
                let is_new =
                    |task: &&Task| task.lease.is_some() && model.tasks[&task.id].held.is_none();
                found.iter().filter(is_new).collect::<Vec<_>>().into_iter().for_each(|task| {
                    model.grant(task);
                });
            }
        },
        Call::Report(report, how) => {
            let mine = &model.tasks[&report.claim.task];
            let again = mine.state == TaskState::Succeeded
                && mine.fence == report.claim.fence
                && mine.done_by.as_ref() == Some(&report.claim.node)
                && matches!(how, How::Right | How::Wrong);
            if again {
                if let Some(answer) = kind(answer) {
                    assert_eq!(answer, Ok(()));
                }
            } else if claimed(model, &report.claim, answer) {
                model.report(&report.claim, how);
            }
        }
        Call::Renew(claim) => {
            if claimed(model, &claim, answer) {
                let now = model.now;
                let held = model.tasks.get_mut(&claim.task).unwrap().held.as_mut().unwrap();
                let end = now + LEASE;
                held.expires = held.preempt.map_or(end, |preempt| preempt.min(end));
            }
        }
        Call::Release(claim) => {
            if claimed(model, &claim, answer) {
                model.requeue(claim.task, false);
            }
        }
        Call::Preempt(claim, until) => {
            let mine = model.tasks.get_mut(&claim.task).unwrap();
            if mine.fence == claim.fence
                && let Some(held) = mine.held.as_mut().filter(|held| held.preempt.is_none())
            {
                held.preempt = Some(until);
                held.expires = held.expires.min(until);
            }
        }
        Call::BackUp(claim) => model.back_up(&claim),
        Call::Cancel(task) => {
            let state = model.tasks[&task].state;
            let is_fine = !state.is_final() || state == TaskState::Cancelled;
            if let Some(answer) = kind(answer) {
                assert_eq!(answer, if is_fine { Ok(()) } else { Err(ErrorKind::Conflict) });
            }
            if !state.is_final() {
                model.end(task, TaskState::Cancelled);
            }
        }
        Call::Wait => model.expire(),
    }
}

async fn all_tasks(stores: &Stores) -> Vec<Task> {
    stores.tasks.tasks(&TaskFilter::default(), None, 1_000).await.unwrap()
}

async fn compare(stores: &Stores, model: &Model) {
    let found = all_tasks(stores).await;
    assert_eq!(found.len(), model.tasks.len());
    let mut loads: BTreeMap<NodeId, u32> = BTreeMap::new();
    for task in &found {
        let mine = &model.tasks[&task.id];
        let has = (task.state, task.attempts, task.fence, task.paid.base_units());
        assert_eq!(has, (mine.state, mine.attempts, mine.fence, mine.paid), "{task:?}\n{mine:?}");
        let held = task.lease.as_ref().map(|lease| {
            let seconds = |time: Timestamp| time.since(at(0)).as_secs();
            let preempt = lease.preempt_at.map(seconds);
            Held { node: lease.node.clone(), expires: seconds(lease.expires_at), preempt }
        });
        assert_eq!(held, mine.held, "{task:?}");
        if let Some(held) = held {
            *loads.entry(held.node).or_default() += 1;
        }
    }
    assert!(loads.values().all(|load| *load <= SLOTS), "{loads:?}");
    let own = || model.own.iter().map(|id| &model.tasks[id]);
    let held: u128 = own().filter(|mine| !mine.state.is_final()).map(|mine| mine.limit).sum();
    let paid: u128 = own().map(|mine| mine.paid).sum();
    let of = async |name: &str| stores.ledger.account(&account(name)).await.unwrap().unwrap();
    let (alice, bob) = (of("alice").await, of("bob").await);
    assert_eq!((alice.debits_pending, alice.debits_posted), (units(held), units(paid)));
    assert_eq!(bob.credits_posted, units(paid));
    let escrow = of(settlement::ESCROW).await;
    assert_eq!((escrow.credits_pending, escrow.credits_posted), (units(held), units(paid)));
    assert_eq!(escrow.debits_posted, units(paid));
    let mut counts: BTreeMap<TaskState, u64> = BTreeMap::new();
    model.tasks.values().for_each(|mine| *counts.entry(mine.state).or_default() += 1);
    assert_eq!(stores.tasks.counts().await.unwrap(), counts);
}

/// How a process ended.
enum End {
    /// All steps were done.
    Done,
    /// It died while this was under way.
    Died(Call),
}

/// Goes through the steps up to the next death of the process.
async fn live(stores: &Stores, model: &mut Model, steps: &mut std::vec::IntoIter<Step>) -> End {
    for Step { op, dies } in steps.by_ref() {
        if let Op::Wait(seconds) = &op {
            model.now += seconds;
        }
        let Some(call) = call(model, &op) else { continue };
        if let Some(turns) = dies {
            let dies = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                () = dies => {}
                _ = send(stores, call.clone(), model.now) => {}
            }
            return End::Died(call);
        }
        let answer = send(stores, call.clone(), model.now).await;
        follow(model, call, Some(answer), &[]);
        compare(stores, model).await;
    }
    End::Done
}

/// What a client does whose call was cut off: it sends it again. Who asked for work only hears of
/// what they got from the store.
async fn recover(stores: &Stores, model: &mut Model, call: Call) {
    if !matches!(call, Call::Lease(_)) {
        send(stores, call.clone(), model.now).await;
    }
    let found = all_tasks(stores).await;
    follow(model, call, None, &found);
    compare(stores, model).await;
}

/// Lets everything end: what is held is reported, what waits is handed out.
async fn drain(stores: &Stores, model: &mut Model) {
    for _ in 0..200 {
        if model.tasks.values().all(|mine| mine.state.is_final()) {
            return;
        }
        let held = model.claims.iter().filter(|claim| model.is_held(claim)).cloned();
        let held: BTreeSet<_> = held.map(|claim| (claim.task, claim.node, claim.fence)).collect();
        for (task, node, fence) in held {
            let claim = Claim { task, node, fence };
            let place = model.claims.iter().rev().position(|one| *one == claim).unwrap();
            // Calls are about the latest claims only.
            let claim = model.claims.remove(model.claims.len() - 1 - place);
            model.claims.push(claim);
            let call = call(model, &Op::Report(0, How::Right)).unwrap();
            let answer = send(stores, call.clone(), model.now).await;
            follow(model, call, Some(answer), &[]);
        }
        for node in 0..4 {
            let call = call(model, &Op::Lease(vec![(node, 9)])).unwrap();
            let answer = send(stores, call.clone(), model.now).await;
            follow(model, call, Some(answer), &[]);
        }
    }
    panic!("something is never done: {model:?}");
}

/// A process: a runtime of its own, which is dropped with all that runs in it.
fn in_a_process<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work())
}

/// Goes through a history on the store that this opens; `keeps` tells whether it outlives a process.
fn go_through(url: &str, keeps: bool, steps: Vec<Step>) {
    let mut model = Model::default();
    let mut steps = steps
        .into_iter()
        .map(|step| if keeps { step } else { Step { dies: None, ..step } })
        .collect::<Vec<_>>()
        .into_iter();
    let mut cut_off = None;
    loop {
        let is_first = model.now == 0 && model.own.is_empty() && cut_off.is_none();
        let end = in_a_process(async || {
            let stores = storage::open(url).await.unwrap();
            if is_first {
                fund(&stores).await;
            }
            if let Some(call) = cut_off.take() {
                recover(&stores, &mut model, call).await;
            }
            let end = live(&stores, &mut model, &mut steps).await;
            if matches!(end, End::Done) {
                drain(&stores, &mut model).await;
                compare(&stores, &model).await;
                assert!(stores.ledger.trial_balance().await.unwrap().is_balanced());
                stores.ledger.verify(&[]).await.unwrap();
            }
            end
        });
        match end {
            End::Done => return,
            End::Died(call) => cut_off = Some(call),
        }
    }
}

fn setting(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let most = usize::try_from(setting("FOGCORE_HISTORY_STEPS", 60)).unwrap();
    prop::collection::vec(step(), 1..most)
}

fn config() -> Config {
    let cases = setting("FOGCORE_HISTORY_CASES", 24);
    Config { failure_persistence: None, max_shrink_iters: 400, ..Config::with_cases(cases) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_history_of_a_file_balances_through_crashes(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("fog.db").display());
        go_through(&url, true, steps);
    }

    #[test]
    fn any_history_in_memory_balances(steps in steps()) {
        go_through("memory:", false, steps);
    }
}
