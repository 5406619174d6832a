//! Tokens: what there is, who has it, and how it changes hands.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fogcore::amount::{Amount, Asset};
use fogcore::id::{AccountId, TransferId};
use fogcore::ledger::economy::{Stake, accounts};
use fogcore::ledger::{Account, AccountFilter, JournalEntry, TransferFilter};
use fogcore::registry::MAX_PAGE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::fog::dto::status::OPERATIONAL;
use crate::api::fog::dto::tokens::{
    BalanceAnswer, GrantBody, NetworkStats, StakeAnswer, StakeBody, TokenInfo, TokensAnswer,
    TokensQuery, TransactionAnswer, TransferBody, WithdrawBody,
};
use crate::api::money;
use crate::app::App;
use crate::auth::Identity;
use crate::auth::identity::{Admin, Reader, Writer};
use crate::http::extract::{Body, OptionalBody, Query};
use crate::http::problem::Problem;

/// Transactions that are told.
const RECENT: usize = 10;
/// Pages of a stretch of time that are read for them at most.
const PAGES: usize = 10;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(tokens))
        .routes(routes!(transfer))
        .routes(routes!(stake))
        .routes(routes!(unstake))
        .routes(routes!(withdraw))
        .routes(routes!(reward))
        .routes(routes!(mint))
}

/// The token, the network, and your account.
#[utoipa::path(get, path = "/api/fog/tokens", tag = "fog", params(TokensQuery),
    responses((status = 200, body = TokensAnswer)))]
async fn tokens(
    State(app): State<App>,
    Reader(identity): Reader,
    Query(asked): Query<TokensQuery>,
) -> Result<Json<TokensAnswer>, Problem> {
    let holder = named(&identity, asked.account_id.as_deref())?;
    let asset = &app.fog.config().asset;
    let supply = app.fog.economy().supply().await?;
    let recent = recent(&app, &holder).await?;
    let balance = balance(&app, &holder, recent.first()).await?;
    Ok(Json(TokensAnswer {
        status: OPERATIONAL,
        token_info: TokenInfo {
            symbol: asset.code().to_owned(),
            name: if *asset == Asset::FOG { "Fog Computing Token" } else { asset.code() }
                .to_owned(),
            decimals: asset.scale(),
            total_supply: money::number(asset, supply.maximum),
            total_supply_exact: asset.decimal(supply.maximum),
            current_supply: money::number(asset, supply.circulating()),
            current_supply_exact: asset.decimal(supply.circulating()),
        },
        network_stats: network(&app).await?,
        user_balance: balance,
        recent_transactions: recent
            .iter()
            .map(|entry| TransactionAnswer::of(asset, &entry.posted))
            .collect(),
        timestamp: app.fog.clock().now().to_string(),
    }))
}

/// The account that is named, or the caller's own; which must be the caller's.
fn named(identity: &Identity, name: Option<&str>) -> Result<AccountId, Problem> {
    let account = match name {
        Some(name) => name.parse()?,
        None => identity.account.clone(),
    };
    identity.must_own(&account)?;
    Ok(account)
}

fn id_or_new(app: &App, given: Option<Uuid>) -> TransferId {
    given.map_or_else(|| app.fog.ledger().new_id(), TransferId::from_uuid)
}

/// Reads all accounts: whose they are is in their names.
async fn network(app: &App) -> Result<NetworkStats, Problem> {
    let (config, ledger) = (app.fog.config(), app.fog.ledger());
    let (mut staked, mut stats) = (Amount::ZERO, NetworkStats::default());
    let mut after: Option<AccountId> = None;
    loop {
        let page = ledger.accounts(&AccountFilter::default(), after.as_ref(), MAX_PAGE).await?;
        for account in &page {
            if accounts::staker(&account.id).is_some() {
                let left = account.available();
                staked = staked.checked_add(left)?;
                stats.total_validators += usize::from(left >= config.economy.validator_stake);
            }
            stats.total_accounts += usize::from(!account.id.is_reserved());
        }
        match page.last() {
            Some(last) if page.len() == MAX_PAGE => after = Some(last.id.clone()),
            _ => break,
        }
    }
    stats.total_staked = money::number(&config.asset, staked);
    stats.total_staked_exact = config.asset.decimal(staked);
    stats.staking_apy = f64::from(config.economy.interest_ppm) / 1_000_000.0;
    Ok(stats)
}

