//! What the server is told: flags, environment, and an optional TOML file, in this order of
//! precedence, each setting under the same name.
//!
//! Everything arrives as text ([`Settings`]) and is read once, with the name of the setting in every
//! refusal; inside, a [`Config`] cannot hold nonsense. Secrets are no flags, because everybody on the
//! machine can read a process's arguments.
//!
//! ```
//! use fogcore_server::config::{Config, Settings};
//!
//! let config = Config::from_settings(Settings { port: Some("9000".into()), ..Settings::default() })?;
//! assert_eq!(config.address.to_string(), "127.0.0.1:9000");
//!
//! let off_loopback = Settings { host: Some("0.0.0.0".into()), ..Settings::default() };
//! let refused = Config::from_settings(off_loopback).unwrap_err();
//! assert!(refused.to_string().starts_with("JWT_SECRET_KEY"));
//! # Ok::<(), fogcore_server::config::ConfigError>(())
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;

use crate::auth::Secret;
use crate::http::client::Network;
pub use crate::settings::{Flags, Settings};

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct ConfigError {
    /// The setting, as in the environment.
    pub name: &'static str,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

impl ConfigError {
    pub(crate) fn new(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, why: why.into() }
    }
}

/// Where the signing secret comes from.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// It was given.
    Given(Secret),
    /// It is kept in this file, which is made if need be. On loopback only.
    File(PathBuf),
}

/// The first administrator.
#[derive(Clone)]
pub struct FirstAdmin {
    /// The address to log in with.
    pub email: String,
    /// The password to begin with.
    pub password: String,
}

impl std::fmt::Debug for FirstAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstAdmin").field("email", &self.email).finish_non_exhaustive()
    }
}

/// Certificate and key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is bounded, and how. Each has a default and a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; who comes then waits to be accepted. Default 25,000: as many sockets as
    /// are to sit idle, and some more.
    pub connections: usize,
    /// The largest body of a request, in bytes. Default 4 MiB: a batch of payloads in base64.
    pub body: usize,
    /// How long a request may take from its head to its answer. Default 30 s.
    pub request: Duration,
    /// How long a request's head may take, and how long a connection may be idle. Default 15 s.
    pub head: Duration,
    /// How long what was sent may stay unacknowledged before the client is given up. Default 30 s.
    pub unread: Duration,
    /// How long requests and sockets may take to end once the server stops. Default 10 s.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 25_000,
            body: 4 << 20,
            request: Duration::from_secs(30),
            head: Duration::from_secs(15),
            unread: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens. Port 0 takes a free one.
    pub address: SocketAddr,
    /// Where its own files are.
    pub data_dir: PathBuf,
    /// The store; see [`fogcore::storage::open`].
    pub database_url: String,
    /// What tokens are signed with.
    pub secret: SecretSource,
    /// Who is made administrator, unless there is such a user.
    pub admin: Option<FirstAdmin>,
    /// Whether requests are counted.
    pub rate_limit: bool,
    /// Whether tokens must say that a second factor was checked.
    pub require_mfa: bool,
    /// Whether everything is logged.
    pub debug: bool,
    /// Whether logs are JSON lines.
    pub json_logs: bool,
    /// Threads that serve; as many as there are cores unless told.
    pub workers: Option<usize>,
    /// Pages of these origins may call.
    pub cors_origins: Vec<HeaderValue>,
    /// Serve over TLS.
    pub tls: Option<TlsFiles>,
    /// Whose word counts for whom a request comes from.
    pub trusted_proxies: Vec<Network>,
    /// Whether the coordinator's and the fog's routes are open to this machine without a token.
    pub open: bool,
    /// Whether anybody may register, or only an administrator for others.
    pub open_registration: bool,
    /// What is bounded.
    pub limits: Limits,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// The first setting that makes no sense, or may not be so.
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        let host = host(settings.host.as_deref().unwrap_or("127.0.0.1"))?;
        let port = parse("PORT", settings.port.as_deref(), 8_000, "a port between 0 and 65535")?;
        let data_dir = settings.data_dir.map_or_else(default_data_dir, PathBuf::from);
        let proxies = list("TRUSTED_PROXIES", settings.trusted_proxies.as_deref())?;
        let cors_origins: Vec<HeaderValue> =
            list::<Origin>("CORS_ORIGINS", settings.cors_origins.as_deref())?
                .into_iter()
                .map(|origin| origin.0)
                .collect();
        let secret = match settings.jwt_secret_key {
            Some(text) => SecretSource::Given(
                Secret::new(text.into_bytes())
                    .map_err(|why| ConfigError::new("JWT_SECRET_KEY", why))?,
            ),
            None if host.is_loopback() => SecretSource::File(data_dir.join("jwt-secret")),
            None => {
                let why = format!(
                    "on {host}, which others can reach, a secret of at least {} bytes must be given",
                    Secret::LEAST
                );
                return Err(ConfigError::new("JWT_SECRET_KEY", why));
            }
        };
        // Behind a proxy on this machine, everybody comes from loopback.
        let is_local = host.is_loopback() && proxies.is_empty();
        let open = switch("OPEN", settings.open.as_deref(), is_local)?;
        if open && !is_local {
            let why = "only a server on loopback, without a proxy before it, can be open";
            return Err(ConfigError::new("OPEN", why));
        }
        let registration = settings.open_registration.as_deref();
        let database_url = settings
            .database_url
            .unwrap_or_else(|| format!("sqlite:{}", data_dir.join("fog.db").display()));
        let default = Limits::default();
        let limits = Limits {
            connections: at_least_one(
                "MAX_CONNECTIONS",
                settings.max_connections.as_deref(),
                default.connections,
            )?,
            body: at_least_one("MAX_BODY_BYTES", settings.max_body_bytes.as_deref(), default.body)?,
            request: seconds(
                "REQUEST_SECONDS",
                settings.request_seconds.as_deref(),
                default.request,
            )?,
            head: seconds("HEAD_SECONDS", settings.head_seconds.as_deref(), default.head)?,
            ..default
        };
        Ok(Self {
            address: SocketAddr::new(host, port),
            data_dir,
            database_url,
            secret,
            admin: admin(settings.admin_email, settings.admin_password)?,
            rate_limit: switch("RATE_LIMIT", settings.rate_limit.as_deref(), true)?,
            require_mfa: switch("REQUIRE_MFA", settings.require_mfa.as_deref(), false)?,
            debug: switch("DEBUG", settings.debug.as_deref(), false)?,
            json_logs: log_format(settings.log_format.as_deref())?,
            workers: workers(settings.workers.as_deref())?,
            cors_origins,
            tls: tls(settings.tls_cert, settings.tls_key)?,
            trusted_proxies: proxies,
            open,
            open_registration: switch("OPEN_REGISTRATION", registration, is_local)?,
            limits,
        })
    }
}

