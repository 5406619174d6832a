//! The economy of the fog's token: what [`ledger::economy`](crate::ledger::economy) decides, done.
//!
//! Whoever asks for something gives an id for it, and may ask again under the same one: it happens
//! once. What cannot succeed now and may later (the reward account is empty) can be asked again
//! under the same id, too; for what the client itself has not (a stake without the funds), the id
//! has failed for good, as everywhere in the ledger.

mod grants;
mod stakes;
mod steps;

use std::sync::Arc;

pub use self::stakes::Checkpoint;
use self::steps::{MAX_ATTEMPTS, PAGE, Plan, Refused, check_request, differs, first, too_often};
use super::{Ledger, Shared};
use crate::amount::Amount;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, TransferId};
use crate::ledger::economy::{
    EconomyError, Participant, Shares, Supply, SupplyAudit, SupplyProof, accounts, fees, reward,
    shares::share_id, supply,
};
use crate::ledger::{Account, Field, LedgerError, Posted, Purpose, Transfer, TransferFilter};

/// What became of the shares of a period.
#[derive(Clone, Debug)]
pub struct SharesPaid {
    /// What everybody was to get.
    pub shares: Shares,
    /// Who could not be paid, and why (an account was closed). The share stays in the account of
    /// the period.
    pub unpaid: Vec<(AccountId, LedgerError)>,
}

/// A handle on the economy of a fog's token.
///
/// ```
/// use fogcore::Fog;
/// use fogcore::amount::Asset;
/// use fogcore::ledger::economy::accounts::REWARDS;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let fog = Fog::open("memory:").await?;
/// let (economy, ledger) = (fog.economy(), fog.ledger());
/// let (alice, amount) = ("alice".parse()?, |text| Asset::FOG.parse(text));
///
/// economy.mint(ledger.new_id(), &alice, amount("20000")?).await?;
/// economy.mint(ledger.new_id(), &REWARDS.parse()?, amount("1000")?).await?;
/// let stake = economy.stake(ledger.new_id(), &alice, amount("12000")?).await?;
/// assert!(stake.is_validator(&fog.config().economy));
///
/// let proof = economy.prove_supply().await?;
/// assert_eq!(proof.supply.circulating(), amount("21000")?);
/// # Ok::<(), fogcore::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Economy {
    shared: Arc<Shared>,
    ledger: Ledger,
}

