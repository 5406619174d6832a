//! What every [`TaskStore`](crate::scheduler::TaskStore) promises about submitting, waiting and
//! leasing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    account_id, at, claim, complete, fund, lease, lease_one, node, node_id, spec, submit, success,
    task_id, units,
};
use crate::error::ErrorKind;
use crate::registry::{Millis, Percent};
use crate::scheduler::{
    Apart, Backoff, Gang, GpuRequirement, Locality, NewTask, Place, PowerNeed, Preference,
    QueuePolicy, Requirements, Selector, TaskFilter, TaskSpec, TaskState,
};
use crate::storage::Stores;

fn names(assignments: &[crate::scheduler::Assignment]) -> Vec<String> {
    assignments.iter().map(|a| String::from_utf8(a.payload.to_vec()).unwrap()).collect()
}

/// Higher priority first; among equals, first come first served.
pub async fn tasks_are_leased_by_priority_then_in_order(stores: &Stores) {
    for (name, priority) in [("a", 0), ("b", 5), ("c", -5), ("d", 5), ("e", 0)] {
        submit(stores, name, TaskSpec { priority, ..spec() }).await.unwrap();
    }
    let first = lease(stores, node("n", 10), 3, at(1)).await;
    assert_eq!(names(&first), ["b", "d", "a"]);
    let rest = lease(stores, node("n", 10), 3, at(1)).await;
    assert_eq!(names(&rest), ["e", "c"]);
    assert_eq!(lease(stores, node("n", 10), 3, at(1)).await, []);
}

/// Kind and requirements decide, and a node's running tasks count.
pub async fn a_node_gets_only_what_it_can_run(stores: &Stores) {
    let large = Requirements { memory_mib: 60, cpu_milli: 1_000, ..Requirements::default() };
    submit(stores, "other", TaskSpec::new("other".parse().unwrap())).await.unwrap();
    for name in ["large 1", "large 2"] {
        submit(stores, name, TaskSpec { requirements: large.clone(), ..spec() }).await.unwrap();
    }
    submit(stores, "small", spec()).await.unwrap();
    let strong = || {
        let mut strong = node("strong", 10);
        strong.resources.memory_mib = 100;
        strong.resources.cpu_cores = 8;
        strong
    };
    let granted = lease(stores, strong(), 10, at(1)).await;
    assert_eq!(names(&granted), ["large 1", "small"]);
    assert_eq!(lease(stores, strong(), 10, at(1)).await, []);
    complete(stores, success(claim(&granted[0]), None), at(2)).await.unwrap();
    assert_eq!(names(&lease(stores, strong(), 10, at(2)).await), ["large 2"]);
}

/// The store counts what a node holds, whatever the node thinks.
pub async fn a_node_gets_no_more_than_its_slots(stores: &Stores) {
    for number in 0..5 {
        submit(stores, &number.to_string(), spec()).await.unwrap();
    }
    assert_eq!(lease(stores, node("n", 2), 5, at(1)).await.len(), 2);
    assert_eq!(lease(stores, node("n", 2), 5, at(1)).await.len(), 0);
    assert_eq!(lease(stores, node("m", 2), 1, at(1)).await.len(), 1);
}

/// Tasks that no node can run stand in nobody's way, however many and urgent they are.
pub async fn what_nobody_can_run_blocks_nobody(stores: &Stores) {
    let mut batch = Vec::new();
    for number in 0..900 {
        // Many kinds of impossible, and many of each.
        let requirements =
            Requirements { memory_mib: 1_000_000 + number % 300, ..Requirements::default() };
        let spec = Arc::new(TaskSpec { requirements, priority: 100, ..spec() });
        let id = task_id(&number.to_string());
        batch.push(NewTask { id, spec, payload: "impossible".into() });
    }
    stores.tasks.submit(batch, QueuePolicy::default(), at(0)).await.unwrap();
    submit(stores, "possible", spec()).await.unwrap();
    // A look may stop after some kinds of task; the next one goes on from there.
    let mut granted = Vec::new();
    for _ in 0..4 {
        granted.extend(lease(stores, node("n", 4), 4, at(1)).await);
    }
    assert_eq!(names(&granted), ["possible"]);
}

/// Many ask at the same time, and each task goes to one.
pub async fn no_task_is_leased_twice(stores: &Stores) {
    for number in 0..100 {
        submit(stores, &number.to_string(), spec()).await.unwrap();
    }
    let ask = |number: u32| lease(stores, node(&format!("n{number}"), 3), 3, at(1));
    let granted = futures::future::join_all((0..40).map(ask)).await;
    let all: Vec<_> = granted.iter().flatten().map(|a| a.task.id).collect();
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (100, 100));
    assert!(granted.iter().all(|some| some.len() <= 3));
}

