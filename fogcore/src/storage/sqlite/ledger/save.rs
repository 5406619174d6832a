//! The ledger's way back into the file: statements per batch, not per transfer.

use std::collections::HashMap;
use std::mem;

use sqlx::SqliteConnection;

use super::counted::{COUNTERS, Counters, bind_counters};
use super::loaded::{ACCOUNT, Known};
use super::rows::{counters, flags, long, purpose_name, short, state_number, type_number};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, TransferId};
use crate::ledger::chain::Linking;
use crate::ledger::{
    Account, AccountBalance, Book, BookChanges, Chain, FailedTransfer, Link, Posted, Row,
    TransferFlags, TransferKind,
};
use crate::storage::sqlite::lists::{Batch, MOST_ROWS, NO_FILLING, Rows, Values, write_all};
use crate::storage::sqlite::rows::{amount_bytes, id_bytes, integer};
use crate::time::Timestamp;

/// A transfer and its place in the journal.
struct Placed<'b> {
    seq: i64,
    posted: &'b Posted,
    /// The numbers of its accounts, to debit and to credit.
    sides: [i64; 2],
    /// What its accounts had after it, if they keep a history.
    after: [Option<&'b AccountBalance>; 2],
}

/// The rows of a link that are still to come.
type LinkRows<'b> = Box<dyn Iterator<Item = Row<'b>> + Send + 'b>;

/// What one call added to the ledger, with its numbers.
#[derive(Default)]
pub(in crate::storage::sqlite) struct Written<'b> {
    opened: Vec<(i64, &'b Account)>,
    plain: Vec<Placed<'b>>,
    other: Vec<Placed<'b>>,
    ended: Vec<(i64, &'b Posted)>,
    failed: Vec<(i64, FailedTransfer)>,
    link: Option<(Linking, LinkRows<'b>)>,
    /// About how many bytes of it stay in memory.
    pub(in crate::storage::sqlite) bytes: usize,
}

impl Known {
    /// Gives what is new its place at the ends of the tables.
    pub(in crate::storage::sqlite) async fn number<'b>(
        &mut self,
        connection: &mut SqliteConnection,
        book: &'b Book,
        changes: &'b BookChanges,
    ) -> Result<Written<'b>> {
        let is_new =
            !changes.opened.is_empty() || !changes.journal.is_empty() || !changes.failed.is_empty();
        if !is_new {
            return Ok(Written::default());
        }
        let mut ends = self.ends(connection).await?;
        let mut opened = Vec::with_capacity(changes.opened.len());
        for account in &changes.opened {
            ends.account += 1;
            self.accounts.insert(account.id.clone(), ends.account);
            opened.push((ends.account, account));
        }
        self.uncount(connection, book, changes).await?;
        let (mut plain, mut other) = (Vec::with_capacity(changes.journal.len()), Vec::new());
        let mut history = changes.history.iter().peekable();
        let posted = || changes.journal.iter().filter_map(|id| book.transfer(*id));
        for posted in posted() {
            ends.transfer += 1;
            let id = posted.transfer.id;
            if posted.hold.is_some() {
                self.holds.insert(id, ends.transfer);
            }
            let [debit, credit] = sides(book, posted)?;
            let sides = [self.account(debit)?, self.account(credit)?];
            self.tail.add(ends.transfer, sides);
            let mut placed = Placed { seq: ends.transfer, posted, sides, after: [None; 2] };
            while let Some(balance) = history.next_if(|balance| balance.transfer == id) {
                placed.after[usize::from(balance.account != *debit)] = Some(balance);
            }
            if is_plain(posted) {
                plain.push(placed);
            } else {
                other.push(placed);
            }
        }
        let ended = changes.ended_holds.iter().filter_map(|id| book.transfer(*id));
        let ended = ended.map(|hold| Ok((self.hold(&hold.transfer.id)?, hold)));
        let ended = ended.collect::<Result<_>>()?;
        let first_failed = ends.failed + 1;
        ends.failed += integer(changes.failed.len());
        let failed = changes.failed.iter().map(|failed| failed.id);
        self.note(&mut ends, changes.journal.iter().copied().chain(failed));
        let counts = [changes.opened.len(), changes.journal.len(), changes.failed.len()];
        let linking = ends.chain.begin(counts.map(|count| count as u64), None);
        let rows = changes.opened.iter().map(Row::Opened).chain(posted().map(Row::Posted));
        let rows = rows.chain(changes.failed.iter().map(|failed| failed.row()));
        let link = Some((linking, Box::new(rows) as LinkRows<'b>));
        self.uncounted(connection).await?.made(ends.transfer);
        self.ends = Some(ends);
        let bytes = opened.len() * ACCOUNT;
        let failed = (first_failed..).zip(changes.failed.iter().copied()).collect();
        Ok(Written { opened, plain, other, ended, failed, link, bytes })
    }

    /// Keeps what accounts have now, to be written later.
    async fn uncount(
        &mut self,
        connection: &mut SqliteConnection,
        book: &Book,
        changes: &BookChanges,
    ) -> Result<()> {
        // Whatever was only opened is written as it was then.
        let opened: HashMap<_, _> =
            changes.opened.iter().map(|account| (&account.id, account)).collect();
        let changed = changes.accounts.iter().filter_map(|id| book.account(id));
        let changed = changed.filter(|account| opened.get(&account.id) != Some(account));
        let changed = changed.map(|account| Ok((self.account(&account.id)?, account)));
        let changed = changed.collect::<Result<Vec<_>>>()?;
        let uncounted = self.uncounted(connection).await?;
        for (no, account) in changed {
            uncounted.set(no, Counters::of(account));
        }
        Ok(())
    }

    /// Writes the link of what was written, and goes on from it.
    pub(in crate::storage::sqlite) async fn link(
        &mut self,
        connection: &mut SqliteConnection,
        written: Written<'_>,
    ) -> Result<()> {
        let (Some((mut linking, rows)), Some(ends)) = (written.link, &mut self.ends) else {
            return Ok(());
        };
        linking.add(rows);
        let link = linking.finish();
        ends.chain = Chain::at(link.head());
        write_all(connection, links(vec![link])).await
    }

    fn account(&self, id: &AccountId) -> Result<i64> {
        self.accounts.get(id).copied().ok_or_else(|| without_a_place("account", id))
    }

    fn hold(&self, id: &TransferId) -> Result<i64> {
        self.holds.get(id).copied().ok_or_else(|| without_a_place("hold", id))
    }
}

fn sides<'b>(book: &'b Book, posted: &'b Posted) -> Result<[&'b AccountId; 2]> {
    book.sides(posted).ok_or_else(|| without_a_place("hold of", &posted.transfer.id))
}

fn without_a_place(what: &str, id: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("{what} {id} has no place in the file"))
}

