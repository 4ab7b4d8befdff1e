//! A packet that goes to the backend, and comes back when the backend sends it to its sender, is the packet that was sent:
//! byte for byte, on both skins, whatever stands between its headers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod one_alias;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
    Ipv6RoutingExtensions, PacketBuilder,
};
use one_alias::OneAlias;
use proptest::prelude::*;
use switcher_ebpf::abi::{PATH_BYPASS, PATH_DRIVER, PATH_STACK, XdpDevice};
use switcher_ebpf::decide::{self, Action};
use switcher_ebpf::deferred::Deferred;
use switcher_ebpf::driver;
use switcher_ebpf::native::{HOST_ADDRESS, MemoryPacket, MemoryPlace, MemoryTables};
use switcher_ebpf::parse::{Content, Parsed, parse};
use switcher_ebpf::reason::Reason;
use switcher_ebpf::sum::fold;
use switcher_ebpf::tables::Tables as _;

const IFINDEX: u32 = 3;
const BACKEND_IFINDEX: u32 = 7;
const ETHERNET_HEADER: usize = 14;
/// Longer than any flow may be idle.
const IDLE_NS: u64 = 10_000_000_000_000;

/// A packet in words.
#[derive(Clone, Debug)]
struct Words {
    client: SocketAddr,
    listener: SocketAddr,
    backend: SocketAddr,
    is_udp: bool,
    without_sum: bool,
    ttl: u8,
    /// IPv4: words of options. IPv6: bit 0 hop-by-hop, bit 1 destination options, bit 2 a routing header that has ended.
    between: u8,
    payload: Vec<u8>,
}

/// Addresses that are surely three: their first bytes differ.
fn address(v4: bool, first: u8, rest: [u8; 15]) -> IpAddr {
    let mut bytes = [first; 16];
    bytes[1..].copy_from_slice(&rest);
    if v4 {
        IpAddr::from([first, rest[0], rest[1], rest[2]])
    } else {
        IpAddr::from(bytes)
    }
}

fn words() -> impl Strategy<Value = Words> {
    let addresses = (any::<bool>(), any::<[[u8; 15]; 3]>(), prop::array::uniform3(1_u16..));
    let kind = (any::<bool>(), any::<bool>(), 3_u8.., 0_u8..=10);
    (addresses, kind, prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(addresses, kind, payload)| {
        let ((v4, rest, ports), (is_udp, without_sum, ttl, between)) = (addresses, kind);
        let end = |first, at: usize| SocketAddr::new(address(v4, first, rest[at]), ports[at]);
        Words {
            client: end(0x20, 0),
            listener: end(0x30, 1),
            backend: end(0x40, 2),
            is_udp,
            without_sum,
            ttl,
            between,
            payload,
        }
    })
}

impl Words {
    fn headers(&self, from: IpAddr, to: IpAddr, ttl: u8) -> IpHeaders {
        let protocol = if self.is_udp { IpNumber::UDP } else { IpNumber::TCP };
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = Ipv4Header::new(0, ttl, protocol, from.octets(), to.octets()).unwrap();
                header.options = Ipv4Options::try_from(&vec![1; usize::from(self.between) * 4][..]).unwrap();
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut extensions = self.extensions();
                let header = Ipv6Header {
                    hop_limit: ttl,
                    source: from.octets(),
                    destination: to.octets(),
                    next_header: extensions.set_next_headers(protocol),
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, extensions)
            }
            other => panic!("two families in one packet: {other:?}"),
        }
    }

    fn extensions(&self) -> Ipv6Extensions {
        // PadN; in the routing header: type 0, no segment left.
        let padding = |bytes: &[u8]| Ipv6RawExtHeader::new_raw(IpNumber::TCP, bytes).unwrap();
        let mut extensions = Ipv6Extensions::default();
        if self.between & 1 != 0 {
            extensions.hop_by_hop_options = Some(padding(&[1, 4, 0, 0, 0, 0]));
        }
        if self.between & 2 != 0 {
            extensions.destination_options = Some(padding(&[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        }
        if self.between & 4 != 0 {
            extensions.routing = Some(Ipv6RoutingExtensions {
                routing: padding(&[0; 6]),
                final_destination_options: None,
            });
        }
        extensions
    }

    /// The frame from one end to another: a SYN or a datagram, its checksums complete.
    fn frame(&self, from: SocketAddr, to: SocketAddr, ttl: u8) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], HOST_ADDRESS).ip(self.headers(from.ip(), to.ip(), ttl));
        let mut bytes = Vec::new();
        if self.is_udp {
            let builder = builder.udp(from.port(), to.port());
            builder.write(&mut bytes, &self.payload).unwrap();
        } else {
            let builder = builder.tcp(from.port(), to.port(), 1_000, 64_000).syn();
            builder.write(&mut bytes, &self.payload).unwrap();
        }
        if self.is_udp && self.without_sum {
            let at = sum_offset(&bytes);
            bytes[at..at + 2].fill(0);
        }
        bytes
    }

    fn sent(&self) -> Vec<u8> {
        self.frame(self.client, self.listener, self.ttl)
    }

    fn at_the_backend(&self, hops: u8) -> Vec<u8> {
        self.frame(self.client, self.backend, self.ttl - hops)
    }

    /// An image of its own, at a time when the flows of earlier cases are long over.
    fn install(&self, tables: &mut MemoryTables, path: u8) {
        let now_ns = tables.coarse_now_ns() + 2 * IDLE_NS;
        tables.set_now_ns(now_ns);
        let alias = OneAlias {
            epoch: now_ns / IDLE_NS,
            listener: self.listener,
            protocol: if self.is_udp { 17 } else { 6 },
            backend: self.backend,
            path,
            backend_ifindex: BACKEND_IFINDEX,
            ..OneAlias::default()
        };
        tables.install(alias.image());
    }
}

