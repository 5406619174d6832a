//! What SQLite's errors mean to a caller.

use crate::error::{Error, ErrorKind, Result};

/// An error of the database, explained.
#[derive(Debug)]
pub(super) struct StoreError(pub(super) sqlx::Error);

impl From<StoreError> for Error {
    fn from(StoreError(error): StoreError) -> Self {
        // The low byte is the primary result code: https://sqlite.org/rescode.html
        let (kind, what) = match primary_code(&error) {
            Some(5 | 6) => (ErrorKind::Unavailable, "the database is busy"),
            Some(8) => (ErrorKind::Unavailable, "the database is read-only"),
            Some(10) => (ErrorKind::Unavailable, "the disk failed"),
            Some(13) => (ErrorKind::Exhausted, "the disk is full"),
            Some(14) => (ErrorKind::Unavailable, "the file cannot be opened"),
            Some(11) => (ErrorKind::Internal, "the database is damaged"),
            Some(26) => (ErrorKind::Internal, "the file is not a database"),
            Some(_) => (ErrorKind::Internal, "the database refused"),
            None => match error {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => {
                    (ErrorKind::Unavailable, "the database cannot be reached")
                }
                _ => (ErrorKind::Internal, "the database gave what it should not hold"),
            },
        };
        Self::new(kind, format!("{what}: {error}"))
    }
}

fn primary_code(error: &sqlx::Error) -> Option<u8> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    u8::try_from(code & 0xff).ok()
}

pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(5 | 6))
}

pub(super) fn is_full(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(13)
}

/// Turns results of the database into the core's.
pub(super) trait OrStoreError<T> {
    fn or_store_error(self) -> Result<T>;
}

impl<T> OrStoreError<T> for Result<T, sqlx::Error> {
    fn or_store_error(self) -> Result<T> {
        self.map_err(|error| StoreError(error).into())
    }
}
