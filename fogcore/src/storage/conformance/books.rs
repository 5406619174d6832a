//! What every [`LedgerStore`](crate::ledger::LedgerStore) promises of batches, of time, of what can
//! be asked, and of proof.

use super::{account, account_id, at, fund, is_balanced, transfer_id, units};
use crate::amount::{Amount, Asset};
use crate::id::AccountId;
use crate::ledger::{
    Account, AccountFilter, Digest, Fault, Head, HoldState, JournalEntry, Purpose, ResultCode,
    Side, Transfer, TransferFilter, TransferKind,
};
use crate::storage::Stores;

fn pay(name: &str, amount: u128) -> Transfer {
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    Transfer::direct(transfer_id(name), &alice, &bob, units(amount), Purpose::Transfer)
}

fn hold(name: &str, amount: u128) -> Transfer {
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    Transfer::hold(transfer_id(name), &alice, &bob, units(amount), Purpose::Transfer)
}

fn void(name: &str, of: &str) -> Transfer {
    Transfer::void(transfer_id(name), transfer_id(of), Purpose::Transfer)
}

async fn codes(stores: &Stores, batch: &[Transfer], seconds: u64) -> Vec<&'static str> {
    let answers = stores.ledger.transfer(batch.to_vec(), at(seconds)).await.unwrap();
    answers.iter().map(|answer| ResultCode::of(answer).name()).collect()
}

async fn is_posted(stores: &Stores, name: &str) -> bool {
    stores.ledger.posted(transfer_id(name)).await.unwrap().is_some()
}

async fn journal(stores: &Stores, filter: &TransferFilter) -> Vec<JournalEntry> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = stores.ledger.transfers(filter, after, 3).await.unwrap();
        let is_last = page.len() < 3;
        after = page.last().map(|entry| entry.place).or(after);
        found.extend(page);
        if is_last {
            return found;
        }
    }
}

/// A chain happens whole or not at all, and the rest of its batch goes on.
pub async fn a_chain_stands_or_falls_as_a_whole(stores: &Stores) {
    fund(stores, 100).await;
    let batch = [
        pay("a", 10).linked(),
        hold("b", 200).linked(),
        pay("c", 1),
        pay("d", 20).linked(),
        pay("e", 30),
        pay("f", 5).linked(),
    ];
    let expected = [
        "linked_event_failed",
        "exceeds_credits",
        "linked_event_failed",
        "created",
        "created",
        "linked_event_chain_open",
    ];
    assert_eq!(codes(stores, &batch, 1).await, expected);
    assert!(!is_posted(stores, "a").await && !is_posted(stores, "c").await);
    assert_eq!(account(stores, "bob").await.credits_posted, units(50));
    // Sent again, with the answer lost, it changes nothing.
    let again = ["linked_event_failed", "id_already_failed", "linked_event_failed"];
    let answers = codes(stores, &batch, 2).await;
    assert_eq!(answers[..3], again);
    assert_eq!(answers[3..5], ["exists", "exists"]);
    assert_eq!(account(stores, "bob").await.credits_posted, units(50));
    // What did not fail for a reason of its own may be asked alone.
    assert_eq!(codes(stores, &[pay("a", 10)], 3).await, ["created"]);
}

