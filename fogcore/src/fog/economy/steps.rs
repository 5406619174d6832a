//! How what was decided is done: once, and again only if it has failed for good.

use futures::future::BoxFuture;

use super::Economy;
use crate::amount::Amount;
use crate::error::{Error, ErrorKind, Result};
use crate::fog::tasks::no_answer;
use crate::id::{AccountId, TransferId};
use crate::ledger::economy::{EconomyPolicy, accounts};
use crate::ledger::{Account, Field, LedgerError, Posted, Purpose, Side, Transfer, TransferFilter};
use crate::time::Timestamp;

/// How often something may fail for want of funds before it needs a new id.
pub(super) const MAX_ATTEMPTS: u32 = 1_000;

/// How much is read at once.
pub(super) const PAGE: usize = 1_000;

/// Why a chain was not made.
pub(super) enum Refused {
    /// The ledger's answer to the transfer that failed it.
    Ledger(LedgerError),
    /// Nobody knows.
    Store(Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Ledger(error) => error.into(),
            Refused::Store(error) => error,
        }
    }
}

/// Attempts by number: what to send, decided from the state as it is then.
pub(super) type Plan<'a> = BoxFuture<'a, Result<Vec<Transfer>>>;

impl Economy {
    /// Does what `plan` decides, unless it was done. What was done carries `what` as its reference,
    /// is of `account`, and has the `ids` of an attempt.
    ///
    /// An id that failed in the ledger stays failed. So the next attempt, which has other ids, is
    /// made only once the ledger has said so of the one before: no two can succeed.
    pub(super) async fn once<'a>(
        &self,
        what: TransferId,
        account: &AccountId,
        purpose: Purpose,
        ids: impl Fn(u32) -> Result<Vec<TransferId>> + Send + Sync,
        plan: impl Fn(u32) -> Plan<'a> + Send + Sync,
    ) -> Result<Vec<Posted>> {
        let done = self.done(what, account, purpose).await?;
        if !done.is_empty() {
            return Ok(done);
        }
        let mut attempt = 0;
        for _ in 0..MAX_ATTEMPTS {
            let ids = ids(attempt)?;
            // By id, because the journal may not tell of its end yet.
            let made = self.made(&ids, account).await?;
            if !made.is_empty() {
                return Ok(made);
            }
            let done = match plan(attempt).await {
                Ok(chain) => self.post(chain).await,
                Err(error) => Err(Refused::Store(error)),
            };
            match done {
                Ok(mut posted) => {
                    posted.retain(|posted| ids.contains(&posted.transfer.id));
                    return Ok(posted);
                }
                Err(Refused::Ledger(LedgerError::IdAlreadyFailed { .. })) => attempt += 1,
                // Somebody was faster: with this, or with something else from the same state.
                Err(Refused::Ledger(
                    LedgerError::Exists(_) | LedgerError::ExistsWithDifferent { .. },
                )) => {}
                Err(refused) => {
                    // What there is no more of was perhaps done at this moment.
                    let made = self.made(&ids, account).await?;
                    return if made.is_empty() { Err(refused.into()) } else { Ok(made) };
                }
            }
        }
        Err(too_often())
    }

    /// Those of the transfers that were made.
    ///
    /// # Errors
    /// As of [`Economy::done`].
    async fn made(&self, ids: &[TransferId], account: &AccountId) -> Result<Vec<Posted>> {
        let mut made = Vec::new();
        for id in ids {
            made.extend(self.ledger.posted(*id).await?);
        }
        all_of(made, account)
    }

    /// What was done of it.
    ///
    /// # Errors
    /// Conflict if it was done, but not of `account`: the id was used for something else.
    pub(super) async fn done(
        &self,
        what: TransferId,
        account: &AccountId,
        purpose: Purpose,
    ) -> Result<Vec<Posted>> {
        // By reference, of which there are one or two, and not by account, which may have very
        // many. No client can make transfers for these purposes.
        let filter = TransferFilter {
            purpose: Some(purpose),
            reference: Some(what.uuid()),
            ..TransferFilter::default()
        };
        let found = self.ledger.transfers(&filter, None, 2).await?;
        all_of(found.into_iter().map(|entry| entry.posted).collect(), account)
    }

    /// Whether the transfer was made, with this amount and with this account to debit.
    ///
    /// # Errors
    /// Conflict if it was made otherwise.
    pub(super) async fn was_made(
        &self,
        id: TransferId,
        debit: &AccountId,
        amount: Amount,
    ) -> Result<bool> {
        let Some(there) = self.ledger.posted(id).await? else { return Ok(false) };
        if there.transfer.accounts().is_none_or(|accounts| accounts[0] != debit) {
            return Err(differs(&there, Field::Debit));
        }
        if there.transfer.amount() != Some(amount) {
            return Err(differs(&there, Field::Amount));
        }
        Ok(true)
    }

    /// Makes a transfer, or a chain of them.
    pub(super) async fn post(&self, chain: Vec<Transfer>) -> Result<Vec<Posted>, Refused> {
        let answers = self.ledger.apply(chain).await.map_err(Refused::Store)?;
        let mut posted = Vec::with_capacity(answers.len());
        let mut failed = None;
        for answer in answers {
            match answer {
                Ok(applied) => posted.push(applied.posted),
                Err(error) => {
                    // The others failed because of this one.
                    if !matches!(error, LedgerError::LinkedEventFailed(_)) {
                        failed.get_or_insert(error);
                    }
                }
            }
        }
        failed.map_or(Ok(posted), |error| Err(Refused::Ledger(error)))
    }

    /// Makes one transfer.
    pub(super) async fn one(&self, transfer: Transfer) -> Result<Posted> {
        first(self.post(vec![transfer]).await?)
    }

    /// Opens an account, unable to owe, unless there is one.
    pub(super) async fn open_holder(&self, holder: &AccountId) -> Result<()> {
        if self.ledger.account(holder).await?.is_none() {
            let account = Account::new(holder.clone(), self.shared.config.asset.clone());
            self.ledger.open_account(account.limited_to_credits()).await?;
        }
        Ok(())
    }

    /// Fails before an id is spent on what cannot be paid.
    pub(super) async fn must_afford(&self, amount: Amount) -> Result<()> {
        let available = self.must_have(accounts::REWARDS).await?.available();
        if amount <= available {
            return Ok(());
        }
        let (account, asset) = (accounts::own(accounts::REWARDS), self.shared.config.asset.clone());
        Err(LedgerError::ExceedsCredits { account, asset, amount, available }.into())
    }

    /// One of the fog's own accounts, which are there since it was opened.
    pub(super) async fn must_have(&self, name: &'static str) -> Result<Account> {
        let account = self.ledger.account(&accounts::own(name)).await?;
        account.ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("the account \"{name}\" is missing"))
        })
    }

    pub(super) fn policy(&self) -> &EconomyPolicy {
        &self.shared.config.economy
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}

