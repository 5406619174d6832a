//! A synthetic week of phones: they come and go, charge at night, run hot, and are
//! picked up by their users, while clients submit, cancel and wait. Everything is made up, from a
//! seed; the engine, the stores' rules and the money are the real ones, and time is a manual clock.
//!
//! `FOGCORE_SEED` makes another week, `FOGCORE_PHONES` and `FOGCORE_PHONE_DAYS` a larger or a
//! smaller one: by default 150 phones and 7 days; the full size is 1,000 phones, for which it should
//! be built with optimisation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fogcore::amount::Amount;
use fogcore::id::{AccountId, TaskId};
use fogcore::ledger::{Purpose, TransferFilter, TransferKind};
use fogcore::registry::{
    Celsius, Heartbeat, LivenessPolicy, Node, Percent, PowerPolicy, PowerState, Rates,
};
use fogcore::scheduler::{
    Assignment, Backoff, Backup, Completion, News, Outcome, ParentFailure, PreemptionPolicy,
    Reconcile, SlaClass, Task, TaskFilter, TaskSpec, TaskState, Usage, settlement,
};
use fogcore::time::{Clock, ManualClock, SystemClock};
use fogcore::{ErrorKind, Fog, FogConfig};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// How often phones are looked at, and look for work.
const TICK: Duration = Duration::from_secs(600);
const TICKS_PER_DAY: u64 = 86_400 / TICK.as_secs();
const PAYERS: u64 = 8;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A phone and the habits of whoever has it.
struct Phone {
    node: Node,
    bedtime: u64,
    rises: u64,
    sequence: u64,
    battery: f64,
    heat: f64,
    used: bool,
    plugged: bool,
    /// Until which tick it is out of reach; for ever, if it was thrown away.
    away_until: u64,
    /// Whether its latest beats say that it may work: asserted when it is given some.
    works: bool,
    jobs: Vec<Job>,
}

/// What a phone has taken on.
struct Job {
    given: Assignment,
    done_at: u64,
    /// It was told that the work is in vain, and goes on all the same.
    is_zombie: bool,
    /// It reported, but the answer was lost.
    reported: bool,
}

/// What was seen that week.
#[derive(Debug, Default)]
struct Seen {
    submitted: u64,
    refused: u64,
    attempts: u64,
    accepted: u64,
    stale: u64,
    lost_answers: u64,
    asked_to_stop: u64,
    given_back: u64,
    cancelled: u64,
    vanished: u64,
    backups: u64,
}

struct World {
    fog: Fog,
    clock: Arc<ManualClock>,
    dice: StdRng,
    phones: Vec<Phone>,
    ids: Vec<TaskId>,
    /// In which state tasks were first seen to have ended: they must never leave it.
    ended: HashMap<TaskId, TaskState>,
    seen: Seen,
    tick: u64,
    /// After the week nobody uses a phone any more, until all is done.
    is_over: bool,
}

fn payer(number: u64) -> AccountId {
    common::account_id(&format!("payer-{number}"))
}

fn config() -> FogConfig {
    let liveness = LivenessPolicy { suspect_after: 2 * TICK, offline_after: 6 * TICK };
    let preemption = PreemptionPolicy { after: TICK, notice: TICK, ..PreemptionPolicy::default() };
    // Rivals are drawn from a snapshot of all, which is new with each tick.
    FogConfig { liveness, preemption, lease: 3 * TICK, max_rivals: 4, ..FogConfig::default() }
}

impl Phone {
    fn new(number: u64, dice: &mut StdRng) -> Self {
        let mut node = common::node(&format!("phone-{number}"), dice.random_range(1..=2));
        // Some people have several.
        node.owner = Some(common::account_id(&format!("owner-{}", number * 2 / 3)));
        let per_task = common::fog(["0.01", "0.02", "0.03"][dice.random_range(0..3)]);
        node.rates = Rates { per_task, ..Rates::default() };
        node.resources.memory_mib = 1_024 << dice.random_range(1..4);
        node.resources.cpu_cores = 8;
        node.labels.insert("synthetic".to_owned(), "yes".to_owned());
        Self {
            node,
            bedtime: (21 * 6 + dice.random_range(0..24)) % TICKS_PER_DAY,
            rises: 6 * 6 + dice.random_range(0..18),
            sequence: 0,
            battery: dice.random_range(20.0..100.0),
            heat: 28.0,
            used: false,
            plugged: false,
            away_until: 0,
            works: false,
            jobs: Vec::new(),
        }
    }

