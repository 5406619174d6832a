//! Nodes that are asked whether they are well: by a scripted probe on a clock that stands still,
//! and over real connections within this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use fogcore::ErrorKind;
use fogcore::event::{Event, EventBus, Notice};
use fogcore::failover::{
    AbsenceReason, Health, HealthPolicy, HealthProbe, ProbeError, ProbeOutcome, ProbeTarget,
};
use fogcore::fog::{HealthEvent, HealthMonitor, HealthMonitorBuilder, TcpProbe};
use fogcore::id::NodeId;
use fogcore::registry::{Address, Port};
use fogcore::time::{Clock, ManualClock, Timestamp};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use common::{node_id, soon, still, until};

const SECOND: Duration = Duration::from_secs(1);

/// What a scripted probe does with a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Pass,
    Fail,
    Hang,
    Panic,
    /// Passes when the test lets one more go.
    Wait,
}

#[derive(Debug)]
struct Scripted {
    answers: Mutex<HashMap<NodeId, Answer>>,
    otherwise: Answer,
    calls: Mutex<HashMap<NodeId, usize>>,
    running: Arc<AtomicUsize>,
    most: AtomicUsize,
    go: Semaphore,
}

impl Scripted {
    fn new(otherwise: Answer) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::default(),
            otherwise,
            calls: Mutex::default(),
            running: Arc::default(),
            most: AtomicUsize::new(0),
            go: Semaphore::new(0),
        })
    }

    fn set(&self, node: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(node_id(node), answer);
    }

    fn calls(&self, node: &str) -> usize {
        self.calls.lock().unwrap().get(&node_id(node)).copied().unwrap_or(0)
    }

    fn all_calls(&self) -> usize {
        self.calls.lock().unwrap().values().sum()
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

/// Counts a probe until its future is gone, however it went.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl HealthProbe for Scripted {
    async fn probe(&self, target: &ProbeTarget) -> Result<(), ProbeError> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let _running = Running(self.running.clone());
        *self.calls.lock().unwrap().entry(target.node.clone()).or_default() += 1;
        let answer = self.answers.lock().unwrap().get(&target.node).copied();
        match answer.unwrap_or(self.otherwise) {
            Answer::Pass => Ok(()),
            Answer::Fail => Err(ProbeError::Refused),
            Answer::Hang => std::future::pending().await,
            Answer::Panic => panic!("as the script says"),
            Answer::Wait => {
                self.go.acquire().await.unwrap().forget();
                Ok(())
            }
        }
    }
}

/// All changes that were told, as (node, from, to).
type Heard = Arc<Mutex<Vec<(String, Health, Health)>>>;

/// Without jitter, so that every test knows when a probe is due.
fn policy() -> HealthPolicy {
    HealthPolicy { jitter: 0.0, ..HealthPolicy::default() }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH))
}

fn monitor(probe: &Arc<Scripted>, clock: &Arc<ManualClock>) -> HealthMonitorBuilder {
    HealthMonitor::builder(probe.clone()).policy(policy()).clock(clock.clone()).seed(1)
}

fn listening(builder: HealthMonitorBuilder) -> (HealthMonitorBuilder, Heard) {
    let heard = Heard::default();
    let ear = heard.clone();
    let listener = move |event: HealthEvent| {
        let change = event.change;
        ear.lock().unwrap().push((event.node.to_string(), change.from, change.to));
    };
    (builder.on_change(Arc::new(listener)), heard)
}

fn target(node: &str) -> ProbeTarget {
    ProbeTarget { node: node_id(node), address: None }
}

/// Lets everybody who can do something on this thread do it.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

// The monitor

