//! The socket path, natively: what becomes of a client's packets given what the host's own TCP has (I2, I3, I7).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod one_alias;

use core::sync::atomic::Ordering::Relaxed;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use one_alias::OneAlias;
use switcher_ebpf::abi::{Address, FlowKey, PATH_SOCKET, Row};
use switcher_ebpf::decide::{self, Action, Verdict};
use switcher_ebpf::native::{MemoryPacket, MemoryTables};
use switcher_ebpf::packet::SocketState;
use switcher_ebpf::reason::Reason;
use switcher_ebpf::socket;
use switcher_ebpf::tables::Tables as _;

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 2], 40_000);
const LISTENER: ([u8; 4], u16) = ([198, 51, 100, 10], 80);
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// All of the alias is on one set, with one process at 127.0.0.1.
fn image(epoch: u64, set: u32, port: u16) -> Vec<Row> {
    let alias = OneAlias {
        epoch,
        set,
        backend: (LOOPBACK, port).into(),
        path: PATH_SOCKET,
        ..OneAlias::default()
    };
    alias.image()
}

fn key(port: u16) -> FlowKey {
    FlowKey {
        source: Address::v4(CLIENT.0),
        destination: Address::v4(LISTENER.0),
        source_port: port.to_be(),
        destination_port: LISTENER.1.to_be(),
        protocol: 6,
    }
}

/// The host: what its TCP has, and who listens at 127.0.0.1.
struct Host {
    tables: MemoryTables,
    sockets: Vec<(FlowKey, SocketState)>,
    listening: Vec<u16>,
}

impl Host {
    /// Version 1 on port 8081 has the share; version 2 is on 8082.
    fn new() -> Self {
        let mut tables = MemoryTables::default();
        tables.install(image(1, 1, 8081));
        Self {
            tables,
            sockets: Vec::new(),
            listening: vec![8081, 8082],
        }
    }

    fn has(&mut self, state: SocketState) {
        self.sockets = vec![(key(CLIENT.1), state)];
    }

    /// A packet of the client, through both programs as the kernel would.
    fn take(&self, flags: &str, seq: u32, ack: u32) -> (Verdict, MemoryPacket) {
        let mut packet = packet(CLIENT, LISTENER, flags, seq, ack);
        packet.sockets.clone_from(&self.sockets);
        let at = |port: &u16| (Address::v4(LOOPBACK), port.to_be());
        packet.listening = self.listening.iter().map(at).collect();
        let mut verdict = decide::ingress(&mut packet, &self.tables);
        if verdict.action == Action::ToSocketProgram {
            verdict = socket::ingress(&mut packet, &self.tables);
        }
        (verdict, packet)
    }

    fn reply(&self, to: u16, flags: &str, seq: u32, ack: u32) -> (Verdict, MemoryPacket) {
        let mut packet = packet(LISTENER, (CLIENT.0, to), flags, seq, ack);
        let verdict = decide::egress(&mut packet, &self.tables);
        (verdict, packet)
    }

    fn establish(&mut self) {
        assert_eq!(self.take("S", 100, 0).0.reason, Reason::OpenedSocket);
        self.has(SocketState::Handshake);
        self.reply(CLIENT.1, "SA", 500, 101);
        self.take("A", 101, 501);
        self.has(SocketState::Connection);
    }

    fn opened(&self, set: u32) -> u64 {
        self.tables.counters(set).unwrap().flows_opened.load(Relaxed)
    }
}

fn packet(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: &str, seq: u32, ack: u32) -> MemoryPacket {
    let mut builder = PacketBuilder::ethernet2([2; 6], [0; 6])
        .ipv4(from.0, to.0, 64)
        .tcp(from.1, to.1, seq, 1_000);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(ack),
            _ => builder.rst(),
        };
    }
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[]).unwrap();
    MemoryPacket::new(bytes, 1)
}

/// The ports, the sequence number and the flags of a packet whose sums are right.
fn tcp(packet: &MemoryPacket) -> (u16, u16, u32, bool, bool) {
    let sliced = SlicedPacket::from_ethernet(&packet.bytes).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
        panic!("no TCP");
    };
    let Some(etherparse::NetSlice::Ipv4(ip)) = sliced.net else {
        panic!("no IPv4");
    };
    let sum = tcp
        .calc_checksum_ipv4(ip.header().source(), ip.header().destination())
        .unwrap();
    assert_eq!(tcp.checksum(), sum, "the TCP sum is right");
    assert_eq!(
        ip.header().header_checksum(),
        ip.header().to_header().calc_header_checksum()
    );
    (
        tcp.source_port(),
        tcp.destination_port(),
        tcp.sequence_number(),
        tcp.rst(),
        tcp.syn(),
    )
}

fn untouched(packet: &MemoryPacket, flags: &str, seq: u32, ack: u32) -> bool {
    packet.bytes == self::packet(CLIENT, LISTENER, flags, seq, ack).bytes
}

