//! `/ws`: what happens, told to whoever may hear it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use fogcore::event::{Event, Notice, Subscription};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Identity, Scope};

/// The largest message of a client, in bytes.
pub(crate) const MAX_MESSAGE: usize = 128 << 10;

/// How long a client may take to say who it is, or to take what it is sent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a silent client is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The sockets that are open, and what went over those of signaling.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: Arc<AtomicUsize>,
    received: AtomicU64,
    sent: AtomicU64,
}

/// More sockets than this are refused.
const MOST_SOCKETS: usize = 65_536;

/// Counts a socket as long as it is open.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sockets {
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for one more, if there is one.
    pub(crate) fn enter(&self) -> Option<Counted> {
        let counted = Counted(self.open.clone());
        (self.open.fetch_add(1, Ordering::Relaxed) < MOST_SOCKETS).then_some(counted)
    }

    pub(crate) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn relayed(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct TokenQuery {
    token: Option<String>,
}

/// The stream of events. Who has no token in the header or the query says it first.
pub(crate) async fn socket(
    State(app): State<Arc<App>>,
    Query(query): Query<TokenQuery>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(problem) = app.admit_origin(&headers) {
        return problem.into_response();
    }
    let identity = match app.identity(&headers, query.token.as_deref()).await {
        Ok(identity) => identity,
        Err(problem) => return problem.into_response(),
    };
    upgrade.max_message_size(MAX_MESSAGE).on_upgrade(async move |mut socket| {
        let Some(_counted) = app.sockets.enter() else { return };
        if let Some(identity) = who(&app, &mut socket, identity).await {
            serve(&app, socket, &identity).await;
        }
    })
}

/// Who is there: as the request said, as the first message says, or anybody on loopback.
async fn who(app: &App, socket: &mut WebSocket, known: Option<Identity>) -> Option<Identity> {
    if known.is_some() || app.open {
        let scopes = BTreeSet::from(Scope::ALL);
        return Some(known.unwrap_or(Identity { subject: None, scopes, token: None }));
    }
    let first = tokio::time::timeout(PATIENCE, socket.recv()).await.ok()??.ok()?;
    let message: Value = serde_json::from_str(first.to_text().ok()?).ok()?;
    let token = message.get("token").and_then(Value::as_str).unwrap_or_default();
    match app.identity(&HeaderMap::new(), Some(token)).await {
        Ok(identity) => identity,
        Err(problem) => {
            let _ = say(
                socket,
                "error",
                json!({ "code": "AUTHENTICATION_REQUIRED", "message": problem.message }),
            )
            .await;
            None
        }
    }
}

/// The envelope: the fields once below `data`, and once beside it, because existing pages read either.
fn envelope(kind: &str, data: &Value) -> String {
    let mut message = json!({
        "type": kind,
        "timestamp": crate::edge::now().to_string(),
        "data": data,
    });
    if let (Some(message), Some(fields)) = (message.as_object_mut(), data.as_object()) {
        for (name, value) in fields {
            message.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    message.to_string()
}

/// Sends, unless the client does not take it in time.
async fn say(socket: &mut WebSocket, kind: &str, data: Value) -> Option<()> {
    let message = Message::text(envelope(kind, &data));
    tokio::time::timeout(PATIENCE, socket.send(message)).await.ok()?.ok()
}

async fn serve(app: &App, mut socket: WebSocket, identity: &Identity) {
    let mut events = app.fog.subscribe();
    let mut channels: BTreeSet<String> = BTreeSet::new();
    let greeting = json!({ "user": identity.subject, "channels": CHANNELS });
    if say(&mut socket, "connection_established", greeting).await.is_none() {
        return;
    }
    let clock = app.fog.clock();
    let mut beat = clock.sleep(HEARTBEAT);
    loop {
        let done = tokio::select! {
            () = app.stopping.cancelled() => {
                let _ = say(&mut socket, "system_alert", json!({ "message": "the server stops" })).await;
                return;
            }
            () = &mut beat => {
                beat = clock.sleep(HEARTBEAT);
                socket.send(Message::Ping(Vec::new().into())).await.ok()
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => heard(app, &mut socket, &mut channels, &text).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => Some(()),
            },
            told = tell(&mut events, &channels) => match told {
                Some((kind, data)) => say(&mut socket, kind, data).await,
                None => return,
            },
        };
        if done.is_none() {
            return;
        }
    }
}

/// What can be subscribed to; who subscribes to nothing hears all.
const CHANNELS: [&str; 4] = ["p2p", "fog", "token", "system"];

async fn heard(
    app: &App,
    socket: &mut WebSocket,
    channels: &mut BTreeSet<String>,
    text: &str,
) -> Option<()> {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        let error = json!({ "code": "JSON_DECODE_ERROR", "message": "Invalid JSON" });
        return say(socket, "error", error).await;
    };
    let channel = message.get("channel").and_then(Value::as_str).unwrap_or_default();
    let is_known = CHANNELS.contains(&channel);
    match message.get("type").and_then(Value::as_str).unwrap_or_default() {
        "ping" => say(socket, "pong", json!({})).await,
        "subscribe" if is_known => {
            channels.insert(channel.to_owned());
            say(socket, "subscription_confirmed", json!({ "channel": channel })).await
        }
        "unsubscribe" if is_known => {
            channels.remove(channel);
            say(socket, "subscription_ended", json!({ "channel": channel })).await
        }
        "subscribe" | "unsubscribe" => {
            let known = CHANNELS.join(", ");
            let error = json!({ "code": "UNKNOWN_CHANNEL", "message": format!("one of {known}") });
            say(socket, "error", error).await
        }
        "get_status" => {
            let counts = app.fog.counts().await.unwrap_or_default();
            let sockets = app.sockets.count();
            say(
                socket,
                "status_update",
                json!({ "tasks": counts, "websocket_connections": sockets }),
            )
            .await
        }
        "authenticate" => say(socket, "authenticated", json!({})).await,
        kind => {
            let message = format!("Unknown message type: {kind}");
            say(socket, "error", json!({ "code": "UNKNOWN_TYPE", "message": message })).await
        }
    }
}

/// The next event of these channels, and what it is called.
async fn tell(
    events: &mut Subscription,
    channels: &BTreeSet<String>,
) -> Option<(&'static str, Value)> {
    loop {
        let event = match events.next().await? {
            Notice::Missed(missed) => {
                return Some(("system_alert", json!({ "message": "too slow", "missed": missed })));
            }
            Notice::Event(event) => event,
        };
        let (channel, kind) = match &event {
            Event::TransferPosted { .. } => ("token", "token_update"),
            Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::PeerJoined { .. }
            | Event::PeerLeft { .. } => ("p2p", "p2p_update"),
            _ => ("fog", "fog_update"),
        };
        if channels.is_empty() || channels.contains(channel) {
            let event = serde_json::to_value(&event).unwrap_or_default();
            return Some((kind, json!({ "event": event })));
        }
    }
}
