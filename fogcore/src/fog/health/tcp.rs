//! The probe that only connects.

use std::io;

use async_trait::async_trait;
use tokio::net::{TcpStream, lookup_host};

use crate::failover::{HealthProbe, ProbeError, ProbeTarget};

/// How many addresses of one name are tried at most.
const MAX_ADDRESSES: usize = 8;

/// Connects to the node's address and closes the connection: the node is there and listens.
/// Whether it also works, only a question in its own protocol tells.
///
/// It needs a tokio runtime with I/O. The look-up of a host name runs on a thread of the runtime's
/// own, and goes on there after its probe was given up; IP addresses need none.
///
/// ```
/// use fogcore::failover::{HealthProbe, ProbeTarget};
/// use fogcore::fog::TcpProbe;
/// use fogcore::registry::{Address, Port};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let node = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
/// let port = Port::new(node.local_addr().unwrap().port())?;
/// let address = Some(Address { host: "127.0.0.1".to_owned(), port });
/// TcpProbe.probe(&ProbeTarget { node: "laptop-1".parse()?, address }).await?;
/// # Ok::<(), fogcore::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpProbe;

#[async_trait]
impl HealthProbe for TcpProbe {
    async fn probe(&self, target: &ProbeTarget) -> Result<(), ProbeError> {
        connect(target).await.map(drop)
    }
}

/// A connection to the target's address.
pub(super) async fn connect(target: &ProbeTarget) -> Result<TcpStream, ProbeError> {
    let address = target.address.as_ref().ok_or(ProbeError::NoAddress)?;
    let found = lookup_host((address.host.as_str(), address.port.get())).await;
    let found: Vec<_> = found.map_err(|_| ProbeError::Unreachable)?.take(MAX_ADDRESSES).collect();
    if found.is_empty() {
        return Err(ProbeError::Unreachable);
    }
    TcpStream::connect(&found[..]).await.map_err(|error| reason(&error))
}

/// What an error of the network says of the node.
pub(super) fn reason(error: &io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ProbeError::Refused,
        io::ErrorKind::TimedOut => ProbeError::TimedOut,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => ProbeError::Unreachable,
        _ => ProbeError::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_network_keeps_its_meaning() {
        let cases = [
            (io::ErrorKind::ConnectionRefused, ProbeError::Refused),
            (io::ErrorKind::TimedOut, ProbeError::TimedOut),
            (io::ErrorKind::HostUnreachable, ProbeError::Unreachable),
            (io::ErrorKind::NetworkUnreachable, ProbeError::Unreachable),
            (io::ErrorKind::ConnectionReset, ProbeError::other("connection reset")),
        ];
        for (kind, expected) in cases {
            assert_eq!(reason(&kind.into()), expected);
        }
    }
}
