//! ICMP errors find the one who sent what they quote, in words that it knows. They change no flow.

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};
use switcher_ebpf::reason::Reason;

use crate::bench::{Bench, Hook, Outcome, passed, redirected, shop};
use crate::frames::{Tcp, tcp};

const ROUTER_V4: &str = "192.0.2.1";
const ROUTER_V6: &str = "2001:db8:ff::1";

/// Bytes that an error quotes of a packet: the IP header and eight bytes, or the IPv6 header and twenty.
const QUOTED_V4: usize = 28;
const QUOTED_V6: usize = 60;

/// "Fragmentation needed" or "packet too big" from `reporter` to `to`, about `sent`, after `hops` routers.
pub fn too_big(reporter: &str, to: &str, sent: &Tcp, hops: u8) -> Vec<u8> {
    let quoted = &sent.frame()[14..];
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [0; 6]);
    let mut frame = Vec::new();
    if sent.from.is_ipv4() {
        let (from, to): (std::net::Ipv4Addr, std::net::Ipv4Addr) = (reporter.parse().unwrap(), to.parse().unwrap());
        let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1_400 };
        ethernet
            .ipv4(from.octets(), to.octets(), 64 - hops)
            .icmpv4(Icmpv4Type::DestinationUnreachable(kind))
            .write(&mut frame, &quoted[..QUOTED_V4])
            .unwrap();
    } else {
        let (from, to): (std::net::Ipv6Addr, std::net::Ipv6Addr) = (reporter.parse().unwrap(), to.parse().unwrap());
        ethernet
            .ipv6(from.octets(), to.octets(), 64 - hops)
            .icmpv6(Icmpv6Type::PacketTooBig { mtu: 1_400 })
            .write(&mut frame, &quoted[..QUOTED_V6])
            .unwrap();
    }
    frame
}

/// What differs in the quoted transport checksum is left: it quotes what was never sent in these words, and nobody checks.
fn same_but_for_the_quoted_sum(got: &Outcome, expected: &Outcome) {
    assert_eq!((got.reason, got.code), (expected.reason, expected.code));
    assert_eq!(got.frame.len(), expected.frame.len());
    let v6 = got.frame[12..14] == [0x86, 0xdd];
    let quoted_sum = if v6 { 14 + 40 + 8 + 40 + 16 } else { usize::MAX - 2 };
    let own_sum = if v6 { 14 + 40 + 2 } else { usize::MAX - 2 };
    for (at, (a, b)) in got.frame.iter().zip(&expected.frame).enumerate() {
        let free = (quoted_sum..quoted_sum + 2).contains(&at) || (own_sum..own_sum + 2).contains(&at);
        assert!(free || a == b, "byte {at}: {a:#x}, expected {b:#x}");
    }
    assert!(!v6 || icmpv6_sum_holds(&got.frame), "ICMPv6 checksum");
}

fn icmpv6_sum_holds(frame: &[u8]) -> bool {
    let packet = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    let Some(etherparse::TransportSlice::Icmpv6(icmp)) = packet.transport else {
        return false;
    };
    let Some(etherparse::NetSlice::Ipv6(ip)) = packet.net else {
        return false;
    };
    icmp.is_checksum_valid(ip.header().source(), ip.header().destination())
}

struct Site {
    client: &'static str,
    client_address: &'static str,
    listener: &'static str,
    listener_address: &'static str,
    backend: &'static str,
    backend_address: &'static str,
    router: &'static str,
}

const STACK_V4: Site = Site {
    client: "203.0.113.7:40000",
    client_address: "203.0.113.7",
    listener: "198.51.100.10:80",
    listener_address: "198.51.100.10",
    backend: "10.1.0.2:8080",
    backend_address: "10.1.0.2",
    router: ROUTER_V4,
};
const STACK_V6: Site = Site {
    client: "[2001:db8:9::7]:40000",
    client_address: "2001:db8:9::7",
    listener: "[2001:db8::10]:80",
    listener_address: "2001:db8::10",
    backend: "[fd00::2]:8080",
    backend_address: "fd00::2",
    router: ROUTER_V6,
};
const BYPASS_V4: Site = Site {
    listener: "198.51.100.11:80",
    listener_address: "198.51.100.11",
    backend: "10.1.0.3:80",
    backend_address: "10.1.0.3",
    ..STACK_V4
};
const BYPASS_V6: Site = Site {
    listener: "[2001:db8::11]:80",
    listener_address: "2001:db8::11",
    backend: "[fd00::3]:80",
    backend_address: "fd00::3",
    ..STACK_V6
};

