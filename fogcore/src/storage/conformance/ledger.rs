//! What every [`LedgerStore`](crate::ledger::LedgerStore) promises.

use super::{account, account_id, at, fund, is_balanced, transfer_id, units};
use crate::amount::{Amount, Asset};
use crate::error::ErrorKind;
use crate::ledger::{
    Account, AccountFilter, Applied, HoldState, LedgerError, MAX_BATCH, Purpose, Transfer,
};
use crate::storage::Stores;

fn pay(name: &str, amount: u128) -> Transfer {
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    Transfer::direct(transfer_id(name), &alice, &bob, units(amount), Purpose::Transfer)
}

fn kind(error: &LedgerError) -> ErrorKind {
    crate::Error::from(error.clone()).kind()
}

fn hold(name: &str, amount: u128) -> Transfer {
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    Transfer::hold(transfer_id(name), &alice, &bob, units(amount), Purpose::TaskHold)
}

/// Opening is idempotent on the same terms, a conflict on others, and always starts at zero.
pub async fn opening_an_account_again_returns_it(stores: &Stores) {
    fund(stores, 100).await;
    let alice = Account::new(account_id("alice"), Asset::FOG).limited_to_credits();
    let dollars = Account::new(account_id("alice"), Asset::USD).limited_to_credits();
    let rich = Account {
        credits_posted: units(5),
        ..Account::new(account_id("rich"), Asset::new("GPU", 30).unwrap())
    };
    let answers = stores.ledger.open_accounts(vec![alice, dollars, rich], at(9)).await.unwrap();
    let [again, other, new] = answers.try_into().unwrap();
    assert_eq!(again.unwrap(), account(stores, "alice").await);
    assert_eq!(account(stores, "alice").await.opened_at, at(0));
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(new.unwrap(), account(stores, "rich").await);
    assert_eq!(account(stores, "rich").await.credits_posted, Amount::ZERO);
    assert_eq!(account(stores, "rich").await.asset.scale(), 30);
}

/// The same transfer again gives the same answer; another under its id is a conflict.
pub async fn a_transfer_sent_twice_happens_once(stores: &Stores) {
    fund(stores, 100).await;
    let about = pay("rent", 30).about(transfer_id("invoice").uuid());
    let first = stores.ledger.transfer(vec![about.clone()], at(1)).await.unwrap().remove(0);
    let first = first.unwrap();
    assert_eq!((first.posted.at, &first.posted.transfer), (at(1), &about));
    assert!(first.new);
    let batch = vec![about.clone(), pay("rent", 31), about.clone()];
    let [again, other, thrice] =
        stores.ledger.transfer(batch, at(2)).await.unwrap().try_into().unwrap();
    assert_eq!(again, Ok(Applied { new: false, ..first.clone() }));
    assert_eq!(thrice, again);
    assert_eq!(kind(&other.unwrap_err()), ErrorKind::Conflict);
    let first = first.posted;
    assert_eq!(account(stores, "bob").await.credits_posted, units(30));
    assert_eq!(stores.ledger.posted(transfer_id("rent")).await.unwrap(), Some(first));
    assert_eq!(stores.ledger.posted(transfer_id("none")).await.unwrap(), None);
}

/// One that is refused leaves the others alone, and each sees those before it.
pub async fn transfers_of_a_batch_stand_each_on_their_own(stores: &Stores) {
    fund(stores, 100).await;
    let nobody = Transfer::direct(
        transfer_id("nobody"),
        &account_id("nobody"),
        &account_id("bob"),
        units(1),
        Purpose::Transfer,
    );
    let batch = vec![pay("a", 60), pay("b", 50), pay("c", 40), pay("d", 0), nobody];
    let answers = stores.ledger.transfer(batch, at(1)).await.unwrap();
    let kinds: Vec<_> = answers.iter().map(|a| a.as_ref().err().map(kind)).collect();
    let (exhausted, invalid) = (Some(ErrorKind::Exhausted), Some(ErrorKind::InvalidInput));
    assert_eq!(kinds, [None, exhausted, None, invalid, Some(ErrorKind::NotFound)]);
    let precise = answers[1].as_ref().unwrap_err();
    assert!(
        matches!(precise, LedgerError::ExceedsCredits { available, .. } if *available == units(40))
    );
    assert_eq!(account(stores, "alice").await.available(), Amount::ZERO);
    let long = (0..=MAX_BATCH).map(|number| pay(&number.to_string(), 1)).collect();
    let refused = stores.ledger.transfer(long, at(2)).await.unwrap_err();
    assert_eq!(refused.field(), Some("batch"));
}