/// A late retry of what failed cannot succeed, whatever has changed since.
pub async fn an_id_that_failed_stays_failed(stores: &Stores) {
    fund(stores, 10).await;
    let to_nobody = Transfer::direct(
        transfer_id("to nobody"),
        &account_id("alice"),
        &account_id("nobody"),
        units(1),
        Purpose::Transfer,
    );
    let batch = [pay("too much", 11), to_nobody, void("too early", "hold"), pay("nothing", 0)];
    let expected = [
        "exceeds_credits",
        "credit_account_not_found",
        "pending_transfer_not_found",
        "amount_must_not_be_zero",
    ];
    assert_eq!(codes(stores, &batch, 1).await, expected);
    let (mint, alice) = (account_id("mint"), account_id("alice"));
    let more = Transfer::direct(transfer_id("more"), &mint, &alice, units(90), Purpose::Mint);
    let nobody = Account::new(account_id("nobody"), Asset::FOG);
    stores.ledger.open_accounts(vec![nobody], at(2)).await.unwrap().remove(0).unwrap();
    assert_eq!(codes(stores, &[more, hold("hold", 5)], 2).await, ["created", "created"]);
    let failed = "id_already_failed";
    assert_eq!(codes(stores, &batch, 3).await, [failed, failed, failed, expected[3]]);
    // With another content, too, but not under another id.
    assert_eq!(codes(stores, &[pay("too much", 1)], 4).await, [failed]);
    assert_eq!(codes(stores, &[pay("the same again", 11)], 4).await, ["created"]);
    assert!(!is_posted(stores, "too much").await);
}

/// A hold is over at its time, whether or not anybody noticed, and is freed once, in order.
pub async fn holds_run_out_and_are_freed(stores: &Stores) {
    fund(stores, 100).await;
    let batch = [
        hold("long", 10).expiring_after(50),
        hold("short", 20).expiring_after(10).about(transfer_id("order").uuid()),
        hold("forever", 30),
        hold("ended", 5).expiring_after(10),
        void("in time", "ended"),
    ];
    assert_eq!(codes(stores, &batch, 1).await, ["created"; 5]);
    assert!(stores.ledger.expire_holds(at(10), 10).await.unwrap().is_empty());
    assert_eq!(codes(stores, &[void("late", "short")], 11).await, ["pending_transfer_expired"]);
    assert_eq!(account(stores, "alice").await.debits_pending, units(60), "nobody has freed it");
    let freed = stores.ledger.expire_holds(at(12), 10).await.unwrap();
    assert_eq!(freed.len(), 1);
    let (transfer, short) = (&freed[0].transfer, transfer_id("short"));
    assert_eq!(transfer.kind, TransferKind::Expire { hold: short });
    assert_eq!(transfer.id, Transfer::expiry_id(short));
    assert_eq!(transfer.reference, Some(transfer_id("order").uuid()));
    assert_eq!(stores.ledger.posted(transfer.id).await.unwrap().as_ref(), Some(&freed[0]));
    let state = stores.ledger.posted(short).await.unwrap().unwrap().hold;
    assert_eq!(state, Some(HoldState::Expired));
    assert!(stores.ledger.expire_holds(at(12), 10).await.unwrap().is_empty());
    assert_eq!(account(stores, "alice").await.debits_pending, units(40));
    let more = [hold("x", 1).expiring_after(3), hold("y", 1).expiring_after(2)];
    assert_eq!(codes(stores, &more, 20).await, ["created"; 2]);
    let first = stores.ledger.expire_holds(at(100), 2).await.unwrap();
    let holds: Vec<_> = first.iter().filter_map(|posted| posted.transfer.ends_hold()).collect();
    assert_eq!(holds, [transfer_id("y"), transfer_id("x")], "first those that are over longest");
    assert_eq!(stores.ledger.expire_holds(at(100), 2).await.unwrap().len(), 1);
    assert_eq!(account(stores, "alice").await.debits_pending, units(30));
    assert_eq!(stores.ledger.expire_holds(at(9), 0).await.unwrap_err().field(), Some("limit"));
    assert!(is_balanced(stores).await);
}

