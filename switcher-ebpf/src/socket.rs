//! The socket path: backends that are processes of the host itself, bound to a loopback address.
//!
//! No translation leads there: a packet for 127.0.0.1 that comes from outside is a martian. So a SYN keeps its addresses and is
//! handed to the listening socket; the connection carries the listener's own address, and the host's TCP finds it by itself
//! from then on. What this module asks is whether that TCP already has something for the packet's addresses and ports:
//! - a connection or a handshake gets its packets as always;
//! - nothing, though the flow is young: a SYN again, or the last packet of a handshake with a SYN cookie. The listening
//!   socket gets it;
//! - a connection that ended a moment ago (TIME-WAIT): the new flow gets a source port of its own, as after a collision;
//! - a handshake that the old set's socket answered before a switch: it is ended first (invariant I3).
//!
//! It is a program of its own, called by the ingress program: in one, they would need more stack than a program has.

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{Address, FlowIdentity, FlowSide, PATH_SOCKET, State, micros, ticks};
use crate::choose::{self, Again, Choice, hash_flow};
use crate::decide::{self, Action, Verdict};
use crate::flow::{self, Found, stand_in_port};
use crate::packet::{Ends, Packet, SocketState};
use crate::parse::{Content, Parsed, Transport, parse};
use crate::reason::Reason;
use crate::reset;
use crate::rewrite;
use crate::shield;
use crate::tables::Tables;

/// Source ports that are tried where the host's TCP has the client's own.
const PORT_TRIES_MAX: u32 = 3;

/// True when a client's packet belongs to a flow on the socket path. A SYN on one that has ended is a new flow, whatever path.
#[must_use]
#[inline(always)]
pub fn concerns(parsed: &Parsed, found: &Found<'_>) -> bool {
    let begins_anew = parsed.transport.is_open() && found.state() as u8 == State::Closing as u8;
    found.identity.path == PATH_SOCKET && !found.is_reply && !begins_anew
}

/// A packet that the ingress program found to be of the socket path.
#[inline(always)]
pub fn ingress<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let Ok(Content::Segment(parsed)) = parse(packet) else {
        return Verdict::drop(Reason::SocketFailed);
    };
    let Some(found) = flow::find(tables, &parsed.key) else {
        return opening(packet, tables, &parsed);
    };
    // Another CPU has opened a flow meanwhile; or a switch has.
    if !concerns(&parsed, &found) {
        return Verdict::drop(Reason::SocketFailed);
    }
    if parsed.transport.is_syn()
        && let Some(verdict) = again(packet, tables, &parsed, &found)
    {
        return verdict;
    }
    decide::account_client(packet, tables, &parsed, &found);
    forward(packet, tables, &parsed, &found)
}

/// A SYN on a flow that has not ended; see the same of the other paths. `None`: it belongs to that flow.
#[inline(always)]
fn again<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, found: &Found<'_>) -> Option<Verdict> {
    let mut is_answered = false;
    if found.state() as u8 == State::Established as u8 {
        if !is_gone(packet, found) {
            return None;
        }
    } else {
        let image = tables.image()?;
        if choose::header_of(&image)?.epoch == found.identity.epoch {
            return None;
        }
        is_answered = packet.socket(seen_by_host(&found.identity)) as u8 == SocketState::Handshake as u8;
    }
    flow::release(tables, found, ticks(tables.coarse_now_ns()));
    Some(if is_answered {
        end_handshake(packet, parsed, found.identity.source_port)
    } else {
        // The client's next SYN is decided by the ingress program, for whatever path.
        Verdict::drop(Reason::SocketFailed)
    })
}

/// A SYN that opens a flow.
#[inline(always)]
fn opening<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed) -> Verdict {
    // The agent gives no set with a loopback address a share of datagrams.
    if !parsed.transport.is_syn() {
        return Verdict::drop(Reason::SocketFailed);
    }
    let Some(image) = tables.image() else {
        return Verdict::pass(Reason::NoImage);
    };
    let Some(header) = choose::header_of(&image) else {
        return Verdict::pass(Reason::NoImage);
    };
    // Whether the alias holds its new flows was the caller's question, and the answer is a moment old.
    let clock = || ticks(tables.coarse_now_ns());
    let alias = choose::find_alias(&image, header, &parsed.key);
    match alias.and_then(|alias| choose::choose(&image, header.epoch, alias, &parsed.key, Again::NO, clock)) {
        Ok(choice) if choice.backend.path == PATH_SOCKET => open(packet, tables, parsed, &choice),
        Ok(_) => Verdict::drop(Reason::SocketFailed),
        Err(reason) => Verdict::pass(reason),
    }
}

/// The client's packets of a flow, as the host's TCP sees them.
#[inline(always)]
const fn seen_by_host(identity: &FlowIdentity) -> Ends<'_> {
    Ends {
        source: &identity.client,
        destination: &identity.listener,
        source_port: identity.source_port,
        destination_port: identity.listener_port,
    }
}

/// True when a SYN meets an established flow whose connection the host no longer has.
#[inline(always)]
fn is_gone<P: Packet>(packet: &P, found: &Found<'_>) -> bool {
    packet.socket(seen_by_host(&found.identity)) as u8 == SocketState::Nothing as u8
}

