//! What the kernel counts.

use core::sync::atomic::Ordering;

use super::Word64;
#[cfg(not(target_arch = "bpf"))]
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// Slots of the table of verdict counters; reasons are numbered below it.
pub const VERDICTS_MAX: u32 = 64;

macro_rules! set_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one set on one CPU. Only that CPU adds to them, so load and store are enough.
        #[derive(Debug, Default)]
        #[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
        #[repr(C)]
        pub struct SetCounters {
            $($(#[$doc])* pub $name: Word64,)*
        }
    };
}

set_counters! {
    /// New flows for which the set was chosen (SYNs decided).
    flows_opened,
    /// Flows whose handshake completed.
    flows_established,
    /// Flows refused by the backend: a RST in answer to the SYN.
    flows_refused,
    /// Flows ended by a RST of either side after the backend's SYN-ACK and before the client's ACK, or by the client before.
    flows_reset_in_handshake,
    /// Flows whose handshake never completed and whose record another flow has taken. Those whose record is still there
    /// are not in it: the reader adds them.
    flows_timed_out,
    /// SYNs that came again while their handshake was pending.
    syns_retransmitted,
    /// SYNs and datagrams that were held back and would have chosen the set.
    syns_held,
    /// Refusals that the shield kept from clients.
    refusals_hidden,
    /// Flows whose handshake completed after the shield had sent their SYN elsewhere, or there again.
    flows_waited,
    /// Flows ended by FINs of both sides.
    flows_finished,
    /// Established flows ended by a RST from the client.
    flows_reset_by_client,
    /// Established flows ended by a RST from the backend.
    flows_reset_by_backend,
    /// Established flows that the agent ended, at the end of a drain.
    flows_reset_by_drain,
    /// Established flows whose slot was reclaimed after the idle time-out.
    flows_expired,
    /// Established flows that found no room: served from the pending ring, not pinned.
    flows_unpinned,
    /// Wire packets from clients.
    packets_in,
    /// Bytes of layer 3 from clients.
    bytes_in,
    /// Wire packets from backends.
    packets_out,
    /// Bytes of layer 3 from backends.
    bytes_out,
    /// When a new flow last chose the set; nanoseconds of CLOCK_MONOTONIC, 0: never.
    last_new_flow_ns,
}

/// Buckets of a [`Histogram`]; a power of two, so that a mask bounds an index.
pub const HISTOGRAM_BUCKETS: usize = 32;

/// How often something took how long. All CPUs write it: a copy for each would take megabytes on each.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
#[repr(C)]
pub struct Histogram {
    /// All times together; microseconds.
    pub sum_us: Word64,
    /// Bucket 0: under 1 us. Bucket n: from 2^(n-1) us to under 2^n us. The last: all from 18 minutes on.
    pub buckets: [Word64; HISTOGRAM_BUCKETS],
}

impl Histogram {
    /// The bucket of a time in microseconds.
    #[must_use]
    #[inline(always)]
    pub const fn bucket_of(time_us: u32) -> usize {
        let bucket = (u32::BITS - time_us.leading_zeros()) as usize;
        if bucket < HISTOGRAM_BUCKETS {
            bucket
        } else {
            HISTOGRAM_BUCKETS - 1
        }
    }
}

/// How long the backends and clients of one set took.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
#[repr(C)]
pub struct SetLatencies {
    /// From the client's first SYN to the backend's first SYN-ACK: the backend's own share of the handshake.
    pub answer: Histogram,
    /// From the client's first SYN to the client's ACK that completes the handshake.
    pub handshake: Histogram,
    /// From the client's first data to the backend's first data; of UDP from datagram to answer.
    pub first_reply: Histogram,
}

/// Adds to a counter that only this CPU writes.
#[inline(always)]
pub fn add(counter: &Word64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