    /// Ten minutes of its life.
    fn live(&mut self, tick: u64, is_over: bool, dice: &mut StdRng) {
        let hour = tick % TICKS_PER_DAY;
        let is_night = hour >= self.bedtime && self.bedtime > self.rises
            || hour < self.rises && (self.bedtime > self.rises || hour >= self.bedtime);
        let (use_chance, plug_chance) = if is_night { (0.02, 0.95) } else { (0.3, 0.15) };
        self.used = !is_over && dice.random_bool(use_chance);
        if dice.random_bool(0.2) || is_over {
            self.plugged = is_over || dice.random_bool(plug_chance);
        }
        let change = if self.plugged { 5.0 } else { -0.7 } - if self.used { 2.0 } else { 0.0 };
        self.battery = (self.battery + change).clamp(1.0, 100.0);
        let load = 6.0 * self.jobs.len() as f64;
        let towards = 26.0 + if self.plugged { 5.0 } else { 0.0 } + load;
        // Under a pillow, or in the sun.
        let spike = if !is_over && dice.random_bool(0.002) { 45.0 } else { 0.0 };
        self.heat += (towards - self.heat) / 2.0 + spike;
    }

    fn power(&self, is_night_or_home: bool) -> PowerState {
        PowerState {
            battery: Percent::new(self.battery).ok(),
            charging: self.plugged,
            temperature: Celsius::new(self.heat).ok(),
            metered: !is_night_or_home,
            user_active: self.used,
        }
    }
}

impl World {
    async fn new(seed: u64, phones: u64) -> Self {
        let (builder, clock) = common::still();
        let fog = builder.seed(seed).config(config()).open().await.unwrap();
        let mut dice = StdRng::seed_from_u64(seed);
        for number in 0..PAYERS {
            // The last one cannot pay for all that it asks.
            let funds = if number + 1 == PAYERS { "5" } else { "100000" };
            fog.ledger().mint(&payer(number), common::fog(funds)).await.unwrap();
        }
        let phones: Vec<_> = (0..phones).map(|number| Phone::new(number, &mut dice)).collect();
        for phone in &phones {
            fog.register(phone.node.clone()).await.unwrap();
        }
        let (ids, ended, seen) = (Vec::new(), HashMap::new(), Seen::default());
        Self { fog, clock, dice, phones, ids, ended, seen, tick: 0, is_over: false }
    }

    fn spec(&mut self) -> TaskSpec {
        let dice = &mut self.dice;
        let now = self.clock.now();
        let ticks = |ticks: u64| now.saturating_add(TICK * u32::try_from(ticks).unwrap());
        let payer_number = dice.random_range(0..PAYERS + 1);
        let spec = common::spec();
        let mut spec = if payer_number < PAYERS {
            let limit = Amount::from_base_units(
                common::fog("0.03").base_units() * dice.random_range(1..=4),
            );
            spec.paid_by(payer(payer_number), limit)
        } else {
            spec
        };
        spec.requirements.memory_mib = [0, 0, 0, 1_500][dice.random_range(0..4)];
        spec.priority = [0, 0, 0, 0, 0, 0, 0, 0, 0, 3][dice.random_range(0..10)];
        spec.sla = match dice.random_range(0..20) {
            0 => SlaClass::S,
            1 => SlaClass::A,
            _ => SlaClass::B,
        };
        spec.max_attempts = dice.random_range(2..8);
        spec.backoff = Backoff { initial: TICK, ..Backoff::default() };
        let some = |dice: &mut StdRng, chance| dice.random_bool(chance);
        spec.not_before = some(dice, 0.1).then(|| ticks(dice.random_range(1..40)));
        spec.deadline = some(dice, 0.1).then(|| ticks(dice.random_range(41..200)));
        if some(dice, 0.5) {
            spec.backup = Backup::WhenLate;
            spec.reconcile = Reconcile::Fastest;
        }
        spec.offline_for = some(dice, 0.3).then(|| TICK * dice.random_range(3..30));
        if !self.ids.is_empty() && some(dice, 0.1) {
            let recent = self.ids.len().saturating_sub(50)..self.ids.len();
            spec.after = vec![self.ids[dice.random_range(recent)]];
            let policies = [ParentFailure::Cancel, ParentFailure::Run, ParentFailure::Hold];
            spec.if_parent_fails = policies[dice.random_range(0..3)];
        }
        spec
    }

