//! What the XDP program has to be told of an interface.

use core::sync::atomic::Ordering::Relaxed;

use super::Word64;
#[cfg(not(target_arch = "bpf"))]
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// One interface with the XDP hook: a socket buffer would say all this.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout))]
#[repr(C)]
pub struct XdpDevice {
    /// Its link-layer address, first byte lowest, [`XdpDevice::PARTIAL_SUMS`] and [`XdpDevice::SENDS_ON`]; the agent's.
    address: Word64,
    /// What its checksums were like; the program's.
    sums: Word64,
}

impl XdpDevice {
    /// Packets may come with a checksum that hardware was to finish: a virtual device, whose sender is a host's stack.
    pub const PARTIAL_SUMS: u64 = 1 << 48;
    /// Its driver takes part in sending frames on past the stack, and their checksums are complete.
    pub const SENDS_ON: u64 = 1 << 49;
    const ADDRESS: u64 = Self::PARTIAL_SUMS - 1;
    const FULL_SEEN: u64 = 1;
    const LAST_WAS_FULL: u64 = 2;

    /// The words of an interface that was just attached to. `flags`: [`XdpDevice::PARTIAL_SUMS`] or
    /// [`XdpDevice::SENDS_ON`], or 0.
    #[must_use]
    pub const fn words(address: [u8; 6], flags: u64) -> [u64; 2] {
        let [a, b, c, d, e, f] = address;
        [u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) | flags, 0]
    }

    /// An interface in memory.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn new(address: [u8; 6], flags: u64) -> Self {
        let device = Self::default();
        device.address.store(Self::words(address, flags)[0], Relaxed);
        device
    }

    /// True for the interface's own link-layer address.
    #[must_use]
    #[inline(always)]
    pub fn is_its_address(&self, address: [u8; 6]) -> bool {
        let [a, b, c, d, e, f] = address;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) == self.address.load(Relaxed) & Self::ADDRESS
    }

    /// See [`XdpDevice::PARTIAL_SUMS`].
    #[must_use]
    #[inline(always)]
    pub fn has_partial_sums(&self) -> bool {
        self.address.load(Relaxed) & Self::PARTIAL_SUMS != 0
    }

    /// See [`XdpDevice::SENDS_ON`].
    #[must_use]
    #[inline(always)]
    pub fn sends_on(&self) -> bool {
        self.address.load(Relaxed) & Self::SENDS_ON != 0
    }

    /// A checksum that was surely complete was seen here, at some time.
    #[must_use]
    #[inline(always)]
    pub fn saw_full(&self) -> bool {
        self.sums.load(Relaxed) & Self::FULL_SEEN != 0
    }

    /// The last checksum that was surely one or the other was complete.
    #[must_use]
    #[inline(always)]
    pub fn last_was_full(&self) -> bool {
        self.sums.load(Relaxed) & Self::LAST_WAS_FULL != 0
    }

    /// Notes what a checksum surely was. Written only where it differs: CPUs share the word.
    #[inline(always)]
    pub fn note(&self, full: bool) {
        let old = self.sums.load(Relaxed);
        let new = if full {
            Self::FULL_SEEN | Self::LAST_WAS_FULL
        } else {
            old & Self::FULL_SEEN
        };
        if old != new {
            self.sums.store(new, Relaxed);
        }
    }
}
