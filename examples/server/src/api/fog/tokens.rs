//! `/fog/tokens`: supply, stakes, and what whoever asks has.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use fogcore::ErrorKind;
use fogcore::amount::{Amount, Asset};
use fogcore::id::AccountId;
use fogcore::ledger::economy::accounts::staker;
use fogcore::ledger::{Account, AccountFilter, Posted, TransferFilter, TransferKind};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::dto::{exact, number};
use super::now;
use crate::app::App;
use crate::auth::Identity;
use crate::problem::{Answer, parse};

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(tokens))
}

#[derive(Debug, Serialize, ToSchema)]
struct TokenInfo {
    symbol: String,
    name: &'static str,
    decimals: u8,
    total_supply: f64,
    current_supply: f64,
    total_supply_exact: String,
    current_supply_exact: String,
}

#[derive(Debug, Default, Serialize, ToSchema)]
struct NetworkStats {
    total_staked: f64,
    staking_apy: f64,
    total_validators: usize,
    active_proposals: usize,
    total_accounts: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserBalance {
    account_id: String,
    balance: f64,
    staked_balance: f64,
    locked_balance: f64,
    total_balance: f64,
    total_balance_exact: String,
    voting_power: f64,
    validator_node: bool,
    total_contributed: f64,
    total_consumed: f64,
    created_at: String,
    last_activity: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Transaction {
    tx_id: String,
    r#type: &'static str,
    amount: f64,
    amount_exact: String,
    timestamp: String,
    status: &'static str,
    from_account: String,
    to_account: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Tokens {
    status: &'static str,
    token_info: TokenInfo,
    network_stats: NetworkStats,
    user_balance: UserBalance,
    recent_transactions: Vec<Transaction>,
    timestamp: String,
}

/// Every account of the token, and what is staked in them.
async fn network(app: &App, asset: &Asset) -> Answer<NetworkStats> {
    const PAGE: usize = 1_000;
    let policy = &app.fog.config().economy;
    let (mut stats, mut staked, mut after) = (NetworkStats::default(), 0_u128, None);
    loop {
        let filter = AccountFilter::default();
        let page = app.fog.ledger().accounts(&filter, after.as_ref(), PAGE).await?;
        for account in page.iter().filter(|account| account.asset == *asset) {
            if staker(&account.id).is_some() {
                let stake = account.available();
                staked += stake.base_units();
                stats.total_validators += usize::from(stake >= policy.validator_stake);
            } else if !account.id.is_reserved() {
                stats.total_accounts += 1;
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.id.clone()),
            _ => break,
        }
    }
    stats.total_staked = number(asset, Amount::from_base_units(staked));
    stats.staking_apy = f64::from(policy.interest_ppm) / 1e6;
    Ok(stats)
}

fn transaction(asset: &Asset, posted: &Posted) -> Option<Transaction> {
    let transfer = &posted.transfer;
    let (TransferKind::Direct { debit, credit, amount }
    | TransferKind::Hold { debit, credit, amount }) = &transfer.kind
    else {
        return None;
    };
    Some(Transaction {
        tx_id: transfer.id.to_string(),
        r#type: transfer.purpose.name(),
        amount: number(asset, *amount),
        amount_exact: exact(asset, *amount),
        timestamp: posted.at.to_string(),
        status: "confirmed",
        from_account: debit.as_str().to_owned(),
        to_account: credit.as_str().to_owned(),
    })
}

/// The token, and what whoever asks has of it. An account is opened for who has none.
#[utoipa::path(get, path = "/fog/tokens", tag = "fog", responses((status = 200, body = Tokens), (status = 401)))]
async fn tokens(State(app): State<Arc<App>>, who: Identity) -> Answer<Json<Tokens>> {
    let (fog, asset) = (&app.fog, &app.fog.config().asset);
    let holder: AccountId = parse("account", who.subject.as_deref().unwrap_or("guest"))?;
    let account = Account::new(holder.clone(), asset.clone()).limited_to_credits();
    let account = fog.ledger().open_account(account).await?;
    let (minted, maximum) = match fog.economy().supply().await {
        Ok(supply) => (supply.circulating(), supply.maximum),
        // Nothing was ever minted.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            (Amount::ZERO, fog.config().economy.maximum_supply)
        }
        Err(error) => return Err(error.into()),
    };
    let stake = fog.economy().stake_of(&holder).await?;
    let locked = account.debits_pending.base_units() + stake.unbonding.base_units();
    let (free, locked) = (account.available(), Amount::from_base_units(locked));
    let total = free.base_units() + stake.staked.base_units() + locked.base_units();
    let total = Amount::from_base_units(total);
    let week = now(&app).saturating_sub(Duration::from_secs(7 * 86_400));
    let recent = TransferFilter { from: Some(week), ..TransferFilter::of(holder) };
    let recent = fog.ledger().transfers(&recent, None, 1_000).await?;
    let last = recent.last().map_or(account.opened_at, |entry| entry.posted.at);
    let latest = recent.iter().rev().filter_map(|entry| transaction(asset, &entry.posted));
    let value = |amount| number(asset, amount);
    Ok(Json(Tokens {
        status: "operational",
        token_info: TokenInfo {
            symbol: asset.code().to_owned(),
            name: "Fog Computing Token",
            decimals: asset.scale(),
            total_supply: value(maximum),
            current_supply: value(minted),
            total_supply_exact: exact(asset, maximum),
            current_supply_exact: exact(asset, minted),
        },
        network_stats: network(&app, asset).await?,
        user_balance: UserBalance {
            account_id: account.id.as_str().to_owned(),
            balance: value(free),
            staked_balance: value(stake.staked),
            locked_balance: value(locked),
            total_balance: value(total),
            total_balance_exact: exact(asset, total),
            voting_power: value(stake.staked),
            validator_node: stake.is_validator(&fog.config().economy),
            total_contributed: value(account.credits_posted),
            total_consumed: value(account.debits_posted),
            created_at: account.opened_at.to_string(),
            last_activity: last.to_string(),
        },
        recent_transactions: latest.take(20).collect(),
        timestamp: now(&app).to_string(),
    }))
}