#[test]
fn a_syn_is_handed_to_the_socket_as_it_came() {
    let host = Host::new();
    let (verdict, packet) = host.take("S", 100, 0);
    assert_eq!((verdict.reason, verdict.action), (Reason::OpenedSocket, Action::Pass));
    let assigned = packet.assigned.unwrap();
    assert_eq!(
        (assigned.destination, assigned.destination_port),
        (Address::v4(LOOPBACK), 8081_u16.to_be())
    );
    assert!(untouched(&packet, "S", 100, 0));
    assert_eq!(host.opened(1), 1);
}

#[test]
fn an_established_flow_is_left_to_the_hosts_tcp_across_epochs() {
    let mut host = Host::new();
    host.establish();
    host.tables.install(image(2, 2, 8082));
    let (verdict, packet) = host.take("A", 101, 501);
    assert_eq!(verdict.reason, Reason::ForwardSocket);
    assert!(packet.assigned.is_none() && untouched(&packet, "A", 101, 501));
    // Invariant I8: a SYN on a live connection is its own host's to answer.
    let (verdict, packet) = host.take("S", 7_000, 0);
    assert_eq!(verdict.reason, Reason::ForwardSocket);
    assert!(packet.assigned.is_none() && untouched(&packet, "S", 7_000, 0));
    assert_eq!((host.opened(1), host.opened(2)), (1, 0));
}

/// Invariant I3: the old socket has answered; the client could complete that handshake after the switch.
#[test]
fn a_handshake_that_the_old_socket_answered_is_ended_before_it_is_decided_again() {
    let mut host = Host::new();
    host.take("S", 100, 0);
    host.has(SocketState::Handshake);
    host.tables.install(image(2, 2, 8082));
    let (verdict, packet) = host.take("S", 100, 0);
    assert_eq!((verdict.reason, verdict.action), (Reason::SocketEnded, Action::Pass));
    let (_, _, sequence, is_reset, is_syn) = tcp(&packet);
    assert_eq!(
        (sequence, is_reset, is_syn),
        (101, true, false),
        "as the client would end it"
    );
    assert!(packet.assigned.is_none());
    host.sockets.clear();
    let (verdict, packet) = host.take("S", 100, 0);
    assert_eq!(verdict.reason, Reason::OpenedSocket);
    assert_eq!(packet.assigned.unwrap().destination_port, 8082_u16.to_be());
    assert_eq!((host.opened(1), host.opened(2)), (1, 1));
}

/// The answer was a cookie, or was lost: the host's TCP has nothing, and the listening socket must see the packet.
#[test]
fn what_the_host_has_forgotten_goes_to_the_listening_socket_again() {
    let host = Host::new();
    host.take("S", 100, 0);
    for (flags, ack) in [("S", 0), ("A", 501)] {
        let (verdict, packet) = host.take(flags, 100, ack);
        assert_eq!(verdict.reason, Reason::ForwardSocket);
        assert_eq!(packet.assigned.unwrap().destination_port, 8081_u16.to_be(), "{flags}");
    }
    assert_eq!(host.opened(1), 1);
}

/// Invariant I7: a connection that was there before the agent, and a SYN that somebody forges on it.
#[test]
fn a_syn_on_a_connection_that_is_not_ours_passes() {
    let mut host = Host::new();
    host.has(SocketState::Connection);
    let (verdict, packet) = host.take("S", 100, 0);
    assert_eq!((verdict.reason, verdict.action), (Reason::SocketTaken, Action::Pass));
    assert!(packet.assigned.is_none() && untouched(&packet, "S", 100, 0));
    let (verdict, _) = host.take("A", 101, 501);
    assert_eq!(verdict.reason, Reason::NoFlow);
    assert_eq!(host.opened(1), 0);
}

/// The client uses its port again while the host remembers the old connection: v1's, perhaps.
#[test]
fn after_a_connection_that_the_host_remembers_the_flow_gets_another_port() {
    let mut host = Host::new();
    host.has(SocketState::Ended);
    let (verdict, packet) = host.take("S", 100, 0);
    assert_eq!(verdict.reason, Reason::OpenedSocket);
    let (source, destination, ..) = tcp(&packet);
    assert_ne!(source, CLIENT.1);
    assert_eq!(destination, LISTENER.1);
    let (verdict, packet) = host.reply(source, "SA", 500, 101);
    assert_eq!(verdict.reason, Reason::ReplySocket);
    assert_eq!(tcp(&packet).1, CLIENT.1, "the client sees its own port");
}

#[test]
fn where_nobody_listens_the_client_is_told() {
    let mut host = Host::new();
    host.listening.clear();
    let (verdict, packet) = host.take("S", 100, 0);
    assert_eq!(
        (verdict.reason, verdict.action),
        (Reason::SocketRefused, Action::ToRoute { ifindex: 1 })
    );
    let (source, destination, sequence, is_reset, _) = tcp(&packet);
    assert_eq!(
        (source, destination, sequence, is_reset),
        (LISTENER.1, CLIENT.1, 0, true)
    );
}