#[tokio::test]
async fn a_node_is_probed_on_time_and_its_changes_are_told() {
    use Health::{Healthy, Unhealthy, Unknown};
    let (probe, clock) = (Scripted::new(Answer::Pass), clock());
    let bus = EventBus::new(16);
    let mut news = bus.subscribe();
    let (builder, heard) = listening(monitor(&probe, &clock).events(bus));
    let monitor = builder.start().unwrap();
    monitor.add(target("a")).unwrap();
    let node = node_id("a");
    until(|| monitor.health(&node) == Some(Healthy)).await;
    let script = [(Answer::Fail, 3, Unhealthy), (Answer::Pass, 2, Healthy)];
    for (answer, times, health) in script {
        probe.set("a", answer);
        for time in 1..=times {
            let before = probe.calls("a");
            clock.advance(30 * SECOND - Duration::from_nanos(1));
            settle().await;
            assert_eq!(probe.calls("a"), before, "it is not time yet");
            assert_ne!(monitor.health(&node), Some(health), "not after {} results", time - 1);
            clock.advance(Duration::from_nanos(1));
            until(|| probe.calls("a") == before + 1).await;
            settle().await;
        }
        assert_eq!(monitor.health(&node), Some(health));
    }
    let expected = [(Unknown, Healthy), (Healthy, Unhealthy), (Unhealthy, Healthy)];
    let expected = expected.map(|(from, to)| ("a".to_owned(), from, to));
    assert_eq!(*heard.lock().unwrap(), expected);
    for healthy in [true, false, true] {
        let event = Event::NodeHealth { node: node.clone(), healthy };
        assert_eq!(news.try_next(), Some(Notice::Event(event)));
    }
    monitor.shutdown().await;
}

#[tokio::test]
async fn no_more_probes_run_at_the_same_time_than_allowed() {
    let (probe, clock) = (Scripted::new(Answer::Wait), clock());
    let monitor = monitor(&probe, &clock).max_concurrent(4).start().unwrap();
    for node in 0..50 {
        monitor.add(target(&node.to_string())).unwrap();
    }
    until(|| probe.running() == 4).await;
    settle().await;
    assert_eq!(probe.all_calls(), 4);
    for begun in 5..=50 {
        probe.go.add_permits(1);
        until(|| probe.all_calls() == begun).await;
    }
    probe.go.add_permits(4);
    until(|| monitor.all().values().all(|health| *health == Health::Healthy)).await;
    assert_eq!(probe.most.load(Ordering::SeqCst), 4);
    monitor.shutdown().await;
}

#[tokio::test]
async fn a_probe_that_hangs_fails_when_its_time_is_over_and_makes_room() {
    let (probe, clock) = (Scripted::new(Answer::Pass), clock());
    probe.set("a", Answer::Hang);
    let policy = HealthPolicy { unhealthy_after: 1, ..policy() };
    let monitor = monitor(&probe, &clock).policy(policy).max_concurrent(1).start().unwrap();
    monitor.add(target("a")).unwrap();
    until(|| probe.running() == 1).await;
    monitor.add(target("b")).unwrap();
    clock.advance(10 * SECOND - Duration::from_nanos(1));
    settle().await;
    assert_eq!((probe.running(), probe.calls("b")), (1, 0));
    assert_eq!(monitor.health(&node_id("a")), Some(Health::Unknown));
    clock.advance(Duration::from_nanos(1));
    until(|| monitor.health(&node_id("a")) == Some(Health::Unhealthy)).await;
    until(|| monitor.health(&node_id("b")) == Some(Health::Healthy)).await;
    assert_eq!(probe.running(), 0);
    monitor.shutdown().await;
}

#[tokio::test]
async fn a_change_says_what_made_the_difference() {
    let (probe, clock) = (Scripted::new(Answer::Hang), clock());
    probe.set("a", Answer::Panic);
    let causes: Arc<Mutex<HashMap<NodeId, ProbeOutcome>>> = Arc::default();
    let ear = causes.clone();
    let policy = HealthPolicy { unhealthy_after: 1, ..policy() };
    let monitor = monitor(&probe, &clock)
        .policy(policy)
        .on_change(Arc::new(move |event| {
            ear.lock().unwrap().insert(event.node, event.change.because.unwrap());
        }))
        .start()
        .unwrap();
    monitor.add(target("a")).unwrap();
    monitor.add(target("b")).unwrap();
    until(|| probe.running() == 1 && !causes.lock().unwrap().is_empty()).await;
    clock.advance(10 * SECOND);
    until(|| causes.lock().unwrap().len() == 2).await;
    let failed = |reason| ProbeOutcome::Failed { reason };
    let causes = causes.lock().unwrap();
    assert_eq!(causes[&node_id("a")], failed(ProbeError::other("the probe panicked")));
    assert_eq!(causes[&node_id("b")], failed(ProbeError::TimedOut));
}

