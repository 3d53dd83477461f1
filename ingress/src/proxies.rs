//! Where a request really comes from, behind proxies that are trusted to say so.
//!
//! `x-forwarded-for` is anyone's to write: it counts only as far as trusted proxies have added to it, from the right.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose word counts. Cheap to clone; none by default.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Those in some networks.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// The client's address, given who is connected and what it says. The port stays the connection's.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let mut client = peer.ip();
        let lines = headers.get_all(FORWARDED_FOR);
        let said = lines.iter().rev().filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(','));
        for address in said {
            if !self.trusts(client) {
                break;
            }
            // What cannot be read was not written by a proxy of ours: whoever sent it is as far as we know.
            let Some(address) = parse(address.trim()) else { break };
            client = address;
        }
        SocketAddr::new(client, peer.port())
    }
}

/// An address, with a port or without, in brackets or not.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse::<SocketAddr>().map(|address| address.ip());
    address.or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse()).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let networks: Vec<IpNet> = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).expect("a header"));
        }
        let peer = SocketAddr::new(peer.parse().expect("an address"), 4711);
        TrustedProxies::new(&networks).client(peer, &headers).ip().to_string()
    }

    #[test]
    fn nobodys_word_counts_by_default() {
        assert_eq!(client(&[], "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
    }

    #[test]
    fn the_address_is_the_last_that_no_trusted_proxy_is() {
        let ours = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(client(&ours, "10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        // Whatever the client wrote itself stands further left.
        assert_eq!(client(&ours, "10.0.0.1", &["127.0.0.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&ours, "10.0.0.1", &["127.0.0.1", "203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client(&ours, "fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client(&ours, "::ffff:10.0.0.1", &["203.0.113.9:80"]), "203.0.113.9");
    }

    #[test]
    fn what_cannot_be_read_ends_the_search() {
        let ours = ["10.0.0.0/8"];
        assert_eq!(client(&ours, "10.0.0.1", &["203.0.113.9, unknown"]), "10.0.0.1");
        assert_eq!(client(&ours, "10.0.0.1", &[]), "10.0.0.1");
    }
}
