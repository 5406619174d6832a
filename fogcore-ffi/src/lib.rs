//! fogcore for Kotlin and Swift: the core behind coarse calls, over uniffi.
//!
//! This crate parses, calls the core once, and renders. Whatever would be a rule is in the core.
//!
//! - Names are the core's. Ids, amounts and times cross as texts, and are read where they enter:
//!   what is not one is [`FogError::InvalidInput`] with the field's name.
//! - All work runs on this crate's own `runtime`, whose threads are named. A call that
//!   the other side gives up goes on to its end, so nothing is half done; a call that only waits
//!   ends with whoever waited.
//! - What the other side implements ([`ForeignExecutor`], [`ForeignListener`], [`ForeignScaleHook`],
//!   [`ForeignProbe`]) takes owned values and may throw: that fails the one attempt it belongs to.
//! - No error has a field called `message`, and nothing is called `close`: both are names that
//!   the generated Kotlin needs for itself.
//!
//! ```
//! use fogcore_ffi::{Fog, FogOptions, FogError};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let fog = Fog::open("memory:".into(), FogOptions::default(), None, None).await?;
//! let alice = "alice".parse().unwrap();
//! let amount = fogcore::amount::Asset::FOG.parse("2.5").unwrap();
//! fog.mint(alice, amount).await?;
//! let account = fog.account("alice".parse().unwrap()).await?.unwrap();
//! assert_eq!(account.available, amount);
//! fog.shutdown().await;
//! assert!(matches!(fog.task_counts().await, Err(FogError::Unavailable { .. })));
//! # Ok::<(), FogError>(())
//! # }).unwrap();
//! ```
#![allow(unsafe_code, reason = "uniffi's macros write the C functions; there is none by hand")]
#![allow(clippy::needless_pass_by_value, reason = "what crosses the boundary is owned")]

mod balancing;
mod breaker;
mod error;
mod events;
mod fog;
mod handles;
mod health;
mod ledger;
mod node;
mod options;
mod runtime;
mod scaling;
mod signaling;
mod task;
mod values;
mod worker;

#[cfg(test)]
mod complete;

pub use self::{
    balancing::{Balancer, BalancerOptions, CallFailure, Permit, PickRequest, Picked},
    breaker::{Breaker, BreakerOptions, BreakerPermit, BreakerStats},
    error::FogError,
    events::{EventFeed, ForeignListener, ListenerError, Listening, NumberedEvent},
    fog::{Fog, open_fog},
    handles::live_handles,
    health::{ForeignProbe, HealthMonitor, ProbeFailure},
    ledger::{
        Account, AssetTotal, NewAccount, Transfer, TransferAction, TransferAnswer, format_amount,
        parse_amount,
    },
    node::{Node, NodeFilter, NodeStatus, Rates},
    options::{FogOptions, PowerRules},
    scaling::{ForeignScaleHook, ScaleAnswer, ScaleError, ScaleOptions, ScaleRequest},
    signaling::{Delivery, PeerConnection, PeerMail, Session, ZoneOptions},
    task::{
        Considered, Explanation, Retry, Submission, SubmitAnswer, Task, TaskCount, TaskFilter,
        TaskLog, TaskRequest, TaskRequirements,
    },
    values::{Refusal, Span},
    worker::{ExecutionError, ForeignExecutor, Job, JobControl, Output, Worker},
};

uniffi::setup_scaffolding!("fogcore");