/// What was done, if all of it is of the account.
fn all_of(done: Vec<Posted>, account: &AccountId) -> Result<Vec<Posted>> {
    let of = |posted: &Posted| posted.transfer.accounts().is_some_and(|a| a.contains(&account));
    match done.iter().find(|posted| !of(posted)) {
        Some(other) => Err(differs(other, Field::Credit)),
        None => Ok(done),
    }
}

/// The transfer that all was about.
pub(super) fn first(posted: Vec<Posted>) -> Result<Posted> {
    posted.into_iter().next().ok_or_else(no_answer)
}

/// An id that was used for something else.
pub(super) fn differs(there: &Posted, field: Field) -> Error {
    LedgerError::ExistsWithDifferent { id: there.transfer.id, field }.into()
}

/// Refuses ids that only the fog may use: what is derived from them could be the fog's own, too.
pub(super) fn check_request(id: TransferId) -> Result<()> {
    if id.is_own() {
        let refused = format!("the id {id} is one that only the fog makes");
        return Err(Error::new(ErrorKind::Denied, refused));
    }
    Ok(())
}

pub(super) fn too_often() -> Error {
    let often = format!("it has failed {MAX_ATTEMPTS} times under this id: ask under a new one");
    Error::new(ErrorKind::Exhausted, often)
}

/// The filter that finds on which transfer a grant ended.
pub(super) fn revocations(account: &AccountId) -> TransferFilter {
    TransferFilter {
        side: Some(Side::Debit),
        purpose: Some(Purpose::VestingRevoke),
        ..TransferFilter::of(account.clone())
    }
}
