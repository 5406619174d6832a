//! Stakes, penalties, voting power, and the interest on what is staked.

use super::Economy;
use super::steps::{PAGE, Plan, check_request, differs, first};
use crate::amount::Amount;
use crate::error::{Error, Result};
use crate::id::{AccountId, TransferId};
use crate::ledger::economy::{Period, Stake, StakedTime, accounts, interest, staking};
use crate::ledger::{Field, Place, Posted, Purpose};
use crate::time::Timestamp;

/// What somebody had at stake from a time on: the holder's voting power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where in the journal it stands; the next page begins after it.
    pub place: Place,
    /// From when.
    pub at: Timestamp,
    /// How much.
    pub staked: Amount,
}

impl Economy {
    /// What `holder` has at stake.
    ///
    /// # Errors
    /// InvalidInput for a holder that cannot stake.
    pub async fn stake_of(&self, holder: &AccountId) -> Result<Stake> {
        let (stake, unbonding) = (accounts::stake(holder)?, accounts::unbonding(holder)?);
        let ago = self.now().saturating_sub(self.policy().unbonding);
        let matured = self.ledger.balance_at(&unbonding, ago).await?;
        let unbonding = self.ledger.account(&unbonding).await?;
        let stake = self.ledger.account(&stake).await?;
        Ok(Stake::told_by(holder, stake.as_ref(), unbonding.as_ref(), matured.as_ref()))
    }

    /// What `holder` had at stake at that time: the holder's voting power.
    ///
    /// # Errors
    /// InvalidInput for a holder that cannot stake.
    pub async fn staked_at(&self, holder: &AccountId, at: Timestamp) -> Result<Amount> {
        let balance = self.ledger.balance_at(&accounts::stake(holder)?, at).await?;
        Ok(balance.map_or(Amount::ZERO, |balance| staking::left(&balance)))
    }

    /// What `holder` had at stake after each change of it, oldest first, beginning after `after`;
    /// at most `limit` (1–1,000). Nothing of it is ever changed.
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range, or a holder that cannot stake.
    pub async fn checkpoints(
        &self,
        holder: &AccountId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Checkpoint>> {
        let page = self.ledger.balances(&accounts::stake(holder)?, after, limit).await?;
        let checkpoint = |place, balance| {
            let staked = staking::left(balance);
            Checkpoint { place, at: balance.at, staked }
        };
        Ok(page.iter().map(|entry| checkpoint(entry.place, &entry.balance)).collect())
    }

    /// Stakes `amount` more.
    ///
    /// # Errors
    /// InvalidInput if the stake would be less than the least one, Exhausted if the holder has
    /// less.
    pub async fn stake(&self, id: TransferId, holder: &AccountId, amount: Amount) -> Result<Stake> {
        check_request(id)?;
        let asset = &self.shared.config.asset;
        if !self.was_made(staking::stake_id(id), holder, amount).await? {
            for account in Stake::accounts(holder, asset)? {
                self.ledger.open_any(account).await?;
            }
            let now = self.stake_of(holder).await?;
            self.post(now.stake(self.policy(), asset, id, amount)?).await?;
        }
        self.stake_of(holder).await
    }

    /// Begins to release `amount`: all that is staked, or so much that the least stake is left.
    ///
    /// # Errors
    /// InvalidInput if less than the least stake would be left, Exhausted beyond what is staked.
    pub async fn unstake(
        &self,
        id: TransferId,
        holder: &AccountId,
        amount: Amount,
    ) -> Result<Stake> {
        check_request(id)?;
        let stake = accounts::stake(holder)?;
        if !self.was_made(staking::unstake_id(id), &stake, amount).await? {
            let now = self.stake_of(holder).await?;
            let chain = now.unstake(self.policy(), &self.shared.config.asset, id, amount)?;
            self.post(chain).await?;
        }
        self.stake_of(holder).await
    }

    /// Gives the holder back all that was unstaked long enough ago.
    ///
    /// # Errors
    /// Exhausted if there is nothing.
    pub async fn withdraw(&self, id: TransferId, holder: &AccountId) -> Result<Posted> {
        check_request(id)?;
        let plan = |attempt| -> Plan<'_> {
            Box::pin(async move { Ok(self.stake_of(holder).await?.withdraw(id, attempt)?) })
        };
        let unbonding = accounts::unbonding(holder)?;
        let ids = |attempt| Ok(vec![staking::withdraw_id(id, attempt)]);
        first(self.once(id, &unbonding, Purpose::Withdraw, ids, plan).await?)
    }