thread_local! {
    /// They take longer to make than a case.
    static TABLES: RefCell<MemoryTables> = RefCell::default();
}

fn with_tables(words: &Words, path: u8, check: impl FnOnce(&MemoryTables)) {
    TABLES.with_borrow_mut(|tables| {
        words.install(tables, path);
        check(tables);
    });
}

fn parsed(frame: &[u8]) -> Parsed {
    match parse(&MemoryPacket::new(frame.to_vec(), IFINDEX)).unwrap() {
        Content::Segment(parsed) => parsed,
        Content::Error(error) => panic!("{error:?}"),
    }
}

fn sum_offset(frame: &[u8]) -> usize {
    let parsed = parsed(frame);
    parsed.layout.l4 as usize + if parsed.transport.is_udp() { 6 } else { 16 }
}

/// The backend sends it to its sender. Ends that change places change no sum.
fn mirrored(frame: &[u8]) -> Vec<u8> {
    let layout = parsed(frame).layout;
    let (at, len) = if layout.is_v4 { (12, 4) } else { (8, 16) };
    let mut back = frame.to_vec();
    let mut swap = |at: usize, len: usize| {
        let (first, second) = back[at..].split_at_mut(len);
        first.swap_with_slice(&mut second[..len]);
    };
    swap(ETHERNET_HEADER + at, len);
    swap(layout.l4 as usize, 2);
    back
}

fn by_tc(tables: &MemoryTables, frame: &[u8], ifindex: u32) -> (Action, Vec<u8>) {
    let mut packet = MemoryPacket::new(frame.to_vec(), ifindex);
    let verdict = decide::ingress(&mut packet, tables);
    (verdict.action, packet.bytes)
}

fn by_xdp(tables: &MemoryTables, frame: &[u8], place: &MemoryPlace) -> Vec<u8> {
    let mut packet = Deferred::new(MemoryPacket::new(frame.to_vec(), IFINDEX), place);
    let verdict = decide::ingress(&mut packet, tables);
    assert_eq!(verdict.action, Action::Pass);
    packet.finish().unwrap().bytes
}

/// What the driver sends to the backend; passes to the stack where it finds no way.
fn sent_on(tables: &MemoryTables, frame: &[u8], way: Result<(), Reason>) -> (Action, Vec<u8>) {
    let place = MemoryPlace::new(HOST_ADDRESS, XdpDevice::SENDS_ON);
    let mut packet = Deferred::new(MemoryPacket::new(frame.to_vec(), IFINDEX), &place);
    let verdict = decide::ingress(&mut packet, tables);
    assert!(matches!(verdict.action, Action::ToRoute { .. }), "{verdict:?}");
    let mut packet = packet.finish().unwrap();
    packet.way = way;
    (driver::send(&mut packet).action, packet.bytes)
}

/// The same for what the backend answers.
fn answered(tables: &MemoryTables, frame: &[u8], way: Result<(), Reason>) -> (Action, Vec<u8>) {
    let place = MemoryPlace::new(HOST_ADDRESS, XdpDevice::SENDS_ON);
    let packet = MemoryPacket {
        way,
        ..MemoryPacket::new(frame.to_vec(), BACKEND_IFINDEX)
    };
    let mut packet = Deferred::new(packet, &place);
    assert_eq!(decide::ingress(&mut packet, tables).action, Action::ToReplyProgram);
    let verdict = driver::reply(&mut packet, tables);
    (verdict.action, packet.finish().unwrap().bytes)
}

fn leave(tables: &MemoryTables, frame: &[u8]) -> Vec<u8> {
    let mut packet = MemoryPacket::new(frame.to_vec(), IFINDEX);
    assert_eq!(decide::egress(&mut packet, tables).action, Action::Pass);
    packet.bytes
}

