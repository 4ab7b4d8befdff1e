//! An image of one alias with one listener, one set and one backend, row by row, as the kernel reads it.

use std::net::SocketAddr;

use switcher_ebpf::abi::{
    ABI_VERSION, AliasRow, BackendRow, BackendTable, HeaderRow, IMAGE_MAGIC, ListenerRow, MaglevRow, PATH_STACK, Row,
    SEGMENTS_PER_ROW, SegmentRow, SetRow,
};

/// The set's number where a test asks for no other.
pub const SET: u32 = 5;

/// What differs from test to test.
#[derive(Clone, Copy, Debug)]
pub struct OneAlias {
    pub epoch: u64,
    pub listener: SocketAddr,
    pub protocol: u8,
    pub set: u32,
    pub backend: SocketAddr,
    pub path: u8,
    pub backend_ifindex: u32,
}

impl Default for OneAlias {
    /// TCP at 198.51.100.10:80 to 10.1.0.2:8080, by the stack.
    fn default() -> Self {
        Self {
            epoch: 1,
            listener: SocketAddr::from(([198, 51, 100, 10], 80)),
            protocol: 6,
            set: SET,
            backend: SocketAddr::from(([10, 1, 0, 2], 8080)),
            path: PATH_STACK,
            backend_ifindex: 0,
        }
    }
}

impl OneAlias {
    /// The image's rows.
    pub fn image(&self) -> Vec<Row> {
        let header = HeaderRow {
            epoch: self.epoch,
            magic: IMAGE_MAGIC,
            abi_version: ABI_VERSION,
            rows: 7,
            listeners_row: 1,
            ..HeaderRow::default()
        };
        let alias = AliasRow {
            id: 1,
            segments_row: 3,
            segments: 1,
            ..AliasRow::default()
        };
        let segments = SegmentRow {
            last: [u32::MAX; SEGMENTS_PER_ROW as usize],
            set_row: [4; SEGMENTS_PER_ROW as usize],
        };
        vec![
            header.row(),
            self.listener().row(),
            alias.row(),
            segments.row(),
            self.set().row(),
            MaglevRow::default().row(),
            self.backend().row(),
        ]
    }

    fn listener(&self) -> ListenerRow {
        ListenerRow {
            address: self.listener.ip().into(),
            port: self.listener.port().to_be(),
            protocol: self.protocol,
            used: 1,
            alias_row: 2,
            ..ListenerRow::default()
        }
    }

    fn set(&self) -> SetRow {
        let table = BackendTable {
            maglev_row: 5,
            maglev_size: 1,
            backends_row: 6,
            backends: 1,
        };
        let (v4, v6) = if self.backend.is_ipv4() {
            (table, BackendTable::default())
        } else {
            (BackendTable::default(), table)
        };
        SetRow {
            id: self.set,
            v4,
            v6,
            ..SetRow::default()
        }
    }

    fn backend(&self) -> BackendRow {
        BackendRow {
            address: self.backend.ip().into(),
            port: self.backend.port().to_be(),
            path: self.path,
            id: 9,
            ifindex: self.backend_ifindex,
            ..BackendRow::default()
        }
    }
}