impl Economy {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let ledger = Ledger::new(shared.clone());
        Self { shared, ledger }
    }

    /// Opens the accounts of the economy, and tells the ledger the most there may ever be.
    pub(super) async fn found(&self) -> Result<()> {
        let (policy, asset) = (self.policy(), &self.shared.config.asset);
        for account in accounts::founding(asset) {
            let existing = self.ledger.account(&account.id).await?;
            if account.id.as_str() == accounts::MINT
                && existing.is_some_and(|there| !there.debits_must_not_exceed_credits)
            {
                // Made before there was a maximum. All works but minting: `mint` refuses.
                continue;
            }
            self.ledger.open_any(account).await?;
        }
        let authorize = supply::authorize(policy, asset);
        let there = self.ledger.posted(authorize.id).await?;
        if there.is_some_and(|there| there.transfer == authorize) {
            return Ok(());
        }
        match self.post(vec![authorize]).await {
            Ok(_) => Ok(()),
            Err(Refused::Ledger(LedgerError::ExistsWithDifferent { .. })) => {
                let told = "the ledger was opened with another maximum, which is for good";
                Err(Error::invalid("economy.maximum_supply", told))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// How much there is, as the accounts tell it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn supply(&self) -> Result<Supply> {
        let mint = self.must_have(accounts::MINT).await?;
        let burned = self.must_have(accounts::BURNED).await?;
        Ok(Supply::told_by(&mint, &burned))
    }

    /// Proves how much there is from nothing but the journal, all of which is read.
    ///
    /// # Errors
    /// Internal, with a [`SupplyError`](crate::ledger::economy::SupplyError), if it proves no
    /// supply.
    pub async fn prove_supply(&self) -> Result<SupplyProof> {
        let (mut audit, mut after) = (SupplyAudit::default(), None);
        loop {
            let page = self.ledger.transfers(&TransferFilter::default(), after, PAGE).await?;
            page.iter().try_for_each(|entry| audit.read(&entry.posted))?;
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.place),
                _ => break,
            }
        }
        // Later than the journal, so that every account that it names is there.
        let accounts = self.ledger.all_accounts().await?;
        Ok(audit.finish(&self.shared.config.asset, &accounts)?)
    }

    /// Gives `to` new supply; opens the account, unable to owe, if need be.
    ///
    /// # Errors
    /// Exhausted beyond the maximum, Conflict in a ledger that was made before there was one.
    pub async fn mint(&self, id: TransferId, to: &AccountId, amount: Amount) -> Result<Posted> {
        let into = [accounts::REWARDS, accounts::TREASURY];
        if to.is_reserved() && !into.contains(&to.as_str()) {
            return Err(EconomyError::Reserved(to.clone()).into());
        }
        check_request(id)?;
        if !self.must_have(accounts::MINT).await?.debits_must_not_exceed_credits {
            let old = "this ledger was made before there was a maximum supply: nothing is minted";
            return Err(Error::new(ErrorKind::Conflict, old));
        }
        self.open_holder(to).await?;
        self.one(supply::mint(id, to, amount)).await
    }

    /// Mints the [initial supply](crate::ledger::economy::EconomyPolicy::initial_supply) for
    /// `fog:treasury`, once.
    ///
    /// # Errors
    /// Exhausted beyond the maximum.
    pub async fn mint_initial_supply(&self) -> Result<Posted> {
        let (policy, asset) = (self.policy(), &self.shared.config.asset);
        let what = supply::mint_initial(policy, asset, 0).id;
        let plan = |attempt| -> Plan<'_> {
            let mint = supply::mint_initial(policy, asset, attempt);
            Box::pin(async move { Ok(vec![mint]) })
        };
        let treasury = accounts::own(accounts::TREASURY);
        let ids = |attempt| Ok(vec![supply::mint_initial(policy, asset, attempt).id]);
        first(self.once(what, &treasury, Purpose::Mint, ids, plan).await?)
    }

    /// Takes `amount` of `from` out of circulation for ever.
    ///
    /// # Errors
    /// Exhausted if `from` has less, InvalidInput for one of the fog's own accounts.
    pub async fn burn(&self, id: TransferId, from: &AccountId, amount: Amount) -> Result<Posted> {
        check_request(id)?;
        self.one(supply::burn(id, from, amount)?).await
    }

    /// Pays `amount`, all of which arrives, and the transfer fee beside it.
    ///
    /// # Errors
    /// Exhausted if `from` has not both.
    pub async fn pay(
        &self,
        id: TransferId,
        from: &AccountId,
        to: &AccountId,
        amount: Amount,
    ) -> Result<Posted> {
        let bps = self.policy().transfer_fee_bps;
        self.pay_with_fee(id, from, to, amount, bps, Purpose::TransferFee).await
    }

    /// Pays the price of a trade, all of which arrives, and the marketplace's fee beside it.
    ///
    /// # Errors
    /// Exhausted if `buyer` has not both.
    pub async fn pay_trade(
        &self,
        id: TransferId,
        buyer: &AccountId,
        seller: &AccountId,
        price: Amount,
    ) -> Result<Posted> {
        let bps = self.policy().marketplace_fee_bps;
        self.pay_with_fee(id, buyer, seller, price, bps, Purpose::MarketplaceFee).await
    }

    /// Puts `amount` of `from`, a holder or the treasury, into the account that rewards and
    /// interest are paid from.
    ///
    /// # Errors
    /// Exhausted if `from` has less.
    pub async fn fund_rewards(
        &self,
        id: TransferId,
        from: &AccountId,
        amount: Amount,
    ) -> Result<Posted> {
        check_request(id)?;
        if from.is_reserved() && from.as_str() != accounts::TREASURY {
            return Err(EconomyError::Reserved(from.clone()).into());
        }
        let to = accounts::own(accounts::REWARDS);
        self.one(Transfer::direct(id, from, &to, amount, Purpose::Transfer)).await
    }

    /// Pays a reward ([`RewardPolicy::reward`](crate::ledger::economy::RewardPolicy::reward)
    /// computes it) for what `id` names, once; opens the account, unable to owe, if need be.
    ///
    /// # Errors
    /// Exhausted if the reward account has less; it may be asked again.
    pub async fn pay_reward(
        &self,
        id: TransferId,
        to: &AccountId,
        amount: Amount,
    ) -> Result<Posted> {
        check_request(id)?;
        if to.is_reserved() {
            return Err(EconomyError::Reserved(to.clone()).into());
        }
        self.open_holder(to).await?;
        if let Some(done) = self.done(id, to, Purpose::Reward).await?.pop() {
            let same = done.transfer.amount() == Some(amount);
            return if same { Ok(done) } else { Err(differs(&done, Field::Amount)) };
        }
        self.must_afford(amount).await?;
        let plan = |attempt| -> Plan<'_> {
            Box::pin(async move { Ok(vec![reward::pay(id, to, amount, attempt)?]) })
        };
        let ids = |attempt| Ok(vec![reward::pay(id, to, amount, attempt)?.id]);
        first(self.once(id, to, Purpose::Reward, ids, plan).await?)
    }

    /// Pays everybody's share of `pending` for `period`, a name that the client gives; opens the
    /// accounts, unable to owe, if need be. What was begun and interrupted goes on if it is called
    /// again with the same snapshot.
    ///
    /// # Errors
    /// InvalidInput for a snapshot that makes no sense, or for a `from` that is one of the fog's own
    /// accounts (but `fog:treasury`, `fog:rewards` and `fog:fees` may pay), Exhausted if `from` has
    /// less, Conflict if the period was begun with another snapshot.
    pub async fn pay_shares(
        &self,
        period: &AccountId,
        from: &AccountId,
        pending: Amount,
        snapshot: &[Participant],
    ) -> Result<SharesPaid> {
        let payers = [accounts::TREASURY, accounts::REWARDS, accounts::FEES];
        if from.is_reserved() && !payers.contains(&from.as_str()) {
            return Err(EconomyError::Reserved(from.clone()).into());
        }
        let shares = Shares::of(&self.policy().shares, pending, snapshot)?;
        if let Some((own, _)) = shares.shares.iter().find(|(account, _)| account.is_reserved()) {
            return Err(EconomyError::Reserved(own.clone()).into());
        }
        let asset = &self.shared.config.asset;
        self.ledger.open_any(Shares::account(period, asset)?).await?;
        self.fund_shares(period, from, &shares).await?;
        let mut unpaid = Vec::new();
        for batch in shares.batches(period)? {
            let to: Vec<_> = batch.iter().filter_map(|t| Some(t.accounts()?[1].clone())).collect();
            let open =
                |id: &AccountId| Account::new(id.clone(), asset.clone()).limited_to_credits();
            // One that is open on other terms can be paid as well.
            let accounts = to.iter().map(open).collect();
            drop(self.shared.stores.ledger.open_accounts(accounts, self.now()).await?);
            unpaid.extend(self.pay_each(period, batch).await?);
        }
        Ok(SharesPaid { shares, unpaid })
    }

    /// Pays these shares, in another attempt those that have failed for good in the one before; tells
    /// which could not be paid.
    async fn pay_each(
        &self,
        period: &AccountId,
        mut shares: Vec<Transfer>,
    ) -> Result<Vec<(AccountId, LedgerError)>> {
        let (mut unpaid, mut attempt) = (Vec::new(), 0);
        while !shares.is_empty() {
            attempt += 1;
            let answers = self.ledger.apply(shares.clone()).await?;
            let refused =
                shares.into_iter().zip(answers).filter_map(|(one, a)| Some((one, a.err()?)));
            let mut again = Vec::new();
            for (share, error) in refused {
                let Some([_, to]) = share.accounts().map(|sides| sides.map(Clone::clone)) else {
                    continue;
                };
                if matches!(error, LedgerError::IdAlreadyFailed { .. }) && attempt < MAX_ATTEMPTS {
                    let id = share_id(period, &to, attempt);
                    again.push(Transfer { id, ..share });
                } else {
                    unpaid.push((to, error));
                }
            }
            shares = again;
        }
        Ok(unpaid)
    }

    /// Moves what is paid into the account of the period. A snapshot that differs from the one
    /// that the period was begun with is refused, whichever attempt it was.
    async fn fund_shares(&self, period: &AccountId, from: &AccountId, all: &Shares) -> Result<()> {
        for attempt in 0..MAX_ATTEMPTS {
            match self.post(vec![all.fund(period, from, attempt)?]).await {
                Err(Refused::Ledger(LedgerError::IdAlreadyFailed { .. })) => {}
                done => return done.map(|_| ()).map_err(Error::from),
            }
        }
        Err(too_often())
    }

    async fn pay_with_fee(
        &self,
        id: TransferId,
        from: &AccountId,
        to: &AccountId,
        amount: Amount,
        bps: u16,
        purpose: Purpose,
    ) -> Result<Posted> {
        check_request(id)?;
        if let Some(own) = [from, to].into_iter().find(|account| account.is_reserved()) {
            return Err(EconomyError::Reserved(own.clone()).into());
        }
        first(self.post(fees::pay(id, from, to, amount, bps, purpose)?).await?)
    }
}