/// A closed account moves nothing, until the hold that closed it is voided or its time is over.
pub async fn a_closing_hold_closes_until_it_ends(stores: &Stores) {
    fund(stores, 100).await;
    let closing = [hold("close", 0).closing_credit().expiring_after(60), pay("a", 1)];
    assert_eq!(codes(stores, &closing, 1).await, ["created", "credit_account_already_closed"]);
    assert!(account(stores, "bob").await.closed);
    let closed = AccountFilter { closed: Some(true), ..AccountFilter::default() };
    let found = stores.ledger.accounts(&closed, None, 10).await.unwrap();
    assert_eq!(found, [account(stores, "bob").await]);
    assert_eq!(codes(stores, &[void("open", "close"), pay("b", 1)], 2).await, ["created"; 2]);
    let again = hold("close again", 7).closing_debit().closing_credit().expiring_after(60);
    assert_eq!(codes(stores, &[again], 3).await, ["created"]);
    stores.ledger.expire_holds(at(63), 10).await.unwrap();
    assert!(!account(stores, "alice").await.closed && !account(stores, "bob").await.closed);
    assert_eq!(codes(stores, &[pay("c", 1)], 64).await, ["created"]);
    stores.ledger.verify(&[]).await.unwrap();
}

/// Whatever a transfer or an account can be comes back as it was.
pub async fn all_fields_come_back_as_they_were(stores: &Stores) {
    fund(stores, 100).await;
    let about = transfer_id("something").uuid();
    let special = Account {
        user_data_64: u64::MAX,
        user_data_32: u32::MAX,
        closed: true,
        ..Account::new(account_id("special"), Asset::new("GPU", 30).unwrap())
            .about(about)
            .with_history()
            .limited_to_debits()
    };
    let opened = stores.ledger.open_accounts(vec![special.clone()], at(1)).await.unwrap();
    let opened = opened.into_iter().next().unwrap().unwrap();
    assert_eq!(opened, Account { opened_at: at(1), ..special });
    assert_eq!(account(stores, "special").await, opened);
    let data = |transfer: Transfer| Transfer { user_data_64: 1 << 63, user_data_32: 7, ..transfer };
    let batch = [
        data(pay("balanced", 1_000).balancing_debit()).about(about),
        hold("h", 0).closing_credit().expiring_after(u32::MAX),
        data(void("v", "h")),
        hold("p", 0).closing_debit().linked(),
        void("w", "p").about(about),
    ];
    assert_eq!(codes(stores, &batch, 2).await, ["created"; 5]);
    for sent in &batch {
        let found = stores.ledger.posted(sent.id).await.unwrap().unwrap();
        if sent.flags.is_balancing() {
            assert_eq!(found.transfer.amount(), Some(units(100)), "what was there");
        } else {
            assert_eq!(found.transfer, *sent);
        }
        assert_eq!(found.at, at(2));
    }
    assert_eq!(codes(stores, &batch, 3).await, ["exists"; 5]);
}

/// Accounts are found by what they are about.
pub async fn accounts_are_found_by_their_user_data(stores: &Stores) {
    let about = |number: u128| uuid::Uuid::from_u128(number);
    let accounts = (0..30_u32).map(|number| Account {
        reference: (number % 2 == 0).then(|| about(u128::from(number % 6) + 1)),
        user_data_64: u64::from(number % 5),
        user_data_32: number % 3,
        ..Account::new(
            account_id(&format!("account-{number:02}")),
            if number < 20 { Asset::FOG } else { Asset::TON },
        )
    });
    let accounts: Vec<_> = accounts.collect();
    for opened in stores.ledger.open_accounts(accounts.clone(), at(0)).await.unwrap() {
        opened.unwrap();
    }
    let none = AccountFilter::default();
    let filters = [
        AccountFilter { reference: Some(about(3)), ..none.clone() },
        AccountFilter { user_data_64: Some(4), ..none.clone() },
        AccountFilter { user_data_64: Some(0), user_data_32: Some(2), ..none.clone() },
        AccountFilter { user_data_32: Some(0), asset: Some(Asset::TON), ..none.clone() },
        AccountFilter { asset: Some(Asset::USD), ..none.clone() },
        AccountFilter { closed: Some(true), ..none.clone() },
    ];
    for filter in filters {
        let wanted: Vec<_> = accounts.iter().filter(|account| filter.matches(account)).collect();
        let (mut found, mut after) = (Vec::new(), None::<AccountId>);
        loop {
            let page = stores.ledger.accounts(&filter, after.as_ref(), 3).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            found.extend(page.into_iter().map(|account| account.id));
        }
        assert_eq!(found, wanted.iter().map(|a| a.id.clone()).collect::<Vec<_>>(), "{filter:?}");
    }
}

