//! Lists as one parameter: a JSON array for `json_each`, so that the statement's text, and with
//! it the prepared statement, stays the same however long the list is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type};
use uuid::Uuid;

use super::error::OrStoreError;
use crate::error::{Error, ErrorKind, Result};

/// A JSON array of texts.
pub(super) fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let items: Vec<_> = items.into_iter().collect();
    serde_json::to_string(&items).map_err(|error| Error::new(ErrorKind::Internal, error))
}

/// A JSON array of ids in hexadecimal, for `unhex`.
pub(super) fn ids(items: impl IntoIterator<Item = Uuid>) -> String {
    let mut list = String::from("[");
    for (index, id) in items.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(list, "{comma}\"{}\"", id.simple());
    }
    list.push(']');
    list
}

/// A JSON array of integers.
pub(super) fn integers(items: &[i64]) -> Result<String> {
    serde_json::to_string(items).map_err(|error| Error::new(ErrorKind::Internal, error))
}

/// A statement over many rows: `head`, a tuple of `columns` values for each row, `tail`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowsStatement {
    pub(super) head: &'static str,
    pub(super) columns: usize,
    pub(super) tail: &'static str,
}

/// The values of the rows of one statement, bound one after another.
pub(super) struct Values {
    arguments: SqliteArguments,
    failed: Option<sqlx::error::BoxDynError>,
}

impl Values {
    pub(super) fn push_bind<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(
        &mut self,
        value: T,
    ) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.failed.get_or_insert(error);
        }
        self
    }
}

/// Rows per statement, largest first. A statement for many rows saves trips to SQLite's thread;
/// few different ones stay prepared, because preparing costs as much as running.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Runs the statement over all items.
pub(super) async fn write_rows<T>(
    connection: &mut SqliteConnection,
    statement: RowsStatement,
    items: Vec<T>,
    mut bind: impl FnMut(&mut Values, T) -> Result<()>,
) -> Result<()> {
    let mut left = items.len();
    let mut items = items.into_iter();
    while left > 0 {
        let rows = CHUNKS.into_iter().find(|rows| *rows <= left).unwrap_or(1);
        let mut values = Values { arguments: SqliteArguments::default(), failed: None };
        for item in items.by_ref().take(rows) {
            bind(&mut values, item)?;
        }
        if let Some(error) = values.failed {
            return Err(Error::new(ErrorKind::Internal, error));
        }
        sqlx::query_with(AssertSqlSafe(text_of(statement, rows)), values.arguments)
            .execute(&mut *connection)
            .await
            .or_store_error()?;
        left -= rows;
    }
    Ok(())
}

/// The text of the statement over so many rows, made once: it consists of constants.
fn text_of(statement: RowsStatement, rows: usize) -> Arc<str> {
    static TEXTS: Mutex<BTreeMap<(&'static str, usize), Arc<str>>> = Mutex::new(BTreeMap::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let text = texts.entry((statement.head, rows)).or_insert_with(|| {
        let tuple = format!("({})", vec!["?"; statement.columns].join(", "));
        let tuples = vec![tuple.as_str(); rows].join(", ");
        format!("{} VALUES {tuples} {}", statement.head, statement.tail).into()
    });
    text.clone()
}
