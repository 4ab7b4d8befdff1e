//! What an image is compiled from: everything resolved, nothing left to look up.

use std::net::IpAddr;

use crate::model::Listener;

/// Which way a flow's packets take, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Redirected straight into the namespace behind the host-side veth with this interface index.
    Bypass {
        /// The host-side veth of the backend.
        ifindex: u32,
    },
    /// Sent on in the driver to the interface with this index, from other interfaces that have XDP; through the host's own
    /// stack from all others.
    Driver {
        /// Behind which the backend is.
        ifindex: u32,
    },
    /// Through the host's own stack.
    Stack,
    /// Handed to a listening socket of the host itself, on a loopback address.
    Socket,
    /// Behind a port of a bridge: through the host's own stack, but for clients on the same bridge. The backend answers
    /// those straight, so they are redirected.
    Bridge {
        /// The bridge.
        bridge: u32,
        /// The host-side veth of the backend.
        ifindex: u32,
    },
}

/// Everything one image holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePlan {
    /// The image's number; larger than that of every earlier image.
    pub epoch: u64,
    /// The aliases, in any order.
    pub aliases: Vec<AliasPlan>,
}

/// How long the shield keeps refusals from a client: its SYN comes again after 1, 3, 7 and 15 seconds.
pub const SHIELD_SECONDS: u32 = 20;

/// One alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasPlan {
    /// Stable number of the alias; flow records carry it.
    pub id: u32,
    /// Where clients find it. No listener is in two aliases.
    pub listeners: Vec<Listener>,
    /// A switch moves its UDP conversations.
    pub udp_moves: bool,
    /// Flows, not clients, are spread over the sets.
    pub by_flow: bool,
    /// Until when new flows wait; nanoseconds of CLOCK_MONOTONIC, 0: they do not.
    pub hold_until_ns: u64,
    /// Refusals are kept from clients, for [`SHIELD_SECONDS`] from a client's first SYN on.
    pub shield: bool,
    /// Which share of new flows each set gets: ascending, the last one ends at 2^32. Empty: no new flows.
    pub segments: Vec<Segment>,
    /// The sets that `segments` point at, and no others.
    pub sets: Vec<SetPlan>,
}

/// One interval of the space of client hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First hash that is no longer in it: 1 to 2^32.
    pub end: u64,
    /// Index into [`AliasPlan::sets`].
    pub set: usize,
}

/// One set with a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPlan {
    /// Stable number of the set: its counter slot, below [`switcher_ebpf::abi::SETS_MAX`].
    pub id: u32,
    /// Its backends: at least one, at most 1,024.
    pub backends: Vec<BackendPlan>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPlan {
    /// Stable number of the backend; flow records carry it.
    pub id: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 keeps the listener's.
    pub port: u16,
    /// Which way new flows to it take.
    pub path: Path,
}