impl Config {
    /// What keeps the data: `sqlite`, `postgres` or `memory`.
    #[must_use]
    pub fn database_kind(&self) -> &'static str {
        match self.database_url.split(':').next() {
            Some("postgres" | "postgresql") => "postgres",
            Some("sqlite") => "sqlite",
            _ => "memory",
        }
    }
}

/// Below the folder for such data that the platform names, and in the current one if it names none.
fn default_data_dir() -> PathBuf {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = named("XDG_DATA_HOME").or_else(|| Some(named("HOME")?.join(".local/share")));
    base.map_or_else(|| PathBuf::from("fogcore-data"), |base| base.join("fogcore-server"))
}

/// Names are not resolved: what they mean could change after it was decided how open the server is.
fn host(text: &str) -> Result<IpAddr, ConfigError> {
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let why =
        || ConfigError::new("HOST", format!("{text:?} is neither an IP address nor localhost"));
    text.parse().map_err(|_| why())
}

fn parse<T: FromStr>(
    name: &'static str,
    text: Option<&str>,
    default: T,
    wanted: &str,
) -> Result<T, ConfigError> {
    let Some(text) = text else { return Ok(default) };
    text.trim().parse().map_err(|_| ConfigError::new(name, format!("{text:?} is not {wanted}")))
}

fn at_least_one(
    name: &'static str,
    text: Option<&str>,
    default: usize,
) -> Result<usize, ConfigError> {
    let wanted = "a whole number above zero";
    let found = parse(name, text, default, wanted)?;
    if found == 0 {
        return Err(ConfigError::new(name, format!("0 is not {wanted}")));
    }
    Ok(found)
}

fn seconds(
    name: &'static str,
    text: Option<&str>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let wanted = "a number of seconds between 1 and 3600";
    let found: u64 = parse(name, text, default.as_secs(), wanted)?;
    if !(1..=3_600).contains(&found) {
        return Err(ConfigError::new(name, format!("{found} is not {wanted}")));
    }
    Ok(Duration::from_secs(found))
}

fn switch(name: &'static str, text: Option<&str>, default: bool) -> Result<bool, ConfigError> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(default),
        Some("on" | "true" | "yes" | "1") => Ok(true),
        Some("off" | "false" | "no" | "0") => Ok(false),
        Some(other) => Err(ConfigError::new(name, format!("{other:?} is neither on nor off"))),
    }
}

fn log_format(text: Option<&str>) -> Result<bool, ConfigError> {
    match text {
        None | Some("text") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => {
            let why = format!("{other:?} is neither text nor json");
            Err(ConfigError::new("LOG_FORMAT", why))
        }
    }
}

fn workers(text: Option<&str>) -> Result<Option<usize>, ConfigError> {
    text.map(|text| at_least_one("WORKERS", Some(text), 1)).transpose()
}

/// The items between commas.
fn list<T>(name: &'static str, text: Option<&str>) -> Result<Vec<T>, ConfigError>
where
    T: FromStr<Err = String>,
{
    let items = text.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.parse().map_err(|why: String| ConfigError::new(name, why))).collect()
}

/// An origin as browsers send it: a scheme, a host and perhaps a port.
struct Origin(HeaderValue);

