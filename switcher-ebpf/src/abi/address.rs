//! IP addresses of both families in one shape.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2), as words in network byte order.
///
/// Packets that really carry a mapped address are refused by the parser, so the two families never meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Address(pub [u32; 4]);

const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// 127.0.0.1 or `::1`: the loopback addresses that backends may have.
    #[must_use]
    #[inline(always)]
    pub const fn loopback(is_v4: bool) -> Self {
        if is_v4 {
            Self([0, 0, MAPPED, 0x7f00_0001_u32.to_be()])
        } else {
            Self([0, 0, 0, 1_u32.to_be()])
        }
    }

    /// From the bytes of an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        Self([0, 0, MAPPED, u32::from_ne_bytes(bytes)])
    }

    /// From the bytes of an IPv6 address.
    #[must_use]
    #[inline(always)]
    pub const fn v6(b: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ])
    }

    /// True for an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// All four words as bytes in network order.
    #[must_use]
    #[inline(always)]
    pub fn octets(&self) -> [u8; 16] {
        zerocopy::transmute!(self.0)
    }
}

#[cfg(not(target_arch = "bpf"))]
impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => Self::v4(v4.octets()),
            core::net::IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        let octets = address.octets();
        if address.is_v4() {
            Self::from([octets[12], octets[13], octets[14], octets[15]])
        } else {
            Self::from(octets)
        }
    }
}