/// The journal comes in the order in which things happened, whole or in parts.
pub async fn the_journal_is_paged_and_filtered(stores: &Stores) {
    fund(stores, 1_000).await;
    let about = |number: u128| uuid::Uuid::from_u128(number);
    let mut sides = vec![[account_id("mint"), account_id("alice")]];
    for number in 0..20_u32 {
        let name = number.to_string();
        let mut transfer = match number % 4 {
            0 => hold(&name, 5),
            1 => Transfer::post(
                transfer_id(&name),
                transfer_id(&(number - 1).to_string()),
                units(3),
                Purpose::Transfer,
            ),
            2 => pay(&name, 1),
            _ => Transfer::direct(
                transfer_id(&name),
                &account_id("bob"),
                &account_id("alice"),
                units(1),
                Purpose::Mint,
            ),
        };
        transfer.reference = (number % 3 == 0).then(|| about(u128::from(number % 2) + 1));
        transfer.user_data_64 = u64::from(number % 5);
        transfer.user_data_32 = number % 2;
        let from = if number % 4 == 3 { ["bob", "alice"] } else { ["alice", "bob"] };
        sides.push(from.map(account_id));
        assert_eq!(codes(stores, &[transfer], u64::from(number)).await, ["created"]);
    }
    let all = journal(stores, &TransferFilter::default()).await;
    assert_eq!(all.len(), 21);
    assert!(all.is_sorted_by(|one, next| one.place < next.place));
    let names = (0..20).map(|number| transfer_id(&number.to_string()));
    assert!(all.iter().skip(1).map(|entry| entry.posted.transfer.id).eq(names));
    let none = TransferFilter::default();
    let alice = TransferFilter::of(account_id("alice"));
    let filters = [
        alice.clone(),
        TransferFilter { side: Some(Side::Debit), ..alice.clone() },
        TransferFilter { side: Some(Side::Credit), ..alice.clone() },
        TransferFilter { from: Some(at(5)), until: Some(at(9)), ..alice.clone() },
        TransferFilter { purpose: Some(Purpose::Mint), ..alice },
        TransferFilter { reference: Some(about(1)), ..none.clone() },
        TransferFilter { user_data_64: Some(0), ..none.clone() },
        TransferFilter { user_data_64: Some(3), user_data_32: Some(1), ..none.clone() },
        TransferFilter { until: Some(at(3)), ..none.clone() },
        TransferFilter::of(account_id("nobody")),
    ];
    for filter in filters {
        let wanted = all.iter().zip(&sides);
        let wanted = wanted
            .filter(|(entry, [debit, credit])| filter.matches(&entry.posted, [debit, credit]));
        let wanted: Vec<_> = wanted.map(|(entry, _)| entry.clone()).collect();
        assert_eq!(journal(stores, &filter).await, wanted, "{filter:?}");
    }
    let page = stores.ledger.transfers(&none, None, 1_001).await;
    assert_eq!(page.unwrap_err().field(), Some("limit"));
}

