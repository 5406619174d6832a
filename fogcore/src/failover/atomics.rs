//! The atomics and locks of what threads share, in one place, so that a model checker can put its
//! own there.
//!
//! Built with `--cfg fogcore_loom`, they are loom's, which tries every order in which threads can
//! run and every value that a load may see (Norris and Demsky, "CDSChecker", OOPSLA 2013). Loom's
//! work inside a model only, so nothing but the models runs in such a build.

#[cfg(fogcore_loom)]
pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};
#[cfg(fogcore_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(fogcore_loom))]
pub(crate) use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};
#[cfg(not(fogcore_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};

/// Loom has none. This one orders threads exactly as the standard library's does.
#[cfg(fogcore_loom)]
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    is_made: loom::sync::atomic::AtomicBool,
    making: Mutex<()>,
    made: std::sync::OnceLock<T>,
}

#[cfg(fogcore_loom)]
impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        let (is_made, making) = (loom::sync::atomic::AtomicBool::new(false), Mutex::new(()));
        Self { is_made, making, made: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_made.load(Ordering::Acquire) { self.made.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.is_made.load(Ordering::Acquire) {
            return self.made.get_or_init(make);
        }
        let _making = self.making.lock();
        let made = self.made.get_or_init(make);
        self.is_made.store(true, Ordering::Release);
        made
    }
}

/// Tries all orders with at most three interruptions: nearly all faults need fewer (Musuvathi and
/// Qadeer, "Iterative Context Bounding", PLDI 2007).
#[cfg(all(test, fogcore_loom))]
pub(crate) fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}
