//! The socket: who may open it, and what is told on it.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{start, start_with};
use crate::socket::Socket;

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_socket_greets_answers_and_tells_what_happens() {
    let running = start().await;
    let mut socket = Socket::open(&running, "/ws", &[]).await.unwrap();
    let greeting = socket.hear().await;
    assert_eq!(greeting["type"], "connection_established");
    assert_eq!(greeting["data"]["account_id"], greeting["account_id"]);
    assert!(greeting["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(running.anybody().get("/health").await.ok()["websocket_connections"], 1);

    socket.say(json!({"type": "ping"})).await;
    assert_eq!(socket.hear().await["type"], "pong");
    socket.say(json!({"type": "get_status"})).await;
    assert_eq!(socket.hear().await["data"]["status"], "healthy");
    socket.0.send(Message::text("{")).await.unwrap();
    assert_eq!(socket.hear().await["code"], "JSON_DECODE_ERROR");
    socket.say(json!({"type": "dance"})).await;
    assert_eq!(socket.hear().await["type"], "error");

    running.anybody().post("/api/fog/nodes", json!({"node_id": "laptop"})).await.ok();
    let update = socket.hear_of("fog_update").await;
    assert_eq!(
        (&update["data"]["event"], &update["node"]),
        (&json!("node_registered"), &json!("laptop"))
    );
}

#[tokio::test]
async fn a_channel_is_heard_until_it_is_unsubscribed() {
    let running = start().await;
    let mut socket = Socket::open(&running, "/ws", &[]).await.unwrap();
    socket.hear().await;
    socket.say(json!({"type": "unsubscribe", "channel": "fog"})).await;
    assert_eq!(socket.hear().await["type"], "unsubscribed");
    running.anybody().post("/api/fog/nodes", json!({"node_id": "quiet"})).await.ok();
    socket.say(json!({"type": "subscribe", "channel": "nothing"})).await;
    assert_eq!(socket.hear().await["code"], "UNKNOWN_CHANNEL", "and no update before");
    socket.say(json!({"type": "subscribe", "channel": "fog"})).await;
    assert_eq!(socket.hear().await["type"], "subscription_confirmed");
    running.anybody().post("/api/fog/nodes", json!({"node_id": "loud"})).await.ok();
    assert_eq!(socket.hear_of("fog_update").await["node"], "loud");
}

#[tokio::test]
async fn only_who_is_known_hears_anything() {
    let running = start_with(|s| s.open = Some("off".into())).await;
    let token = running.log_in(crate::common::ADMIN, crate::common::PASSWORD).await;
    let token = token.text("access_token");
    let header = bearer(&token);
    let query = format!("/ws?token={token}");
    for (path, headers) in [("/ws", vec![("authorization", header.as_str())]), (&query, vec![])] {
        let mut socket = Socket::open(&running, path, &headers).await.unwrap();
        assert_eq!(socket.hear().await["type"], "connection_established", "{path}");
    }
    let mut socket = Socket::open(&running, "/ws", &[]).await.unwrap();
    socket.say(json!({"type": "authenticate", "token": token})).await;
    assert_eq!(socket.hear().await["type"], "connection_established");

    let nonsense = Socket::open(&running, "/ws?token=nonsense", &[]).await;
    assert_eq!(nonsense.err(), Some(401));
    let nonsense = Socket::open(&running, "/ws", &[("authorization", "Bearer nonsense")]).await;
    assert_eq!(nonsense.err(), Some(401));
    for first in [json!({"type": "authenticate", "token": "nonsense"}), json!({"type": "ping"})] {
        let mut socket = Socket::open(&running, "/ws", &[]).await.unwrap();
        socket.say(first).await;
        let Message::Close(Some(frame)) = socket.message().await else { panic!("not closed") };
        assert_eq!(u16::from(frame.code), 1008);
    }
}

#[tokio::test]
async fn a_page_of_another_site_opens_no_socket_here() {
    let running = start().await;
    let mut socket =
        Socket::open(&running, "/ws", &[("origin", "https://evil.example")]).await.unwrap();
    socket.say(json!({"type": "ping"})).await;
    assert!(matches!(socket.message().await, Message::Close(Some(_))));
}

#[tokio::test]
async fn transfers_are_told_to_their_owners_alone() {
    let running = start().await;
    let admin = running.admin().await;
    let login = async |name: &str| {
        let (_, account) = running.user(name).await;
        let login = running.log_in(&format!("{name}@example.org"), crate::common::PASSWORD).await;
        (bearer(&login.text("access_token")), account)
    };
    let ((ada, adas), (bob, bobs)) = (login("ada").await, login("bob").await);
    let mut hers = Socket::open(&running, "/ws", &[("authorization", &ada)]).await.unwrap();
    let mut his = Socket::open(&running, "/ws", &[("authorization", &bob)]).await.unwrap();
    hers.hear().await;
    his.hear().await;
    for (account, amount) in [(&adas, "1.5"), (&bobs, "2.5")] {
        let mint = json!({"account_id": account, "amount": amount});
        admin.post("/api/fog/tokens/mint", mint).await.ok();
    }
    let told = hers.hear_of("token_update").await;
    assert_eq!(
        (&told["to_account"], &told["amount_exact"]),
        (&json!(adas), &json!("1.500000000000000000"))
    );
    let told = his.hear_of("token_update").await;
    assert_eq!(
        told["amount_exact"], "2.500000000000000000",
        "his own is the first that he hears of"
    );
}

#[tokio::test]
async fn who_talks_too_much_is_cut_off() {
    let running = start().await;
    let mut socket = Socket::open(&running, "/ws", &[]).await.unwrap();
    let flood =
        futures_util::stream::iter((0..200).map(|_| Ok(Message::text(r#"{"type":"ping"}"#))));
    // It may end while we still talk.
    let _ = socket.0.send_all(&mut { flood }).await;
    loop {
        match socket.0.next().await {
            Some(Ok(Message::Close(Some(frame)))) => {
                assert_eq!(frame.reason.as_str(), "too many messages");
                return;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

#[tokio::test]
async fn sockets_are_told_when_the_server_stops() {
    let running = start().await;
    let mut socket = Socket::open(&running, "/ws", &[]).await.unwrap();
    socket.hear().await;
    running.server.stop().await;
    let Message::Close(Some(frame)) = socket.message().await else { panic!("not told") };
    assert_eq!(u16::from(frame.code), 1001);
}
