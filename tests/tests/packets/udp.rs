//! UDP: conversations by 5-tuple, checksums that may be missing, and what a switch does to them.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;
use switcher_ebpf::reason::Reason;
use switcher_user::image::{ImagePlan, Path};
use switcher_user::kernel::FlowState;

use crate::bench::{BYPASS, Bench, Hook, alias, backend, passed, redirected, shop};
use crate::frames::socket;

/// A datagram: from, to, TTL, payload.
fn udp(from: &str, to: &str, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (socket(from), socket(to));
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [0; 6]);
    let builder = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ethernet.ipv4(a.octets(), b.octets(), ttl),
        (IpAddr::V6(a), IpAddr::V6(b)) => ethernet.ipv6(a.octets(), b.octets(), ttl),
        other => panic!("two families in one packet: {other:?}"),
    };
    let mut frame = Vec::new();
    builder.udp(from.port(), to.port()).write(&mut frame, payload).unwrap();
    frame
}

fn without_sum(mut frame: Vec<u8>) -> Vec<u8> {
    frame[14 + 20 + 6..14 + 20 + 8].copy_from_slice(&[0, 0]);
    frame
}

/// The next image: both aliases have another backend.
fn next(epoch: u64) -> ImagePlan {
    let to = |path| {
        vec![
            backend(15, "10.1.1.4", 5353, path),
            backend(16, "fd00:1::4", 5353, path),
        ]
    };
    let stay = alias(
        5,
        &["198.51.100.14:53/udp", "[2001:db8::14]:53/udp"],
        51,
        to(Path::Stack),
    );
    let mut moving = alias(6, &["198.51.100.15:53/udp", "[2001:db8::15]:53/udp"], 61, to(BYPASS));
    moving.udp_moves = true;
    ImagePlan {
        epoch,
        aliases: vec![stay, moving],
    }
}

/// Client, a listener that stays, one that moves, their backends before and after.
const V4: [&str; 5] = [
    "203.0.113.7:40000",
    "198.51.100.14:53",
    "198.51.100.15:53",
    "10.1.0.4:5353",
    "10.1.1.4:5353",
];
const V6: [&str; 5] = [
    "[2001:db8:9::7]:40000",
    "[2001:db8::14]:53",
    "[2001:db8::15]:53",
    "[fd00::4]:5353",
    "[fd00:1::4]:5353",
];

#[test]
fn there_and_back_by_the_stack() {
    for [client, listener, _, backend, _] in [V4, V6] {
        let mut bench = Bench::new(&shop(1));
        let there = bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
        assert_eq!(there, passed(Reason::OpenedStack, udp(client, backend, 64, b"ping")));
        let back = bench.run(Hook::Egress, &udp(backend, client, 64, b"pong"));
        assert_eq!(back, passed(Reason::ReplyStack, udp(listener, client, 64, b"pong")));
        let again = bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
        assert_eq!(again, passed(Reason::ForwardStack, udp(client, backend, 64, b"ping")));
        assert_eq!(bench.counters(50).flows_established, 1);
    }
}

#[test]
fn there_and_back_by_the_bypass() {
    for [client, _, listener, backend, _] in [V4, V6] {
        let mut bench = Bench::new(&shop(1));
        let there = bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
        assert_eq!(
            there,
            redirected(Reason::OpenedBypass, udp(client, backend, 63, b"ping"))
        );
        let back = bench.run(Hook::Ingress, &udp(backend, client, 64, b"pong"));
        assert_eq!(
            back,
            redirected(Reason::ReplyBypass, udp(listener, client, 63, b"pong"))
        );
    }
}

#[test]
fn a_missing_checksum_stays_missing() {
    let [client, listener, _, backend, _] = V4;
    let mut bench = Bench::new(&shop(1));
    let there = bench.run(Hook::Ingress, &without_sum(udp(client, listener, 64, b"ping")));
    assert_eq!(
        there,
        passed(Reason::OpenedStack, without_sum(udp(client, backend, 64, b"ping")))
    );
}

#[test]
fn a_checksum_that_comes_out_as_zero_is_written_as_all_ones() {
    let [client, listener, _, backend, _] = V4;
    // A payload for which the datagram to the backend has the sum 0xffff: the one that 0 stands for.
    let payload = (0..=u16::MAX)
        .map(u16::to_be_bytes)
        .find(|payload| udp(client, backend, 64, payload)[40..42] == [0xff, 0xff])
        .expect("some payload");
    let mut bench = Bench::new(&shop(1));
    let there = bench.run(Hook::Ingress, &udp(client, listener, 64, &payload));
    assert_eq!(there, passed(Reason::OpenedStack, udp(client, backend, 64, &payload)));
}

#[test]
fn a_conversation_stays_at_a_switch() {
    for [client, listener, _, backend, _] in [V4, V6] {
        let mut bench = Bench::new(&shop(1));
        bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
        bench.run(Hook::Egress, &udp(backend, client, 64, b"pong"));
        bench.install(&next(2));
        let there = bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
        assert_eq!(there, passed(Reason::ForwardStack, udp(client, backend, 64, b"ping")));
    }
}

#[test]
fn a_conversation_moves_at_a_switch_where_the_alias_says_so() {
    for [client, _, listener, backend, new_backend] in [V4, V6] {
        let mut bench = Bench::new(&shop(1));
        bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
        bench.run(Hook::Ingress, &udp(backend, client, 64, b"pong"));
        let same = bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
        assert_eq!(
            same,
            redirected(Reason::ForwardBypass, udp(client, backend, 63, b"ping"))
        );
        bench.install(&next(2));
        let there = bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
        assert_eq!(
            there,
            redirected(Reason::OpenedBypass, udp(client, new_backend, 63, b"ping"))
        );
        let back = bench.run(Hook::Ingress, &udp(new_backend, client, 64, b"pong"));
        assert_eq!(
            back,
            redirected(Reason::ReplyBypass, udp(listener, client, 63, b"pong"))
        );
    }
}

#[test]
fn what_nobody_answered_is_decided_again_after_a_switch() {
    let [client, listener, _, _, new_backend] = V4;
    let mut bench = Bench::new(&shop(1));
    bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
    bench.install(&next(2));
    let there = bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
    assert_eq!(
        there,
        passed(Reason::OpenedStack, udp(client, new_backend, 64, b"ping"))
    );
}

#[test]
fn only_an_answer_makes_a_conversation() {
    let [client, listener, _, backend, _] = V4;
    let mut bench = Bench::new(&shop(1));
    let states = |bench: &mut Bench| {
        let mut states = Vec::new();
        bench
            .kernel()
            .for_each_flow(&mut |flow| states.push(flow.state))
            .unwrap();
        states
    };
    for _ in 0..10 {
        bench.run(Hook::Ingress, &udp(client, listener, 64, b"ping"));
    }
    assert_eq!(states(&mut bench), [FlowState::Pending]);
    bench.run(Hook::Egress, &udp(backend, client, 64, b"pong"));
    assert_eq!(states(&mut bench), [FlowState::Established]);
}

#[test]
fn tcp_and_udp_on_one_port_are_two() {
    let mut bench = Bench::new(&shop(1));
    let datagram = udp("203.0.113.7:40000", "198.51.100.10:80", 64, b"ping");
    assert_eq!(
        bench.run(Hook::Ingress, &datagram),
        passed(Reason::NoListener, datagram.clone())
    );
}
