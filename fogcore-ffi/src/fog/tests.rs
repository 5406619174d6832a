use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fogcore::amount::Asset;
use fogcore::scheduler::TaskState;

use crate::handles::live_handles;
use crate::worker::{ExecutionError, Job, JobControl, Output};
use crate::{
    Fog, FogError, FogOptions, NewAccount, Node, Retry, Span, TaskRequest, Transfer, TransferAction,
};

/// Handles are counted for the whole process, so tests that make some take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn block<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let _turn = TURN.lock().await;
        let before = live_handles();
        let result = test.await;
        assert_eq!(live_handles(), before, "handles are left over");
        result
    })
}

fn options() -> FogOptions {
    let span = |millis| Some(Span(Duration::from_millis(millis)));
    FogOptions {
        heartbeat_every: span(20),
        idle_poll: span(5),
        maintain_every: span(10),
        grace: span(100),
        ..FogOptions::default()
    }
}

async fn open() -> std::sync::Arc<Fog> {
    Fog::open("memory:".to_owned(), options(), None, None).await.unwrap()
}

fn node(id: &str) -> Node {
    fogcore::registry::Node::new(id.parse().unwrap()).into()
}

fn request(kind: &str) -> TaskRequest {
    TaskRequest {
        kind: kind.parse().unwrap(),
        requirements: None,
        priority: 0,
        deadline: None,
        budget: None,
        idempotency_key: None,
        max_attempts: Some(1),
        retry: Some(Retry::default()),
        not_before: None,
        offline_for: None,
        sla: None,
        retain_for: None,
        after: Vec::new(),
        if_parent_fails: None,
    }
}

/// As the other side would: shouts, fails, throws, or never ends.
#[derive(Default)]
struct Script(AtomicUsize);

#[async_trait]
impl crate::ForeignExecutor for Script {
    async fn execute(
        &self,
        job: Job,
        control: std::sync::Arc<JobControl>,
    ) -> Result<Output, ExecutionError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        control.report(0.5, "half".to_owned());
        match job.kind.as_str() {
            "shout" => {
                let result = job.payload.to_ascii_uppercase();
                Ok(Output { result, bytes_moved: None, score: None })
            }
            "throw" => {
                let reason = "java.lang.IllegalStateException: oops".to_owned();
                Err(uniffi::UnexpectedUniFFICallbackError { reason }.into())
            }
            "hopeless" => Err(ExecutionError::Permanent { reason: "bad input".to_owned() }),
            _ => std::future::pending().await,
        }
    }
}

const KINDS: [&str; 4] = ["shout", "throw", "hopeless", "hang"];

async fn serve(fog: &Fog) -> std::sync::Arc<crate::Worker> {
    let kinds = KINDS.iter().map(|kind| kind.parse().unwrap()).collect();
    let node = Node { slots: 4, ..node("phone") };
    let vitals = fogcore::registry::Heartbeat::default();
    fog.serve(node, kinds, Box::new(Script::default()), vitals).await.unwrap()
}

#[test]
fn a_task_goes_there_and_its_result_comes_back() {
    block(async {
        let fog = open().await;
        let worker = serve(&fog).await;
        let task = fog.submit(request("shout"), b"hello".to_vec()).await.unwrap();
        let done = fog.wait(task.id).await.unwrap();
        assert_eq!(done.state, TaskState::Succeeded);
        assert_eq!(fog.result(task.id).await.unwrap().as_deref(), Some(b"HELLO".as_slice()));
        let why = fog.explanation(task.id).await.unwrap().unwrap();
        assert!(why.text.starts_with("phone was chosen"), "{}", why.text);
        assert_eq!(why.chosen.as_ref().map(|node| node.as_str()), Some("phone"));
        let next = fog.explain(request("shout"), 3).await.unwrap();
        assert_eq!(next.chosen, why.chosen);
        worker.stop().await.unwrap();
        fog.shutdown().await;
    });
}

