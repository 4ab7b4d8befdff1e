//! The listener table: open addressing, with no search longer than the kernel makes.

use switcher_ebpf::abi::{Address, LISTENER_PROBES_MAX, ListenerRow};
use switcher_ebpf::choose::hash_listener;

use crate::model::Listener;

/// Larger than this no table of [`crate::model::ALIASES_MAX`] aliases with all their listeners needs to be.
const SLOTS_MAX: usize = 1 << 19;

/// Slots, a power of two; `None`: no size up to the largest keeps every search short.
pub(super) fn table(listeners: &[(Listener, u32)]) -> Option<Vec<ListenerRow>> {
    let mut slots = (listeners.len() * 2).next_power_of_two().max(2);
    while slots <= SLOTS_MAX {
        if let Some(table) = fill(listeners, slots) {
            return Some(table);
        }
        slots *= 2;
    }
    None
}

fn fill(listeners: &[(Listener, u32)], slots: usize) -> Option<Vec<ListenerRow>> {
    let mut table = vec![ListenerRow::default(); slots];
    for (listener, alias_row) in listeners {
        let row = ListenerRow {
            address: Address::from(listener.address),
            port: listener.port.to_be(),
            protocol: listener.protocol.number(),
            used: 1,
            alias_row: *alias_row,
            ..ListenerRow::default()
        };
        let start = hash_listener(&row.address, row.port, row.protocol) as usize;
        let free = (0..LISTENER_PROBES_MAX as usize).map(|probe| (start + probe) % slots);
        let slot = free.into_iter().find(|slot| table[*slot].used == 0)?;
        table[slot] = row;
    }
    Some(table)
}
