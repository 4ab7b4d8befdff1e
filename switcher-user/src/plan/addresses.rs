//! Addresses of listeners that the agent adds to this host, and where.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Desired, PlacedListener, Refusal};
use crate::net::{Interface, Way};

/// Where an address is to be, and where to ask for it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPlace {
    /// The interface that gets it.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// The interface at which clients find it without a router: somebody there may have it already.
    pub ask_at: Option<u32>,
}

impl Desired {
    /// Every address that is to be added where the host does not have it, with the first listener that it is for.
    #[must_use]
    pub fn wanted_addresses(&self) -> BTreeMap<IpAddr, PlacedListener> {
        let mut wanted = BTreeMap::new();
        let adds = |one: &PlacedListener| self.aliases.get(&one.alias).is_some_and(|alias| alias.add_addresses);
        for one in self.placed_listeners().filter(adds) {
            wanted.entry(one.listener.address).or_insert(one);
        }
        wanted
    }
}

/// IPv4 goes to `lo`, which every interface answers for and which is always up; IPv6, which only its own interface
/// answers for, to where clients come in.
///
/// # Errors
/// Where clients would not find it there.
pub fn place_address(
    wanted: &PlacedListener,
    way: &Way,
    interfaces: &[Interface],
    edges: &[String],
) -> Result<AddressPlace, Refusal> {
    let refused = |why: String| refuse_address(wanted, why);
    let ask_at = way.on_link.map(|on_link| on_link.ifindex);
    let at = |matches: &dyn Fn(&Interface) -> bool| interfaces.iter().find(|one| matches(one));
    let by_index = |ifindex: u32| at(&|one| one.ifindex == ifindex);
    let found = if wanted.listener.address.is_ipv4() {
        if let Some(on_link) = way.on_link.filter(|on_link| on_link.arp_ignore > 0) {
            let name = by_index(on_link.ifindex).map_or("its interface", |one| &*one.name);
            return Err(refused(format!(
                "arp_ignore is {} on {name}, so this host would not answer for it there; set net.ipv4.conf.{name}.arp_ignore and net.ipv4.conf.all.arp_ignore to 0, or add it by hand as that setting needs it",
                on_link.arp_ignore
            )));
        }
        at(&|one| one.loopback && one.up)
            .ok_or_else(|| refused("there is no loopback interface that is up; run: ip link set lo up".to_owned()))?
    } else {
        let edge = || edges.iter().find_map(|edge| at(&|one| one.name == *edge));
        ask_at
            .and_then(by_index)
            .or_else(edge)
            .ok_or_else(|| refused("there is no interface where clients come in".to_owned()))?
    };
    Ok(AddressPlace {
        interface: found.name.clone(),
        ifindex: found.ifindex,
        ask_at,
    })
}

/// Why the address of a listener cannot be added.
#[must_use]
pub fn refuse_address(wanted: &PlacedListener, why: String) -> Refusal {
    Refusal::NoAddress {
        alias: wanted.alias.clone(),
        index: wanted.index,
        address: wanted.listener.address,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::OnLink;

    fn interface(name: &str, ifindex: u32) -> Interface {
        Interface {
            name: name.to_owned(),
            ifindex,
            up: true,
            loopback: name == "lo",
            ethernet: true,
            kind: None,
            link_address: [2, 0, 0, 0, 0, 1],
            vlan: None,
            xdp: None,
            partial_sums: false,
            addresses: Vec::new(),
        }
    }

    fn place(listener: &str, on_link: Option<(u32, u8)>) -> Result<AddressPlace, Refusal> {
        let wanted = PlacedListener {
            alias: "web".parse().unwrap(),
            index: 0,
            listener: listener.parse().unwrap(),
        };
        let way = Way {
            local: false,
            on_link: on_link.map(|(ifindex, arp_ignore)| OnLink { ifindex, arp_ignore }),
        };
        let interfaces = [interface("lo", 1), interface("eth0", 2), interface("eth1", 3)];
        place_address(&wanted, &way, &interfaces, &["eth0".to_owned(), "eth1".to_owned()])
    }

    #[test]
    fn ipv4_goes_to_lo_and_ipv6_to_the_receiving_interface() {
        let at = |interface: &str, ifindex, ask_at| AddressPlace {
            interface: interface.to_owned(),
            ifindex,
            ask_at,
        };
        assert_eq!(place("10.0.0.50:80/tcp", Some((2, 0))).unwrap(), at("lo", 1, Some(2)));
        assert_eq!(place("198.51.100.10:80/tcp", None).unwrap(), at("lo", 1, None));
        assert_eq!(
            place("[fd00::50]:80/tcp", Some((3, 0))).unwrap(),
            at("eth1", 3, Some(3))
        );
        assert_eq!(place("[2001:db8::10]:80/tcp", None).unwrap(), at("eth0", 2, None));
    }

    #[test]
    fn an_interface_that_would_not_answer_is_refused() {
        let refusal = place("10.0.0.50:80/tcp", Some((2, 1))).unwrap_err();
        assert_eq!(refusal.field().as_deref(), Some("aliases.web.listen[0]"));
        assert!(
            refusal.to_string().contains("net.ipv4.conf.eth0.arp_ignore"),
            "{refusal}"
        );
        // Neighbour discovery knows no such switch, and a routed address is not asked for.
        place("[fd00::50]:80/tcp", Some((2, 2))).unwrap();
        place("198.51.100.10:80/tcp", None).unwrap();
    }
}