/// Ends the handshake that this SYN began: the socket that answered it gets a RST in its stead.
#[inline(always)]
fn end_handshake<P: Packet>(packet: &mut P, parsed: &Parsed, source_port: u16) -> Verdict {
    let ported = rewrite::source_port(packet, parsed, source_port);
    match ported.and_then(|()| reset::end_handshake(packet, parsed)) {
        Ok(()) => Verdict::pass(Reason::SocketEnded),
        Err(_) => Verdict::drop(Reason::RewriteFailed),
    }
}

/// The source port of a new flow, or what else to do with its SYN.
#[inline(always)]
fn source_port<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, now_ns: u64) -> Result<u16, Verdict> {
    let key = &parsed.key;
    let mut ends = Ends {
        source: &key.source,
        destination: &key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
    };
    let state = packet.socket(ends);
    if state as u8 == SocketState::Nothing as u8 {
        return Ok(ends.source_port);
    }
    // Under this port may stand another flow of ours, which got it instead of its client's own.
    if state as u8 != SocketState::Ended as u8 && tables.index(&key.reversed()).is_none() {
        return Err(if state as u8 == SocketState::Connection as u8 {
            Verdict::pass(Reason::SocketTaken)
        } else {
            end_handshake(packet, parsed, key.source_port)
        });
    }
    let hash = hash_flow(key) ^ now_ns as u32;
    for attempt in 0..PORT_TRIES_MAX {
        ends.source_port = stand_in_port(hash, attempt);
        if packet.socket(ends) as u8 == SocketState::Nothing as u8 {
            return Ok(ends.source_port);
        }
    }
    Err(Verdict::drop(Reason::SourcePortsUsed))
}

/// Opens a flow, and hands its SYN to the listening socket.
#[inline(always)]
fn open<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, choice: &Choice<'_>) -> Verdict {
    let now_ns = tables.exact_now_ns();
    let source_port = match source_port(packet, tables, parsed, now_ns) {
        Ok(port) => port,
        Err(verdict) => return verdict,
    };
    let mut identity = decide::identity(parsed, choice, PATH_SOCKET, source_port);
    let port = identity.backend_port;
    (identity.backend, identity.backend_port) = (identity.listener, identity.listener_port);
    if let Err(reason) = decide::begin(packet, tables, parsed, &mut identity, port as u32, Again::NO, now_ns) {
        return Verdict::drop(reason);
    }
    let is_taken = assign(packet, &identity, port);
    if rewrite::source_port(packet, parsed, identity.source_port).is_err() {
        return Verdict::drop(Reason::RewriteFailed);
    }
    if is_taken {
        Verdict::pass(Reason::OpenedSocket)
    } else if identity.shield_seconds != 0 {
        // The client's SYN comes again, and the process may listen by then.
        Verdict::drop(Reason::Shielded)
    } else {
        refuse(packet, parsed)
    }
}

/// A client's packet of a flow that is known.
#[inline(always)]
fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, found: &Found<'_>) -> Verdict {
    let identity = &found.identity;
    let is_lost = is_unproven(parsed, found)
        && packet.socket(seen_by_host(identity)) as u8 == SocketState::Nothing as u8
        && !assign(packet, identity, found.record.backend.ifindex.load(Relaxed) as u16);
    if rewrite::source_port(packet, parsed, identity.source_port).is_err() {
        return Verdict::drop(Reason::RewriteFailed);
    }
    if is_lost && parsed.transport.is_syn() {
        return if shield::is_up(found, micros(tables.exact_now_ns())) {
            Verdict::drop(Reason::Shielded)
        } else {
            refuse(packet, parsed)
        };
    }
    Verdict::pass(Reason::ForwardSocket)
}

/// Until the process has sent something, the host may have nothing for the flow: its answer to the SYN may have been a cookie,
/// and the queue of the listening socket may have been full.
#[inline(always)]
fn is_unproven(parsed: &Parsed, found: &Found<'_>) -> bool {
    let spoke = found.record.backend.flags.load(Relaxed) & FlowSide::SPOKE != 0;
    let is_reset = matches!(parsed.transport, Transport::Tcp(tcp) if tcp.is_reset());
    let is_young = found.state() as u8 == State::Pending as u8 || !spoke;
    is_young && !is_reset
}

/// Hands the packet to the socket that listens at the loopback address on this port.
#[inline(always)]
fn assign<P: Packet>(packet: &mut P, identity: &FlowIdentity, port: u16) -> bool {
    packet.assign_listener(Ends {
        destination: &Address::loopback(identity.listener.is_v4()),
        destination_port: port,
        ..seen_by_host(identity)
    })
}

/// Notes that the process has spoken.
#[inline(always)]
pub fn from_process(found: &Found<'_>, transport: &Transport) {
    let flags = found.record.backend.flags.load(Relaxed);
    if found.identity.path == PATH_SOCKET && !transport.is_syn() && flags & FlowSide::SPOKE == 0 {
        found.record.backend.flags.store(flags | FlowSide::SPOKE, Relaxed);
    }
}

/// Nobody listens: the client is told so, as the host's stack would, and not left to wait. It is told from here because the
/// stack would let another process answer that listens on the alias's own address.
#[inline(always)]
fn refuse<P: Packet>(packet: &mut P, parsed: &Parsed) -> Verdict {
    let ifindex = packet.ifindex();
    match reset::answer(packet, parsed) {
        Ok(()) => Verdict {
            reason: Reason::SocketRefused,
            action: Action::ToRoute { ifindex },
        },
        Err(_) => Verdict::drop(Reason::RewriteFailed),
    }
}