#[tokio::test]
async fn a_probe_that_panics_does_not_end_the_others() {
    let (probe, clock) = (Scripted::new(Answer::Pass), clock());
    probe.set("a", Answer::Panic);
    let monitor = monitor(&probe, &clock).max_concurrent(1).start().unwrap();
    monitor.add(target("a")).unwrap();
    monitor.add(target("b")).unwrap();
    for round in 1..=3 {
        until(|| probe.calls("a") == round && probe.calls("b") == round).await;
        settle().await;
        clock.advance(30 * SECOND);
    }
    until(|| monitor.health(&node_id("a")) == Some(Health::Unhealthy)).await;
    assert_eq!(monitor.health(&node_id("b")), Some(Health::Healthy));
    monitor.shutdown().await;
}

#[tokio::test]
async fn an_absent_node_is_left_alone_and_probed_when_it_is_back() {
    use Health::{Absent, Healthy, Unknown};
    let (probe, clock) = (Scripted::new(Answer::Pass), clock());
    let (builder, heard) = listening(monitor(&probe, &clock));
    let monitor = builder.start().unwrap();
    let node = node_id("a");
    monitor.add(target("a")).unwrap();
    until(|| monitor.health(&node) == Some(Healthy)).await;
    probe.set("a", Answer::Hang);
    clock.advance(30 * SECOND);
    until(|| probe.running() == 1).await;

    assert!(monitor.absent(&node, AbsenceReason::Asleep));
    assert_eq!(monitor.health(&node), Some(Absent));
    until(|| probe.running() == 0).await;
    for _ in 0..10 {
        clock.advance(30 * SECOND);
        settle().await;
    }
    assert_eq!(probe.calls("a"), 2, "one before it slept, one given up");

    probe.set("a", Answer::Pass);
    assert!(monitor.back(&node));
    until(|| heard.lock().unwrap().len() == 4).await;
    let changes: Vec<_> = heard.lock().unwrap().iter().map(|(_, a, b)| (*a, *b)).collect();
    let back = [(Absent, Unknown), (Unknown, Healthy)];
    assert_eq!(changes, [&[(Unknown, Healthy), (Healthy, Absent)], &back[..]].concat());
    assert!(!monitor.absent(&node_id("nobody"), AbsenceReason::Asleep));
    assert!(!monitor.back(&node_id("nobody")));
    monitor.shutdown().await;
}

#[tokio::test]
async fn a_removed_node_is_probed_no_more_and_nothing_is_told_of_it() {
    let (probe, clock) = (Scripted::new(Answer::Wait), clock());
    let (builder, heard) = listening(monitor(&probe, &clock));
    let monitor = builder.start().unwrap();
    monitor.add(target("a")).unwrap();
    until(|| probe.running() == 1).await;
    assert!(monitor.remove(&node_id("a")));
    assert!(!monitor.remove(&node_id("a")));
    until(|| probe.running() == 0).await;
    probe.go.add_permits(1);
    clock.advance(60 * SECOND);
    settle().await;
    assert_eq!(probe.calls("a"), 1);
    assert!(heard.lock().unwrap().is_empty());
    assert_eq!(monitor.health(&node_id("a")), None);
    assert!(monitor.is_empty());
    monitor.shutdown().await;
}

