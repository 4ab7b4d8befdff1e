//! What opens a flow, what keeps it, and what cannot move it (I2, I3, I8).

use std::time::{Duration, Instant};

use switcher_ebpf::reason::Reason;
use switcher_user::image::{ImagePlan, Path};
use switcher_user::kernel::{FlowState, SetCounters};
use switcher_user::model::Failure;

use crate::bench::{Bench, Hook, alias, backend, passed, shop};
use crate::frames::tcp;

const CLIENT: &str = "203.0.113.7:40000";
const LISTENER: &str = "198.51.100.10:80";
const V1: &str = "10.1.0.2:8080";
const V2: &str = "10.1.1.2:8080";

/// The next version: the same listener, another backend.
fn next(epoch: u64) -> ImagePlan {
    let v2 = vec![backend(9, "10.1.1.2", 8080, Path::Stack)];
    ImagePlan {
        epoch,
        aliases: vec![alias(1, &["198.51.100.10:80/tcp"], 11, v2)],
    }
}

/// A SYN, its answer, and the client's ACK: an established flow. The client's next byte is 1001, the backend's 7001.
pub fn handshake(bench: &mut Bench) {
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").frame());
    bench.run(Hook::Egress, &tcp(V1, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).frame());
}

fn states(bench: &mut Bench) -> Vec<FlowState> {
    let mut states = Vec::new();
    bench
        .kernel()
        .for_each_flow(&mut |flow| states.push(flow.state))
        .unwrap();
    states
}

fn goes_to(bench: &mut Bench, flags: &'static str, backend: &str, reason: Reason) {
    let packet = tcp(CLIENT, LISTENER, flags)
        .seq(1_001)
        .ack(if flags.contains('A') { 7_001 } else { 0 });
    let outcome = bench.run(Hook::Ingress, &packet.frame());
    assert_eq!(outcome, passed(reason, packet.sent_to(backend).frame()));
}

#[test]
fn a_handshake_is_pending_until_the_clients_right_ack() {
    let mut bench = Bench::new(&shop(1));
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").frame());
    assert_eq!(states(&mut bench), [FlowState::Pending]);
    // Before the backend has answered, and with a wrong number, an ACK completes nothing.
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(0).frame());
    bench.run(Hook::Egress, &tcp(V1, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_000).frame());
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_002).frame());
    assert_eq!(states(&mut bench), [FlowState::Pending]);
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).frame());
    assert_eq!(states(&mut bench), [FlowState::Established]);
    let counters = bench.counters(10);
    assert_eq!((counters.flows_opened, counters.flows_established), (1, 1));
    assert_eq!((counters.packets_in, counters.packets_out), (5, 1));
}

#[test]
fn an_established_flow_stays_where_it_is_across_epochs() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    for epoch in 2..6 {
        bench.install(&next(epoch));
        goes_to(&mut bench, "A", V1, Reason::ForwardStack);
        let answer = tcp(V1, CLIENT, "A").seq(7_001).ack(1_001);
        let back = bench.run(Hook::Egress, &answer.frame());
        assert_eq!(back, passed(Reason::ReplyStack, answer.sent_from(LISTENER).frame()));
    }
}

#[test]
fn a_kept_flow_outlives_its_set_and_its_listener() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    bench.install(&ImagePlan {
        epoch: 2,
        aliases: vec![],
    });
    goes_to(&mut bench, "A", V1, Reason::ForwardStack);
}

#[test]
fn a_syn_does_not_move_an_established_flow() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    bench.install(&next(2));
    goes_to(&mut bench, "S", V1, Reason::ForwardStack);
    assert_eq!(states(&mut bench), [FlowState::Established]);
    assert_eq!(bench.counters(11), SetCounters::default());
}

#[test]
fn a_repeated_syn_keeps_its_backend_within_one_epoch() {
    let mut bench = Bench::new(&shop(1));
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").frame());
    goes_to(&mut bench, "S", V1, Reason::ForwardStack);
    assert_eq!(bench.counters(10).flows_opened, 1);
}

#[test]
fn a_pending_syn_of_an_older_epoch_is_decided_again() {
    let mut bench = Bench::new(&shop(1));
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").frame());
    bench.install(&next(2));
    goes_to(&mut bench, "S", V2, Reason::OpenedStack);
    assert_eq!(bench.counters(11).flows_opened, 1);
}

#[test]
fn new_flows_follow_the_new_image() {
    let mut bench = Bench::new(&shop(1));
    bench.install(&next(2));
    goes_to(&mut bench, "S", V2, Reason::OpenedStack);
    assert_eq!(bench.counters(10), SetCounters::default());
}

/// A client of its own for each way that a handshake may go.
fn from(client: &str, flags: &'static str, ack: u32) -> Vec<u8> {
    tcp(client, LISTENER, flags)
        .seq(if flags == "S" { 1_000 } else { 1_001 })
        .ack(ack)
        .frame()
}

fn back(client: &str, flags: &'static str) -> Vec<u8> {
    tcp(V1, client, flags).seq(7_000).ack(1_001).frame()
}

