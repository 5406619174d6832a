//! The signaling socket: a peer's connection to a session, in the words of the document.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use fogcore::fog::Connection;
use fogcore::id::PeerId;
use fogcore::signaling::{Delivery, ResumeToken, Said, Sent, Signal};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::Scope;
use crate::events::{MAX_MESSAGE, PATIENCE};
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
pub(crate) struct PeerQuery {
    peer_id: Option<String>,
    session_id: Option<String>,
    token: Option<String>,
    /// To go on after a dropped socket: what `session-joined` told, and the last number heard.
    resume: Option<String>,
    after: Option<u64>,
}

/// A peer id belongs to who asks: whoever has an identity speaks in its name only, unless that has
/// the scope `admin`.
fn may_speak_as(app: &App, identity: Option<&crate::auth::Identity>, peer: &str) -> bool {
    identity.map_or(app.open, |identity| {
        let subject = identity.subject.as_deref();
        let own = subject.is_some_and(|subject| {
            peer == subject || peer.strip_prefix(subject).is_some_and(|rest| rest.starts_with(':'))
        });
        own || app.open || identity.scopes.contains(&Scope::Admin)
    })
}

pub(crate) async fn socket(
    State(app): State<Arc<App>>,
    Query(query): Query<PeerQuery>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(problem) = app.admit_origin(&headers) {
        return problem.into_response();
    }
    let identity = match app.identity(&headers, query.token.as_deref()).await {
        Ok(None) if !app.open => {
            return Problem::unauthorized("a token or an API key is needed").into_response();
        }
        Ok(identity) => identity,
        Err(problem) => return problem.into_response(),
    };
    if let Some(peer) = &query.peer_id
        && !may_speak_as(&app, identity.as_ref(), peer)
    {
        let why = "this peer id belongs to somebody else";
        return Problem::new(axum::http::StatusCode::FORBIDDEN, why).into_response();
    }
    upgrade.max_message_size(MAX_MESSAGE).on_upgrade(async move |socket| {
        let Some(_counted) = app.sockets.enter() else { return };
        let peer = query.peer_id.as_deref().and_then(|peer| peer.parse().ok());
        let talk = Talk { app: &app, socket, peer, connection: None, underscores: false };
        talk.run(query, identity.as_ref()).await;
    })
}

/// A conversation with one peer.
struct Talk<'a> {
    app: &'a App,
    socket: WebSocket,
    peer: Option<PeerId>,
    connection: Option<Connection>,
    /// Whether the client writes `ice_candidate` rather than `ice-candidate`.
    underscores: bool,
}