#[tokio::test]
async fn a_new_address_begins_anew_and_the_same_one_changes_nothing() {
    let (probe, clock) = (Scripted::new(Answer::Pass), clock());
    let monitor = monitor(&probe, &clock).start().unwrap();
    let node = node_id("a");
    monitor.add(target("a")).unwrap();
    until(|| monitor.health(&node) == Some(Health::Healthy)).await;
    monitor.add(target("a")).unwrap();
    settle().await;
    assert_eq!(probe.calls("a"), 1);
    assert_eq!(monitor.health(&node), Some(Health::Healthy));
    probe.set("a", Answer::Hang);
    let moved = Address { host: "::1".to_owned(), port: Port::new(1).unwrap() };
    monitor.add(ProbeTarget { address: Some(moved), ..target("a") }).unwrap();
    until(|| probe.running() == 1).await;
    assert_eq!(monitor.health(&node), Some(Health::Unknown));
    monitor.shutdown().await;
}

#[tokio::test]
async fn shutdown_gives_up_what_is_in_flight_and_leaves_no_task() {
    let (probe, clock) = (Scripted::new(Answer::Hang), clock());
    let (builder, heard) = listening(monitor(&probe, &clock));
    let monitor = builder.start().unwrap();
    for node in ["a", "b", "c"] {
        monitor.add(target(node)).unwrap();
    }
    until(|| probe.running() == 3).await;
    assert!(Handle::current().metrics().num_alive_tasks() > 0);
    soon(monitor.shutdown()).await;
    assert_eq!(probe.running(), 0);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    assert_eq!(monitor.add(target("d")).unwrap_err().kind(), ErrorKind::Unavailable);
    soon(monitor.shutdown()).await;
    clock.advance(60 * SECOND);
    settle().await;
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_last_handle_takes_the_loop_with_it() {
    let (probe, clock) = (Scripted::new(Answer::Hang), clock());
    let monitor = monitor(&probe, &clock).start().unwrap();
    monitor.add(target("a")).unwrap();
    let other = monitor.clone();
    until(|| probe.running() == 1).await;
    drop(monitor);
    settle().await;
    assert_eq!(probe.running(), 1);
    drop(other);
    until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
    assert_eq!(probe.running(), 0);
}

#[tokio::test]
async fn a_fogs_monitor_tells_its_subscribers_and_ends_with_it() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let mut news = fog.subscribe();
    let probe = Scripted::new(Answer::Pass);
    let monitor = fog.health_monitor(probe.clone()).policy(policy()).start().unwrap();
    monitor.add(target("a")).unwrap();
    let event = Event::NodeHealth { node: node_id("a"), healthy: true };
    assert_eq!(soon(news.next()).await, Some(Notice::Event(event)));
    probe.set("a", Answer::Hang);
    clock.advance(30 * SECOND);
    until(|| probe.running() == 1).await;
    soon(fog.shutdown()).await;
    assert_eq!(probe.running(), 0);
    assert_eq!(monitor.add(target("b")).unwrap_err().kind(), ErrorKind::Unavailable);
    soon(monitor.shutdown()).await;
}

#[tokio::test]
async fn a_listener_may_call_the_monitor_and_may_panic() {
    let (probe, clock) = (Scripted::new(Answer::Pass), clock());
    let handle: Arc<OnceLock<HealthMonitor>> = Arc::default();
    let ear = handle.clone();
    let monitor = monitor(&probe, &clock)
        .on_change(Arc::new(move |event| {
            if let Some(monitor) = ear.get() {
                monitor.remove(&event.node);
            }
            panic!("a listener");
        }))
        .start()
        .unwrap();
    handle.set(monitor.clone()).unwrap();
    monitor.add(target("a")).unwrap();
    until(|| monitor.is_empty()).await;
    monitor.add(target("b")).unwrap();
    until(|| monitor.is_empty()).await;
    assert_eq!((probe.calls("a"), probe.calls("b")), (1, 1));
    monitor.shutdown().await;
}

