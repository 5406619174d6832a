//! The threads that all calls run on, and how a call is made that nobody may tear in two.
//!
//! The other side cancels its calls whenever it likes: a screen closes, a coroutine's scope ends.
//! Then uniffi drops our future. A future that was half way through "reserve, then write" would
//! leave half of it, so what changes something is spawned and joined (`Calls::finish`): dropping
//! the join lets it go on to its end. What only waits is given up with its caller
//! (`Calls::wait`).

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::error::FogError;

/// So many threads are enough for a phone: none of them ever blocks, SQLite has its own.
const THREADS: usize = 2;

static RUNTIME: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
    let builder = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("fogcore")
        .enable_all()
        .build();
    builder.map_err(|error| format!("the threads of fogcore cannot be started: {error}"))
});

fn runtime() -> Result<&'static Runtime, FogError> {
    RUNTIME.as_ref().map_err(FogError::unavailable)
}

/// Enters the runtime, for what looks for it in its surroundings.
pub(crate) fn enter() -> Result<tokio::runtime::EnterGuard<'static>, FogError> {
    Ok(runtime()?.enter())
}

/// Work of any kind. All calls are spawned as this one type: a type for each would be a third of the
/// library.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The calls of one fog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    running: TaskTracker,
    stopping: CancellationToken,
}

impl Calls {
    fn begin(&self, work: Work) -> Result<JoinHandle<()>, FogError> {
        Ok(self.running.spawn_on(work, runtime()?.handle()))
    }

    /// Does work to its end, whether anybody waits for that or not.
    ///
    /// # Errors
    /// The work's own; Internal if it panicked.
    pub(crate) async fn finish<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, FogError>
    where
        T: Send + 'static,
        E: Into<FogError> + Send + 'static,
    {
        let (work, told) = telling(work);
        drop(self.begin(work)?);
        told.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Waits for something, as long as the caller does and the fog is there.
    ///
    /// # Errors
    /// The work's own; Unavailable once the fog shuts down; Internal if it panicked.
    pub(crate) async fn wait<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, FogError>
    where
        T: Send + 'static,
        E: Into<FogError> + Send + 'static,
    {
        let (work, told) = telling(work);
        let _aborted_with_the_caller = AbortOnDropHandle::new(self.begin(work)?);
        tokio::select! {
            told = told => told.unwrap_or_else(|_| Err(panicked())),
            () = self.stopping.cancelled() => Err(FogError::shut_down()),
        }
    }

    /// Does something in the background until it ends, or the fog does.
    ///
    /// # Errors
    /// Unavailable if there are no threads.
    pub(crate) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), FogError> {
        let stopping = self.stopping.clone();
        let until_stopped = async move {
            tokio::select! {
                () = work => {}
                () = stopping.cancelled() => {}
            }
        };
        self.begin(Box::pin(until_stopped)).map(drop)
    }

    /// Gives up what only waits, and returns when everything else is done.
    pub(crate) async fn end(&self) {
        self.stopping.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

/// The work, and who is told what came of it; nobody is, if it panics.
fn telling<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> (Work, oneshot::Receiver<Result<T, FogError>>)
where
    T: Send + 'static,
    E: Into<FogError> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let work = async move {
        // Nobody may be there to hear it.
        let _ = tell.send(work.await.map_err(Into::into));
    };
    (Box::pin(work), told)
}

fn panicked() -> FogError {
    FogError::internal("the call panicked; its thread told more on its standard error")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn block<T>(future: impl Future<Output = T>) -> T {
        Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn work_that_nobody_waits_for_any_more_is_done_to_its_end() {
        let (calls, go, done) =
            (Calls::default(), Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        block(async {
            let (may, did) = (go.clone(), done.clone());
            let work = async move {
                may.notified().await;
                did.store(true, Ordering::SeqCst);
                Ok::<_, FogError>(())
            };
            {
                let mut call = std::pin::pin!(calls.finish(work));
                assert!(
                    std::future::poll_fn(|cx| std::task::Poll::Ready(
                        call.as_mut().poll(cx).is_pending()
                    ))
                    .await
                );
            }
            assert!(!done.load(Ordering::SeqCst));
            go.notify_one();
            calls.end().await;
        });
        assert!(done.load(Ordering::SeqCst));
    }

    #[test]
    fn a_wait_ends_with_the_fog_and_a_panic_is_an_error() {
        let calls = Calls::default();
        block(async {
            let waits = calls.wait(std::future::pending::<Result<(), FogError>>());
            let (waited, ()) = tokio::join!(waits, calls.end());
            assert!(matches!(waited, Err(FogError::Unavailable { .. })));
            let broken = async { if true { panic!("broken") } else { Ok::<(), FogError>(()) } };
            assert!(matches!(calls.finish(broken).await, Err(FogError::Internal { .. })));
        });
    }

    #[test]
    fn the_threads_have_a_name() {
        let name = async { Ok::<_, FogError>(std::thread::current().name().map(str::to_owned)) };
        assert_eq!(block(Calls::default().finish(name)).unwrap().as_deref(), Some("fogcore"));
    }
}
