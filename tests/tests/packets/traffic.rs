//! What each flow carried, and since when.

use std::time::Duration;

use switcher_user::kernel::{FlowFigures, FlowState, FlowView};

use crate::bench::{Bench, Hook, shop};
use crate::frames::{Tcp, tcp};

const LISTENER: &str = "198.51.100.10:80";
const BACKEND: &str = "10.1.0.2:8080";
const CLIENT: &str = "203.0.113.7:40000";
const OTHER: &str = "203.0.113.8:40000";
/// Headers of a packet without options.
const HEADERS: u64 = 40;

fn flow(bench: &mut Bench, client: &str) -> FlowView {
    let mut found = Vec::new();
    let mut keep = |flow: FlowView| {
        if flow.client.to_string() == client && !flow.expired {
            found.push(flow);
        }
    };
    bench.kernel().for_each_flow(&mut keep).unwrap();
    assert_eq!(found.len(), 1, "{client} has one flow");
    found[0]
}

fn begin(bench: &mut Bench, client: &str) {
    bench.run(Hook::Ingress, &tcp(client, LISTENER, "S").frame());
    bench.run(Hook::Egress, &tcp(BACKEND, client, "SA").seq(7_000).ack(1_001).frame());
    bench.run(Hook::Ingress, &tcp(client, LISTENER, "A").seq(1_001).ack(7_001).frame());
}

fn data(from: &str, to: &str, seq: u32, ack: u32, bytes: usize) -> Tcp {
    tcp(from, to, "A").seq(seq).ack(ack).payload(&vec![7; bytes])
}

#[test]
fn a_flow_knows_what_it_carried_across_its_promotion() {
    let mut bench = Bench::new(&shop(1));
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").frame());
    let pending = flow(&mut bench, CLIENT);
    assert_eq!(pending.state, FlowState::Pending);
    assert_eq!((pending.traffic.packets_in, pending.traffic.bytes_in), (1, HEADERS));
    bench.run(Hook::Egress, &tcp(BACKEND, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).frame());
    // The other flow's packets are none of this one's.
    begin(&mut bench, OTHER);
    bench.run(Hook::Ingress, &data(CLIENT, LISTENER, 1_001, 7_001, 100).frame());
    bench.run(Hook::Egress, &data(BACKEND, CLIENT, 7_001, 1_101, 1_000).frame());
    bench.run(Hook::Egress, &data(BACKEND, CLIENT, 8_001, 1_101, 300).frame());
    let carried = FlowFigures {
        packets_in: 3,
        bytes_in: 3 * HEADERS + 100,
        packets_out: 3,
        bytes_out: 3 * HEADERS + 1_300,
    };
    let established = flow(&mut bench, CLIENT);
    assert_eq!(
        (established.state, established.traffic),
        (FlowState::Established, carried)
    );
    let idle = FlowFigures {
        packets_in: 2,
        bytes_in: 2 * HEADERS,
        packets_out: 1,
        bytes_out: HEADERS,
    };
    assert_eq!(flow(&mut bench, OTHER).traffic, idle);
    // Together they are the set's.
    let set = bench.counters(10);
    assert_eq!(
        (set.packets_in, set.bytes_in, set.packets_out, set.bytes_out),
        (5, 5 * HEADERS + 100, 4, 4 * HEADERS + 1_300)
    );
}

#[test]
fn a_flows_age_is_that_of_its_first_packet() {
    let mut bench = Bench::new(&shop(1));
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").frame());
    std::thread::sleep(Duration::from_millis(300));
    bench.run(Hook::Egress, &tcp(BACKEND, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).frame());
    let first = flow(&mut bench, CLIENT);
    assert!(first.age >= Duration::from_millis(300), "{:?}", first.age);
    assert!(first.age > first.idle, "{first:?}");
    begin(&mut bench, OTHER);
    let younger = flow(&mut bench, OTHER);
    assert!(
        younger.age + Duration::from_millis(300) <= flow(&mut bench, CLIENT).age,
        "{younger:?}"
    );
}

#[test]
fn a_client_that_begins_anew_begins_at_nothing() {
    let mut bench = Bench::new(&shop(1));
    begin(&mut bench, CLIENT);
    bench.run(Hook::Ingress, &data(CLIENT, LISTENER, 1_001, 7_001, 500).frame());
    // The client gives up and begins anew on the same ports.
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "R").seq(1_501).frame());
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "S").seq(90_000).frame());
    let anew = flow_in(&mut bench, FlowState::Pending);
    assert_eq!((anew.traffic.packets_in, anew.traffic.bytes_in), (1, HEADERS));
    assert_eq!(anew.traffic.packets_out, 0);
}

fn flow_in(bench: &mut Bench, state: FlowState) -> FlowView {
    let mut found = None;
    let mut keep = |flow: FlowView| found = (flow.state == state).then_some(flow).or(found);
    bench.kernel().for_each_flow(&mut keep).unwrap();
    found.expect("there is one")
}