#[test]
fn what_an_executor_throws_fails_its_task_and_nothing_else() {
    block(async {
        let fog = open().await;
        let worker = serve(&fog).await;
        let thrown = fog.submit(request("throw"), Vec::new()).await.unwrap();
        let ended = fog.wait(thrown.id).await.unwrap();
        assert_eq!(ended.state, TaskState::Dead);
        let failure = ended.failure.unwrap();
        assert!(failure.contains("the executor threw: java.lang"), "{failure}");
        let hopeless = fog.submit(request("hopeless"), Vec::new()).await.unwrap();
        let ended = fog.wait(hopeless.id).await.unwrap();
        assert_eq!((ended.state, ended.failure.as_deref()), (TaskState::Failed, Some("bad input")));
        let after = fog.submit(request("shout"), b"x".to_vec()).await.unwrap();
        assert_eq!(fog.wait(after.id).await.unwrap().state, TaskState::Succeeded);
        drop(worker);
        fog.shutdown().await;
    });
}

#[test]
fn shutting_down_with_work_running_leaves_no_task_leased_and_nobody_waiting() {
    block(async {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("fog.db").display());
        let fog = Fog::open(url.clone(), options(), None, None).await.unwrap();
        let worker = serve(&fog).await;
        let task = fog.submit(request("hang"), Vec::new()).await.unwrap();
        let (waited, ()) = tokio::join!(fog.wait(task.id), async {
            while fog.task(task.id).await.unwrap().state != TaskState::Leased {
                tokio::task::yield_now().await;
            }
            fog.shutdown().await;
        });
        assert!(matches!(waited, Err(FogError::Unavailable { .. })), "{waited:?}");
        assert!(matches!(fog.task(task.id).await, Err(FogError::Unavailable { .. })));
        drop((worker, fog));

        let fog = Fog::open(url, options(), None, None).await.unwrap();
        let found = fog.task(task.id).await.unwrap();
        assert_eq!((found.state, found.attempts), (TaskState::Queued, 0));
        fog.shutdown().await;
    });
}

#[test]
fn money_moves_in_batches_and_each_transfer_has_its_answer() {
    block(async {
        let fog = open().await;
        let fog_amount = |text| Asset::FOG.parse(text).unwrap();
        fog.mint("ann".parse().unwrap(), fog_amount("10")).await.unwrap();
        let bob = NewAccount { id: "bob".parse().unwrap(), asset: None, may_owe: false };
        fog.open_account(bob).await.unwrap();
        let direct = |amount| Transfer {
            id: fog.new_transfer_id().unwrap(),
            action: TransferAction::Direct {
                debit: "ann".parse().unwrap(),
                credit: "bob".parse().unwrap(),
                amount: fog_amount(amount),
            },
            linked: false,
            timeout_seconds: 0,
        };
        let (good, bad) = (direct("4"), direct("7"));
        let answers = fog.transfer_all(vec![good.clone(), bad, good.clone()]).await.unwrap();
        assert_eq!(
            answers.iter().map(|one| (one.applied, one.repeated)).collect::<Vec<_>>(),
            [(true, false), (false, false), (true, true)]
        );
        let refusal = answers[1].refusal.as_ref().unwrap();
        assert_eq!(refusal.kind, fogcore::ErrorKind::Exhausted, "{}", refusal.reason);
        let bob = fog.account("bob".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(bob.available, fog_amount("4"));
        let sums = &fog.trial_balance().await.unwrap()[0];
        assert_eq!(sums.debits_posted, sums.credits_posted);
        fog.shutdown().await;
    });
}

#[test]
fn a_feed_keeps_what_its_reader_did_not_acknowledge() {
    block(async {
        let fog = open().await;
        let feed = fog.feed("app".to_owned()).unwrap();
        fog.register(node("a")).await.unwrap();
        let taken = feed.pull(10).await.unwrap();
        drop(feed);
        // Another reader of the same name hears the same again, and then what is new.
        let feed = fog.feed("app".to_owned()).unwrap();
        assert_eq!(feed.pull(10).await.unwrap(), taken);
        fog.register(node("b")).await.unwrap();
        // What was not given out cannot have been heard.
        feed.acknowledge(99);
        let next = feed.pull(10).await.unwrap();
        assert_eq!(next[0].number, taken[0].number + 1);
        drop(feed);
        fog.shutdown().await;
    });
}
