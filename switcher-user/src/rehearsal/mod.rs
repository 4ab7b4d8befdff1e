//! What an image would do, before the kernel has it: the packet logic itself, run natively on a copy of the flows. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use switcher_ebpf::abi::{Address, FlowIdentity, FlowKey, PATH_BYPASS, PATH_STACK, Row, State, StateWord};
use switcher_ebpf::choose::{Again, choose_by, hash_client, hash_flow, header_of};
use switcher_ebpf::decide::ingress;
use switcher_ebpf::flow::{self, Found, Opening};
use switcher_ebpf::native::{MemoryPacket, MemoryTables};
use switcher_ebpf::parse::{Content, PROTOCOL_UDP, Parsed, parse};
use switcher_ebpf::tables::Tables;

use crate::kernel::{FlowPath, FlowState, FlowView};
use crate::model::Listener;

/// Places in the space of the split that are asked for a share: a 65,536th is a place.
pub const PLACES: u32 = 1 << 16;

/// Interfaces of packets that are in no kernel.
const CLIENT_IFINDEX: u32 = 1;
const BACKEND_IFINDEX: u32 = 2;

const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;
const ETHERTYPE_V4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_V6: [u8; 2] = [0x86, 0xdd];
const HOPS: u8 = 64;

/// What would become of the flows that are there, and of new ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// Established flows whose next packet was decided.
    pub asked: u64,
    /// Of these, flows whose next packet went elsewhere than to their backend.
    pub moved: u64,
    /// Flows of which no packet is decided: the host's own TCP has them.
    pub of_host: u64,
    /// Handshakes on their way, which a new image decides again.
    pub pending: u64,
    /// Were today's flows to begin anew: how many each set would get, by its number.
    pub begun_anew: BTreeMap<u32, u64>,
    /// Of [`PLACES`] places in the space of a split, how many each set has, by its number; a map a listener, as they were
    /// given.
    pub places: Vec<BTreeMap<u32, u32>>,
}

/// Decides the next packet of each flow, and new flows, by the image of these rows.
#[must_use]
pub fn rehearse(rows: Vec<Row>, flows: &[FlowView], listeners: &[Listener]) -> Rehearsed {
    let mut tables = MemoryTables::default();
    tables.install(rows);
    let mut seen = Rehearsed::default();
    for flow in flows.iter().filter(|flow| !flow.expired) {
        match (flow.state, flow.path) {
            (FlowState::Closing, _) => continue,
            (FlowState::Pending, _) => seen.pending += 1,
            (FlowState::Established, FlowPath::Local | FlowPath::Socket) => seen.of_host += 1,
            (FlowState::Established, FlowPath::Stack | FlowPath::Bypass) => {
                seen.asked += 1;
                seen.moved += u64::from(next_packet(&tables, flow) != Some(flow.backend));
            }
        }
        let key = key_of(flow.client, flow.listener, flow.protocol);
        if let Some(set) = set_of(&tables, &key, hash_client(&key.source), hash_flow(&key)) {
            *seen.begun_anew.entry(set).or_default() += 1;
        }
    }
    seen.places = listeners.iter().map(|listener| places(&tables, *listener)).collect();
    seen
}

/// Which set the image gives a new flow.
fn set_of(tables: &MemoryTables, key: &FlowKey, client: u32, flow: u32) -> Option<u32> {
    let image = tables.image()?;
    let header = header_of(&image)?;
    choose_by(&image, header, key, client, flow)
        .ok()
        .map(|choice| choice.set_id)
}

fn places(tables: &MemoryTables, listener: Listener) -> BTreeMap<u32, u32> {
    let to = SocketAddr::new(listener.address, listener.port);
    let key = key_of(to, to, listener.protocol.number());
    let mut places = BTreeMap::new();
    for place in 0..PLACES {
        let hash = place * (u32::MAX / PLACES + 1);
        if let Some(set) = set_of(tables, &key, hash, hash) {
            *places.entry(set).or_default() += 1;
        }
    }
    places
}

