//! The economy of a fog, on its stores.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use fogcore::amount::{Amount, Asset};
use fogcore::fog::Economy;
use fogcore::id::{AccountId, TransferId};
use fogcore::ledger::economy::accounts::{FEES, REWARDS, TREASURY};
use fogcore::ledger::economy::{EconomyPolicy, Grant, Participant, Period, accounts};
use fogcore::ledger::{Account, Purpose, Transfer};
use fogcore::time::{Clock, ManualClock};
use fogcore::{ErrorKind, Fog, FogConfig};

const DAY: Duration = Duration::from_secs(86_400);

/// A fog, and what it needs until the test is over.
struct Economic {
    fog: Fog,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl Economic {
    /// One on each kind of store.
    async fn each(config: FogConfig) -> Vec<Self> {
        let mut each = Vec::new();
        let kinds = ["memory", "sqlite"];
        for kind in kinds.into_iter().take(if cfg!(feature = "sqlite") { 2 } else { 1 }) {
            let folder = tempfile::tempdir().unwrap();
            let url = match kind {
                "memory" => "memory:".to_owned(),
                _ => format!("sqlite:{}", folder.path().join("fog.db").display()),
            };
            let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
            let builder = Fog::builder().url(&url).clock(clock.clone()).config(config.clone());
            let fog = builder.without_loops().open().await.unwrap();
            each.push(Self { fog, clock, _folder: folder });
        }
        each
    }

    fn economy(&self) -> Economy {
        self.fog.economy()
    }

    fn id(&self) -> TransferId {
        self.fog.ledger().new_id()
    }

    async fn mint(&self, to: &str, text: &str) {
        self.economy().mint(self.id(), &name(to), amount(text)).await.unwrap();
    }

    async fn has(&self, account: &AccountId) -> String {
        let account = self.fog.ledger().account(account).await.unwrap().unwrap();
        Asset::FOG.display(account.available()).to_string()
    }
}

fn name(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn amount(text: &str) -> Amount {
    Asset::FOG.parse(text).unwrap()
}

#[tokio::test]
async fn supply_is_bounded_minted_burned_and_proved() {
    for fog in Economic::each(FogConfig::default()).await {
        let economy = fog.economy();
        for _ in 0..2 {
            economy.mint_initial_supply().await.unwrap();
        }
        let supply = economy.supply().await.unwrap();
        assert_eq!(supply.minted, fog.fog.config().economy.initial_supply);
        let id = fog.id();
        for _ in 0..2 {
            economy.mint(id, &name("alice"), amount("100")).await.unwrap();
        }
        let too_much = economy.mint(fog.id(), &name("alice"), amount("9000000000")).await;
        assert_eq!(too_much.unwrap_err().kind(), ErrorKind::Exhausted);
        economy.burn(fog.id(), &name("alice"), amount("30")).await.unwrap();
        let more_than_there = economy.burn(fog.id(), &name("alice"), amount("71")).await;
        assert_eq!(more_than_there.unwrap_err().kind(), ErrorKind::Exhausted);

        let proof = economy.prove_supply().await.unwrap();
        assert_eq!(proof.supply, economy.supply().await.unwrap());
        assert_eq!(proof.held, amount("1000000070"));
        assert_eq!(proof.owed, Amount::ZERO);
        assert!(fog.fog.ledger().trial_balance().await.unwrap().is_balanced());
        // Opened again it is the same; with another maximum it is refused.
        assert!(economy.mint(fog.id(), &name("fog:burned"), amount("1")).await.is_err());
    }
}

#[tokio::test]
async fn the_economys_accounts_are_out_of_a_clients_reach() {
    for fog in Economic::each(FogConfig::default()).await {
        fog.mint("alice", "5000").await;
        fog.mint(REWARDS, "100").await;
        fog.economy().stake(fog.id(), &name("alice"), amount("2000")).await.unwrap();
        let (alice, stake) = (name("alice"), accounts::stake(&name("alice")).unwrap());
        let one = amount("1");
        let direct = |from: &AccountId, to: &AccountId, purpose| {
            Transfer::direct(fog.id(), from, to, one, purpose)
        };
        for theft in [
            direct(&stake, &alice, Purpose::Transfer),
            direct(&name(REWARDS), &alice, Purpose::Mint),
            direct(&name(accounts::AUTHORIZED), &alice, Purpose::Mint),
            direct(&name(accounts::MINT), &alice, Purpose::Mint),
            direct(&alice, &name("bob"), Purpose::Reward),
        ] {
            let refused = fog.fog.ledger().transfer(theft).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Denied);
        }
        // On other terms than the fog's, it could not be used any more.
        let squat = Account::new(name("fog:stake:bob"), Asset::FOG);
        let refused = fog.fog.ledger().open_account(squat).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let own = accounts_own_id();
        let refused = fog.economy().burn(own, &alice, one).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied);
    }
}

