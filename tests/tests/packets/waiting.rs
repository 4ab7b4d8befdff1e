//! What holds new flows back, and what keeps refusals from clients; each ends by itself (I4).

use std::time::Duration;

use switcher_ebpf::reason::Reason;
use switcher_user::image::{ImagePlan, Path};
use switcher_user::kernel::{Datapath, FlowState};

use crate::bench::{Bench, Hook, Outcome, alias, backend, passed, shop};
use crate::frames::{Tcp, tcp};
use crate::handshakes::handshake;
use crate::icmp::too_big;

const CLIENT: &str = "203.0.113.7:40000";
const LISTENER: &str = "198.51.100.10:80";
const FIRST: &str = "10.1.0.2:8080";
const FAST: &str = "198.51.100.11:80";

/// The shop, with what `change` does to its first alias (stack) and its second (bypass).
fn changed(epoch: u64, change: impl Fn(&mut switcher_user::image::AliasPlan)) -> ImagePlan {
    let mut plan = shop(epoch);
    plan.aliases[..2].iter_mut().for_each(change);
    plan
}

fn held_until(epoch: u64, until_ns: u64) -> ImagePlan {
    changed(epoch, |alias| alias.hold_until_ns = until_ns)
}

fn in_seconds(seconds: u64) -> u64 {
    Datapath::now_ns() + seconds * 1_000_000_000
}

fn dropped(outcome: &Outcome, reason: Reason) {
    assert_eq!((outcome.code, outcome.reason), ("drop", reason));
}

fn syn(bench: &mut Bench, to: &str) -> Outcome {
    bench.run(Hook::Ingress, &tcp(CLIENT, to, "S").frame())
}

fn states(bench: &mut Bench) -> Vec<FlowState> {
    let mut states = Vec::new();
    bench
        .kernel()
        .for_each_flow(&mut |flow| states.push(flow.state))
        .unwrap();
    states
}

#[test]
fn a_held_alias_drops_new_flows_and_no_others() {
    let mut bench = Bench::new(&shop(1));
    handshake(&mut bench);
    bench.install(&held_until(2, in_seconds(60)));
    // Who is connected stays so, and another alias is not concerned.
    let data = tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).payload(b"more");
    let outcome = bench.run(Hook::Ingress, &data.frame());
    assert_eq!(outcome, passed(Reason::ForwardStack, data.sent_to(FIRST).frame()));
    assert_eq!(syn(&mut bench, "198.51.100.12:80").reason, Reason::OpenedStack);
    let new = tcp("203.0.113.8:40000", LISTENER, "S").frame();
    dropped(&bench.run(Hook::Ingress, &new), Reason::Held);
    dropped(&bench.run(Hook::Ingress, &new), Reason::Held);
    let counters = bench.counters(10);
    assert_eq!((counters.syns_held, counters.flows_opened), (2, 1));
    assert_eq!(bench.counters(20).syns_held, 0);
    // The client sends it once more, after the release.
    bench.install(&shop(3));
    assert_eq!(bench.run(Hook::Ingress, &new).reason, Reason::OpenedStack);
}

#[test]
fn a_hold_ends_at_its_deadline_without_an_agent() {
    let mut bench = Bench::new(&shop(1));
    let until = in_seconds(2);
    bench.install(&held_until(2, until));
    dropped(&syn(&mut bench, LISTENER), Reason::Held);
    std::thread::sleep(Duration::from_nanos(until.saturating_sub(Datapath::now_ns())));
    assert_eq!(syn(&mut bench, LISTENER).reason, Reason::OpenedStack);
}

#[test]
fn a_handshake_that_had_begun_completes_while_its_alias_is_held() {
    let mut bench = Bench::new(&shop(1));
    syn(&mut bench, LISTENER);
    bench.install(&held_until(2, in_seconds(60)));
    dropped(&syn(&mut bench, LISTENER), Reason::Held);
    bench.run(Hook::Egress, &tcp(FIRST, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).frame());
    assert_eq!(states(&mut bench), [FlowState::Established]);
}

/// `web` shielded, with these backends.
fn shielded(epoch: u64, backends: &[&str]) -> ImagePlan {
    let backends = backends
        .iter()
        .zip(1..)
        .map(|(address, id)| backend(id, address, 8080, Path::Stack))
        .collect();
    let mut web = alias(1, &["198.51.100.10:80/tcp"], 10, backends);
    web.shield = true;
    ImagePlan {
        epoch,
        aliases: vec![web],
    }
}

fn refusal(backend: &str) -> Tcp {
    tcp(backend, CLIENT, "RA").seq(0).ack(1_001)
}

