//! Accounts and transfers as the other side sees them.

use fogcore::amount::{Amount, Asset};
use fogcore::id::{AccountId, TransferId};
use fogcore::ledger::{
    self, Applied, AssetBalance, HoldState, Posted, Purpose, TransferFlags, TransferKind,
};
use fogcore::time::Timestamp;

use crate::error::FogError;
use crate::fog::Fog;
use crate::values::{Refusal, refused};

/// Reads an amount of `asset` from a decimal text, such as `2.5`.
///
/// # Errors
/// InvalidInput for what is no number, has too many decimals, or is too large.
#[uniffi::export]
pub fn parse_amount(asset: Asset, text: String) -> Result<Amount, FogError> {
    asset.parse(&text).map_err(refused)
}

/// Writes an amount of `asset` for people, such as `2.5 FOG`.
#[uniffi::export]
#[must_use]
pub fn format_amount(asset: Asset, amount: Amount) -> String {
    asset.display(amount).to_string()
}

/// An account to be opened.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct NewAccount {
    /// Its id.
    pub id: AccountId,
    /// What it counts; the fog's own asset if it is left out.
    #[uniffi(default)]
    pub asset: Option<Asset>,
    /// Whether it may owe: spend more than it was given.
    #[uniffi(default)]
    pub may_owe: bool,
}

/// An account as it is now. Counters are base units of its asset.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What it counts.
    pub asset: Asset,
    /// What can be spent: posted credits less all debits, pending ones included.
    pub available: Amount,
    /// Reserved to leave.
    pub debits_pending: Amount,
    /// All that left.
    pub debits_posted: Amount,
    /// Reserved to come.
    pub credits_pending: Amount,
    /// All that came.
    pub credits_posted: Amount,
    /// Whether it refuses all transfers.
    pub closed: bool,
    /// When it was opened.
    pub opened_at: Timestamp,
}

impl From<ledger::Account> for Account {
    fn from(account: ledger::Account) -> Self {
        Self {
            available: account.available(),
            id: account.id,
            asset: account.asset,
            debits_pending: account.debits_pending,
            debits_posted: account.debits_posted,
            credits_pending: account.credits_pending,
            credits_posted: account.credits_posted,
            closed: account.closed,
            opened_at: account.opened_at,
        }
    }
}

/// What a transfer does.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum TransferAction {
    /// Moves an amount.
    Direct {
        /// Who gives.
        debit: AccountId,
        /// Who gets.
        credit: AccountId,
        /// How much, in base units.
        amount: Amount,
    },
    /// Reserves an amount.
    Hold {
        /// Who will give.
        debit: AccountId,
        /// Who will get.
        credit: AccountId,
        /// How much, in base units.
        amount: Amount,
    },
    /// Posts a part of a hold, and frees the rest.
    Post {
        /// The hold.
        hold: TransferId,
        /// How much of it; all of it if it is left out.
        amount: Option<Amount>,
    },
    /// Frees all of a hold.
    Void {
        /// The hold.
        hold: TransferId,
    },
}

/// A transfer, as a client asks for it.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Transfer {
    /// Made by the client, unique in the ledger: sent twice, it happens once.
    pub id: TransferId,
    /// What it does.
    pub action: TransferAction,
    /// Whether it is made with the next one of the batch or not at all.
    #[uniffi(default)]
    pub linked: bool,
    /// Of a hold: after how many seconds its time is over; zero if never.
    #[uniffi(default)]
    pub timeout_seconds: u32,
}

impl From<Transfer> for ledger::Transfer {
    fn from(transfer: Transfer) -> Self {
        let kind = match transfer.action {
            TransferAction::Direct { debit, credit, amount } => {
                TransferKind::Direct { debit, credit, amount }
            }
            TransferAction::Hold { debit, credit, amount } => {
                TransferKind::Hold { debit, credit, amount }
            }
            TransferAction::Post { hold, amount } => {
                // The ledger's word for all of it.
                TransferKind::Post { hold, amount: amount.unwrap_or(Amount::MAX) }
            }
            TransferAction::Void { hold } => TransferKind::Void { hold },
        };
        let flags = TransferFlags { linked: transfer.linked, ..TransferFlags::NONE };
        let timeout_seconds = transfer.timeout_seconds;
        Self { flags, timeout_seconds, ..Self::new(transfer.id, kind, Purpose::Transfer) }
    }
}

/// The answer to one transfer.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TransferAnswer {
    /// The transfer.
    pub transfer: TransferId,
    /// Whether it is in the ledger now.
    pub applied: bool,
    /// Whether it was there already, as it was asked for.
    pub repeated: bool,
    /// What was moved or reserved; none of what was refused or frees a hold.
    pub amount: Option<Amount>,
    /// When it was applied.
    pub at: Option<Timestamp>,
    /// What became of it, if it is a hold.
    pub hold: Option<HoldState>,
    /// Why it was not applied.
    pub refusal: Option<Refusal>,
}

