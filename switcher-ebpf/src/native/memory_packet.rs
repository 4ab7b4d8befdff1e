//! A packet in memory, as it is on the wire: Ethernet, complete checksums.

use std::vec::Vec;

use crate::abi::{Address, FlowKey};
use crate::deferred::Sums;
use crate::driver::{Route, Sendable};
use crate::packet::{Covers, Ends, Packet, PacketError, SocketState, TransportSum};
use crate::reason::Reason;
use crate::sum;

const ETHERNET_HEADER: usize = 14;

/// The link-layer address of the host that packets in memory come to: a loopback device's, as in the kernel's test runs.
pub const HOST_ADDRESS: [u8; 6] = [0; 6];

/// A whole Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPacket {
    /// The frame's bytes.
    pub bytes: Vec<u8>,
    /// The interface it is on.
    pub ifindex: u32,
    /// What the host's TCP has.
    pub sockets: Vec<(FlowKey, SocketState)>,
    /// Where the host's processes listen: address, and port in network byte order.
    pub listening: Vec<(Address, u16)>,
    /// The key whose listening socket got the packet.
    pub assigned: Option<FlowKey>,
    /// Whether the driver finds a way for it.
    pub way: Result<(), Reason>,
}

impl MemoryPacket {
    /// A frame on an interface.
    #[must_use]
    pub fn new(bytes: Vec<u8>, ifindex: u32) -> Self {
        Self {
            bytes,
            ifindex,
            sockets: Vec::new(),
            listening: Vec::new(),
            assigned: None,
            way: Ok(()),
        }
    }

    fn slice(&self, offset: u32, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }

    fn add_to_sum(&mut self, offset: u32, difference: u32) -> Result<(), PacketError> {
        let old: [u8; 2] = self.load(offset).ok_or(PacketError)?;
        self.store(
            offset,
            &sum::updated(u16::from_ne_bytes(old), difference.into()).to_ne_bytes(),
        )
    }
}

impl Sums for MemoryPacket {
    fn sum(&self, offset: u32, len: u32) -> Option<u32> {
        let words = self.slice(offset, len as usize)?.chunks(2);
        let word = |bytes: &[u8]| u64::from(u16::from_ne_bytes([bytes[0], bytes.get(1).copied().unwrap_or(0)]));
        Some(sum::fold(words.map(word).sum()).into())
    }

    fn sum_words(&self, offset: u32, len: u32) -> Option<u32> {
        self.sum(offset, len)
    }
}

impl Sendable for MemoryPacket {
    fn find_way(&mut self, _: Route<'_>) -> Result<(), Reason> {
        self.way
    }
}

impl Packet for MemoryPacket {
    const CAN_BYPASS: bool = true;
    const IS_DRIVER: bool = false;

    fn sends_on(&self) -> bool {
        false
    }

    fn ethertype(&self) -> u16 {
        self.load::<2>(12).map_or(0, u16::from_be_bytes)
    }

    fn is_for_host(&self) -> bool {
        self.load(0) == Some(HOST_ADDRESS)
    }

    fn is_vlan_tagged(&self) -> bool {
        false
    }

    fn l3_offset(&self) -> u32 {
        ETHERNET_HEADER as u32
    }

    fn byte_count(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn wire_segments(&self) -> u32 {
        1
    }

    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn fits(&self, _: u32) -> bool {
        true
    }

    fn socket(&self, ends: Ends<'_>) -> SocketState {
        let key = key_of(ends);
        let found = self.sockets.iter().find(|(of, _)| *of == key);
        found.map_or(SocketState::Nothing, |(_, state)| *state)
    }

    fn assign_listener(&mut self, ends: Ends<'_>) -> bool {
        let listens = self.listening.contains(&(*ends.destination, ends.destination_port));
        if listens {
            self.assigned = Some(key_of(ends));
        }
        listens
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.slice(offset, N)?.try_into().ok()
    }

    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError> {
        self.slice(offset, N).ok_or(PacketError)?;
        let start = offset as usize;
        self.bytes[start..start + N].copy_from_slice(bytes);
        Ok(())
    }

    fn store_uncovered<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError> {
        self.store(offset, bytes)
    }

    fn add_to_header_sum(&mut self, offset: u32, difference: u32) -> Result<(), PacketError> {
        self.add_to_sum(offset, difference)
    }

    fn add_to_transport_sum(&mut self, sum: TransportSum, difference: u32, _: Covers) -> Result<(), PacketError> {
        self.add_to_sum(sum.offset, difference)?;
        if sum.zero_means_none() && self.load(sum.offset) == Some([0, 0]) {
            self.store(sum.offset, &[0xff, 0xff])?;
        }
        Ok(())
    }
}

fn key_of(ends: Ends<'_>) -> FlowKey {
    FlowKey {
        source: *ends.source,
        destination: *ends.destination,
        source_port: ends.source_port,
        destination_port: ends.destination_port,
        protocol: crate::parse::PROTOCOL_TCP.into(),
    }
}
