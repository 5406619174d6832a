//! The parent process: submits the work, watches, kills, reports.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use fogcore::Fog;
use fogcore::id::NodeId;
use fogcore::registry::{Liveness, MAX_PAGE, NodeFilter, NodeRecord};
use rand::rngs::{StdRng, SysRng};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::Fleet;
use crate::kill::{self, Killed};
use crate::place::Place;
use crate::progress::Bars;
use crate::store::Open;
use crate::submit::{BATCH, Job, open_account, submit};
use crate::summary::Summary;
use crate::{Ended, default_folder, files, list, report, shown};

/// After how many beats that do not get through the parent asks why.
const SILENCE: u32 = 10;

/// What a run is told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder to digest [default: this repository, without .git and caches]
    folder: Option<PathBuf>,
    /// How many worker processes to start; their shapes are phone, laptop, box in turn
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// The database to use, and to keep; a second run on it does only what is new
    #[arg(long, value_name = "DB")]
    keep: Option<PathBuf>,
    /// Picks the victim [default: a random one, which is told]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write one JSON object to standard output instead of tables
    #[arg(long)]
    json: bool,
    /// Where to write the digests, as b3sum would [default: beside the database, or in a new
    /// temporary folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What a run knows that the database does not.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) seed: u64,
    pub(crate) killed: Option<Killed>,
    /// The database, if it stays.
    pub(crate) database: Option<PathBuf>,
}

/// Does the main job.
pub(crate) async fn run(options: Options) -> Result<Ended> {
    let folder = options.folder.clone().unwrap_or_else(default_folder);
    files::check_folder(&folder)?;
    let seed = match options.seed {
        Some(seed) => seed,
        // Short enough to be typed, and exact in every JSON reader.
        None => u64::from(StdRng::try_from_rng(&mut SysRng)?.next_u32()),
    };
    let place = Place::new(options.keep, options.output)?;
    let open = Open::at(&place.database, options.nodes).await?;
    let own = place.own_files();
    let own = files::identities(own.iter().map(PathBuf::as_path));
    let files = files::walk(&folder, options.folder.is_none(), &own)?;

    let fleet = Fleet::new(&place.database, options.nodes, busy_names(&open.fog).await?);
    let mut run = Run {
        bars: Bars::new(open.fog.tallies().await?),
        fog: open.fog.clone(),
        fleet,
        order: Vec::new(),
        seed,
        jobs: Vec::new(),
        opened: 0,
        killed: None,
    };
    run.bars.say(&format!("{} files in {}, seed {seed}", files.len(), shown(&folder)));
    let begun = open.fog.clock().now();
    let done = run.all(&files).await;
    run.bars.finish();
    run.fleet.stop(&**open.fog.clock()).await;
    let kept = place.kept_database();
    let to_go_on = || match kept {
        Some(_) => "what is done is kept: run again with the same --keep to go on",
        None => "with --keep, the next run could go on from here",
    };
    let done = done.map_err(|error| match error.downcast_ref::<fogcore::Error>() {
        Some(_) => error.context(format!("database {}", shown(&place.database))),
        None => error,
    });
    let done = done.inspect_err(|_| eprintln!("cannot go on; {}", to_go_on()));
    if !done? {
        eprintln!("interrupted; {}", to_go_on());
        open.close().await;
        return Ok(Ended::Interrupted);
    }
    let workers = run.fleet.members.iter().map(|member| member.node.clone());
    let summary = Summary::of(&run.fog, &run.jobs, begun, workers).await?;
    let facts = Facts {
        seed,
        killed: run.killed.take(),
        database: place.kept_database().map(Path::to_path_buf),
    };
    let ended = tell(&summary, &facts, &place, options.json)?;
    drop(run);
    open.close().await;
    Ok(ended)
}

