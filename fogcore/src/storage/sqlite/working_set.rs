//! Loads into a [`WorkingSet`] what a call touches, and writes back what it changed.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::error::OrStoreError;
use super::lists::{RowsStatement, ids, texts, write_rows};
use super::rows::{self, amount_bytes, count, get, id_bytes, integer, name, to_json};
use crate::error::Result;
use crate::id::{AccountId, NodeId, TaskId, TransferId};
use crate::ledger::{Account, BookChanges, Posted, TransferKind};
use crate::scheduler::{Changes, NewTask, Tally, Task, TaskState, WorkingSet, money_of, name_of};
use crate::time::Timestamp;

/// A working set, and where its tasks stand in the order of submission.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) set: WorkingSet,
    seqs: HashMap<TaskId, i64>,
}

/// Accounts and transfers to load.
#[derive(Default)]
pub(super) struct Money {
    pub(super) accounts: BTreeSet<AccountId>,
    pub(super) transfers: Vec<TransferId>,
}

impl Money {
    fn of_task(&mut self, task: &Task) {
        if let Some((accounts, transfers)) = money_of(task.id, &task.spec) {
            self.accounts.extend(accounts);
            self.transfers.extend(transfers);
        }
    }
}

impl Loaded {
    /// Loads tasks with all that changing them can touch, and `payees` besides.
    pub(super) async fn tasks(
        connection: &mut SqliteConnection,
        tasks: impl IntoIterator<Item = TaskId>,
        payees: impl IntoIterator<Item = AccountId>,
    ) -> Result<Self> {
        let mut loaded = Self::default();
        let rows = sqlx::query(
            "SELECT seq, task FROM tasks WHERE id IN (SELECT unhex(value) FROM json_each(?))",
        )
        .bind(ids(tasks.into_iter().map(TaskId::uuid)))
        .fetch_all(&mut *connection)
        .await
        .or_store_error()?;
        let mut money = Money::default();
        money.accounts.extend(payees);
        for row in rows {
            money.of_task(&loaded.take_in(&row)?);
        }
        loaded.money(connection, money).await?;
        Ok(loaded)
    }