#[tokio::test]
async fn many_new_nodes_are_not_probed_in_one_burst() {
    let (probe, clock) = (Scripted::new(Answer::Pass), clock());
    let monitor = monitor(&probe, &clock).policy(HealthPolicy::default()).start().unwrap();
    for node in 0..100 {
        monitor.add(target(&node.to_string())).unwrap();
    }
    let mut counts = Vec::new();
    for _ in 0..3 {
        settle().await;
        counts.push(probe.all_calls());
        clock.advance(SECOND);
    }
    until(|| probe.all_calls() == 100).await;
    assert!(counts[0] < 10 && (15..55).contains(&counts[1]), "{counts:?}");
    monitor.shutdown().await;
}

#[tokio::test]
async fn limits_are_named_and_a_full_monitor_says_so() {
    let (probe, clock) = (Scripted::new(Answer::Pass), clock());
    let field = |builder: HealthMonitorBuilder| {
        builder.start().unwrap_err().field().map(ToOwned::to_owned).unwrap()
    };
    let zero = HealthPolicy { every: Duration::ZERO, ..policy() };
    assert_eq!(field(monitor(&probe, &clock).policy(zero)), "every");
    assert_eq!(field(monitor(&probe, &clock).max_concurrent(0)), "max_concurrent");
    assert_eq!(field(monitor(&probe, &clock).max_concurrent(4_097)), "max_concurrent");
    assert_eq!(field(monitor(&probe, &clock).max_targets(0)), "max_targets");
    let monitor = monitor(&probe, &clock).max_targets(2).start().unwrap();
    monitor.add(target("a")).unwrap();
    monitor.add(target("b")).unwrap();
    assert_eq!(monitor.add(target("c")).unwrap_err().kind(), ErrorKind::Exhausted);
    assert_eq!(monitor.len(), 2);
    monitor.remove(&node_id("a"));
    monitor.add(target("c")).unwrap();
    monitor.shutdown().await;
}

#[test]
fn outside_a_runtime_it_says_so() {
    let monitor = monitor(&Scripted::new(Answer::Pass), &clock());
    assert_eq!(monitor.start().unwrap_err().kind(), ErrorKind::Unavailable);
}

// Metrics

/// Adds up what is counted, and how often what was measured.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<HashMap<String, f64>>>);

struct Entry(Recorder, String);

impl Entry {
    fn add(&self, value: f64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
}

impl metrics::CounterFn for Entry {
    fn increment(&self, value: u64) {
        self.add(f64::from(u32::try_from(value).unwrap()));
    }

    fn absolute(&self, _: u64) {
        panic!("probes are counted one by one");
    }
}

impl metrics::HistogramFn for Entry {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorder {
    fn entry(&self, key: &metrics::Key) -> Arc<Entry> {
        let labels: String =
            key.labels().map(|label| format!("{{{}={}}}", label.key(), label.value())).collect();
        Arc::new(Entry(self.clone(), format!("{}{labels}", key.name())))
    }

