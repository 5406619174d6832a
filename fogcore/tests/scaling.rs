//! A fog that grows and shrinks: the autoscaler is fed from the registry, and asks a hook.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fogcore::balancer::autoscaler::{
    Autoscaler, ScaleAnswer, ScaleHook, ScaleOutcome, ScalePolicy, ScaleReason, ScaleRequest,
};
use fogcore::event::{Event, Notice};
use fogcore::registry::{Heartbeat, Percent, PowerState};
use fogcore::time::{Clock, ManualClock, Timestamp};
use fogcore::{Error, ErrorKind, Fog, FogConfig, Result};

use common::{node, node_id, soon, still, until};

const MINUTE: Duration = Duration::from_secs(60);

/// What a scripted hook does when it is asked.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Accept,
    Refuse,
    Fail,
    Hang,
    Panic,
}

#[derive(Debug)]
struct Scripted {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<ScaleRequest>>,
}

impl Scripted {
    fn new(answer: Answer) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(answer), asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<(u64, u32, u32)> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|request| (request.id, request.from, request.to)).collect()
    }
}

#[async_trait]
impl ScaleHook for Scripted {
    async fn scale(&self, request: &ScaleRequest) -> Result<ScaleAnswer> {
        self.asked.lock().unwrap().push(request.clone());
        let answer = *self.answer.lock().unwrap();
        match answer {
            Answer::Accept => {
                Ok(ScaleAnswer::Accepted { on_its_way: request.to.abs_diff(request.from) })
            }
            Answer::Refuse => Ok(ScaleAnswer::Refused { reason: "no".to_owned() }),
            Answer::Fail => Err(Error::new(ErrorKind::Unavailable, "away")),
            Answer::Hang => std::future::pending().await,
            Answer::Panic => panic!("as the script says"),
        }
    }
}

fn policy() -> ScalePolicy {
    ScalePolicy { min: 2, predict: None, ..ScalePolicy::default() }
}

/// A fog whose loops do not run, with two nodes that are so busy.
async fn fog(hook: &Arc<Scripted>, percent: f64) -> (Fog, Arc<ManualClock>) {
    let (builder, clock) = still();
    let scaler = Autoscaler::new(policy()).unwrap();
    let fog = builder.autoscaler(scaler, hook.clone()).open().await.unwrap();
    for name in ["a", "b"] {
        fog.register(node(name, 1)).await.unwrap();
        beat(&fog, name, 1, percent).await;
    }
    (fog, clock)
}

async fn beat(fog: &Fog, name: &str, sequence: u64, percent: f64) {
    let cpu = Some(Percent::new(percent).unwrap());
    fog.beat(&node_id(name), Heartbeat { cpu, ..Heartbeat::new(sequence) }).await.unwrap();
}

#[tokio::test]
async fn a_busy_fog_asks_for_nodes_once_and_tells_it() {
    let hook = Scripted::new(Answer::Accept);
    let (fog, clock) = fog(&hook, 90.0).await;
    let mut news = fog.subscribe();
    fog.maintain().await.unwrap();
    assert_eq!(hook.asked(), [(1, 2, 3)], "0.9 × 2 / 0.6");
    let told = Event::ScaleAsked {
        id: 1,
        from: 2,
        to: 3,
        reason: "the load 0.90 is above 0.80".to_owned(),
        outcome: "accepted".to_owned(),
    };
    assert_eq!(news.try_next(), Some(Notice::Event(told)));
    assert_eq!(fog.scale_history()[0].outcome, ScaleOutcome::Accepted { on_its_way: 1 });

    // Not due, and then on its way.
    fog.maintain().await.unwrap();
    clock.advance(policy().check_every);
    for name in ["a", "b"] {
        beat(&fog, name, 2, 90.0).await;
    }
    fog.maintain().await.unwrap();
    assert_eq!(hook.asked().len(), 1);
    assert_eq!(fog.scale_decision().unwrap().reason, ScaleReason::OnItsWay { nodes: 1 });
}

