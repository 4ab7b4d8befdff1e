//! What was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use thiserror::Error;

use super::LocalSocket;

/// The way from this host to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// An address of this host itself, loopback included.
    Local,
    /// On-link behind a host-side veth whose peer is in another network namespace and that is no bridge port.
    Veth,
    /// Reachable in any other way: through a bridge, a gateway, a plain network.
    Routed,
    /// No route.
    Unreachable,
}

/// Where one backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRoute {
    /// Index of the interface that leads there; 0: none.
    pub ifindex: u32,
    /// Its name; empty: none.
    pub interface: String,
    /// What lies between.
    pub kind: RouteKind,
}

/// A port of a bridge that leads into another network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgePort {
    /// Index of the bridge.
    pub bridge: u32,
    /// Its name.
    pub bridge_name: String,
    /// Index of the port: the host's side of a veth.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
}

/// What an interface's driver can do with XDP programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    /// It runs them.
    pub runs: bool,
    /// They may send frames on: back out, to another driver, and from another driver.
    pub sends_on: bool,
}

/// An interface of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Administratively up.
    pub up: bool,
    /// The loopback device.
    pub loopback: bool,
    /// Frames have an Ethernet header (also true for veth and bridges).
    pub ethernet: bool,
    /// What the kernel calls its kind, as in `ip -d link`: `veth`, `bridge`; `None`: hardware.
    pub kind: Option<String>,
    /// Its link-layer address; zeroes where it has none of six bytes.
    pub link_address: [u8; 6],
    /// A VLAN device that stands on it.
    pub vlan: Option<String>,
    /// Its driver; `None`: the kernel does not say (before Linux 6.3).
    pub xdp: Option<XdpFeatures>,
    /// Packets may come in with checksums that hardware was to finish: their sender is a stack of this machine.
    pub partial_sums: bool,
    /// Its addresses, sorted.
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    /// Frames may be sent on from here and to here by XDP, past the stack: the driver takes part, and no checksum waits for
    /// hardware that such a frame does not meet.
    #[must_use]
    pub fn sends_on(&self) -> bool {
        !self.partial_sums && self.xdp.is_some_and(|xdp| xdp.sends_on)
    }
}

/// An interface of clients whose hook is XDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpEdge {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// See [`Interface::sends_on`].
    pub sends_on: bool,
}

/// Everything seen at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Where each backend asked for is.
    pub backends: BTreeMap<IpAddr, BackendRoute>,
    /// Behind which port of a bridge a backend is, where that is known: those that are containers.
    pub ports: BTreeMap<IpAddr, BridgePort>,
    /// One sentence for each set of firewall or NAT rules in force; empty: nothing would be walked past.
    pub firewall: Vec<String>,
    /// The interfaces by index.
    pub interfaces: Vec<Interface>,
    /// Interfaces of clients whose hook is XDP: only from there, and only to one that sends on, can packets be sent past the
    /// stack. The agent's own doing.
    pub xdp_edges: Vec<XdpEdge>,
    /// Names of interfaces of clients whose hook is TC.
    pub tc_edges: Vec<String>,
    /// This host does not forward IPv4: what goes through its stack reaches no backend.
    pub forwards_no_v4: bool,
    /// The same for IPv6.
    pub forwards_no_v6: bool,
}

/// What this host has where listeners are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Those of the listeners' addresses that are this host's own.
    pub own: BTreeSet<IpAddr>,
    /// Sockets at the ports of listeners there.
    pub sockets: Vec<LocalSocket>,
    /// Ports that sshd is configured for.
    pub ssh_ports: BTreeSet<u16>,
}

/// How this host reaches an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// It is this host's own.
    pub local: bool,
    /// It is reached without a router.
    pub on_link: Option<OnLink>,
}

/// The interface at which an address is a neighbour's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnLink {
    /// Its index.
    pub ifindex: u32,
    /// Its `arp_ignore`: above 0 it answers only for its own addresses.
    pub arp_ignore: u8,
}

/// What became of adding an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was not there.
    Now,
    /// It was there: somebody else added it.
    Before,
}

/// Why the network could not be observed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NetError {
    /// A netlink socket could not be opened.
    #[error("netlink socket ({family}): {cause}; the agent needs CAP_NET_ADMIN and a kernel with netlink")]
    Socket {
        /// Which netlink family.
        family: &'static str,
        /// What the kernel said.
        cause: String,
    },
    /// The kernel refused a question.
    #[error("asking the kernel for {what}: {cause}")]
    Ask {
        /// What was asked for.
        what: String,
        /// What the kernel said.
        cause: String,
    },
}
