//! Grants: tokens that become somebody's over time.

use super::Economy;
use super::steps::{MAX_ATTEMPTS, Plan, Refused, check_request, first, revocations, too_often};
use crate::error::Result;
use crate::id::AccountId;
use crate::ledger::economy::{EconomyError, Grant, Vesting, accounts, vesting};
use crate::ledger::{LedgerError, Posted, Purpose};

impl Economy {
    /// Sets tokens aside, to become somebody's over time. The same grant again is the same.
    ///
    /// # Errors
    /// InvalidInput for terms that make no sense, Exhausted if the grantor has less.
    pub async fn grant(&self, grant: &Grant) -> Result<Vesting> {
        check_request(grant.id)?;
        let (account, fill) = grant.open(&self.shared.config.asset)?;
        let account = self.ledger.open_any(account).await?.id;
        self.open_holder(&grant.beneficiary).await?;
        self.post(vec![fill]).await?;
        self.vesting(&account).await
    }

    /// The grant with this account ([`Grant::account`]), and what became of it.
    ///
    /// # Errors
    /// NotFound if it is not one.
    pub async fn vesting(&self, account: &AccountId) -> Result<Vesting> {
        let not = || EconomyError::NotAGrant(account.clone());
        let (id, _) = accounts::grantee(account).ok_or_else(not)?;
        // The revocation last: one that the account does not show yet is noticed there.
        let filled = self.ledger.posted(vesting::grant_id(id)).await?.ok_or_else(not)?;
        let found = self.ledger.account(account).await?.ok_or_else(not)?;
        let revoked = self.ledger.transfers(&revocations(account), None, 1).await?;
        Ok(Vesting::told_by(&found, &filled, revoked.first().map(|entry| &entry.posted))?)
    }

    /// Gives the beneficiary of a grant what has vested and was not released.
    ///
    /// # Errors
    /// NotFound if it is not a grant, Exhausted if there is nothing.
    pub async fn release(&self, account: &AccountId) -> Result<Posted> {
        let now = self.now();
        for attempt in 0..MAX_ATTEMPTS {
            let release = self.vesting(account).await?.release(now, attempt)?;
            match self.post(vec![release]).await {
                // Somebody else released at this moment: look again.
                Err(Refused::Ledger(
                    LedgerError::IdAlreadyFailed { .. } | LedgerError::ExistsWithDifferent { .. },
                )) => {}
                done => return first(done?),
            }
        }
        Err(too_often())
    }

    /// Takes a grant back: what has not vested goes to the grantor, what has stays to be released.
    ///
    /// # Errors
    /// NotFound if it is not a grant, Conflict if it is not revocable.
    pub async fn revoke(&self, account: &AccountId) -> Result<Posted> {
        let (id, now) = (self.vesting(account).await?.grant.id, self.now());
        let plan = |attempt| -> Plan<'_> {
            Box::pin(async move { Ok(vec![self.vesting(account).await?.revoke(now, attempt)?]) })
        };
        let ids = |attempt| Ok(vec![vesting::revoke_id(id, attempt)]);
        first(self.once(id, account, Purpose::VestingRevoke, ids, plan).await?)
    }
}
