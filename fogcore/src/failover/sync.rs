//! The atomics of the hot paths: the standard library's, or loom's, which tries every order in
//! which threads could meet (`RUSTFLAGS="--cfg fogcore_loom" cargo test --test loom`).

#[cfg(fogcore_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(fogcore_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
