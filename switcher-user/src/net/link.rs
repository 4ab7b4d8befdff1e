//! The interfaces of this namespace.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use super::{Interface, NetError, ask, netdev};

/// `linux/if_link.h`
const IFLA_TUN_VNET_HDR: u16 = 5;

/// An interface, and what decides whether packets may be redirected into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// What the agent sees.
    pub interface: Interface,
    /// The interface that this one stands on, or its peer.
    pub below: Option<u32>,
    /// A veth whose peer is in another network namespace.
    pub veth_to_other_namespace: bool,
    /// Part of a bridge, bond or VRF, which has its own word on where packets go.
    pub enslaved: bool,
    /// The bridge, bond or VRF that it is a part of; 0: none.
    pub controller: u32,
    /// Of a veth whose peer is in another network namespace: the number that this namespace has for that one.
    pub peer_namespace: Option<i32>,
}

/// All interfaces by index.
pub(super) async fn all(handle: &Handle) -> Result<BTreeMap<u32, Link>, NetError> {
    let what = "the interfaces";
    let ask = async {
        handle
            .link()
            .get()
            .execute()
            .try_collect::<Vec<_>>()
            .await
            .map_err(|e| ask::refused(what, &e))
    };
    let links = ask::bounded(what, ask).await?;
    let mut links: BTreeMap<u32, Link> = links
        .iter()
        .map(|message| (message.header.index, read(message)))
        .collect();
    note_vlans(&mut links);
    // A kernel that does not say is none that can be asked nothing else.
    for (ifindex, features) in netdev::features().unwrap_or_default() {
        if let Some(link) = links.get_mut(&ifindex) {
            link.interface.xdp = Some(features);
        }
    }
    let what = "the addresses";
    let ask = async {
        handle
            .address()
            .get()
            .execute()
            .try_collect::<Vec<_>>()
            .await
            .map_err(|e| ask::refused(what, &e))
    };
    for message in ask::bounded(what, ask).await? {
        if let (Some(link), Some(address)) = (links.get_mut(&message.header.index), own_address(&message)) {
            link.interface.addresses.push(address);
        }
    }
    for link in links.values_mut() {
        link.interface.addresses.sort_unstable();
        link.interface.addresses.dedup();
    }
    Ok(links)
}

fn read(message: &LinkMessage) -> Link {
    let mut link = Link {
        interface: Interface {
            name: String::new(),
            ifindex: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            kind: None,
            link_address: [0; 6],
            vlan: None,
            xdp: None,
            partial_sums: false,
            addresses: Vec::new(),
        },
        below: None,
        veth_to_other_namespace: false,
        enslaved: false,
        controller: 0,
        peer_namespace: None,
    };
    let (mut veth, mut peer) = (false, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.interface.name.clone_from(name),
            LinkAttribute::LinkInfo(infos) => {
                veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
                link.interface.kind = infos.iter().find_map(kind);
                link.interface.partial_sums = infos.iter().any(may_be_partial);
            }
            LinkAttribute::Address(bytes) => {
                link.interface.link_address = bytes.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::Link(index) => link.below = Some(*index),
            // The kernel names the other end's namespace only if it is another one.
            LinkAttribute::LinkNetNsId(namespace) => peer = Some(*namespace),
            LinkAttribute::Controller(index) => link.controller = *index,
            _ => {}
        }
    }
    link.enslaved = link.controller != 0;
    link.veth_to_other_namespace = veth && peer.is_some();
    link.peer_namespace = peer.filter(|_| veth);
    link
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// A tap without a header for them takes whole frames only, as a wire does.
fn may_be_partial(info: &LinkInfo) -> bool {
    match info {
        LinkInfo::Kind(kind) => *kind != InfoKind::Tun,
        LinkInfo::Data(InfoData::Tun(facts)) => {
            facts.contains(&InfoTun::Other(DefaultNla::new(IFLA_TUN_VNET_HDR, vec![1])))
        }
        _ => false,
    }
}

/// Notes on each interface a VLAN device that stands on it.
fn note_vlans(links: &mut BTreeMap<u32, Link>) {
    let is_vlan = |link: &&Link| link.interface.kind.as_deref() == Some("vlan");
    let vlans: Vec<(u32, String)> = links
        .values()
        .filter(is_vlan)
        .filter_map(|link| Some((link.below?, link.interface.name.clone())))
        .collect();
    for (below, name) in vlans {
        if let Some(link) = links.get_mut(&below) {
            link.interface.vlan = Some(name);
        }
    }
}

/// The interface's own address: on a point-to-point link `Address` is the other end's.
pub(super) fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}