impl TransferAnswer {
    pub(crate) fn of(id: TransferId, answer: fogcore::Result<Applied>) -> Self {
        match answer {
            Ok(applied) => {
                let repeated = !applied.new;
                Self { repeated, ..applied.posted.into() }
            }
            Err(error) => Self {
                transfer: id,
                applied: false,
                repeated: false,
                amount: None,
                at: None,
                hold: None,
                refusal: Some(error.into()),
            },
        }
    }
}

impl From<Posted> for TransferAnswer {
    fn from(posted: Posted) -> Self {
        Self {
            transfer: posted.transfer.id,
            applied: true,
            repeated: false,
            amount: posted.transfer.amount(),
            at: Some(posted.at),
            hold: posted.hold,
            refusal: None,
        }
    }
}

/// The sums over all accounts of one asset, as decimal numbers of it: both sides are equal.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct AssetTotal {
    /// The asset.
    pub asset: Asset,
    /// How many accounts count it.
    pub accounts: u64,
    /// Reserved to leave.
    pub debits_pending: String,
    /// All that left.
    pub debits_posted: String,
    /// Reserved to come.
    pub credits_pending: String,
    /// All that came.
    pub credits_posted: String,
}

impl From<AssetBalance> for AssetTotal {
    fn from(sums: AssetBalance) -> Self {
        let asset = sums.asset;
        Self {
            accounts: sums.accounts,
            debits_pending: sums.debits_pending.decimal(&asset),
            debits_posted: sums.debits_posted.decimal(&asset),
            credits_pending: sums.credits_pending.decimal(&asset),
            credits_posted: sums.credits_posted.decimal(&asset),
            asset,
        }
    }
}

#[uniffi::export]
impl Fog {
    /// An id for a transfer to be made.
    ///
    /// # Errors
    /// Unavailable once the fog was shut down.
    pub fn new_transfer_id(&self) -> Result<TransferId, FogError> {
        Ok(self.core()?.ledger().new_id())
    }

    /// Opens an account; again on the same terms, it is returned as it is.
    ///
    /// # Errors
    /// Conflict if it exists on other terms, InvalidInput for a name of the fog's own.
    pub async fn open_account(&self, account: NewAccount) -> Result<Account, FogError> {
        let fog = self.core()?;
        let asset = account.asset.unwrap_or_else(|| fog.config().asset.clone());
        let new = ledger::Account::new(account.id, asset);
        let new = if account.may_owe { new } else { new.limited_to_credits() };
        let open = async move { fog.ledger().open_account(new).await.map(Account::from) };
        self.calls.finish(open).await
    }

    /// An account as it is now, if it is there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn account(&self, account: AccountId) -> Result<Option<Account>, FogError> {
        let fog = self.core()?;
        let look = async move {
            fog.ledger().account(&account).await.map(|found| found.map(Account::from))
        };
        self.calls.wait(look).await
    }

    /// Gives an account new supply of the fog's asset; opens it, unable to owe, if need be.
    ///
    /// # Errors
    /// Exhausted beyond the maximum supply; what the store says.
    pub async fn mint(&self, account: AccountId, amount: Amount) -> Result<(), FogError> {
        let fog = self.core()?;
        self.calls.finish(async move { fog.ledger().mint(&account, amount).await.map(drop) }).await
    }

    /// Applies up to 8,190 transfers in order, in one durable step, and answers each.
    ///
    /// # Errors
    /// What the store says; what is wrong with one transfer is in its answer.
    pub async fn transfer_all(
        &self,
        transfers: Vec<Transfer>,
    ) -> Result<Vec<TransferAnswer>, FogError> {
        let fog = self.core()?;
        let ids: Vec<_> = transfers.iter().map(|transfer| transfer.id).collect();
        let work = async move {
            let all = transfers.into_iter().map(Into::into).collect();
            let answers = fog.ledger().transfer_all(all).await?;
            let answers = ids.into_iter().zip(answers);
            Ok::<_, FogError>(answers.map(|(id, one)| TransferAnswer::of(id, one)).collect())
        };
        self.calls.finish(work).await
    }

    /// A transfer that was applied, if it was.
    ///
    /// # Errors
    /// What the store says.
    pub async fn transfer(&self, id: TransferId) -> Result<Option<TransferAnswer>, FogError> {
        let fog = self.core()?;
        let look = async move {
            fog.ledger().posted(id).await.map(|found| found.map(TransferAnswer::from))
        };
        self.calls.wait(look).await
    }

    /// The sums over all accounts, by asset.
    ///
    /// # Errors
    /// What the store says.
    pub async fn trial_balance(&self) -> Result<Vec<AssetTotal>, FogError> {
        let fog = self.core()?;
        let look = async move {
            let sums = fog.ledger().trial_balance().await?;
            Ok::<_, FogError>(sums.assets.into_iter().map(AssetTotal::from).collect())
        };
        self.calls.wait(look).await
    }
}
