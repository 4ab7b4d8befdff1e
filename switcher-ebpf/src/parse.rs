//! Reads a packet: IPv4 (RFC 791) and IPv6 (RFC 8200) with options and extension headers, TCP (RFC 9293).

use crate::abi::{Address, FlowKey};
use crate::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Packet};
use crate::reason::Reason;

/// TCP's number.
pub const PROTOCOL_TCP: u8 = 6;
/// UDP's number.
pub const PROTOCOL_UDP: u8 = 17;
/// ICMP's number.
pub const PROTOCOL_ICMP: u8 = 1;
/// ICMPv6's number.
pub const PROTOCOL_ICMPV6: u8 = 58;
const TCP_FIN: u8 = 0x01;
const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_ACK: u8 = 0x10;

const IPV4_MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
const IPV4_HEADER_MIN: u32 = 20;
const IPV6_HEADER: u32 = 40;
const TCP_HEADER_MIN: u32 = 20;
/// Extension headers that are walked: more are no honest packet's.
const IPV6_EXTENSIONS_MAX: u32 = 6;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_FRAGMENT: u8 = 44;
const IPV6_AUTHENTICATION: u8 = 51;
const IPV6_DESTINATION: u8 = 60;

/// Where things are in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// True: IPv4.
    pub is_v4: bool,
    /// Offset of the IP header.
    pub l3: u32,
    /// Offset of the transport header.
    pub l4: u32,
}

/// The TCP header's part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFacts {
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledgement number; means something with [`TcpFacts::is_ack`] only.
    pub acknowledged: u32,
    /// Bytes of payload of all segments.
    pub payload: u32,
    flags: u8,
}

impl TcpFacts {
    /// A SYN without ACK: only this opens a flow.
    #[must_use]
    #[inline(always)]
    pub const fn is_open(self) -> bool {
        self.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN) == TCP_SYN
    }

    /// A SYN, with or without ACK.
    #[must_use]
    #[inline(always)]
    pub const fn is_syn(self) -> bool {
        self.flags & TCP_SYN != 0
    }

    /// The acknowledgement number means something.
    #[must_use]
    #[inline(always)]
    pub const fn is_ack(self) -> bool {
        self.flags & TCP_ACK != 0
    }

    /// The sender has nothing more to send.
    #[must_use]
    #[inline(always)]
    pub const fn is_fin(self) -> bool {
        self.flags & TCP_FIN != 0
    }

    /// The sender knows of no connection, or gives it up.
    #[must_use]
    #[inline(always)]
    pub const fn is_reset(self) -> bool {
        self.flags & TCP_RST != 0
    }
}

/// A packet that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A TCP segment or UDP datagram.
    Segment(Parsed),
    /// An ICMP error that quotes one.
    Error(IcmpError),
}

/// An ICMP error (RFC 792, RFC 4443) about a segment that somebody sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who reports.
    pub reporter: Address,
    /// The segment that is quoted, with the sender as source: it was sent to `quoted.destination`.
    pub quoted: FlowKey,
    /// The error's own headers.
    pub layout: Layout,
    /// The quoted headers.
    pub quoted_layout: Layout,
    /// TTL or hop limit of the error.
    pub ttl: u8,
}

/// The transport header's part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(TcpFacts),
    /// UDP (RFC 768).
    Udp {
        /// False: the sender left the checksum out.
        has_sum: bool,
    },
}

impl Transport {
    /// True for what opens a flow: a SYN without ACK, or any datagram.
    #[must_use]
    #[inline(always)]
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_open(),
            Self::Udp { .. } => true,
        }
    }

    /// True for TCP with SYN.
    #[must_use]
    #[inline(always)]
    pub const fn is_syn(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_syn(),
            Self::Udp { .. } => false,
        }
    }

    /// True for UDP.
    #[must_use]
    #[inline(always)]
    pub const fn is_udp(&self) -> bool {
        matches!(self, Self::Udp { .. })
    }
}

/// A TCP segment or UDP datagram that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Who sends to whom.
    pub key: FlowKey,
    /// Where things are.
    pub layout: Layout,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The transport header.
    pub transport: Transport,
    /// Wire packets.
    pub packets: u32,
    /// Bytes of layer 3, headers counted for each wire packet.
    pub bytes: u32,
}

struct Network {
    source: Address,
    destination: Address,
    layout: Layout,
    ttl: u8,
    protocol: u8,
    /// Bytes from the IP header's first to the packet's last.
    bytes: u32,
}