#[test]
fn each_handshake_is_counted_once_however_it_ends() {
    let mut bench = Bench::new(&shop(1));
    let clients: Vec<String> = (1..=8).map(|n| format!("203.0.113.{n}:40000")).collect();
    for client in &clients {
        bench.run(Hook::Ingress, &from(client, "S", 0));
    }
    bench.run(Hook::Egress, &back(&clients[0], "SA"));
    bench.run(Hook::Ingress, &from(&clients[0], "A", 7_001));
    bench.run(Hook::Egress, &back(&clients[1], "RA"));
    bench.run(Hook::Ingress, &from(&clients[2], "R", 0));
    bench.run(Hook::Egress, &back(&clients[3], "SA"));
    bench.run(Hook::Ingress, &from(&clients[3], "R", 0));
    bench.run(Hook::Egress, &back(&clients[4], "SA"));
    bench.run(Hook::Egress, &back(&clients[4], "RA"));
    bench.run(Hook::Ingress, &from(&clients[5], "S", 0));
    let counters = bench.counters(10);
    assert_eq!((counters.flows_opened, counters.flows_established), (8, 1));
    assert_eq!((counters.flows_refused, counters.flows_reset_in_handshake), (1, 3));
    assert_eq!((counters.flows_pending, counters.syns_retransmitted), (3, 1));
    // Decided again by another image: its handshake with the first backend never completed.
    bench.install(&next(2));
    bench.run(Hook::Ingress, &from(&clients[6], "S", 0));
    let counters = bench.counters(10);
    assert_eq!((counters.flows_timed_out, counters.flows_pending), (1, 2));
    assert_eq!(counters.syns_retransmitted, 2);
    let next = bench.counters(11);
    assert_eq!((next.flows_opened, next.flows_pending, next.flows_timed_out), (1, 1, 0));
}

#[test]
fn the_record_of_a_flow_that_failed_says_how() {
    let mut bench = Bench::new(&shop(1));
    let clients: Vec<String> = (1..=6).map(|n| format!("203.0.113.{n}:40000")).collect();
    let [refused, early, late, by_backend, after, finished] = &clients[..] else {
        panic!("six clients")
    };
    for client in &clients {
        bench.run(Hook::Ingress, &from(client, "S", 0));
    }
    bench.run(Hook::Egress, &back(refused, "RA"));
    bench.run(Hook::Ingress, &from(early, "R", 0));
    for client in [late, by_backend, after, finished] {
        bench.run(Hook::Egress, &back(client, "SA"));
    }
    bench.run(Hook::Ingress, &from(late, "R", 0));
    bench.run(Hook::Egress, &back(by_backend, "RA"));
    for client in [after, finished] {
        bench.run(Hook::Ingress, &from(client, "A", 7_001));
    }
    bench.run(Hook::Egress, &tcp(V1, after, "R").seq(7_001).frame());
    bench.run(Hook::Ingress, &from(finished, "R", 0));
    let mut failures = Vec::new();
    bench
        .kernel()
        .for_each_flow(&mut |flow| failures.push((flow.client.to_string(), flow.failure)))
        .unwrap();
    failures.sort_unstable_by_key(|(client, _)| client.clone());
    let how: Vec<_> = failures.into_iter().map(|(_, how)| how).collect();
    let expected = [
        Failure::Refused,
        Failure::ResetInHandshakeByClient,
        Failure::ResetInHandshakeByClient,
        Failure::ResetInHandshakeByBackend,
        Failure::ResetByBackend,
        Failure::ResetByClient,
    ];
    assert_eq!(how, expected.map(Some));
}

/// Lets the kernel's clock go on: its programs read the machine's own.
fn wait(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn times_count_from_the_clients_first_syn_and_its_first_data() {
    let mut bench = Bench::new(&shop(1));
    let begun = Instant::now();
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").frame());
    wait(5);
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").frame());
    wait(5);
    bench.run(Hook::Egress, &tcp(V1, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    bench.run(Hook::Egress, &tcp(V1, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    wait(5);
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).frame());
    let handshake_us = begun.elapsed().as_micros() as u64;
    let asked = Instant::now();
    let data = tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).payload(b"ask");
    bench.run(Hook::Ingress, &data.frame());
    bench.run(Hook::Egress, &tcp(V1, CLIENT, "A").seq(7_001).ack(1_004).frame());
    wait(5);
    let answer = tcp(V1, CLIENT, "A").seq(7_001).ack(1_004).payload(b"answer");
    bench.run(Hook::Egress, &answer.frame());
    let reply_us = asked.elapsed().as_micros() as u64;
    wait(5);
    bench.run(Hook::Egress, &answer.frame());
    let latency = bench.counters(10).latency;
    for histogram in [latency.answer, latency.handshake, latency.first_reply] {
        assert_eq!(histogram.count(), 1, "{latency:?}");
    }
    assert!(latency.answer.sum_us >= 10_000, "{latency:?}");
    let handshake = latency.handshake.sum_us;
    assert!(
        latency.answer.sum_us + 5_000 <= handshake && handshake <= handshake_us,
        "{latency:?}"
    );
    assert!((5_000..=reply_us).contains(&latency.first_reply.sum_us), "{latency:?}");
    let bucket = (u64::BITS - handshake.leading_zeros()) as usize;
    assert_eq!(latency.handshake.buckets[bucket], 1, "{latency:?}");
    // Another set's are its own, and a number that is given away begins anew.
    assert_eq!(bench.counters(11), SetCounters::default());
    bench.kernel().clear_set_counters(10).unwrap();
    assert_eq!(bench.counters(10), SetCounters::default());
}

#[test]
fn an_image_that_nobody_installed_passes_everything() {
    let mut bench = Bench::new(&ImagePlan {
        epoch: 1,
        aliases: vec![],
    });
    let syn = tcp(CLIENT, LISTENER, "S").frame();
    assert_eq!(bench.run(Hook::Ingress, &syn), passed(Reason::NoListener, syn.clone()));
}
