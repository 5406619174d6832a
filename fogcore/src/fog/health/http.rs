//! The probe that asks over HTTP.

use std::error::Error as _;
use std::io;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;

use super::tcp::{connect, reason};
use crate::error::{Error, Result};
use crate::failover::{HealthProbe, ProbeError, ProbeTarget};
use crate::registry::Address;

/// The longest path, in bytes.
const MAX_PATH: usize = 2_048;
/// The longest answer before its body, in bytes.
const MAX_HEAD: usize = 16 * 1_024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 64;
/// So much of an answer's body is read, in bytes.
const MAX_BODY: usize = 64 * 1_024;

/// Asks `GET path` of the node's address over HTTP/1.1, on a connection of its own, and expects a
/// status from 200 to 299.
///
/// The status decides. The body is read up to 64 KiB, so that a node which breaks down half way is
/// noticed; what is longer is cut off, and does not count against the node. An answer with more
/// than 16 KiB or 64 lines of headers has failed. Redirects are not followed: a status outside the
/// range is a failure, wherever it points. There is no TLS in this version: the question and the
/// answer are open to whoever is on the way, so neither should hold a secret. It needs a tokio
/// runtime with I/O; see [`TcpProbe`](super::TcpProbe) for host names.
///
/// ```
/// use fogcore::fog::HttpProbe;
///
/// let probe = HttpProbe::new("/healthz")?.host("games.example")?.expecting(200..=204)?;
/// assert_eq!(HttpProbe::new("healthz").unwrap_err().field(), Some("path"));
/// # Ok::<(), fogcore::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpProbe {
    path: Uri,
    host: Option<HeaderValue>,
    expected: RangeInclusive<u16>,
}

impl HttpProbe {
    /// A probe that asks for `path`, which begins with `/` and may have a query; at most 2,048
    /// bytes.
    ///
    /// # Errors
    /// InvalidInput with the field `path`.
    pub fn new(path: &str) -> Result<Self> {
        if !path.starts_with('/') {
            return Err(Error::invalid("path", "must begin with /"));
        }
        if path.len() > MAX_PATH {
            let found = path.len();
            let text = format!("{found} bytes, at most {MAX_PATH} are allowed");
            return Err(Error::invalid("path", text));
        }
        let path = path.parse().map_err(|error| Error::invalid("path", error))?;
        Ok(Self { path, host: None, expected: 200..=299 })
    }

    /// The same probe with this `Host` header, for nodes that serve several; default: the
    /// address.
    ///
    /// # Errors
    /// InvalidInput with the field `host` for what is no host, with or without a port.
    pub fn host(self, host: &str) -> Result<Self> {
        let authority: hyper::http::uri::Authority =
            host.parse().map_err(|error| Error::invalid("host", error))?;
        if authority.as_str().contains('@') {
            return Err(Error::invalid("host", "must not name a user"));
        }
        let host = HeaderValue::from_str(host).map_err(|error| Error::invalid("host", error))?;
        Ok(Self { host: Some(host), ..self })
    }

    /// The same probe, content with any status in `expected`, within 200–599.
    ///
    /// # Errors
    /// InvalidInput with the field `expected` for a range that is empty or outside.
    pub fn expecting(self, expected: RangeInclusive<u16>) -> Result<Self> {
        if expected.is_empty() || *expected.start() < 200 || *expected.end() > 599 {
            return Err(Error::invalid("expected", "must be a range within 200–599"));
        }
        Ok(Self { expected, ..self })
    }

    fn request(&self, address: &Address) -> Result<Request<Empty<Bytes>>, ProbeError> {
        let host = match &self.host {
            Some(host) => host.clone(),
            None => HeaderValue::from_str(&authority(address)).map_err(ProbeError::other)?,
        };
        Request::get(self.path.clone())
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("fogcore/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(ProbeError::other)
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), ProbeError> {
        let status = response.status().as_u16();
        if !self.expected.contains(&status) {
            return Err(ProbeError::BadStatus(status));
        }
        let mut body = response.into_body();
        let mut left = MAX_BODY;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        Ok(())
    }
}

#[async_trait]
impl HealthProbe for HttpProbe {
    async fn probe(&self, target: &ProbeTarget) -> Result<(), ProbeError> {
        let address = target.address.as_ref().ok_or(ProbeError::NoAddress)?;
        let request = self.request(address)?;
        let stream = connect(target).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let asking = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            self.judge(response).await
        };
        let mut asking = std::pin::pin!(asking);
        // Nothing is spawned: the connection moves in here, and closes with this future.
        tokio::select! {
            biased;
            judged = &mut asking => judged,
            // Why it ended, whoever asks is told, too; what was read before is still there.
            _ended = connection => asking.await,
        }
    }
}

/// The address as a URL writes it.
fn authority(address: &Address) -> String {
    let (host, port) = (&address.host, address.port.get());
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What an error of the exchange says of the node.
fn broken(error: &hyper::Error) -> ProbeError {
    match error.source() {
        Some(source) => match source.downcast_ref::<io::Error>() {
            Some(io) => reason(io),
            None => ProbeError::other(format_args!("{error}: {source}")),
        },
        None => ProbeError::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Port;

    #[test]
    fn what_is_no_path_host_or_range_is_refused_with_its_field() {
        let field = |refused: Result<HttpProbe>| refused.unwrap_err().field().unwrap();
        for path in ["", "healthz", "http://example.org/", "/a b", "/a\r\nX: y", "*"] {
            assert_eq!(field(HttpProbe::new(path)), "path", "{path:?}");
        }
        assert_eq!(field(HttpProbe::new(&"/".repeat(2_049))), "path");
        let probe = HttpProbe::new("/healthz?deep=1").unwrap();
        for host in ["", "a b", "a\r\nX: y", "me@example.org", "a/b"] {
            assert_eq!(field(probe.clone().host(host)), "host", "{host:?}");
        }
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        for range in [299..=200, 100..=299, 200..=600] {
            assert_eq!(field(probe.clone().expecting(range)), "expected");
        }
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let address = |host: &str| {
            authority(&Address { host: host.to_owned(), port: Port::new(80).unwrap() })
        };
        assert_eq!(address("::1"), "[::1]:80");
        assert_eq!(address("example.org"), "example.org:80");
    }
}
