//! Flow records and the keys that lead to them.

use core::sync::atomic::Ordering::Relaxed;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Address, Word32, Word64};

/// Through the host's stack.
pub const PATH_STACK: u8 = 0;
/// Redirected past the host's stack.
pub const PATH_BYPASS: u8 = 1;
/// A local client's: the destination was rewritten at connect(), and no packet is.
pub const PATH_LOCAL: u8 = 2;
/// Handed to a listening socket of the host itself, as it came.
pub const PATH_SOCKET: u8 = 3;

/// Sent on in the driver by the host's routes, where both interfaces have the XDP hook; anywhere else by the stack.
pub const PATH_DRIVER: u8 = 4;

/// One direction of a conversation, as it stands in the packet. Key of the flow index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, network byte order.
    pub source_port: u16,
    /// Destination port, network byte order.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u32,
}

impl FlowKey {
    /// The other direction.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// What never changes in a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowIdentity {
    /// Epoch that decided the flow.
    pub epoch: u64,
    /// The client's address.
    pub client: Address,
    /// The address the client connected to.
    pub listener: Address,
    /// The backend's address, as its packets carry it: on the socket path the listener's.
    pub backend: Address,
    /// Ports in network byte order: the client's own.
    pub client_port: u16,
    /// The port the client connected to.
    pub listener_port: u16,
    /// The backend's port, as its packets carry it: on the socket path the listener's.
    pub backend_port: u16,
    /// The port the backend sees as the client's: another than the client's own after a collision.
    pub source_port: u16,
    /// Number of the alias.
    pub alias_id: u32,
    /// Number of the set.
    pub set_id: u32,
    /// Number of the backend.
    pub backend_id: u32,
    /// IP protocol.
    pub protocol: u8,
    /// [`PATH_STACK`], [`PATH_BYPASS`], [`PATH_LOCAL`], [`PATH_SOCKET`] or [`PATH_DRIVER`].
    pub path: u8,
    /// [`FlowIdentity::MOVES`], [`FlowIdentity::ALONE`].
    pub flags: u8,
    /// How long refusals are kept from the client, from its first SYN on; seconds, 0: they are not.
    pub shield_seconds: u8,
}

impl FlowIdentity {
    /// TCP: its set had no other backend of its family.
    pub const ALONE: u8 = 2;
    /// A UDP conversation that a switch moves to the set that the new image gives it.
    pub const MOVES: u8 = 1;

    /// Key of the packets that come from the client.
    #[must_use]
    #[inline(always)]
    pub fn client_key(&self) -> FlowKey {
        FlowKey {
            source: self.client,
            destination: self.listener,
            source_port: self.client_port,
            destination_port: self.listener_port,
            protocol: self.protocol as u32,
        }
    }

    /// Key of the packets that come from the backend.
    #[must_use]
    #[inline(always)]
    pub fn backend_key(&self) -> FlowKey {
        FlowKey {
            source: self.backend,
            destination: self.client,
            source_port: self.backend_port,
            destination_port: self.source_port,
            protocol: self.protocol as u32,
        }
    }
}

/// A [`FlowIdentity`] in a record: written word by word while the record is claimed, read after it is published.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
#[repr(transparent)]
pub struct SharedIdentity([Word64; size_of::<FlowIdentity>() / 8]);

impl SharedIdentity {
    /// A copy.
    #[must_use]
    #[inline(always)]
    pub fn load(&self) -> FlowIdentity {
        let mut words = [0_u64; size_of::<FlowIdentity>() / 8];
        for (word, shared) in words.iter_mut().zip(&self.0) {
            *word = shared.load(Relaxed);
        }
        zerocopy::transmute!(words)
    }

    /// Writes it; the caller has claimed the record.
    #[inline(always)]
    pub fn store(&self, identity: &FlowIdentity) {
        let words: &[u64; size_of::<FlowIdentity>() / 8] = zerocopy::transmute_ref!(identity);
        for (word, shared) in words.iter().zip(&self.0) {
            shared.store(*word, Relaxed);
        }
    }
}

/// What changes with the packets of one side.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
#[repr(C)]
pub struct FlowSide {
    /// The sequence number that follows what this side has sent in order.
    pub next: Word32,
    /// The backend's: the last acknowledgement number it sent. The client's: the same, as claimed; from a FIN that came
    /// before its data on, the end of that.
    pub acked: Word32,
    /// [`FlowSide::SYN`] and the others.
    pub flags: Word32,
    /// The client's: where its last packet came in. The backend's: its host-side veth, for the bypass path, and the interface behind which it is for
    /// the driver path; on the socket path
    /// the port of the listening socket, in network byte order.
    pub ifindex: Word32,
}

