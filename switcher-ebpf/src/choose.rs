//! Chooses for a new flow: listener, alias, set by the split, backend by the set's Maglev table. All from one image.

use crate::abi::{
    ABI_VERSION, Address, AliasRow, BackendRow, BackendTable, FlowKey, HeaderRow, IMAGE_MAGIC, LISTENER_PROBES_MAX,
    ListenerRow, MAGLEV_PER_ROW, MaglevRow, SEGMENTS_MAX, SEGMENTS_PER_ROW, SegmentRow, SetRow,
};
use crate::reason::Reason;
use crate::tables::Image;

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The image's number.
    pub epoch: u64,
    /// Number of the alias.
    pub alias_id: u32,
    /// Number of the set.
    pub set_id: u32,
    /// A switch moves its UDP conversations.
    pub udp_moves: bool,
    /// The set has no other backend of this family.
    pub is_alone: bool,
    /// How long refusals are kept from the client; seconds.
    pub shield_seconds: u8,
    /// The backend.
    pub backend: &'a BackendRow,
}

const MIX_A: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX_B: u64 = 0xbf58_476d_1ce4_e5b9;
const MIX_C: u64 = 0x94d0_49bb_1331_11eb;

#[inline(always)]
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(MIX_B);
    x ^= x >> 27;
    x = x.wrapping_mul(MIX_C);
    x ^ (x >> 31)
}

#[inline(always)]
const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

#[inline(always)]
fn hash_address(address: &Address, seed: u64) -> u64 {
    let w = &address.0;
    mix(mix(seed ^ pair(w[0], w[1])).wrapping_add(MIX_A) ^ pair(w[2], w[3]))
}

/// Where a client stands in the space of the split. The same for all its connections, in every epoch and after every
/// restart: a client that has moved to the next version stays there while shares rise.
#[must_use]
#[inline(always)]
pub fn hash_client(client: &Address) -> u32 {
    (hash_address(client, MIX_A) >> 32) as u32
}

/// Where a flow stands in a Maglev table.
#[must_use]
#[inline(always)]
pub fn hash_flow(key: &FlowKey) -> u32 {
    let ports = pair(
        (key.source_port as u32) << 16 | key.destination_port as u32,
        key.protocol,
    );
    let addresses = hash_address(&key.source, MIX_B) ^ hash_address(&key.destination, MIX_C);
    (mix(addresses ^ ports.wrapping_mul(MIX_A)) >> 32) as u32
}

/// Where a listener's search begins in the listener table.
#[must_use]
#[inline(always)]
pub fn hash_listener(address: &Address, port: u16, protocol: u8) -> u32 {
    (hash_address(address, pair(port as u32, protocol as u32)) >> 32) as u32
}

/// The alias that listens on a packet's destination.
#[inline(always)]
pub fn find_alias<'a, I: Image>(image: &'a I, header: &HeaderRow, key: &FlowKey) -> Result<&'a AliasRow, Reason> {
    let protocol = key.protocol as u8;
    let start = hash_listener(&key.destination, key.destination_port, protocol);
    for probe in 0..LISTENER_PROBES_MAX {
        let slot = start.wrapping_add(probe) & header.listeners_mask;
        let row = image.row(header.listeners_row + slot).ok_or(Reason::NoListener)?;
        let listener = ListenerRow::of(row);
        if listener.used == 0 {
            break;
        }
        if listener.port == key.destination_port && listener.protocol == protocol && listener.address == key.destination
        {
            let row = image.row(listener.alias_row).ok_or(Reason::NoShare)?;
            return Ok(AliasRow::of(row));
        }
    }
    Err(Reason::NoListener)
}

/// Number of the first set with a share: what is held is counted there, whichever set it would have been.
#[inline(always)]
pub fn first_set<I: Image>(image: &I, alias: &AliasRow) -> Option<u32> {
    let segments = SegmentRow::of(image.row(alias.segments_row)?);
    let set = SetRow::of(image.row(segments.set_row[0])?);
    (alias.segments > 0).then_some(set.id)
}

/// The row of the set whose interval a client's hash falls into.
#[inline(always)]
fn find_set<I: Image>(image: &I, alias: &AliasRow, hash: u32) -> Option<u32> {
    for row in 0..SEGMENTS_MAX / SEGMENTS_PER_ROW {
        if row * SEGMENTS_PER_ROW >= alias.segments {
            return None;
        }
        let segments = SegmentRow::of(image.row(alias.segments_row + row)?);
        if hash > segments.last[SEGMENTS_PER_ROW as usize - 1] {
            continue;
        }
        for i in 0..SEGMENTS_PER_ROW as usize {
            if hash <= segments.last[i] {
                return Some(segments.set_row[i]);
            }
        }
    }
    None
}