/// Where the flow's next packet goes; `None`: nowhere, or where its client sent it.
fn next_packet(tables: &MemoryTables, flow: &FlowView) -> Option<SocketAddr> {
    let mut packet = MemoryPacket::new(
        frame(flow.client, flow.listener, flow.protocol, TCP_ACK),
        CLIENT_IFINDEX,
    );
    let key = parsed(&packet)?.key;
    put(tables, flow)?;
    ingress(&mut packet, tables);
    if let Some(Found { identity, .. }) = flow::find(tables, &key) {
        tables.index_remove(&identity.client_key());
        tables.index_remove(&identity.backend_key());
    }
    let sent = parsed(&packet)?.key;
    Some(SocketAddr::new(
        address_of(&sent.destination),
        u16::from_be(sent.destination_port),
    ))
}

/// Puts the flow into the table, as it is in the kernel's.
fn put(tables: &MemoryTables, flow: &FlowView) -> Option<()> {
    let syn = MemoryPacket::new(
        frame(flow.client, flow.listener, flow.protocol, TCP_SYN),
        CLIENT_IFINDEX,
    );
    let Parsed {
        key,
        transport,
        packets,
        bytes,
        ..
    } = parsed(&syn)?;
    let path = if flow.path == FlowPath::Bypass {
        PATH_BYPASS
    } else {
        PATH_STACK
    };
    let mut identity = FlowIdentity {
        epoch: flow.epoch,
        client: key.source,
        listener: key.destination,
        backend: address(flow.backend.ip()),
        client_port: key.source_port,
        listener_port: key.destination_port,
        backend_port: flow.backend.port().to_be(),
        source_port: key.source_port,
        alias_id: flow.alias_id,
        set_id: flow.set_id,
        backend_id: flow.backend_id,
        protocol: flow.protocol,
        path,
        flags: if flow.moves { FlowIdentity::MOVES } else { 0 },
        shield_seconds: 0,
    };
    let opening = Opening {
        transport: &transport,
        packets,
        bytes,
        ifindex: CLIENT_IFINDEX,
        backend_ifindex: BACKEND_IFINDEX,
        now_ns: tables.exact_now_ns(),
        again: Again::NO,
    };
    flow::insert(tables, &mut identity, &opening).ok()?;
    let found = flow::find(tables, &key)?;
    let established = if transport.is_udp() {
        State::Conversing
    } else {
        State::Established
    };
    let word: StateWord = found.word;
    tables
        .swap_state(found.record, word, word.with(established))
        .then_some(())
}

fn parsed(packet: &MemoryPacket) -> Option<Parsed> {
    match parse(packet) {
        Ok(Content::Segment(parsed)) => Some(parsed),
        _ => None,
    }
}

/// The smallest packet there is of the protocol. Checksums are left out: nobody receives it.
fn frame(from: SocketAddr, to: SocketAddr, protocol: u8, tcp_flags: u8) -> Vec<u8> {
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    if protocol == PROTOCOL_UDP {
        segment.extend([0, 8, 0, 0]);
    } else {
        segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
    }
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    let mut frame = vec![0; 12];
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend(ETHERTYPE_V4);
            frame.extend([0x45, 0]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (from, to) => {
            frame.extend(ETHERTYPE_V6);
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, HOPS]);
            frame.extend(octets(from));
            frame.extend(octets(to));
        }
    }
    frame.extend(segment);
    frame
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn key_of(from: SocketAddr, to: SocketAddr, protocol: u8) -> FlowKey {
    FlowKey {
        source: address(from.ip()),
        destination: address(to.ip()),
        source_port: from.port().to_be(),
        destination_port: to.port().to_be(),
        protocol: protocol.into(),
    }
}

fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    }
}

