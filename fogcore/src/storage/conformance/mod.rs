//! The promises that every store keeps, one function each, for authors of stores.
//!
//! Each function takes fresh, empty [`Stores`] and panics where a promise is broken. Nothing here
//! knows which store it has. [`conformance_suite!`](crate::conformance_suite) makes a test of
//! each.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let stores = fogcore::storage::open("memory:").await?;
//! fogcore::storage::conformance::nodes::registering_again_updates_the_node(&stores).await;
//! # Ok::<(), fogcore::Error>(())
//! # }).unwrap();
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test suite: a broken promise is a panic"
)]

pub mod books;
pub mod crowd;
pub mod hostile;
pub mod ledger;
pub mod life;
pub mod market;
pub mod market_stream;
pub mod money;
pub mod nodes;
pub mod parents;
pub mod preemption;
pub mod queue;
pub mod random;
pub mod replicas;
pub mod signaling;
pub mod stream;
pub mod tasks;

use std::{sync::Arc, time::Duration};

use crate::amount::{Amount, Asset};
use crate::error::Result;
use crate::id::{AccountId, NodeId, TaskId, TransferId};
use crate::ledger::{Account, Purpose, Transfer};
use crate::registry::{LivenessPolicy, Node, NodeRecord, PowerPolicy};
use crate::scheduler::queue::FairShares;
use crate::scheduler::{
    Assignment, Candidate, Claim, Completion, LeaseRequest, NewTask, Outcome, PlacementPolicy,
    QueuePolicy, Task, TaskSpec, Usage, settlement,
};
use crate::storage::Stores;
use crate::time::Timestamp;