/// The same submission under one key, or one id, is one task; another content is a conflict.
pub async fn a_name_makes_one_task(stores: &Stores) {
    fund(stores, 100).await;
    let named = |priority| {
        let paid = spec().paid_by(account_id("alice"), units(10));
        TaskSpec { priority, ..paid.named("key".parse().unwrap()) }
    };
    let new = |id: &str, spec: TaskSpec, payload: &'static str| NewTask {
        id: task_id(id),
        spec: Arc::new(spec),
        payload: payload.into(),
    };
    // Another payer's key, and an unpaid one, are other names.
    let unpaid = spec().named("key".parse().unwrap());
    let batch = vec![
        new("1", named(0), "x"),
        new("2", named(0), "x"),
        new("3", named(1), "x"),
        new("4", named(0), "y"),
        new("5", unpaid, "x"),
        new("1", named(0), "x"),
        new("1", spec(), "x"),
    ];
    for round in 0..2 {
        let answers =
            stores.tasks.submit(batch.clone(), QueuePolicy::default(), at(round)).await.unwrap();
        let ids: Vec<_> =
            answers.iter().map(|a| a.as_ref().map(|s| (s.task.id, s.new)).ok()).collect();
        let (one, five) = (task_id("1"), task_id("5"));
        let new = round == 0;
        let old = Some((one, false));
        assert_eq!(ids, [Some((one, new)), old, None, None, Some((five, new)), old, None]);
        assert_eq!(answers[2].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(answers[6].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert_eq!(super::account(stores, "alice").await.debits_pending, units(10));
}

/// Every field survives, the extreme ones too.
pub async fn a_task_comes_back_as_it_was(stores: &Stores) {
    fund(stores, u128::MAX).await;
    let rich = TaskSpec {
        requirements: Requirements {
            cpu_milli: u32::MAX,
            memory_mib: 1 << 40,
            storage_mib: 1 << 40,
            bandwidth_mbps: 1,
            gpus: GpuRequirement {
                count: 2,
                memory_mib: 80_000,
                models: vec!["A100".into()],
                ..GpuRequirement::default()
            },
            required: vec![Selector::is("zone", "a\"b")],
            preferred: vec![Preference { selector: Selector::is("k", "v"), weight: 0.5 }],
            region: Some("eu".into()),
            max_latency: Millis::new(20.5).ok(),
            min_quality: Some(Percent::new(12.5).unwrap()),
            min_trust: Percent::new(0.1).ok(),
            max_price: Some(units(u128::MAX)),
            near: vec![Locality { at: Place::Region("eu".into()), mib: 1 << 40 }],
            apart: Some(Apart { group: "g".into(), key: Some("zone".into()), most: u32::MAX }),
            gang: Some(Gang { id: "gang".into(), size: 1_000 }),
            power: Some(PowerNeed { class: "games".into(), milliwatts: 5 }),
            exclusive: true,
        },
        priority: i16::MIN,
        deadline: Some(at(1_000)),
        max_attempts: 1_000,
        backoff: Backoff { factor: 1.5, ..Backoff::default() },
        ..spec()
            .paid_by(account_id("alice"), units(u128::MAX))
            .named("ключ 🔑".replace(' ', "-").parse().unwrap())
    };
    let submitted = submit(stores, "rich", rich.clone()).await.unwrap();
    assert_eq!(*submitted.spec, rich);
    assert_eq!(stores.tasks.task(submitted.id).await.unwrap(), Some(submitted));
    submit(stores, "plain", spec()).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await.task;
    assert_eq!(stores.tasks.task(leased.id).await.unwrap(), Some(leased));
    assert_eq!(stores.tasks.task(task_id("none")).await.unwrap(), None);
}

/// Listing follows the order of submission, in pages, and each condition of a filter counts.
pub async fn tasks_are_listed_in_order_and_filtered(stores: &Stores) {
    fund(stores, 100).await;
    for number in 0..12 {
        let paid = spec().paid_by(account_id("alice"), units(1));
        let kind = if number < 3 { "other" } else { "work" }.parse().unwrap();
        let spec = TaskSpec { kind, ..if number % 2 == 0 { paid } else { spec() } };
        submit(stores, &number.to_string(), spec).await.unwrap();
    }
    let granted = lease(stores, node("n", 10), 4, at(1)).await;
    complete(stores, success(claim(&granted[0]), None), at(2)).await.unwrap();
    let every = TaskFilter::default();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = stores.tasks.tasks(&every, after, 5).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        found.extend(page.into_iter().map(|task| task.id));
    }
    let expected: Vec<_> = (0..12).map(|number| task_id(&number.to_string())).collect();
    assert_eq!(found, expected);
    let cases = [
        (TaskFilter { state: Some(TaskState::Queued), ..every.clone() }, 8),
        (TaskFilter { state: Some(TaskState::Leased), ..every.clone() }, 3),
        (TaskFilter { kind: Some("other".parse().unwrap()), ..every.clone() }, 3),
        (TaskFilter { node: Some(node_id("n")), ..every.clone() }, 4),
        (TaskFilter { payer: Some(account_id("alice")), ..every.clone() }, 6),
    ];
    for (filter, expected) in cases {
        let found = stores.tasks.tasks(&filter, None, 100).await.unwrap();
        assert_eq!(found.len(), expected, "{filter:?}");
    }
    let unknown = stores.tasks.tasks(&every, Some(task_id("none")), 5).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let counts = stores.tasks.counts().await.unwrap();
    let expected = [(TaskState::Queued, 8), (TaskState::Leased, 3), (TaskState::Succeeded, 1)];
    assert_eq!(counts, expected.into());
}

/// A bad item is refused with its field named, and the others go through.
pub async fn items_of_a_batch_stand_each_on_their_own(stores: &Stores) {
    let bad = TaskSpec { max_attempts: 0, ..spec() };
    let batch = [("good", spec()), ("bad", bad), ("fine", spec())]
        .map(|(name, spec)| NewTask {
            id: task_id(name),
            spec: Arc::new(spec),
            payload: name.into(),
        })
        .into();
    let answers = stores.tasks.submit(batch, QueuePolicy::default(), at(0)).await.unwrap();
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(answers[1].as_ref().unwrap_err().field(), Some("max_attempts"));
    let granted = lease(stores, node("n", 9), 9, at(1)).await;
    assert_eq!(names(&granted), ["good", "fine"]);
    let stale = crate::scheduler::Claim { fence: 9, ..claim(&granted[0]) };
    let missing = crate::scheduler::Claim { task: task_id("none"), ..claim(&granted[0]) };
    let reports = [stale, missing, claim(&granted[1])].map(|claim| success(claim, None)).into();
    let answers = stores.tasks.complete(reports, at(2)).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(answers[2].as_ref().unwrap().state, TaskState::Succeeded);
}

/// A node's power budget for a class of tasks is shared by those that run, like memory.
pub async fn tasks_share_the_power_budget_of_their_class(stores: &Stores) {
    let mut phone = node("phone", 9);
    phone.power_budget.insert("games".into(), 1_000);
    let draws = |class: &str, milliwatts| {
        let mut spec = spec();
        spec.requirements.power = Some(PowerNeed { class: class.into(), milliwatts });
        spec
    };
    for (name, spec) in [
        ("1", draws("games", 600)),
        ("2", draws("games", 600)),
        ("too much", draws("games", 1_001)),
        ("other", draws("inference", 9_000)),
    ] {
        submit(stores, name, spec).await.unwrap();
    }
    let first = lease(stores, phone.clone(), 9, at(1)).await;
    assert_eq!(
        names(&first).iter().collect::<BTreeSet<_>>(),
        ["1".into(), "other".into()].iter().collect()
    );
    assert_eq!(lease(stores, phone.clone(), 9, at(2)).await, []);
    let game = first.iter().find(|given| given.task.id == task_id("1")).unwrap();
    complete(stores, success(claim(game), None), at(3)).await.unwrap();
    assert_eq!(names(&lease(stores, phone, 9, at(4)).await), ["2"]);
    assert_eq!(names(&lease(stores, node("box", 9), 9, at(5)).await), ["too much"]);
}

/// Tasks that are to be apart by a label count all nodes that share it, whoever asks.
pub async fn tasks_of_a_group_are_apart_by_label(stores: &Stores) {
    let in_zone = |name: &str, zone: &str| {
        let mut node = node(name, 9);
        node.labels.insert("zone".into(), zone.into());
        node
    };
    for (name, zone) in [("a", "east"), ("b", "east"), ("c", "west")] {
        stores.nodes.register(in_zone(name, zone), at(0)).await.unwrap();
    }
    let apart = |most| {
        let mut spec = spec();
        spec.requirements.apart =
            Some(Apart { group: "db".into(), key: Some("zone".into()), most });
        spec
    };
    for name in ["1", "2", "3"] {
        submit(stores, name, apart(1)).await.unwrap();
    }
    submit(stores, "plain", spec()).await.unwrap();
    let first = lease(stores, in_zone("a", "east"), 9, at(1)).await;
    assert_eq!(first.len(), 2, "one of the group, and the plain one");
    assert_eq!(lease(stores, in_zone("b", "east"), 9, at(2)).await, []);
    assert_eq!(lease(stores, in_zone("c", "west"), 9, at(2)).await.len(), 1);
    // Whoever has no such label is by itself.
    assert_eq!(lease(stores, node("d", 9), 9, at(2)).await.len(), 1);
    submit(stores, "4", apart(1)).await.unwrap();
    assert_eq!(lease(stores, in_zone("b", "east"), 9, at(3)).await, []);
    let of_group = first.iter().find(|given| given.task.spec.requirements.apart.is_some());
    complete(stores, success(claim(of_group.unwrap()), None), at(4)).await.unwrap();
    assert_eq!(lease(stores, in_zone("b", "east"), 9, at(5)).await.len(), 1);
}
