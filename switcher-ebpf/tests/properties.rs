//! Properties of the packet logic: any bytes, any order of packets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use switcher_ebpf::abi::{Address, FlowIdentity};
use switcher_ebpf::decide;
use switcher_ebpf::native::{MemoryPacket, MemoryTables};
use switcher_ebpf::parse::{Content, Parsed, parse};
use switcher_ebpf::rewrite;

/// A frame that is a little like TCP over IP: real headers with some bytes changed and the end cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((0..80_usize, any::<u8>()), 0..6);
    (any::<bool>(), changes, 0..120_usize).prop_map(|(v4, changes, len)| {
        let mut frame = frame(v4, [7; 16], [9; 16], 1_234, 80, &[0; 40]);
        changes.into_iter().for_each(|(at, value)| frame[at] = value);
        frame.truncate(len);
        frame
    })
}

fn v4_part(address: [u8; 16]) -> [u8; 4] {
    [address[0] | 1, address[1], address[2], address[3]]
}

fn frame(v4: bool, from: [u8; 16], to: [u8; 16], from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [0; 6]);
    let builder = if v4 {
        builder.ipv4(v4_part(from), v4_part(to), 64)
    } else {
        builder.ipv6(from, to, 64)
    };
    let mut bytes = Vec::new();
    builder
        .tcp(from_port, to_port, 1, 1_000)
        .ack(2)
        .write(&mut bytes, payload)
        .unwrap();
    bytes
}

fn address(v4: bool, bytes: [u8; 16]) -> Address {
    if v4 {
        Address::v4(v4_part(bytes))
    } else {
        Address::v6(bytes)
    }
}

fn segment(packet: &MemoryPacket) -> Parsed {
    match parse(packet).unwrap() {
        Content::Segment(parsed) => parsed,
        Content::Error(error) => panic!("{error:?}"),
    }
}

/// Checks both checksums as a receiver would.
fn checksums_hold(frame: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
        return false;
    };
    let sum = match packet.net.unwrap() {
        etherparse::NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            if header.header_checksum != header.calc_header_checksum() {
                return false;
            }
            tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()).unwrap()
        }
        etherparse::NetSlice::Ipv6(ip) => tcp
            .to_header()
            .calc_checksum_ipv6(&ip.header().to_header(), tcp.payload())
            .unwrap(),
        _ => return false,
    };
    sum == tcp.checksum()
}

thread_local! {
    static TABLES: MemoryTables = MemoryTables::default();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn any_bytes_are_decided_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut packet = MemoryPacket::new(bytes.clone(), 1);
        TABLES.with(|tables| decide::ingress(&mut packet, tables));
        prop_assert_eq!(packet.bytes, bytes);
    }

    #[test]
    fn damaged_packets_are_decided_without_harm(bytes in damaged()) {
        let mut packet = MemoryPacket::new(bytes.clone(), 1);
        TABLES.with(|tables| {
            decide::ingress(&mut packet, tables);
            decide::egress(&mut packet, tables);
        });
        prop_assert_eq!(packet.bytes, bytes);
    }

    /// To the backend and, with source and destination changed over, back: the client sees an answer to what it sent.
    #[test]
    fn there_and_back_is_the_answer_to_what_was_sent(
        v4: bool,
        client: [u8; 16], listener: [u8; 16], backend: [u8; 16],
        ports: [u16; 4],
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let flow = FlowIdentity {
            client: address(v4, client), listener: address(v4, listener), backend: address(v4, backend),
            client_port: ports[0].to_be(), listener_port: ports[1].to_be(),
            backend_port: ports[2].to_be(), source_port: ports[3].to_be(),
            ..FlowIdentity::default()
        };
        prop_assume!(v4 || ![flow.client, flow.listener, flow.backend].iter().any(Address::is_v4));
        let mut there = MemoryPacket::new(frame(v4, client, listener, ports[0], ports[1], &payload), 1);
        let parsed = segment(&there);
        rewrite::to_backend(&mut there, &parsed, &flow).unwrap();
        rewrite::count_hop(&mut there, &parsed.layout, parsed.ttl).unwrap();
        prop_assert!(checksums_hold(&there.bytes));
        let mut expected = frame(v4, client, backend, ports[3], ports[2], &payload);
        let mut hop = MemoryPacket::new(expected.clone(), 1);
        let layout = segment(&hop).layout;
        rewrite::count_hop(&mut hop, &layout, 64).unwrap();
        prop_assert!(same_but_for_zero_sums(&there.bytes, &hop.bytes));

        expected = frame(v4, backend, client, ports[2], ports[3], &payload);
        let mut back = MemoryPacket::new(expected, 1);
        let parsed = segment(&back);
        rewrite::to_client(&mut back, &parsed, &flow).unwrap();
        prop_assert!(checksums_hold(&back.bytes));
        prop_assert!(same_but_for_zero_sums(&back.bytes, &frame(v4, listener, client, ports[1], ports[0], &payload)));
    }
}

/// One's complement has two zeroes: a sum may come out as 0x0000 where another way of adding gives 0xffff (RFC 1624).
fn same_but_for_zero_sums(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).filter(|(x, y)| x != y).all(|(x, y)| x ^ y == 0xff)
}