async fn balance(
    app: &App,
    holder: &AccountId,
    latest: Option<&JournalEntry>,
) -> Result<BalanceAnswer, Problem> {
    let (config, ledger) = (app.fog.config(), app.fog.ledger());
    let asset = &config.asset;
    let there = ledger.account(holder).await?;
    let user = app.store.user(holder.as_str()).await?;
    let since =
        there.as_ref().map(|account| account.opened_at).or(user.map(|user| user.created_at));
    let account = there.unwrap_or_else(|| Account::new(holder.clone(), asset.clone()));
    let stake = match app.fog.economy().stake_of(holder).await {
        Ok(stake) => stake,
        // One of the fog's own, or with too long a name to stake.
        Err(_) => Stake::told_by(holder, None, None, None),
    };
    let locked = account.debits_pending.checked_add(stake.unbonding)?;
    let total = account.available().checked_add(stake.staked)?.checked_add(locked)?;
    let number = |amount| money::number(asset, amount);
    Ok(BalanceAnswer {
        account_id: holder.to_string(),
        balance: number(account.available()),
        balance_exact: asset.decimal(account.available()),
        staked_balance: number(stake.staked),
        staked_balance_exact: asset.decimal(stake.staked),
        locked_balance: number(locked),
        locked_balance_exact: asset.decimal(locked),
        total_balance: number(total),
        total_balance_exact: asset.decimal(total),
        voting_power: number(stake.staked),
        validator_node: stake.is_validator(&config.economy),
        total_contributed: number(account.credits_posted),
        total_consumed: number(account.debits_posted),
        created_at: since.map(|at| at.to_string()),
        last_activity: latest.map(|entry| entry.posted.at).or(since).map(|at| at.to_string()),
    })
}

/// The latest transfers of an account, the newest first. The journal is read forwards, so ever longer
/// stretches of time are, until one has enough.
async fn recent(app: &App, holder: &AccountId) -> Result<Vec<JournalEntry>, Problem> {
    const HOUR: u64 = 3_600;
    let now = app.fog.clock().now();
    let mut latest = Vec::new();
    for stretch in [Some(HOUR), Some(24 * HOUR), Some(720 * HOUR), None] {
        let from = stretch.map(|seconds| now.saturating_sub(Duration::from_secs(seconds)));
        let filter = TransferFilter { from, ..TransferFilter::of(holder.clone()) };
        let mut after = None;
        latest.clear();
        for _ in 0..PAGES {
            let page = app.fog.ledger().transfers(&filter, after, MAX_PAGE).await?;
            let is_last = page.len() < MAX_PAGE;
            after = page.last().map(|last| last.place);
            latest.extend(page);
            latest.drain(..latest.len().saturating_sub(RECENT));
            if is_last {
                break;
            }
        }
        if latest.len() == RECENT {
            break;
        }
    }
    latest.reverse();
    Ok(latest)
}

/// Give tokens to somebody.
#[utoipa::path(post, path = "/api/fog/tokens/transfer", tag = "tokens", request_body = TransferBody,
    responses((status = 201, body = TransactionAnswer)))]
async fn transfer(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<TransferBody>,
) -> Result<(StatusCode, Json<TransactionAnswer>), Problem> {
    let from = named(&identity, asked.from.as_deref())?;
    let to: AccountId = asked.to.parse()?;
    let asset = &app.fog.config().asset;
    let amount = money::read(asset, "amount", &asked.amount)?;
    let id = id_or_new(&app, asked.tx_id);
    let posted = app.fog.economy().pay(id, &from, &to, amount).await?;
    Ok((StatusCode::CREATED, Json(TransactionAnswer::of(asset, &posted))))
}

