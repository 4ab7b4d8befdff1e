//! Compiles a plan to rows.

use std::net::IpAddr;

use switcher_ebpf::abi::{
    ABI_VERSION, Address, AliasRow, BackendRow, BackendTable, HeaderRow, IMAGE_MAGIC, IMAGE_ROWS_MAX, ListenerRow,
    MAGLEV_PER_ROW, MaglevRow, PATH_BYPASS, PATH_DRIVER, PATH_SOCKET, PATH_STACK, Row, SEGMENTS_MAX, SEGMENTS_PER_ROW,
    SegmentRow, SetRow,
};
use thiserror::Error;

use super::plan::SHIELD_SECONDS;
use super::{AliasPlan, BackendPlan, ImagePlan, Path, SetPlan, listeners, maglev};

/// Why a plan does not fit an image.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// More rows than the kernel reads.
    #[error(
        "the configuration needs {rows} rows of 64 bytes and an image has at most {IMAGE_ROWS_MAX}; use fewer sets or backends"
    )]
    TooLarge {
        /// Rows it needs.
        rows: usize,
    },
    /// The listener table does not come out short.
    #[error("the listener table does not fit; use fewer listeners")]
    Listeners,
    /// More segments than one split may have.
    #[error("the split of alias number {alias} has {segments} segments and at most {SEGMENTS_MAX} fit")]
    Segments {
        /// The alias.
        alias: u32,
        /// Its segments.
        segments: usize,
    },
}

/// Compiles a plan to the rows of an image.
///
/// # Errors
/// When it does not fit; see [`ImageError`].
pub fn compile(plan: &ImagePlan) -> Result<Vec<Row>, ImageError> {
    let mut builder = Builder {
        rows: vec![Row::default()],
    };
    let mut listening = Vec::new();
    for alias in &plan.aliases {
        let alias_row = builder.alias(alias)?;
        listening.extend(alias.listeners.iter().map(|listener| (*listener, alias_row)));
    }
    let table = listeners::table(&listening).ok_or(ImageError::Listeners)?;
    let header = HeaderRow {
        epoch: plan.epoch,
        magic: IMAGE_MAGIC,
        abi_version: ABI_VERSION,
        listeners_row: builder.next(),
        listeners_mask: table.len() as u32 - 1,
        ..HeaderRow::default()
    };
    builder.rows.extend(table.into_iter().map(ListenerRow::row));
    let rows = builder.rows.len();
    if rows > IMAGE_ROWS_MAX as usize {
        return Err(ImageError::TooLarge { rows });
    }
    builder.rows[0] = HeaderRow {
        rows: rows as u32,
        ..header
    }
    .row();
    Ok(builder.rows)
}

struct Builder {
    rows: Vec<Row>,
}

impl Builder {
    fn next(&self) -> u32 {
        self.rows.len() as u32
    }

    fn push(&mut self, rows: impl IntoIterator<Item = Row>) -> u32 {
        let first = self.next();
        self.rows.extend(rows);
        first
    }

    fn alias(&mut self, alias: &AliasPlan) -> Result<u32, ImageError> {
        if alias.segments.len() > SEGMENTS_MAX as usize {
            return Err(ImageError::Segments {
                alias: alias.id,
                segments: alias.segments.len(),
            });
        }
        let set_rows: Vec<u32> = alias.sets.iter().map(|set| self.set(set)).collect();
        let segments: Vec<(u32, u32)> = alias
            .segments
            .iter()
            .map(|segment| {
                (
                    u32::try_from(segment.end - 1).unwrap_or(u32::MAX),
                    set_rows[segment.set],
                )
            })
            .collect();
        let segments_row = self.push(segments.chunks(SEGMENTS_PER_ROW as usize).map(segment_row));
        let row = AliasRow {
            id: alias.id,
            segments_row,
            segments: segments.len() as u32,
            flags: flags(alias),
            hold_until_ns: alias.hold_until_ns,
            shield_seconds: if alias.shield { SHIELD_SECONDS } else { 0 },
            ..AliasRow::default()
        };
        Ok(self.push([row.row()]))
    }

    fn set(&mut self, set: &SetPlan) -> u32 {
        let family = |v4: bool| -> Vec<&BackendPlan> {
            set.backends
                .iter()
                .filter(|backend| matches!(backend.address, IpAddr::V4(_)) == v4)
                .collect()
        };
        let (v4, v6) = (self.backends(&family(true)), self.backends(&family(false)));
        self.push([SetRow {
            id: set.id,
            v4,
            v6,
            ..SetRow::default()
        }
        .row()])
    }

    fn backends(&mut self, backends: &[&BackendPlan]) -> BackendTable {
        let table = maglev::table(backends);
        let maglev_row = self.push(table.chunks(MAGLEV_PER_ROW as usize).map(|piece| {
            let mut row = MaglevRow::default();
            row.0[..piece.len()].copy_from_slice(piece);
            row.row()
        }));
        let backends_row = self.push(backends.iter().map(|backend| backend_row(backend)));
        BackendTable {
            maglev_row,
            maglev_size: table.len() as u32,
            backends_row,
            backends: backends.len() as u32,
        }
    }
}

const fn flags(alias: &AliasPlan) -> u32 {
    let udp = if alias.udp_moves { AliasRow::UDP_MOVES } else { 0 };
    let by_flow = if alias.by_flow { AliasRow::BY_FLOW } else { 0 };
    udp | by_flow
}

/// Unused places repeat the last segment: the kernel compares with the row's last place first.
fn segment_row(piece: &[(u32, u32)]) -> Row {
    let last = piece[piece.len() - 1];
    let mut row = SegmentRow::default();
    for place in 0..SEGMENTS_PER_ROW as usize {
        let (end, set_row) = piece.get(place).copied().unwrap_or(last);
        row.last[place] = end;
        row.set_row[place] = set_row;
    }
    row.row()
}

fn backend_row(backend: &BackendPlan) -> Row {
    let (path, ifindex, bridge) = match backend.path {
        Path::Bypass { ifindex } => (PATH_BYPASS, ifindex, 0),
        Path::Driver { ifindex } => (PATH_DRIVER, ifindex, 0),
        Path::Stack => (PATH_STACK, 0, 0),
        Path::Bridge { bridge, ifindex } => (PATH_STACK, ifindex, bridge),
        Path::Socket => (PATH_SOCKET, 0, 0),
    };
    BackendRow {
        address: Address::from(backend.address),
        port: backend.port.to_be(),
        path,
        id: backend.id,
        ifindex,
        bridge,
        ..BackendRow::default()
    }
    .row()
}