/// Makes a `#[tokio::test]` of every promise, for the stores that `$open` gives: an async
/// function from nothing to `(Stores, guard)`, where the guard lives as long as the test.
#[macro_export]
macro_rules! conformance_suite {
    ($open:ident) => {
        $crate::conformance_suite! { $open =>
            nodes: registering_again_updates_the_node
                a_record_comes_back_as_it_was an_older_beat_changes_nothing
                a_beat_of_an_unknown_node_is_refused nodes_are_listed_in_pages_and_filtered
                a_removed_node_is_gone,
            ledger: opening_an_account_again_returns_it a_transfer_sent_twice_happens_once
                transfers_of_a_batch_stand_each_on_their_own a_hold_is_posted_in_part_or_voided
                the_largest_amounts_come_back_exactly accounts_are_listed_in_pages,
            books: a_chain_stands_or_falls_as_a_whole an_id_that_failed_stays_failed
                holds_run_out_and_are_freed a_closing_hold_closes_until_it_ends
                all_fields_come_back_as_they_were accounts_are_found_by_their_user_data
                the_journal_is_paged_and_filtered history_is_kept_and_found_by_time
                the_books_verify sums_pass_what_one_account_can_hold,
            crowd: many_writers_on_two_accounts_all_finish
                a_caller_who_gives_up_leaves_all_or_nothing,
            queue: tasks_are_leased_by_priority_then_in_order
                a_node_gets_only_what_it_can_run a_node_gets_no_more_than_its_slots
                what_nobody_can_run_blocks_nobody no_task_is_leased_twice
                tasks_of_a_group_are_apart_by_label tasks_share_the_power_budget_of_their_class
                a_name_makes_one_task a_task_comes_back_as_it_was
                tasks_are_listed_in_order_and_filtered items_of_a_batch_stand_each_on_their_own,
            tasks: a_failed_attempt_waits_and_is_tried_again attempts_run_out
                a_permanent_failure_ends_the_task a_lost_lease_goes_to_another_node
                a_renewed_lease_holds_and_keeps_progress a_released_lease_costs_no_attempt
                a_passed_deadline_ends_a_waiting_task a_cancelled_task_accepts_nothing_more
                the_explanation_is_kept large_payloads_and_results_come_back
                limits_of_a_call_are_checked,
            life: a_delayed_task_waits_for_its_time
                the_earliest_deadline_goes_first_within_a_priority
                payers_take_turns_whoever_was_first who_has_less_of_what_counts_is_next
                a_payer_has_no_more_open_tasks_than_allowed
                what_belongs_to_a_task_goes_when_its_time_is_over
                the_log_is_kept_in_order_and_within_its_limits
                a_checkpoint_goes_to_the_next_attempt
                a_node_that_is_away_may_finish_what_it_took_along,
            parents: a_task_waits_until_its_parents_ended
                what_a_failed_parent_means_is_the_tasks_choice
                a_chain_of_tasks_is_called_off_from_its_beginning
                a_parent_must_be_there what_a_parent_gave_is_kept_while_it_is_needed
                the_deadline_of_a_waiting_task_counts,
            preemption: what_comes_first_is_counted_by_kind an_urgent_task_is_found_only_if_something_less_urgent_runs
                a_preempted_task_waits_again_and_keeps_its_attempt
                who_ends_within_the_notice_is_paid,
            money: submitting_reserves_and_success_pays_the_price a_stale_holder_is_not_paid
                a_report_sent_twice_pays_once every_end_without_success_frees_the_budget
                a_budget_that_is_not_covered_is_refused a_price_above_the_budget_changes_nothing
                an_unpaid_task_moves_no_money,
            hostile: a_task_that_cannot_end_keeps_no_other_from_ending
                progress_out_of_range_is_kept_in_range the_largest_resources_add_up
                a_task_is_not_handed_out_after_its_deadline
                large_tasks_do_not_block_a_slot_for_small_ones
                a_price_beyond_all_amounts_is_explained payloads_go_with_their_tasks,
            market: a_bid_takes_only_what_it_needs_and_its_money_is_held
                an_offer_goes_to_those_who_wait a_spot_price_follows_demand_and_supply
                an_offer_and_a_bid_sent_twice_are_placed_once a_trade_is_settled_once
                a_voided_trade_gives_everything_back everything_on_the_market_ends_in_time
                what_was_called_off_is_not_hired of_very_many_only_the_best_are_looked_at
                who_cannot_pay_hires_nothing
                the_market_is_listed_in_pages_and_filtered
                a_crowd_of_bids_gets_no_more_than_there_is,
            market_stream: the_market_agrees_with_its_rules,
            replicas: replicas_go_to_different_nodes_and_owners
                the_majority_is_paid_and_the_odd_one_loses_trust a_third_decides_between_two
                without_a_majority_nobody_is_paid replicas_live_and_end_with_their_task
                the_first_result_of_a_task_and_its_backup_counts
                a_backup_takes_over_what_the_first_node_lost only_who_asks_for_it_has_a_backup
                a_deadline_ends_a_task_whose_backup_failed
                the_better_of_two_results_counts_once_the_first_node_is_back
                replicas_that_are_late_keep_no_other_from_ending
                replicas_that_cannot_be_paid_give_the_money_back
                replicas_that_cannot_go_to_a_node_do_not_block_others,
            random: a_random_history_loses_nothing
                everything_ends_and_balances_whatever_happens,
            signaling: zones_are_made_changed_and_listed sessions_are_opened_lived_and_ended_once
                sessions_are_listed_in_order_and_filtered a_crowd_passes_no_limit a_session_id_is_given_once_in_a_crowd
                mail_is_kept_by_peer_until_it_is_old what_is_idle_ends,
            stream: batches_agree_with_the_book,
        }
    };
    ($open:ident => $($area:ident: $($promise:ident)+,)+) => {
        $(mod $area {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let (stores, _guard) = super::$open().await;
                $crate::storage::conformance::$area::$promise(&stores).await;
            })+
        })+
    };
}

/// The time `seconds` after the suite's beginning.
fn at(seconds: u64) -> Timestamp {
    let start = Timestamp::from_micros(1_767_225_600_000_000).unwrap();
    start.saturating_add(Duration::from_secs(seconds))
}

