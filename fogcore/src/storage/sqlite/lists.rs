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

/// Ids, one behind another.
pub(super) fn id_list(items: &[Uuid]) -> Vec<u8> {
    items.iter().flat_map(|id| *id.as_bytes()).collect()
}

/// A JSON array of integers.
pub(super) fn integers(items: &[i64]) -> Result<String> {
    serde_json::to_string(items).map_err(|error| Error::new(ErrorKind::Internal, error))
}

/// A statement over many rows: `head`, a tuple of `columns` values for each row, `tail`. Rows whose
/// first value is NULL must do nothing: they fill a statement up.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) head: &'static str,
    pub(super) columns: usize,
    pub(super) tail: &'static str,
}

/// The end of an insertion that leaves filling rows out.
pub(super) const NO_FILLING: &str = ") WHERE column1 IS NOT NULL";

/// The values of the rows of one statement, bound one after another.
#[derive(Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
    failed: Option<sqlx::error::BoxDynError>,
}

impl Values {
    pub(super) fn push<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.failed.get_or_insert(error);
        }
        self
    }
}

/// A statement with its values, ready to run.
pub(super) struct Batch {
    sql: Arc<str>,
    arguments: SqliteArguments,
}

/// The most rows in one statement; the last one has half as many, or half of that, down to one, and
/// is filled up with rows that do nothing. A statement for many rows saves trips to SQLite's thread;
/// few different ones stay prepared, because preparing costs as much as running.
pub(super) const MOST_ROWS: usize = 128;

impl Rows {
    /// The statements over all items, each built when it is taken.
    pub(super) fn batches<T>(
        self,
        items: Vec<T>,
        mut bind: impl FnMut(&mut Values, T) -> Result<()>,
    ) -> impl Iterator<Item = Result<Batch>> {
        let mut items = items.into_iter();
        std::iter::from_fn(move || {
            if items.len() == 0 {
                return None;
            }
            let rows = MOST_ROWS.min(items.len().next_power_of_two());
            let filling = rows.saturating_sub(items.len());
            let mut values = Values::default();
            for item in items.by_ref().take(rows) {
                if let Err(error) = bind(&mut values, item) {
                    return Some(Err(error));
                }
            }
            for _ in 0..filling * self.columns {
                values.push(None::<i64>);
            }
            Some(match values.failed {
                Some(error) => Err(Error::new(ErrorKind::Internal, error)),
                None => Ok(Batch { sql: self.text(rows), arguments: values.arguments }),
            })
        })
    }

    /// The text over so many rows, made once: it consists of constants.
    fn text(self, rows: usize) -> Arc<str> {
        static TEXTS: Mutex<BTreeMap<(&str, usize), Arc<str>>> = Mutex::new(BTreeMap::new());
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        let text = texts.entry((self.head, rows)).or_insert_with(|| {
            let tuple = format!("({})", vec!["?"; self.columns].join(", "));
            let tuples = vec![tuple.as_str(); rows].join(", ");
            format!("{} VALUES {tuples} {}", self.head, self.tail).into()
        });
        text.clone()
    }
}

/// Runs the statements in their order; while SQLite's thread runs one, the next one is built.
pub(super) async fn write_all(
    connection: &mut SqliteConnection,
    mut batches: impl Iterator<Item = Result<Batch>>,
) -> Result<()> {
    let mut next = batches.next();
    while let Some(batch) = next {
        let Batch { sql, arguments } = batch?;
        let running = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *connection);
        // Polled in this order: the statement is on its way before the next one is thought of.
        let (done, following) = futures::join!(running, async { batches.next() });
        done.or_store_error()?;
        next = following;
    }
    Ok(())
}
