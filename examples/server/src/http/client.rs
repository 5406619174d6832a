//! From where a request comes. What a header says about that counts only if a proxy that is trusted
//! wrote it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Addresses that begin alike: `10.0.0.0/8`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    mask: u128,
}

impl Network {
    /// Whether the address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.base
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let why = || format!("{text:?} is neither an IP address nor a network such as 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| why())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| why())?;
        let (most, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = length.unwrap_or(most);
        if length > most {
            return Err(why());
        }
        let mask = u128::MAX.checked_shl(128 - before - length).unwrap_or(0);
        Ok(Self { base: bits(address) & mask, mask })
    }
}

/// IPv4 addresses as IPv6 has them, so that both are compared as one.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address that a request comes from: that of the connection, unless a trusted proxy speaks for
/// somebody else. Of those that it names, the last one counts that is no trusted proxy itself:
/// whatever stands before it, the client may have written.
#[must_use]
pub fn address(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.0.ip().to_canonical();
    if !is_trusted(nearest) {
        return nearest;
    }
    for named in forwarded_for(headers).rev() {
        let Ok(named) = named.parse::<IpAddr>() else { break };
        nearest = named.to_canonical();
        if !is_trusted(nearest) {
            break;
        }
    }
    nearest
}

fn forwarded_for(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &str> {
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().filter_map(|line| line.to_str().ok());
    let lines: Vec<_> = lines.collect();
    lines.into_iter().flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether somebody passed the request on, whoever that was.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    [X_FORWARDED_FOR, X_REAL_IP, FORWARDED, axum::http::header::VIA]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// What stands for the client where requests are counted: an IPv4 address, or the first half of an
/// IPv6 address, because one customer has all addresses behind it.
#[must_use]
pub fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted: Vec<_> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        address(Peer(peer.parse().unwrap()), &headers, &trusted).to_string()
    }

    #[test]
    fn headers_count_only_from_a_trusted_proxy() {
        assert_eq!(from("203.0.113.9:1", &["1.2.3.4"], &[]), "203.0.113.9");
        assert_eq!(from("10.0.0.1:1", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(from("10.0.0.1:1", &[], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(from("[::ffff:10.0.0.1]:1", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
    }

    #[test]
    fn what_a_client_writes_in_front_is_not_believed() {
        let spoofed = ["127.0.0.1, 1.2.3.4", "10.0.0.2"];
        assert_eq!(from("10.0.0.1:1", &spoofed, &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(from("10.0.0.1:1", &["1.2.3.4, junk"], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn a_network_is_what_begins_alike() {
        let network: Network = "192.168.4.0/22".parse().unwrap();
        assert!(network.contains("192.168.7.255".parse().unwrap()));
        assert!(!network.contains("192.168.8.0".parse().unwrap()));
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "proxy"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_of_one_ipv6_customer_count_as_one() {
        let half = |text: &str| counted(text.parse().unwrap());
        assert_eq!(half("2001:db8::1"), half("2001:db8::ffff:1"));
        assert_ne!(half("2001:db8::1"), half("2001:db8:0:1::1"));
    }
}
