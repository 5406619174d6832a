//! Loads into a [`WorkingSet`] what requests touch, and keeps it for the next ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::error::OrStoreError;
use super::ledger::Known;
use super::lists::{ids, texts};
use super::rows::{self, get, id, to_json};
use crate::error::Result;
use crate::id::{AccountId, NodeId, TaskId};
use crate::scheduler::queue::{Count, Counts, Group, count};
use crate::scheduler::{Tally, Task, WorkingSet};
use crate::storage::request::Wanted;

/// About how many bytes a tally takes.
const TALLY: usize = 512;

/// About how many bytes a count takes.
const COUNT: usize = 256;

/// About how many bytes a task takes.
pub(super) fn footprint(task: &Task) -> usize {
    let needs = &task.spec.requirements;
    // Texts are short; lists are what makes a task large.
    let lists = needs.required.len() + needs.preferred.len() + needs.near.len();
    1_024 + 256 * lists + task.failure.as_ref().map_or(0, String::len)
}

/// A part of the file in memory: what stands in here is what stands there, until somebody else
/// changes the file.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) set: WorkingSet,
    /// Where the tasks stand in the order of submission.
    pub(super) seqs: HashMap<TaskId, i64>,
    /// The end of that order.
    pub(super) last_seq: Option<i64>,
    pub(super) tallies: BTreeMap<NodeId, Tally>,
    /// The counts of the tasks of those payers that the set knows.
    pub(super) counts: Counts,
    /// What is known of the ledger beside what the set's book holds.
    pub(super) known: Known,
    /// About how many bytes all of this takes.
    pub(super) kept: usize,
}

impl Loaded {
    /// Loads what of this is not there yet: tasks, all that changing them can touch, and money.
    pub(super) async fn load(
        &mut self,
        connection: &mut SqliteConnection,
        mut wanted: Wanted,
    ) -> Result<()> {
        self.tasks(connection, &wanted).await?;
        self.payers(connection, &wanted.payers, &Counts::new()).await?;
        let relatives = wanted.relatives(&self.set);
        if !relatives.bare.is_empty() {
            self.tasks(connection, &relatives).await?;
        }
        self.load_market(connection, &mut wanted).await?;
        wanted.money_of_families(&self.set);
        let book = &mut self.set.book;
        self.kept += self.known.load_transfers(connection, book, &mut wanted).await?;
        self.kept += self.known.load_accounts(connection, book, wanted.accounts).await?;
        Ok(())
    }

    pub(super) async fn tasks(
        &mut self,
        connection: &mut SqliteConnection,
        wanted: &Wanted,
    ) -> Result<()> {
        let tasks = wanted.tasks.iter().chain(&wanted.bare);
        let missing = tasks.filter(|id| self.set.task(**id).is_none());
        let missing: Vec<_> = missing.map(|id| id.uuid()).collect();
        let names: Vec<_> = wanted
            .names
            .iter()
            .map(|(payer, key)| (payer.as_ref().map_or("", AccountId::as_str), key))
            .collect();
        if missing.is_empty() && names.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(
            "SELECT seq, id, task FROM tasks WHERE seq IN (
                 SELECT seq FROM tasks WHERE id IN (SELECT unhex(value) FROM json_each(?1))
                 UNION
                 SELECT t.seq FROM json_each(?2) n CROSS JOIN tasks t
                 WHERE ifnull(t.payer, '') = n.value ->> 0 AND t.idempotency_key = n.value ->> 1
             )",
        )
        .bind(ids(missing))
        .bind(to_json(&names)?)
        .fetch_all(connection)
        .await
        .or_store_error()?;
        for row in rows {
            self.take_in(&row)?;
        }
        Ok(())
    }

    /// Puts in a row of `tasks` (its `seq`, `id` and `task`), unless it is there.
    pub(super) fn take_in(&mut self, row: &SqliteRow) -> Result<TaskId> {
        let task = TaskId::from_uuid(id(row, "id")?);
        if self.set.task(task).is_none() {
            let loaded = rows::task(row)?;
            self.kept += footprint(&loaded);
            self.set.load_task(loaded);
            self.seqs.insert(task, get(row, "seq")?);
        }
        Ok(task)
    }

    /// Loads what these nodes did so far.
    pub(super) async fn tallies(
        &mut self,
        connection: &mut SqliteConnection,
        nodes: impl Iterator<Item = &NodeId>,
    ) -> Result<()> {
        let missing: Vec<_> = nodes.filter(|node| !self.tallies.contains_key(*node)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.kept += missing.len() * TALLY;
        let rows =
            sqlx::query("SELECT * FROM tallies WHERE node IN (SELECT value FROM json_each(?))")
                .bind(texts(missing.iter().map(|node| node.as_str()))?)
                .fetch_all(connection)
                .await
                .or_store_error()?;
        for row in rows {
            let (node, tally) = rows::tally(&row)?;
            self.tallies.insert(node, tally);
        }
        Ok(())
    }

    /// Loads the counts of these payers; `unwritten` is what changed in them since they were written.
    pub(super) async fn payers(
        &mut self,
        connection: &mut SqliteConnection,
        payers: &[Option<AccountId>],
        unwritten: &Counts,
    ) -> Result<()> {
        let missing: BTreeSet<_> =
            payers.iter().filter(|payer| !self.set.knows_payer(payer)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.iter().map(|payer| payer.as_ref().map_or("", AccountId::as_str));
        let rows = sqlx::query(
            "SELECT * FROM task_counts WHERE payer IN (SELECT value FROM json_each(?))",
        )
        .bind(texts(names)?)
        .fetch_all(connection)
        .await
        .or_store_error()?;
        self.kept += (missing.len() + rows.len()) * COUNT;
        for row in rows {
            let (group, count): (Group, Count) = rows::counted(&row)?;
            self.counts.insert(group, count);
        }
        for payer in missing {
            let open = count::open(&self.counts, payer.as_ref());
            let open = open.saturating_add(count::open(unwritten, payer.as_ref()));
            self.set.load_open(payer.clone(), open);
        }
        Ok(())
    }

    /// Forgets the transfers once all is more than so many bytes, because few are asked for again;
    /// and everything, if the rest leaves less than an eighth of that to the next transfers. What is
    /// needed is loaded again.
    pub(super) fn trim(&mut self, most: usize) {
        if self.kept <= most {
            return;
        }
        self.kept -= self.known.forget_transfers(&mut self.set.book).min(self.kept);
        if self.kept > most - most / 8 {
            let known = std::mem::take(&mut self.known).without_loaded();
            *self = Self { known, ..Self::default() };
        }
    }
}
