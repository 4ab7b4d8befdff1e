//! What the XDP hook knows of a packet besides its bytes, in memory.

use crate::abi::XdpDevice;
use crate::deferred::{Pending, Place};

/// One interface, and the packet that is under way there.
#[derive(Debug, Default)]
pub struct MemoryPlace {
    device: XdpDevice,
    pending: Pending,
}

impl MemoryPlace {
    /// An interface with this link-layer address. `flags`: see [`XdpDevice::words`].
    #[must_use]
    pub fn new(address: [u8; 6], flags: u64) -> Self {
        Self {
            device: XdpDevice::new(address, flags),
            pending: Pending::default(),
        }
    }

    /// What is known of the interface.
    #[must_use]
    pub const fn xdp_device(&self) -> &XdpDevice {
        &self.device
    }
}

impl Place for &MemoryPlace {
    fn device(&self, _: u32) -> Option<&XdpDevice> {
        Some(&self.device)
    }

    fn pending(&self) -> Option<&Pending> {
        Some(&self.pending)
    }
}
