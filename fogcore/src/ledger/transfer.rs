//! A transfer: what is asked of the ledger.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Field, LedgerError, TransferFlags};
use crate::amount::Amount;
use crate::id::{AccountId, TransferId};
use crate::time::Timestamp;

/// What a transfer does to the counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TransferKind {
    /// Moves the amount at once.
    Direct {
        /// Who gives.
        debit: AccountId,
        /// Who gets.
        credit: AccountId,
        /// How much, above zero; the most, if the transfer balances.
        amount: Amount,
    },
    /// Reserves the amount, to be posted or voided later.
    Hold {
        /// Who would give.
        debit: AccountId,
        /// Who would get.
        credit: AccountId,
        /// How much at most, above zero; may be zero if it closes an account.
        amount: Amount,
    },
    /// Ends a hold: moves the amount, and frees the rest.
    Post {
        /// The hold.
        hold: TransferId,
        /// How much, from zero to the whole of the hold; [`Amount::MAX`] is the whole, too.
        amount: Amount,
    },
    /// Ends a hold: frees all of it, and opens again what it closed.
    Void {
        /// The hold.
        hold: TransferId,
    },
    /// Ends a hold whose time is over, as a void would. Made by the ledger itself
    /// ([`Book::expire`](super::Book::expire)).
    Expire {
        /// The hold.
        hold: TransferId,
    },
}

