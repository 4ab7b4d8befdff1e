//! The packet logic on a hook without a socket buffer (XDP): transport checksums are updated once, at the end, because
//! nothing says there whether a checksum is complete.
//!
//! A host's stack leaves the checksum of what it sends to the hardware: the field then holds the sum of the pseudo header
//! alone, not complemented, and a flag in the socket buffer says so. On a veth such packets arrive as they are. Where the
//! field equals the pseudo header's sum, it is one of these; or it is complete and looks like it, which one complete checksum
//! in 65,535 does. Then the sum of the whole packet tells: only a complete one comes out right, but for one partial one in 65,535
//! which is then its own complete checksum. That last one is taken for what the device's packets were lately.

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{Word64, XdpDevice};
use crate::driver::{Route, Sendable};
use crate::packet::{Covers, Ends, Packet, PacketError, SocketState, TransportSum};
use crate::parse::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::reason::Reason;
use crate::sum::{fold, same, updated};

const IPV4_TOTAL_LENGTH: u32 = 2;
const IPV4_ADDRESSES: u32 = 12;
const IPV6_PAYLOAD_LENGTH: u32 = 4;
const IPV6_ADDRESSES: u32 = 8;
const IPV6_HEADER: u32 = 40;

/// Adds up a packet's bytes.
pub trait Sums {
    /// The one's complement sum of `len` bytes, in the byte order of the packet; at most 64 KiB.
    fn sum(&self, offset: u32, len: u32) -> Option<u32>;
    /// The same of some whole words: 8 or 32 bytes.
    fn sum_words(&self, offset: u32, len: u32) -> Option<u32>;
}

/// What waits to be brought into a packet's checksum. It stands in memory that no path through the program shares with
/// another, so that to the verifier all paths look alike when they come to [`Deferred::finish`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct Pending {
    /// The reason to count for a packet that is to be sent on, and 1; 0: it is not.
    send: Word64,
    /// Where the checksum is; 0: there is nothing to do.
    offset: Word64,
    /// Where the bytes that it covers begin.
    segment: Word64,
    protocol: Word64,
    is_v4: Word64,
    /// What changed in the pseudo header.
    pseudo: Word64,
    /// What changed in the segment.
    changed: Word64,
}

impl Pending {
    /// Notes that the packet is to be sent on, for this reason.
    #[inline(always)]
    pub fn note_send(&self, reason: Reason) {
        self.send.store(reason as u64 + 1, Relaxed);
    }

    /// The number of the reason for which it is to be sent on.
    #[must_use]
    #[inline(always)]
    pub fn send(&self) -> Option<u32> {
        (self.send.load(Relaxed) as u32).checked_sub(1)
    }
}

/// Where the rest of what is known of a packet stands. It is asked for and not kept: a program has little stack.
pub trait Place {
    /// The device that the packet came in by; `None`: the agent has not told of it.
    fn device(&self, ifindex: u32) -> Option<&XdpDevice>;
    /// This packet's own.
    fn pending(&self) -> Option<&Pending>;
}

/// A packet whose transport checksum waits until [`Deferred::finish`].
#[derive(Debug)]
pub struct Deferred<P, L> {
    packet: P,
    place: L,
}

impl<P: Packet + Sums, L: Place> Deferred<P, L> {
    /// A packet as it came in.
    #[inline(always)]
    pub fn new(packet: P, place: L) -> Self {
        if let Some(pending) = place.pending() {
            for word in [
                &pending.offset,
                &pending.is_v4,
                &pending.pseudo,
                &pending.changed,
                &pending.send,
            ] {
                word.store(0, Relaxed);
            }
        }
        Self { packet, place }
    }

    /// See [`Pending::note_send`].
    #[inline(always)]
    pub fn note_send(&self, reason: Reason) {
        if let Some(pending) = self.place.pending() {
            pending.note_send(reason);
        }
    }

    /// Brings the changes into the checksum.
    ///
    /// # Errors
    /// When the packet cannot be read or written; it must not go on then.
    #[inline(always)]
    pub fn finish(self) -> Result<P, PacketError> {
        let Self { mut packet, place } = self;
        let pending = place.pending().ok_or(PacketError)?;
        // What is known of the numbers ends here: see `Pending`.
        let pending = core::hint::black_box(pending);
        let offset = pending.offset.load(Relaxed) as u32;
        if offset == 0 {
            return Ok(packet);
        }
        let device = place.device(packet.ifindex()).ok_or(PacketError)?;
        let field = u16::from_ne_bytes(packet.load(offset).ok_or(PacketError)?);
        let pseudo = pending.pseudo.load(Relaxed);
        let new = if device.has_partial_sums() && pending.is_partial(&packet, device, field)? {
            // Ports are no part of the pseudo header: hardware adds them when it finishes the sum.
            fold(field as u64 + pseudo)
        } else {
            updated(field, pseudo + pending.changed.load(Relaxed))
        };
        let new = if new == 0 && pending.protocol.load(Relaxed) == PROTOCOL_UDP as u64 {
            0xffff
        } else {
            new
        };
        packet.store(offset, &new.to_ne_bytes())?;
        Ok(packet)
    }
}