impl FlowSide {
    /// The side's SYN was seen.
    pub const SYN: u32 = 1;
    /// The side's FIN was seen, at a sequence number that its peer takes.
    pub const FIN: u32 = 2;
    /// The flow found no room and was counted so.
    pub const UNPINNED: u32 = 4;
    /// The client has acknowledged the backend's FIN.
    pub const SAW_FIN: u32 = 16;
    /// The client's FIN was seen before the data that precedes it.
    pub const FIN_EARLY: u32 = 8;
    /// The side's first data was seen.
    pub const DATA: u32 = 32;
    /// A local client's: the socket was closed; TCP may still be at work.
    pub const RELEASED: u32 = 64;
    /// The client's: its SYN was sent to another backend before, behind the shield.
    pub const WAITED: u32 = 128;
    /// The backend's: it refused the flow.
    pub const REFUSED: u32 = 256;
    /// The backend's: a RST of the client ended the flow.
    pub const RESET_BY_CLIENT: u32 = 512;
    /// The backend's: a RST of its own ended the flow.
    pub const RESET_BY_BACKEND: u32 = 1_024;
    /// The backend's, beside one of the two: before the handshake was complete.
    pub const IN_HANDSHAKE: u32 = 2_048;
    /// The socket path's backend has sent more than the answer to the SYN: the host's TCP has the connection.
    pub const SPOKE: u32 = 4_096;
    /// The backend's, of a local client's flow the client's: the agent is ending the flow. Whose RST is seen first says nothing.
    pub const CUT: u32 = 8_192;
}

/// Where a record is in its life. The order is not the order of life: every change is one compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nothing in it.
    Free = 0,
    /// Being written; nobody may read it.
    Claimed = 1,
    /// The handshake is not complete.
    Pending = 2,
    /// The handshake is complete and another slot has the flow; still readable for those who came by the old index value.
    Moved = 3,
    /// The handshake is complete.
    Established = 4,
    /// Ended by FINs of both sides or a RST that its receiver takes.
    Closing = 5,
    /// A UDP conversation: both sides have spoken.
    Conversing = 6,
}

/// A record's state and generation in one word, so that one compare-and-swap changes both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateWord(pub u64);

impl StateWord {
    /// Makes a word.
    #[must_use]
    #[inline(always)]
    pub const fn new(generation: u32, state: State) -> Self {
        Self(((generation & IndexValue::GENERATION_MASK) as u64) << 32 | state as u64)
    }

    /// How often the slot was claimed, modulo 2^31.
    #[must_use]
    #[inline(always)]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// True in this state.
    #[must_use]
    #[inline(always)]
    pub const fn is(self, state: State) -> bool {
        self.0 as u8 == state as u8
    }

    /// The same generation in another state.
    #[must_use]
    #[inline(always)]
    pub const fn with(self, state: State) -> Self {
        Self(self.0 & !0xff | state as u64)
    }

    /// The next generation, being written.
    #[must_use]
    #[inline(always)]
    pub const fn claimed_anew(self) -> Self {
        Self::new(self.generation().wrapping_add(1), State::Claimed)
    }

    /// True where a packet may use the record.
    #[must_use]
    #[inline(always)]
    pub const fn is_readable(self) -> bool {
        self.0 as u8 >= State::Pending as u8
    }
}

/// Value of the flow index: a slot, the slot's generation, and which side the key is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct IndexValue(pub u64);

impl IndexValue {
    const GENERATION_MASK: u32 = 0x7fff_ffff;
    const REPLY: u64 = 1 << 63;

    /// Makes a value.
    #[must_use]
    #[inline(always)]
    pub const fn new(slot: u32, generation: u32, is_reply: bool) -> Self {
        let reply = if is_reply { Self::REPLY } else { 0 };
        Self(reply | ((generation & Self::GENERATION_MASK) as u64) << 32 | slot as u64)
    }

    /// The record's slot.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// The generation the slot had.
    #[must_use]
    #[inline(always)]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & Self::GENERATION_MASK
    }

    /// True for the backend's side.
    #[must_use]
    #[inline(always)]
    pub const fn is_reply(self) -> bool {
        self.0 & Self::REPLY != 0
    }
}

/// One flow: 128 bytes, two cache lines.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
#[repr(C, align(8))]
pub struct FlowRecord {
    /// A [`StateWord`].
    pub word: Word64,
    /// The flow's last packet; see [`super::ticks`].
    pub seen_ticks: Word32,
    /// In the handshake: when it began. Later: when the client's first data was seen. See [`super::micros`].
    pub since_us: Word32,
    /// Who talks to whom.
    pub identity: SharedIdentity,
    /// The client's packets.
    pub client: FlowSide,
    /// The backend's packets.
    pub backend: FlowSide,
}

impl FlowRecord {
    /// Where the flow's backend is bound: address, and port in network byte order. On the socket path that is not what its
    /// packets carry.
    #[must_use]
    #[inline(always)]
    pub fn backend_place(&self, identity: &FlowIdentity) -> (Address, u16) {
        if identity.path != PATH_SOCKET {
            return (identity.backend, identity.backend_port);
        }
        let port = self.backend.ifindex.load(Relaxed) as u16;
        (Address::loopback(identity.listener.is_v4()), port)
    }
}

const _: () = {
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<FlowIdentity>() == 80);
    assert!(size_of::<FlowRecord>() == 128);
};
