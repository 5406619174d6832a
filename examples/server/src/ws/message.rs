//! Messages, and the envelope they go in: `{type, timestamp, data: {…}, …the same fields flat…}`.

use fogcore::id::AccountId;
use fogcore::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::auth::Identity;

/// What a message is about. A socket hears all of them until it unsubscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The peer-to-peer network.
    P2p,
    /// Nodes, tasks and trades.
    Fog,
    /// Transfers of tokens.
    Tokens,
    /// Privacy and its circuits.
    Privacy,
    /// What everybody should know.
    System,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 5] = [Self::P2p, Self::Fog, Self::Tokens, Self::Privacy, Self::System];

    /// Its name, as in `subscribe`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Fog => "fog",
            Self::Tokens => "tokens",
            Self::Privacy => "privacy",
            Self::System => "system",
        }
    }

    /// The channel of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.name() == name)
    }

    /// The type of its messages.
    #[must_use]
    pub const fn message_type(self) -> &'static str {
        match self {
            Self::P2p => "p2p_update",
            Self::Fog => "fog_update",
            Self::Tokens => "token_update",
            Self::Privacy => "privacy_update",
            Self::System => "system_alert",
        }
    }
}

/// Who may hear a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who may read.
    Everybody,
    /// Whoever looks after nodes and tasks, and these.
    Managers(Option<AccountId>),
    /// Administrators, and these: it is about their money.
    Owners(Vec<AccountId>),
}

impl Audience {
    /// Whether somebody belongs to it.
    #[must_use]
    pub fn has(&self, identity: &Identity) -> bool {
        match self {
            Self::Everybody => true,
            Self::Managers(of) => {
                identity.is_operator() || of.as_ref().is_some_and(|of| *of == identity.account)
            }
            Self::Owners(of) => identity.is_admin() || of.contains(&identity.account),
        }
    }
}

/// A message on the bus.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What it is about.
    pub channel: Channel,
    /// Who may hear it.
    pub audience: Audience,
    /// What goes over the wire; written once for all.
    pub text: String,
}

/// Puts what is told into the envelope.
#[must_use]
pub fn envelope(kind: &str, now: Timestamp, told: Map<String, Value>) -> String {
    let mut all = Map::new();
    all.insert("type".to_owned(), json!(kind));
    all.insert("timestamp".to_owned(), json!(now.to_string()));
    all.insert("data".to_owned(), Value::Object(told.clone()));
    for (name, value) in told {
        // The envelope's own fields are not told twice.
        all.entry(name).or_insert(value);
    }
    Value::Object(all).to_string()
}

/// The fields of a JSON object; none of anything else.
#[must_use]
pub fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Incoming {
    /// Who it is, if the handshake did not say so.
    Authenticate {
        /// An access token or an API key.
        token: String,
    },
    /// Whether somebody is there.
    Ping,
    /// How the server is.
    GetStatus,
    /// To hear of a channel.
    Subscribe {
        /// Its name.
        channel: String,
    },
    /// To hear no more of it.
    Unsubscribe {
        /// Its name.
        channel: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_fields_twice_and_the_envelopes_once() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let told = fields(json!({"node": "a", "type": "inner"}));
        let read: Value = serde_json::from_str(&envelope("fog_update", now, told)).unwrap();
        assert_eq!(read["type"], "fog_update");
        assert_eq!(read["data"], json!({"node": "a", "type": "inner"}));
        assert_eq!(
            (&read["node"], &read["timestamp"]),
            (&json!("a"), &json!("2026-01-01T00:00:00Z"))
        );
    }

    #[test]
    fn money_is_told_to_its_owners_and_tasks_to_their_managers() {
        let [ada, bob]: [AccountId; 2] = ["ada", "bob"].map(|id| id.parse().unwrap());
        let operator = Identity::local();
        let user =
            Identity { account: ada.clone(), role: crate::auth::Role::User, ..operator.clone() };
        assert!(Audience::Owners(vec![ada.clone()]).has(&user));
        assert!(!Audience::Owners(vec![ada.clone()]).has(&operator));
        assert!(!Audience::Managers(Some(bob.clone())).has(&user));
        assert!(!Audience::Managers(None).has(&user));
        assert!(Audience::Managers(Some(bob)).has(&operator));
    }
}
