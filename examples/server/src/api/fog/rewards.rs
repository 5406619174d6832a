//! What was paid to owners of nodes today: read on from where it was read last.

use std::time::Duration;

use fogcore::Fog;
use fogcore::amount::Amount;
use fogcore::error::Result;
use fogcore::ledger::{Place, Purpose, TransferFilter};
use fogcore::registry::MAX_PAGE;
use fogcore::time::Timestamp;
use tokio::sync::Mutex;

const DAY: Duration = Duration::from_secs(86_400);

/// What was paid today, as far as it was read.
#[derive(Debug, Default)]
pub struct RewardsToday(Mutex<Option<Read>>);

#[derive(Clone, Copy, Debug)]
struct Read {
    day: Timestamp,
    sum: Amount,
    /// How far the journal was read: for work that somebody paid, and for rewards of the fog's.
    after: [Option<Place>; 2],
}

impl RewardsToday {
    /// What was paid since midnight (UTC), and how long ago that was. The first look of a day reads
    /// what there is of it, each later one what was added.
    ///
    /// # Errors
    /// What the store says.
    pub async fn until_now(&self, fog: &Fog) -> Result<(Amount, Duration)> {
        let now = fog.clock().now();
        let day = beginning(now);
        let mut kept = self.0.lock().await;
        let fresh = Read { day, sum: Amount::ZERO, after: [None; 2] };
        let mut read = kept.filter(|read| read.day == day).unwrap_or(fresh);
        for (at, purpose) in [Purpose::TaskReward, Purpose::Reward].into_iter().enumerate() {
            let (from, purpose) = (Some(day), Some(purpose));
            let filter = TransferFilter { from, purpose, ..TransferFilter::default() };
            loop {
                let page = fog.ledger().transfers(&filter, read.after[at], MAX_PAGE).await?;
                for entry in &page {
                    let amount = entry.posted.transfer.amount().unwrap_or_default();
                    read.sum = read.sum.checked_add(amount)?;
                }
                read.after[at] = page.last().map(|last| last.place).or(read.after[at]);
                if page.len() < MAX_PAGE {
                    break;
                }
            }
        }
        *kept = Some(read);
        Ok((read.sum, now.since(day)))
    }
}

fn beginning(now: Timestamp) -> Timestamp {
    let micros = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    let into = now.as_micros().rem_euclid(micros);
    now.saturating_sub(Duration::from_micros(into.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fogcore::amount::Asset;
    use fogcore::ledger::economy::accounts::REWARDS;
    use fogcore::time::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_day_is_counted_once_and_ends_at_midnight() {
        let clock = Arc::new(ManualClock::at("2026-01-01T23:00:00Z".parse().unwrap()));
        let fog = Fog::builder().clock(clock.clone()).without_loops().open().await.unwrap();
        let fogs = |text| Asset::FOG.parse(text).unwrap();
        let (economy, ledger) = (fog.economy(), fog.ledger());
        economy.mint(ledger.new_id(), &REWARDS.parse().unwrap(), fogs("100")).await.unwrap();
        let pay = async |amount| {
            economy
                .pay_reward(ledger.new_id(), &"bob".parse().unwrap(), fogs(amount))
                .await
                .unwrap();
        };
        let today = RewardsToday::default();
        assert_eq!(today.until_now(&fog).await.unwrap().0, Amount::ZERO);
        pay("3").await;
        let (sum, since) = today.until_now(&fog).await.unwrap();
        assert_eq!((sum, since), (fogs("3"), Duration::from_secs(23 * 3_600)));
        pay("4").await;
        assert_eq!(today.until_now(&fog).await.unwrap().0, fogs("7"));
        clock.advance(Duration::from_secs(7_200));
        assert_eq!(today.until_now(&fog).await.unwrap().0, Amount::ZERO);
        pay("5").await;
        assert_eq!(RewardsToday::default().until_now(&fog).await.unwrap().0, fogs("5"));
    }
}
