//! The program: reads its settings, serves until it is told to stop, and says where everything is.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use fogcore_server::Server;
use fogcore_server::config::{Config, Flags, SecretSource, Settings};
use tracing_subscriber::EnvFilter;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the shell is told of settings that make no sense, as of wrong flags.
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let variable = |name: &str| std::env::var(name).ok();
    let config = Settings::gather(&flags, variable).and_then(Config::from_settings);
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    if flags.check_config {
        say(&summary(&config));
        return ExitCode::SUCCESS;
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To whoever still reads: a server does not end because nobody does.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn run(config: Config) -> Result<()> {
    log(&config);
    #[cfg(unix)]
    allow_many_files(config.limits.connections);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all();
    if let Some(workers) = config.workers {
        runtime.worker_threads(workers);
    }
    runtime.build()?.block_on(async {
        let (summary, stop) = (summary(&config), told_to_stop()?);
        let server = Server::start(config).await?;
        let url = server.url();
        say(&format!("fogcore-server listens on {url}\n{summary}\ndocuments {url}/docs"));
        stop.await;
        tracing::info!("stopping");
        server.stop().await;
        Ok(())
    })
}

/// A connection is a file: as many as the system lets this process have, rather than the few that it
/// has to begin with.
#[cfg(unix)]
fn allow_many_files(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    if maximum.is_some_and(|files| files < connections as u64) {
        tracing::warn!(?maximum, connections, "fewer files may be open than connections");
    }
}

/// Where everything is, without a secret.
fn summary(config: &Config) -> String {
    let secret = match &config.secret {
        SecretSource::Given(_) => "as given".to_owned(),
        SecretSource::File(path) => path.display().to_string(),
    };
    let access = if config.open {
        "open to this machine below /api; everywhere else a token is needed"
    } else {
        "a token is needed"
    };
    let admin = match &config.admin {
        Some(admin) => &admin.email,
        None => "none: set ADMIN_EMAIL and ADMIN_PASSWORD to have one",
    };
    format!(
        "address   {}\ndata      {}\ndatabase  {}\nsecret    {secret}\nadmin     {admin}\naccess    {access}",
        config.address,
        config.data_dir.display(),
        without_password(&config.database_url),
    )
}

/// The URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

fn log(config: &Config) {
    let usual = if config.debug { "debug,sqlx=info,hyper=info" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if config.json_logs {
        lines.json().init();
    } else {
        lines.init();
    }
}

/// Ctrl-C or, as service managers have it, SIGTERM. Listened for from now on, so that none is missed
/// once others know that we are here.
#[cfg(unix)]
fn told_to_stop() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut interrupted = listen(SignalKind::interrupt())?;
    let mut terminated = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

/// Ctrl-C.
#[cfg(not(unix))]
fn told_to_stop() -> Result<impl Future<Output = ()>> {
    Ok(async {
        // Without it, there is another way to end a program.
        let _ = tokio::signal::ctrl_c().await.context("cannot listen for Ctrl-C");
    })
}
