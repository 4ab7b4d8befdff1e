//! Facts about the host's network, read by netlink: where backends are, which rules could cover them.
//!
//! Everything is read in the network namespace of the thread that called [`Observer::new`]; iptables-legacy's traces come
//! from procfs and are those of the calling thread, which in the agent is the same. Nothing is changed but addresses, where
//! that is asked for.

mod address;
mod ask;
mod bridge;
mod legacy;
mod link;
mod neighbours;
mod netdev;
mod nfnetlink;
mod nftables;
mod observed;
mod route;
mod sockets;
mod sshd_config;

pub use address::HostAddress;
pub use observed::{
    Added, BackendRoute, BridgePort, Interface, NetError, Observed, OnLink, RouteKind, Standing, Way, XdpEdge,
    XdpFeatures,
};
pub use sockets::LocalSocket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use self::link::Link;
use crate::model::Listener;

/// Reads the facts. Made inside a tokio runtime; its sockets close when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Observer {
    route: rtnetlink::Handle,
    /// `None`: the kernel was built without netfilter.
    netfilter: Option<nfnetlink::Handle>,
}

impl Observer {
    /// Opens the netlink sockets, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn new() -> Result<Self, NetError> {
        let (connection, route, _) = rtnetlink::new_connection().map_err(|error| NetError::Socket {
            family: "route",
            cause: error.to_string(),
        })?;
        tokio::spawn(connection);
        Ok(Self {
            route,
            netfilter: nfnetlink::open()?,
        })
    }

    /// Where each of `backends` is, which firewall rules stand on this host, and its interfaces.
    ///
    /// # Errors
    /// When netlink fails; a backend without a route is no error, it is [`RouteKind::Unreachable`].
    pub async fn observe(&self, backends: &[IpAddr]) -> Result<Observed, NetError> {
        let mut routes = BTreeMap::new();
        for backend in backends {
            routes.insert(*backend, route::to(&self.route, *backend).await?);
        }
        // Links after routes: an interface that a route names and that is gone by now is really gone.
        let links = link::all(&self.route).await?;
        let backends = routes
            .into_iter()
            .map(|(backend, found)| (backend, place(found, &links)))
            .collect();
        Ok(Observed {
            backends,
            ports: BTreeMap::new(),
            firewall: self.firewall().await?,
            interfaces: interfaces(links),
            xdp_edges: Vec::new(),
            tc_edges: Vec::new(),
            forwards_no_v4: is_off("/proc/sys/net/ipv4/ip_forward"),
            forwards_no_v6: is_off("/proc/sys/net/ipv6/conf/all/forwarding"),
        })
    }

    /// What this host has at the places of these listeners.
    ///
    /// # Errors
    /// When netlink fails, or the tables of sockets are not read in time.
    pub async fn standing(&self, listeners: &[Listener]) -> Result<Standing, NetError> {
        let mut own = BTreeSet::new();
        for address in listeners.iter().map(|listener| listener.address) {
            if route::to(&self.route, address).await?.is_some_and(|found| found.local) {
                own.insert(address);
            }
        }
        let at_own = listeners.iter().filter(|listener| own.contains(&listener.address));
        let ports: Vec<u16> = at_own.map(|listener| listener.port).collect();
        if ports.is_empty() {
            return Ok(Standing::default());
        }
        let what = "the sockets of this host";
        let sockets = ask::bounded(what, async {
            let read = tokio::task::spawn_blocking(move || sockets::at_ports(&ports));
            read.await.map_err(|error| ask::failed(what, error))
        });
        Ok(Standing {
            sockets: sockets.await?,
            own,
            ssh_ports: sshd_config::ports(),
        })
    }

    /// Behind which port of which bridge each of these addresses is, given a process that has it. Those that are behind
    /// no bridge are left out.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn bridge_ports(&self, processes: &[(IpAddr, u32)]) -> Result<BTreeMap<IpAddr, BridgePort>, NetError> {
        let links = link::all(&self.route).await?;
        let mut ports = BTreeMap::new();
        for (address, pid) in processes {
            let Some(route) = route::to(&self.route, *address).await? else {
                continue;
            };
            let namespace = bridge::namespace_of(&self.route, *pid).await?;
            if let Some(port) = namespace.and_then(|namespace| bridge::port(&links, route.ifindex, namespace)) {
                ports.insert(*address, port);
            }
        }
        Ok(ports)
    }

    /// The interfaces of the default routes of the main table, IPv4 first, each once.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn default_interfaces(&self) -> Result<Vec<Interface>, NetError> {
        let indexes = route::default_interfaces(&self.route).await?;
        let mut links = link::all(&self.route).await?;
        Ok(indexes
            .into_iter()
            .filter_map(|index| links.remove(&index))
            .map(|link| link.interface)
            .collect())
    }

    /// The interfaces by index.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, NetError> {
        Ok(interfaces(link::all(&self.route).await?))
    }

    /// Has the kernel ask again for neighbours at these interfaces that it has not heard of for a while.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn ask_neighbours_again(&self, ifindexes: &[u32]) -> Result<(), NetError> {
        neighbours::ask_again(&self.route, ifindexes).await
    }

    /// How this host reaches an address.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn way(&self, address: IpAddr) -> Result<Way, NetError> {
        address::way(&self.route, address).await
    }

    /// All addresses of this namespace.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn addresses(&self) -> Result<Vec<HostAddress>, NetError> {
        address::all(&self.route).await
    }

    /// Adds an address to an interface, marked as ours, and such that the host takes it for no connection of its own.
    ///
    /// # Errors
    /// When the kernel does not do it.
    pub async fn add_address(&self, address: IpAddr, ifindex: u32) -> Result<Added, NetError> {
        address::add(&self.route, address, ifindex).await
    }

    /// Removes an address of an interface; one that is not there is no error.
    ///
    /// # Errors
    /// When the kernel does not do it.
    pub async fn remove_address(&self, address: IpAddr, ifindex: u32) -> Result<(), NetError> {
        address::remove(&self.route, address, ifindex).await
    }

    /// The link-layer address of whoever answers for the address at this interface; `None` after 1.3 seconds of silence.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn holder(&self, address: IpAddr, ifindex: u32) -> Result<Option<Vec<u8>>, NetError> {
        address::holder(&self.route, address, ifindex).await
    }

    /// One sentence for each set of firewall or NAT rules in force.
    ///
    /// # Errors
    /// When netlink fails, or the caller may not read the rules.
    pub async fn firewall(&self) -> Result<Vec<String>, NetError> {
        let mut sentences = match &self.netfilter {
            Some(netfilter) => nftables::sentences(netfilter).await?,
            None => Vec::new(),
        };
        sentences.extend(legacy::sentences());
        Ok(sentences)
    }
}

/// True only where the switch is there and off; these files show the reader's own network namespace.
fn is_off(switch: &str) -> bool {
    std::fs::read_to_string(switch).is_ok_and(|text| text.trim() == "0")
}

fn interfaces(links: BTreeMap<u32, Link>) -> Vec<Interface> {
    links.into_values().map(|link| link.interface).collect()
}

/// What the route `found` means, given the interfaces.
fn place(found: Option<route::Found>, links: &BTreeMap<u32, Link>) -> BackendRoute {
    let nowhere = BackendRoute {
        ifindex: 0,
        interface: String::new(),
        kind: RouteKind::Unreachable,
    };
    let Some(found) = found else { return nowhere };
    let Some(link) = links.get(&found.ifindex) else {
        return nowhere;
    };
    let kind = if found.local {
        RouteKind::Local
    } else if found.on_link && link.veth_to_other_namespace && !link.enslaved {
        RouteKind::Veth
    } else {
        RouteKind::Routed
    };
    BackendRoute {
        ifindex: found.ifindex,
        interface: link.interface.name.clone(),
        kind,
    }
}