impl TransferKind {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Direct { .. } => "direct",
            Self::Hold { .. } => "hold",
            Self::Post { .. } => "post",
            Self::Void { .. } => "void",
            Self::Expire { .. } => "expire",
        }
    }
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What a transfer is for.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[non_exhaustive]
        pub enum Purpose {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Purpose {
            /// Every purpose.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name, as in JSON. Names are never changed and never used again.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

purposes! {
    /// The most that may ever be minted, set aside once.
    Authorize = "authorize",
    /// New supply.
    Mint = "mint",
    /// Supply that is taken out of circulation for ever.
    Burn = "burn",
    /// A transfer between two holders.
    Transfer = "transfer",
    /// What a transfer costs its payer beside its amount.
    TransferFee = "transfer_fee",
    /// What a trade costs beside its price.
    MarketplaceFee = "marketplace_fee",
    /// A holder binds tokens, to vote and to earn interest.
    Stake = "stake",
    /// A stake, or a part of it, begins to be released.
    Unstake = "unstake",
    /// What was unstaked long enough ago goes back to its holder.
    Withdraw = "withdraw",
    /// What is paid for work, or as interest on a stake.
    Reward = "reward",
    /// What is taken of a stake because of what its holder did.
    Penalty = "penalty",
    /// What a vote costs, or binds.
    GovernanceVote = "governance_vote",
    /// Tokens set aside, to become somebody's over time.
    VestingGrant = "vesting_grant",
    /// Tokens that became somebody's over time.
    VestingRelease = "vesting_release",
    /// What had not become anybody's when the grant was revoked.
    VestingRevoke = "vesting_revoke",
    /// What is to be shared among those who took part in a period.
    SharesFund = "shares_fund",
    /// Somebody's share of a period.
    Share = "share",
    /// A task's budget, reserved when it was submitted.
    TaskHold = "task_hold",
    /// A task's price, taken from its hold when it succeeded.
    TaskSettle = "task_settle",
    /// A task's price, given to the owner of the node that did it.
    TaskReward = "task_reward",
    /// A task's hold, freed because the task ended without success.
    TaskRelease = "task_release",
    /// What a trade on the marketplace costs, reserved when it was made.
    TradeHold = "trade_hold",
    /// A trade's price, given to who hired out.
    TradeSettle = "trade_settle",
    /// A trade's hold, freed because it came to nothing.
    TradeRelease = "trade_release",
}

impl Purpose {
    /// Whether it is for a task: such transfers are made with the task's changes, never alone.
    #[must_use]
    pub const fn is_of_task(self) -> bool {
        matches!(self, Self::TaskHold | Self::TaskSettle | Self::TaskReward | Self::TaskRelease)
    }

    /// Whether clients may make transfers for it by themselves. All others are made by the fog,
    /// because they follow rules that no single transfer shows.
    #[must_use]
    pub const fn is_for_clients(self) -> bool {
        matches!(self, Self::Transfer | Self::MarketplaceFee | Self::GovernanceVote)
    }
}

/// A transfer, as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Made by the client, unique in the ledger.
    pub id: TransferId,
    /// What it does.
    pub kind: TransferKind,
    /// What it is for.
    pub purpose: Purpose,
    /// What it does besides.
    #[serde(default, skip_serializing_if = "TransferFlags::is_none")]
    pub flags: TransferFlags,
    /// Of a hold: after how many seconds its time is over, counted from when it was made; zero if
    /// never. From that moment on it can be neither posted nor voided, and the ledger frees it as
    /// soon as it gets to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout_seconds: u32,
    /// What it is about, in the client's world: a task, an invoice. This is user data of 128 bits;
    /// the ledger only keeps it and finds by it.
    #[serde(default)]
    pub reference: Option<Uuid>,
    /// More of that, in 64 bits: a time, a number of the client's. Zero if there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user_data_64: u64,
    /// More of that, in 32 bits: a kind, a region. Zero if there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user_data_32: u32,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Transfer {
    /// A transfer of this kind, with nothing special.
    #[must_use]
    pub fn new(id: TransferId, kind: TransferKind, purpose: Purpose) -> Self {
        let flags = TransferFlags::NONE;
        let (timeout_seconds, user_data_64, user_data_32) = (0, 0, 0);
        let reference = None;
        Self { id, kind, purpose, flags, timeout_seconds, reference, user_data_64, user_data_32 }
    }

    /// Moves `amount` from `debit` to `credit`.
    #[must_use]
    pub fn direct(
        id: TransferId,
        debit: &AccountId,
        credit: &AccountId,
        amount: Amount,
        purpose: Purpose,
    ) -> Self {
        let (debit, credit) = (debit.clone(), credit.clone());
        Self::new(id, TransferKind::Direct { debit, credit, amount }, purpose)
    }

    /// Reserves `amount` of `debit` for `credit`.
    #[must_use]
    pub fn hold(
        id: TransferId,
        debit: &AccountId,
        credit: &AccountId,
        amount: Amount,
        purpose: Purpose,
    ) -> Self {
        let (debit, credit) = (debit.clone(), credit.clone());
        Self::new(id, TransferKind::Hold { debit, credit, amount }, purpose)
    }

    /// Posts `amount` of `hold` and frees the rest.
    #[must_use]
    pub fn post(id: TransferId, hold: TransferId, amount: Amount, purpose: Purpose) -> Self {
        Self::new(id, TransferKind::Post { hold, amount }, purpose)
    }

    /// Frees all of `hold`.
    #[must_use]
    pub fn void(id: TransferId, hold: TransferId, purpose: Purpose) -> Self {
        Self::new(id, TransferKind::Void { hold }, purpose)
    }

    /// The same transfer with what it is about.
    #[must_use]
    pub fn about(self, reference: Uuid) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// The same transfer, made with the next one of the batch or not at all.
    #[must_use]
    pub fn linked(mut self) -> Self {
        self.flags.linked = true;
        self
    }

    /// The same transfer, moving no more than the account to debit has.
    #[must_use]
    pub fn balancing_debit(mut self) -> Self {
        self.flags.balancing_debit = true;
        self
    }

    /// The same transfer, moving no more than the account to credit owes.
    #[must_use]
    pub fn balancing_credit(mut self) -> Self {
        self.flags.balancing_credit = true;
        self
    }

    /// The same hold, closing the account to debit.
    #[must_use]
    pub fn closing_debit(mut self) -> Self {
        self.flags.closing_debit = true;
        self
    }

    /// The same hold, closing the account to credit.
    #[must_use]
    pub fn closing_credit(mut self) -> Self {
        self.flags.closing_credit = true;
        self
    }

    /// The same hold, whose time is over after so many seconds (up to 136 years); zero for never.
    #[must_use]
    pub fn expiring_after(self, seconds: u32) -> Self {
        Self { timeout_seconds: seconds, ..self }
    }

    /// The accounts that it names; those of what ends a hold stand in that.
    #[must_use]
    pub fn accounts(&self) -> Option<[&AccountId; 2]> {
        match &self.kind {
            TransferKind::Direct { debit, credit, .. }
            | TransferKind::Hold { debit, credit, .. } => Some([debit, credit]),
            TransferKind::Post { .. } | TransferKind::Void { .. } | TransferKind::Expire { .. } => {
                None
            }
        }
    }

    /// The amount that it names; that of a void stands in its hold.
    #[must_use]
    pub const fn amount(&self) -> Option<Amount> {
        match self.kind {
            TransferKind::Direct { amount, .. }
            | TransferKind::Hold { amount, .. }
            | TransferKind::Post { amount, .. } => Some(amount),
            TransferKind::Void { .. } | TransferKind::Expire { .. } => None,
        }
    }

    /// The hold that it ends, if it ends one.
    #[must_use]
    pub const fn ends_hold(&self) -> Option<TransferId> {
        match self.kind {
            TransferKind::Post { hold, .. }
            | TransferKind::Void { hold }
            | TransferKind::Expire { hold } => Some(hold),
            TransferKind::Direct { .. } | TransferKind::Hold { .. } => None,
        }
    }

    /// The id of the transfer with which the ledger ends `hold` when its time is over: one of the
    /// fog's own ([`TransferId::is_own`]), so that no client can take it first.
    #[must_use]
    pub fn expiry_id(hold: TransferId) -> TransferId {
        TransferId::own(hold.uuid(), "expiry")
    }

    /// When its time would be over if it were made at `at`.
    ///
    /// # Errors
    /// [`LedgerError::OverflowsTimeout`] after the year 9999.
    pub(super) fn end_of_time(&self, at: Timestamp) -> Result<Option<Timestamp>, LedgerError> {
        if self.timeout_seconds == 0 {
            return Ok(None);
        }
        let micros = i64::from(self.timeout_seconds) * 1_000_000;
        let end = at.as_micros().checked_add(micros).map(Timestamp::from_micros);
        match end {
            Some(Ok(end)) => Ok(Some(end)),
            Some(Err(_)) | None => Err(LedgerError::OverflowsTimeout(self.id)),
        }
    }

    /// The same transfer with the amount that it moves in fact.
    pub(super) fn moving(&self, moved: Amount) -> Self {
        let mut transfer = self.clone();
        match &mut transfer.kind {
            TransferKind::Direct { amount, .. }
            | TransferKind::Hold { amount, .. }
            | TransferKind::Post { amount, .. } => *amount = moved,
            TransferKind::Void { .. } | TransferKind::Expire { .. } => {}
        }
        transfer
    }

    /// The first field in which this differs from the transfer that is there under its id. `held`
    /// is the amount of the hold that it ends, if that is there.
    pub(super) fn differs_from(&self, there: &Self, held: Option<Amount>) -> Option<Field> {
        let side = |at: usize| self.accounts().map(|a| a[at]) != there.accounts().map(|a| a[at]);
        if self.kind.name() != there.kind.name() || self.flags != there.flags {
            Some(Field::Flags)
        } else if self.ends_hold() != there.ends_hold() {
            Some(Field::Hold)
        } else if self.timeout_seconds != there.timeout_seconds {
            Some(Field::Timeout)
        } else if side(0) {
            Some(Field::Debit)
        } else if side(1) {
            Some(Field::Credit)
        } else if !self.would_move(there.amount(), held) {
            Some(Field::Amount)
        } else if self.reference != there.reference {
            Some(Field::Reference)
        } else if self.user_data_64 != there.user_data_64 {
            Some(Field::UserData64)
        } else if self.user_data_32 != there.user_data_32 {
            Some(Field::UserData32)
        } else if self.purpose != there.purpose {
            Some(Field::Purpose)
        } else {
            None
        }
    }

    /// Whether `moved` may have come of what is asked: of a balancing transfer anything up to it.
    fn would_move(&self, moved: Option<Amount>, held: Option<Amount>) -> bool {
        if self.flags.is_balancing() {
            moved <= self.amount()
        } else if matches!(self.kind, TransferKind::Post { amount: Amount::MAX, .. }) {
            moved == held
        } else {
            moved == self.amount()
        }
    }
}
