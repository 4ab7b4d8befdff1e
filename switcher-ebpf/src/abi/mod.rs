//! The layout of everything that the kernel side and the agent both read: one version for all of it.

mod address;
mod counters;
mod device;
mod flow;
mod image;
mod traffic;
mod word;

pub use address::Address;
pub use counters::{HISTOGRAM_BUCKETS, Histogram, SetCounters, SetLatencies, VERDICTS_MAX, add};
pub use device::XdpDevice;
pub use flow::{
    FlowIdentity, FlowKey, FlowRecord, FlowSide, IndexValue, PATH_BYPASS, PATH_DRIVER, PATH_LOCAL, PATH_SOCKET,
    PATH_STACK, SharedIdentity, State, StateWord,
};
pub use image::{
    AliasRow, BackendRow, BackendTable, HeaderRow, ListenerRow, MAGLEV_PER_ROW, MaglevRow, Row, SEGMENTS_PER_ROW,
    SegmentRow, SetRow,
};
pub use traffic::{FlowTraffic, SideTraffic};
pub use word::{Word32, Word64};

/// Version of the layouts and of their meaning. It is part of the pin path: two versions never share a map.
pub const ABI_VERSION: u32 = 7;
/// First word of an image.
pub const IMAGE_MAGIC: u32 = 0x5357_4348;
/// Most rows (of 64 bytes) one image may have: 64 MiB.
pub const IMAGE_ROWS_MAX: u32 = 1 << 20;
/// Most probes for one listener in its open-addressed table; the agent builds tables that need no more.
pub const LISTENER_PROBES_MAX: u32 = 8;
/// Most segments of one alias's split.
pub const SEGMENTS_MAX: u32 = 64;
/// Most sets (counter slots) of one agent.
pub const SETS_MAX: u32 = 4_096;

/// Slots for handshakes that are not complete. A ring: the newest SYN takes the slot of the oldest.
pub const PENDING_SLOTS: u32 = 65_536;
/// Slots for established flows.
pub const ESTABLISHED_SLOTS: u32 = 262_144;
/// Slots for flows of local clients, decided at connect() or with a datagram.
pub const LOCAL_SLOTS: u32 = 65_536;
/// All flow records.
pub const FLOW_SLOTS: u32 = PENDING_SLOTS + ESTABLISHED_SLOTS + LOCAL_SLOTS;
/// Two keys a record.
pub const INDEX_ENTRIES_MAX: u32 = 2 * FLOW_SLOTS;
/// Slots that one promotion looks at before it calls the table full.
pub const ESTABLISHED_PROBES_MAX: u32 = 32;
/// Slots that one connect() looks at before it calls their region full.
pub const LOCAL_PROBES_MAX: u32 = 32;
/// Conversations that one unconnected UDP socket can have by the table; more are decided with each datagram.
pub const CONVERSATIONS_MAX: u32 = 8;
/// Source ports that are tried when two flows would look the same to one backend.
pub const SOURCE_PORT_TRIES_MAX: u16 = 8;

/// Most interfaces with the XDP hook.
pub const XDP_DEVICES_MAX: u32 = 256;
/// Words of the liveness map, written by the agent while it runs.
pub const LIVENESS_WORDS: u32 = 8;
/// Until when the interface indexes of the image are right; nanoseconds of CLOCK_MONOTONIC.
pub const LIVENESS_FRESH_UNTIL: u32 = 0;
/// The cookie of the agent's network namespace; 0: not known.
pub const LIVENESS_HOME: u32 = 1;
/// Words of the cursor map, moved by the programs only.
pub const CURSOR_WORDS: u32 = 3;
/// Next slot of the pending ring.
pub const CURSOR_PENDING: u32 = 0;
/// Next slot that a promotion looks at.
pub const CURSOR_ESTABLISHED: u32 = 1;
/// Next slot that a connect() looks at.
pub const CURSOR_LOCAL: u32 = 2;

/// To the program that sends the agent's own packets: this one comes in by the interface.
pub const INJECT_RECEIVED: u32 = 1;
/// This one leaves by it.
pub const INJECT_SENT: u32 = 2;
/// Its answer: the next hop's link-layer address is not known.
pub const INJECT_NO_NEIGHBOUR: i32 = 1;
/// Its answer: the interface did not take the packet.
pub const INJECT_FAILED: i32 = 2;

/// Nanoseconds of CLOCK_MONOTONIC to ticks: about 1.05 ms each, in 32 bits that wrap after 52 days.
#[must_use]
#[inline(always)]
pub const fn ticks(now_ns: u64) -> u32 {
    (now_ns >> 20) as u32
}

/// Nanoseconds of CLOCK_MONOTONIC to microseconds, in 32 bits that wrap after 71 minutes.
#[must_use]
#[inline(always)]
pub const fn micros(now_ns: u64) -> u32 {
    (now_ns / 1_000) as u32
}

/// Seconds to ticks.
#[must_use]
pub const fn ticks_of_seconds(seconds: u64) -> u32 {
    ticks(seconds * 1_000_000_000)
}

/// A handshake without a packet for this long is over.
pub const PENDING_TIMEOUT_TICKS: u32 = ticks_of_seconds(10);
/// An ended flow keeps its record this long, for late retransmissions.
pub const CLOSING_TIMEOUT_TICKS: u32 = ticks_of_seconds(30);
/// A UDP conversation without a datagram for this long is over (RFC 4787, REQ-5: not under two minutes).
pub const CONVERSING_TIMEOUT_TICKS: u32 = ticks_of_seconds(180);
/// An established flow without a packet for this long may be reclaimed: above TCP's keepalive of two hours.
pub const IDLE_TIMEOUT_TICKS: u32 = ticks_of_seconds(8_000);
