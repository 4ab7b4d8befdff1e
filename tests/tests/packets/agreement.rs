//! Where XDP does by the stack what TC does past it, and how the two are still the same.

use switcher_ebpf::native::MemoryPacket;
use switcher_ebpf::parse::{Content, parse};
use switcher_ebpf::reason::Reason;
use switcher_ebpf::rewrite;

use crate::pair::{LOOPBACK, Outcome};

/// The table of differences: what TC says, and what XDP may say instead. All else must be the same.
const BY_THE_STACK: [(Reason, &[Reason]); 5] = [
    (Reason::OpenedBypass, &[Reason::OpenedStack]),
    (Reason::ForwardBypass, &[Reason::ForwardStack]),
    (Reason::ReplyBypass, &[Reason::OtherHook]),
    // The stack counts the hop, so nothing ends here yet.
    (
        Reason::BypassTtl,
        &[Reason::OpenedStack, Reason::ForwardStack, Reason::OtherHook],
    ),
    (Reason::IcmpError, &[Reason::IcmpError, Reason::OtherHook]),
];

/// Compares what TC and XDP made of one packet. `leave` sends a packet out behind XDP, as the stack does.
pub fn check(sent: &[u8], tc: &Outcome, xdp: &Outcome, leave: &mut dyn FnMut(&[u8]) -> Outcome) {
    // A backend's reply that TC took past the stack, or kept from the client, is XDP's no sooner than where it leaves.
    if xdp.reason == Reason::OtherHook && tc.reason != Reason::OtherHook {
        assert_eq!((xdp.code, xdp.frame.as_slice()), ("pass", sent), "TC: {tc:?}");
        if tc.reason != Reason::BypassTtl {
            same_by_the_stack(tc, &leave(sent));
        }
    } else {
        same_by_the_stack(tc, xdp);
    }
}

fn same_by_the_stack(tc: &Outcome, xdp: &Outcome) {
    let says = |reason| reason == tc.reason || (reason == Reason::ReplyStack && tc.reason == Reason::ReplyBypass);
    let may = BY_THE_STACK
        .iter()
        .find(|(of, _)| *of == tc.reason)
        .is_some_and(|(_, may)| may.contains(&xdp.reason));
    assert!(says(xdp.reason) || may, "XDP says {:?}, TC {:?}", xdp.reason, tc.reason);
    if tc.code == "drop" {
        assert_eq!(xdp.code, "drop", "TC: {:?}", tc.reason);
    } else if tc.code == "redirect" {
        assert_eq!(
            (xdp.code, hop(&xdp.frame)),
            ("pass", tc.frame.clone()),
            "TC: {:?}",
            tc.reason
        );
    } else {
        assert_eq!((xdp.code, &xdp.frame), ("pass", &tc.frame), "TC: {:?}", tc.reason);
    }
}

/// The packet after one more router: the host's stack, which TC went past.
fn hop(frame: &[u8]) -> Vec<u8> {
    let mut packet = MemoryPacket::new(frame.to_vec(), LOOPBACK);
    let (layout, ttl) = match parse(&packet).unwrap() {
        Content::Segment(parsed) => (parsed.layout, parsed.ttl),
        Content::Error(error) => (error.layout, error.ttl),
    };
    rewrite::count_hop(&mut packet, &layout, ttl).unwrap();
    packet.bytes
}
