//! What the packet logic needs of a packet.

use crate::abi::Address;

/// The packet could not be read or written at that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketError;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A packet under a hook. Offsets count from its first byte, link layer included.
pub trait Packet {
    /// True where the hook can redirect past the stack, both ways, and hand packets to sockets. Else every new flow takes the
    /// stack, and what is on the bypass path goes by the stack from here on.
    const CAN_BYPASS: bool;

    /// True where the hook can send packets on in the driver, by [`crate::abi::PATH_DRIVER`].
    const IS_DRIVER: bool;

    /// True when the driver that the packet came in by takes part in that.
    fn sends_on(&self) -> bool;

    /// The EtherType, in host byte order.
    fn ethertype(&self) -> u16;
    /// True when the link layer's destination is this host: not another machine, and not many.
    fn is_for_host(&self) -> bool;
    /// True when a VLAN tag stands outside the bytes.
    fn is_vlan_tagged(&self) -> bool;
    /// Where layer 3 begins.
    fn l3_offset(&self) -> u32;
    /// Bytes in all, of all segments.
    fn byte_count(&self) -> u32;
    /// Packets that this becomes, or was, on the wire: at least 1.
    fn wire_segments(&self) -> u32;
    /// Interface it came in by (ingress) or leaves by (egress).
    fn ifindex(&self) -> u32;

    /// True when the packet, or each of its wire segments, fits the MTU of an interface that is there.
    fn fits(&self, ifindex: u32) -> bool;

    /// What this host's own TCP has between two ends. A listening socket is nothing.
    fn socket(&self, ends: Ends<'_>) -> SocketState;

    /// Hands the packet to the socket of this host that listens at the destination, whatever the packet's own destination is. False:
    /// nothing listens there, or this hook cannot do it.
    fn assign_listener(&mut self, ends: Ends<'_>) -> bool;

    /// Reads bytes.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// Writes bytes and leaves every checksum alone.
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError>;

    /// Writes bytes that no checksum inside the packet covers.
    fn store_uncovered<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError>;

    /// Adds a difference (see [`crate::rewrite::Difference`]) to the checksum of an IPv4 header, RFC 1624.
    fn add_to_header_sum(&mut self, offset: u32, difference: u32) -> Result<(), PacketError>;

    /// Adds a difference to a transport checksum, RFC 1624. `covers`: what has changed.
    fn add_to_transport_sum(&mut self, sum: TransportSum, difference: u32, covers: Covers) -> Result<(), PacketError>;
}

/// Two ends of a connection, by reference: a copy would cost stack that BPF programs do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<'a> {
    /// The client's address.
    pub source: &'a Address,
    /// The host's address.
    pub destination: &'a Address,
    /// The client's port, network byte order.
    pub source_port: u16,
    /// The host's port, network byte order.
    pub destination_port: u16,
}

/// What the host's own TCP has for a pair of addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// Nothing, or a listening socket.
    Nothing,
    /// A handshake that a listening socket has answered.
    Handshake,
    /// A connection that this host ended, and which it remembers for a minute (TIME-WAIT).
    Ended,
    /// A connection.
    Connection,
}

/// What a difference to a transport checksum is of. It matters where hardware has yet to finish the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Addresses of the IPv4 pseudo header.
    PseudoHeaderV4,
    /// Addresses of the IPv6 pseudo header.
    PseudoHeaderV6,
    /// Bytes of the segment itself.
    Segment,
}

/// A transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportSum {
    /// Where it is.
    pub offset: u32,
    /// Where the bytes that it covers begin.
    pub segment: u32,
    /// The IP protocol that it is of.
    pub protocol: u8,
}

impl TransportSum {
    /// In UDP (RFC 768) a sum of 0 says that there is none, so one that comes out as 0 is written as 0xffff.
    #[must_use]
    #[inline(always)]
    pub const fn zero_means_none(&self) -> bool {
        self.protocol == crate::parse::PROTOCOL_UDP
    }
}