/// Writes the list and the report; without the one, the other is still worth having.
fn tell(summary: &Summary, facts: &Facts, place: &Place, json: bool) -> Result<Ended> {
    let digests = summary.digests.iter();
    let digests = digests.map(|(path, digest)| (digest.digest.as_str(), path.as_path()));
    let written = place.output().and_then(|output| {
        list::write(&output, digests)?;
        Ok(output)
    });
    let written = written.inspect_err(|error| eprintln!("error: {error:#}")).ok();
    let report = if json { report::json } else { report::text };
    report(summary, facts, written.as_deref())?;
    let well =
        summary.failed.is_empty() && written.is_some() && summary.trial_balance.is_balanced();
    Ok(if well { Ended::Well } else { Ended::Badly })
}

/// The nodes that somebody else's processes are right now.
async fn busy_names(fog: &Fog) -> Result<HashSet<NodeId>> {
    let liveness = (Liveness::Online, fog.clock().now(), fog.config().liveness);
    let filter = NodeFilter { liveness: Some(liveness), ..NodeFilter::default() };
    let nodes = fog.nodes(&filter, None, MAX_PAGE).await?;
    Ok(nodes.into_iter().map(|record| record.node.id).collect())
}

/// A run under way.
struct Run {
    fog: Fog,
    fleet: Fleet,
    /// In which order the workers are wanted as victims.
    order: Vec<usize>,
    seed: u64,
    jobs: Vec<Job>,
    /// How many tasks were open when the run began, or were added by it.
    opened: u64,
    killed: Option<Killed>,
    bars: Bars,
}

