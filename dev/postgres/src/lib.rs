//! A temporary PostgreSQL server for tests and benchmarks: on loopback, on a port of its own, in a
//! folder that is removed in the end.
//!
//! It is the machine's own PostgreSQL with its own settings (`fsync` is on), started from a fresh
//! cluster. A shell watches over each server: when the program that started it ends, however it
//! ends, the shell stops the server and removes the folder.
//!
//! ```no_run
//! use fogcore_dev_postgres::Server;
//!
//! let server = Server::start()?;
//! println!("{}", server.url("postgres"));
//! # Ok::<(), anyhow::Error>(())
//! ```
#![cfg(unix)]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// A URL of a server that tests shall use instead of starting one. It must name a role that may
/// create databases.
pub const VARIABLE: &str = "FOGCORE_TEST_POSTGRES";

/// How to install what is needed.
pub const INSTALL: &str = "apt-get install postgresql (Debian), or brew install postgresql";

/// A server that runs as long as this does.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    password: String,
    /// Stops the server when its input ends.
    watch: Child,
}

impl Server {
    /// Makes a cluster and starts it. Takes about two seconds.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or does not start; the text says why.
    pub fn start() -> Result<Self> {
        let programs =
            programs().with_context(|| format!("PostgreSQL is not installed – {INSTALL}"))?;
        let folder = tempfile::Builder::new().prefix("fogcore-postgres-").tempdir()?;
        let password = random_text();
        prepare(folder.path(), &password)?;
        let initdb = ["--username=fogcore", "--pwfile=password", "--encoding=UTF8", "--locale=C"];
        let more = ["--auth=scram-sha-256", "--pgdata=data", "--no-sync", "--no-instructions"];
        run(folder.path(), &programs.join("initdb"), initdb.iter().chain(&more))?;
        let watch = watch(&programs, folder.path())?;
        let mut server = Self { programs, folder, port: 0, password, watch };
        // Somebody may take the port between finding it free and using it.
        let mut attempts = 1;
        while let Err(error) = server.start_on(free_port()?) {
            if attempts == 5 {
                return Err(error);
            }
            attempts += 1;
        }
        Ok(server)
    }

    fn start_on(&mut self, port: u16) -> Result<()> {
        self.port = port;
        let settings = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} \
             -c max_connections=300 -c logging_collector=off",
            self.folder.path().display()
        );
        self.pg_ctl(&["start", "--wait", "--log=log", "--options", &settings])
    }

    /// The URL of a database on it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://fogcore:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Stops it at once, as a crash would.
    ///
    /// # Errors
    /// If it was not running.
    pub fn crash(&self) -> Result<()> {
        self.pg_ctl(&["stop", "--mode=immediate"])
    }

    /// Starts it again, on the same port.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.start_on(self.port)
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<()> {
        let more = ["--pgdata=data", "--silent"];
        run(self.folder.path(), &self.programs.join("pg_ctl"), arguments.iter().chain(&more))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// The URL of a server for this process: that in [`VARIABLE`], or of one that is started now and
/// runs until the process ends.
///
/// # Errors
/// As [`Server::start`].
pub fn shared() -> Result<&'static str> {
    static SHARED: OnceLock<Result<(String, Option<Server>), String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| match env::var(VARIABLE) {
        Ok(url) => Ok((url, None)),
        Err(_) => {
            let server = Server::start().map_err(|error| format!("{error:#}"))?;
            Ok((server.url("postgres"), Some(server)))
        }
    });
    match shared {
        Ok((url, _)) => Ok(url),
        Err(error) => bail!("{error}"),
    }
}

/// `url` with another database.
///
/// # Errors
/// If it has no database.
pub fn with_database(url: &str, database: &str) -> Result<String> {
    let (before, after) = url.rsplit_once('/').context("the URL has no database")?;
    let options = after.split_once('?').map_or(String::new(), |(_, options)| format!("?{options}"));
    Ok(format!("{before}/{database}{options}"))
}

/// A name for a database that no other test has, in this process or another one.
#[must_use]
pub fn fresh_name() -> String {
    format!("test_{}", random_text())
}

fn random_text() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

/// The folder of PostgreSQL's programs: the newest of Debian's, or that of `initdb` in `PATH`.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .max();
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = || env::split_paths(&path).find(|folder| folder.join("initdb").is_file());
    newest.map(|(_, folder)| folder).or_else(in_path)
}

/// A user that the server can run as: `initdb` refuses root.
fn user() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let exists = |user: &&str| {
        Command::new("id").arg(user).output().is_ok_and(|output| output.status.success())
    };
    ["postgres", "nobody"].into_iter().find(exists)
}

fn prepare(folder: &Path, password: &str) -> Result<()> {
    fs::write(folder.join("password"), password)?;
    if let Some(user) = user() {
        let done = Command::new("chown").arg("-R").arg(user).arg(folder).status()?;
        ensure!(done.success(), "the folder cannot be given to {user}");
    }
    Ok(())
}

/// A command that runs in the folder, as who the server runs as.
fn command(folder: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = match user() {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--"]).arg(program);
            command
        }
    };
    // Settings of the machine's own server are not for this one.
    command.current_dir(folder).env_remove("PGDATA").env_remove("PGPORT").env("LC_ALL", "C");
    command
}

fn run<'a>(
    folder: &Path,
    program: &Path,
    arguments: impl Iterator<Item = &'a &'a str>,
) -> Result<()> {
    // Into a file rather than a pipe, which the server would keep open.
    let output = tempfile::tempfile()?;
    let mut command = command(folder, program);
    command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let status = command.status().with_context(|| format!("{} cannot run", program.display()))?;
    if !status.success() {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        let lines: Vec<_> = lines.into_iter().rev().collect();
        bail!("{} ended with {status}: {}", program.display(), lines.join("; "));
    }
    Ok(())
}

/// Starts the shell that cleans up. What it reads ends when this process does, even if that is
/// killed; signals from the terminal are not for it.
fn watch(programs: &Path, folder: &Path) -> Result<Child> {
    let script = "trap '' INT TERM HUP; echo watching; read -r _; \
         \"$0\" stop --pgdata=data --mode=immediate --silent >/dev/null 2>&1; \
         cd /; rm -rf \"$1\"";
    let mut shell = command(folder, "sh");
    shell.arg("-c").arg(script).arg(programs.join("pg_ctl")).arg(folder);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let said = shell.stdout.take().context("the watch has no output")?;
    BufReader::new(said).read_line(&mut line)?;
    ensure!(line.trim() == "watching", "nobody watches over the server");
    Ok(shell)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_url_is_exchanged() {
        let other = |url| with_database(url, "other").unwrap();
        assert_eq!(other("postgres://u:p@h:1/first"), "postgres://u:p@h:1/other");
        assert_eq!(other("postgres://u@h/first?a=b"), "postgres://u@h/other?a=b");
    }

    #[test]
    fn a_server_listens_and_leaves_nothing() {
        let server = Server::start().unwrap();
        let folder = server.folder.path().to_owned();
        assert!(folder.join("data").is_dir());
        let port = server.port;
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(server);
        assert!(!folder.exists());
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
