//! The image: rows of 64 bytes (a cache line), addressed by index. Row 0 is the header; it says where the rest begins.
//!
//! ```text
//! header | listener table | alias, its segments, its sets | Maglev tables | backends
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;

/// One row, before it is known what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Row(pub [u64; 8]);

/// Row 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HeaderRow {
    /// The image's number.
    pub epoch: u64,
    /// [`super::IMAGE_MAGIC`].
    pub magic: u32,
    /// [`super::ABI_VERSION`].
    pub abi_version: u32,
    /// Rows in all.
    pub rows: u32,
    /// First row of the listener table.
    pub listeners_row: u32,
    /// Slots of the listener table less one; the slots are a power of two.
    pub listeners_mask: u32,
    /// Zero.
    pub reserved: [u32; 9],
}

/// One slot of the listener table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListenerRow {
    /// The address clients connect to.
    pub address: Address,
    /// The port clients connect to, in network byte order.
    pub port: u16,
    /// The IP protocol.
    pub protocol: u8,
    /// 1: in use; 0: free, and the search ends here.
    pub used: u8,
    /// Row of the alias.
    pub alias_row: u32,
    /// Zero.
    pub reserved: [u32; 10],
}

/// One alias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AliasRow {
    /// Stable number.
    pub id: u32,
    /// First row of its segments.
    pub segments_row: u32,
    /// Segments in use; 0: no set has a share, new flows pass untouched.
    pub segments: u32,
    /// [`AliasRow::UDP_MOVES`], [`AliasRow::BY_FLOW`].
    pub flags: u32,
    /// Until when new flows wait; nanoseconds of CLOCK_MONOTONIC, 0: they do not.
    pub hold_until_ns: u64,
    /// How long refusals are kept from a client, from its first SYN on; seconds, 0: they are not.
    pub shield_seconds: u32,
    /// Zero.
    pub reserved: [u32; 9],
}

/// Segments in one row.
pub const SEGMENTS_PER_ROW: u32 = 8;

/// Eight segments of a split, ascending. Unused ones repeat the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SegmentRow {
    /// The last client hash that is in the segment.
    pub last: [u32; SEGMENTS_PER_ROW as usize],
    /// Row of the set that gets it.
    pub set_row: [u32; SEGMENTS_PER_ROW as usize],
}

/// Backends of one family of one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BackendTable {
    /// First row of the Maglev table.
    pub maglev_row: u32,
    /// Entries of the Maglev table: a prime; 0: no backend of this family.
    pub maglev_size: u32,
    /// Row of backend 0.
    pub backends_row: u32,
    /// Backends.
    pub backends: u32,
}

/// One set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetRow {
    /// Stable number: its counter slot.
    pub id: u32,
    /// Zero.
    pub reserved: [u32; 7],
    /// IPv4 backends.
    pub v4: BackendTable,
    /// IPv6 backends.
    pub v6: BackendTable,
}

/// Maglev entries in one row.
pub const MAGLEV_PER_ROW: u32 = 32;

/// A piece of a Maglev table: indexes of backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MaglevRow(pub [u16; MAGLEV_PER_ROW as usize]);

/// One backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BackendRow {
    /// Its address.
    pub address: Address,
    /// Its port in network byte order; 0: the listener's.
    pub port: u16,
    /// [`super::PATH_STACK`], [`super::PATH_BYPASS`], [`super::PATH_DRIVER`] or, for loopback addresses only, [`super::PATH_SOCKET`].
    pub path: u8,
    /// Zero.
    pub reserved: u8,
    /// Stable number.
    pub id: u32,
    /// Host-side veth for the bypass path.
    pub ifindex: u32,
    /// The bridge whose port that veth is; 0: none. Clients on it are bypassed, whatever `path` says: the backend answers
    /// them straight, past the host.
    pub bridge: u32,
    /// Zero.
    pub reserved_words: [u32; 8],
}

const _: () = {
    assert!(size_of::<HeaderRow>() == 64);
    assert!(size_of::<ListenerRow>() == 64);
    assert!(size_of::<AliasRow>() == 64);
    assert!(size_of::<SegmentRow>() == 64);
    assert!(size_of::<SetRow>() == 64);
    assert!(size_of::<MaglevRow>() == 64);
    assert!(size_of::<BackendRow>() == 64);
};

impl AliasRow {
    /// A switch moves UDP conversations too; without it they stay where they are.
    pub const UDP_MOVES: u32 = 1;
    /// The hash of the flow, not that of the client, chooses the set.
    pub const BY_FLOW: u32 = 2;
}

macro_rules! row_views {
    ($($name:ident),*) => {
        $(
            impl $name {
                /// The row seen as what its place says it is.
                #[must_use]
                #[inline(always)]
                pub fn of(row: &Row) -> &Self {
                    zerocopy::transmute_ref!(row)
                }

                /// The plain row.
                #[must_use]
                pub fn row(self) -> Row {
                    zerocopy::transmute!(self)
                }
            }
        )*
    };
}

row_views!(
    HeaderRow,
    ListenerRow,
    AliasRow,
    SegmentRow,
    SetRow,
    MaglevRow,
    BackendRow
);
