//! The database server that tests and benchmarks share.

use anyhow::Result;
use fogcore_dev_postgres::{Server, VARIABLE, programs};
use xshell::Shell;

use crate::tools;

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
        if programs().is_none() {
            tools::install_packages(sh, &["postgresql"]);
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
