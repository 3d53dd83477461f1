//! What is not on the public internet and may be called by an app's scripts all the same.
//!
//! [`Exception`] is read from the one line that people write, and written as that line again: by it an exception is stored
//! and named. Whether a call needs one is for whoever makes the call.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use url::Host;

/// The longest name of a host, as the name system has it.
const MAX_HOST_BYTES: usize = 253;

/// A host or a network that may be called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Exception {
    /// A host by the name or address that a URL gives it, whatever that leads to.
    Host {
        /// Lower case, without brackets.
        host: String,
        /// Only this port.
        port: Option<u16>,
    },
    /// Every address of a network, whichever name leads there.
    Network {
        /// Its addresses.
        network: IpNet,
        /// Only this port.
        port: Option<u16>,
    },
}

/// A text that names nothing that could be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a host nor a network: write `nas.lan`, `nas.lan:5000`, `192.168.0.0/24` or `[fd00::/8]:80`")]
pub struct InvalidException(String);

impl Exception {
    /// Whether it lets a host be called at an address that it has.
    #[must_use]
    pub fn covers(&self, name: &str, address: SocketAddr) -> bool {
        match self {
            Self::Host { host, port } => host == name && port.is_none_or(|port| port == address.port()),
            Self::Network { network, port } => {
                network.contains(&address.ip()) && port.is_none_or(|port| port == address.port())
            }
        }
    }
}

impl FromStr for Exception {
    type Err = InvalidException;

    fn from_str(text: &str) -> Result<Self, InvalidException> {
        let text = text.trim();
        let (place, port) = split(text).ok_or_else(|| invalid(text))?;
        if let Ok(network) = place.parse::<IpNet>() {
            return Ok(Self::Network { network: network.trunc(), port });
        }
        let host = host(place).ok_or_else(|| invalid(text))?;
        Ok(Self::Host { host, port })
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, port) = match self {
            Self::Host { host, port } => (host.clone(), port),
            Self::Network { network, port } => (network.to_string(), port),
        };
        match port {
            None => f.write_str(&place),
            Some(port) if place.contains(':') => write!(f, "[{place}]:{port}"),
            Some(port) => write!(f, "{place}:{port}"),
        }
    }
}

fn invalid(text: &str) -> InvalidException {
    InvalidException(text.chars().take(80).collect())
}

/// Takes a text apart into its place and its port. Of IPv6, a port needs brackets around what is before it.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (place, rest) = rest.split_once(']')?;
        let is_v6 = place.parse::<Ipv6Addr>().is_ok() || matches!(place.parse(), Ok(IpNet::V6(_)));
        let port = if rest.is_empty() { None } else { Some(port(rest.strip_prefix(':')?)?) };
        return is_v6.then_some((place, port));
    }
    if text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() {
        return Some((text, None));
    }
    match text.split_once(':') {
        None => Some((text, None)),
        Some((place, after)) => Some((place, Some(port(after)?))),
    }
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

/// A host as URLs are read to name it.
fn host(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    match Host::parse(text).ok()? {
        Host::Domain(name) => is_name(&name).then_some(name),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= MAX_HOST_BYTES && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Exception {
        text.parse().expect("an exception")
    }

    #[test]
    fn one_place_has_one_text() {
        for (written, kept) in [
            ("nas.lan", "nas.lan"),
            (" NAS.Lan:5000 ", "nas.lan:5000"),
            ("my_nas", "my_nas"),
            ("bücher.lan", "xn--bcher-kva.lan"),
            ("192.168.0.2", "192.168.0.2"),
            ("192.168.0.2:80", "192.168.0.2:80"),
            ("0x7f.1:80", "127.0.0.1:80"),
            ("fd00:0::0001", "fd00::1"),
            ("[fd00::1]", "fd00::1"),
            ("[fd00::1]:80", "[fd00::1]:80"),
            ("192.168.0.0/24", "192.168.0.0/24"),
            ("192.168.0.7/24:8080", "192.168.0.0/24:8080"),
            ("fd00::1/8", "fd00::/8"),
            ("[fd00::/8]:80", "[fd00::/8]:80"),
        ] {
            assert_eq!(read(written).to_string(), kept, "{written}");
            assert_eq!(read(kept), read(written), "{written}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_how_to_write_one() {
        for bad in [
            "",
            " ",
            ":80",
            "nas.lan:",
            "nas.lan:0",
            "nas.lan:65536",
            "nas.lan:+1",
            "nas.lan:80:81",
            "*.lan",
            "*",
            ".lan",
            "nas.lan.",
            "nas..lan",
            "nas lan",
            "http://nas.lan",
            "nas.lan/x",
            "user@nas.lan",
            "192.168.0.0/33",
            "[nas.lan]",
            "[192.168.0.1]:80",
            "[fd00::1]80",
            "[fd00::1",
            "fd00::1:80:x",
            "300.1.1.1",
        ] {
            let refused = bad.parse::<Exception>().expect_err(bad).to_string();
            assert!(refused.contains("write `nas.lan`"), "{bad}: {refused}");
        }
        assert!("x.".repeat(200).parse::<Exception>().is_err());
        assert!(format!("{}x", "x.".repeat(130)).parse::<Exception>().is_err());
    }

    #[test]
    fn a_host_is_meant_by_its_name_and_a_network_by_its_addresses() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert!(read("nas.lan:80").covers("nas.lan", address("10.0.0.1:80")));
        assert!(!read("nas.lan:80").covers("nas.lan", address("10.0.0.1:81")));
        assert!(!read("nas.lan").covers("evil.example", address("10.0.0.1:80")));
        assert!(read("10.0.0.0/8").covers("evil.example", address("10.0.0.1:80")));
        assert!(!read("10.0.0.0/8").covers("nas.lan", address("11.0.0.1:80")));
    }

    fn exceptions() -> impl Strategy<Value = Exception> {
        let port = prop::option::of(1_u16..);
        let host = prop_oneof![
            "[a-z][a-z0-9-]{0,8}[a-z0-9](\\.[a-z]{2,5}){0,3}",
            any::<IpAddr>().prop_map(|ip| ip.to_string())
        ];
        let network = (any::<IpAddr>(), 0_u8..=128).prop_map(|(ip, prefix)| {
            let most = if ip.is_ipv4() { 32 } else { 128 };
            IpNet::new(ip, prefix.min(most)).expect("a prefix that fits").trunc()
        });
        prop_oneof![
            (host, port.clone()).prop_map(|(host, port)| Exception::Host { host, port }),
            (network, port).prop_map(|(network, port)| Exception::Network { network, port }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_it_was(exception in exceptions()) {
            // What a name system would take for an address, or punycode that is none, is no name.
            prop_assume!(!matches!(&exception, Exception::Host { host, .. } if host.starts_with("xn--")));
            prop_assert_eq!(exception.to_string().parse(), Ok(exception));
        }

        #[test]
        fn no_text_is_too_strange_to_be_read(text in "\\PC{0,40}") {
            if let Ok(exception) = text.parse::<Exception>() {
                prop_assert_eq!(exception.to_string().parse(), Ok(exception));
            }
        }
    }
}