    async fn submit(&mut self, count: u64) {
        let batch = (0..count).map(|_| (self.spec(), Bytes::from("x"))).collect::<Vec<_>>();
        if batch.is_empty() {
            return;
        }
        for answer in self.fog.submit_all(batch).await.unwrap() {
            match answer {
                Ok(submitted) => {
                    assert!(submitted.new);
                    self.ids.push(submitted.task.id);
                    self.seen.submitted += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
                    self.seen.refused += 1;
                }
            }
        }
        if self.dice.random_bool(0.3) && !self.ids.is_empty() {
            let id = self.ids[self.dice.random_range(0..self.ids.len())];
            if self.fog.cancel(id).await.is_ok() {
                self.seen.cancelled += 1;
            }
        }
    }

    async fn step(&mut self, tasks: u64) {
        for half in 0..2 {
            self.clock.advance(TICK / 2);
            self.fog.maintain().await.unwrap();
            if half == 0 {
                self.submit(tasks).await;
                let mut order: Vec<_> = (0..self.phones.len()).collect();
                order.shuffle(&mut self.dice);
                for place in order {
                    self.phone(place).await;
                }
            }
        }
        self.tick += 1;
    }

    /// What a phone does in its ten minutes.
    async fn phone(&mut self, place: usize) {
        let (tick, is_over) = (self.tick, self.is_over);
        let phone = &mut self.phones[place];
        phone.live(tick, is_over, &mut self.dice);
        if is_over {
            phone.away_until = 0;
        }
        if phone.away_until > tick {
            return;
        }
        if !is_over && self.dice.random_bool(0.006) {
            // Out of reach, or broken for good. What ran may be lost, or go on.
            self.seen.vanished += 1;
            let for_good = self.dice.random_bool(0.03);
            let long = self.dice.random_range(1..60);
            phone.away_until = if for_good { u64::MAX } else { tick + long };
            if self.dice.random_bool(0.4) {
                phone.jobs.clear();
            }
            return;
        }
        // Only what could work tells how it is so often, and everybody once at first.
        if phone.sequence == 0 || phone.plugged || phone.works || !phone.jobs.is_empty() {
            phone.sequence += 1;
            let power = phone.power(phone.plugged || self.dice.random_bool(0.5));
            let beat = Heartbeat::new(phone.sequence).with_power(power);
            let record = match self.fog.beat(&phone.node.id, beat).await.unwrap() {
                fogcore::registry::Beat::Accepted(record) => record,
                fogcore::registry::Beat::Stale(_) => panic!("beats grow"),
            };
            let now = self.clock.now();
            phone.works = record.eligibility(now, &PowerPolicy::default()).is_ok();
        }
        self.report(place).await;
        self.renew(place).await;
        self.ask(place).await;
    }

