//! Tokens on the wire.

use fogcore::amount::{Asset, DecimalText};
use fogcore::ledger::Posted;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::money;

/// Whose balance is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokensQuery {
    /// The account. Default: your own.
    pub account_id: Option<String>,
}

/// The token, the network, and an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokensAnswer {
    /// `operational`.
    pub status: &'static str,
    /// The token.
    pub token_info: TokenInfo,
    /// The network.
    pub network_stats: NetworkStats,
    /// The account.
    pub user_balance: BalanceAnswer,
    /// The latest transactions of the account, the newest first.
    pub recent_transactions: Vec<TransactionAnswer>,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// The token.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenInfo {
    /// `FOG`, unless the fog settles in something else.
    pub symbol: String,
    /// Its name.
    pub name: String,
    /// Its decimals.
    pub decimals: u8,
    /// The most that there may ever be.
    pub total_supply: f64,
    /// The same, exactly.
    pub total_supply_exact: String,
    /// What there is.
    pub current_supply: f64,
    /// The same, exactly.
    pub current_supply_exact: String,
}

/// The network.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct NetworkStats {
    /// What is staked.
    pub total_staked: f64,
    /// The same, exactly.
    pub total_staked_exact: String,
    /// The interest on a stake, a year.
    pub staking_apy: f64,
    /// Holders who staked enough to validate.
    pub total_validators: usize,
    /// Proposals that are voted on: there is no governance yet.
    pub active_proposals: usize,
    /// Accounts of holders.
    pub total_accounts: usize,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceAnswer {
    /// Its name.
    pub account_id: String,
    /// What can be spent.
    pub balance: f64,
    /// The same, exactly.
    pub balance_exact: String,
    /// What is staked.
    pub staked_balance: f64,
    /// The same, exactly.
    pub staked_balance_exact: String,
    /// What is reserved, or was unstaked and is not free yet.
    pub locked_balance: f64,
    /// The same, exactly.
    pub locked_balance_exact: String,
    /// All of it.
    pub total_balance: f64,
    /// The same, exactly.
    pub total_balance_exact: String,
    /// What its votes weigh.
    pub voting_power: f64,
    /// Whether it staked enough to validate.
    pub validator_node: bool,
    /// All that ever came.
    pub total_contributed: f64,
    /// All that ever left, stakes included.
    pub total_consumed: f64,
    /// Since when it is there, in RFC 3339; none if nothing ever came.
    #[schema(format = DateTime)]
    pub created_at: Option<String>,
    /// When it was last used, in RFC 3339.
    #[schema(format = DateTime)]
    pub last_activity: Option<String>,
}

/// A transaction.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransactionAnswer {
    /// Its id.
    pub tx_id: String,
    /// What it is for: `mint`, `transfer`, `stake`, `reward`, …
    pub r#type: &'static str,
    /// How much; none if that stands in the hold that it ends.
    pub amount: Option<f64>,
    /// The same, exactly.
    pub amount_exact: Option<String>,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// `confirmed`, or `pending` for what is reserved and not decided.
    pub status: &'static str,
    /// Who gave; none if that stands in the hold that it ends.
    pub from_account: Option<String>,
    /// Who got.
    pub to_account: Option<String>,
}

impl TransactionAnswer {
    /// A transfer as it is.
    #[must_use]
    pub fn of(asset: &Asset, posted: &Posted) -> Self {
        let transfer = &posted.transfer;
        let accounts = transfer.accounts();
        let is_open = posted.hold.is_some_and(|state| state.name() == "pending");
        Self {
            tx_id: transfer.id.to_string(),
            r#type: transfer.purpose.name(),
            amount: transfer.amount().map(|amount| money::number(asset, amount)),
            amount_exact: transfer.amount().map(|amount| asset.decimal(amount)),
            timestamp: posted.at.to_string(),
            status: if is_open { "pending" } else { "confirmed" },
            from_account: accounts.map(|[from, _]| from.to_string()),
            to_account: accounts.map(|[_, to]| to.to_string()),
        }
    }
}

/// Tokens that are to change hands.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TransferBody {
    /// Your own id for it: sent again, it happens once.
    pub tx_id: Option<Uuid>,
    /// Who gives. Default: you.
    pub from: Option<String>,
    /// Who gets.
    pub to: String,
    /// How much; all of it arrives, and the fee comes beside it.
    #[schema(value_type = String, example = "12.5")]
    pub amount: DecimalText,
}

/// Tokens that are staked, or not any more.
#[derive(Debug, Deserialize, ToSchema)]
pub struct StakeBody {
    /// Your own id for it: sent again, it happens once.
    pub tx_id: Option<Uuid>,
    /// Whose. Default: your own.
    pub account_id: Option<String>,
    /// How much.
    #[schema(value_type = String, example = "1000")]
    pub amount: DecimalText,
}

/// What was unstaked long enough ago.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct WithdrawBody {
    /// Your own id for it: sent again, it happens once.
    pub tx_id: Option<Uuid>,
    /// Whose. Default: your own.
    pub account_id: Option<String>,
}

/// Tokens for somebody.
#[derive(Debug, Deserialize, ToSchema)]
pub struct GrantBody {
    /// Your own id for it: sent again, it happens once.
    pub tx_id: Option<Uuid>,
    /// Who gets them.
    pub account_id: String,
    /// How many.
    #[schema(value_type = String, example = "100")]
    pub amount: DecimalText,
}

/// A stake.
#[derive(Debug, Serialize, ToSchema)]
pub struct StakeAnswer {
    /// Whose.
    pub account_id: String,
    /// What is staked, exactly.
    pub staked_exact: String,
    /// What was unstaked and not withdrawn, exactly.
    pub unbonding_exact: String,
    /// What of that can be withdrawn, exactly.
    pub withdrawable_exact: String,
    /// Whether it is enough to validate.
    pub validator_node: bool,
}