    fn describe(&self, key: &metrics::KeyName) {
        self.0.lock().unwrap().insert(format!("about {}", key.as_str()), 1.0);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(
        &self,
        key: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
        self.describe(&key);
    }

    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_histogram(
        &self,
        key: metrics::KeyName,
        unit: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
        assert_eq!(unit, Some(metrics::Unit::Seconds));
        self.describe(&key);
    }

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        self.entry(key).into()
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(
        &self,
        key: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        self.entry(key).into()
    }
}

#[test]
fn probes_are_counted_by_result_and_timed_on_the_clock() {
    let recorder = Recorder::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let script = async {
        let (probe, clock) = (Scripted::new(Answer::Pass), clock());
        let monitor = monitor(&probe, &clock).start().unwrap();
        let answers = [("a", Answer::Pass), ("b", Answer::Fail), ("c", Answer::Hang)];
        for (node, answer) in answers {
            probe.set(node, answer);
            monitor.add(target(node)).unwrap();
        }
        for round in 1..=2 {
            until(|| probe.all_calls() == 3 * round && probe.running() == 1).await;
            clock.advance(10 * SECOND);
            until(|| probe.running() == 0).await;
            settle().await;
            clock.advance(20 * SECOND);
        }
        until(|| probe.running() == 1 && probe.all_calls() == 9).await;
        settle().await;
        monitor.shutdown().await;
    };
    metrics::with_local_recorder(&recorder, || runtime.block_on(script));
    let seen = recorder.0.lock().unwrap();
    let of = |name: &str| seen.get(name).copied();
    // What was in flight at the end is in neither.
    assert_eq!(of("fogcore_health_probes_total{result=passed}"), Some(3.0));
    assert_eq!(of("fogcore_health_probes_total{result=refused}"), Some(3.0));
    assert_eq!(of("fogcore_health_probes_total{result=timed_out}"), Some(2.0));
    assert_eq!(of("fogcore_health_probe_seconds"), Some(20.0));
    assert_eq!(of("about fogcore_health_probes_total"), Some(1.0));
    assert_eq!(of("about fogcore_health_probe_seconds"), Some(1.0));
    assert_eq!(seen.len(), 6, "{:?}", seen.keys());
}

// Over the network of this machine

async fn listener() -> (TcpListener, ProbeTarget) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let port = Port::new(address.port()).unwrap();
    let address = Some(Address { host: address.ip().to_string(), port });
    (listener, ProbeTarget { node: node_id("a"), address })
}

#[tokio::test]
async fn tcp_tells_who_listens_from_who_does_not() {
    let (listener, target) = listener().await;
    assert_eq!(soon(TcpProbe.probe(&target)).await, Ok(()));
    drop(listener);
    assert_eq!(soon(TcpProbe.probe(&target)).await, Err(ProbeError::Refused));
    let nowhere = ProbeTarget { address: None, ..target };
    assert_eq!(soon(TcpProbe.probe(&nowhere)).await, Err(ProbeError::NoAddress));
}

#[cfg(feature = "http-probe")]
mod http {
    use fogcore::fog::HttpProbe;
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    fn probe() -> HttpProbe {
        HttpProbe::new("/healthz?deep=1").unwrap()
    }

    /// Accepts one connection, and reads the question.
    async fn asked(listener: &TcpListener) -> (TcpStream, String) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = Vec::new();
        while !question.ends_with(b"\r\n\r\n") {
            question.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(question).unwrap())
    }

    /// What `probe` makes of this answer, after which the connection is closed.
    async fn judge(probe: &HttpProbe, answer: &[u8]) -> Result<(), ProbeError> {
        let (listener, target) = listener().await;
        let serve = async {
            let (mut stream, _) = asked(&listener).await;
            stream.write_all(answer).await.unwrap();
        };
        soon(async { tokio::join!(probe.probe(&target), serve).0 }).await
    }

    /// What the probe makes of a server that never stops; also returns only when the probe has
    /// hung up.
    async fn judge_endless(begin: &str, again: &[u8]) -> Result<(), ProbeError> {
        let (listener, target) = listener().await;
        let serve = async {
            let (mut stream, _) = asked(&listener).await;
            let mut written = stream.write_all(begin.as_bytes()).await;
            while written.is_ok() {
                written = stream.write_all(again).await;
            }
        };
        let probe = probe();
        soon(async { tokio::join!(probe.probe(&target), serve).0 }).await
    }

    #[tokio::test]
    async fn a_good_answer_is_healthy_however_it_ends() {
        let answers: [&[u8]; 5] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nup to the end of the connection",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 299 Fine\r\ncontent-length: 0\r\n\r\n",
        ];
        for answer in answers {
            let text = String::from_utf8_lossy(answer);
            assert_eq!(judge(&probe(), answer).await, Ok(()), "{text}");
        }
    }

