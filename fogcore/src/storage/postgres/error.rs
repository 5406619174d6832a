//! What PostgreSQL's errors mean: to a caller, and to a transaction that may be made again.

use crate::error::{Error, ErrorKind};
use crate::ledger::Fault;

/// Why something did not come to its end.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Somebody else was there at the same time; made again, it sees what they did.
    Again(Error),
    /// A lock was not to be had in time. Nothing was done.
    Late(Error),
    /// The connection is gone, or was not to be had. Nothing was done.
    Lost(Error),
    /// Nothing was done, and made again it would end the same way.
    Refused(Error),
    /// Its commit was cut off: nobody knows, and every request may be sent again.
    Unknown(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Again(error)
            | Failure::Late(error)
            | Failure::Lost(error)
            | Failure::Refused(error)
            | Failure::Unknown(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault.into())
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        // https://www.postgresql.org/docs/15/errcodes-appendix.html
        let (make, kind, what): (fn(Error) -> Self, _, _) = match code.as_deref() {
            Some("40001" | "40P01") => {
                (Self::Again, ErrorKind::Unavailable, "others changed the same too often")
            }
            // Two processes submit the same id: who comes second finds it on the next look.
            Some("23505") => (Self::Again, ErrorKind::Unavailable, "others added the same"),
            Some("55P03") => {
                (Self::Late, ErrorKind::Unavailable, "a lock was not to be had in time")
            }
            Some("57014") => (Self::Refused, ErrorKind::Unavailable, "it took too long"),
            Some("25006") => (Self::Refused, ErrorKind::Unavailable, "the database is read-only"),
            Some("53100") => (Self::Refused, ErrorKind::Exhausted, "the disk is full"),
            Some("XX001" | "XX002") => {
                (Self::Refused, ErrorKind::Internal, "the database is damaged")
            }
            Some(code) if code.starts_with("28") => {
                (Self::Lost, ErrorKind::Denied, "the database does not let us in")
            }
            // 08: connection, 53: resources, 57P: the server stops or starts, 3D: no such
            // database, 25P03: idle in a transaction for too long.
            Some(code)
                if ["08", "53", "57P", "3D", "25P03"]
                    .iter()
                    .any(|class| code.starts_with(class)) =>
            {
                (Self::Lost, ErrorKind::Unavailable, "the database cannot be used now")
            }
            Some(_) => (Self::Refused, ErrorKind::Internal, "the database refused"),
            None => match error {
                sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::RowNotFound => {
                    let what = "the database gave what it should not hold";
                    (Self::Refused, ErrorKind::Internal, what)
                }
                _ => (Self::Lost, ErrorKind::Unavailable, "the database cannot be reached"),
            },
        };
        make(Error::new(kind, format!("{what}: {error}")))
    }
}

impl Failure {
    /// What an error of COMMIT means. Only of what the server says it undid, we know.
    pub(super) fn of_commit(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        let undone = code.is_some_and(|code| code.starts_with("40") || code.starts_with("23"));
        let failure = Self::from(error);
        if undone { failure } else { Self::Unknown(Error::from(failure)) }
    }

    /// The server says nothing any more.
    pub(super) fn silent() -> Self {
        Self::Unknown(Error::new(ErrorKind::Unavailable, "the database does not answer"))
    }
}