impl Pending {
    /// Everything but the checksum is rewritten already, so what is compared is what it would have become.
    #[inline(always)]
    fn is_partial<P: Packet + Sums>(&self, packet: &P, device: &XdpDevice, field: u16) -> Result<bool, PacketError> {
        if !matches!(self.protocol.load(Relaxed) as u8, PROTOCOL_TCP | PROTOCOL_UDP) {
            return Ok(false);
        }
        let len = self.segment_len(packet)?;
        let pseudo = self.pseudo_sum(packet, len)?;
        if !same(fold(field as u64 + self.pseudo.load(Relaxed)), fold(pseudo)) {
            device.note(true);
            return Ok(false);
        }
        if !device.saw_full() {
            return Ok(true);
        }
        let whole = pseudo + packet.sum(self.segment.load(Relaxed) as u32, len).ok_or(PacketError)? as u64;
        if same(
            fold(whole),
            fold(self.pseudo.load(Relaxed) + self.changed.load(Relaxed)),
        ) {
            return Ok(!device.last_was_full());
        }
        device.note(false);
        Ok(true)
    }

    #[inline(always)]
    fn segment_len<P: Packet>(&self, packet: &P) -> Result<u32, PacketError> {
        let l3 = packet.l3_offset();
        let (at, header) = if self.is_v4.load(Relaxed) != 0 {
            (IPV4_TOTAL_LENGTH, 0)
        } else {
            (IPV6_PAYLOAD_LENGTH, IPV6_HEADER)
        };
        let said = u16::from_be_bytes(packet.load(l3 + at).ok_or(PacketError)?) as u32;
        // The parser has seen that the headers lie within.
        Ok((said + header).wrapping_sub(self.segment.load(Relaxed) as u32 - l3) & 0xffff)
    }

    #[inline(always)]
    fn pseudo_sum<P: Packet + Sums>(&self, packet: &P, len: u32) -> Result<u64, PacketError> {
        let l3 = packet.l3_offset();
        let (at, bytes) = if self.is_v4.load(Relaxed) != 0 {
            (IPV4_ADDRESSES, 8)
        } else {
            (IPV6_ADDRESSES, 32)
        };
        let addresses = packet.sum_words(l3 + at, bytes).ok_or(PacketError)?;
        Ok(addresses as u64 + (len as u16).to_be() as u64 + (self.protocol.load(Relaxed) as u16).to_be() as u64)
    }
}

impl<P: Sendable + Sums, L: Place> Sendable for Deferred<P, L> {
    #[inline(always)]
    fn find_way(&mut self, route: Route<'_>) -> Result<(), Reason> {
        self.packet.find_way(route)
    }
}

impl<P: Packet + Sums, L: Place> Packet for Deferred<P, L> {
    /// Only a TC program can hand a packet to a veth's other end.
    const CAN_BYPASS: bool = false;
    const IS_DRIVER: bool = true;

    #[inline(always)]
    fn sends_on(&self) -> bool {
        self.place
            .device(self.packet.ifindex())
            .is_some_and(XdpDevice::sends_on)
    }

    #[inline(always)]
    fn ethertype(&self) -> u16 {
        self.packet.ethertype()
    }

    #[inline(always)]
    fn is_for_host(&self) -> bool {
        let Some(device) = self.place.device(self.packet.ifindex()) else {
            return false;
        };
        self.packet
            .load(0)
            .is_some_and(|address| device.is_its_address(address))
    }

    #[inline(always)]
    fn is_vlan_tagged(&self) -> bool {
        self.packet.is_vlan_tagged()
    }

    #[inline(always)]
    fn l3_offset(&self) -> u32 {
        self.packet.l3_offset()
    }

    #[inline(always)]
    fn byte_count(&self) -> u32 {
        self.packet.byte_count()
    }

    #[inline(always)]
    fn wire_segments(&self) -> u32 {
        self.packet.wire_segments()
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.packet.ifindex()
    }

    #[inline(always)]
    fn fits(&self, ifindex: u32) -> bool {
        self.packet.fits(ifindex)
    }

    #[inline(always)]
    fn socket(&self, ends: Ends<'_>) -> SocketState {
        self.packet.socket(ends)
    }

    #[inline(always)]
    fn assign_listener(&mut self, ends: Ends<'_>) -> bool {
        self.packet.assign_listener(ends)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.packet.load(offset)
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError> {
        self.packet.store(offset, bytes)
    }

    #[inline(always)]
    fn store_uncovered<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError> {
        self.packet.store_uncovered(offset, bytes)
    }

    #[inline(always)]
    fn add_to_header_sum(&mut self, offset: u32, difference: u32) -> Result<(), PacketError> {
        self.packet.add_to_header_sum(offset, difference)
    }

    #[inline(always)]
    fn add_to_transport_sum(&mut self, sum: TransportSum, difference: u32, covers: Covers) -> Result<(), PacketError> {
        let pending = self.place.pending().ok_or(PacketError)?;
        pending.offset.store(sum.offset as u64, Relaxed);
        pending.segment.store(sum.segment as u64, Relaxed);
        pending.protocol.store(sum.protocol as u64, Relaxed);
        let add = |word: &Word64| word.store(word.load(Relaxed) + difference as u64, Relaxed);
        match covers {
            Covers::Segment => add(&pending.changed),
            Covers::PseudoHeaderV4 => {
                pending.is_v4.store(1, Relaxed);
                add(&pending.pseudo);
            }
            Covers::PseudoHeaderV6 => add(&pending.pseudo),
        }
        Ok(())
    }
}
