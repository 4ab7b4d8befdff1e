//! How flows end, and what cannot end them (I8, RFC 5961).

use switcher_ebpf::reason::Reason;
use switcher_user::image::{ImagePlan, Path};
use switcher_user::kernel::FlowState;

use crate::bench::{Bench, Hook, alias, backend, passed, shop};
use crate::frames::{Tcp, tcp};
use crate::handshakes::handshake;

const CLIENT: &str = "203.0.113.7:40000";
const LISTENER: &str = "198.51.100.10:80";
const BACKEND: &str = "10.1.0.2:8080";

fn from_client(flags: &'static str, seq: u32, ack: u32) -> Tcp {
    tcp(CLIENT, LISTENER, flags).seq(seq).ack(ack)
}

fn from_backend(flags: &'static str, seq: u32, ack: u32) -> Tcp {
    tcp(BACKEND, CLIENT, flags).seq(seq).ack(ack)
}

fn state(bench: &mut Bench) -> FlowState {
    let mut states = Vec::new();
    bench
        .kernel()
        .for_each_flow(&mut |flow| states.push(flow.state))
        .unwrap();
    assert_eq!(states.len(), 1, "{states:?}");
    states[0]
}

fn client(bench: &mut Bench, packet: &Tcp) {
    bench.run(Hook::Ingress, &packet.frame());
}

fn server(bench: &mut Bench, packet: &Tcp) {
    bench.run(Hook::Egress, &packet.frame());
}

#[test]
fn fins_of_both_sides_end_a_flow() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    client(&mut bench, &from_client("A", 1_001, 7_001).payload(b"0123456789"));
    client(&mut bench, &from_client("FA", 1_011, 7_001));
    assert_eq!(state(&mut bench), FlowState::Established);
    server(&mut bench, &from_backend("FA", 7_001, 1_012));
    // The backend may have to send its last bytes again: it must not be stopped yet.
    assert_eq!(state(&mut bench), FlowState::Established);
    client(&mut bench, &from_client("A", 1_012, 7_002));
    assert_eq!(state(&mut bench), FlowState::Closing);
    assert_eq!(bench.counters(10).flows_finished, 1);
    // The last ACK, and a FIN that is sent again, still find their way.
    let last = from_client("A", 1_012, 7_002);
    let outcome = bench.run(Hook::Ingress, &last.frame());
    assert_eq!(outcome, passed(Reason::ForwardStack, last.sent_to(BACKEND).frame()));
    server(&mut bench, &from_backend("FA", 7_001, 1_012));
    assert_eq!(bench.counters(10).flows_finished, 1);
}

#[test]
fn a_clients_fin_at_a_wrong_number_ends_nothing() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    client(&mut bench, &from_client("FA", 900_000, 7_001));
    server(&mut bench, &from_backend("FA", 7_001, 1_001));
    client(&mut bench, &from_client("A", 1_001, 7_002));
    assert_eq!(state(&mut bench), FlowState::Established);
}

#[test]
fn a_clients_fin_that_overtook_its_data_counts_when_it_is_acknowledged() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    client(&mut bench, &from_client("FA", 1_011, 7_001));
    client(&mut bench, &from_client("A", 1_001, 7_001).payload(b"0123456789"));
    server(&mut bench, &from_backend("A", 7_001, 1_012));
    server(&mut bench, &from_backend("FA", 7_001, 1_012));
    client(&mut bench, &from_client("A", 1_012, 7_002));
    assert_eq!(state(&mut bench), FlowState::Closing);
}

#[test]
fn a_half_closed_flow_lives_until_its_last_byte_is_acknowledged() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    client(&mut bench, &from_client("FA", 1_001, 7_001));
    server(&mut bench, &from_backend("A", 7_001, 1_002).payload(&[1; 1_000]));
    server(&mut bench, &from_backend("FA", 8_001, 1_002));
    assert_eq!(state(&mut bench), FlowState::Established);
    client(&mut bench, &from_client("A", 1_002, 8_001));
    assert_eq!(state(&mut bench), FlowState::Established);
    client(&mut bench, &from_client("A", 1_002, 8_002));
    assert_eq!(state(&mut bench), FlowState::Closing);
}

#[test]
fn a_forged_reset_of_the_backends_side_ends_nothing() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    for seq in [0, 7_000, 7_002, 9_000, 0x8000_0000] {
        server(&mut bench, &from_backend("R", seq, 0));
        server(&mut bench, &from_backend("RA", seq, 999));
        assert_eq!(state(&mut bench), FlowState::Established, "seq {seq}");
    }
}

