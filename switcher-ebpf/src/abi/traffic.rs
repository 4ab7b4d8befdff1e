//! What one flow carried. Beside the records, slot by slot: a record is two cache lines that every packet reads whole.

use core::sync::atomic::Ordering::Relaxed;

use super::{Word64, add};
#[cfg(not(target_arch = "bpf"))]
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// What one side of a flow sent.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
#[repr(C)]
pub struct SideTraffic {
    /// Wire packets.
    pub packets: Word64,
    /// Bytes of layer 3.
    pub bytes: Word64,
}

impl SideTraffic {
    /// Adds a packet. Two CPUs that have packets of one side at one moment may lose one of them: nothing is decided by
    /// these, and an atomic addition would cost every packet more than the lookup does.
    #[inline(always)]
    pub fn count(&self, packets: u32, bytes: u32) {
        add(&self.packets, packets as u64);
        add(&self.bytes, bytes as u64);
    }

    #[inline(always)]
    fn set(&self, packets: u64, bytes: u64) {
        self.packets.store(packets, Relaxed);
        self.bytes.store(bytes, Relaxed);
    }
}

/// What a flow carried since it was opened.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
#[repr(C)]
pub struct FlowTraffic {
    /// The client's.
    pub client: SideTraffic,
    /// The backend's.
    pub backend: SideTraffic,
    /// When the flow was opened; nanoseconds of CLOCK_MONOTONIC.
    pub opened_ns: Word64,
}

impl FlowTraffic {
    /// Begins anew, for another flow.
    #[inline(always)]
    pub fn open(&self, now_ns: u64) {
        self.client.set(0, 0);
        self.backend.set(0, 0);
        self.opened_ns.store(now_ns, Relaxed);
    }

    /// Goes on where another slot of the same flow was.
    #[inline(always)]
    pub fn go_on(&self, from: &Self) {
        let sides = [(&self.client, &from.client), (&self.backend, &from.backend)];
        for (to, from) in sides {
            to.set(from.packets.load(Relaxed), from.bytes.load(Relaxed));
        }
        self.opened_ns.store(from.opened_ns.load(Relaxed), Relaxed);
    }
}

const _: () = assert!(size_of::<FlowTraffic>() == 40);