    /// Loads what submitting these tasks can touch: tasks that are there already, by id or by
    /// name, and the money of the new ones.
    pub(super) async fn submissions(
        connection: &mut SqliteConnection,
        tasks: &[NewTask],
    ) -> Result<Self> {
        let mut loaded = Self::default();
        let names: Vec<_> = tasks
            .iter()
            .filter_map(|task| name_of(&task.spec))
            .map(|(payer, key)| (payer.map_or_else(String::new, String::from), key))
            .collect();
        let rows = sqlx::query(
            "SELECT seq, task FROM tasks WHERE seq IN (
                 SELECT seq FROM tasks WHERE id IN (SELECT unhex(value) FROM json_each(?1))
                 UNION
                 SELECT t.seq FROM json_each(?2) n CROSS JOIN tasks t
                 WHERE ifnull(t.payer, '') = n.value ->> 0 AND t.idempotency_key = n.value ->> 1
             )",
        )
        .bind(ids(tasks.iter().map(|task| task.id.uuid())))
        .bind(to_json(&names)?)
        .fetch_all(&mut *connection)
        .await
        .or_store_error()?;
        for row in rows {
            loaded.take_in(&row)?;
        }
        let mut money = Money::default();
        for task in tasks {
            if let Some((accounts, transfers)) = money_of(task.id, &task.spec) {
                money.accounts.extend(accounts);
                money.transfers.extend(transfers);
            }
        }
        loaded.money(connection, money).await?;
        Ok(loaded)
    }

    /// Puts in a row of `tasks`.
    pub(super) fn take_in(&mut self, row: &SqliteRow) -> Result<Task> {
        let task = rows::task(row)?;
        self.seqs.insert(task.id, get(row, "seq")?);
        self.set.load_task(task.clone());
        Ok(task)
    }

    /// Where the task stands in the order of submission.
    pub(super) fn seq(&self, task: TaskId) -> Option<i64> {
        self.seqs.get(&task).copied()
    }

    /// Loads transfers, and accounts: those named and those of the transfers found.
    pub(super) async fn money(
        &mut self,
        connection: &mut SqliteConnection,
        mut money: Money,
    ) -> Result<()> {
        if !money.transfers.is_empty() {
            let rows = sqlx::query(
                "SELECT * FROM transfers WHERE id IN (SELECT unhex(value) FROM json_each(?))",
            )
            .bind(ids(money.transfers.into_iter().map(TransferId::uuid)))
            .fetch_all(&mut *connection)
            .await
            .or_store_error()?;
            for row in rows {
                let posted = rows::posted(&row)?;
                money.accounts.extend(posted.transfer.accounts().into_iter().flatten().cloned());
                self.set.book.load_transfer(posted);
            }
        }
        if !money.accounts.is_empty() {
            let rows =
                sqlx::query("SELECT * FROM accounts WHERE id IN (SELECT value FROM json_each(?))")
                    .bind(texts(money.accounts.iter().map(AccountId::as_str))?)
                    .fetch_all(&mut *connection)
                    .await
                    .or_store_error()?;
            for row in rows {
                self.set.book.load_account(rows::account(&row)?);
            }
        }
        Ok(())
    }

    /// Writes back what changed.
    pub(super) async fn save(
        &mut self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<()> {
        let changes = self.set.take_changes();
        let book = self.set.book.take_changes();
        self.save_book(connection, &book).await?;
        self.insert_tasks(connection, &changes, now).await?;
        self.update_tasks(connection, &changes, now).await?;
        self.save_attachments(connection, changes).await
    }

    async fn save_book(&self, connection: &mut SqliteConnection, book: &BookChanges) -> Result<()> {
        let accounts: Vec<&Account> =
            book.accounts.iter().filter_map(|id| self.set.book.account(id)).collect();
        write_rows(
            connection,
            RowsStatement {
                head: "INSERT INTO accounts (id, asset, scale, debits_limited, credits_limited,
             debits_pending, debits_posted, credits_pending, credits_posted, opened_at)",
                columns: 10,
                tail: " ON CONFLICT (id) DO UPDATE SET debits_pending = excluded.debits_pending,
             debits_posted = excluded.debits_posted, credits_pending = excluded.credits_pending,
             credits_posted = excluded.credits_posted",
            },
            accounts,
            |row, account| {
                row.push_bind(account.id.as_str().to_owned())
                    .push_bind(account.asset.code().to_owned())
                    .push_bind(i64::from(account.asset.scale()))
                    .push_bind(account.debits_must_not_exceed_credits)
                    .push_bind(account.credits_must_not_exceed_debits)
                    .push_bind(amount_bytes(account.debits_pending))
                    .push_bind(amount_bytes(account.debits_posted))
                    .push_bind(amount_bytes(account.credits_pending))
                    .push_bind(amount_bytes(account.credits_posted))
                    .push_bind(account.opened_at.as_micros());
                Ok(())
            },
        )
        .await?;
        let transfers: Vec<&Posted> =
            book.transfers.iter().filter_map(|id| self.set.book.transfer(*id)).collect();
        write_rows(
            connection,
            RowsStatement {
                head: "INSERT INTO transfers
             (id, type, debit, credit, amount, hold, hold_state, purpose, reference, at)",
                columns: 10,
                tail: " ON CONFLICT (id) DO UPDATE SET hold_state = excluded.hold_state",
            },
            transfers,
            |row, posted| {
                let transfer = &posted.transfer;
                let (kind, amount) = match &transfer.kind {
                    TransferKind::Direct { amount, .. } => ("direct", Some(*amount)),
                    TransferKind::Hold { amount, .. } => ("hold", Some(*amount)),
                    TransferKind::Post { amount, .. } => ("post", Some(*amount)),
                    TransferKind::Void { .. } => ("void", None),
                };
                let side = |index: usize| Some(transfer.accounts()?[index].as_str().to_owned());
                row.push_bind(id_bytes(transfer.id.uuid()))
                    .push_bind(kind)
                    .push_bind(side(0))
                    .push_bind(side(1))
                    .push_bind(amount.map(amount_bytes))
                    .push_bind(transfer.ends_hold().map(|hold| id_bytes(hold.uuid())))
                    .push_bind(posted.hold.as_ref().map(name).transpose()?)
                    .push_bind(name(&transfer.purpose)?)
                    .push_bind(transfer.reference.map(id_bytes))
                    .push_bind(posted.at.as_micros());
                Ok(())
            },
        )
        .await
    }

    /// Adds the tasks that are new, at the end of the order.
    async fn insert_tasks(
        &mut self,
        connection: &mut SqliteConnection,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<()> {
        if changes.payloads.is_empty() {
            return Ok(());
        }
        let row = sqlx::query("SELECT ifnull(max(seq), 0) AS last FROM tasks")
            .fetch_one(&mut *connection)
            .await
            .or_store_error()?;
        let last: i64 = get(&row, "last")?;
        for ((id, _), seq) in changes.payloads.iter().zip(last + 1..) {
            self.seqs.insert(*id, seq);
        }
        let tasks: Vec<_> = changes
            .payloads
            .iter()
            .filter_map(|(id, _)| Some((self.seq(*id)?, self.set.task(*id)?)))
            .collect();
        write_rows(connection, RowsStatement { head: "INSERT INTO tasks (seq, id, class, priority, kind, payer, idempotency_key, deadline,
             cpu_cores, memory_mib, storage_mib, gpus, state, ready, ready_at, task)", columns: 16, tail: "" }, tasks, |row, (seq, task)| {
                let (spec, needs) = (&task.spec, &task.spec.requirements);
                let key = spec.idempotency_key.as_ref();
                row.push_bind(seq)
                    .push_bind(id_bytes(task.id.uuid()))
                    .push_bind(spec.class()?)
                    .push_bind(i64::from(spec.priority))
                    .push_bind(spec.kind.as_str().to_owned())
                    .push_bind(spec.payer().map(|payer| payer.as_str().to_owned()))
                    .push_bind(key.map(|key| key.as_str().to_owned()))
                    .push_bind(spec.deadline.map(Timestamp::as_micros))
                    .push_bind(i64::from(needs.cpu_cores))
                    .push_bind(integer(needs.memory_mib))
                    .push_bind(integer(needs.storage_mib))
                    .push_bind(i64::from(needs.gpus.count))
                    .push_bind(task.state.name())
                    .push_bind(task.ready_at <= now)
                    .push_bind(task.ready_at.as_micros())
                    .push_bind(to_json(task)?);
                Ok(())
            })
        .await
    }

    async fn update_tasks(
        &self,
        connection: &mut SqliteConnection,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<()> {
        let new: BTreeSet<_> = changes.payloads.iter().map(|(id, _)| *id).collect();
        let changed: BTreeSet<_> = changes.tasks.iter().filter(|id| !new.contains(id)).collect();
        let tasks: Vec<_> = changed
            .into_iter()
            .filter_map(|id| Some((self.seq(*id)?, self.set.task(*id)?)))
            .collect();
        write_rows(
            connection,
            RowsStatement {
                head: "UPDATE tasks SET state = v.column2, ready = v.column3, ready_at = v.column4,
             node = v.column5, expires_at = v.column6, task = v.column7 FROM (",
                columns: 7,
                tail: ") AS v WHERE tasks.seq = v.column1",
            },
            tasks,
            |row, (seq, task)| {
                let lease = task.lease.as_ref();
                let node = lease.map(|lease| &lease.node).or(task.done_by.as_ref());
                let ready = task.state == TaskState::Queued && task.ready_at <= now;
                row.push_bind(seq)
                    .push_bind(task.state.name())
                    .push_bind(ready)
                    .push_bind(task.ready_at.as_micros())
                    .push_bind(node.map(|node| node.as_str().to_owned()))
                    .push_bind(lease.map(|lease| lease.expires_at.as_micros()))
                    .push_bind(to_json(task)?);
                Ok(())
            },
        )
        .await
    }

    /// Payloads, results, explanations and tallies.
    async fn save_attachments(
        &self,
        connection: &mut SqliteConnection,
        changes: Changes,
    ) -> Result<()> {
        let with_seq = |id: TaskId| self.seq(id);
        let payloads: Vec<_> =
            full(changes.payloads).filter_map(|(id, p)| Some((with_seq(id)?, p))).collect();
        write_rows(
            connection,
            RowsStatement { head: "INSERT INTO payloads (seq, payload)", columns: 2, tail: "" },
            payloads,
            |row, (seq, payload)| {
                row.push_bind(seq).push_bind(payload.to_vec());
                Ok(())
            },
        )
        .await?;
        let results: Vec<_> =
            full(changes.results).filter_map(|(id, r)| Some((with_seq(id)?, r))).collect();
        write_rows(
            connection,
            RowsStatement { head: "INSERT INTO results (seq, result)", columns: 2, tail: "" },
            results,
            |row, (seq, result)| {
                row.push_bind(seq).push_bind(result.to_vec());
                Ok(())
            },
        )
        .await?;
        let explanations: Vec<_> = changes
            .explanations
            .into_iter()
            .filter_map(|(id, explanation)| Some((with_seq(id)?, explanation)))
            .collect();
        write_rows(
            connection,
            RowsStatement {
                head: "INSERT INTO explanations (seq, explanation)",
                columns: 2,
                tail: " ON CONFLICT (seq) DO UPDATE SET explanation = excluded.explanation",
            },
            explanations,
            |row, (seq, explanation)| {
                row.push_bind(seq).push_bind(to_json(&explanation)?);
                Ok(())
            },
        )
        .await?;
        add_tallies(connection, changes.tallies).await
    }
}

/// Only what is not empty needs a row: that the task is there, or succeeded, says the rest.
fn full(bytes: Vec<(TaskId, Bytes)>) -> impl Iterator<Item = (TaskId, Bytes)> {
    bytes.into_iter().filter(|(_, bytes)| !bytes.is_empty())
}

async fn add_tallies(
    connection: &mut SqliteConnection,
    more: std::collections::BTreeMap<NodeId, Tally>,
) -> Result<()> {
    if more.is_empty() {
        return Ok(());
    }
    let nodes = texts(more.keys().map(NodeId::as_str))?;
    let rows = sqlx::query("SELECT * FROM tallies WHERE node IN (SELECT value FROM json_each(?))")
        .bind(nodes)
        .fetch_all(&mut *connection)
        .await
        .or_store_error()?;
    let mut sums = more;
    for row in rows {
        let (node, before) = tally(&row)?;
        sums.entry(node).or_default().add(&before);
    }
    write_rows(
        connection,
        RowsStatement {
            head: "INSERT OR REPLACE INTO tallies
         (node, succeeded, failed, lost, released, busy_micros, earned)",
            columns: 7,
            tail: "",
        },
        sums.into_iter().collect(),
        |row, (node, tally)| {
            row.push_bind(node.as_str().to_owned())
                .push_bind(integer(tally.succeeded))
                .push_bind(integer(tally.failed))
                .push_bind(integer(tally.lost))
                .push_bind(integer(tally.released))
                .push_bind(integer(tally.busy.as_micros()))
                .push_bind(amount_bytes(tally.earned));
            Ok(())
        },
    )
    .await
}

/// Reads a row of `tallies`.
pub(super) fn tally(row: &SqliteRow) -> Result<(NodeId, Tally)> {
    let tally = Tally {
        succeeded: count(row, "succeeded")?,
        failed: count(row, "failed")?,
        lost: count(row, "lost")?,
        released: count(row, "released")?,
        busy: std::time::Duration::from_micros(count(row, "busy_micros")?),
        earned: rows::amount(row, "earned")?,
    };
    Ok((rows::parsed(row, "node")?, tally))
}
