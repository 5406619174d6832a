//! What of the ledger is in memory, between the file and the [`Book`], and its way in.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::counted::Uncounted;
use super::postings::{self, Tail};
use super::rows;
use crate::error::Result;
use crate::id::{AccountId, TransferId};
use crate::ledger::{Book, Chain, TransferKind};
use crate::storage::request::Wanted;
use crate::storage::sqlite::error::OrStoreError;
use crate::storage::sqlite::lists::{id_list, texts};
use crate::storage::sqlite::rows::{get, id, id_bytes, integer};
use crate::time::Timestamp;

/// About how many bytes a transfer and its place in the maps take, and an account.
pub(super) const TRANSFER: usize = 512;
pub(super) const ACCOUNT: usize = 640;

/// The one chain of a file: its lock makes all who write it one writer.
pub(super) const WRITER: u32 = 1;

/// What is known of the ledger beside what the book holds.
#[derive(Debug, Default)]
pub(in crate::storage::sqlite) struct Known {
    /// The numbers of the accounts in the book.
    pub(super) accounts: HashMap<AccountId, i64>,
    /// Where the holds in the book stand in the journal.
    pub(super) holds: HashMap<TransferId, i64>,
    /// Transfers that were looked for: unless the book has them or knows that they failed, there
    /// is nothing under these ids.
    transfers: HashSet<TransferId>,
    /// Accounts that were looked for: unless the book has them, they are not there.
    missing: HashSet<AccountId>,
    pub(super) ends: Option<Ends>,
    /// Ids of a later time are always looked for; all are, until there is one.
    horizon: Option<Timestamp>,
    /// The sides of the last transfers, which may be in no list by account yet.
    pub(super) tail: Tail,
    /// Counters that are not in the file yet; none until somebody needs to know.
    pub(super) uncounted: Option<Uncounted>,
}

/// How far beyond now the ids of clients may be.
const AHEAD: Duration = Duration::from_secs(3_600);

/// Where the tables end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) account: i64,
    pub(super) transfer: i64,
    pub(super) failed: i64,
    /// The last transfer that is in the lists by account.
    listed: i64,
    /// The greatest id of a transfer, or of one that failed, before the horizon.
    greatest: Uuid,
    pub(super) chain: Chain,
}

impl Known {
    /// Loads the transfers, the holds that they end, and the ids that failed; returns about how
    /// many bytes they take. What holds touch is wanted from then on.
    pub(in crate::storage::sqlite) async fn load_transfers(
        &mut self,
        connection: &mut SqliteConnection,
        book: &mut Book,
        wanted: &mut Wanted,
    ) -> Result<usize> {
        let mut unknown = Vec::new();
        for id in &wanted.transfers {
            if self.transfers.insert(*id) {
                unknown.push(id.uuid());
            } else if let Some(posted) = book.transfer(*id) {
                wanted.accounts.extend(posted.transfer.accounts().into_iter().flatten().cloned());
            }
        }
        if unknown.is_empty() {
            return Ok(0);
        }
        let later = |by| wanted.now.map(|now| now.saturating_add(by));
        if self.horizon < later(AHEAD / 2) {
            (self.horizon, self.ends) = (later(AHEAD), None);
        }
        let ends = self.ends(connection).await?;
        let bytes = unknown.len() * TRANSFER;
        // Ids begin with the time, if their makers do as they should: then all that is new is beyond
        // what is there, and need not be looked for. The fog's own ids, and any that somebody makes
        // up, are at no time; those beyond the horizon tell nothing of the others.
        let horizon = first_id(self.horizon);
        unknown.retain(|id| *id <= ends.greatest || *id >= horizon);
        if unknown.is_empty() {
            return Ok(bytes);
        }
        let list = id_list(&unknown);
        if ends.transfer > 0 {
            let found = sqlx::query(FIND_TRANSFERS).bind(&list).fetch_all(&mut *connection);
            for row in found.await.or_store_error()? {
                let posted = rows::posted(&row)?;
                if matches!(posted.transfer.kind, TransferKind::Hold { .. }) {
                    self.holds.insert(posted.transfer.id, get(&row, "seq")?);
                }
                wanted.accounts.extend(posted.transfer.accounts().into_iter().flatten().cloned());
                book.load_transfer(posted);
            }
        }
        if ends.failed > 0 {
            let found = sqlx::query(FIND_FAILED).bind(&list).fetch_all(&mut *connection);
            for row in found.await.or_store_error()? {
                let failed = rows::failed(&row)?;
                book.load_failed(failed.id, failed.code);
            }
        }
        Ok(bytes)
    }

    /// Forgets the transfers, and tells about how many bytes they took.
    pub(in crate::storage::sqlite) fn forget_transfers(&mut self, book: &mut Book) -> usize {
        book.forget_transfers();
        self.holds = HashMap::new();
        std::mem::take(&mut self.transfers).len() * TRANSFER
    }

    /// Forgets what was loaded, but not what is not written yet.
    pub(in crate::storage::sqlite) fn without_loaded(self) -> Self {
        let Self { ends, horizon, tail, uncounted, .. } = self;
        Self { ends, horizon, tail, uncounted, ..Self::default() }
    }

