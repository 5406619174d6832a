//! Lists as one parameter: a JSON array for `json_each`, so that the statement's text, and with
//! it the prepared statement, stays the same however long the list is.

use std::fmt::Write;

use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
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

/// Runs a statement over many rows: `head`, a tuple of values for each item, `tail`.
///
/// One statement for all, because each statement has a price of its own: a trip to SQLite's
/// thread and back.
pub(super) async fn write_rows<T>(
    connection: &mut SqliteConnection,
    head: &'static str,
    items: Vec<T>,
    mut bind: impl FnMut(Separated<'_, Sqlite, &'static str>, T) -> Result<()>,
    tail: &'static str,
) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::new(head);
    let mut bound = Ok(());
    query.push_values(items, |row, item| {
        if bound.is_ok() {
            bound = bind(row, item);
        }
    });
    bound?;
    query.push(tail);
    // The text depends on the number of rows; kept prepared, it would only push out others.
    query.build().persistent(false).execute(connection).await.or_store_error()?;
    Ok(())
}
