//! How the server is configured: flags before environment before file before defaults.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Parser;
use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

/// The shortest secret that a server which others can reach may have, in bytes.
const SHORTEST_SECRET: usize = 32;

/// The reference server of fogcore.
#[derive(Debug, Parser, Serialize)]
#[command(version, about)]
struct Args {
    /// A TOML file with the same names in lower case.
    #[arg(long, env = "FOGCORE_CONFIG")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Only tell whether the configuration is fine.
    #[arg(long)]
    #[serde(skip)]
    check_config: bool,
    /// Where to listen. Off loopback, a secret is needed.
    #[arg(long, env = "HOST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<IpAddr>,
    /// The port; 0 for any.
    #[arg(long, env = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE, or memory:
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_url: Option<String>,
    /// The folder of the embedded database and the secret.
    #[arg(long, env = "DATA_DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// What tokens are signed with, at least 32 bytes.
    #[arg(long, env = "JWT_SECRET_KEY", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_secret_key: Option<String>,
    /// The first administrator.
    #[arg(long, env = "ADMIN_EMAIL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_email: Option<String>,
    /// Their password.
    #[arg(long, env = "ADMIN_PASSWORD", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_password: Option<String>,
    /// Whether the coordinator and fog documents ask for a token on loopback, too.
    #[arg(long, env = "REQUIRE_TOKEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    require_token: Option<bool>,
    /// Whether requests are limited per identity and address.
    #[arg(long, env = "RATE_LIMIT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<Switch>,
    /// Origins that browsers may call from; may be repeated.
    #[arg(long, env = "CORS_ORIGINS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    cors_origins: Option<Vec<String>>,
    /// Say more in the log.
    #[arg(long, env = "DEBUG")]
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<bool>,
    /// Log in JSON.
    #[arg(long, env = "LOG_JSON")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_json: Option<bool>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    On,
    Off,
}

/// How the server is configured.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) database_url: Option<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) jwt_secret_key: Option<String>,
    pub(crate) admin_email: Option<String>,
    pub(crate) admin_password: Option<String>,
    pub(crate) require_token: bool,
    pub(crate) rate_limit: Switch,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) debug: bool,
    pub(crate) log_json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 8_000,
            database_url: None,
            data_dir: "fogcore-data".into(),
            jwt_secret_key: None,
            admin_email: None,
            admin_password: None,
            require_token: false,
            rate_limit: Switch::On,
            cors_origins: Vec::new(),
            debug: false,
            log_json: false,
        }
    }
}

impl Config {
    /// What flags, environment and file say, and whether that is all that is asked.
    pub(crate) fn read() -> anyhow::Result<(Self, bool)> {
        let args = Args::parse();
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = &args.config {
            if !file.is_file() {
                bail!("{} is no file", file.display());
            }
            figment = figment.merge(Toml::file(file));
        }
        let config = figment.merge(Serialized::defaults(&args)).extract();
        Ok((config.context("the configuration")?, args.check_config))
    }

    /// Refuses what would leave the door open.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let secret = self.jwt_secret_key.as_deref().map(str::len);
        if secret.is_some_and(|bytes| bytes < SHORTEST_SECRET) {
            bail!("JWT_SECRET_KEY must have at least {SHORTEST_SECRET} bytes");
        }
        if !self.host.is_loopback() && secret.is_none() {
            bail!("off loopback a JWT_SECRET_KEY of at least {SHORTEST_SECRET} bytes is needed");
        }
        if self.admin_email.is_some() != self.admin_password.is_some() {
            bail!("ADMIN_EMAIL and ADMIN_PASSWORD go together");
        }
        Ok(())
    }

    /// Whether the documents that say so are open to everybody.
    pub(crate) fn is_open(&self) -> bool {
        self.host.is_loopback() && !self.require_token
    }

    /// The store's URL.
    pub(crate) fn database(&self) -> String {
        self.database_url
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", self.data_dir.join("fog.db").display()))
    }

    /// The same, without what is secret in it.
    pub(crate) fn shown_database(&self) -> String {
        let url = self.database();
        match url.split_once("://") {
            Some((scheme, rest)) => {
                let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
                format!("{scheme}://{}", place.split('?').next().unwrap_or_default())
            }
            None => url,
        }
    }

    /// What tokens are signed with: as configured, or made once and kept for its owner alone.
    pub(crate) fn secret(&self) -> anyhow::Result<Vec<u8>> {
        if let Some(secret) = &self.jwt_secret_key {
            return Ok(secret.clone().into_bytes());
        }
        if self.database() == "memory:" {
            return Ok(fresh_secret()?.into_bytes());
        }
        let path = self.data_dir.join("secret");
        if !path.exists() {
            write_for_owner(&path, &fresh_secret()?)
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        let secret = std::fs::read(&path);
        let secret = secret.with_context(|| format!("{} cannot be read", path.display()))?;
        if secret.len() < SHORTEST_SECRET {
            bail!("{} holds no secret", path.display());
        }
        Ok(secret)
    }
}

fn fresh_secret() -> anyhow::Result<String> {
    let bytes = crate::edge::secret().map_err(|problem| anyhow::anyhow!(problem.message))?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

fn write_for_owner(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