fn accounts_own_id() -> TransferId {
    TransferId::own(TransferId::derive(b"t", "own").uuid(), "own")
}

#[tokio::test]
async fn a_ledger_keeps_the_maximum_that_it_was_told() {
    let stores = fogcore::storage::open("memory:").await.unwrap();
    let open = |maximum| {
        let economy = EconomyPolicy {
            maximum_supply: maximum,
            initial_supply: Amount::ZERO,
            ..EconomyPolicy::default()
        };
        let config = FogConfig { economy, ..FogConfig::default() };
        Fog::builder().stores(stores.clone()).config(config).without_loops().open()
    };
    open(amount("100")).await.unwrap();
    open(amount("100")).await.unwrap();
    let refused = open(amount("101")).await.unwrap_err();
    assert_eq!(refused.field(), Some("economy.maximum_supply"));
}

#[tokio::test]
async fn a_ledger_from_before_the_maximum_opens_and_mints_no_more() {
    let stores = fogcore::storage::open("memory:").await.unwrap();
    let now = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()).now();
    let old = Account::new(name(accounts::MINT), Asset::FOG);
    stores.ledger.open_accounts(vec![old], now).await.unwrap();
    let fog = Fog::builder().stores(stores).without_loops().open().await.unwrap();
    let refused = fog.ledger().mint(&name("alice"), amount("1")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn stakes_are_bound_slashed_and_withdrawn_once_each() {
    for fog in Economic::each(FogConfig::default()).await {
        let (economy, alice) = (fog.economy(), name("alice"));
        fog.mint("alice", "20000").await;
        let low = economy.stake(fog.id(), &alice, amount("999")).await.unwrap_err();
        assert_eq!(low.field(), Some("amount"));
        let id = fog.id();
        for _ in 0..2 {
            let stake = economy.stake(id, &alice, amount("12000")).await.unwrap();
            assert_eq!(stake.staked, amount("12000"));
            assert!(stake.is_validator(&fog.fog.config().economy));
        }
        for (holder, text) in [("alice", "13000"), ("bob", "12000")] {
            let other = economy.stake(id, &name(holder), amount(text)).await.unwrap_err();
            assert_eq!(other.kind(), ErrorKind::Conflict, "{holder} {text}");
        }
        let staked_at = fog.clock.now();
        fog.clock.advance(DAY);
        let id = fog.id();
        for _ in 0..2 {
            let stake = economy.unstake(id, &alice, amount("4000")).await.unwrap();
            assert_eq!((stake.staked, stake.unbonding), (amount("8000"), amount("4000")));
        }
        fog.clock.advance(DAY);
        let id = fog.id();
        for _ in 0..3 {
            economy.slash(id, &alice, amount("9000")).await.unwrap();
            let stake = economy.stake_of(&alice).await.unwrap();
            assert_eq!((stake.staked, stake.unbonding), (Amount::ZERO, amount("3000")));
        }
        for (holder, penalty) in [("bob", "9000"), ("alice", "7")] {
            let other = economy.slash(id, &name(holder), amount(penalty)).await.unwrap_err();
            assert_eq!(other.kind(), ErrorKind::Conflict, "{holder} {penalty}");
        }
        let id = fog.id();
        let early = economy.withdraw(id, &alice).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::Exhausted);
        fog.clock.advance(6 * DAY);
        for _ in 0..2 {
            economy.withdraw(id, &alice).await.unwrap();
            assert_eq!(fog.has(&alice).await, "11000 FOG");
        }
        let id = fog.id();
        let nothing = economy.slash(id, &alice, amount("1")).await.unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::Exhausted);

        // The past stays as it was.
        let power = |at| economy.staked_at(&alice, at);
        assert_eq!(power(staked_at).await.unwrap(), amount("12000"));
        assert_eq!(power(staked_at.saturating_add(DAY)).await.unwrap(), amount("8000"));
        assert_eq!(power(fog.clock.now()).await.unwrap(), Amount::ZERO);
        assert_eq!(power(staked_at.saturating_sub(DAY)).await.unwrap(), Amount::ZERO);
        let checkpoints = economy.checkpoints(&alice, None, 10).await.unwrap();
        let last = checkpoints.last().unwrap();
        assert_eq!(last.staked, Amount::ZERO);
        assert_eq!(economy.prove_supply().await.unwrap().supply.burned, amount("9000"));
    }
}

