//! The signaling socket: a peer's connection to a session, in the words of the document.

use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use fogcore::fog::Connection;
use fogcore::id::{PeerId, SessionId};
use fogcore::signaling::{Delivery, ResumeToken, Said, Sent, Signal};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::routes::{best_first, may_speak_as};
use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::http::extract::{Query, number};
use crate::http::problem::{Kind, Problem};
use crate::ws::routes::READ_BUFFER;

/// The largest message of a client, in bytes: a session description with many candidates.
const MAX_MESSAGE: usize = 128 << 10;
/// How long a message may take to be taken off our hands.
const SEND: Duration = Duration::from_secs(10);
/// Time between two heartbeats. Below the idle timeout of common proxies (60 s).
const HEARTBEAT: Duration = Duration::from_secs(25);
/// Heartbeats that may stay without an answer.
const MISSED: u32 = 2;

/// The socket's routes.
pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(lenient)).routes(routes!(strict))
}

/// How a peer says who it is, and where it wants to go.
#[derive(Deserialize)]
struct Handshake {
    peer_id: Option<String>,
    session_id: Option<String>,
    token: Option<String>,
    /// To go on after a dropped socket: what `session-joined` told.
    resume: Option<String>,
    /// The last number that was heard before.
    #[serde(default, deserialize_with = "number::deserialize")]
    after: Option<u64>,
}

/// Meet the peers of a session, over a WebSocket. Who does not say `peer_id` here says it in the first
/// message.
#[utoipa::path(get, path = "/api/signaling/ws", tag = "signaling",
    params(("peer_id" = Option<String>, Query, description = "Who it is"),
        ("session_id" = Option<String>, Query, description = "Where it wants to go"),
        ("token" = Option<String>, Query, description = "An access token or an API key"),
        ("resume" = Option<String>, Query, description = "What session-joined told, to go on"),
        ("after" = Option<u64>, Query, description = "The last number that was heard")),
    security((), ("bearer" = []), ("api_key" = [])),
    responses((status = 101, description = "The socket is open")))]
async fn lenient(
    State(app): State<App>,
    identity: Option<Extension<Identity>>,
    Query(handshake): Query<Handshake>,
    request: Request,
) -> Result<Response, Problem> {
    connect(app, identity, handshake, request).await
}

/// Meet the peers of a session, over a WebSocket.
#[utoipa::path(get, path = "/api/v1/signaling/ws", tag = "dialect",
    params(("peer_id" = String, Query, description = "Who it is"),
        ("session_id" = Option<String>, Query, description = "Where it wants to go"),
        ("token" = Option<String>, Query, description = "An access token or an API key"),
        ("resume" = Option<String>, Query, description = "What session-joined told, to go on"),
        ("after" = Option<u64>, Query, description = "The last number that was heard")),
    security((), ("bearer" = []), ("api_key" = [])),
    responses((status = 101, description = "The socket is open")))]
async fn strict(
    State(app): State<App>,
    identity: Option<Extension<Identity>>,
    Query(handshake): Query<Handshake>,
    request: Request,
) -> Result<Response, Problem> {
    if handshake.peer_id.is_none() {
        return Err(Problem::invalid("peer_id", "is missing"));
    }
    connect(app, identity, handshake, request).await
}

async fn connect(
    app: App,
    identity: Option<Extension<Identity>>,
    handshake: Handshake,
    request: Request,
) -> Result<Response, Problem> {
    let identity = match (&handshake.token, identity) {
        (Some(token), _) => app.auth.identify_text(token).await?,
        (None, Some(Extension(identity))) => identity,
        (None, None) => return Err(Problem::new(Kind::Unauthenticated)),
    };
    identity.must_have(Scope::Write)?;
    let peer = handshake.peer_id.as_deref().map(|text| named(&identity, text)).transpose()?;
    let session: Option<SessionId> = handshake
        .session_id
        .as_deref()
        .map(|id| super::dto::parse("session_id", id))
        .transpose()?;
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app)
        .await
        .map_err(|_| Problem::told(Kind::BadRequest, "this is a WebSocket: ask for an upgrade"))?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    // Most sockets idle, which should cost little.
    let upgrade = upgrade.read_buffer_size(READ_BUFFER).write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| {
        let tasks = app.tasks.clone();
        let resume = handshake.resume.map(ResumeToken::from_text);
        let talk = Talk { app, socket, identity, peer, connection: None, underscores: false };
        // Counted, so that stopping waits for it.
        tasks.track_future(talk.run(session, resume, handshake.after.unwrap_or_default()))
    }))
}

