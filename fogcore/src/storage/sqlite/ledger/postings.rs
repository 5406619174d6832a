//! Which transfers an account is in: a list for each block of the journal, written when the block is
//! full.

use std::collections::VecDeque;

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Result;
use crate::ledger::Fault;
use crate::storage::sqlite::error::OrStoreError;
use crate::storage::sqlite::lists::{NO_FILLING, Rows, Values, integers, write_all};
use crate::storage::sqlite::rows::{damaged, get, json};

/// The most transfers of one block.
pub(super) const BLOCK: i64 = 65_536;

/// The most transfers in one row.
const ROW: usize = 512;

/// A row: an account, the last of its transfers in here, and all of them.
#[derive(PartialEq)]
struct Posting {
    account: i64,
    last: i64,
    seqs: String,
}

const POSTINGS: Rows = Rows {
    head: "INSERT INTO postings (block, account, last, seqs) SELECT * FROM (",
    columns: 4,
    tail: NO_FILLING,
};

/// The sides of the last transfers, in the journal's order, for the block that they will be in.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<(i64, [i64; 2])>);

impl Tail {
    /// A transfer behind all that are there.
    pub(super) fn add(&mut self, seq: i64, sides: [i64; 2]) {
        self.0.push_back((seq, sides));
    }

    /// Takes the transfers up to `last`, as accounts with transfers, if it has all that are behind
    /// `before`.
    fn take(&mut self, before: i64, last: i64) -> Option<Vec<(i64, i64)>> {
        let has_all = self.0.front().is_some_and(|(seq, _)| *seq == before + 1);
        let length = self.0.partition_point(|(seq, _)| *seq <= last);
        let taken = self.0.drain(..length);
        if !has_all {
            return None;
        }
        Some(taken.flat_map(|(seq, sides)| sides.map(|account| (account, seq))).collect())
    }
}

/// Writes the block of the transfers behind `before` up to `last`.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    before: i64,
    last: i64,
    tail: &mut Tail,
) -> Result<()> {
    let bind = |row: &mut Values, posting: Posting| {
        row.push(last).push(posting.account).push(posting.last).push(posting.seqs);
        Ok(())
    };
    let sides = match tail.take(before, last) {
        Some(sides) => sides,
        None => sides(connection, before, last).await?,
    };
    write_all(connection, POSTINGS.batches(postings(sides)?, bind)).await?;
    let block = sqlx::query("INSERT INTO posting_blocks (last) VALUES (?)").bind(last);
    block.execute(connection).await.or_store_error()?;
    Ok(())
}

/// Makes every block anew and compares.
pub(super) async fn verify(connection: &mut SqliteConnection, transfers: i64) -> Result<()> {
    let wrong = || Fault::Unknown { what: "there are wrong postings".to_owned() };
    let blocks = sqlx::query("SELECT last FROM posting_blocks ORDER BY last");
    let mut before = 0;
    for block in blocks.fetch_all(&mut *connection).await.or_store_error()? {
        let last: i64 = get(&block, "last")?;
        // Not more than a block may have: the journal may be longer than what fits in memory.
        if last <= before || last > transfers || last - before > BLOCK {
            return Err(wrong().into());
        }
        let stored = sqlx::query(
            "SELECT account, last, seqs FROM postings WHERE block = ? ORDER BY account, last",
        );
        let stored = stored.bind(last).fetch_all(&mut *connection).await.or_store_error()?;
        let stored = stored.iter().map(posting).collect::<Result<Vec<_>>>()?;
        if stored != postings(sides(connection, before, last).await?)? {
            return Err(wrong().into());
        }
        before = last;
    }
    Ok(())
}

fn posting(row: &SqliteRow) -> Result<Posting> {
    Ok(Posting { account: get(row, "account")?, last: get(row, "last")?, seqs: get(row, "seqs")? })
}

/// The accounts of the transfers behind `before` up to `last`, each with the transfer.
async fn sides(
    connection: &mut SqliteConnection,
    before: i64,
    last: i64,
) -> Result<Vec<(i64, i64)>> {
    // As lists: a row for each transfer would cost more than all that is done with it.
    let row = sqlx::query(
        "SELECT json_group_array(seq) AS seqs, json_group_array(debit) AS debits,
             json_group_array(credit) AS credits
         FROM transfers WHERE seq > ? AND seq <= ?",
    );
    let row = row.bind(before).bind(last).fetch_one(connection).await.or_store_error()?;
    let list = |column| json::<Vec<i64>>(&row, column);
    let (seqs, debits, credits) = (list("seqs")?, list("debits")?, list("credits")?);
    // The journal has no gaps.
    if usize::try_from(last - before) != Ok(seqs.len()) {
        return Err(damaged("seq"));
    }
    let both = debits.into_iter().zip(&seqs).chain(credits.into_iter().zip(&seqs));
    Ok(both.map(|(account, seq)| (account, *seq)).collect())
}

/// The rows of a block, in their order.
fn postings(mut sides: Vec<(i64, i64)>) -> Result<Vec<Posting>> {
    sides.sort_unstable();
    let mut postings = Vec::new();
    for of_account in sides.chunk_by(|one, next| one.0 == next.0) {
        for part in of_account.chunks(ROW) {
            let seqs: Vec<i64> = part.iter().map(|(_, seq)| *seq).collect();
            let &[.., (account, last)] = part else { continue };
            postings.push(Posting { account, last, seqs: integers(&seqs)? });
        }
    }
    Ok(postings)
}