#[tokio::test]
async fn interest_is_paid_once_per_period_and_waits_for_funds() {
    for fog in Economic::each(FogConfig::default()).await {
        let (economy, alice) = (fog.economy(), name("alice"));
        let policy = &fog.fog.config().economy;
        fog.mint("alice", "2000").await;
        // Half a day of 1,000, then half a day of 2,000.
        let period = Period::with(fog.clock.now(), policy).unwrap();
        economy.stake(fog.id(), &alice, amount("1000")).await.unwrap();
        fog.clock.advance(DAY / 2);
        economy.stake(fog.id(), &alice, amount("1000")).await.unwrap();
        let early = economy.pay_interest(&alice, period).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::Conflict);
        fog.clock.advance(DAY);
        assert_eq!(Period::latest(fog.clock.now(), policy).unwrap(), period);

        let unfunded = economy.pay_interest(&alice, period).await.unwrap_err();
        assert_eq!(unfunded.kind(), ErrorKind::Exhausted);
        fog.mint(REWARDS, "1").await;
        for _ in 0..2 {
            economy.pay_interest(&alice, period).await.unwrap().unwrap();
            // 1,500 · 5 % / 365
            assert_eq!(fog.has(&alice).await, "0.20547945205479452 FOG");
        }
        let nobody = economy.pay_interest(&name("bob"), period).await.unwrap();
        assert!(nobody.is_none());
        // One that overlaps would be paid for the same time again.
        for (start, end) in [(1, 0), (0, 1), (1, 1)].map(|(s, e)| (s * DAY / 24, e * DAY / 24)) {
            let start = period.start.saturating_sub(start);
            let other = Period { start, end: period.end.saturating_sub(end) };
            let refused = economy.pay_interest(&alice, other).await.unwrap_err();
            assert_eq!(refused.field(), Some("period"));
        }
    }
}