impl Run {
    /// Does everything; false if somebody pressed Ctrl-C.
    async fn all(&mut self, files: &[files::FoundFile]) -> Result<bool> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = self.work(files) => done.map(|()| true),
            _ = interrupt.recv() => Ok(false),
            _ = terminate.recv() => Ok(false),
        }
    }

    async fn work(&mut self, files: &[files::FoundFile]) -> Result<()> {
        open_account(&self.fog).await?;
        // What a killed parent left is finished by this run.
        self.opened = self.open().await?;
        self.start_fleet().await?;
        // The last quarter is held back until half of the work is done: then there is surely
        // something left to be killed for, however small the folder and fast the machine.
        let half = files.len().div_ceil(2);
        let reserve = (files.len() / 4).max(1).min(files.len() - half);
        let (first, reserve) = files.split_at(files.len() - reserve);
        self.submit(first).await?;
        self.watch(reserve).await?;
        if self.killed.is_none()
            && self.opened > 0
            && let Some(victim) = self.order.first()
        {
            // It was never caught with work in its hands.
            let killed = kill::kill(&mut self.fleet.members[*victim], 0)?;
            self.report_kill(killed);
        }
        self.show().await
    }

    async fn submit(&mut self, files: &[files::FoundFile]) -> Result<()> {
        let mut left = files;
        while !left.is_empty() {
            // A single one first, to find out whether there is anything to do. The rest waits
            // until all workers are there: the first to come would take more than its share.
            let batch = if self.jobs.is_empty() { 1 } else { BATCH };
            let (batch, rest) = left.split_at(batch.min(left.len()));
            left = rest;
            let jobs = submit(&self.fog, batch).await?;
            self.opened += jobs.iter().filter(|job| job.new).count() as u64;
            self.jobs.extend(jobs);
            self.start_fleet().await?;
        }
        Ok(())
    }

    /// Starts the workers, once, and only if there is something to do.
    async fn start_fleet(&mut self) -> Result<()> {
        if self.opened == 0 || !self.fleet.members.is_empty() {
            return Ok(());
        }
        self.fleet.start()?;
        self.order = (0..self.fleet.members.len()).collect();
        self.order.shuffle(&mut StdRng::seed_from_u64(self.seed));
        self.muster().await
    }

    /// Waits until all workers are registered, but for no more than a while.
    async fn muster(&mut self) -> Result<()> {
        let clock = self.fog.clock().clone();
        let (begun, since) = (clock.elapsed(), clock.now());
        while clock.elapsed().saturating_sub(begun) < self.silence() {
            self.check()?;
            let mut missing = false;
            for member in self.fleet.working() {
                let record = self.fog.node(&member.node).await?;
                missing |= record.is_none_or(|record| record.last_seen < since);
            }
            if !missing {
                break;
            }
            clock.sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    fn silence(&self) -> Duration {
        self.fog.config().heartbeat_every * SILENCE
    }

    fn check(&mut self) -> Result<()> {
        for news in self.fleet.check()? {
            self.bars.say(&news);
        }
        Ok(())
    }

    /// Waits until everything has ended, and kills somebody half way.
    async fn watch(&mut self, mut reserve: &[files::FoundFile]) -> Result<()> {
        let clock = self.fog.clock().clone();
        let (mut shown, mut asked) = (clock.elapsed(), clock.elapsed());
        loop {
            let begun = clock.elapsed();
            let open = self.open().await?;
            let ended = self.opened.saturating_sub(open);
            let half = ended * 2 >= self.opened + reserve.len() as u64;
            if !reserve.is_empty() {
                if half || open == 0 {
                    self.submit(reserve).await?;
                    reserve = &[];
                }
            } else if open == 0 {
                return Ok(());
            } else if half && self.killed.is_none() {
                self.try_to_kill(open).await?;
            }
            self.check()?;
            if begun.saturating_sub(shown) > Duration::from_millis(100) {
                shown = begun;
                self.show().await?;
            }
            if begun.saturating_sub(asked) > Duration::from_secs(1) {
                asked = begun;
                self.ask_the_store().await?;
            }
            // Counting a large table takes time that the workers need more – except to catch one.
            let took = clock.elapsed().saturating_sub(begun);
            let factor = if half && self.killed.is_none() { 0 } else { 4 };
            let pause = (factor * took).clamp(Duration::from_millis(1), Duration::from_secs(1));
            clock.sleep(pause).await;
        }
    }

    /// How many tasks in the database have not ended, whoever submitted them.
    async fn open(&self) -> Result<u64> {
        let counts = self.fog.counts().await?;
        let open = counts.iter().filter(|(state, _)| !state.is_final());
        Ok(open.map(|(_, tasks)| tasks).sum())
    }

    async fn try_to_kill(&mut self, open: u64) -> Result<()> {
        // The one that the seed picked, and near the end anybody who can be caught in time.
        let wanted = if open * 4 > self.opened { 1 } else { self.order.len() };
        let killed = kill::kill_a_holder(&self.fog, &mut self.fleet, &self.order[..wanted]).await?;
        if let Some(killed) = killed {
            self.report_kill(killed);
            if self.fleet.working().next().is_none() {
                // Nobody is left to take the work over.
                let shape = self.fleet.members[self.order[0]].shape;
                self.fleet.start_one(shape)?;
            }
        }
        Ok(())
    }

    fn report_kill(&mut self, killed: Killed) {
        self.bars.say(&format!(
            "{} (process {}) was killed while it held {} tasks",
            killed.node, killed.pid, killed.held
        ));
        self.killed = Some(killed);
    }

    async fn show(&mut self) -> Result<()> {
        let tallies = self.fog.tallies().await?;
        let ended = self.opened.saturating_sub(self.open().await?);
        self.bars.show(&self.fleet, &tallies, ended, self.opened);
        Ok(())
    }

    /// Workers whose store refuses every write (a full disk) try on and on, as they should. So
    /// if none of their beats got through for long, the parent tries a write of its own, which
    /// tells why.
    async fn ask_the_store(&self) -> Result<()> {
        let mut latest: Option<NodeRecord> = None;
        for member in self.fleet.working() {
            if let Some(record) = self.fog.node(&member.node).await?
                && latest.as_ref().is_none_or(|latest| latest.last_seen < record.last_seen)
            {
                latest = Some(record);
            }
        }
        if let Some(record) = latest
            && self.fog.clock().now().since(record.last_seen) > self.silence()
        {
            // Registering again changes nothing that the next beat does not tell.
            let asked = self.fog.register(record.node).await;
            asked.context("the workers' heartbeats do not get through")?;
        }
        Ok(())
    }
}