/// Reads a packet, or says why it is none of ours.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P) -> Result<Content, Reason> {
    let l3 = packet.l3_offset();
    let network = match packet.ethertype() {
        ETHERTYPE_IPV4 => ipv4(packet, l3, Whole::Yes)?,
        ETHERTYPE_IPV6 => ipv6(packet, l3, Whole::Yes)?,
        _ => return Err(Reason::NotIp),
    };
    if packet.is_vlan_tagged() {
        return Err(Reason::VlanTagged);
    }
    match network.protocol {
        PROTOCOL_TCP => tcp(packet, &network).map(Content::Segment),
        PROTOCOL_UDP => udp(packet, &network).map(Content::Segment),
        PROTOCOL_ICMP if network.layout.is_v4 => icmp_error(packet, &network).map(Content::Error),
        PROTOCOL_ICMPV6 if !network.layout.is_v4 => icmp_error(packet, &network).map(Content::Error),
        _ => Err(Reason::NotCarried),
    }
}

/// Whether all of a packet must be there: an ICMP error quotes only its beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

const ICMP_HEADER: u32 = 8;
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_TIME_EXCEEDED: u8 = 11;
const ICMP_PARAMETER_PROBLEM: u8 = 12;
/// RFC 4443: errors are 1 to 127; those that exist are 1 to 4.
const ICMPV6_ERROR_LAST: u8 = 4;

#[inline(always)]
fn icmp_error<P: Packet>(packet: &P, network: &Network) -> Result<IcmpError, Reason> {
    let layout = network.layout;
    let header: [u8; 4] = packet.load(layout.l4).ok_or(Reason::Malformed)?;
    let is_error = if layout.is_v4 {
        matches!(
            header[0],
            ICMP_UNREACHABLE | ICMP_TIME_EXCEEDED | ICMP_PARAMETER_PROBLEM
        )
    } else {
        matches!(header[0], 1..=ICMPV6_ERROR_LAST)
    };
    if !is_error {
        return Err(Reason::NotCarried);
    }
    let l3 = layout.l4 + ICMP_HEADER;
    let quoted = if layout.is_v4 {
        ipv4(packet, l3, Whole::No)?
    } else {
        ipv6(packet, l3, Whole::No)?
    };
    if quoted.protocol != PROTOCOL_TCP && quoted.protocol != PROTOCOL_UDP {
        return Err(Reason::NotCarried);
    }
    let ports: [u8; 4] = packet.load(quoted.layout.l4).ok_or(Reason::Malformed)?;
    Ok(IcmpError {
        reporter: network.source,
        quoted: FlowKey {
            source: quoted.source,
            destination: quoted.destination,
            source_port: u16::from_ne_bytes([ports[0], ports[1]]),
            destination_port: u16::from_ne_bytes([ports[2], ports[3]]),
            protocol: quoted.protocol as u32,
        },
        layout,
        quoted_layout: quoted.layout,
        ttl: network.ttl,
    })
}

#[inline(always)]
fn tcp<P: Packet>(packet: &P, network: &Network) -> Result<Parsed, Reason> {
    let l4 = network.layout.l4;
    let tcp: [u8; TCP_HEADER_MIN as usize] = packet.load(l4).ok_or(Reason::Malformed)?;
    let headers = l4 - network.layout.l3 + (tcp[12] >> 4) as u32 * 4;
    if (tcp[12] >> 4) < 5 || headers > network.bytes {
        return Err(Reason::Malformed);
    }
    let packets = packet.wire_segments();
    Ok(Parsed {
        key: FlowKey {
            source: network.source,
            destination: network.destination,
            source_port: u16::from_ne_bytes([tcp[0], tcp[1]]),
            destination_port: u16::from_ne_bytes([tcp[2], tcp[3]]),
            protocol: PROTOCOL_TCP as u32,
        },
        layout: network.layout,
        ttl: network.ttl,
        transport: Transport::Tcp(TcpFacts {
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            acknowledged: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            payload: network.bytes - headers,
            flags: tcp[13],
        }),
        packets,
        bytes: network
            .bytes
            .wrapping_add(packets.wrapping_sub(1).wrapping_mul(headers)),
    })
}

const UDP_HEADER: u32 = 8;

