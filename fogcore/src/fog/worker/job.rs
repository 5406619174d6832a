//! One attempt at one task: executed where a panic or a lost lease hurts nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::registry::Node;
use crate::scheduler::{
    Assignment, Claim, Completion, Executor, Failure, Job, JobMeter, MAX_BYTES, Notes, Outcome,
    Output, Progress, Results, Stop, Usage, settlement,
};
use crate::time::Clock;

/// How an attempt ended.
pub(super) enum Ended {
    /// With something to report.
    Reported(Box<Completion>),
    /// It was dropped half way; if the lease still counts, it is given back.
    Dropped(Claim),
}

impl Ended {
    pub(super) fn claim(&self) -> &Claim {
        match self {
            Self::Reported(completion) => &completion.claim,
            Self::Dropped(claim) => claim,
        }
    }
}

/// The ways on which a job tells what it has to say.
pub(super) struct Told {
    pub(super) progress: watch::Sender<Option<Progress>>,
    pub(super) notes: Arc<Notes>,
    pub(super) results: Results,
    pub(super) stop: watch::Receiver<Option<Stop>>,
    pub(super) throttle: watch::Receiver<bool>,
}

pub(super) async fn execute(
    executor: Option<Arc<dyn Executor>>,
    assignment: Assignment,
    node: &Node,
    Told { progress, notes, results, stop, throttle }: Told,
    cancelled: CancellationToken,
    clock: &dyn Clock,
    meter: JobMeter,
) -> Ended {
    let Assignment { task, payload, checkpoint } = assignment;
    let claim = Claim { task: task.id, node: node.id.clone(), fence: task.fence };
    let Some(executor) = executor else {
        return Ended::Dropped(claim);
    };
    let given_back = Arc::new(AtomicBool::new(false));
    let job = Job {
        task: task.id,
        kind: task.spec.kind.clone(),
        payload,
        attempt: task.attempts,
        meter: meter.clone(),
        cancelled: cancelled.clone(),
        checkpoint,
        parents: task.spec.after.clone(),
        results,
        stop: stop.clone(),
        throttle,
        progress,
        notes: notes.clone(),
        given_back: Arc::clone(&given_back),
    };
    let begun = clock.elapsed();
    // A task of its own, so that a panic ends there.
    #[expect(
        clippy::disallowed_methods,
        reason = "the handle aborts it, and is awaited right here"
    )]
    let running = AbortOnDropHandle::new(tokio::spawn({
        let meter = meter.clone();
        async move { meter.count(executor.execute(job)).await }
    }));
    let outcome = tokio::select! {
        outcome = running => outcome,
        () = cancelled.cancelled() => return Ended::Dropped(claim),
    };
    let busy = Some(clock.elapsed().saturating_sub(begun));
    let attempt = match outcome {
        Ok(Ok(output)) if output.result.len() > MAX_BYTES => {
            let found = output.result.len();
            Err(Failure::permanent(format!("a result of {found} bytes, {MAX_BYTES} are allowed")))
        }
        Ok(attempt) => attempt,
        Err(error) if error.is_panic() => Err(Failure::transient(panic_text(&*error.into_panic()))),
        Err(_) => return Ended::Dropped(claim),
    };
    let mut usage = Usage { busy, ..meter.used() };
    let mut score = None;
    let outcome = match attempt {
        Ok(Output { result, bytes_moved, score: of_result }) => {
            score = of_result;
            usage = usage.plus(&Usage { bytes_moved, ..Usage::default() });
            let reward = settlement::reward(node, &task.spec, &usage);
            Outcome::Succeeded { result, reward }
        }
        // It was asked to stop, and did; or whoever did it goes away.
        Err(Failure { permanent: false, .. })
            if stop.borrow().is_some() || given_back.load(Ordering::Acquire) =>
        {
            return Ended::Dropped(claim);
        }
        Err(Failure { reason, permanent }) => Outcome::Failed { reason, permanent },
    };
    let log = notes.take_log();
    Ended::Reported(Box::new(Completion { claim, outcome, usage, log, score }))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the executor panicked: {}", text.as_deref().unwrap_or("without a message"))
}
