//! Where containers are that share the host's network: at the host's own address.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// The first address of each family that the interfaces have, in their order. An address that stands alone (`/32`, `/128`) may
/// be an alias's own, so it is none of the host's here; nor are those that hold on the link only.
pub(super) fn addresses(interfaces: &[String]) -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else {
        return Vec::new();
    };
    let known: Vec<(String, IpAddr, u32)> = all
        .filter_map(|one| {
            let address = ip(one.address.as_ref()?)?;
            Some((one.interface_name, address, prefix(ip(one.netmask.as_ref()?)?)))
        })
        .collect();
    let own = interfaces
        .iter()
        .flat_map(|name| known.iter().filter(move |(interface, ..)| interface == name));
    first_of_each(own.map(|(_, address, prefix)| (*address, *prefix)))
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn prefix(netmask: IpAddr) -> u32 {
    match netmask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    }
}

fn first_of_each(all: impl Iterator<Item = (IpAddr, u32)> + Clone) -> Vec<IpAddr> {
    let is_own = |address: IpAddr, prefix: u32| match address {
        IpAddr::V4(v4) => prefix < 32 && !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => prefix < 128 && !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let usable = all.filter(|(address, prefix)| is_own(*address, *prefix));
    let of = |v4: bool| usable.clone().find(|(address, _)| address.is_ipv4() == v4);
    [of(true), of(false)]
        .into_iter()
        .flatten()
        .map(|(address, _)| address)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_address_is_none_of_an_alias_and_no_links() {
        let known = [
            ("fe80::1", 64),
            ("2001:db8::10", 128),
            ("fd00::1", 64),
            ("198.51.100.10", 32),
            ("127.0.0.1", 8),
            ("10.0.0.1", 24),
            ("10.0.0.2", 24),
        ];
        let known = known.map(|(address, prefix)| (address.parse().unwrap(), prefix));
        let found: Vec<String> = first_of_each(known.into_iter())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["10.0.0.1", "fd00::1"]);
        assert_eq!(prefix("255.255.255.0".parse().unwrap()), 24);
        assert_eq!(prefix("ffff:ffff::".parse().unwrap()), 32);
    }

    #[test]
    fn interfaces_that_are_not_there_have_none() {
        assert!(addresses(&["no-such-device".to_owned()]).is_empty());
    }
}
