//! The main job: a folder is digested by a fog of three processes, one of which is killed half way.
//!
//! The parent process ([`run`]) starts the workers ([`worker`]), submits one task per file, and
//! reports. All of them share one SQLite file and nothing else: whatever the parent knows, it has
//! from there, as any other process could.

mod digest;
mod files;
mod fleet;
mod kill;
mod list;
mod place;
mod progress;
mod report;
mod run;
mod shapes;
mod store;
mod submit;
mod summary;
mod worker;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Values are made on one thread and freed on SQLite's, which the system's allocator is slow at:
/// with this one, which serves SQLite's own memory, too, a fog does about a fifth more tasks.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Digests every file of a folder on a fog of several processes, and kills one of them half way.
///
/// Each worker process plays a node of a certain shape: a phone, a laptop, a box. The shapes
/// (slots, prices, and that the phone is at 80 % of its battery) are made up; everything else is
/// measured.
#[derive(Debug, Parser)]
#[command(
    name = "quickstart",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    run: run::Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One worker process; it ends when its standard input does.
    #[command(hide = true)]
    Worker(worker::Options),
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Everything is done.
    Well,
    /// Something could not be done, and it was said what.
    Badly,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Well => Self::SUCCESS,
            Ended::Badly => Self::FAILURE,
            // 128 + SIGINT, as shells expect.
            Ended::Interrupted => Self::from(130),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.command.is_some());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match cli.command {
            Some(Command::Worker(options)) => worker::work(options).await,
            None => run::run(cli.run).await,
        }
    });
    match ended {
        Ok(ended) => ended.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error what `RUST_LOG` asks for; by default warnings, but of the core and the
/// database, and of workers altogether, only errors: that a disk is full, for example, every loop
/// of every process would tell many times a second, and the parent finds out and tells once.
fn log(worker: bool) {
    let default = if worker { "error" } else { "warn,fogcore=error,sqlx=error" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// The path as people read it.
fn shown(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The folder that is digested if none is named: this repository under cargo, else the current
/// folder.
fn default_folder() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package
        .as_deref()
        .and_then(|package| package.ancestors().nth(2))
        .map_or_else(|| PathBuf::from("."), std::path::Path::to_path_buf)
}
