//! Changes a packet's addresses and ports, and every checksum that covers them (RFC 1624).

use crate::abi::{Address, FlowIdentity, PATH_SOCKET};
use crate::packet::{Covers, Packet, PacketError, TransportSum};
use crate::parse::{IcmpError, Layout, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, Parsed, Transport};

const IPV4_TTL: u32 = 8;
const IPV4_SUM: u32 = 10;
const IPV4_SOURCE: u32 = 12;
const IPV4_DESTINATION: u32 = 16;
const IPV6_HOP_LIMIT: u32 = 7;
const IPV6_SOURCE: u32 = 8;
const IPV6_DESTINATION: u32 = 24;
pub(crate) const TCP_SUM: u32 = 16;
const UDP_SUM: u32 = 6;
const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;

/// A one's complement difference: what replaced words add to a sum. In the byte order of the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(u64);

impl Difference {
    /// Takes a word out and puts another in.
    #[inline(always)]
    pub fn word(&mut self, old: u32, new: u32) {
        self.0 += !old as u64 + new as u64;
    }

    /// The same for 16 bits.
    #[inline(always)]
    pub fn half(&mut self, old: u16, new: u16) {
        self.0 += !old as u64 + new as u64;
    }

    #[inline(always)]
    fn address(&mut self, old: &Address, new: &Address, is_v4: bool) {
        self.word(old.0[3], new.0[3]);
        if !is_v4 {
            self.word(old.0[0], new.0[0]);
            self.word(old.0[1], new.0[1]);
            self.word(old.0[2], new.0[2]);
        }
    }

    /// Folded to 32 bits, as the kernel's checksum helpers take it.
    #[must_use]
    #[inline(always)]
    pub const fn folded(self) -> u32 {
        let once = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((once & 0xffff_ffff) + (once >> 32)) as u32
    }
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Sends a client's packet on to its backend: destination, and the source port where the flow has another.
#[inline(always)]
pub fn to_backend<P: Packet>(packet: &mut P, parsed: &Parsed, flow: &FlowIdentity) -> Result<(), PacketError> {
    address(packet, parsed, End::Destination, &flow.listener, &flow.backend)?;
    ports(
        packet,
        parsed,
        (flow.client_port, flow.source_port),
        (flow.listener_port, flow.backend_port),
    )
}

/// Gives a backend's packet the address that the client knows.
#[inline(always)]
pub fn to_client<P: Packet>(packet: &mut P, parsed: &Parsed, flow: &FlowIdentity) -> Result<(), PacketError> {
    if flow.path != PATH_SOCKET {
        address(packet, parsed, End::Source, &flow.backend, &flow.listener)?;
    }
    ports(
        packet,
        parsed,
        (flow.backend_port, flow.listener_port),
        (flow.source_port, flow.client_port),
    )
}

/// Gives a client's packet another source port; the same: nothing is touched.
#[inline(always)]
pub fn source_port<P: Packet>(packet: &mut P, parsed: &Parsed, port: u16) -> Result<(), PacketError> {
    ports(packet, parsed, (parsed.key.source_port, port), (0, 0))
}

/// Counts a hop, as a router does. `left` is what the packet has; the caller has seen that it is more than one.
#[inline(always)]
pub fn count_hop<P: Packet>(packet: &mut P, layout: &Layout, left: u8) -> Result<(), PacketError> {
    set_ttl(packet, layout, left, left.wrapping_sub(1))
}

/// Gives a packet another TTL or hop limit than the one it has.
#[inline(always)]
pub fn set_ttl<P: Packet>(packet: &mut P, layout: &Layout, left: u8, ttl: u8) -> Result<(), PacketError> {
    let l3 = layout.l3;
    if !layout.is_v4 {
        return packet.store_uncovered(l3 + IPV6_HOP_LIMIT, &[ttl]);
    }
    // The protocol shares its word of the sum with the TTL and cancels out of the difference.
    let mut difference = Difference::default();
    difference.half(u16::from_ne_bytes([left, 0]), u16::from_ne_bytes([ttl, 0]));
    packet.store(l3 + IPV4_TTL, &[ttl])?;
    packet.add_to_header_sum(l3 + IPV4_SUM, difference.folded())
}

#[inline(always)]
fn address<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    end: End,
    old: &Address,
    new: &Address,
) -> Result<(), PacketError> {
    let difference = store_address(packet, &parsed.layout, end, old, new)?;
    let covers = if parsed.layout.is_v4 {
        Covers::PseudoHeaderV4
    } else {
        Covers::PseudoHeaderV6
    };
    match transport_sum(parsed) {
        Some(sum) => packet.add_to_transport_sum(sum, difference, covers),
        None => Ok(()),
    }
}

/// The packet's transport checksum, where the sender made one.
#[inline(always)]
const fn transport_sum(parsed: &Parsed) -> Option<TransportSum> {
    match parsed.transport {
        Transport::Tcp(_) => Some(TransportSum {
            offset: parsed.layout.l4 + TCP_SUM,
            segment: parsed.layout.l4,
            protocol: PROTOCOL_TCP,
        }),
        Transport::Udp { has_sum: true } => Some(TransportSum {
            offset: parsed.layout.l4 + UDP_SUM,
            segment: parsed.layout.l4,
            protocol: PROTOCOL_UDP,
        }),
        Transport::Udp { has_sum: false } => None,
    }
}