impl Site {
    fn bench(&self) -> Bench {
        let mut bench = Bench::new(&shop(1));
        bench.run(Hook::Ingress, &tcp(self.client, self.listener, "S").frame());
        bench
    }

    /// A router on the client's side could not pass on what the listener seemed to send.
    fn about_a_reply(&self) -> (Vec<u8>, Tcp) {
        let seen = tcp(self.listener, self.client, "A").payload(&[1; 100]);
        (
            too_big(self.router, self.listener_address, &seen, 0),
            tcp(self.backend, self.client, "A").payload(&[1; 100]),
        )
    }

    /// A router on the backend's side could not pass on what the client sent.
    fn about_a_request(&self, reporter: &str) -> (Vec<u8>, Tcp) {
        let seen = tcp(self.client, self.backend, "A").payload(&[1; 100]);
        (
            too_big(reporter, self.client_address, &seen, 0),
            tcp(self.client, self.listener, "A").payload(&[1; 100]),
        )
    }
}

#[test]
fn an_error_about_a_reply_finds_the_backend_by_the_stack() {
    for site in [STACK_V4, STACK_V6] {
        let (error, sent) = site.about_a_reply();
        let expected = too_big(site.router, site.backend_address, &sent, 0);
        let got = site.bench().run(Hook::Ingress, &error);
        same_but_for_the_quoted_sum(&got, &passed(Reason::IcmpError, expected));
    }
}

#[test]
fn an_error_about_a_reply_finds_the_backend_by_the_bypass() {
    for site in [BYPASS_V4, BYPASS_V6] {
        let (error, sent) = site.about_a_reply();
        let expected = too_big(site.router, site.backend_address, &sent, 1);
        let got = site.bench().run(Hook::Ingress, &error);
        same_but_for_the_quoted_sum(&got, &redirected(Reason::IcmpError, expected));
    }
}

#[test]
fn an_error_about_a_request_is_translated_where_it_leaves() {
    for site in [STACK_V4, STACK_V6, BYPASS_V4, BYPASS_V6] {
        let mut bench = site.bench();
        let (error, sent) = site.about_a_request(site.router);
        let expected = too_big(site.router, site.client_address, &sent, 0);
        same_but_for_the_quoted_sum(&bench.run(Hook::Egress, &error), &passed(Reason::IcmpError, expected));
        // From the backend itself: the client is to know the listener only.
        let (error, sent) = site.about_a_request(site.backend_address);
        let expected = too_big(site.listener_address, site.client_address, &sent, 0);
        same_but_for_the_quoted_sum(&bench.run(Hook::Egress, &error), &passed(Reason::IcmpError, expected));
    }
}

#[test]
fn an_error_about_a_request_that_comes_in_from_the_backend() {
    for (site, bypass) in [
        (STACK_V4, false),
        (STACK_V6, false),
        (BYPASS_V4, true),
        (BYPASS_V6, true),
    ] {
        let (error, sent) = site.about_a_request(site.backend_address);
        let got = site.bench().run(Hook::Ingress, &error);
        if bypass {
            let expected = too_big(site.listener_address, site.client_address, &sent, 1);
            same_but_for_the_quoted_sum(&got, &redirected(Reason::IcmpError, expected));
        } else {
            assert_eq!(got, passed(Reason::OtherHook, error));
        }
    }
}

#[test]
fn errors_about_others_pass() {
    let mut bench = STACK_V4.bench();
    let other = tcp("198.51.100.10:80", "203.0.113.7:40001", "A").payload(&[1; 100]);
    let error = too_big(ROUTER_V4, "198.51.100.10", &other, 0);
    assert_eq!(bench.run(Hook::Ingress, &error), passed(Reason::NoFlow, error.clone()));
    let mut echo = Vec::new();
    PacketBuilder::ethernet2([2; 6], [0; 6])
        .ipv4([192, 0, 2, 1], [198, 51, 100, 10], 64)
        .icmpv4_echo_request(1, 2)
        .write(&mut echo, b"ping")
        .unwrap();
    assert_eq!(
        bench.run(Hook::Ingress, &echo),
        passed(Reason::NotCarried, echo.clone())
    );
}

#[test]
fn an_error_that_quotes_too_little_passes() {
    let mut bench = STACK_V4.bench();
    let (error, _) = STACK_V4.about_a_reply();
    for len in [14 + 20 + 2, 14 + 20 + 8 + 10, 14 + 20 + 8 + 22] {
        let mut short = error[..len].to_vec();
        short[16..18].copy_from_slice(&(len as u16 - 14).to_be_bytes());
        assert_eq!(
            bench.run(Hook::Ingress, &short),
            passed(Reason::Malformed, short.clone()),
            "{len} bytes"
        );
    }
}
