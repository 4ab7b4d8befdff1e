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
    /// Flows ended by FINs of both sides.
    flows_finished,
    /// Established flows ended by a RST from the client.
    flows_reset_by_client,
    /// Established flows ended by a RST from the backend.
    flows_reset_by_backend,
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

/// Adds to a counter that only this CPU writes.
#[inline(always)]
pub fn add(counter: &Word64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
