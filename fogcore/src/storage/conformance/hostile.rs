//! What every store promises when somebody asks for what nobody in their right mind would: one bad
//! item must stay one bad item.

use std::sync::Arc;

use super::{
    account, at, claim, complete, fund, lease, lease_one, node, spec, submit, success, task_id,
    transfer_id, units,
};
use crate::amount::Amount;
use crate::ledger::{Purpose, Transfer};
use crate::registry::{LivenessPolicy, NodeRecord, PowerPolicy, Rates, Resources};
use crate::scheduler::queue::FairShares;
use crate::scheduler::{
    Candidate, LeaseRequest, PlacementPolicy, Progress, QueuePolicy, Renewal, TaskSpec, TaskState,
    settlement,
};
use crate::storage::Stores;

/// A task whose hold somebody ended behind its back cannot end; the others can.
pub async fn a_task_that_cannot_end_keeps_no_other_from_ending(stores: &Stores) {
    fund(stores, 100).await;
    let limit = units(10);
    let once = TaskSpec { max_attempts: 1, ..spec() };
    let paid = once.clone().paid_by("alice".parse().unwrap(), limit);
    submit(stores, "robbed", paid).await.unwrap();
    submit(stores, "honest", once).await.unwrap();
    assert_eq!(lease(stores, node("n", 2), 2, at(1)).await.len(), 2);
    let hold = settlement::hold_id(task_id("robbed"));
    let void = Transfer::void(transfer_id("theft"), hold, Purpose::Transfer);
    stores.ledger.transfer(vec![void], at(2)).await.unwrap().remove(0).unwrap();
    let ended = stores.tasks.expire(at(60), 10).await.unwrap();
    let ended: Vec<_> = ended.iter().map(|task| (task.id, task.state)).collect();
    assert_eq!(ended, [(task_id("honest"), TaskState::Dead)]);
    assert_eq!(account(stores, "alice").await.debits_pending, Amount::ZERO);
}

/// Progress that is no number, and a note without end, come back in range.
pub async fn progress_out_of_range_is_kept_in_range(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await;
    let progress = Some(Progress { done: f64::NAN, note: "x".repeat(10_000) });
    let renewal = Renewal { news: progress.into(), ..Renewal::new(claim(&leased), at(90)) };
    stores.tasks.renew(vec![renewal], at(2)).await.unwrap().remove(0).unwrap();
    let kept = stores.tasks.task(task_id("t")).await.unwrap().unwrap().progress.unwrap();
    assert_eq!((kept.done.to_bits(), kept.note.len()), (0.0_f64.to_bits(), 256));
}

/// The largest resources that are allowed can be asked for, taken and added up.
pub async fn the_largest_resources_add_up(stores: &Stores) {
    let most = 1 << 40;
    let mut huge = spec();
    (huge.requirements.memory_mib, huge.requirements.storage_mib) = (most, most);
    for name in ["a", "b"] {
        submit(stores, name, huge.clone()).await.unwrap();
    }
    let large = |name: &str| {
        let resources = Resources { memory_mib: most, storage_mib: most, ..Resources::default() };
        crate::registry::Node { resources, ..node(name, 4) }
    };
    assert_eq!(lease(stores, large("n"), 4, at(1)).await.len(), 1, "there is room for one");
    assert_eq!(lease(stores, large("m"), 4, at(1)).await.len(), 1);
    huge.requirements.memory_mib += 1;
    let refused = submit(stores, "c", huge).await.unwrap_err();
    assert_eq!(refused.field(), Some("requirements.memory_mib"));
}

/// A task whose deadline has passed goes to nobody, whether it was ended yet or not.
pub async fn a_task_is_not_handed_out_after_its_deadline(stores: &Stores) {
    submit(stores, "late", TaskSpec { deadline: Some(at(5)), ..spec() }).await.unwrap();
    submit(stores, "early", TaskSpec { deadline: Some(at(6)), ..spec() }).await.unwrap();
    let granted = lease(stores, node("n", 2), 2, at(5)).await;
    assert_eq!(granted.iter().map(|given| given.task.id).collect::<Vec<_>>(), [task_id("early")]);
}

/// What a node has no room for now does not stand in the way of what it has room for.
pub async fn large_tasks_do_not_block_a_slot_for_small_ones(stores: &Stores) {
    let needs = |mib| {
        let mut spec = spec();
        spec.requirements.memory_mib = mib;
        spec
    };
    for name in ["large-1", "large-2", "large-3"] {
        submit(stores, name, needs(60)).await.unwrap();
    }
    submit(stores, "small", needs(10)).await.unwrap();
    let mut asker = node("n", 2);
    asker.resources.memory_mib = 100;
    let first = lease(stores, asker.clone(), 1, at(1)).await;
    assert_eq!(first[0].task.id, task_id("large-1"));
    let second = lease(stores, asker, 1, at(1)).await;
    assert_eq!(second[0].task.id, task_id("small"));
}

/// A node whose price is beyond all amounts is dear, and its explanation can be read.
pub async fn a_price_beyond_all_amounts_is_explained(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    let rates = Rates { per_task: Amount::MAX, per_busy_second: Amount::MAX, ..Rates::default() };
    let judge = |node| {
        let (liveness, power) = (LivenessPolicy::default(), PowerPolicy::default());
        Candidate::judge(&NodeRecord::new(node, at(1)), at(1), liveness, &power)
    };
    let dear = judge(crate::registry::Node { rates, ..node("dear", 1) });
    let rival = judge(crate::registry::Node { rates, ..node("rival", 1) });
    let request = LeaseRequest {
        asker: dear,
        rivals: vec![rival],
        policy: PlacementPolicy::default(),
        shares: FairShares::default(),
        limit: 1,
        duration: std::time::Duration::from_secs(30),
    };
    let granted = stores.tasks.lease(request, at(1)).await.unwrap();
    let explanation = stores.tasks.explanation(task_id("t")).await.unwrap().unwrap();
    assert!(explanation.considered.iter().all(|node| node.score.is_finite()));
    complete(stores, success(claim(&granted[0]), None), at(2)).await.unwrap();
}

/// Many payloads at once go each to its own task.
pub async fn payloads_go_with_their_tasks(stores: &Stores) {
    for number in 0..50_u32 {
        let payload = if number % 3 == 0 { Vec::new() } else { vec![7; number as usize * 100] };
        let id = task_id(&number.to_string());
        let new = crate::scheduler::NewTask { id, spec: Arc::new(spec()), payload: payload.into() };
        stores
            .tasks
            .submit(vec![new], QueuePolicy::default(), at(0))
            .await
            .unwrap()
            .remove(0)
            .unwrap();
    }
    let (n, m) = (lease(stores, node("n", 30), 30, at(1)), lease(stores, node("m", 30), 30, at(1)));
    let (n, m) = futures::join!(n, m);
    assert_eq!(n.len() + m.len(), 50);
    for given in n.into_iter().chain(m) {
        let number = (0..50_u32).find(|n| task_id(&n.to_string()) == given.task.id).unwrap();
        let expected = if number % 3 == 0 { 0 } else { number as usize * 100 };
        assert_eq!(given.payload.len(), expected, "task {number}");
    }
}
