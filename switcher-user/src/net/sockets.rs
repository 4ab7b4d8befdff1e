//! The sockets of this host that wait for clients: what a listener could take the clients of.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::model::Protocol;

/// A socket at a port that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSocket {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its own end; 0.0.0.0 or :: for all addresses.
    pub address: SocketAddr,
    /// It waits for clients; else it talks to one.
    pub waits: bool,
    /// Who has it open: process id and name; `None` where that cannot be seen.
    pub owner: Option<(u32, String)>,
}

const TCP_ESTABLISHED: u8 = 0x01;
const UDP_UNCONNECTED: u8 = 0x07;
const TCP_LISTEN: u8 = 0x0a;
/// Tables of the calling thread's network namespace, and the state of a socket that waits.
const TABLES: [(&str, Protocol, u8); 4] = [
    ("tcp", Protocol::Tcp, TCP_LISTEN),
    ("tcp6", Protocol::Tcp, TCP_LISTEN),
    ("udp", Protocol::Udp, UDP_UNCONNECTED),
    ("udp6", Protocol::Udp, UDP_UNCONNECTED),
];
/// A port may have very many connections; of those that talk, so many are looked at.
const TALKING_MAX: usize = 1_000;

/// The sockets at these ports: those that wait, and TCP's that talk. A table that cannot be read has none: it is a family
/// that the kernel does not have.
pub(super) fn at_ports(ports: &[u16]) -> Vec<LocalSocket> {
    let mut found = Vec::new();
    for (table, protocol, waiting) in TABLES {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        let rows = text.lines().filter_map(row);
        let mut talking = 0;
        for row in rows.filter(|row| ports.contains(&row.address.port())) {
            let waits = row.state == waiting;
            if !waits && (row.state != TCP_ESTABLISHED || protocol != Protocol::Tcp || talking == TALKING_MAX) {
                continue;
            }
            talking += usize::from(!waits);
            let (address, owner) = (row.address, None);
            let socket = LocalSocket {
                protocol,
                address,
                waits,
                owner,
            };
            found.push((row.inode, socket));
        }
    }
    let owners = if found.is_empty() { BTreeMap::new() } else { owners() };
    let own = |(inode, mut socket): (u64, LocalSocket)| {
        socket.owner = owners.get(&inode).cloned();
        socket
    };
    found.into_iter().map(own).collect()
}

/// One line of a table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    address: SocketAddr,
    state: u8,
    inode: u64,
}

fn row(line: &str) -> Option<Row> {
    let mut words = line.split_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // The other end stands between the two.
    let state = u8::from_str_radix(words.nth(1)?, 16).ok()?;
    // Queues, timer, retransmissions, user and time-out stand before the inode.
    let inode = words.nth(5)?.parse().ok()?;
    Some(Row {
        address: SocketAddr::new(hex_address(address)?, port),
        state,
        inode,
    })
}

/// The kernel prints each 32-bit word of an address as a number of this machine.
fn hex_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        u32::from_str_radix(text.get(8 * at..8 * at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// Processes by the inode of their open sockets; of several that share one, the first.
fn owners() -> BTreeMap<u64, (u32, String)> {
    let mut owners = BTreeMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let inodes = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let inodes: Vec<u64> = inodes.filter_map(|open| socket_inode(&open.path())).collect();
        if inodes.is_empty() {
            continue;
        }
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        for inode in inodes {
            owners.entry(inode).or_insert_with(|| (pid, name.trim().to_owned()));
        }
    }
    owners
}

fn socket_inode(open: &Path) -> Option<u64> {
    let link = fs::read_link(open).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn rows_are_read() {
        let line =
            "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let read = row(line).unwrap();
        assert_eq!((read.address.port(), read.state, read.inode), (22, TCP_LISTEN, 4711));
        if cfg!(target_endian = "little") {
            assert_eq!(read.address.ip(), Ipv4Addr::LOCALHOST);
        }
        assert_eq!(
            row("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"),
            None
        );
    }

    #[test]
    fn our_own_sockets_are_found_with_their_owner() {
        for text in ["127.0.0.1:0", "[::1]:0"] {
            let tcp = TcpListener::bind(text).unwrap();
            let udp = UdpSocket::bind(text).unwrap();
            let at = tcp.local_addr().unwrap();
            let client = TcpStream::connect(at).unwrap();
            let _served = tcp.accept().unwrap();
            for (protocol, address, waits) in [
                (Protocol::Tcp, at, true),
                (Protocol::Tcp, at, false),
                (Protocol::Tcp, client.local_addr().unwrap(), false),
                (Protocol::Udp, udp.local_addr().unwrap(), true),
            ] {
                let owner = Some((
                    std::process::id(),
                    fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned(),
                ));
                let ours = LocalSocket {
                    protocol,
                    address,
                    waits,
                    owner,
                };
                let found = at_ports(&[address.port()]);
                assert!(found.contains(&ours), "no {ours:?} in {found:?}");
            }
        }
    }
}