fn told(app: &App, stake: &Stake) -> Json<StakeAnswer> {
    let config = app.fog.config();
    Json(StakeAnswer {
        account_id: stake.holder.to_string(),
        staked_exact: config.asset.decimal(stake.staked),
        unbonding_exact: config.asset.decimal(stake.unbonding),
        withdrawable_exact: config.asset.decimal(stake.withdrawable),
        validator_node: stake.is_validator(&config.economy),
    })
}

/// Stake tokens: to vote, and to earn interest.
#[utoipa::path(post, path = "/api/fog/tokens/stake", tag = "tokens", request_body = StakeBody,
    responses((status = 200, body = StakeAnswer)))]
async fn stake(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<StakeBody>,
) -> Result<Json<StakeAnswer>, Problem> {
    let holder = named(&identity, asked.account_id.as_deref())?;
    let amount = money::read(&app.fog.config().asset, "amount", &asked.amount)?;
    let id = id_or_new(&app, asked.tx_id);
    Ok(told(&app, &app.fog.economy().stake(id, &holder, amount).await?))
}

/// Begin to release a stake.
#[utoipa::path(post, path = "/api/fog/tokens/unstake", tag = "tokens", request_body = StakeBody,
    responses((status = 200, body = StakeAnswer)))]
async fn unstake(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<StakeBody>,
) -> Result<Json<StakeAnswer>, Problem> {
    let holder = named(&identity, asked.account_id.as_deref())?;
    let amount = money::read(&app.fog.config().asset, "amount", &asked.amount)?;
    let id = id_or_new(&app, asked.tx_id);
    Ok(told(&app, &app.fog.economy().unstake(id, &holder, amount).await?))
}

/// Take back what was unstaked long enough ago.
#[utoipa::path(post, path = "/api/fog/tokens/withdraw", tag = "tokens",
    request_body = Option<WithdrawBody>, responses((status = 200, body = StakeAnswer)))]
async fn withdraw(
    State(app): State<App>,
    Writer(identity): Writer,
    OptionalBody(asked): OptionalBody<WithdrawBody>,
) -> Result<Json<StakeAnswer>, Problem> {
    let holder = named(&identity, asked.account_id.as_deref())?;
    let economy = app.fog.economy();
    economy.withdraw(id_or_new(&app, asked.tx_id), &holder).await?;
    Ok(told(&app, &economy.stake_of(&holder).await?))
}

/// Pay a reward out of `fog:rewards`. For administrators.
#[utoipa::path(post, path = "/api/fog/tokens/rewards", tag = "tokens", request_body = GrantBody,
    responses((status = 201, body = TransactionAnswer)))]
async fn reward(
    State(app): State<App>,
    Admin(_): Admin,
    Body(asked): Body<GrantBody>,
) -> Result<(StatusCode, Json<TransactionAnswer>), Problem> {
    let asset = &app.fog.config().asset;
    let (to, amount) = (asked.account_id.parse()?, money::read(asset, "amount", &asked.amount)?);
    let id = id_or_new(&app, asked.tx_id);
    let posted = app.fog.economy().pay_reward(id, &to, amount).await?;
    Ok((StatusCode::CREATED, Json(TransactionAnswer::of(asset, &posted))))
}

/// Mint new tokens, for an account, `fog:rewards` or `fog:treasury`. For administrators.
#[utoipa::path(post, path = "/api/fog/tokens/mint", tag = "tokens", request_body = GrantBody,
    responses((status = 201, body = TransactionAnswer)))]
async fn mint(
    State(app): State<App>,
    Admin(_): Admin,
    Body(asked): Body<GrantBody>,
) -> Result<(StatusCode, Json<TransactionAnswer>), Problem> {
    let asset = &app.fog.config().asset;
    let (to, amount) = (asked.account_id.parse()?, money::read(asset, "amount", &asked.amount)?);
    let id = id_or_new(&app, asked.tx_id);
    let posted = app.fog.economy().mint(id, &to, amount).await?;
    Ok((StatusCode::CREATED, Json(TransactionAnswer::of(asset, &posted))))
}
