//! A copy of the whole file, taken while everybody goes on.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection};

use super::SqliteStore;
use super::error::OrStoreError;
use crate::error::{Error, ErrorKind, Result};

impl SqliteStore {
    /// Writes a copy of everything, as it is in one moment, to a new file: a store like this one,
    /// to be opened when it is needed. Nobody waits meanwhile; the copy is on the disk when this
    /// answers, and not there at all if it fails.
    ///
    /// # Errors
    /// Conflict if there is a file of that name already, or somebody else is writing it; Exhausted on a full disk; Unavailable if
    /// the folder cannot be written.
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let doing = format!("cannot back up to {}", path.display());
        self.copy(path).await.map_err(|error| error.context(&doing))
    }

    async fn copy(&self, path: &Path) -> Result<()> {
        // Under another name until it is whole.
        let mut part = path.to_owned().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = claim(&part, path)?;
        let copied = self.vacuum(&part).await;
        let (from, to) = (part.clone(), path.to_owned());
        // Whatever blocks is not for the runtime's own threads.
        let finish = tokio::task::spawn_blocking(move || match copied {
            Ok(()) => publish(&from, &to).map_err(of_disk),
            Err(error) => Err(error),
        });
        let done = finish.await.map_err(|error| Error::new(ErrorKind::Internal, error))?;
        if done.is_err() {
            // What cannot be removed is overwritten by the next attempt.
            let _ = fs::remove_file(&part);
        }
        drop(file);
        done
    }

    async fn vacuum(&self, part: &Path) -> Result<()> {
        let name = part.to_str().ok_or_else(|| Error::invalid("path", "is not UTF-8"))?;
        let mut connection = self.connect.connect().await.or_store_error()?;
        let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await;
        let closed = connection.close().await;
        copied.or_store_error()?;
        closed.or_store_error()
    }
}

/// An empty file for the copy, which stays this caller's until it is closed.
fn claim(part: &Path, path: &Path) -> Result<File> {
    must_be_free(path)?;
    let options = OpenOptions::new().create(true).write(true).truncate(false).open(part);
    let file = options.map_err(of_disk)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::new(ErrorKind::Conflict, "another backup to it is under way"));
        }
        Err(TryLockError::Error(error)) => return Err(of_disk(error)),
    }
    // Only now: whoever had the file before may have given it that name, and it must stay as it is.
    must_be_free(path).inspect_err(|_| {
        let _ = fs::remove_file(part);
    })?;
    file.set_len(0).map_err(of_disk)?;
    Ok(file)
}

fn must_be_free(path: &Path) -> Result<()> {
    if path.try_exists().map_err(of_disk)? {
        return Err(Error::new(ErrorKind::Conflict, "the file exists"));
    }
    Ok(())
}

/// SQLite does not flush what it vacuums: <https://sqlite.org/lang_vacuum.html#vacuuminto>
fn publish(part: &Path, path: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    // A link refuses to take the place of a file, which a renaming would replace.
    fs::hard_link(part, path)?;
    fs::remove_file(part)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn of_disk(error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error)
}
