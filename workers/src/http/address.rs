//! Which addresses belong to everybody: the public internet, and nothing that only this machine or its network reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// What is not public of IPv4: the special-purpose registry of IANA (RFC 6890 and later), whole blocks of it.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // shared by the customers of a provider; also the metadata of a cloud
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // the metadata of a cloud, at an address that looks public
    v4(169, 254, 0, 0, 16),   // link-local; the metadata of most clouds
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // assignments of protocols
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // relays from 6to4, which are no more
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 3),      // multicast, reserved, broadcast
];

/// The part of IPv6 that is given out; what else there is, is special by itself.
const GIVEN_OUT: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What is not public of that part.
const SPECIAL_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // assignments of protocols: Teredo, benchmarks, ORCHID
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4: any IPv4 address, private ones too
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

/// Where the last 32 bits are an IPv4 address, which is then the one that is reached.
const EMBEDDING: [Ipv6Net; 3] = [
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),    // mapped
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), // translated by NAT64
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 96), // translated by a NAT64 of one's own
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

/// Whether an address is one that everybody may call: what it says itself, and what it would be translated to.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|special| special.contains(&address)),
        IpAddr::V6(address) => {
            GIVEN_OUT.contains(&address) && !SPECIAL_V6.iter().any(|special| special.contains(&address))
        }
    }
}

/// What nobody is ever to be sent to, whoever names it: here machines of a cloud ask for their credentials, or it is nobody's.
const NEVER_V4: [Ipv4Net; 4] = [
    v4(100, 100, 100, 200, 32), // the metadata of a cloud
    v4(168, 63, 129, 16, 32),   // another's
    v4(169, 254, 0, 0, 16),     // link-local; the metadata of most clouds
    v4(224, 0, 0, 0, 3),        // multicast, reserved, broadcast
];

/// The same of IPv6.
const NEVER_V6: [Ipv6Net; 3] = [
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), // the metadata of a cloud
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),          // link-local
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),           // multicast
];

/// Whether an address is one that also an operator's own addresses may not lead to.
pub(super) fn is_never_called(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(address) => NEVER_V4.iter().any(|never| never.contains(&address)),
        IpAddr::V6(address) => NEVER_V6.iter().any(|never| never.contains(&address)),
    }
}

/// The address that is reached: the embedded one where there is one, and the loopback for the unspecified one, which
/// systems take it for.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    let reached = match address {
        IpAddr::V6(address) if EMBEDDING.iter().any(|range| range.contains(&address)) => {
            let [.., a, b, c, d] = address.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        other => other,
    };
    match reached {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(public: bool, addresses: &[&str]) {
        for address in addresses {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn what_everybody_reaches_is_public() {
        says(true, &["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.1", "223.255.255.255"]);
        says(true, &["9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "192.0.1.1", "198.20.0.0"]);
        says(true, &["2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2001:200::1", "2001:4860:4860::8888"]);
    }

    #[test]
    fn what_only_this_machine_or_its_network_reaches_is_not() {
        says(false, &["127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::"]);
        says(false, &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255"]);
        says(false, &["169.254.1.1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fdff:ffff::1"]);
    }

    #[test]
    fn what_clouds_tell_their_machines_is_not() {
        says(false, &["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192"]);
        says(false, &["fd00:ec2::254", "fd20:ce::254", "fe80::a9fe:a9fe"]);
    }

    #[test]
    fn what_is_set_apart_is_not() {
        says(false, &["192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "192.0.0.9"]);
        says(false, &["192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]);
        says(false, &["ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "2001:2::1", "2001:10::1", "2001:20::1"]);
        says(false, &["100::1", "5f00::1", "4000::1", "8000::1", "1::1"]);
    }

    #[test]
    fn an_address_within_another_is_looked_at() {
        says(false, &["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"]);
        says(false, &["64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::c0a8:1"]);
        says(true, &["::ffff:8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::808:808"]);
        // Where in these the other lies is for the network to say.
        says(false, &["64:ff9b:1:808:8:800::", "64:ff9b:1:abcd::808:808", "64:ff9b:2::808:808"]);
        // No more in use for anything but getting around guards.
        says(false, &["::7f00:1", "::808:808", "2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:0:4136:e378::1"]);
    }

    #[test]
    fn the_ends_of_every_range_are_in_it_and_what_is_beside_is_judged_by_itself() {
        for special in SPECIAL_V4 {
            assert!(!is_public(special.network().into()), "{special}");
            assert!(!is_public(special.broadcast().into()), "{special}");
        }
        for special in SPECIAL_V6 {
            assert!(!is_public(special.network().into()), "{special}");
            assert!(!is_public(special.broadcast().into()), "{special}");
        }
    }
}