/// The peer of that name, which must be the caller's.
fn named(identity: &Identity, text: &str) -> Result<PeerId, Problem> {
    let peer = super::dto::parse("peer_id", text)?;
    if may_speak_as(identity, &peer) {
        return Ok(peer);
    }
    Err(Problem::forbidden("this peer id belongs to somebody else"))
}

/// Why a conversation ends.
struct End(u16, &'static str);

const GONE: End = End(close_code::NORMAL, "");

/// A conversation with one peer.
struct Talk {
    app: App,
    socket: WebSocket,
    identity: Identity,
    peer: Option<PeerId>,
    connection: Option<Connection>,
    /// Whether the client writes `ice_candidate` rather than `ice-candidate`.
    underscores: bool,
}

impl Talk {
    async fn run(mut self, session: Option<SessionId>, resume: Option<ResumeToken>, heard: u64) {
        let place = self.app.hub.join();
        let begun = match (session, resume) {
            (Some(session), Some(token)) => self.resume(&session, &token, heard).await,
            (Some(session), None) => self.join(session).await,
            (None, _) => Ok(()),
        };
        let End(code, reason) = match begun {
            Ok(()) => self.talk().await,
            Err(end) => end,
        };
        drop(place);
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        // Whoever is gone need not be told.
        let _ = tokio::time::timeout(SEND, self.socket.send(Message::Close(Some(frame)))).await;
    }

    async fn talk(&mut self) -> End {
        let clock = self.app.fog.clock().clone();
        let stopping = self.app.stopping.clone();
        let (mut beat, mut unanswered) = (clock.sleep(HEARTBEAT), 0);
        loop {
            let delivery = async {
                match &mut self.connection {
                    Some(connection) => connection.next().await,
                    None => std::future::pending().await,
                }
            };
            let step = tokio::select! {
                () = stopping.cancelled() => return End(close_code::AWAY, "the server stops"),
                () = &mut beat => {
                    beat = clock.sleep(HEARTBEAT);
                    unanswered += 1;
                    if unanswered > MISSED {
                        return End(close_code::POLICY, "no heartbeat");
                    }
                    self.check().await
                }
                delivery = delivery => match delivery {
                    Some(delivery) => self.deliver(delivery).await,
                    None => {
                        self.connection = None;
                        self.say(json!({ "type": "session-ended" })).await
                    }
                },
                message = self.socket.recv() => {
                    unanswered = 0;
                    match message {
                        Some(Ok(Message::Text(text))) => self.hear(&text).await,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(GONE),
                        Some(Ok(_)) => Ok(()),
                    }
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Asks whether the peer is there, and whether it still may be.
    async fn check(&mut self) -> Result<(), End> {
        match self.app.auth.still_counts(&self.identity).await {
            Ok(false) => Err(End(close_code::POLICY, "the token is not valid any more")),
            // Nobody is thrown out because the store is away for a moment.
            Ok(true) | Err(Problem { .. }) => self.send(Message::Ping(Default::default())).await,
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SEND, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(GONE),
            Err(_) => Err(End(close_code::POLICY, "too slow")),
        }
    }

    async fn say(&mut self, mut message: Value) -> Result<(), End> {
        if self.underscores
            && let Some(Value::String(kind)) = message.get_mut("type")
        {
            *kind = kind.replace('-', "_");
        }
        self.send(Message::text(message.to_string())).await
    }

    async fn error(&mut self, message: &str) -> Result<(), End> {
        self.say(json!({ "type": "error", "message": message })).await
    }

    async fn resume(
        &mut self,
        session: &SessionId,
        token: &ResumeToken,
        heard: u64,
    ) -> Result<(), End> {
        let Some(peer) = &self.peer else { return self.error("peer_id required").await };
        match self.app.fog.signaling().resume(session, peer, token, heard) {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => self.error(&error.to_string()).await,
        }
    }

    async fn join(&mut self, session: SessionId) -> Result<(), End> {
        let Some(peer) = self.peer.clone() else {
            return self.error("peer_id required").await;
        };
        if let Some(before) = self.connection.take() {
            before.leave();
        }
        match self.app.fog.signaling().connect(&session, &peer).await {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => self.error(&error.to_string()).await,
        }
    }

    async fn deliver(&mut self, Delivery { number, said }: Delivery) -> Result<(), End> {
        let session = self.connection.as_ref().map(|one| one.session().as_str());
        let mut message = match said {
            Said::Joined { peers, token } => json!({
                "type": "session-joined", "session_id": session, "peers": peers,
                "resume": token.expose(),
            }),
            Said::PeerJoined { peer } => json!({ "type": "peer-joined", "peer_id": peer }),
            Said::PeerLeft { peer } => json!({ "type": "peer-left", "peer_id": peer }),
            Said::GiveWay { to, sdp } => json!({ "type": "give-way", "to": to, "sdp": sdp }),
            Said::Signal { from, signal, polite, at } => {
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
        message["seq"] = number.into();
        self.say(message).await
    }

    /// Opens a session on the best host that the zone takes, and joins it.
    async fn create(&mut self, zone: &str, offer: Option<String>) -> Result<(), End> {
        let Ok(zone) = zone.parse() else { return self.error("zone required").await };
        let hosts = match best_first(&self.app).await {
            Ok(hosts) => hosts,
            Err(problem) => return self.error(&problem.message).await,
        };
        let signaling = self.app.fog.signaling();
        let mut refusal = "No available hosts found".to_owned();
        for host in hosts.iter().filter(|host| host.is_available()) {
            let Ok(node) = host.host_id.parse() else { continue };
            match signaling.open_session(&node, &zone, None, []).await {
                Ok(session) => {
                    let told = json!({
                        "type": "session_created", "session_id": session.id, "host_id": node,
                    });
                    let mut told = told;
                    if let (Some(sdp), Some(peer)) = (offer, &self.peer) {
                        told["offer"] = sdp.as_str().into();
                        let signal = Signal::Offer { sdp };
                        if let Err(error) = signaling.put_mail(&session.id, peer, signal).await {
                            return self.error(&error.to_string()).await;
                        }
                    }
                    self.say(told).await?;
                    return self.join(session.id).await;
                }
                Err(error) => refusal = error.to_string(),
            }
        }
        self.error(&refusal).await
    }

    async fn hear(&mut self, text: &str) -> Result<(), End> {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return self.error("Invalid JSON").await;
        };
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        let kind = text("type").unwrap_or_default();
        self.underscores |= kind.contains('_');
        if self.peer.is_none()
            && let Some(peer) = text("peer_id")
        {
            match named(&self.identity, &peer) {
                Ok(peer) => self.peer = Some(peer),
                Err(problem) => return self.error(&problem.message).await,
            }
        }
        let to = text("to").or_else(|| text("target_peer_id"));
        match kind.replace('_', "-").as_str() {
            "join" => match text("session_id").map(|session| session.parse()) {
                Some(Ok(session)) => self.join(session).await,
                _ => self.error("session_id required").await,
            },
            "create-session" => match text("zone") {
                Some(zone) => self.create(&zone, text("offer")).await,
                None => self.error("zone required").await,
            },
            "leave" => match self.connection.take() {
                Some(connection) => {
                    let session = connection.session().clone();
                    connection.leave();
                    self.say(json!({ "type": "session-left", "session_id": session })).await
                }
                None => self.error("session_id required").await,
            },
            "offer" | "answer" => match (to, text("sdp")) {
                (Some(to), Some(sdp)) if kind == "offer" => {
                    self.pass_on(&to, Signal::Offer { sdp }).await
                }
                (Some(to), Some(sdp)) => self.pass_on(&to, Signal::Answer { sdp }).await,
                _ => self.error("to and sdp required").await,
            },
            "ice-candidate" => match (to, message.get("candidate").map(candidate)) {
                (Some(to), Some(signal)) => self.pass_on(&to, signal).await,
                _ => self.error("to and candidate required").await,
            },
            "end-of-candidates" => match to {
                Some(to) => self.pass_on(&to, Signal::EndOfCandidates).await,
                None => self.error("to required").await,
            },
            "custom" => match (to, text("data")) {
                (Some(to), Some(data)) => self.pass_on(&to, Signal::Custom { data }).await,
                _ => self.error("to and data required").await,
            },
            "ack" => {
                let heard = message.get("seq").and_then(Value::as_u64).unwrap_or_default();
                if let Some(connection) = &self.connection {
                    connection.acknowledge(heard);
                }
                Ok(())
            }
            "ping" => self.say(json!({ "type": "pong" })).await,
            _ => self.error(&format!("Unknown message type: {kind}")).await,
        }
    }

    async fn pass_on(&mut self, to: &str, signal: Signal) -> Result<(), End> {
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
            Ok(Sent::Delivered | Sent::Kept | Sent::GaveWay) => Ok(()),
            Err(error) => self.error(&format!("Failed to deliver {kind} to {to}: {error}")).await,
        }
    }
}

/// A candidate as a client writes it: a line, or the object that a browser makes of it. WebRTC says
/// with an empty one that there are no more.
fn candidate(told: &Value) -> Signal {
    match told {
        Value::Null => Signal::EndOfCandidates,
        Value::String(line) if line.is_empty() => Signal::EndOfCandidates,
        Value::String(line) => Signal::IceCandidate { candidate: line.clone() },
        other => Signal::IceCandidate { candidate: other.to_string() },
    }
}
