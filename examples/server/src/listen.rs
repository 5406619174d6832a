//! The listener: so many connections at once, and none that only takes up a place.
//!
//! HTTP/1.1 is all that is spoken: the clients of the documents need no more, and there is less to
//! defend. A connection ends when a request's head takes too long to come, when it is idle for as
//! long, or when the client does not take what was sent.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::Limits;
use crate::http::client::Peer;

/// Where connections come in.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) limits: Limits,
    pub(crate) stopping: CancellationToken,
}

/// Serves until `stopping`, and then until what is under way has ended, or its grace is over.
pub(crate) async fn serve(door: Door, router: Router) {
    let Door { listener, tls, limits, stopping } = door;
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stopping.cancelled() => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        prepare(&stream, &limits);
        let (router, tls, head) = (router.clone(), tls.clone(), limits.head);
        let stopping = stopping.clone();
        connections.spawn(async move {
            let _place = place;
            match tls {
                None => converse(stream, peer, router, head, stopping).await,
                Some(tls) => {
                    // A handshake that does not come to its end takes up a place, too.
                    if let Ok(Ok(stream)) = tokio::time::timeout(head, tls.accept(stream)).await {
                        converse(stream, peer, router, head, stopping).await;
                    }
                }
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.grace, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            // Out of files, most likely: others have to end first.
            if !is_of_one(&error) {
                tokio::task::yield_now().await;
            }
            None
        }
    }
}

/// Whether only the connection itself is at fault.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers are small, and go at once; a client that takes nothing is given up.
fn prepare(stream: &TcpStream, limits: &Limits) {
    let socket = socket2::SockRef::from(stream);
    let done = socket.set_tcp_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let done = done.and_then(|()| socket.set_tcp_user_timeout(Some(limits.unread)));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = limits;
    if let Err(error) = done {
        tracing::debug!(%error, "a connection keeps its defaults");
    }
}

async fn converse<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    head: Duration,
    stopping: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            Ok::<_, Infallible>(
                router.oneshot(request).await.unwrap_or_else(|never| match never {}),
            )
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(100)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            // What is under way is answered; nothing new is read.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that goes away in the middle is no news.
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}
