//! The ledger under many callers at once, and under callers who give up.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::future::{join, join_all};
use futures::poll;

use super::{account_id, at, fund, is_balanced, transfer_id, units};
use crate::ledger::{Purpose, ResultCode, Transfer, TransferFilter};
use crate::storage::Stores;

/// Far longer than any of this takes: who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(120);

fn pay(name: &str, from: &str, to: &str, amount: u128) -> Transfer {
    let (from, to) = (account_id(from), account_id(to));
    Transfer::direct(transfer_id(name), &from, &to, units(amount), Purpose::Transfer)
}

/// A hold of `alice` for `bob`, and what ends it.
fn hold_and_post(name: &str, amount: u128) -> [Transfer; 2] {
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    let (hold, post) = (transfer_id(name), transfer_id(&format!("{name} post")));
    [
        Transfer::hold(hold, &alice, &bob, units(amount), Purpose::Transfer),
        Transfer::post(post, hold, units(1), Purpose::Transfer),
    ]
}

async fn codes(stores: &Stores, batch: &[Transfer]) -> Vec<ResultCode> {
    let answers = stores.ledger.transfer(batch.to_vec(), at(1)).await.unwrap();
    answers.iter().map(ResultCode::of).collect()
}

/// How many transfers the journal has, from its pages.
async fn journal_length(stores: &Stores) -> usize {
    let (mut length, mut after) = (0, None);
    loop {
        let all = TransferFilter::default();
        let page = stores.ledger.transfers(&all, after, 1_000).await.unwrap();
        let Some(last) = page.last() else { return length };
        after = Some(last.place);
        length += page.len();
    }
}

/// Many who pay between two accounts, both ways, in batches that touch them in either order, all
/// get through: nobody waits for ever, and nothing is lost.
pub async fn many_writers_on_two_accounts_all_finish(stores: &Stores) {
    fund(stores, 1_000_000).await;
    let writers = (0..32_u32).map(|writer| async move {
        let mut made = 0;
        for turn in 0..10 {
            let name = format!("{writer}-{turn}");
            let (there, back) = (format!("{name} there"), format!("{name} back"));
            let batch = match writer % 5 {
                0 => vec![pay(&name, "alice", "bob", 1)],
                // `bob` may have nothing yet.
                1 => vec![pay(&name, "bob", "alice", 1)],
                2 => vec![pay(&there, "alice", "bob", 2).linked(), pay(&back, "bob", "alice", 1)],
                3 => hold_and_post(&name, 3).into(),
                _ => vec![
                    pay(&back, "bob", "alice", 5).balancing_debit(),
                    pay(&there, "alice", "bob", 1).balancing_debit(),
                ],
            };
            for code in codes(stores, &batch).await {
                assert!(code == ResultCode::Created || writer % 5 == 1, "{name}: {code}");
                made += usize::from(code == ResultCode::Created);
            }
        }
        made
    });
    let made = tokio::time::timeout(PATIENCE, join_all(writers)).await;
    let made: usize = made.expect("writers wait for each other").into_iter().sum();
    assert_eq!(journal_length(stores).await, made + 1);
    assert!(is_balanced(stores).await);
    stores.ledger.verify(&[]).await.unwrap();
}

/// Asks a few times whether it is done, and then no more.
async fn give_up_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(answer) = poll!(&mut future) {
            return Some(answer);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A caller who stops waiting, at whatever moment, leaves the batch done as a whole or not at all:
/// sent again, all of it is new or nothing is. Whoever is served together with it notices nothing.
pub async fn a_caller_who_gives_up_leaves_all_or_nothing(stores: &Stores) {
    const POLLS: [u32; 12] = [0, 1, 2, 3, 5, 10, 30, 100, 300, 1_000, 3_000, 10_000];
    const ROUNDS: usize = 36;
    const OTHERS: usize = 3;
    fund(stores, 1_000_000).await;
    let created = ResultCode::Created;
    for (round, polls) in POLLS.into_iter().cycle().take(ROUNDS).enumerate() {
        let [hold, post] = hold_and_post(&format!("{round} hold"), 5);
        let batch = [
            pay(&format!("{round} there"), "alice", "bob", 2).linked(),
            pay(&format!("{round} back"), "bob", "alice", 1),
            hold,
            post,
            pay(&format!("{round} too much"), "alice", "bob", 1_000_000_000),
        ];
        let first = [created, created, created, created, ResultCode::ExceedsCredits];
        let later = [ResultCode::Exists; 4].into_iter().chain([ResultCode::IdAlreadyFailed]);
        let later: Vec<_> = later.collect();
        let others = (0..OTHERS).map(|other| async move {
            let transfer = pay(&format!("{round} other {other}"), "alice", "bob", 1);
            assert_eq!(codes(stores, &[transfer]).await, [created]);
        });
        let given_up = give_up_after(polls, codes(stores, &batch));
        let both = tokio::time::timeout(PATIENCE, join(given_up, join_all(others))).await;
        let (answered, _) = both.expect("who stays is served");
        let again = codes(stores, &batch).await;
        match answered {
            Some(codes) => assert_eq!((codes.as_slice(), &again), (&first[..], &later)),
            None => assert!(again == first || again == later, "after {polls} polls: {again:?}"),
        }
        assert_eq!(codes(stores, &batch).await, later);
    }
    assert_eq!(journal_length(stores).await, 1 + ROUNDS * (4 + OTHERS));
    assert!(is_balanced(stores).await);
    stores.ledger.verify(&[]).await.unwrap();
}