/// What a host's stack sends where hardware is to finish the checksum: the sum of the pseudo header alone, not complemented.
fn left_to_hardware(mut frame: Vec<u8>) -> Vec<u8> {
    let parsed = parsed(&frame);
    let (at, len) = if parsed.layout.is_v4 { (12, 8) } else { (8, 32) };
    let l4 = parsed.layout.l4 as usize;
    let at = ETHERNET_HEADER + at;
    let sum = sum_of(&frame[at..at + len]) + u64::from(parsed.key.protocol) + (frame.len() - l4) as u64;
    let field = sum_offset(&frame);
    frame[field..field + 2].copy_from_slice(&fold(sum).to_be_bytes());
    frame
}

/// What the hardware makes of it.
fn finished_by_hardware(mut frame: Vec<u8>) -> Vec<u8> {
    let l4 = parsed(&frame).layout.l4 as usize;
    let field = sum_offset(&frame);
    let sum = !fold(sum_of(&frame[l4..]));
    let sum = if sum == 0 && parsed(&frame).transport.is_udp() {
        0xffff
    } else {
        sum
    };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn sum_of(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    bytes.chunks(2).map(word).sum()
}

/// A virtual device that has seen these kinds of checksums, the last one last.
fn device(seen: &[bool]) -> MemoryPlace {
    let place = MemoryPlace::new(HOST_ADDRESS, XdpDevice::PARTIAL_SUMS);
    let device: &XdpDevice = place.xdp_device();
    seen.iter().for_each(|full| device.note(*full));
    place
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn by_the_stack(words in words()) {
        with_tables(&words, PATH_STACK, |tables| {
            let (action, there) = by_tc(tables, &words.sent(), IFINDEX);
            assert_eq!(action, Action::Pass);
            assert_eq!(there, words.at_the_backend(0));
            let back = leave(tables, &mirrored(&there));
            assert_eq!(mirrored(&back), words.sent());
        });
    }

    /// But for the two hops that it counts.
    #[test]
    fn by_the_bypass(words in words()) {
        with_tables(&words, PATH_BYPASS, |tables| {
            let (action, there) = by_tc(tables, &words.sent(), IFINDEX);
            assert_eq!(action, Action::ToPeer { ifindex: BACKEND_IFINDEX });
            assert_eq!(there, words.at_the_backend(1));
            let (action, back) = by_tc(tables, &mirrored(&there), BACKEND_IFINDEX);
            assert_eq!(action, Action::ToRoute { ifindex: IFINDEX });
            assert_eq!(mirrored(&back), words.frame(words.client, words.listener, words.ttl - 2));
        });
    }

    /// But for the two hops that it counts. Where the driver finds no way, the stack gets what it can work with: to the
    /// backend what it would have got on its own path, from the backend what that sent.
    #[test]
    fn from_driver_to_driver(words in words()) {
        with_tables(&words, PATH_DRIVER, |tables| {
            let to_route = |ifindex| Action::ToRoute { ifindex };
            let (action, there) = sent_on(tables, &words.sent(), Ok(()));
            assert_eq!((action, &there), (to_route(IFINDEX), &words.at_the_backend(1)));
            let (action, back) = answered(tables, &mirrored(&there), Ok(()));
            assert_eq!(action, to_route(BACKEND_IFINDEX));
            assert_eq!(mirrored(&back), words.frame(words.client, words.listener, words.ttl - 2));

            let no_way = Err(Reason::BypassNoRoute);
            let again = sent_on(tables, &words.sent(), no_way);
            assert_eq!(again, (Action::Pass, words.at_the_backend(0)));
            let back = mirrored(&there);
            assert_eq!(answered(tables, &back, no_way), (Action::Pass, back));
        });
    }

    #[test]
    fn by_xdp_with_whole_sums(words in words()) {
        with_tables(&words, PATH_STACK, |tables| {
            let there = by_xdp(tables, &words.sent(), &device(&[true]));
            assert_eq!(there, words.at_the_backend(0));
            let back = leave(tables, &mirrored(&there));
            assert_eq!(mirrored(&back), words.sent());
        });
    }

    /// Also where whole sums were seen on the device before.
    #[test]
    fn by_xdp_with_sums_that_hardware_is_to_finish(words in words(), mixed: bool) {
        prop_assume!(!words.is_udp || !words.without_sum);
        with_tables(&words, PATH_STACK, |tables| {
            let place = device(if mixed { &[true, false] } else { &[] });
            let there = by_xdp(tables, &left_to_hardware(words.sent()), &place);
            assert_eq!(there, left_to_hardware(words.at_the_backend(0)));
            assert_eq!(finished_by_hardware(there), words.at_the_backend(0));
        });
    }
}
