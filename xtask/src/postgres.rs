//! The database server that tests and benchmarks share.

use std::path::Path;

use anyhow::Result;
use fogcore_dev_postgres::{Server, VARIABLE, is_root, programs};
use xshell::{Shell, cmd};

/// A server that was named in the environment, or runs as long as this does.
pub(crate) enum Postgres {
    Named(String),
    Started(Server),
}

impl Postgres {
    pub(crate) fn find_or_start(sh: &Shell) -> Result<Self> {
        if let Ok(url) = sh.var(VARIABLE) {
            return Ok(Self::Named(url));
        }
        // On a machine that is made for this run, nobody minds.
        let is_ci = sh.var("CI").is_ok_and(|value| value == "true");
        if programs().is_none() && is_ci && is_root() && Path::new("/usr/bin/apt-get").is_file() {
            cmd!(sh, "apt-get update").run()?;
            cmd!(sh, "apt-get install --yes --no-install-recommends postgresql")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .run()?;
        }
        Ok(Self::Started(Server::start()?))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Named(url) => url.clone(),
            Self::Started(server) => server.url("postgres"),
        }
    }
}
