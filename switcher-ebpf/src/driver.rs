//! The driver path: past the host's stack from one driver to another, for backends behind an interface that has the XDP hook
//! too.
//!
//! A frame is sent on (`XDP_REDIRECT`), or back out (`XDP_TX`), by the host's own routes and neighbours, asked for each packet.
//! Where they have no answer, the packet is too big or its hops are used up, the stack gets it: it resolves the
//! neighbour, or answers. That is known before a reply is rewritten, since the stack takes nothing that has an address of the host as source;
//! what goes to a backend is rewritten alike for both.
//!
//! Programs of their own, called by the XDP program: in one, they would need more stack than a program has.

use crate::abi::{Address, PATH_DRIVER};
use crate::decide::{self, Action, Seen, Verdict};
use crate::flow;
use crate::packet::Packet;
use crate::parse::{Content, Parsed, parse};
use crate::reason::Reason;
use crate::rewrite;
use crate::tables::Tables;

/// The way that a packet is to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// From where, as the client or backend is to see it.
    pub source: &'a Address,
    /// To where.
    pub destination: &'a Address,
    /// IPv4.
    pub is_v4: bool,
    /// L3 bytes.
    pub bytes: u32,
}

/// A packet that the driver can send on.
pub trait Sendable: Packet {
    /// Finds the way from one address to another for the packet, and keeps it.
    ///
    /// # Errors
    /// When the stack has to carry it, and why.
    fn find_way(&mut self, route: Route<'_>) -> Result<(), Reason>;
}

/// A client's packet, rewritten already. The reason stands only where it does not go by [`Action::ToRoute`].
#[inline(always)]
pub fn send<P: Sendable>(packet: &mut P) -> Verdict {
    let Ok(Content::Segment(parsed)) = parse(packet) else {
        return Verdict::pass(Reason::BypassNoRoute);
    };
    let way = Route {
        source: &parsed.key.source,
        destination: &parsed.key.destination,
        is_v4: parsed.layout.is_v4,
        bytes: parsed.bytes,
    };
    match may_go(packet, &parsed, way) {
        Ok(()) => count_hop(packet, &parsed, Reason::ForwardBypass),
        Err(reason) => Verdict::pass(reason),
    }
}

/// A backend's packet that the XDP program found to be of the driver path.
#[inline(always)]
pub fn reply<P: Sendable, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let parsed = match parse(packet) {
        Ok(Content::Segment(parsed)) => parsed,
        Ok(Content::Error(_)) => return Verdict::pass(Reason::OtherHook),
        Err(reason) => return Verdict::pass(reason),
    };
    // A copy: what the map's look-up is given has to lie in memory, and not the rest of the packet's facts with it.
    let key = parsed.key;
    let Some(found) = flow::find(tables, &key) else {
        return Verdict::pass(Reason::NoFlow);
    };
    if !found.is_reply || found.identity.path != PATH_DRIVER || !decide::is_from_backend(packet, &found) {
        return Verdict::pass(Reason::OtherHook);
    }
    let way = Route {
        source: &found.identity.listener,
        destination: &found.identity.client,
        is_v4: parsed.layout.is_v4,
        bytes: parsed.bytes,
    };
    if let Err(reason) = may_go(packet, &parsed, way) {
        return Verdict::pass(reason);
    }
    if decide::account_reply(tables, &parsed, &found) == Seen::Hidden {
        return Verdict::drop(Reason::Shielded);
    }
    match rewrite::to_client(packet, &parsed, &found.identity) {
        Ok(()) => count_hop(packet, &parsed, Reason::ReplyBypass),
        Err(_) => Verdict::drop(Reason::RewriteFailed),
    }
}

#[inline(always)]
fn may_go<P: Sendable>(packet: &mut P, parsed: &Parsed, way: Route<'_>) -> Result<(), Reason> {
    if parsed.ttl <= 1 {
        return Err(Reason::BypassTtl);
    }
    packet.find_way(way)
}

#[inline(always)]
fn count_hop<P: Packet>(packet: &mut P, parsed: &Parsed, reason: Reason) -> Verdict {
    match rewrite::count_hop(packet, &parsed.layout, parsed.ttl) {
        Ok(()) => Verdict {
            reason,
            action: Action::ToRoute {
                ifindex: packet.ifindex(),
            },
        },
        Err(_) => Verdict::drop(Reason::RewriteFailed),
    }
}
