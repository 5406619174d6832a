//! Which node gets which task in a running fog: what was seen of nodes decides, and is explained.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod common;

use std::time::Duration;

use fogcore::registry::{Heartbeat, PowerState};
use fogcore::scheduler::{Assignment, Gang, Reason, Refusal, Selector, TaskSpec, Term};
use fogcore::time::{Clock, ManualClock};
use fogcore::{Fog, FogConfig};

use common::{node, node_id, spec, still, success};

/// Lets `name` do a task that takes so long.
async fn does(fog: &Fog, name: &str, seconds: u64) {
    let given = takes(fog, name, spec()).await.expect("it has a slot");
    let mut report = success(&given, &node(name, 4));
    report.usage.busy = Some(Duration::from_secs(seconds));
    fog.complete(vec![report]).await.unwrap().remove(0).unwrap();
}

/// What a node that asks for it gets of a new task; a task that it does not get is called off.
async fn takes(fog: &Fog, name: &str, spec: TaskSpec) -> Option<Assignment> {
    let task = fog.submit(spec, "").await.unwrap();
    let given = fog.lease(&node_id(name), 1).await.unwrap().pop();
    if given.is_none() {
        fog.cancel(task.id).await.unwrap();
    }
    given
}

async fn beat(fog: &Fog, name: &str, sequence: u64, power: Option<PowerState>) {
    let heartbeat = Heartbeat { sequence, power, ..Heartbeat::default() };
    fog.beat(&node_id(name), heartbeat).await.unwrap();
}

async fn pass(fog: &Fog, clock: &ManualClock, seconds: u64) {
    clock.advance(Duration::from_secs(seconds));
    fog.maintain().await.unwrap();
}

#[tokio::test]
async fn who_was_faster_with_a_kind_is_waited_for() {
    let (builder, _clock) = still();
    // Rivals are all that there are, and none is learned of before it has worked alone.
    let fog = builder.open().await.unwrap();
    fog.register(node("slow", 4)).await.unwrap();
    for _ in 0..10 {
        does(&fog, "slow", 60).await;
    }
    fog.register(node("quick", 4)).await.unwrap();
    // Nothing is known of the new one, and it is as good as the other.
    does(&fog, "slow", 60).await;
    for _ in 0..10 {
        does(&fog, "quick", 15).await;
    }
    assert!(takes(&fog, "slow", spec()).await.is_none());
    let given = takes(&fog, "quick", spec()).await.unwrap();
    let why = fog.explanation(given.task.id).await.unwrap().unwrap();
    assert_eq!((why.reason, why.considered.len()), (Reason::BestScore, 2));
    let speed = |place: usize| why.considered[place].terms[&Term::Speed];
    assert!(speed(0) > 0.99 && speed(1) < 0.5, "{why}");
    let second = why.second.unwrap();
    assert_eq!(second.node, node_id("slow"));
    assert!(second.behind > 0.1, "{}", second.behind);
}

#[tokio::test]
async fn who_leaves_often_is_trusted_with_less() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    for name in ["phone", "box"] {
        fog.register(node(name, 4)).await.unwrap();
    }
    let mut sequence = 0;
    for _ in 0..3 {
        // Both are there for two minutes, then one falls silent for five.
        for second in (0..420).step_by(20) {
            sequence += 1;
            beat(&fog, "box", sequence, None).await;
            if second < 120 {
                beat(&fog, "phone", sequence, None).await;
            }
            pass(&fog, &clock, 20).await;
        }
    }
    sequence += 1;
    beat(&fog, "phone", sequence, None).await;
    // The look at the registry may be half a second old.
    pass(&fog, &clock, 1).await;
    let why = fog.explain(&spec(), 2).await.unwrap();
    let stay = |name: &str| {
        let one = why.considered.iter().find(|one| one.node == node_id(name)).unwrap();
        one.terms[&Term::Stay]
    };
    assert_eq!(why.chosen, Some(node_id("box")));
    // It stayed for about 100 seconds each time, and nobody knows how long such tasks take: a minute.
    assert!((0.4..0.65).contains(&stay("phone")) && stay("box") > 0.99, "{why}");
}

