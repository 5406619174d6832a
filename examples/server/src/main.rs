//! The reference server: published API documents over HTTP, served from one fog.
//!
//! Handlers parse, call the core once, and render; every rule is the library's.

mod api;
mod app;
mod auth;
mod config;
mod edge;
mod events;
mod problem;
mod signaling;

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use self::config::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (config, check_only) = Config::read()?;
    config.check()?;
    if check_only {
        say("the configuration is fine");
        return Ok(());
    }
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(if config.debug { "debug,sqlx=info" } else { "info" }));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if config.log_json {
        logs.json().init();
    } else {
        logs.init();
    }

    let app = app::App::open(&config).await?;
    let listener = TcpListener::bind((config.host, config.port)).await;
    let listener = listener.with_context(|| format!("{}:{} is taken", config.host, config.port))?;
    let address = listener.local_addr()?;
    say(&format!("fogcore-server listens on http://{address}"));
    say(&format!("  documents  http://{address}/docs"));
    say(&format!("  database   {}", config.shown_database()));
    let stopping = app.stopping.clone();
    let router = app::router(&app).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            asked_to_stop().await;
            // Sockets end by themselves; requests that run are finished.
            stopping.cancel();
        })
        .await?;
    app.close().await;
    Ok(())
}

/// Until Ctrl-C or a request to terminate.
async fn asked_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupted.await;
}

/// Tells whoever started it, if they still listen.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}