    async fn report(&mut self, place: usize) {
        let mut jobs = std::mem::take(&mut self.phones[place].jobs);
        let mut left = Vec::new();
        for mut job in jobs.drain(..) {
            if job.done_at > self.tick {
                left.push(job);
                continue;
            }
            let report = self.completion(place, &job);
            let answer = self.fog.complete(vec![report.clone()]).await.unwrap().remove(0);
            match &answer {
                Ok(task) => {
                    assert!(!job.is_zombie, "a fenced attempt counted: {task:?}");
                    if job.reported && task.state == TaskState::Succeeded {
                        // The first report counted already; again, it is the same answer.
                        assert!(task.ended_at.is_some_and(|ended| ended < self.clock.now()));
                    } else {
                        self.seen.accepted += 1;
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                    self.seen.stale += 1;
                }
            }
            // The answer is lost now and then, and who did not hear it reports again.
            if !job.reported && answer.is_ok() && self.dice.random_bool(0.1) {
                job.reported = true;
                self.seen.lost_answers += 1;
                left.push(job);
            }
        }
        self.phones[place].jobs = left;
    }

    fn completion(&mut self, place: usize, job: &Job) -> Completion {
        let node = &self.phones[place].node;
        let usage = Usage { busy: Some(TICK), ..Usage::default() };
        let outcome = if !job.reported && !self.is_over && self.dice.random_bool(0.05) {
            let permanent = self.dice.random_bool(0.1);
            Outcome::Failed { reason: "synthetic".to_owned(), permanent }
        } else {
            let reward = settlement::reward(node, &job.given.task.spec, &usage);
            let result = if self.dice.random_bool(0.02) { "wrong" } else { "right" };
            Outcome::Succeeded { result: result.into(), reward }
        };
        Completion {
            claim: common::claim(&job.given),
            outcome,
            usage,
            log: Vec::new(),
            score: None,
        }
    }

    async fn renew(&mut self, place: usize) {
        let mut jobs = std::mem::take(&mut self.phones[place].jobs);
        let running = || jobs.iter().filter(|job| !job.reported && !job.is_zombie);
        let claims: Vec<_> =
            running().map(|job| (common::claim(&job.given), News::default())).collect();
        if !claims.is_empty() {
            let mut answers = self.fog.renew(claims.clone()).await.unwrap().into_iter();
            let mut back = Vec::new();
            for job in jobs.iter_mut().filter(|job| !job.reported && !job.is_zombie) {
                match answers.next().unwrap() {
                    Ok(task) if task.lease.as_ref().unwrap().preempt_at.is_some() => {
                        self.seen.asked_to_stop += 1;
                        if self.dice.random_bool(0.7) {
                            back.push(common::claim(&job.given));
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                        job.is_zombie = true;
                    }
                }
            }
            // Most drop what is in vain; some go on, and are told when they report.
            let dice = &mut self.dice;
            jobs.retain(|job| {
                let is_back = back.contains(&common::claim(&job.given));
                !is_back && (!job.is_zombie || dice.random_bool(0.5))
            });
            self.seen.given_back += back.len() as u64;
            for answer in self.fog.release(back).await.unwrap() {
                answer.unwrap();
            }
        }
        self.phones[place].jobs = jobs;
    }

    async fn ask(&mut self, place: usize) {
        let phone = &mut self.phones[place];
        let slots = phone.node.slots as usize;
        // Who knows that it may not work does not ask; a few ask all the same. Who may work asks
        // every half an hour.
        let chance = if phone.works { 0.33 } else { 0.01 };
        if phone.jobs.len() >= slots || !self.dice.random_bool(chance) {
            return;
        }
        let granted = self.fog.lease(&phone.node.id, slots).await.unwrap();
        assert!(granted.is_empty() || phone.works && !phone.used, "it is used, or may not work");
        for given in granted {
            self.seen.attempts += 1;
            self.seen.backups += u64::from(given.task.is_backup());
            let done_at = self.tick + self.dice.random_range(1..6);
            // Now and then one gets lost, and takes all night.
            let done_at = if self.dice.random_bool(0.02) { done_at + 40 } else { done_at };
            phone.jobs.push(Job { given, done_at, is_zombie: false, reported: false });
        }
        let running = phone.jobs.iter().filter(|job| !job.is_zombie && !job.reported).count();
        assert!(running <= slots, "more tasks than slots");
    }

    /// All tasks, each with its replicas.
    async fn tasks(&self) -> Vec<Task> {
        let (mut tasks, mut after) = (Vec::new(), None);
        loop {
            let page = self.fog.tasks(&TaskFilter::default(), after, 1_000).await.unwrap();
            let Some(last) = page.last() else { return tasks };
            after = Some(last.id);
            tasks.extend(page);
        }
    }

    /// What must be so at any time: no task is lost or leaves its end, and the money is where the
    /// tasks say that it is.
    async fn check(&mut self) -> usize {
        let tasks = self.tasks().await;
        let own: Vec<_> = tasks.iter().filter(|task| task.part.is_none()).collect();
        let found: HashSet<_> = own.iter().map(|task| task.id).collect();
        assert_eq!((found.len(), own.len()), (self.ids.len(), self.ids.len()), "tasks are lost");
        assert!(self.ids.iter().all(|id| found.contains(id)));
        let mut loads: BTreeMap<_, u32> = BTreeMap::new();
        for task in &tasks {
            assert_eq!(task.ended_at.is_some(), task.state.is_final());
            assert_eq!(task.lease.is_some(), task.state == TaskState::Leased);
            if task.state.is_final() {
                let first = *self.ended.entry(task.id).or_insert(task.state);
                assert_eq!(first, task.state, "it ended twice: {task:?}");
            } else {
                assert!(!self.ended.contains_key(&task.id), "it came back: {task:?}");
            }
            if let Some(lease) = &task.lease {
                *loads.entry(lease.node.clone()).or_default() += 1;
            }
        }
        for phone in &self.phones {
            let load = loads.get(&phone.node.id).copied().unwrap_or_default();
            assert!(load <= phone.node.slots, "{} has {load}", phone.node.id);
        }
        for number in 0..PAYERS {
            let payer = payer(number);
            let of = || own.iter().filter(|task| task.spec.payer() == Some(&payer));
            let limit = |task: &Task| task.spec.budget.as_ref().unwrap().limit.base_units();
            let held: u128 = of().filter(|t| !t.state.is_final()).map(|task| limit(task)).sum();
            let paid: u128 = of().map(|task| task.paid.base_units()).sum();
            let account = self.fog.ledger().account(&payer).await.unwrap().unwrap();
            let has = (account.debits_pending, account.debits_posted);
            let expected = (Amount::from_base_units(held), Amount::from_base_units(paid));
            assert_eq!(has, expected, "of {payer}");
        }
        assert!(common::is_balanced(&self.fog).await);
        own.iter().filter(|task| !task.state.is_final()).count()
    }

    /// Reads all that was paid for tasks from the journal.
    async fn rewards(&self) -> HashMap<TaskId, Vec<(AccountId, Amount)>> {
        let (mut rewards, mut after): (HashMap<_, Vec<_>>, _) = (HashMap::new(), None);
        let filter =
            TransferFilter { purpose: Some(Purpose::TaskReward), ..TransferFilter::default() };
        loop {
            let page = self.fog.ledger().transfers(&filter, after, 1_000).await.unwrap();
            let Some(last) = page.last() else { return rewards };
            after = Some(last.place);
            for entry in page {
                let transfer = entry.posted.transfer;
                let TransferKind::Direct { credit, amount, .. } = transfer.kind else {
                    panic!("a reward is a direct transfer");
                };
                let task = TaskId::from_uuid(transfer.reference.unwrap());
                rewards.entry(task).or_default().push((credit, amount));
            }
        }
    }
}

#[tokio::test]
async fn a_week_of_phones_loses_no_task_and_pays_none_twice() {
    let seed = setting("FOGCORE_SEED", 7);
    let (phones, days) = (setting("FOGCORE_PHONES", 150), setting("FOGCORE_PHONE_DAYS", 7));
    eprintln!("synthetic: FOGCORE_SEED={seed} FOGCORE_PHONES={phones} FOGCORE_PHONE_DAYS={days}");
    let wall = SystemClock::new();
    let mut world = World::new(seed, phones).await;
    while world.tick < days * TICKS_PER_DAY {
        // Some fourteen tasks for each phone and week.
        let week = 7 * TICKS_PER_DAY;
        let (tasks, rest) = (phones * 14 / week, phones * 14 % week);
        let extra = u64::from(world.dice.random_range(0..week) < rest);
        world.step(tasks + extra).await;
        if world.tick.is_multiple_of(TICKS_PER_DAY) {
            let open = world.check().await;
            eprintln!("day {}: {open} tasks are open", world.tick / TICKS_PER_DAY);
        }
    }
    world.is_over = true;
    for _ in 0..7 * TICKS_PER_DAY {
        world.step(0).await;
        let counts = world.fog.counts().await.unwrap();
        if counts.keys().all(|state| state.is_final()) {
            break;
        }
        // Whoever holds tasks back decides at last.
        if world.tick.is_multiple_of(10) && counts.contains_key(&TaskState::Waiting) {
            for task in world.tasks().await.into_iter().filter(|task| task.held) {
                world.fog.resume(task.id).await.unwrap();
            }
        }
    }
    assert_eq!(world.check().await, 0, "tasks never end");
    let rewards = world.rewards().await;
    let mut paid = 0;
    for task in world.tasks().await.iter().filter(|task| task.part.is_none()) {
        let rewards = rewards.get(&task.id).map(Vec::as_slice).unwrap_or_default();
        let sum: u128 = rewards.iter().map(|(_, amount)| amount.base_units()).sum();
        assert_eq!(sum, task.paid.base_units(), "{task:?}");
        assert!(rewards.is_empty() || task.state == TaskState::Succeeded, "{task:?}");
        let owners: HashSet<_> = rewards.iter().map(|(owner, _)| owner).collect();
        assert_eq!(owners.len(), rewards.len(), "somebody was paid twice: {task:?}");
        assert!(rewards.len() <= usize::from(task.spec.sla.replicas().max(1)), "{task:?}");
        paid += rewards.len();
    }
    world.fog.ledger().verify(&[]).await.unwrap();
    let seen = &world.seen;
    eprintln!("{:?}; {paid} rewards; {:?}", world.fog.counts().await.unwrap(), seen);
    eprintln!("{:.1} s for {} ticks", wall.elapsed().as_secs_f64(), world.tick);
    // A week in which nothing went wrong would prove nothing.
    let went_wrong = [
        seen.stale,
        seen.lost_answers,
        seen.asked_to_stop,
        seen.vanished,
        seen.cancelled,
        seen.backups,
    ];
    assert!(went_wrong.iter().all(|what| *what > 0), "{seen:?}");
    assert!(seen.accepted > seen.submitted / 2, "{seen:?}");
}