/// Whether the short statement has all of it, as for most transfers.
fn is_plain(posted: &Posted) -> bool {
    let transfer = &posted.transfer;
    matches!(transfer.kind, TransferKind::Direct { .. })
        && transfer.flags == TransferFlags::NONE
        && transfer.reference.is_none()
        && (transfer.user_data_64, transfer.user_data_32) == (0, 0)
}

impl<'b> Written<'b> {
    /// The statements that write it, but for its link.
    pub(in crate::storage::sqlite) fn statements<'s>(
        &'s mut self,
        known: &'s Known,
    ) -> impl Iterator<Item = Result<Batch>> + use<'s, 'b> {
        let counters = self.opened.iter().map(|(no, account)| (*no, Counters::of(account)));
        let counters = counters.collect();
        let statements = OPENED
            .batches(mem::take(&mut self.opened), bind_opened)
            .chain(COUNTERS.batches(counters, bind_counters))
            .chain(PLAIN.batches(mem::take(&mut self.plain), |row, placed| {
                bind_plain(row, &placed);
                Ok(())
            }))
            .chain(OTHER.batches(mem::take(&mut self.other), move |row, placed| {
                bind_other(row, &placed, known)
            }))
            .chain(ENDED.batches(mem::take(&mut self.ended), bind_ended))
            .chain(FAILED.batches(mem::take(&mut self.failed), bind_failed));
        // With each statement a part of the link: both are made while SQLite runs the one before.
        statements.inspect(|_| {
            if let Some((linking, rows)) = &mut self.link {
                linking.add(rows.take(MOST_ROWS));
            }
        })
    }
}

