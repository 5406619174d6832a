//! Loads into a [`WorkingSet`] what requests touch, and locks it until the transaction ends.
//!
//! Nothing stays loaded: other processes change the same rows. Locks are taken in one order
//! everywhere (nodes, tasks, lanes of the market, accounts, and each of them by id), so that no two groups wait for each
//! other. Transfers need no locks: who changes one holds both its accounts.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::error::Failure;
use super::rows::{self, get, named, select_accounts, select_transfers};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, TaskId, TransferId};
use crate::ledger::ResultCode;
use crate::scheduler::{TaskState, WorkingSet};
use crate::storage::request::Wanted;

/// What one transaction looks at.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) set: WorkingSet,
    /// Where the tasks stand in the order of submission.
    pub(super) seqs: HashMap<TaskId, i64>,
    /// The accounts that have a row.
    pub(super) accounts: BTreeSet<AccountId>,
}

impl Loaded {
    /// Loads the tasks, all that changing them can touch, and the money.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        mut wanted: Wanted,
    ) -> Result<(), Failure> {
        self.tasks(connection, &wanted).await?;
        self.payers(connection, &wanted.payers).await?;
        let relatives = wanted.relatives(&self.set);
        if !relatives.bare.is_empty() {
            self.tasks(connection, &relatives).await?;
        }
        self.load_market(connection, &mut wanted).await?;
        wanted.money_of_families(&self.set);
        let transfers: Vec<_> = wanted.transfers.iter().map(|id| id.uuid()).collect();
        let accounts: Vec<_> = wanted.accounts.iter().map(AccountId::as_str).collect();
        self.accounts(connection, &accounts, &transfers).await?;
        self.transfers(connection, &transfers).await
    }

    pub(super) async fn tasks(
        &mut self,
        connection: &mut PgConnection,
        wanted: &Wanted,
    ) -> Result<(), Failure> {
        let ids: Vec<_> = wanted.tasks.iter().chain(&wanted.bare).map(|id| id.uuid()).collect();
        if ids.is_empty() && wanted.names.is_empty() {
            return Ok(());
        }
        let names = wanted.names.iter();
        let (payers, keys): (Vec<_>, Vec<_>) = names
            .map(|(payer, key)| (payer.as_ref().map_or("", AccountId::as_str), key.as_str()))
            .unzip();
        let rows = sqlx::query(
            "SELECT seq, id, task FROM tasks WHERE seq = ANY(ARRAY(
                 SELECT seq FROM tasks WHERE id = ANY($1)
                 UNION
                 SELECT t.seq FROM unnest($2::text[], $3::text[]) AS n (payer, key)
                 JOIN tasks t ON coalesce(t.payer, '') = n.payer AND t.idempotency_key = n.key
             )) ORDER BY seq FOR UPDATE",
        )
        .bind(ids)
        .bind(payers)
        .bind(keys)
        .fetch_all(connection)
        .await?;
        for row in rows {
            self.take_in(&row)?;
        }
        Ok(())
    }

    /// Loads how many open tasks these have. They are not locked: what others submit at the same
    /// moment is not seen.
    async fn payers(
        &mut self,
        connection: &mut PgConnection,
        payers: &[Option<AccountId>],
    ) -> Result<(), Failure> {
        if payers.is_empty() {
            return Ok(());
        }
        let names = payers.iter().map(|payer| payer.as_ref().map_or("", AccountId::as_str));
        let rows = sqlx::query(
            "SELECT payer, sum(tasks)::bigint AS tasks FROM task_counts
             WHERE payer = ANY($1) AND state = ANY($2) GROUP BY payer",
        )
        .bind(names.collect::<Vec<_>>())
        .bind(open_states())
        .fetch_all(connection)
        .await?;
        for row in &rows {
            self.set.load_open(rows::payer(row)?, get(row, "tasks")?);
        }
        Ok(())
    }

    /// Puts in a row of `tasks` (its `seq`, `id` and `task`), unless it is there.
    pub(super) fn take_in(&mut self, row: &PgRow) -> Result<TaskId> {
        let task = TaskId::from_uuid(get(row, "id")?);
        if self.set.task(task).is_none() {
            self.set.load_task(rows::task(row)?);
            self.seqs.insert(task, get(row, "seq")?);
        }
        Ok(task)
    }

    /// Loads these accounts, and those of the transfers that are there.
    async fn accounts(
        &mut self,
        connection: &mut PgConnection,
        wanted: &[&str],
        transfers: &[Uuid],
    ) -> Result<(), Failure> {
        if wanted.is_empty() && transfers.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(select_accounts!(
            "WHERE id = ANY(ARRAY(
                 SELECT unnest($1::text[])
                 UNION
                 SELECT unnest(ARRAY[debit, credit]) FROM transfers WHERE id = ANY($2)
             )) ORDER BY id FOR UPDATE"
        ))
        .bind(wanted)
        .bind(transfers)
        .fetch_all(connection)
        .await?;
        for row in rows {
            let account = rows::account(&row)?;
            self.accounts.insert(account.id.clone());
            self.set.book.load_account(account);
        }
        Ok(())
    }

    /// Loads these transfers and failed ids, as they are now that their accounts are locked.
    async fn transfers(
        &mut self,
        connection: &mut PgConnection,
        wanted: &[Uuid],
    ) -> Result<(), Failure> {
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(select_transfers!("WHERE id = ANY($1)"))
            .bind(wanted)
            .fetch_all(connection)
            .await?;
        let book = &mut self.set.book;
        for row in rows {
            let failed: Option<ResultCode> = named(&row, "code")?;
            if let Some(code) = failed {
                book.load_failed(TransferId::from_uuid(get(&row, "id")?), code);
                continue;
            }
            let posted = rows::posted(&row)?;
            // It was made between the two looks, so its accounts were not locked with the others.
            let sides = posted.transfer.accounts().into_iter().flatten();
            if !sides.into_iter().all(|side| self.accounts.contains(side)) {
                let what = "others changed the same too often";
                return Err(Failure::Again(Error::new(ErrorKind::Unavailable, what)));
            }
            book.load_transfer(posted);
        }
        Ok(())
    }

    /// The place of a task in the order of submission, which every task in the set has.
    pub(super) fn seq(&self, id: TaskId) -> Result<i64> {
        let missing = || Error::new(ErrorKind::Internal, format!("task {id} has no place"));
        self.seqs.get(&id).copied().ok_or_else(missing)
    }

    /// Gives new tasks their places at the end of the order.
    pub(super) async fn number(
        &mut self,
        connection: &mut PgConnection,
        new: &[TaskId],
    ) -> Result<(), Failure> {
        let rows =
            sqlx::query("SELECT nextval('tasks_seq_seq') AS seq FROM generate_series(1, $1)")
                .bind(rows::integer(new.len()))
                .fetch_all(connection)
                .await?;
        for (row, id) in rows.iter().zip(new) {
            self.seqs.insert(*id, get(row, "seq")?);
        }
        Ok(())
    }
}

fn open_states() -> Vec<&'static str> {
    TaskState::ALL.into_iter().filter(|state| !state.is_final()).map(TaskState::name).collect()
}