fn account_id(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn transfer_id(name: &str) -> TransferId {
    TransferId::derive(name.as_bytes(), "conformance")
}

fn task_id(name: &str) -> TaskId {
    TaskId::derive(name.as_bytes(), "conformance")
}

/// A node that serves `work`, with this many slots.
fn node(name: &str, slots: u32) -> Node {
    let mut node = Node::new(name.parse().unwrap());
    node.serves.insert("work".parse().unwrap());
    node.slots = slots;
    node
}

fn spec() -> TaskSpec {
    TaskSpec::new("work".parse().unwrap())
}

/// Opens `alice` with `funds` to spend, `bob` to earn, and the escrow between them.
async fn fund(stores: &Stores, funds: u128) {
    let accounts = vec![
        Account::new(account_id("mint"), Asset::FOG),
        Account::new(account_id("alice"), Asset::FOG).limited_to_credits(),
        Account::new(account_id("bob"), Asset::FOG).limited_to_credits(),
        Account::new(settlement::escrow(), Asset::FOG),
    ];
    for opened in stores.ledger.open_accounts(accounts, at(0)).await.unwrap() {
        opened.unwrap();
    }
    if funds > 0 {
        let (mint, alice) = (account_id("mint"), account_id("alice"));
        let mint =
            Transfer::direct(transfer_id("mint"), &mint, &alice, units(funds), Purpose::Mint);
        stores.ledger.transfer(vec![mint], at(0)).await.unwrap().remove(0).unwrap();
    }
}

async fn account(stores: &Stores, name: &str) -> Account {
    stores.ledger.account(&account_id(name)).await.unwrap().unwrap()
}

async fn is_balanced(stores: &Stores) -> bool {
    stores.ledger.trial_balance().await.unwrap().is_balanced()
}

async fn submit(stores: &Stores, name: &str, spec: TaskSpec) -> Result<Task> {
    let new = NewTask { id: task_id(name), spec: Arc::new(spec), payload: name.to_owned().into() };
    let mut answers = stores.tasks.submit(vec![new], QueuePolicy::default(), at(0)).await?;
    answers.remove(0).map(|submitted| submitted.task)
}

async fn lease(stores: &Stores, node: Node, limit: usize, now: Timestamp) -> Vec<Assignment> {
    let record = NodeRecord::new(node, now);
    let asker = Candidate::judge(&record, now, LivenessPolicy::default(), &PowerPolicy::default());
    let request = LeaseRequest {
        asker,
        rivals: Vec::new(),
        policy: PlacementPolicy::default(),
        shares: FairShares::default(),
        limit,
        duration: Duration::from_secs(30),
    };
    stores.tasks.lease(request, now).await.unwrap()
}

/// Leases the one task that `node` can get.
async fn lease_one(stores: &Stores, name: &str, now: Timestamp) -> Assignment {
    let mut granted = lease(stores, node(name, 1), 1, now).await;
    assert_eq!(granted.len(), 1, "{name} should have got a task");
    granted.remove(0)
}

fn claim(assignment: &Assignment) -> Claim {
    let lease = assignment.task.lease.as_ref().unwrap();
    Claim { task: assignment.task.id, node: lease.node.clone(), fence: lease.fence }
}

/// Every field that there is, so that every store has to keep it.
fn usage(millis: u64, bytes: u64) -> Usage {
    Usage {
        busy: Some(Duration::from_millis(millis)),
        cpu: Some(Duration::from_micros(millis * 900)),
        memory_mib_millis: Some(64 * millis),
        gpu: Some(Duration::ZERO),
        bytes_in: Some(bytes),
        bytes_out: None,
        bytes_moved: Some(2 * bytes),
        energy_millijoules: Some(17 * millis),
    }
}

fn success(claim: Claim, reward: Option<u128>) -> Completion {
    let reward = reward.map(|price| (account_id("bob"), units(price)));
    let usage = usage(1_500, 7);
    Completion {
        claim,
        outcome: Outcome::Succeeded { result: "done".into(), reward },
        usage,
        log: Vec::new(),
        score: None,
    }
}

fn failure(claim: Claim, permanent: bool) -> Completion {
    let outcome = Outcome::Failed { reason: "broke".into(), permanent };
    let usage = usage(500, 0);
    Completion { claim, outcome, usage, log: Vec::new(), score: None }
}

async fn complete(stores: &Stores, completion: Completion, now: Timestamp) -> Result<Task> {
    stores.tasks.complete(vec![completion], now).await?.remove(0)
}

fn node_id(name: &str) -> NodeId {
    name.parse().unwrap()
}
