//! From events of the fog to messages for sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fogcore::Fog;
use fogcore::amount::{Amount, Asset};
use fogcore::event::{Event, Notice};
use fogcore::id::{AccountId, TaskId, TransferId};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

use super::message::{Audience, Channel, Outgoing, envelope, fields};
use crate::app::App;

/// Messages that are kept for a slow reader.
const CAPACITY: usize = 1_024;

/// The bus, and how many listen.
#[derive(Debug)]
pub struct Hub {
    bus: broadcast::Sender<Arc<Outgoing>>,
    sockets: AtomicUsize,
}

impl Default for Hub {
    fn default() -> Self {
        Self { bus: broadcast::Sender::new(CAPACITY), sockets: AtomicUsize::new(0) }
    }
}

/// A socket's place. It counts as long as this is there.
#[derive(Debug)]
pub struct Place {
    hub: Arc<Hub>,
    /// What is told from now on.
    pub messages: broadcast::Receiver<Arc<Outgoing>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.sockets.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("fogcore_server_sockets").decrement(1.0);
    }
}

impl Hub {
    /// A place for a socket.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> Place {
        self.sockets.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("fogcore_server_sockets").increment(1.0);
        Place { hub: self.clone(), messages: self.bus.subscribe() }
    }

    /// How many sockets there are.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Tells whoever listens.
    pub fn tell(&self, message: Outgoing) {
        // An error only says that nobody listens.
        let _ = self.bus.send(Arc::new(message));
    }
}

/// Listens to the fog until the server stops.
pub async fn run(app: App) {
    let (hub, fog) = (&app.hub, &app.fog);
    let mut events = fog.subscribe();
    loop {
        let notice = tokio::select! {
            notice = events.next() => notice,
            () = app.stopping.cancelled() => return,
        };
        app.kept.changed();
        match notice {
            None => return,
            // Finding out who may hear costs a look into the store.
            Some(_) if hub.bus.receiver_count() == 0 => {}
            Some(Notice::Missed(events)) => hub.tell(missed(fog, events)),
            Some(Notice::Event(event)) => {
                if let Some(message) = message(fog, &event).await {
                    hub.tell(message);
                }
            }
        }
    }
}

fn missed(fog: &Fog, events: u64) -> Outgoing {
    let told = json!({"event": "events_missed", "events": events, "severity": "warning"});
    outgoing(fog, Channel::System, Audience::Everybody, fields(told))
}

fn outgoing(fog: &Fog, channel: Channel, audience: Audience, told: Map<String, Value>) -> Outgoing {
    let text = envelope(channel.message_type(), fog.clock().now(), told);
    Outgoing { channel, audience, text }
}

/// The message that an event makes; none if its subject is gone.
async fn message(fog: &Fog, event: &Event) -> Option<Outgoing> {
    let told = as_fields(event, &fog.config().asset);
    Some(match event {
        Event::TransferPosted { transfer } => {
            let (told, owners) = transfer_told(fog, *transfer).await?;
            outgoing(fog, Channel::Tokens, Audience::Owners(owners), told)
        }
        Event::NodeOffline { .. } | Event::FailoverStarted { .. } => {
            let severity = ("severity".to_owned(), json!("warning"));
            let told = told.into_iter().chain([severity]).collect();
            outgoing(fog, Channel::System, Audience::Everybody, told)
        }
        Event::TaskQueued { task }
        | Event::TaskLeased { task, .. }
        | Event::TaskPreempted { task, .. }
        | Event::TaskProgressed { task, .. }
        | Event::TaskSucceeded { task, .. }
        | Event::TaskRetrying { task, .. }
        | Event::TaskEnded { task, .. } => {
            let audience = Audience::Managers(payer(fog, *task).await?);
            outgoing(fog, Channel::Fog, audience, told)
        }
        Event::TradeMade { trade, .. } | Event::TradeEnded { trade, .. } => {
            let trade = fog.market().trade(*trade).await.ok()?;
            let owners = Audience::Owners(vec![trade.payer, trade.owner]);
            outgoing(fog, Channel::Fog, owners, told)
        }
        Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::PeerJoined { .. }
        | Event::PeerLeft { .. } => {
            // Who meets whom is not everybody's business.
            outgoing(fog, Channel::P2p, Audience::Managers(None), told)
        }
        Event::NodeRegistered { .. }
        | Event::NodeOnline { .. }
        | Event::NodeSuspect { .. }
        | Event::NodeRemoved { .. }
        | Event::NodeHealth { .. } => outgoing(fog, Channel::Fog, Audience::Everybody, told),
        // What is new, or about the inside, is for those who look after the fog.
        _ => outgoing(fog, Channel::Fog, Audience::Managers(None), told),
    })
}

async fn payer(fog: &Fog, task: TaskId) -> Option<Option<AccountId>> {
    Some(fog.task(task).await.ok()?.spec.payer().cloned())
}

/// An event's fields. The envelope has a `type` of its own, and amounts are told as decimals.
fn as_fields(event: &Event, asset: &Asset) -> Map<String, Value> {
    let told = fields(serde_json::to_value(event).unwrap_or_default());
    let told = told.into_iter().map(|(name, value)| match name.as_str() {
        "type" => ("event".to_owned(), value),
        "paid" | "cost" => {
            let units = value.as_str().and_then(|units| units.parse::<Amount>().ok());
            (name, units.map_or(value, |units| json!(asset.decimal(units))))
        }
        _ => (name, value),
    });
    told.collect()
}

/// What a transfer tells, and whose it is. What ends a hold is of the hold's accounts.
async fn transfer_told(fog: &Fog, id: TransferId) -> Option<(Map<String, Value>, Vec<AccountId>)> {
    let ledger = fog.ledger();
    let posted = ledger.posted(id).await.ok()??;
    let named = match posted.transfer.ends_hold() {
        Some(hold) => ledger.posted(hold).await.ok()??,
        None => posted.clone(),
    };
    let [from, to] = named.transfer.accounts()?;
    let amount = posted.transfer.amount().map(|amount| fog.config().asset.decimal(amount));
    let told = json!({
        "event": "transfer_posted",
        "tx_id": id.to_string(),
        "kind": posted.transfer.kind.name(),
        "purpose": posted.transfer.purpose.name(),
        "from_account": from.as_str(),
        "to_account": to.as_str(),
        "amount_exact": amount,
        "posted_at": posted.at.to_string(),
    });
    Some((fields(told), vec![from.clone(), to.clone()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_name_and_its_amounts_are_decimals() {
        let event = Event::TaskSucceeded {
            task: TaskId::derive(b"a", "task"),
            node: "laptop".parse().unwrap(),
            paid: Amount::from_base_units(1_500_000_000_000_000_000),
        };
        let told = as_fields(&event, &Asset::FOG);
        assert_eq!(told["event"], "task_succeeded");
        assert_eq!(told["paid"], "1.500000000000000000");
        assert!(!told.contains_key("type"));
    }

    #[tokio::test]
    async fn a_transfer_is_told_to_both_sides() {
        let fog = Fog::open("memory:").await.unwrap();
        let alice: AccountId = "alice".parse().unwrap();
        let mut events = fog.subscribe();
        fog.ledger().mint(&alice, Amount::from_base_units(1)).await.unwrap();
        let Some(Notice::Event(event)) = events.next().await else { panic!("no event") };
        let message = message(&fog, &event).await.unwrap();
        let Audience::Owners(owners) = &message.audience else { panic!("{message:?}") };
        assert!(owners.contains(&alice) && owners.len() == 2);
        assert!(message.text.contains(r#""type":"token_update""#), "{}", message.text);
    }
}
