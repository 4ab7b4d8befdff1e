//! Local clients wait, too: a held alias's SYN does not leave its socket, and a shielded one's refusal does not reach it. The
//! client's own TCP sends the SYN again, to the backend that connect() gave it.
//!
//! Asked at the packets of the sockets of a cgroup, and only while an alias is held or shielded. Invariant I4: the deadlines
//! are the image's and the record's, so nobody has to end it.

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{FlowKey, FlowSide, micros};
use crate::choose;
use crate::connect;
use crate::flow::Found;
use crate::parse::PROTOCOL_TCP;
use crate::shield;
use crate::tables::Tables;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a packet asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// To connect.
    Open,
    /// To end.
    Reset,
    /// Nothing that concerns us.
    Nothing,
}

/// What a packet asks, by its bytes from its IP header on. Behind extension headers nothing is looked for: a host's own TCP
/// puts none before a handshake.
#[must_use]
#[inline(always)]
pub fn asks(byte: impl Fn(u32) -> Option<u8>) -> Asks {
    let Some(first) = byte(0) else {
        return Asks::Nothing;
    };
    let (protocol_at, transport) = if first >> 4 == 4 {
        (9, (first & 0xf) as u32 * 4)
    } else {
        (6, 40)
    };
    if byte(protocol_at) != Some(PROTOCOL_TCP) {
        return Asks::Nothing;
    }
    match byte(transport + 13) {
        Some(flags) if flags & RST != 0 => Asks::Reset,
        Some(flags) if flags & (SYN | ACK) == SYN => Asks::Open,
        _ => Asks::Nothing,
    }
}

/// The SYN of a socket is about to leave. True: it is held back.
#[inline(always)]
pub fn holds<T: Tables>(tables: &T, cookie: u64) -> bool {
    let Some(found) = connect::pending(tables, cookie) else {
        return false;
    };
    if !is_held(tables, &found) {
        return false;
    }
    if let Some(counters) = tables.counters(found.identity.set_id) {
        tables.add_shared(&counters.syns_held, 1);
    }
    true
}

#[inline(always)]
fn is_held<T: Tables>(tables: &T, found: &Found<'_>) -> bool {
    let Some(image) = tables.image() else { return false };
    let Some(header) = choose::header_of(&image) else {
        return false;
    };
    let key = FlowKey {
        destination: found.identity.listener,
        destination_port: found.identity.listener_port,
        protocol: PROTOCOL_TCP as u32,
        ..FlowKey::default()
    };
    match choose::find_alias(&image, header, &key) {
        Ok(alias) => alias.hold_until_ns != 0 && tables.exact_now_ns() < alias.hold_until_ns,
        Err(_) => false,
    }
}

/// A RST has come for a socket. True: it is kept from it.
#[inline(always)]
pub fn hides<T: Tables>(tables: &T, cookie: u64) -> bool {
    let Some(found) = connect::pending(tables, cookie) else {
        return false;
    };
    if found.identity.shield_seconds == 0 || !shield::is_up(&found, micros(tables.exact_now_ns())) {
        return false;
    }
    let flags = &found.record.client.flags;
    flags.store(flags.load(Relaxed) | FlowSide::WAITED, Relaxed);
    if let Some(counters) = tables.counters(found.identity.set_id) {
        tables.add_shared(&counters.refusals_hidden, 1);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(v4: bool, protocol: u8, flags: u8) -> std::vec::Vec<u8> {
        let mut bytes = std::vec![0; if v4 { 24 } else { 40 }];
        if v4 {
            // With an option.
            (bytes[0], bytes[9]) = (0x46, protocol);
        } else {
            (bytes[0], bytes[6]) = (0x60, protocol);
        }
        bytes.extend([0; 20]);
        let at = bytes.len() - 20 + 13;
        bytes[at] = flags;
        bytes
    }

    #[test]
    fn a_packet_asks_by_its_flags() {
        for v4 in [true, false] {
            for (protocol, flags, asked) in [
                (6, SYN, Asks::Open),
                (6, SYN | 0xc0, Asks::Open),
                (6, SYN | ACK, Asks::Nothing),
                (6, ACK, Asks::Nothing),
                (6, RST, Asks::Reset),
                (6, RST | ACK, Asks::Reset),
                (17, SYN, Asks::Nothing),
            ] {
                let bytes = packet(v4, protocol, flags);
                let byte = |at: u32| bytes.get(at as usize).copied();
                assert_eq!(asks(byte), asked, "{v4} {protocol} {flags}");
                let short = |at: u32| bytes[..bytes.len() - 10].get(at as usize).copied();
                assert_eq!(asks(short), Asks::Nothing);
            }
        }
    }
}