    #[tokio::test]
    async fn the_question_names_the_path_and_the_host() {
        let (listener, target) = listener().await;
        let port = listener.local_addr().unwrap().port();
        for host in [None, Some("games.example:8080")] {
            let probe = match host {
                None => probe(),
                Some(host) => probe().host(host).unwrap(),
            };
            let serve = async {
                let (mut stream, question) = asked(&listener).await;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                question
            };
            let (judged, question) =
                soon(async { tokio::join!(probe.probe(&target), serve) }).await;
            judged.unwrap();
            let default = format!("127.0.0.1:{port}");
            let lines: Vec<_> = question.lines().collect();
            assert_eq!(lines[0], "GET /healthz?deep=1 HTTP/1.1");
            let expected = format!("host: {}", host.unwrap_or(&default));
            assert!(lines.contains(&expected.as_str()), "{question}");
        }
    }

    #[tokio::test]
    async fn a_status_outside_the_range_is_a_failure() {
        let error = b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(judge(&probe(), error).await, Err(ProbeError::BadStatus(500)));
        let gone = probe().expecting(500..=500).unwrap();
        assert_eq!(judge(&gone, error).await, Ok(()));
        let fine = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(judge(&gone, fine).await, Err(ProbeError::BadStatus(200)));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (elsewhere, _) = listener().await;
        let there = elsewhere.local_addr().unwrap();
        let answer =
            format!("HTTP/1.1 302 Found\r\nlocation: http://{there}/\r\ncontent-length: 0\r\n\r\n");
        let judged = judge(&probe(), answer.as_bytes()).await;
        assert_eq!(judged, Err(ProbeError::BadStatus(302)));
        let content = probe().expecting(200..=399).unwrap();
        assert_eq!(judge(&content, answer.as_bytes()).await, Ok(()));
        assert!(elsewhere.accept().now_or_never().is_none(), "nobody came");
    }

    #[tokio::test]
    async fn who_refuses_or_has_no_address_is_told_apart() {
        let (listener, target) = listener().await;
        drop(listener);
        assert_eq!(soon(probe().probe(&target)).await, Err(ProbeError::Refused));
        let nowhere = ProbeTarget { address: None, ..target };
        assert_eq!(soon(probe().probe(&nowhere)).await, Err(ProbeError::NoAddress));
    }

    #[tokio::test]
    async fn what_is_no_answer_or_half_an_answer_is_a_failure() {
        let answers: [&[u8]; 5] = [
            b"",
            b"HTTP/1.1 200 OK\r\ncontent-le",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ];
        for answer in answers {
            let text = String::from_utf8_lossy(answer);
            let judged = judge(&probe(), answer).await;
            assert!(matches!(judged, Err(ProbeError::Other(_))), "{text}: {judged:?}");
        }
    }

    #[tokio::test]
    async fn endless_headers_are_a_failure_and_are_hung_up_on() {
        let ok = "HTTP/1.1 200 OK\r\n";
        for again in ["x-a: b\r\n", "x"] {
            let judged = judge_endless(ok, again.repeat(512).as_bytes()).await;
            assert!(matches!(judged, Err(ProbeError::Other(_))), "{again}: {judged:?}");
        }
    }

    #[tokio::test]
    async fn of_an_endless_body_only_the_beginning_is_read() {
        let ok = "HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(judge_endless(ok, &[b'x'; 4_096]).await, Ok(()));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(4_096));
        assert_eq!(judge_endless(chunked, chunk.as_bytes()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_unhealthy_when_the_time_is_over() {
        let (clock, policy) = (clock(), HealthPolicy { unhealthy_after: 1, ..policy() });
        let builder = HealthMonitor::builder(Arc::new(probe())).policy(policy);
        let (builder, heard) = listening(builder.clock(clock.clone()));
        let monitor = builder.start().unwrap();
        let (listener, target) = listener().await;
        monitor.add(target.clone()).unwrap();
        let (mut stream, _) = soon(asked(&listener)).await;
        clock.advance(policy.timeout);
        until(|| monitor.health(&target.node) == Some(Health::Unhealthy)).await;
        until(|| !heard.lock().unwrap().is_empty()).await;
        assert_eq!(soon(stream.read(&mut [0])).await.unwrap_or(0), 0, "the probe hung up");
        assert_eq!(clock.elapsed(), policy.timeout);
        monitor.shutdown().await;
    }
}