    /// Takes `amount` of a stake as a penalty, but no more than there is: from what is staked
    /// first, then from what is unbonding.
    ///
    /// # Errors
    /// Exhausted if there is nothing; also if the stake changed in between, and then it may be
    /// asked again. Conflict if the id was used for another penalty.
    pub async fn slash(
        &self,
        id: TransferId,
        holder: &AccountId,
        amount: Amount,
    ) -> Result<Vec<Posted>> {
        check_request(id)?;
        let policy = self.policy();
        let plan = |attempt| -> Plan<'_> {
            Box::pin(
                async move { Ok(self.stake_of(holder).await?.slash(policy, id, amount, attempt)?) },
            )
        };
        // Of the stake, or of what is unbonding, or of both; all of it goes there.
        let ids = |attempt| Ok(staking::slash_ids(id, attempt).to_vec());
        let done = self.once(id, &policy.penalties_to, Purpose::Penalty, ids, plan).await?;
        let own = [accounts::stake(holder)?, accounts::unbonding(holder)?];
        let of = |p: &Posted| p.transfer.accounts().is_some_and(|a| own.contains(a[0]));
        if let Some(other) = done.iter().find(|posted| !of(posted)) {
            return Err(differs(other, Field::Debit));
        }
        let asked = staking::asked(amount);
        match done.iter().find(|posted| posted.transfer.user_data_64 != asked) {
            Some(other) => Err(differs(other, Field::Amount)),
            None => Ok(done),
        }
    }

    /// Pays the holder the interest for a period, once; none if nothing was staked then.
    ///
    /// # Errors
    /// InvalidInput if it is none of the periods of [`Period::with`], Conflict if it is not over,
    /// Exhausted if the reward account has less; what follows may be asked again.
    pub async fn pay_interest(&self, holder: &AccountId, period: Period) -> Result<Option<Posted>> {
        // Periods that overlap would both be paid.
        if Period::with(period.start, self.policy())? != period {
            return Err(Error::invalid("period", "it is none of those that are counted from 1970"));
        }
        period.must_be_over(self.now(), self.policy())?;
        let what = interest::payment_id(holder, period, 0)?;
        if let Some(done) = self.done(what, holder, Purpose::Reward).await?.pop() {
            return Ok(Some(done));
        }
        let earned = self.staked_time(holder, period).await?.interest(self.policy())?;
        if earned.is_zero() {
            return Ok(None);
        }
        self.must_afford(earned).await?;
        let plan = |attempt| -> Plan<'_> {
            Box::pin(async move { Ok(vec![interest::pay(holder, period, earned, attempt)?]) })
        };
        let ids = |attempt| Ok(vec![interest::payment_id(holder, period, attempt)?]);
        first(self.once(what, holder, Purpose::Reward, ids, plan).await?).map(Some)
    }

    /// What was staked over a period, from the history of the stake.
    async fn staked_time(&self, holder: &AccountId, period: Period) -> Result<StakedTime> {
        let (stake, mut after) = (accounts::stake(holder)?, None);
        let mut time = StakedTime::new(period, Amount::ZERO);
        loop {
            let page = self.ledger.balances(&stake, after, PAGE).await?;
            page.iter().for_each(|entry| time.read(&entry.balance));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.place),
                _ => return Ok(time),
            }
        }
    }
}