fn address_of(address: &Address) -> IpAddr {
    let mut bytes = [0; 16];
    for (piece, word) in bytes.chunks_mut(4).zip(address.0) {
        piece.copy_from_slice(&word.to_ne_bytes());
    }
    std::net::Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switcher_ebpf::parse::PROTOCOL_TCP;

    use super::*;
    use crate::image::{AliasPlan, BackendPlan, ImagePlan, Path, Segment, SetPlan, compile};
    use crate::kernel::{FlowFigures, FlowPlace};

    fn image(epoch: u64, udp_moves: bool, v2_from: u64) -> Vec<Row> {
        let set = |id: u32, address: &str| SetPlan {
            id,
            backends: vec![BackendPlan {
                id: id * 10,
                address: address.parse().unwrap(),
                port: 8_080,
                path: Path::Stack,
            }],
        };
        let whole = Segment { end: 1 << 32, set: 1 };
        let segments = match v2_from {
            0 => vec![whole],
            from => vec![Segment { end: from, set: 0 }, whole],
        };
        let alias = AliasPlan {
            id: 1,
            listeners: ["198.51.100.10:80/tcp", "198.51.100.10:53/udp"]
                .map(|one| one.parse().unwrap())
                .to_vec(),
            udp_moves,
            by_flow: false,
            hold_until_ns: 0,
            shield: false,
            segments,
            sets: vec![set(1, "10.1.0.2"), set(2, "10.1.1.2")],
        };
        compile(&ImagePlan {
            epoch,
            aliases: vec![alias],
        })
        .unwrap()
    }

    fn flow(client: u16, protocol: u8, moves: bool) -> FlowView {
        FlowView {
            place: FlowPlace { slot: 0, generation: 1 },
            client: SocketAddr::new(IpAddr::from([192, 0, 2, (client % 200) as u8]), 10_000 + client),
            listener: SocketAddr::new(
                IpAddr::from([198, 51, 100, 10]),
                if protocol == PROTOCOL_UDP { 53 } else { 80 },
            ),
            backend: "10.1.0.2:8080".parse().unwrap(),
            alias_id: 1,
            set_id: 1,
            backend_id: 10,
            protocol,
            epoch: 4,
            path: if client.is_multiple_of(2) {
                FlowPath::Stack
            } else {
                FlowPath::Bypass
            },
            moves,
            state: FlowState::Established,
            age: Duration::ZERO,
            idle: Duration::ZERO,
            traffic: FlowFigures::default(),
            failure: None,
            expired: false,
        }
    }

    #[test]
    fn established_flows_stay_and_new_ones_go_by_the_next_image() {
        let mut flows: Vec<FlowView> = (0..2_000).map(|n| flow(n, PROTOCOL_TCP, false)).collect();
        flows.push(FlowView {
            state: FlowState::Pending,
            ..flow(2_000, PROTOCOL_TCP, false)
        });
        flows.push(FlowView {
            state: FlowState::Closing,
            ..flow(2_001, PROTOCOL_TCP, false)
        });
        flows.push(FlowView {
            path: FlowPath::Local,
            ..flow(2_002, PROTOCOL_TCP, false)
        });
        let seen = rehearse(
            image(5, false, 3 << 30),
            &flows,
            &["198.51.100.10:80/tcp".parse().unwrap()],
        );
        assert_eq!((seen.asked, seen.moved, seen.of_host, seen.pending), (2_000, 0, 1, 1));
        assert_eq!(seen.places, [BTreeMap::from([(1, 3 * PLACES / 4), (2, PLACES / 4)])]);
        assert_eq!(seen.begun_anew.values().sum::<u64>(), 2_002);
        assert!((300..700).contains(&seen.begun_anew[&2]), "{:?}", seen.begun_anew);
    }

    /// What moves is told: the zero above is no constant.
    #[test]
    fn conversations_that_a_switch_moves_are_counted() {
        let flows: Vec<FlowView> = (0..100).map(|n| flow(n, PROTOCOL_UDP, n < 40)).collect();
        let seen = rehearse(image(5, true, 0), &flows, &[]);
        assert_eq!((seen.asked, seen.moved), (100, 40));
    }

    #[test]
    fn ipv6_is_read_too() {
        let v6 = FlowView {
            client: "[2001:db8::1]:5000".parse().unwrap(),
            listener: "[2001:db8::10]:80".parse().unwrap(),
            backend: "[fd00::2]:8080".parse().unwrap(),
            ..flow(0, PROTOCOL_TCP, false)
        };
        let seen = rehearse(image(5, false, 0), &[v6], &[]);
        assert_eq!((seen.asked, seen.moved), (1, 0));
    }
}
