//! A worker process: a node of the fog that knows the database and nothing else.
//!
//! Its standard input is a pipe that the parent holds and never writes to. The end of it means
//! that the worker shall stop, or that the parent is gone: the kernel closes the pipe even when
//! the parent had no time to say so.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use fogcore::id::NodeId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::shapes::Shape;
use crate::store::{Open, kind};
use crate::{Ended, digest};

/// What a worker process is told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The database.
    #[arg(long)]
    db: PathBuf,
    /// The node's id.
    #[arg(long)]
    node: NodeId,
    /// What the node pretends to be.
    #[arg(long, value_enum)]
    shape: Shape,
    /// How many workers there are in all.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
}

/// Works until standard input ends, or somebody says stop.
pub(crate) async fn work(options: Options) -> Result<Ended> {
    wake_when_the_parent_dies();
    let name = options.node.clone();
    let context = || format!("worker {name}");
    let parent_gone = end_of_input();
    let open = Open::at(&options.db, options.nodes).await.with_context(context)?;
    let node = options.shape.node(options.node)?;
    let worker = open
        .fog
        .worker(node)
        .executor(kind()?, digest::executor())
        .vitals(options.shape.vitals()?)
        .start()
        .await
        .with_context(context)?;
    // Ctrl-C in a terminal reaches all processes of the job, this one included.
    let mut interrupt = signal(SignalKind::interrupt()).with_context(context)?;
    let mut terminate = signal(SignalKind::terminate()).with_context(context)?;
    tokio::select! {
        _ = parent_gone => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    worker.stop().await;
    open.fog.shutdown().await;
    // Who leaves in good order is no longer waited for when others are weighed.
    if let Err(error) = open.fog.remove_node(&name).await {
        tracing::warn!(%error, node = %name, "could not sign off, it will be missed instead");
    }
    open.close().await;
    Ok(Ended::Well)
}

/// Resolves at the end of standard input.
fn end_of_input() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    // A thread of its own, because nothing can call a blocking read off: it ends with the process.
    std::thread::spawn(move || {
        // Whatever an error means, there is no parent to be heard of any more.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        // The receiver is gone if the worker stops for another reason.
        let _ = sender.send(());
    });
    receiver
}

/// A parent that dies while this process is stopped (see [`kill`](crate::kill)) could not
/// continue it any more, and the end of the pipe would never be read.
fn wake_when_the_parent_dies() {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::CONT))
    {
        tracing::warn!(%error, "the parent's death will not be noticed while stopped");
    }
}