#[tokio::test]
async fn only_nodes_that_work_count() {
    let hook = Scripted::new(Answer::Refuse);
    let (fog, clock) = fog(&hook, 50.0).await;
    for name in ["phone", "drained"] {
        fog.register(node(name, 1)).await.unwrap();
    }
    let empty = PowerState { battery: Some(Percent::new(3.0).unwrap()), ..PowerState::default() };
    fog.beat(&node_id("phone"), Heartbeat::new(1).with_power(empty)).await.unwrap();
    fog.fail_over(&node_id("drained"), "", false).await.unwrap();
    fog.maintain().await.unwrap();
    let decision = fog.scale_decision().unwrap();
    assert_eq!((decision.current, decision.ready, decision.known), (3, 2, 2));
    assert_eq!(decision.load, Some(0.5));

    // Everybody went silent: they are gone, and not on their way.
    clock.advance(10 * MINUTE);
    fog.maintain().await.unwrap();
    let decision = fog.scale_decision().unwrap();
    assert_eq!((decision.current, decision.reason), (0, ScaleReason::BelowMin));
    assert_eq!(hook.asked(), [(1, 0, 2)]);
    let ScaleOutcome::Refused { reason } = &fog.scale_history()[0].outcome else { panic!() };
    assert_eq!(reason, "no");
}

#[tokio::test]
async fn a_hook_that_fails_panics_or_hangs_is_asked_the_same_again() {
    let hook = Scripted::new(Answer::Fail);
    let (fog, clock) = fog(&hook, 90.0).await;
    let mut news = fog.subscribe();
    for (sequence, answer) in (2..).zip([Answer::Fail, Answer::Panic, Answer::Hang]) {
        *hook.answer.lock().unwrap() = answer;
        let checking = fog.maintain();
        let waiting = async {
            if matches!(answer, Answer::Hang) {
                until(|| clock.sleepers() > 0).await;
                clock.advance(policy().check_every);
            }
        };
        let (checked, ()) = soon(async { tokio::join!(checking, waiting) }).await;
        checked.unwrap();
        let Some(Notice::Event(Event::ScaleAsked { id: 1, outcome, .. })) = news.try_next() else {
            panic!("it was asked")
        };
        assert_eq!(outcome, "failed");
        if !matches!(answer, Answer::Hang) {
            clock.advance(policy().check_every);
        }
        for name in ["a", "b"] {
            beat(&fog, name, sequence, 90.0).await;
        }
        // Whatever else was told.
        while news.try_next().is_some() {}
    }
    assert_eq!(hook.asked(), [(1, 2, 3); 3]);
}

#[tokio::test]
async fn the_loop_checks_by_itself_and_a_hanging_hook_does_not_keep_the_fog_from_ending() {
    let hook = Scripted::new(Answer::Hang);
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let scaler = Autoscaler::new(policy()).unwrap();
    // The other loops sleep for longer.
    let config = FogConfig { maintain_every: 60 * MINUTE, ..FogConfig::default() };
    let builder = Fog::builder().clock(clock.clone()).config(config);
    let fog = builder.autoscaler(scaler, hook.clone()).open().await.unwrap();
    until(|| clock.sleepers() == 2).await;
    assert_eq!(hook.asked(), [], "not at once");
    clock.advance(policy().check_every);
    until(|| hook.asked() == [(1, 0, 2)]).await;
    soon(fog.shutdown()).await;
    assert_eq!(fog.scale_history()[0].outcome, ScaleOutcome::Unanswered);
    assert!(clock.elapsed() < MINUTE);
}

#[tokio::test]
async fn a_fog_without_an_autoscaler_asks_nobody() {
    let (builder, _clock) = still();
    let fog = builder.open().await.unwrap();
    fog.maintain().await.unwrap();
    assert_eq!(fog.scale_decision(), None);
    assert!(fog.scale_history().is_empty());
}