impl Talk<'_> {
    async fn run(mut self, query: PeerQuery, identity: Option<&crate::auth::Identity>) {
        if let Some(session) = &query.session_id {
            let joined = match (&query.resume, &self.peer, session.parse()) {
                (Some(token), Some(peer), Ok(session)) => {
                    let token = ResumeToken::from_text(token.clone());
                    let heard = query.after.unwrap_or_default();
                    self.app.fog.signaling().resume(&session, peer, &token, heard).map(Some)
                }
                _ => Ok(None),
            };
            let done = match joined {
                Ok(Some(connection)) => {
                    self.connection = Some(connection);
                    Some(())
                }
                Ok(None) => self.join(session).await,
                Err(error) => self.error(&error.to_string()).await,
            };
            if done.is_none() {
                return;
            }
        }
        loop {
            let next = async {
                match &mut self.connection {
                    Some(connection) => connection.next().await,
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                () = self.app.stopping.cancelled() => return,
                delivery = next => match delivery {
                    Some(delivery) => self.deliver(delivery).await,
                    None => {
                        self.connection = None;
                        self.say(json!({ "type": "session-ended" })).await
                    }
                },
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => self.hear(&text, identity).await,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => Some(()),
                },
            };
            if done.is_none() {
                return;
            }
        }
    }

    async fn say(&mut self, mut message: Value) -> Option<()> {
        if self.underscores
            && let Some(kind) = message.get("type").and_then(Value::as_str)
        {
            message["type"] = kind.replace('-', "_").into();
        }
        let message = Message::text(message.to_string());
        tokio::time::timeout(PATIENCE, self.socket.send(message)).await.ok()?.ok()
    }

    async fn error(&mut self, message: &str) -> Option<()> {
        self.say(json!({ "type": "error", "message": message })).await
    }

    async fn deliver(&mut self, Delivery { number, said }: Delivery) -> Option<()> {
        let session = self.connection.as_ref().map(|one| one.session().as_str().to_owned());
        let message = match said {
            Said::Joined { peers, token } => json!({
                "type": "session-joined", "session_id": session, "peers": peers,
                "resume": token.expose(),
            }),
            Said::PeerJoined { peer } => json!({ "type": "peer-joined", "peer_id": peer }),
            Said::PeerLeft { peer } => json!({ "type": "peer-left", "peer_id": peer }),
            Said::GiveWay { to, sdp } => json!({ "type": "give-way", "to": to, "sdp": sdp }),
            Said::Signal { from, signal, polite, at } => {
                self.app.sockets.sent();
                let mut message = serde_json::to_value(&signal).unwrap_or_default();
                if let Signal::IceCandidate { candidate } = &signal {
                    // As it came: a line, or what the browser made of it.
                    message["candidate"] = serde_json::from_str(candidate)
                        .ok()
                        .filter(Value::is_object)
                        .unwrap_or_else(|| candidate.as_str().into());
                }
                message["from"] = from.as_str().into();
                message["polite"] = polite.into();
                message["timestamp"] = at.to_string().into();
                message
            }
        };
        let mut message = message;
        message["seq"] = number.into();
        self.say(message).await?;
        if let Some(connection) = &self.connection {
            connection.acknowledge(number.saturating_sub(KEPT));
        }
        Some(())
    }

    async fn join(&mut self, session: &str) -> Option<()> {
        let Some(peer) = self.peer.clone() else {
            return self.error("peer_id required").await;
        };
        let Ok(session) = session.parse() else { return self.error("session_id required").await };
        if let Some(before) = self.connection.take() {
            before.leave();
        }
        match self.app.fog.signaling().connect(&session, &peer).await {
            Ok(connection) => {
                self.connection = Some(connection);
                Some(())
            }
            Err(error) => self.error(&error.to_string()).await,
        }
    }

    async fn hear(&mut self, text: &str, identity: Option<&crate::auth::Identity>) -> Option<()> {
        self.app.sockets.received();
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return self.error("Invalid JSON").await;
        };
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        let kind = text("type").unwrap_or_default();
        self.underscores |= kind.contains('_') && kind != "create_session";
        if self.peer.is_none()
            && let Some(peer) = text("peer_id")
        {
            if !may_speak_as(self.app, identity, &peer) {
                return self.error("this peer id belongs to somebody else").await;
            }
            self.peer = peer.parse().ok();
        }
        let to = text("to").or_else(|| text("target_peer_id"));
        match kind.replace('_', "-").as_str() {
            "join" => match text("session_id") {
                Some(session) => self.join(&session).await,
                None => self.error("session_id required").await,
            },
            "leave" => match self.connection.take() {
                Some(connection) => {
                    let session = connection.session().as_str().to_owned();
                    connection.leave();
                    self.say(json!({ "type": "session-left", "session_id": session })).await
                }
                None => self.error("session_id required").await,
            },
            "offer" | "answer" => match (to, text("sdp")) {
                (Some(to), Some(sdp)) if kind == "offer" => {
                    self.send(&to, Signal::Offer { sdp }).await
                }
                (Some(to), Some(sdp)) => self.send(&to, Signal::Answer { sdp }).await,
                _ => self.error("to and sdp required").await,
            },
            "ice-candidate" => {
                let candidate = message.get("candidate").map(|candidate| match candidate {
                    Value::String(line) => line.clone(),
                    other => other.to_string(),
                });
                match (to, candidate) {
                    // WebRTC says with an empty candidate that there are no more.
                    (Some(to), Some(line)) if line.is_empty() || line == "null" => {
                        self.send(&to, Signal::EndOfCandidates).await
                    }
                    (Some(to), Some(candidate)) => {
                        self.send(&to, Signal::IceCandidate { candidate }).await
                    }
                    _ => self.error("to and candidate required").await,
                }
            }
            "end-of-candidates" => match to {
                Some(to) => self.send(&to, Signal::EndOfCandidates).await,
                None => self.error("to required").await,
            },
            "custom" => match (to, text("data")) {
                (Some(to), Some(data)) => self.send(&to, Signal::Custom { data }).await,
                _ => self.error("to and data required").await,
            },
            "ack" => {
                let heard = message.get("seq").and_then(Value::as_u64).unwrap_or_default();
                if let Some(connection) = &self.connection {
                    connection.acknowledge(heard);
                }
                Some(())
            }
            "ping" => self.say(json!({ "type": "pong" })).await,
            _ => self.error(&format!("Unknown message type: {kind}")).await,
        }
    }

    async fn send(&mut self, to: &str, signal: Signal) -> Option<()> {
        let kind = match &signal {
            Signal::Offer { .. } => "offer",
            Signal::Answer { .. } => "answer",
            Signal::IceCandidate { .. } | Signal::EndOfCandidates => "candidate",
            Signal::Custom { .. } => "message",
        };
        let Some(connection) = &self.connection else {
            return self.error("session_id required").await;
        };
        let Ok(peer) = to.parse() else {
            return self.error(&format!("Failed to deliver {kind} to {to}")).await;
        };
        match connection.send(&peer, signal).await {
            Ok(Sent::Delivered | Sent::Kept | Sent::GaveWay) => Some(()),
            Err(error) => self.error(&format!("Failed to deliver {kind} to {to}: {error}")).await,
        }
    }
}

/// So many of the latest deliveries are kept for a client that never says what it heard: its socket
/// may have dropped with them on the way.
const KEPT: u64 = 64;