const OPENED: Rows = Rows {
    head: "INSERT INTO accounts
        (no, id, asset, scale, flags, reference, user_data_64, user_data_32, opened_at)
        SELECT * FROM (",
    columns: 9,
    tail: NO_FILLING,
};

fn bind_opened(row: &mut Values, (no, account): (i64, &Account)) -> Result<()> {
    row.push(no)
        .push(account.id.as_str())
        .push(account.asset.code())
        .push(i64::from(account.asset.scale()))
        .push(flags(account))
        .push(account.reference.map(id_bytes))
        .push(long(account.user_data_64))
        .push(short(account.user_data_32))
        .push(account.opened_at.as_micros());
    Ok(())
}

/// Most transfers: direct, with nothing special.
const PLAIN: Rows = Rows {
    head: "INSERT INTO transfers (seq, id, type, debit, credit, amount, purpose, at, debit_after,
        credit_after) SELECT * FROM (",
    columns: 10,
    tail: NO_FILLING,
};

fn bind_plain(row: &mut Values, placed: &Placed<'_>) {
    let Placed { seq, posted, sides: [debit, credit], after } = *placed;
    let transfer = &posted.transfer;
    row.push(seq)
        .push(id_bytes(transfer.id.uuid()))
        .push(type_number(&transfer.kind))
        .push(debit)
        .push(credit)
        .push(transfer.amount().map(amount_bytes))
        .push(purpose_name(transfer.purpose))
        .push(posted.at.as_micros());
    for after in after {
        row.push(after.map(counters));
    }
}

const OTHER: Rows = Rows {
    head: "INSERT INTO transfers (seq, id, type, debit, credit, amount, purpose, at, debit_after,
        credit_after, hold, hold_state, flags, timeout, expires_at, reference, user_data_64,
        user_data_32) SELECT * FROM (",
    columns: 18,
    tail: NO_FILLING,
};

fn bind_other(row: &mut Values, placed: &Placed<'_>, known: &Known) -> Result<()> {
    bind_plain(row, placed);
    let posted = placed.posted;
    let transfer = &posted.transfer;
    let hold = transfer.ends_hold().map(|hold| known.hold(&hold)).transpose()?;
    let flags = i64::from(transfer.flags.bits());
    row.push(hold)
        .push(posted.hold.map(state_number))
        .push((flags != 0).then_some(flags))
        .push(short(transfer.timeout_seconds))
        .push(posted.expires_at().map(Timestamp::as_micros))
        .push(transfer.reference.map(id_bytes))
        .push(long(transfer.user_data_64))
        .push(short(transfer.user_data_32));
    Ok(())
}

const ENDED: Rows = Rows {
    head: "UPDATE transfers SET hold_state = v.column2 FROM (",
    columns: 2,
    tail: ") AS v WHERE transfers.seq = v.column1",
};

fn bind_ended(row: &mut Values, (seq, hold): (i64, &Posted)) -> Result<()> {
    row.push(seq).push(hold.hold.map(state_number));
    Ok(())
}

const FAILED: Rows = Rows {
    head: "INSERT INTO failed_transfers (seq, id, code, at) SELECT * FROM (",
    columns: 4,
    tail: NO_FILLING,
};

fn bind_failed(row: &mut Values, (seq, failed): (i64, FailedTransfer)) -> Result<()> {
    row.push(seq)
        .push(id_bytes(failed.id.uuid()))
        .push(failed.code.name())
        .push(failed.at.as_micros());
    Ok(())
}

const LINKS: Rows = Rows {
    head: "INSERT INTO ledger_links (writer, number, accounts, transfers, failed, digest)
        SELECT * FROM (",
    columns: 6,
    tail: NO_FILLING,
};

/// The statements that write the links.
pub(super) fn links(links: Vec<Link>) -> impl Iterator<Item = Result<Batch>> {
    LINKS.batches(links, bind_link)
}

fn bind_link(row: &mut Values, link: Link) -> Result<()> {
    row.push(i64::from(link.writer))
        .push(integer(link.number))
        .push(integer(link.accounts))
        .push(integer(link.transfers))
        .push(integer(link.failed))
        .push(link.digest.as_bytes().to_vec());
    Ok(())
}