impl FromStr for Origin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let why = || format!("{text:?} is not an origin such as https://example.org");
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_origin =
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?']));
        if !is_origin {
            return Err(why());
        }
        text.parse().map(Self).map_err(|_| why())
    }
}

fn admin(
    email: Option<String>,
    password: Option<String>,
) -> Result<Option<FirstAdmin>, ConfigError> {
    match (email, password) {
        (None, None) => Ok(None),
        (Some(email), Some(password)) => {
            let email =
                crate::auth::email(&email).map_err(|why| ConfigError::new("ADMIN_EMAIL", why))?;
            crate::auth::check_password(&password)
                .map_err(|why| ConfigError::new("ADMIN_PASSWORD", why))?;
            Ok(Some(FirstAdmin { email, password }))
        }
        (Some(_), None) => Err(ConfigError::new("ADMIN_PASSWORD", "ADMIN_EMAIL needs one")),
        (None, Some(_)) => Err(ConfigError::new("ADMIN_EMAIL", "ADMIN_PASSWORD needs one")),
    }
}

fn tls(certificate: Option<String>, key: Option<String>) -> Result<Option<TlsFiles>, ConfigError> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(TlsFiles { certificate: certificate.into(), key: key.into() }))
        }
        (Some(_), None) => Err(ConfigError::new("TLS_KEY", "TLS_CERT needs one")),
        (None, Some(_)) => Err(ConfigError::new("TLS_CERT", "TLS_KEY needs one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Settings)) -> Result<Config, ConfigError> {
        let mut settings = Settings::default();
        change(&mut settings);
        Config::from_settings(settings)
    }

    #[test]
    fn nothing_is_needed_on_loopback() {
        let config = with(|_| ()).unwrap();
        assert_eq!(config.address.to_string(), "127.0.0.1:8000");
        assert!(config.database_url.starts_with("sqlite:"), "{}", config.database_url);
        assert!(config.open && config.open_registration && config.rate_limit);
        assert!(matches!(config.secret, SecretSource::File(_)));
    }

    #[test]
    fn off_loopback_a_long_secret_is_needed_and_nothing_is_open() {
        let refused = with(|s| s.host = Some("0.0.0.0".into())).unwrap_err();
        assert_eq!(refused.name, "JWT_SECRET_KEY");
        let secret = |bytes| Some("x".repeat(bytes));
        let given =
            |bytes| with(|s| (s.host, s.jwt_secret_key) = (Some("::".into()), secret(bytes)));
        assert_eq!(given(31).unwrap_err().name, "JWT_SECRET_KEY");
        let config = given(32).unwrap();
        assert!(!config.open && !config.open_registration);
        let refused = with(|s| {
            (s.host, s.jwt_secret_key, s.open) = (Some("::".into()), secret(32), Some("on".into()));
        });
        assert_eq!(refused.unwrap_err().name, "OPEN");
    }

    #[test]
    fn a_server_behind_a_proxy_is_not_open() {
        let config = with(|s| s.trusted_proxies = Some("127.0.0.1".into())).unwrap();
        assert!(!config.open && !config.open_registration);
    }

    #[test]
    fn every_refusal_names_its_setting() {
        type Change = fn(&mut Settings, String);
        let wrong: [(&str, &str, Change); 13] = [
            ("HOST", "example.org", |s, v| s.host = Some(v)),
            ("PORT", "70000", |s, v| s.port = Some(v)),
            ("JWT_SECRET_KEY", "short", |s, v| s.jwt_secret_key = Some(v)),
            ("RATE_LIMIT", "maybe", |s, v| s.rate_limit = Some(v)),
            ("WORKERS", "0", |s, v| s.workers = Some(v)),
            ("LOG_FORMAT", "xml", |s, v| s.log_format = Some(v)),
            ("CORS_ORIGINS", "*", |s, v| s.cors_origins = Some(v)),
            ("TRUSTED_PROXIES", "10.0.0.0/99", |s, v| s.trusted_proxies = Some(v)),
            ("TLS_KEY", "cert.pem", |s, v| s.tls_cert = Some(v)),
            ("TLS_CERT", "key.pem", |s, v| s.tls_key = Some(v)),
            ("ADMIN_PASSWORD", "a@b.org", |s, v| s.admin_email = Some(v)),
            ("ADMIN_EMAIL", "a long password", |s, v| s.admin_password = Some(v)),
            ("REQUEST_SECONDS", "0", |s, v| s.request_seconds = Some(v)),
        ];
        for (name, value, change) in wrong {
            let refused = with(|settings| change(settings, value.to_owned())).unwrap_err();
            assert_eq!(refused.name, name, "{refused}");
        }
    }

    #[test]
    fn a_debug_print_keeps_the_secrets() {
        let config = with(|s| {
            s.jwt_secret_key = Some("k".repeat(40));
            s.admin_email = Some("a@b.org".into());
            s.admin_password = Some("open sesame".into());
        });
        let text = format!("{:?}", config.unwrap());
        assert!(!text.contains("kkkk") && !text.contains("sesame"), "{text}");
    }
}