/// Puts an address into an IP header, and into IPv4's own checksum. Returns the folded difference for other sums.
#[inline(always)]
fn store_address<P: Packet>(
    packet: &mut P,
    layout: &Layout,
    end: End,
    old: &Address,
    new: &Address,
) -> Result<u32, PacketError> {
    let mut difference = Difference::default();
    difference.address(old, new, layout.is_v4);
    let difference = difference.folded();
    if layout.is_v4 {
        let at = if end == End::Source {
            IPV4_SOURCE
        } else {
            IPV4_DESTINATION
        };
        packet.store(layout.l3 + at, &new.0[3].to_ne_bytes())?;
        packet.add_to_header_sum(layout.l3 + IPV4_SUM, difference)?;
    } else {
        let at = if end == End::Source {
            IPV6_SOURCE
        } else {
            IPV6_DESTINATION
        };
        packet.store(layout.l3 + at, &new.octets())?;
    }
    Ok(difference)
}

#[inline(always)]
fn ports<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    source: (u16, u16),
    destination: (u16, u16),
) -> Result<(), PacketError> {
    let l4 = parsed.layout.l4;
    let difference = store_ports(packet, l4, source, destination)?;
    match transport_sum(parsed) {
        Some(sum) if difference != Difference::default() => {
            packet.add_to_transport_sum(sum, difference.folded(), Covers::Segment)
        }
        _ => Ok(()),
    }
}

#[inline(always)]
fn store_ports<P: Packet>(
    packet: &mut P,
    l4: u32,
    source: (u16, u16),
    destination: (u16, u16),
) -> Result<Difference, PacketError> {
    let mut difference = Difference::default();
    if source.0 != source.1 {
        difference.half(source.0, source.1);
        packet.store(l4 + SOURCE_PORT, &source.1.to_ne_bytes())?;
    }
    if destination.0 != destination.1 {
        difference.half(destination.0, destination.1);
        packet.store(l4 + DESTINATION_PORT, &destination.1.to_ne_bytes())?;
    }
    Ok(difference)
}

const ICMP_SUM: u32 = 2;

#[inline(always)]
const fn icmp_sum(error: &IcmpError) -> TransportSum {
    TransportSum {
        offset: error.layout.l4 + ICMP_SUM,
        segment: error.layout.l4,
        protocol: if error.layout.is_v4 {
            PROTOCOL_ICMP
        } else {
            PROTOCOL_ICMPV6
        },
    }
}

/// An error about what the client sent, on its way to the client: what it quotes becomes what the client knows, and a
/// backend that reports becomes the listener.
#[inline(always)]
pub fn error_to_client<P: Packet>(packet: &mut P, error: &IcmpError, flow: &FlowIdentity) -> Result<(), PacketError> {
    if error.reporter == flow.backend {
        outer_address(packet, error, End::Source, &flow.backend, &flow.listener)?;
    }
    quoted_address(packet, error, End::Destination, &flow.backend, &flow.listener)?;
    quoted_ports(
        packet,
        error,
        (flow.source_port, flow.client_port),
        (flow.backend_port, flow.listener_port),
    )
}

/// An error about what the listener seemed to send, on its way to the backend that did send it.
#[inline(always)]
pub fn error_to_backend<P: Packet>(packet: &mut P, error: &IcmpError, flow: &FlowIdentity) -> Result<(), PacketError> {
    outer_address(packet, error, End::Destination, &flow.listener, &flow.backend)?;
    quoted_address(packet, error, End::Source, &flow.listener, &flow.backend)?;
    quoted_ports(
        packet,
        error,
        (flow.listener_port, flow.backend_port),
        (flow.client_port, flow.source_port),
    )
}

/// ICMPv6's checksum covers a pseudo header (RFC 4443, section 2.3), ICMP's does not.
#[inline(always)]
fn outer_address<P: Packet>(
    packet: &mut P,
    error: &IcmpError,
    end: End,
    old: &Address,
    new: &Address,
) -> Result<(), PacketError> {
    let difference = store_address(packet, &error.layout, end, old, new)?;
    if error.layout.is_v4 {
        return Ok(());
    }
    packet.add_to_transport_sum(icmp_sum(error), difference, Covers::PseudoHeaderV6)
}

/// In IPv4 the quoted header's own checksum takes up the difference, so the error's checksum does not change.
#[inline(always)]
fn quoted_address<P: Packet>(
    packet: &mut P,
    error: &IcmpError,
    end: End,
    old: &Address,
    new: &Address,
) -> Result<(), PacketError> {
    let difference = store_address(packet, &error.quoted_layout, end, old, new)?;
    if error.layout.is_v4 {
        return Ok(());
    }
    packet.add_to_transport_sum(icmp_sum(error), difference, Covers::Segment)
}

/// The quoted transport checksum is often cut off and nobody checks it; it stays as it is.
#[inline(always)]
fn quoted_ports<P: Packet>(
    packet: &mut P,
    error: &IcmpError,
    source: (u16, u16),
    destination: (u16, u16),
) -> Result<(), PacketError> {
    let difference = store_ports(packet, error.quoted_layout.l4, source, destination)?;
    if difference == Difference::default() {
        return Ok(());
    }
    packet.add_to_transport_sum(icmp_sum(error), difference.folded(), Covers::Segment)
}