#[inline(always)]
fn udp<P: Packet>(packet: &P, network: &Network) -> Result<Parsed, Reason> {
    let udp: [u8; UDP_HEADER as usize] = packet.load(network.layout.l4).ok_or(Reason::Malformed)?;
    let headers = network.layout.l4 - network.layout.l3 + UDP_HEADER;
    if headers > network.bytes {
        return Err(Reason::Malformed);
    }
    let packets = packet.wire_segments();
    Ok(Parsed {
        key: FlowKey {
            source: network.source,
            destination: network.destination,
            source_port: u16::from_ne_bytes([udp[0], udp[1]]),
            destination_port: u16::from_ne_bytes([udp[2], udp[3]]),
            protocol: PROTOCOL_UDP as u32,
        },
        layout: network.layout,
        ttl: network.ttl,
        transport: Transport::Udp {
            has_sum: udp[6] != 0 || udp[7] != 0,
        },
        packets,
        bytes: network
            .bytes
            .wrapping_add(packets.wrapping_sub(1).wrapping_mul(headers)),
    })
}

#[inline(always)]
fn ipv4<P: Packet>(packet: &P, l3: u32, whole: Whole) -> Result<Network, Reason> {
    let h: [u8; IPV4_HEADER_MIN as usize] = packet.load(l3).ok_or(Reason::Malformed)?;
    let header = (h[0] & 0x0f) as u32 * 4;
    if h[0] >> 4 != 4 || header < IPV4_HEADER_MIN {
        return Err(Reason::Malformed);
    }
    if u16::from_be_bytes([h[6], h[7]]) & IPV4_MORE_FRAGMENTS_OR_OFFSET != 0 {
        return Err(Reason::Fragment);
    }
    let total = u16::from_be_bytes([h[2], h[3]]) as u32;
    Ok(Network {
        source: Address::v4([h[12], h[13], h[14], h[15]]),
        destination: Address::v4([h[16], h[17], h[18], h[19]]),
        layout: Layout {
            is_v4: true,
            l3,
            l4: l3 + header,
        },
        ttl: h[8],
        protocol: h[9],
        bytes: l3_bytes(packet, l3, total, 0, whole)?,
    })
}

#[inline(always)]
fn ipv6<P: Packet>(packet: &P, l3: u32, whole: Whole) -> Result<Network, Reason> {
    let first: [u8; 8] = packet.load(l3).ok_or(Reason::Malformed)?;
    let source: [u8; 16] = packet.load(l3 + 8).ok_or(Reason::Malformed)?;
    let destination: [u8; 16] = packet.load(l3 + 24).ok_or(Reason::Malformed)?;
    if first[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let (source, destination) = (Address::v6(source), Address::v6(destination));
    if source.is_v4() || destination.is_v4() {
        return Err(Reason::MappedAddress);
    }
    let (protocol, l4) = after_extensions(packet, first[6], l3 + IPV6_HEADER)?;
    let payload = u16::from_be_bytes([first[4], first[5]]) as u32;
    Ok(Network {
        source,
        destination,
        layout: Layout { is_v4: false, l3, l4 },
        ttl: first[7],
        protocol,
        bytes: l3_bytes(packet, l3, payload, IPV6_HEADER, whole)?,
    })
}

/// Walks the extension headers, RFC 8200 section 4, to the transport header.
#[inline(always)]
fn after_extensions<P: Packet>(packet: &P, first: u8, start: u32) -> Result<(u8, u32), Reason> {
    let (mut next, mut offset) = (first, start);
    for _ in 0..IPV6_EXTENSIONS_MAX {
        let unit = match next {
            IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION => 8,
            IPV6_AUTHENTICATION => 4,
            IPV6_FRAGMENT => return Err(Reason::Fragment),
            _ => return Ok((next, offset)),
        };
        let header: [u8; 4] = packet.load(offset).ok_or(Reason::Malformed)?;
        // Its destination is not where it goes, and its checksum is of where it goes (RFC 8200, section 8.1).
        if next == IPV6_ROUTING && header[3] != 0 {
            return Err(Reason::NotCarried);
        }
        let fixed = if unit == 4 { 8 } else { unit };
        offset += fixed + header[1] as u32 * unit;
        next = header[0];
    }
    Err(Reason::Malformed)
}

/// Length of layer 3: what the header says, without the padding of short frames; what is there, where it says 0 (BIG TCP).
#[inline(always)]
fn l3_bytes<P: Packet>(packet: &P, l3: u32, said: u32, not_said: u32, whole: Whole) -> Result<u32, Reason> {
    let there = packet.byte_count().wrapping_sub(l3);
    if said == 0 {
        return Ok(there);
    }
    let said = said + not_said;
    if said > there && whole == Whole::Yes {
        Err(Reason::Malformed)
    } else {
        Ok(said)
    }
}
