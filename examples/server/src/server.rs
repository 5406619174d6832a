//! A server from its beginning to its end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use fogcore::registry::LivenessPolicy;
use fogcore::{Fog, FogConfig};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{self, App, COUNTED_APART, Shared};
use crate::auth::{Auth, Secret, make_folder};
use crate::config::{Config, SecretSource};
use crate::http::problem::Problem;
use crate::http::quota::Quotas;
use crate::http::watch::Watch;
use crate::listen::{self, Door};
use crate::store;
use crate::{api, tls, ws};

/// How often other processes' revocations are read: so long a token may live on there.
const LEARN_EVERY: Duration = Duration::from_secs(2);
/// How often what has ended by itself is removed from the store.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// Beats come from everywhere and all the time: they are on the disk a second later, many at once.
const BEATS_WITHIN: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    app: App,
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Opens everything and begins to serve.
    ///
    /// # Errors
    /// What cannot be opened, and why.
    pub async fn start(config: Config) -> Result<Self> {
        if config.database_url.starts_with(&*format!("sqlite:{}", config.data_dir.display())) {
            make_folder(&config.data_dir)?;
        }
        let secret = match &config.secret {
            SecretSource::Given(secret) => secret.clone(),
            SecretSource::File(path) => Secret::in_file(path)?,
        };
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        // Before anything counts.
        let prometheus = prometheus();
        let fog = Fog::builder().url(&config.database_url).config(fog_config());
        let fog = fog.open().await.context("cannot open the fog")?;
        let store = store::open(&config.database_url).await.context("cannot open the users")?;
        let auth = Auth::open(store.clone(), fog.clock().clone(), &secret).await.map_err(told)?;
        if let Some(admin) = config.admin.clone() {
            auth.ensure_admin(admin).await.map_err(told)?;
        }
        let listener = TcpListener::bind(config.address)
            .await
            .with_context(|| format!("cannot listen on {}", config.address))?;
        let address = listener.local_addr()?;
        let app = App::new(Shared {
            config,
            fog,
            auth,
            store,
            quotas: Quotas::new(COUNTED_APART),
            kept: Arc::default(),
            watch: Watch::default(),
            hub: Arc::default(),
            rewards: api::fog::RewardsToday::default(),
            prometheus,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        app.tasks.spawn(ws::run(app.clone()));
        app.tasks.spawn(keep_house(app.clone()));
        let limits = app.config.limits.clone();
        let door = Door { listener, tls, limits, stopping: app.stopping.clone() };
        let router = app::router(app.clone());
        // Of its own, because it ends before the others do.
        let serving = TaskTracker::new().spawn(listen::serve(door, router));
        Ok(Self { app, address, serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.app.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The engine.
    #[must_use]
    pub fn fog(&self) -> &Fog {
        &self.app.fog
    }

    /// Stops in good order: nobody is let in, requests end, sockets are told, and what the fog has
    /// under way is written.
    pub async fn stop(self) {
        self.app.stopping.cancel();
        // Only an abort of ours, or a panic that was told, ends it otherwise.
        let _ = self.serving.await;
        self.app.tasks.close();
        let grace = self.app.config.limits.grace;
        if tokio::time::timeout(grace, self.app.tasks.wait()).await.is_err() {
            tracing::warn!("some sockets did not end in time");
        }
        self.app.fog.shutdown().await;
        self.app.store.close().await;
    }
}

/// The coordinator's hosts are offline after a minute without a beat; the fog's nodes are the same
/// nodes.
fn fog_config() -> FogConfig {
    let liveness = LivenessPolicy { suspect_after: MINUTE, offline_after: MINUTE };
    FogConfig { liveness, beats_within: BEATS_WITHIN, ..FogConfig::default() }
}

/// Problems say what to do; at the start, the operator is the one to do it.
fn told(problem: Problem) -> anyhow::Error {
    anyhow::anyhow!(problem.message)
}

/// The recorder is the process's; several servers in one process share it.
fn prometheus() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("somebody else records metrics: /metrics has none");
        }
        handle
    };
    HANDLE.get_or_init(install).clone()
}

/// What has to be done now and then.
async fn keep_house(app: App) {
    let clock = app.fog.clock().clone();
    let mut purged = clock.elapsed();
    loop {
        tokio::select! {
            () = clock.sleep(LEARN_EVERY) => {}
            () = app.stopping.cancelled() => return,
        }
        app.prometheus.run_upkeep();
        if let Err(problem) = app.auth.learn_revocations().await {
            tracing::warn!(?problem, "revocations of other processes are not known");
        }
        if clock.elapsed().saturating_sub(purged) >= PURGE_EVERY {
            purged = clock.elapsed();
            if let Err(problem) = app.auth.purge().await {
                tracing::warn!(?problem, "what has ended is not removed");
            }
        }
    }
}