    /// Loads the accounts; returns about how many bytes they take.
    pub(in crate::storage::sqlite) async fn load_accounts(
        &mut self,
        connection: &mut SqliteConnection,
        book: &mut Book,
        wanted: impl IntoIterator<Item = AccountId>,
    ) -> Result<usize> {
        let mut unknown: Vec<_> = wanted
            .into_iter()
            .filter(|id| !self.accounts.contains_key(id) && !self.missing.contains(id))
            .collect();
        if unknown.is_empty() {
            return Ok(0);
        }
        unknown.sort_unstable();
        unknown.dedup();
        let found = sqlx::query(FIND_ACCOUNTS)
            .bind(texts(unknown.iter().map(AccountId::as_str))?)
            .fetch_all(&mut *connection)
            .await
            .or_store_error()?;
        let uncounted = self.uncounted(connection).await?;
        let mut numbers = Vec::with_capacity(found.len());
        for row in &found {
            let (no, mut account) = (get(row, "no")?, rows::account(row)?);
            if let Some(counters) = uncounted.get(no) {
                counters.put_into(&mut account);
            }
            numbers.push((account.id.clone(), no));
            book.load_account(account);
        }
        self.accounts.extend(numbers);
        let bytes = unknown.len() * ACCOUNT;
        unknown.retain(|id| !self.accounts.contains_key(id));
        self.missing.extend(unknown);
        Ok(bytes)
    }

    /// Puts a block of transfers into lists by account, once so many are in none. One at a time: whoever
    /// waits for this transaction does not wait for the whole journal, should it be in none.
    pub(in crate::storage::sqlite) async fn list(
        &mut self,
        connection: &mut SqliteConnection,
        most: usize,
    ) -> Result<()> {
        let Some(ends) = &mut self.ends else { return Ok(()) };
        if ends.transfer - ends.listed > integer(most) {
            let last = ends.transfer.min(ends.listed + postings::BLOCK);
            postings::write(connection, ends.listed, last, &mut self.tail).await?;
            ends.listed = last;
        }
        Ok(())
    }

    /// Ids that are there now.
    pub(super) fn note(&self, ends: &mut Ends, ids: impl Iterator<Item = TransferId>) {
        let horizon = first_id(self.horizon);
        let ids = ids.map(|id| id.uuid()).filter(|id| *id < horizon);
        ends.greatest = ids.fold(ends.greatest, Ord::max);
    }

    /// Where the tables end.
    pub(super) async fn ends(&mut self, connection: &mut SqliteConnection) -> Result<Ends> {
        if let Some(ends) = self.ends {
            return Ok(ends);
        }
        let row = sqlx::query(
            "SELECT (SELECT ifnull(max(no), 0) FROM accounts) AS account,
             (SELECT ifnull(max(seq), 0) FROM transfers) AS transfer,
             (SELECT ifnull(max(seq), 0) FROM failed_transfers) AS failed,
             (SELECT ifnull(max(last), 0) FROM posting_blocks) AS listed,
             max((SELECT ifnull(max(id), zeroblob(16)) FROM transfers WHERE id < ?1),
                 (SELECT ifnull(max(id), zeroblob(16)) FROM failed_transfers WHERE id < ?1))
                 AS greatest",
        )
        .bind(id_bytes(first_id(self.horizon)))
        .fetch_one(&mut *connection)
        .await
        .or_store_error()?;
        let link =
            sqlx::query("SELECT * FROM ledger_links WHERE writer = ? ORDER BY number DESC LIMIT 1")
                .bind(WRITER)
                .fetch_optional(connection)
                .await
                .or_store_error()?;
        let chain = match link {
            Some(row) => Chain::at(rows::link(&row)?.head()),
            None => Chain::new(WRITER),
        };
        let ends = Ends {
            account: get(&row, "account")?,
            transfer: get(&row, "transfer")?,
            failed: get(&row, "failed")?,
            listed: get(&row, "listed")?,
            greatest: id(&row, "greatest")?,
            chain,
        };
        self.ends = Some(ends);
        Ok(ends)
    }
}

/// The first id of a time: the first 48 bits of a version 7 UUID are milliseconds since 1970.
fn first_id(at: Option<Timestamp>) -> Uuid {
    let micros = at.map_or(0, Timestamp::as_micros);
    let millis = u128::try_from(micros / 1_000).unwrap_or(0);
    Uuid::from_u128(millis.min((1 << 48) - 1) << 80)
}

/// Takes ids one behind another: much cheaper than a list that has to be parsed.
const FIND_TRANSFERS: &str = "WITH RECURSIVE wanted (place) AS (
        VALUES (1) UNION ALL SELECT place + 16 FROM wanted WHERE place + 16 < length(?1))
    SELECT t.*, d.id AS debit_id, c.id AS credit_id, h.id AS hold_id
    FROM wanted CROSS JOIN transfers t ON t.id = substr(?1, wanted.place, 16)
    CROSS JOIN accounts d ON d.no = t.debit CROSS JOIN accounts c ON c.no = t.credit
    LEFT JOIN transfers h ON h.seq = t.hold";

const FIND_FAILED: &str = "WITH RECURSIVE wanted (place) AS (
        VALUES (1) UNION ALL SELECT place + 16 FROM wanted WHERE place + 16 < length(?1))
    SELECT f.* FROM wanted CROSS JOIN failed_transfers f ON f.id = substr(?1, wanted.place, 16)";

const FIND_ACCOUNTS: &str = "SELECT a.*, n.closed, n.debits_pending, n.debits_posted,
        n.credits_pending, n.credits_posted
    FROM json_each(?) w CROSS JOIN accounts a ON a.id = w.value
    CROSS JOIN counters n ON n.no = a.no";
