//! What waits to be accepted at backends on this host, by the kernel's own word (`inet_diag`), in their own namespaces.
//!
//! A server that does not get to `accept` lets its queue fill; then the kernel drops SYNs and handshakes, and clients try again a
//! second later. Nothing of it is in a packet. Two counters tell of it: one of the socket, which counts other drops too (a stray
//! RST), and one of overflows, of the whole namespace. What both have counted was an overflow of this socket.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use rtnetlink::sys::{Socket, SocketAddr as Netlink};

use super::spaces;

const NETLINK_ROUTE: isize = 0;
const NETLINK_SOCK_DIAG: isize = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_DUMP: u16 = 0x300;
const IN_LISTEN: u32 = 1 << 10;
/// Of a socket's memory, the drops too.
const WANTED: u8 = 1 << (SKMEMINFO - 1);
const SKMEMINFO: u16 = 7;
const SKV6ONLY: u16 = 11;
/// Place of the drops in it.
const DROPS_AT: usize = 8 * 4;
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_msg`.
const ROW_BYTES: usize = 72;
const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// Datagrams of one answer; each has some hundred sockets.
const DATAGRAMS_MAX: usize = 1_024;
/// Namespaces are looked for again after so long.
const FRESH: Duration = Duration::from_secs(5);

/// The queue of whoever listens at a backend's address; of several sockets (`SO_REUSEPORT`) all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptQueue {
    /// Connections that wait to be accepted.
    pub waiting: u32,
    /// So many may.
    pub waiting_max: u32,
    /// What these sockets have dropped, ever.
    pub dropped: u64,
    /// Overflows in the namespace, ever.
    pub overflows: u64,
}

/// A way to ask the namespaces that have backends.
#[derive(Default)]
pub(super) struct AcceptQueues {
    spaces: Vec<Space>,
    looked: Option<(Instant, Vec<IpAddr>)>,
}

struct Space {
    diag: Socket,
    netstat: File,
    /// Which of the backends' addresses it has.
    own: BTreeSet<IpAddr>,
}

impl AcceptQueues {
    /// The queues of the backends whose addresses are on this host; `None`: nothing listens there. What cannot be asked is left
    /// out.
    pub(super) fn look(&mut self, backends: &[SocketAddr]) -> BTreeMap<SocketAddr, Option<AcceptQueue>> {
        let addresses: Vec<IpAddr> = backends.iter().map(SocketAddr::ip).collect();
        let is_fresh = |(at, of): &(Instant, Vec<IpAddr>)| at.elapsed() < FRESH && *of == addresses;
        if !self.looked.as_ref().is_some_and(is_fresh) {
            self.spaces = open_all(&addresses);
            self.looked = Some((Instant::now(), addresses));
        }
        let mut queues = BTreeMap::new();
        for space in &mut self.spaces {
            let Ok((rows, overflows)) = space.ask() else {
                // It has gone, perhaps; it is looked for again.
                self.looked = None;
                continue;
            };
            for backend in backends.iter().filter(|backend| space.own.contains(&backend.ip())) {
                queues.insert(*backend, queue(&rows, *backend, overflows));
            }
        }
        queues
    }
}

/// The agent's own namespace, and those that a link of it leads to: another's may have the same addresses.
fn open_all(addresses: &[IpAddr]) -> Vec<Space> {
    let mut all: Vec<Space> = Space::open(addresses).into_iter().collect();
    let Ok(route) = Socket::new(NETLINK_ROUTE) else {
        return all;
    };
    let beyond: Vec<IpAddr> = addresses.iter().copied().filter(|at| !at.is_loopback()).collect();
    for file in spaces::others().into_values() {
        if beyond.is_empty() || !is_linked(&route, &file) {
            continue;
        }
        let addresses = beyond.clone();
        all.extend(spaces::within(file, move || Space::open(&addresses)));
    }
    all.retain(|space| !space.own.is_empty());
    all
}

impl Space {
    /// Of the namespace that the calling thread is in.
    fn open(addresses: &[IpAddr]) -> io::Result<Self> {
        // An address can be bound to where it is.
        let is_here = |at: &&IpAddr| UdpSocket::bind((**at, 0)).is_ok();
        Ok(Self {
            diag: Socket::new(NETLINK_SOCK_DIAG)?,
            netstat: File::open("/proc/thread-self/net/netstat")?,
            own: addresses.iter().filter(is_here).copied().collect(),
        })
    }

    fn ask(&mut self) -> io::Result<(Vec<Row>, u64)> {
        let mut rows = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            dump(&self.diag, family as u8, &mut rows)?;
        }
        let mut text = String::new();
        self.netstat.rewind()?;
        self.netstat.read_to_string(&mut text)?;
        Ok((rows, overflows(&text).unwrap_or(0)))
    }
}

/// True: this namespace has a number for that one, which the kernel gives to where links lead.
fn is_linked(route: &Socket, space: &File) -> bool {
    let mut request = header(RTM_GETNSID, NLM_F_REQUEST, 4 + 8);
    request.extend([0; 4]);
    request.extend(8_u16.to_ne_bytes());
    request.extend(NETNSA_FD.to_ne_bytes());
    request.extend(space.as_raw_fd().to_ne_bytes());
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    let asked = route.send_to(&request, &Netlink::new(0, 0), 0);
    if asked.is_err() || route.recv_from(&mut answer, 0).is_err() || word16(&answer, 4) != Some(RTM_NEWNSID) {
        return false;
    }
    let number = attribute(&answer[HEADER_BYTES + 4..], NETNSA_NSID);
    number
        .and_then(|bytes| word(bytes, 0))
        .is_some_and(|number| number as i32 >= 0)
}

fn header(kind: u16, flags: u16, body: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body);
    bytes.extend(((HEADER_BYTES + body) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// One socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    address: SocketAddr,
    v6_only: bool,
    waiting: u32,
    waiting_max: u32,
    dropped: u32,
}

fn dump(diag: &Socket, family: u8, rows: &mut Vec<Row>) -> io::Result<()> {
    // `struct inet_diag_req_v2`: what is asked for, and an empty name of a socket.
    let mut request = header(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 56);
    request.extend([family, libc::IPPROTO_TCP as u8, WANTED, 0]);
    request.extend(IN_LISTEN.to_ne_bytes());
    request.extend([0; 48]);
    diag.send_to(&request, &Netlink::new(0, 0), 0)?;
    for _ in 0..DATAGRAMS_MAX {
        let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
        diag.recv_from(&mut answer, 0)?;
        let mut rest = &answer[..];
        while let Some(size) = word(rest, 0).map(|size| size as usize) {
            if size < HEADER_BYTES || size > rest.len() {
                break;
            }
            match word16(rest, 4) {
                Some(SOCK_DIAG_BY_FAMILY) => rows.extend(row(&rest[HEADER_BYTES..size])),
                Some(NLMSG_DONE) => return Ok(()),
                _ => return Err(io::Error::other("the kernel's answer cannot be read")),
            }
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Err(io::Error::other("there are too many sockets"))
}

fn row(bytes: &[u8]) -> Option<Row> {
    let attributes = bytes.get(ROW_BYTES..)?;
    let port = u16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?);
    let address: IpAddr = if i32::from(bytes[0]) == libc::AF_INET {
        Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(8..12)?).ok()?).into()
    } else {
        Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).into()
    };
    let memory = attribute(attributes, SKMEMINFO);
    Some(Row {
        address: SocketAddr::new(address, port),
        v6_only: attribute(attributes, SKV6ONLY).is_some_and(|only| only.first() == Some(&1)),
        waiting: word(bytes, 56)?,
        waiting_max: word(bytes, 60)?,
        dropped: memory.and_then(|memory| word(memory, DROPS_AT)).unwrap_or(0),
    })
}

/// The content of the first attribute of a kind.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    while let (Some(size), Some(found)) = (word16(bytes, 0), word16(bytes, 2)) {
        let size = usize::from(size);
        if size < 4 {
            return None;
        }
        if found == kind {
            return bytes.get(4..size);
        }
        bytes = bytes.get(size.next_multiple_of(4)..)?;
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Sockets at the very address, else those at all addresses: as the kernel chooses.
fn queue(rows: &[Row], backend: SocketAddr, overflows: u64) -> Option<AcceptQueue> {
    let at_port = || rows.iter().filter(|row| row.address.port() == backend.port());
    let every: IpAddr = match backend {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let both = |row: &Row| backend.is_ipv4() && !row.v6_only && row.address.ip() == Ipv6Addr::UNSPECIFIED;
    let kinds: [&dyn Fn(&Row) -> bool; 3] = [
        &|row| row.address.ip() == backend.ip(),
        &|row| row.address.ip() == every,
        &both,
    ];
    let found = kinds.iter().find(|is| at_port().any(is))?;
    let none = AcceptQueue {
        overflows,
        ..AcceptQueue::default()
    };
    Some(at_port().filter(|row| found(row)).fold(none, |sum, row| AcceptQueue {
        waiting: sum.waiting.saturating_add(row.waiting),
        waiting_max: sum.waiting_max.saturating_add(row.waiting_max),
        dropped: sum.dropped + u64::from(row.dropped),
        overflows,
    }))
}

/// `ListenOverflows` of a `/proc/net/netstat`: names and numbers in two lines.
fn overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let at = lines
        .next()?
        .split_whitespace()
        .position(|name| name == "ListenOverflows")?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_queue_of_our_own_is_seen() {
        for (at, asked) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
        ] {
            let listener = TcpListener::bind(at).unwrap();
            let backend = SocketAddr::new(asked.parse().unwrap(), listener.local_addr().unwrap().port());
            let _waits = TcpStream::connect(backend).unwrap();
            let queue = AcceptQueues::default().look(&[backend])[&backend].unwrap();
            assert_eq!(queue.waiting, 1, "{at}: {queue:?}");
            assert!(queue.waiting_max >= 128, "{at}: {queue:?}");
            drop(listener);
            assert_eq!(AcceptQueues::default().look(&[backend])[&backend], None, "{at}");
        }
        let elsewhere = "192.0.2.1:80".parse().unwrap();
        assert!(
            AcceptQueues::default().look(&[elsewhere]).is_empty(),
            "not on this host"
        );
    }

    #[test]
    fn overflows_are_read_by_their_name() {
        let text = "TcpExt: A ListenOverflows B\nTcpExt: 1 7 3\nIpExt: ListenOverflows\nIpExt: 9\n";
        assert_eq!(overflows(text), Some(7));
        assert_eq!(overflows("TcpExt: A\nTcpExt: 1\n"), None);
    }

    #[test]
    fn answers_that_are_cut_short_do_no_harm() {
        for size in 0..ROW_BYTES + 12 {
            let _ = row(&vec![2; size]);
            let _ = attribute(&vec![2; size], SKMEMINFO);
        }
    }
}
