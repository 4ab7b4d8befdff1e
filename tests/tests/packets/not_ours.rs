//! Invariant I7: what is not ours passes untouched, byte for byte.

use switcher_ebpf::reason::Reason;

use crate::bench::{Bench, Hook, passed, shop};
use crate::frames::tcp;

const CLIENT: &str = "203.0.113.7:40000";

fn untouched(bench: &mut Bench, frame: &[u8], reason: Reason) {
    assert_eq!(bench.run(Hook::Ingress, frame), passed(reason, frame.to_vec()));
}

#[test]
fn packets_that_open_nothing_pass() {
    let mut bench = Bench::new(&shop(1));
    for flags in ["A", "SA", "R", "RA", "FA", "SF", "SR", ""] {
        untouched(
            &mut bench,
            &tcp(CLIENT, "198.51.100.10:80", flags).frame(),
            Reason::NoFlow,
        );
        untouched(
            &mut bench,
            &tcp("[2001:db8:9::7]:4000", "[2001:db8::10]:80", flags).frame(),
            Reason::NoFlow,
        );
    }
}

#[test]
fn a_syn_elsewhere_passes() {
    let mut bench = Bench::new(&shop(1));
    for to in ["198.51.100.10:81", "198.51.100.99:80", "10.1.0.2:8080"] {
        untouched(&mut bench, &tcp(CLIENT, to, "S").frame(), Reason::NoListener);
    }
    untouched(
        &mut bench,
        &tcp(CLIENT, "198.51.100.13:80", "S").frame(),
        Reason::NoShare,
    );
}

#[test]
fn other_protocols_pass() {
    let mut bench = Bench::new(&shop(1));
    let mut sctp = tcp(CLIENT, "198.51.100.10:80", "S").frame();
    sctp[14 + 9] = 132;
    untouched(&mut bench, &sctp, Reason::NotCarried);
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    untouched(&mut bench, &arp, Reason::NotIp);
}

#[test]
fn fragments_pass() {
    let mut bench = Bench::new(&shop(1));
    for word in [0x2000_u16, 0x0001, 0x2010] {
        let mut fragment = tcp(CLIENT, "198.51.100.10:80", "S").frame();
        fragment[14 + 6..14 + 8].copy_from_slice(&word.to_be_bytes());
        untouched(&mut bench, &fragment, Reason::Fragment);
    }
    let mut fragment = tcp("[2001:db8:9::7]:4000", "[2001:db8::10]:80", "S").frame();
    fragment[14 + 6] = 44;
    untouched(&mut bench, &fragment, Reason::Fragment);
}

#[test]
fn packets_that_are_cut_short_or_contradict_themselves_pass() {
    let mut bench = Bench::new(&shop(1));
    let whole = tcp(CLIENT, "198.51.100.10:80", "S").frame();
    // The kernel itself runs no program on less than an IP header.
    for len in [34, 40, 53] {
        untouched(&mut bench, &whole[..len], Reason::Malformed);
    }
    let whole = tcp("[2001:db8:9::7]:4000", "[2001:db8::10]:80", "S").frame();
    for len in [54, 60, 73] {
        untouched(&mut bench, &whole[..len], Reason::Malformed);
    }
}

#[test]
fn headers_that_lie_about_lengths_pass() {
    let mut bench = Bench::new(&shop(1));
    let set = |at: usize, value: u8| {
        let mut frame = tcp(CLIENT, "198.51.100.10:80", "S").frame();
        frame[14 + at] = value;
        frame
    };
    untouched(&mut bench, &set(0, 0x44), Reason::Malformed);
    untouched(&mut bench, &set(0, 0x65), Reason::Malformed);
    untouched(&mut bench, &set(3, 200), Reason::Malformed);
    untouched(&mut bench, &set(20 + 12, 0x40), Reason::Malformed);
    untouched(&mut bench, &set(20 + 12, 0xf0), Reason::Malformed);
}

#[test]
fn mapped_addresses_pass() {
    let mut bench = Bench::new(&shop(1));
    let frame = tcp("[2001:db8:9::7]:4000", "[::ffff:198.51.100.10]:80", "S").frame();
    untouched(&mut bench, &frame, Reason::MappedAddress);
}

#[test]
fn frames_for_other_machines_pass() {
    let mut bench = Bench::new(&shop(1));
    for to in [[2, 0, 0, 0, 0, 9], [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]] {
        let mut frame = tcp(CLIENT, "198.51.100.10:80", "S").frame();
        frame[..6].copy_from_slice(&to);
        untouched(&mut bench, &frame, Reason::NotForHost);
    }
    assert_eq!(bench.counters(10).flows_opened, 0);
}

#[test]
fn an_ipv6_packet_that_is_still_to_be_routed_passes() {
    let mut bench = Bench::new(&shop(1));
    let mut frame = tcp("[2001:db8:9::7]:4000", "[2001:db8::10]:80", "S")
        .with_options()
        .frame();
    // The extension header becomes a routing header with one segment left.
    frame[14 + 6] = 43;
    frame[14 + 40 + 3] = 1;
    untouched(&mut bench, &frame, Reason::NotCarried);
}

#[test]
fn a_packet_that_leaves_and_is_no_reply_passes() {
    let mut bench = Bench::new(&shop(1));
    let frame = tcp("10.1.0.2:8080", CLIENT, "A").frame();
    assert_eq!(bench.run(Hook::Egress, &frame), passed(Reason::NoFlow, frame.clone()));
}
