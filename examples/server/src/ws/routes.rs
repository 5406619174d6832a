//! The handshake.

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::socket::Socket;
use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::http::extract::Query;
use crate::http::problem::{Kind, Problem};

/// The largest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// Bytes that are read from a socket at once: most messages are smaller.
pub(crate) const READ_BUFFER: usize = 4 << 10;

/// The socket's route.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(connect))
}

/// How a browser says who it is: it cannot send the header.
#[derive(Deserialize)]
struct Handshake {
    /// An access token or an API key.
    token: Option<String>,
}

/// Listen to what happens, over a WebSocket. The token is in the header `Authorization`, in the
/// query, or in a first message `{"type": "authenticate", "token": …}`.
#[utoipa::path(get, path = "/ws", tag = "events", params(("token" = Option<String>, Query, description = "An access token or an API key")),
    security((), ("bearer" = []), ("api_key" = [])),
    responses((status = 101, description = "The socket is open")))]
async fn connect(
    State(app): State<App>,
    identity: Option<Extension<Identity>>,
    Query(handshake): Query<Handshake>,
    request: Request,
) -> Result<Response, Problem> {
    let identity = match handshake.token {
        Some(token) => Some(app.auth.identify_text(&token).await?),
        None => identity.map(|Extension(identity)| identity),
    };
    if let Some(identity) = &identity {
        identity.must_have(Scope::Read)?;
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app)
        .await
        .map_err(|_| Problem::told(Kind::BadRequest, "this is a WebSocket: ask for an upgrade"))?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    // Most sockets idle, which should cost little.
    let upgrade = upgrade.read_buffer_size(READ_BUFFER).write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| {
        let tasks = app.tasks.clone();
        // Counted, so that stopping waits for it.
        tasks.track_future(Socket::new(app, socket).serve(identity))
    }))
}