#[tokio::test]
async fn a_grant_vests_is_released_and_revoked() {
    for fog in Economic::each(FogConfig::default()).await {
        let (economy, bob) = (fog.economy(), name("bob"));
        fog.mint(TREASURY, "1000").await;
        let grant = Grant {
            id: fog.id(),
            beneficiary: bob.clone(),
            grantor: name(TREASURY),
            total: amount("1000"),
            start: fog.clock.now(),
            cliff: 25 * DAY,
            duration: 100 * DAY,
            revocable: true,
        };
        let account = grant.account().unwrap();
        for _ in 0..2 {
            assert_eq!(economy.grant(&grant).await.unwrap().grant, grant);
        }
        fog.clock.advance(24 * DAY);
        let early = economy.release(&account).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::Exhausted);
        fog.clock.advance(6 * DAY);
        economy.release(&account).await.unwrap();
        assert_eq!(fog.has(&bob).await, "300 FOG");
        fog.clock.advance(20 * DAY);
        for _ in 0..2 {
            economy.revoke(&account).await.unwrap();
            assert_eq!(fog.has(&name(TREASURY)).await, "500 FOG");
        }
        fog.clock.advance(500 * DAY);
        economy.release(&account).await.unwrap();
        assert_eq!(fog.has(&bob).await, "500 FOG");
        let vesting = economy.vesting(&account).await.unwrap();
        assert_eq!((vesting.revoked, vesting.left), (Some(amount("500")), Amount::ZERO));
        assert_eq!(economy.vesting(&bob).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn rewards_and_fees_are_paid_from_and_to_their_accounts() {
    let economy = EconomyPolicy { transfer_fee_bps: 25, ..EconomyPolicy::default() };
    let config = FogConfig { economy, ..FogConfig::default() };
    for fog in Economic::each(config).await {
        let economy = fog.economy();
        let (alice, id) = (name("alice"), fog.id());
        assert_eq!(
            economy.pay_reward(id, &alice, amount("10")).await.unwrap_err().kind(),
            ErrorKind::Exhausted
        );
        fog.mint(TREASURY, "50").await;
        economy.fund_rewards(fog.id(), &name(TREASURY), amount("50")).await.unwrap();
        for _ in 0..2 {
            economy.pay_reward(id, &alice, amount("10")).await.unwrap();
            assert_eq!(fog.has(&alice).await, "10 FOG");
        }
        for (to, text) in [("alice", "11"), ("bob", "10")] {
            let other = economy.pay_reward(id, &name(to), amount(text)).await.unwrap_err();
            assert_eq!(other.kind(), ErrorKind::Conflict, "{to} {text}");
        }
        fog.mint("bob", "1").await;
        let id = fog.id();
        for _ in 0..2 {
            economy.pay(id, &alice, &name("bob"), amount("4")).await.unwrap();
            assert_eq!(fog.has(&alice).await, "5.99 FOG");
            assert_eq!(fog.has(&name(FEES)).await, "0.01 FOG");
        }
        // The fee has to be there, too.
        let all = economy.pay(fog.id(), &alice, &name("bob"), amount("5.99")).await;
        assert_eq!(all.unwrap_err().kind(), ErrorKind::Exhausted);
        let own = economy.pay(fog.id(), &name(FEES), &alice, amount("0.01")).await;
        assert_eq!(own.unwrap_err().field(), Some("account"));
    }
}

#[tokio::test]
async fn shares_of_a_period_are_paid_once_and_can_be_gone_on_with() {
    for fog in Economic::each(FogConfig::default()).await {
        let economy = fog.economy();
        let participant = |n: u64| Participant {
            account: name(&format!("p{n}")),
            contribution: n,
            uptime_ppm: 1_000_000,
            outages: 0,
        };
        let snapshot: Vec<_> = (1..=100).map(participant).collect();
        let (period, pool) = (name("2026-01"), name("pool"));
        let pay = |pending| economy.pay_shares(&period, &pool, amount(pending), &snapshot);
        fog.mint("pool", "0.5").await;
        assert_eq!(pay("1000").await.unwrap_err().kind(), ErrorKind::Exhausted);
        fog.mint("pool", "999.5").await;
        for _ in 0..2 {
            let paid = pay("1000").await.unwrap();
            assert_eq!((paid.shares.paid, paid.unpaid.len()), (amount("1000"), 0));
            assert_eq!(fog.has(&pool).await, "0 FOG");
            assert_eq!(fog.has(&accounts::shares(&period).unwrap()).await, "0 FOG");
        }
        let other = pay("999").await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict);
        // A share that could not be paid for a while is not lost.
        let (ledger, shut) = (fog.fog.ledger(), name("shut"));
        let account = Account::new(shut.clone(), Asset::FOG);
        ledger.open_account(account).await.unwrap();
        let closing = Transfer::hold(fog.id(), &pool, &shut, Amount::ZERO, Purpose::Transfer);
        ledger.transfer(closing.clone().closing_credit()).await.unwrap();
        let of_shut = [Participant { account: shut.clone(), ..participant(1) }];
        fog.mint("pool", "5").await;
        let late = name("2026-02");
        let pay_shut = || economy.pay_shares(&late, &pool, amount("5"), &of_shut);
        for _ in 0..2 {
            assert_eq!(pay_shut().await.unwrap().unpaid.len(), 1);
        }
        let open = Transfer::void(fog.id(), closing.id, Purpose::Transfer);
        ledger.transfer(open).await.unwrap();
        for _ in 0..2 {
            assert_eq!(pay_shut().await.unwrap().unpaid.len(), 0);
            assert_eq!(fog.has(&shut).await, "5 FOG");
        }
        // Nothing is taken from others, and nothing comes from nowhere.
        for own in ["mint", "burned", "authorized", "escrow", "stake:p100", "shares:2026-01"] {
            let from = name(&format!("fog:{own}"));
            let paid = economy.pay_shares(&name("other"), &from, amount("1"), &snapshot).await;
            assert_eq!(paid.unwrap_err().kind(), ErrorKind::InvalidInput, "{own}");
        }
        fog.mint(TREASURY, "1").await;
        let from = name(TREASURY);
        economy.pay_shares(&name("other"), &from, amount("1"), &snapshot).await.unwrap();
        let policy = EconomyPolicy { penalties_to: name("fog:mint"), ..EconomyPolicy::default() };
        assert_eq!(policy.check().unwrap_err().field(), Some("economy.penalties_to"));
        assert_eq!(economy.prove_supply().await.unwrap().held, amount("1006"));
    }
}
