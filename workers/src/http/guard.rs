//! Which addresses one app's calls may reach.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
};

use picloud_core::http_exception::Exception;

use super::{
    Failure,
    address::{is_public, plain},
};

/// Decides for one app.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub exceptions: Arc<[Exception]>,
    /// The platform's own: no exception covers them.
    pub forbidden: Arc<[SocketAddr]>,
}

impl Guard {
    /// Whether a host may be called at an address that it has.
    pub fn check(&self, host: &str, address: SocketAddr) -> Result<(), Failure> {
        let reached = SocketAddr::new(plain(address.ip()), address.port());
        if self.forbidden.iter().any(|forbidden| is_same(*forbidden, reached)) {
            return Err(Failure::OwnAddress(host.to_owned()));
        }
        if is_public(reached.ip()) || self.exceptions.iter().any(|exception| exception.covers(host, reached)) {
            return Ok(());
        }
        Err(Failure::NotPublic(host.to_owned()))
    }
}

/// Whether who connects to `reached` gets whoever listens on `listening`.
fn is_same(listening: SocketAddr, reached: SocketAddr) -> bool {
    let is_address = if listening.ip().is_unspecified() {
        is_of_this_machine(reached.ip())
    } else {
        plain(listening.ip()) == reached.ip()
    };
    is_address && listening.port() == reached.port()
}

/// Only an address of its own can be taken by a machine.
fn is_of_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(exceptions: &[Exception], forbidden: &[&str]) -> Guard {
        let forbidden = forbidden.iter().map(|address| address.parse().unwrap()).collect();
        Guard { exceptions: exceptions.into(), forbidden }
    }

    fn network(network: &str, port: Option<u16>) -> Exception {
        Exception::Network { network: network.parse().unwrap(), port }
    }

    fn host(host: &str, port: Option<u16>) -> Exception {
        Exception::Host { host: host.to_owned(), port }
    }

    fn allows(guard: &Guard, host: &str, address: &str) -> bool {
        guard.check(host, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn without_exceptions_only_what_is_public_may_be_called() {
        let guard = guard(&[], &[]);
        assert!(allows(&guard, "one.one", "1.1.1.1:443"));
        assert_eq!(
            guard.check("evil.example", "10.0.0.1:80".parse().unwrap()),
            Err(Failure::NotPublic("evil.example".into()))
        );
    }

    #[test]
    fn an_exception_is_for_its_host_or_network_and_its_port() {
        let by_name = guard(&[host("nas.lan", Some(5000))], &[]);
        assert!(allows(&by_name, "nas.lan", "192.168.0.2:5000"));
        assert!(!allows(&by_name, "nas.lan", "192.168.0.2:5001"), "another port");
        assert!(!allows(&by_name, "evil.example", "192.168.0.2:5000"), "another name of the same address");
        let by_network = guard(&[network("192.168.0.0/24", None), network("fd00::/8", Some(80))], &[]);
        assert!(allows(&by_network, "whatever", "192.168.0.2:1"));
        assert!(allows(&by_network, "whatever", "[::ffff:192.168.0.2]:1"), "the same address in other words");
        assert!(!allows(&by_network, "whatever", "192.168.1.2:1"));
        assert!(allows(&by_network, "whatever", "[fd00::1]:80"));
        assert!(!allows(&by_network, "whatever", "[fd00::1]:81"));
    }

    #[test]
    fn no_exception_covers_the_platforms_own_addresses() {
        let everything = [network("0.0.0.0/0", None), network("::/0", None), host("db.lan", None)];
        let guard = guard(&everything, &["127.0.0.1:8081", "10.0.0.5:5432", "[::1]:8080"]);
        for address in ["127.0.0.1:8081", "0.0.0.0:8081", "[::ffff:127.0.0.1]:8081", "[::ffff:0.0.0.0]:8081"] {
            assert!(!allows(&guard, "localhost", address), "{address}");
        }
        assert!(!allows(&guard, "db.lan", "10.0.0.5:5432"));
        assert!(!allows(&guard, "x", "[::1]:8080") && !allows(&guard, "x", "[::]:8080"));
        assert!(allows(&guard, "x", "127.0.0.1:8080") && allows(&guard, "x", "10.0.0.5:5433"), "other ports");
    }

    #[test]
    fn who_listens_everywhere_listens_on_each_address_of_the_machine() {
        let everything = [network("0.0.0.0/0", None), network("::/0", None)];
        let guard = guard(&everything, &["0.0.0.0:8081", "[::]:8082"]);
        assert!(!allows(&guard, "x", "127.0.0.1:8081") && !allows(&guard, "x", "127.9.9.9:8081"));
        assert!(!allows(&guard, "x", "127.0.0.1:8082"), "`::` takes IPv4 as well");
        assert!(allows(&guard, "x", "192.0.2.77:8081"), "another machine's");
    }
}