/// Where the SYN went.
fn backend_of(outcome: &Outcome, among: &[&'static str]) -> &'static str {
    assert_eq!(outcome.reason, Reason::OpenedStack);
    let sent_to = |address: &&&'static str| tcp(CLIENT, LISTENER, "S").sent_to(address).frame() == outcome.frame;
    among.iter().find(sent_to).expect("it goes to one of the backends")
}

#[test]
fn a_refusal_behind_the_shield_is_not_shown_and_the_next_syn_goes_elsewhere() {
    const TWO: [&str; 2] = ["10.1.0.2:8080", "10.1.1.2:8080"];
    let mut bench = Bench::new(&shielded(1, &["10.1.0.2", "10.1.1.2"]));
    let first = syn(&mut bench, LISTENER);
    let first = backend_of(&first, &TWO);
    dropped(&bench.run(Hook::Egress, &refusal(first).frame()), Reason::Shielded);
    // A copy of the refusal is not shown either.
    dropped(&bench.run(Hook::Egress, &refusal(first).frame()), Reason::Shielded);
    let second = syn(&mut bench, LISTENER);
    let second = backend_of(&second, &TWO);
    assert_ne!(first, second);
    bench.run(Hook::Egress, &tcp(second, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    bench.run(Hook::Ingress, &tcp(CLIENT, LISTENER, "A").seq(1_001).ack(7_001).frame());
    let counters = bench.counters(10);
    assert_eq!((counters.flows_opened, counters.flows_established), (2, 1));
    assert_eq!((counters.flows_refused, counters.refusals_hidden), (1, 2));
    assert_eq!((counters.flows_waited, counters.flows_timed_out), (1, 0));
}

#[test]
fn an_only_backend_behind_the_shield_is_tried_again() {
    let mut bench = Bench::new(&shielded(1, &["10.1.0.2"]));
    syn(&mut bench, LISTENER);
    for _ in 0..3 {
        dropped(&bench.run(Hook::Egress, &refusal(FIRST).frame()), Reason::Shielded);
        backend_of(&syn(&mut bench, LISTENER), &[FIRST]);
    }
    // One that only does not answer keeps its flow.
    assert_eq!(syn(&mut bench, LISTENER).reason, Reason::ForwardStack);
    assert_eq!(bench.counters(10).flows_opened, 4);
}

#[test]
fn a_syn_that_nobody_answers_goes_elsewhere_behind_the_shield_only() {
    const TWO: [&str; 2] = ["10.1.0.2:8080", "10.1.1.2:8080"];
    let mut plan = shielded(1, &["10.1.0.2", "10.1.1.2"]);
    let mut bench = Bench::new(&plan);
    let (first, second) = (syn(&mut bench, LISTENER), syn(&mut bench, LISTENER));
    assert_ne!(backend_of(&first, &TWO), backend_of(&second, &TWO));
    plan.aliases[0].shield = false;
    let mut bench = Bench::new(&plan);
    syn(&mut bench, LISTENER);
    assert_eq!(syn(&mut bench, LISTENER).reason, Reason::ForwardStack);
}

#[test]
fn a_shield_that_has_lasted_its_time_shows_refusals() {
    let bench = Bench::new(&shielded(1, &["10.1.0.2"]));
    let begun = Datapath::now_ns();
    let open = tcp(CLIENT, LISTENER, "S").frame();
    assert_eq!(bench.run_native_at(begun, Hook::Ingress, &open), Reason::OpenedStack);
    // Each try counts from the client's first SYN, not from its own.
    for second in [1, 9, 19] {
        let now = begun + second * 1_000_000_000;
        assert_eq!(
            bench.run_native_at(now, Hook::Egress, &refusal(FIRST).frame()),
            Reason::Shielded
        );
        assert_eq!(bench.run_native_at(now, Hook::Ingress, &open), Reason::OpenedStack);
    }
    let over = begun + 21_000_000_000;
    assert_eq!(
        bench.run_native_at(over, Hook::Egress, &refusal(FIRST).frame()),
        Reason::ReplyStack
    );
}

#[test]
fn the_shield_is_for_handshakes_only() {
    let mut bench = Bench::new(&shielded(1, &["10.1.0.2"]));
    handshake(&mut bench);
    let reset = tcp(FIRST, CLIENT, "R").seq(7_001);
    let outcome = bench.run(Hook::Egress, &reset.frame());
    assert_eq!(outcome, passed(Reason::ReplyStack, reset.sent_from(LISTENER).frame()));
    assert_eq!(bench.counters(10).refusals_hidden, 0);
}

#[test]
fn without_a_shield_a_refusal_is_shown() {
    let mut bench = Bench::new(&changed(1, |alias| alias.shield = alias.id == 2));
    syn(&mut bench, LISTENER);
    let outcome = bench.run(Hook::Egress, &refusal(FIRST).frame());
    assert_eq!(
        outcome,
        passed(Reason::ReplyStack, refusal(FIRST).sent_from(LISTENER).frame())
    );
    // On the bypass path it comes in by the backend's veth.
    syn(&mut bench, FAST);
    let refusal = tcp("10.1.0.3:80", CLIENT, "RA").seq(0).ack(1_001).frame();
    dropped(&bench.run(Hook::Ingress, &refusal), Reason::Shielded);
}

#[test]
fn an_icmp_error_about_an_unanswered_syn_is_not_shown_behind_the_shield() {
    let mut bench = Bench::new(&shielded(1, &["10.1.0.2"]));
    syn(&mut bench, LISTENER);
    let about = |sent: &Tcp| too_big("10.1.0.2", "203.0.113.7", sent, 0);
    let sent = tcp(CLIENT, FIRST, "S");
    dropped(&bench.run(Hook::Egress, &about(&sent)), Reason::Shielded);
    assert_eq!(states(&mut bench), [FlowState::Pending], "anybody can send one");
    // Once the backend has answered, errors are the client's to know.
    bench.run(Hook::Egress, &tcp(FIRST, CLIENT, "SA").seq(7_000).ack(1_001).frame());
    assert_eq!(bench.run(Hook::Egress, &about(&sent)).reason, Reason::IcmpError);
}
