//! Turns a SYN into a RST: the one that answers it, or the one that ends the handshake it began.

use crate::packet::{Covers, Packet, PacketError, TransportSum};
use crate::parse::{Layout, Parsed, Transport};
use crate::rewrite::{self, Difference};

const SEQUENCE: u32 = 4;
const ACKNOWLEDGED: u32 = 8;
const OFFSET_AND_FLAGS: u32 = 12;
const IPV4_ADDRESSES: u32 = 12;
const IPV6_ADDRESSES: u32 = 8;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// What hosts give their own packets (RFC 1700).
const TTL: u8 = 64;

/// Turns the SYN into the answer of a host where nothing listens (RFC 9293, section 3.10.7.1), addressed to the client.
#[inline(always)]
pub fn answer<P: Packet>(packet: &mut P, parsed: &Parsed) -> Result<(), PacketError> {
    let Transport::Tcp(tcp) = parsed.transport else {
        return Err(PacketError);
    };
    turn_round(packet, &parsed.layout)?;
    rewrite::set_ttl(packet, &parsed.layout, parsed.ttl, TTL)?;
    // The SYN counts one.
    let acknowledged = tcp.sequence.wrapping_add(tcp.payload).wrapping_add(1);
    numbers(packet, parsed.layout.l4, 0, acknowledged, RST | ACK)
}

/// Turns the SYN into the RST that the client would send to end the handshake: at the number that comes next.
#[inline(always)]
pub fn end_handshake<P: Packet>(packet: &mut P, parsed: &Parsed) -> Result<(), PacketError> {
    let Transport::Tcp(tcp) = parsed.transport else {
        return Err(PacketError);
    };
    numbers(packet, parsed.layout.l4, tcp.sequence.wrapping_add(1), 0, RST)
}

/// Source becomes destination. The sums stay as they are: they add both up.
#[inline(always)]
fn turn_round<P: Packet>(packet: &mut P, layout: &Layout) -> Result<(), PacketError> {
    if layout.is_v4 {
        let at = layout.l3 + IPV4_ADDRESSES;
        let source: [u8; 4] = packet.load(at).ok_or(PacketError)?;
        let destination: [u8; 4] = packet.load(at + 4).ok_or(PacketError)?;
        packet.store(at, &destination)?;
        packet.store(at + 4, &source)?;
    } else {
        let at = layout.l3 + IPV6_ADDRESSES;
        let source: [u8; 16] = packet.load(at).ok_or(PacketError)?;
        let destination: [u8; 16] = packet.load(at + 16).ok_or(PacketError)?;
        packet.store(at, &destination)?;
        packet.store(at + 16, &source)?;
    }
    let [a, b, c, d]: [u8; 4] = packet.load(layout.l4).ok_or(PacketError)?;
    packet.store(layout.l4, &[c, d, a, b])
}

/// New sequence numbers and flags; the header keeps its length and options.
#[inline(always)]
fn numbers<P: Packet>(packet: &mut P, l4: u32, sequence: u32, acknowledged: u32, flags: u8) -> Result<(), PacketError> {
    let old: [u8; 4] = packet.load(l4 + SEQUENCE).ok_or(PacketError)?;
    let mut difference = Difference::default();
    difference.word(u32::from_ne_bytes(old), sequence.to_be());
    packet.store(l4 + SEQUENCE, &sequence.to_be_bytes())?;
    let old: [u8; 4] = packet.load(l4 + ACKNOWLEDGED).ok_or(PacketError)?;
    difference.word(u32::from_ne_bytes(old), acknowledged.to_be());
    packet.store(l4 + ACKNOWLEDGED, &acknowledged.to_be_bytes())?;
    let [offset, old]: [u8; 2] = packet.load(l4 + OFFSET_AND_FLAGS).ok_or(PacketError)?;
    difference.half(u16::from_ne_bytes([offset, old]), u16::from_ne_bytes([offset, flags]));
    packet.store(l4 + OFFSET_AND_FLAGS, &[offset, flags])?;
    let sum = TransportSum {
        offset: l4 + rewrite::TCP_SUM,
        segment: l4,
        protocol: crate::parse::PROTOCOL_TCP,
    };
    packet.add_to_transport_sum(sum, difference.folded(), Covers::Segment)
}