/// A hold ends once: posted up to its amount, or voided.
pub async fn a_hold_is_posted_in_part_or_voided(stores: &Stores) {
    fund(stores, 100).await;
    let end = |name: &str, hold: &str, amount: Option<u128>| match amount {
        Some(amount) => {
            Transfer::post(transfer_id(name), transfer_id(hold), units(amount), Purpose::TaskSettle)
        }
        None => Transfer::void(transfer_id(name), transfer_id(hold), Purpose::TaskRelease),
    };
    let batch = vec![
        hold("h1", 50),
        hold("h2", 50),
        pay("too much", 1),
        end("p1 too much", "h1", Some(51)),
        end("p1", "h1", Some(20)),
        end("p1 again", "h1", Some(1)),
        end("v2", "h2", None),
        end("v2 again", "h2", None),
        end("v3", "none", None),
        end("v4", "p1", None),
        end("v2", "h2", None),
    ];
    let answers = stores.ledger.transfer(batch, at(1)).await.unwrap();
    let accepted: Vec<_> = answers.iter().map(Result::is_ok).collect();
    let (yes, no) = (true, false);
    assert_eq!(accepted, [yes, yes, no, no, yes, no, yes, no, no, no, yes]);
    let state = async |name| stores.ledger.posted(transfer_id(name)).await.unwrap().unwrap().hold;
    assert_eq!(state("h1").await, Some(HoldState::Posted));
    assert_eq!(state("h2").await, Some(HoldState::Voided));
    assert_eq!(state("p1").await, None);
    let alice = account(stores, "alice").await;
    assert_eq!((alice.debits_posted, alice.debits_pending), (units(20), units(0)));
    let bob = account(stores, "bob").await;
    assert_eq!((bob.credits_posted, bob.credits_pending), (units(20), units(0)));
    assert!(is_balanced(stores).await);
}

/// 128 bits are 128 bits, and what passes them is refused.
pub async fn the_largest_amounts_come_back_exactly(stores: &Stores) {
    fund(stores, 0).await;
    let mint = |name: &str, amount| {
        let (mint, alice) = (account_id("mint"), account_id("alice"));
        Transfer::direct(transfer_id(name), &mint, &alice, units(amount), Purpose::Mint)
    };
    let batch = vec![mint("a", 1 << 127), mint("b", (1 << 127) - 1), mint("c", 1)];
    let answers = stores.ledger.transfer(batch, at(1)).await.unwrap();
    assert_eq!(kind(answers[2].as_ref().unwrap_err()), ErrorKind::Exhausted);
    assert_eq!(account(stores, "alice").await.credits_posted, Amount::MAX);
    let balance = stores.ledger.trial_balance().await.unwrap();
    assert_eq!(balance.of(&Asset::FOG).unwrap().debits_posted, Amount::MAX);
    assert!(balance.is_balanced());
}

/// Pages follow each other without gaps or repeats.
pub async fn accounts_are_listed_in_pages(stores: &Stores) {
    let accounts = (0..25)
        .map(|number| Account::new(account_id(&format!("account-{number:02}")), Asset::TON))
        .collect();
    stores.ledger.open_accounts(accounts, at(0)).await.unwrap();
    let (mut names, mut after) = (Vec::new(), None);
    let all = AccountFilter::default();
    loop {
        let page = stores.ledger.accounts(&all, after.as_ref(), 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        names.extend(page.into_iter().map(|account| account.id.to_string()));
    }
    let expected: Vec<_> = (0..25).map(|number| format!("account-{number:02}")).collect();
    assert_eq!(names, expected);
    assert_eq!(stores.ledger.accounts(&all, None, 0).await.unwrap_err().field(), Some("limit"));
}