#[tokio::test]
async fn an_explanation_tells_what_is_in_the_way_of_a_task_that_waits() {
    let (builder, clock) = still();
    let fog = builder.config(FogConfig { max_rivals: 0, ..FogConfig::default() });
    let fog = fog.open().await.unwrap();
    let mut small = node("small", 1);
    small.resources.memory_mib = 1_000;
    let mut large = node("large", 1);
    large.resources.memory_mib = 4_000;
    let mut used = node("used", 1);
    used.resources.memory_mib = 8_000;
    for node in [small, large, used] {
        fog.register(node).await.unwrap();
    }
    let user = PowerState { charging: true, user_active: true, ..PowerState::default() };
    beat(&fog, "used", 1, Some(user)).await;
    let mut wants = spec();
    wants.requirements.memory_mib = 5_000;
    let why = fog.explain(&wants, 3).await.unwrap();
    assert_eq!((why.reason, &why.chosen), (Reason::NothingFits, &None));
    assert_eq!((why.refused["eligible"], why.refused["resources"]), (1, 2));
    let relaxation = why.relaxation.unwrap();
    assert_eq!(relaxation.node, node_id("large"));
    let missing = Refusal::TooLittle { resource: "memory_mib".into(), needed: 5_000, free: 4_000 };
    assert_eq!(relaxation.refusals, [missing]);

    wants.requirements.memory_mib = 800;
    let why = fog.explain(&wants, 3).await.unwrap();
    let (first, second) = (&why.considered[0], &why.considered[1]);
    assert_eq!(why.considered.len(), 2);
    assert!(first.terms.len() >= 4 && first.terms.keys().eq(why.weights.keys()));
    let told = why.second.unwrap();
    assert_eq!(told.node, second.node);
    assert!((first.score - second.score - told.behind).abs() < 1e-9);
    // What runs counts: the only slot of each is taken.
    for name in ["small", "large"] {
        takes(&fog, name, wants.clone()).await.unwrap();
    }
    clock.advance(Duration::from_millis(600));
    let why = fog.explain(&wants, 3).await.unwrap();
    assert_eq!((why.reason, why.refused["slots"]), (Reason::NothingFits, 2));
    let text = serde_json::to_string(&why).unwrap();
    assert_eq!(serde_json::from_str::<fogcore::scheduler::Explanation>(&text).unwrap(), why);
    assert!(clock.now() > fogcore::time::Timestamp::UNIX_EPOCH);
}

#[tokio::test]
async fn a_fog_of_more_nodes_than_a_page_knows_them_all() {
    let (builder, _clock) = still();
    let fog = builder.open().await.unwrap();
    for number in 0..1_100 {
        let mut node = node(&format!("n{number:04}"), 1);
        node.labels.insert("last".into(), (number == 1_099).to_string());
        fog.register(node).await.unwrap();
    }
    let mut wanted = spec();
    wanted.requirements.required.push(Selector::is("last", "true"));
    let why = fog.explain(&wanted, 1).await.unwrap();
    assert_eq!(why.chosen, Some(node_id("n1099")));
    assert_eq!(why.refused["labels"], 1_099);
}

#[tokio::test]
async fn a_node_that_comes_back_smaller_keeps_what_it_has_room_for() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    fog.register(node("n", 2)).await.unwrap();
    let low = takes(&fog, "n", spec()).await.unwrap().task.id;
    let high = takes(&fog, "n", TaskSpec { priority: 1, ..spec() }).await.unwrap().task.id;
    fog.register(node("n", 2)).await.unwrap();
    let ends = async |task| fog.task(task).await.unwrap().lease.and_then(|lease| lease.preempt_at);
    assert_eq!((ends(low).await, ends(high).await), (None, None));
    fog.register(node("n", 1)).await.unwrap();
    let notice = fog.config().preemption.notice;
    assert_eq!(ends(low).await, Some(clock.now().saturating_add(notice)));
    assert_eq!(ends(high).await, None);
}

#[tokio::test]
async fn a_gang_is_refused_because_nodes_ask_one_by_one() {
    let (builder, _clock) = still();
    let fog = builder.open().await.unwrap();
    let mut gang = spec();
    gang.requirements.gang = Some(Gang { id: "g".into(), size: 2 });
    let submissions = vec![(spec(), "".into()), (gang, "".into()), (spec(), "".into())];
    let answers = fog.submit_all(submissions).await.unwrap();
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(answers[1].as_ref().unwrap_err().field(), Some("requirements.gang"));
}