/// An account with history can say what it had at any time.
pub async fn history_is_kept_and_found_by_time(stores: &Stores) {
    fund(stores, 100).await;
    let saver = Account::new(account_id("saver"), Asset::FOG).with_history();
    stores.ledger.open_accounts(vec![saver], at(1)).await.unwrap().remove(0).unwrap();
    let give = |name: &str, amount| {
        let (alice, saver) = (account_id("alice"), account_id("saver"));
        Transfer::direct(transfer_id(name), &alice, &saver, units(amount), Purpose::Transfer)
    };
    assert_eq!(codes(stores, &[give("a", 1), give("b", 2)], 10).await, ["created"; 2]);
    let failing = [give("c", 4).linked(), give("d", 1_000)];
    codes(stores, &failing, 15).await;
    assert_eq!(codes(stores, &[give("e", 8)], 20).await, ["created"]);
    let saver = account_id("saver");
    let had = async |seconds| {
        let balance = stores.ledger.balance_at(&saver, at(seconds)).await.unwrap();
        balance.map(|balance| balance.credits_posted.base_units())
    };
    assert_eq!([had(9).await, had(10).await, had(19).await], [None, Some(3), Some(3)]);
    assert_eq!([had(20).await, had(1_000).await], [Some(11); 2]);
    let first = stores.ledger.balances(&saver, None, 2).await.unwrap();
    let rest = stores.ledger.balances(&saver, Some(first[1].place), 2).await.unwrap();
    let all: Vec<_> = first.iter().chain(&rest).collect();
    let names = ["a", "b", "e"].map(transfer_id);
    assert!(all.iter().map(|entry| entry.balance.transfer).eq(names));
    let journal = journal(stores, &TransferFilter::of(saver.clone())).await;
    assert!(all.iter().map(|entry| entry.place).eq(journal.iter().map(|entry| entry.place)));
    let (alice, nobody) = (account_id("alice"), account_id("nobody"));
    assert!(stores.ledger.balances(&alice, None, 9).await.unwrap().is_empty());
    assert_eq!(stores.ledger.balance_at(&alice, at(99)).await.unwrap(), None);
    assert_eq!(stores.ledger.balance_at(&nobody, at(99)).await.unwrap(), None);
}

/// The books prove that they are whole, from any head that somebody kept.
pub async fn the_books_verify(stores: &Stores) {
    let empty = stores.ledger.verify(&[]).await.unwrap();
    assert_eq!((empty.accounts, empty.transfers, empty.failed), (0, 0, 0));
    fund(stores, 100).await;
    let first = stores.ledger.verify(&[]).await.unwrap();
    assert_eq!((first.accounts, first.transfers, first.failed), (4, 1, 0));
    let batch = [hold("h", 5).expiring_after(5), pay("a", 1), pay("too much", 1_000)];
    codes(stores, &batch, 1).await;
    stores.ledger.expire_holds(at(50), 10).await.unwrap();
    let second = stores.ledger.verify(&first.heads).await.unwrap();
    assert_eq!((second.accounts, second.transfers, second.failed), (4, 4, 1));
    assert_ne!(first.heads, second.heads);
    codes(stores, &batch, 60).await;
    let anchors: Vec<_> = first.heads.iter().chain(&second.heads).copied().collect();
    assert_eq!(stores.ledger.verify(&anchors).await.unwrap().transfers, 4);
    let last = second.heads[0];
    let foreign = Head { digest: Digest::from_bytes([7; 32]), ..last };
    let ahead = Head { number: last.number + 1_000, ..last };
    for anchor in [foreign, ahead] {
        let error = stores.ledger.verify(&[anchor]).await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Fault::Anchor { .. })), "{error}");
    }
}

/// All accounts of an asset together may hold more than one of them can.
pub async fn sums_pass_what_one_account_can_hold(stores: &Stores) {
    let accounts = ["a", "b", "c", "d"].map(|n| Account::new(account_id(n), Asset::FOG));
    stores.ledger.open_accounts(accounts.into(), at(0)).await.unwrap();
    let all = |from: &str, to: &str| {
        let (debit, credit) = (account_id(from), account_id(to));
        Transfer::direct(transfer_id(from), &debit, &credit, Amount::MAX, Purpose::Transfer)
    };
    assert_eq!(codes(stores, &[all("a", "b"), all("c", "d")], 1).await, ["created"; 2]);
    let balance = stores.ledger.trial_balance().await.unwrap();
    assert!(balance.is_balanced());
    let sums = balance.of(&Asset::FOG).unwrap();
    assert_eq!(sums.debits_posted.to_string(), "680564733841876926926749214863536422910");
    assert_eq!(sums.debits_posted, sums.credits_posted);
}
