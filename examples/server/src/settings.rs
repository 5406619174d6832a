//! The settings as texts, from wherever they come.

use std::path::PathBuf;

use clap::Parser;
use figment::providers::{Format, Serialized, Toml};
use figment::{Figment, Profile};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::ConfigError;

macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// Every setting, as it was told. In the environment its name is in capitals, in the TOML
        /// file it is not.
        #[derive(Clone, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $(
                $(#[$doc])*
                #[serde(deserialize_with = "text", skip_serializing_if = "Option::is_none")]
                pub $field: Option<String>,
            )*
        }

        impl Settings {
            /// The settings that `variable` knows by their names in the environment.
            fn named_by(variable: impl Fn(&str) -> Option<String>) -> Self {
                Self { $($field: variable($name),)* }
            }
        }
    };
}

settings! {
    /// The address to listen on: an IP address or `localhost`. Default 127.0.0.1.
    host = "HOST",
    /// The port to listen on. Default 8000.
    port = "PORT",
    /// Where the server's own files are. Default `fogcore-server` in the user's data folder.
    data_dir = "DATA_DIR",
    /// The store. Default `sqlite:` and `fog.db` in the data folder.
    database_url = "DATABASE_URL",
    /// What tokens are signed with, at least 32 bytes. On loopback one is made.
    jwt_secret_key = "JWT_SECRET_KEY",
    /// The first administrator's address.
    admin_email = "ADMIN_EMAIL",
    /// The first administrator's password.
    admin_password = "ADMIN_PASSWORD",
    /// `on` (default) or `off`.
    rate_limit = "RATE_LIMIT",
    /// `on` or `off` (default): whether a second factor is asked for.
    require_mfa = "REQUIRE_MFA",
    /// `on` or `off` (default): whether everything is logged.
    debug = "DEBUG",
    /// `text` (default) or `json`.
    log_format = "LOG_FORMAT",
    /// Threads that serve.
    workers = "WORKERS",
    /// Origins whose pages may call, with commas between them.
    cors_origins = "CORS_ORIGINS",
    /// The certificate's file, in PEM.
    tls_cert = "TLS_CERT",
    /// The private key's file, in PEM.
    tls_key = "TLS_KEY",
    /// Addresses or networks of proxies whose forwarded headers count, with commas between them.
    trusted_proxies = "TRUSTED_PROXIES",
    /// `on` (default on loopback) or `off`: whether this machine needs no token.
    open = "OPEN",
    /// `on` (default on loopback) or `off`: whether anybody may register.
    open_registration = "OPEN_REGISTRATION",
    /// Connections at once.
    max_connections = "MAX_CONNECTIONS",
    /// The largest body of a request.
    max_body_bytes = "MAX_BODY_BYTES",
    /// How long a request may take.
    request_seconds = "REQUEST_SECONDS",
    /// How long a request's head may take.
    head_seconds = "HEAD_SECONDS",
}

// By hand: it holds secrets.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// Numbers and truth values of TOML are texts here, like those of the environment.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Text(String),
        Whole(i64),
        Switch(bool),
        Several(Vec<String>),
    }
    Ok(Option::<Told>::deserialize(deserializer)?.map(|told| match told {
        Told::Text(text) => text,
        Told::Whole(number) => number.to_string(),
        Told::Switch(on) => on.to_string(),
        Told::Several(items) => items.join(","),
    }))
}

/// fogcore-server: one fog over HTTP. Every flag is also a variable of the environment (`--data-dir`
/// is `DATA_DIR`) and a line of the TOML file (`data_dir`); flags come first, then the environment.
/// Secrets (JWT_SECRET_KEY, ADMIN_EMAIL, ADMIN_PASSWORD) are never flags.
#[derive(Clone, Debug, Default, Parser, Serialize)]
#[command(version)]
pub struct Flags {
    /// A TOML file with settings
    #[arg(long, env = "FOGCORE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Say whether the settings make sense, and what they mean, and stop
    #[arg(long)]
    #[serde(skip)]
    pub check_config: bool,
    /// The address to listen on: an IP address or localhost
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port to listen on
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Where the server's own files are
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
    /// sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE, or memory:
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    /// on or off
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<String>,
    /// on or off: whether a second factor is asked for
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_mfa: Option<String>,
    /// Origins whose pages may call, with commas between them
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors_origins: Option<String>,
    /// on or off
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<String>,
    /// text or json
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,
    /// Threads that serve
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
    /// The certificate's file, in PEM
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<String>,
    /// The private key's file, in PEM
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<String>,
    /// Proxies whose forwarded headers count
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_proxies: Option<String>,
    /// on or off
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
}

impl Settings {
    /// What flags, environment and file say together. `variable` reads the environment.
    ///
    /// # Errors
    /// A file that cannot be read, or that has a setting that there is not.
    pub fn gather(
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut told = Figment::new();
        if let Some(file) = &flags.config {
            if !file.is_file() {
                let why = format!("there is no file {}", file.display());
                return Err(ConfigError::new("FOGCORE_CONFIG", why));
            }
            told = told.merge(Toml::file_exact(file));
        }
        // As texts: a password of digits is no number.
        let environment = Self::named_by(|name| variable(name).filter(|value| !value.is_empty()));
        told.merge(Serialized::from(environment, Profile::Default))
            .merge(Serialized::from(flags, Profile::Default))
            .extract()
            .map_err(|error| ConfigError::new("FOGCORE_CONFIG", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let text = "port = 1\nhost = \"::1\"\nrate_limit = false\ncors_origins = [\"http://a\"]\n";
        std::fs::write(&file, text).unwrap();
        let flags = Flags { config: Some(file), port: Some("3".to_owned()), ..Flags::default() };
        let environment = |name: &str| match name {
            "PORT" => Some("2".to_owned()),
            "HOST" => Some("127.0.0.1".to_owned()),
            "ADMIN_PASSWORD" => Some("0012345678".to_owned()),
            "DEBUG" => Some(String::new()),
            _ => None,
        };
        let settings = Settings::gather(&flags, environment).unwrap();
        assert_eq!(settings.port.as_deref(), Some("3"));
        assert_eq!(settings.host.as_deref(), Some("127.0.0.1"));
        assert_eq!(settings.rate_limit.as_deref(), Some("false"));
        assert_eq!(settings.cors_origins.as_deref(), Some("http://a"));
        assert_eq!(settings.admin_password.as_deref(), Some("0012345678"));
        assert_eq!(settings.debug, None, "an empty variable says nothing");
    }

    #[test]
    fn a_misspelt_line_of_the_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        std::fs::write(&file, "prot = 1\n").unwrap();
        let flags = Flags { config: Some(file), ..Flags::default() };
        let refused = Settings::gather(&flags, |_| None).unwrap_err();
        assert!(refused.to_string().contains("prot"), "{refused}");
    }
}