#[inline(always)]
fn find_backend<'a, I: Image>(image: &'a I, table: &BackendTable, hash: u32) -> Option<&'a BackendRow> {
    if table.maglev_size == 0 {
        return None;
    }
    let entry = hash % table.maglev_size;
    let piece = MaglevRow::of(image.row(table.maglev_row + entry / MAGLEV_PER_ROW)?);
    let index = piece.0[(entry % MAGLEV_PER_ROW) as usize] as u32;
    Some(BackendRow::of(image.row(table.backends_row + index)?))
}

/// Another try: a backend that changes with the time of the try, and not the one that did not take the flow.
#[inline(always)]
fn find_other<'a, I: Image>(image: &'a I, table: &BackendTable, turn: u32, avoid: u32) -> Option<&'a BackendRow> {
    if table.backends == 0 {
        return None;
    }
    let index = turn % table.backends;
    let backend = BackendRow::of(image.row(table.backends_row + index)?);
    if backend.id != avoid {
        return Some(backend);
    }
    let next = (index + 1) % table.backends;
    Some(BackendRow::of(image.row(table.backends_row + next)?))
}

/// A flow that another backend did not take, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again(u64);

impl Again {
    /// A flow's first try.
    pub const NO: Self = Self(0);

    /// Another try. `avoid`: number of that backend, never 0. `since_us`: when the client's first SYN came.
    #[must_use]
    #[inline(always)]
    pub const fn new(avoid: u32, since_us: u32) -> Self {
        Self(pair(avoid, since_us))
    }

    /// When the client's first SYN came, in microseconds; `None` at the first try.
    #[must_use]
    #[inline(always)]
    pub const fn since_us(self) -> Option<u32> {
        if self.0 == 0 { None } else { Some(self.0 as u32) }
    }

    #[inline(always)]
    const fn avoid(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The header, where the image is one of this build.
#[inline(always)]
pub fn header_of<I: Image>(image: &I) -> Option<&HeaderRow> {
    let header = HeaderRow::of(image.row(0)?);
    (header.magic == IMAGE_MAGIC && header.abi_version == ABI_VERSION).then_some(header)
}

/// Chooses for a SYN or a first datagram.
#[inline(always)]
pub fn choose<'a, I: Image>(
    image: &'a I,
    epoch: u64,
    alias: &AliasRow,
    key: &FlowKey,
    again: Again,
    now_ticks: impl Fn() -> u32,
) -> Result<Choice<'a>, Reason> {
    let flow = hash_flow(key);
    let (set, table) = set_by(image, alias, key, hash_client(&key.source), flow)?;
    let backend = if again == Again::NO {
        find_backend(image, table, flow)
    } else {
        find_other(image, table, flow.wrapping_add(now_ticks()), again.avoid())
    };
    chosen(epoch, alias, set, table, backend)
}

/// Chooses for a flow to the key's destination: the set by the client's hash, the backend by the flow's.
#[inline(always)]
pub fn choose_by<'a, I: Image>(
    image: &'a I,
    header: &HeaderRow,
    key: &FlowKey,
    client: u32,
    flow: u32,
) -> Result<Choice<'a>, Reason> {
    let alias = find_alias(image, header, key)?;
    let (set, table) = set_by(image, alias, key, client, flow)?;
    chosen(header.epoch, alias, set, table, find_backend(image, table, flow))
}

#[inline(always)]
fn set_by<'a, I: Image>(
    image: &'a I,
    alias: &AliasRow,
    key: &FlowKey,
    client: u32,
    flow: u32,
) -> Result<(&'a SetRow, &'a BackendTable), Reason> {
    let by_flow = alias.flags & AliasRow::BY_FLOW != 0;
    let set_row = find_set(image, alias, if by_flow { flow } else { client }).ok_or(Reason::NoShare)?;
    let set = SetRow::of(image.row(set_row).ok_or(Reason::NoShare)?);
    Ok((set, if key.destination.is_v4() { &set.v4 } else { &set.v6 }))
}

#[inline(always)]
fn chosen<'a>(
    epoch: u64,
    alias: &AliasRow,
    set: &SetRow,
    table: &BackendTable,
    backend: Option<&'a BackendRow>,
) -> Result<Choice<'a>, Reason> {
    let backend = backend.ok_or(Reason::NoShare)?;
    Ok(Choice {
        epoch,
        alias_id: alias.id,
        set_id: set.id,
        udp_moves: alias.flags & AliasRow::UDP_MOVES != 0,
        is_alone: table.backends < 2,
        shield_seconds: alias.shield_seconds as u8,
        backend,
    })
}
