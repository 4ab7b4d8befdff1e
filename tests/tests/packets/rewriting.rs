//! Addresses, ports, TTL and checksums, there and back.

use switcher_ebpf::reason::Reason;

use crate::bench::{Bench, Hook, passed, redirected, shop};
use crate::frames::{Tcp, tcp};

const V4: &str = "203.0.113.7:40000";
const V6: &str = "[2001:db8:9::7]:40000";

fn stack_there_and_back(request: Tcp, listener: &str, backend: &str) {
    let mut bench = Bench::new(&shop(1));
    let client = request.from.to_string();
    let there = bench.run(Hook::Ingress, &request.frame());
    assert_eq!(
        there,
        passed(Reason::OpenedStack, request.clone().sent_to(backend).frame())
    );
    let mut answer = tcp(backend, &client, "SA").seq(7_000).ack(request.seq.wrapping_add(1));
    answer.with_options = request.with_options;
    // On the stack path the reply is the egress hook's; at ingress it passes untouched.
    assert_eq!(
        bench.run(Hook::Ingress, &answer.frame()),
        passed(Reason::OtherHook, answer.frame())
    );
    let back = bench.run(Hook::Egress, &answer.frame());
    assert_eq!(back, passed(Reason::ReplyStack, answer.sent_from(listener).frame()));
}

fn bypass_there_and_back(request: Tcp, listener: &str, backend: &str) {
    let mut bench = Bench::new(&shop(1));
    let client = request.from.to_string();
    let there = bench.run(Hook::Ingress, &request.frame());
    assert_eq!(
        there,
        redirected(Reason::OpenedBypass, request.clone().sent_to(backend).hop().frame())
    );
    let answer = tcp(backend, &client, "SA").seq(7_000).ack(request.seq.wrapping_add(1));
    let back = bench.run(Hook::Ingress, &answer.frame());
    assert_eq!(
        back,
        redirected(Reason::ReplyBypass, answer.sent_from(listener).hop().frame())
    );
}

#[test]
fn stack_ipv4() {
    stack_there_and_back(tcp(V4, "198.51.100.10:80", "S"), "198.51.100.10:80", "10.1.0.2:8080");
}

#[test]
fn stack_ipv4_with_options() {
    stack_there_and_back(
        tcp(V4, "198.51.100.10:80", "S").with_options(),
        "198.51.100.10:80",
        "10.1.0.2:8080",
    );
}

#[test]
fn stack_ipv6() {
    stack_there_and_back(tcp(V6, "[2001:db8::10]:80", "S"), "[2001:db8::10]:80", "[fd00::2]:8080");
}

#[test]
fn stack_ipv6_with_extension_header() {
    stack_there_and_back(
        tcp(V6, "[2001:db8::10]:80", "S").with_options(),
        "[2001:db8::10]:80",
        "[fd00::2]:8080",
    );
}

#[test]
fn bypass_ipv4_keeps_the_listeners_port() {
    bypass_there_and_back(tcp(V4, "198.51.100.11:80", "S"), "198.51.100.11:80", "10.1.0.3:80");
}

#[test]
fn bypass_ipv6_keeps_the_listeners_port() {
    bypass_there_and_back(tcp(V6, "[2001:db8::11]:80", "S"), "[2001:db8::11]:80", "[fd00::3]:80");
}

#[test]
fn a_packet_whose_time_to_live_ends_goes_to_the_stack() {
    let mut bench = Bench::new(&shop(1));
    let request = tcp(V4, "198.51.100.11:80", "S").ttl(1);
    let outcome = bench.run(Hook::Ingress, &request.frame());
    assert_eq!(
        outcome,
        passed(Reason::BypassTtl, request.sent_to("10.1.0.3:80").frame())
    );
}

/// The stack's answer is to find the backend, so the reply is left as the backend sent it.
#[test]
fn a_reply_whose_time_to_live_ends_goes_to_the_stack_untouched() {
    let mut bench = Bench::new(&shop(1));
    bench.run(Hook::Ingress, &tcp(V4, "198.51.100.11:80", "S").frame());
    let answer = tcp("10.1.0.3:80", V4, "SA").ack(1_001).ttl(1).frame();
    assert_eq!(
        bench.run(Hook::Ingress, &answer),
        passed(Reason::BypassTtl, answer.clone())
    );
}

#[test]
fn payload_of_odd_and_even_length_keeps_its_checksum() {
    let mut bench = Bench::new(&shop(1));
    bench.run(Hook::Ingress, &tcp(V4, "198.51.100.10:80", "S").frame());
    for payload in [&b""[..], b"a", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 999]] {
        let packet = tcp(V4, "198.51.100.10:80", "A").seq(1_001).payload(payload);
        let outcome = bench.run(Hook::Ingress, &packet.frame());
        assert_eq!(
            outcome,
            passed(Reason::ForwardStack, packet.sent_to("10.1.0.2:8080").frame())
        );
    }
}

#[test]
fn a_short_frame_keeps_its_padding() {
    let mut bench = Bench::new(&shop(1));
    let syn = tcp(V4, "198.51.100.10:80", "S");
    let padded = |packet: &Tcp| {
        let mut frame = packet.frame();
        frame.resize(60, 0);
        frame
    };
    let outcome = bench.run(Hook::Ingress, &padded(&syn));
    assert_eq!(
        outcome,
        passed(Reason::OpenedStack, padded(&syn.sent_to("10.1.0.2:8080")))
    );
    assert_eq!(bench.counters(10).bytes_in, 40);
}

#[test]
fn two_aliases_on_one_backend_get_different_source_ports() {
    let mut bench = Bench::new(&shop(1));
    let first = bench.run(Hook::Ingress, &tcp(V4, "198.51.100.10:80", "S").frame());
    let second = bench.run(Hook::Ingress, &tcp(V4, "198.51.100.12:80", "S").frame());
    assert_eq!(second.reason, Reason::OpenedStack);
    let port = |frame: &[u8]| u16::from_be_bytes([frame[34], frame[35]]);
    assert_eq!(port(&first.frame), 40_000);
    let stand_in = port(&second.frame);
    assert!(stand_in >= 32_768 && stand_in != 40_000, "{stand_in}");
    let shown = format!("203.0.113.7:{stand_in}");
    let expected = tcp(V4, "198.51.100.12:80", "S")
        .sent_from(&shown)
        .sent_to("10.1.0.2:8080");
    assert_eq!(second.frame, expected.frame());
    let answer = tcp("10.1.0.2:8080", &shown, "SA").ack(1_001);
    let back = bench.run(Hook::Egress, &answer.frame());
    assert_eq!(
        back,
        passed(
            Reason::ReplyStack,
            answer.sent_from("198.51.100.12:80").sent_to(V4).frame()
        )
    );
}
