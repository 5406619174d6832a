//! One socket: it says who it is, hears what it may, and ends in good order.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::message::{Channel, Incoming, Outgoing, envelope, fields};
use crate::api::system;
use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::http::problem::Problem;
use crate::http::quota::{Key, Quotas, Rate};

/// How long a socket may be without saying who it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two heartbeats. Below the idle timeout of common proxies (60 s).
const HEARTBEAT: Duration = Duration::from_secs(25);
/// Heartbeats that may stay without an answer.
const MISSED: u32 = 2;
/// How long a message may take to be taken off our hands.
const SEND: Duration = Duration::from_secs(10);
/// What a client may say: 60 messages at once, then ten a second; 10,000 an hour.
const SAID: [Rate; 2] =
    [Rate::new(60, Duration::from_secs(6)), Rate::new(10_000, Duration::from_secs(3_600))];

/// Why a socket ends.
struct End(u16, &'static str);

const GONE: End = End(close_code::NORMAL, "");

pub(super) struct Socket {
    app: App,
    socket: WebSocket,
    said: Quotas,
}

impl Socket {
    pub(super) fn new(app: App, socket: WebSocket) -> Self {
        Self { app, socket, said: Quotas::new(1) }
    }

    /// Serves the socket until its end.
    pub(super) async fn serve(mut self, identity: Option<Identity>) {
        let End(code, reason) = match identity {
            Some(identity) => self.listen(identity).await,
            None => match self.introduce().await {
                Ok(identity) => self.listen(identity).await,
                Err(end) => end,
            },
        };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        // Whoever is gone need not be told.
        let _ = tokio::time::timeout(SEND, self.socket.send(Message::Close(Some(frame)))).await;
    }

    /// Waits for the client to say who it is.
    async fn introduce(&mut self) -> Result<Identity, End> {
        let unknown = || End(close_code::POLICY, "a valid token is needed");
        let first = tokio::time::timeout(PATIENCE, self.socket.recv()).await;
        let Ok(Some(Ok(Message::Text(text)))) = first else { return Err(unknown()) };
        let Ok(Incoming::Authenticate { token }) = serde_json::from_str(&text) else {
            return Err(unknown());
        };
        match self.app.auth.identify_text(&token).await {
            Ok(identity) if identity.scopes.has(Scope::Read) => Ok(identity),
            _ => Err(unknown()),
        }
    }

    async fn listen(&mut self, identity: Identity) -> End {
        let mut place = self.app.hub.join();
        let mut channels = Channel::ALL.to_vec();
        let clock = self.app.fog.clock().clone();
        let greeting = json!({
            "account_id": identity.account.as_str(),
            "channels": Channel::ALL.map(Channel::name),
            "heartbeat_seconds": HEARTBEAT.as_secs(),
        });
        if let Err(end) = self.say("connection_established", fields(greeting)).await {
            return end;
        }
        let stopping = self.app.stopping.clone();
        let mut unanswered = 0;
        let mut beat = clock.sleep(HEARTBEAT);
        loop {
            let step = tokio::select! {
                () = stopping.cancelled() => return End(close_code::AWAY, "the server stops"),
                () = &mut beat => {
                    beat = clock.sleep(HEARTBEAT);
                    unanswered += 1;
                    if unanswered > MISSED {
                        return End(close_code::POLICY, "no heartbeat");
                    }
                    self.check(&identity).await
                }
                heard = self.socket.recv() => {
                    unanswered = 0;
                    match heard {
                        Some(Ok(message)) => self.hear(message, &mut channels).await,
                        Some(Err(_)) | None => Err(GONE),
                    }
                }
                told = place.messages.recv() => match told {
                    Ok(message) => self.pass_on(&message, &identity, &channels).await,
                    Err(RecvError::Lagged(missed)) => {
                        self.say("messages_missed", fields(json!({"messages": missed}))).await
                    }
                    Err(RecvError::Closed) => Err(GONE),
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Asks whether the client is there, and whether it still may be.
    async fn check(&mut self, identity: &Identity) -> Result<(), End> {
        match self.app.auth.still_counts(identity).await {
            Ok(false) => Err(End(close_code::POLICY, "the token is not valid any more")),
            // Nobody is thrown out because the store is away for a moment.
            Ok(true) | Err(Problem { .. }) => self.send(Message::Ping(Default::default())).await,
        }
    }

    async fn pass_on(
        &mut self,
        message: &Outgoing,
        identity: &Identity,
        channels: &[Channel],
    ) -> Result<(), End> {
        if !channels.contains(&message.channel) || !message.audience.has(identity) {
            return Ok(());
        }
        self.send(Message::text(message.text.as_str())).await
    }

    async fn hear(&mut self, message: Message, channels: &mut Vec<Channel>) -> Result<(), End> {
        let now = self.app.fog.clock().elapsed();
        if !self.said.take_of(&Key::Others, SAID, now).is_allowed() {
            return Err(End(close_code::POLICY, "too many messages"));
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Close(_) => return Err(GONE),
            // Pings are answered below us.
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Binary(_) => return self.complain("JSON_DECODE_ERROR", "not a text").await,
        };
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            return self.complain("JSON_DECODE_ERROR", "Invalid JSON").await;
        };
        let Ok(incoming) = serde_json::from_value::<Incoming>(value) else {
            return self
                .complain("UNKNOWN_MESSAGE", "Unknown message type, or a field is missing")
                .await;
        };
        match incoming {
            Incoming::Authenticate { .. } => self.say("authenticated", Map::new()).await,
            Incoming::Ping => self.say("pong", Map::new()).await,
            Incoming::GetStatus => {
                let health = system::health_of(&self.app).await;
                let told = serde_json::to_value(&health).unwrap_or_default();
                self.say("status_update", fields(told)).await
            }
            Incoming::Subscribe { channel } => match Channel::named(&channel) {
                Some(named) => {
                    if !channels.contains(&named) {
                        channels.push(named);
                    }
                    self.say("subscription_confirmed", fields(json!({"channel": channel}))).await
                }
                None => self.complain("UNKNOWN_CHANNEL", "there is no such channel").await,
            },
            Incoming::Unsubscribe { channel } => {
                channels.retain(|held| held.name() != channel);
                self.say("unsubscribed", fields(json!({"channel": channel}))).await
            }
        }
    }

    async fn complain(&mut self, code: &str, message: &str) -> Result<(), End> {
        self.say("error", fields(json!({"code": code, "message": message}))).await
    }

    async fn say(&mut self, kind: &str, told: Map<String, Value>) -> Result<(), End> {
        let text = envelope(kind, self.app.fog.clock().now(), told);
        self.send(Message::Text(text.into())).await
    }

    /// Whoever does not take what is sent is given up.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SEND, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(GONE),
            Err(_) => Err(End(close_code::POLICY, "too slow")),
        }
    }
}