#[test]
fn a_bypass_reply_counts_only_behind_the_backends_own_veth() {
    // Test runs come in by the loopback, index 1; the backend is said to be behind another device.
    let elsewhere = vec![backend(3, "10.1.0.3", 80, Path::Bypass { ifindex: 999_999 })];
    let plan = ImagePlan {
        epoch: 1,
        aliases: vec![alias(2, &["198.51.100.11:80/tcp"], 20, elsewhere)],
    };
    let bench = Bench::new(&plan);
    let forged = tcp("10.1.0.3:80", CLIENT, "RA").seq(0).ack(1_001);
    let native = bench.run_native_only(&tcp(CLIENT, "198.51.100.11:80", "S").frame(), &forged.frame());
    assert_eq!(native, Reason::OtherHook);
}

#[test]
fn a_reset_of_a_handshake_that_answers_nothing_leaves_it_pending() {
    let mut bench = Bench::new(&shop(1));
    client(&mut bench, &tcp(CLIENT, LISTENER, "S"));
    server(&mut bench, &from_backend("SA", 7_000, 1_001));
    server(&mut bench, &from_backend("R", 0, 0));
    assert_eq!(state(&mut bench), FlowState::Pending);
    client(&mut bench, &from_client("A", 1_001, 7_001));
    assert_eq!(state(&mut bench), FlowState::Established);
}

#[test]
fn a_clients_reset_counts_at_the_number_that_comes_next() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    for seq in [0, 1_000, 1_002, 5_000, 0x8000_0000, u32::MAX] {
        client(&mut bench, &from_client("R", seq, 0));
        assert_eq!(state(&mut bench), FlowState::Established, "seq {seq}");
    }
    client(&mut bench, &from_client("R", 1_001, 0));
    assert_eq!(state(&mut bench), FlowState::Closing);
    assert_eq!(bench.counters(10).flows_reset_by_client, 1);
}

#[test]
fn forged_data_does_not_teach_a_forged_reset() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    client(&mut bench, &from_client("A", 50_000, 7_001).payload(b"forged"));
    client(&mut bench, &from_client("R", 50_006, 0));
    assert_eq!(state(&mut bench), FlowState::Established);
}

#[test]
fn a_backends_reset_ends_a_flow() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    server(&mut bench, &from_backend("R", 7_001, 0));
    assert_eq!(state(&mut bench), FlowState::Closing);
    assert_eq!(bench.counters(10).flows_reset_by_backend, 1);
}

#[test]
fn a_refused_handshake_is_counted_and_its_next_syn_decided_again() {
    let mut bench = Bench::new(&shop(1));
    client(&mut bench, &tcp(CLIENT, LISTENER, "S"));
    server(&mut bench, &from_backend("RA", 0, 1_001));
    assert_eq!(state(&mut bench), FlowState::Closing);
    assert_eq!(bench.counters(10).flows_refused, 1);
    let again = tcp(CLIENT, LISTENER, "S").seq(80_000);
    let outcome = bench.run(Hook::Ingress, &again.frame());
    assert_eq!(outcome, passed(Reason::OpenedStack, again.sent_to(BACKEND).frame()));
    assert_eq!(bench.counters(10).flows_opened, 2);
}

#[test]
fn sequence_numbers_wrap() {
    let mut bench = Bench::new(&shop(1));
    client(&mut bench, &tcp(CLIENT, LISTENER, "S").seq(u32::MAX));
    server(&mut bench, &from_backend("SA", u32::MAX, 0));
    client(&mut bench, &from_client("A", 0, 0));
    assert_eq!(state(&mut bench), FlowState::Established);
    client(&mut bench, &from_client("FA", 0, 0));
    server(&mut bench, &from_backend("FA", 0, 1));
    client(&mut bench, &from_client("A", 1, 1));
    assert_eq!(state(&mut bench), FlowState::Closing);
}

#[test]
fn sequence_numbers_wrap_within_the_data() {
    let mut bench = Bench::new(&shop(1));
    let (first, last) = (u32::MAX - 4, 5);
    client(&mut bench, &tcp(CLIENT, LISTENER, "S").seq(first - 1));
    server(&mut bench, &from_backend("SA", 6_999, first));
    client(&mut bench, &from_client("A", first, 7_000));
    client(&mut bench, &from_client("A", first, 7_000).payload(b"0123456789"));
    client(&mut bench, &from_client("FA", last, 7_000));
    server(&mut bench, &from_backend("FA", 7_000, last + 1));
    client(&mut bench, &from_client("A", last + 1, 7_001));
    assert_eq!(state(&mut bench), FlowState::Closing);
}
