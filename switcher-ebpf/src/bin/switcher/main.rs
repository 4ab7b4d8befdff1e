//! The BPF programs: entry points that hand each packet to the core and carry out what it decides.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "compare-and-swap and fetch-and-add exist on this target as intrinsics only"
)]
// The crate's lint table denies `unsafe`; here and in the accessor files it is what a BPF program is made of.
#![allow(unsafe_code)]
#![allow(missing_docs, reason = "the macros' own items have none")]

mod cgroup;
mod inject;
mod maps;
mod redirect;
mod skb;
mod socket;
mod xdp;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use switcher_ebpf::decide::{self, Action, Verdict};
use switcher_ebpf::deferred::Deferred;
use switcher_ebpf::driver;
use switcher_ebpf::reason::Reason;
use switcher_ebpf::socket as socket_path;

use crate::maps::{KernelTables, XdpPlace};
use crate::skb::SkbPacket;
use crate::xdp::XdpPacket;

/// What comes in by an interface.
///
/// Inlined into the entry point that the macro makes, as the other one: before Linux 6.10 a chain of calls may use 512
/// bytes of stack in all, and each call costs 32 of them at least.
#[classifier]
#[inline(always)]
pub fn switcher_ingress(ctx: TcContext) -> i32 {
    let mut packet = SkbPacket::new(&ctx);
    let verdict = decide::ingress(&mut packet, &KernelTables);
    if verdict.action == Action::ToSocketProgram {
        // Comes back only where it fails.
        maps::call_socket_program(&ctx);
    }
    let (reason, code) = carry_out(&ctx, &verdict);
    maps::count(reason);
    code
}

/// What the ingress program found to be of the socket path.
#[classifier]
#[inline(always)]
pub fn switcher_socket(ctx: TcContext) -> i32 {
    let mut packet = SkbPacket::new(&ctx);
    let verdict = socket_path::ingress(&mut packet, &KernelTables);
    maps::count(verdict.reason);
    match verdict.action {
        Action::Pass => TC_ACT_UNSPEC,
        // A RST, small enough for any route, goes back where its SYN came in: no look-up, for want of stack.
        Action::ToRoute { ifindex } => redirect::to_neighbour(ifindex),
        _ => TC_ACT_SHOT,
    }
}

/// What comes in by an interface, in its driver. What it rewrites goes on to the stack, or is sent on.
#[xdp(frags)]
#[inline(always)]
pub fn switcher_xdp(ctx: XdpContext) -> u32 {
    let mut packet = Deferred::new(XdpPacket::new(&ctx), XdpPlace);
    let verdict = decide::ingress(&mut packet, &KernelTables);
    match verdict.action {
        Action::ToReplyProgram => maps::call_driver_program(&ctx, maps::REPLY),
        // Counted there.
        Action::ToRoute { .. } => packet.note_send(verdict.reason),
        _ => {}
    }
    if !matches!(verdict.action, Action::ToRoute { .. }) {
        maps::count(verdict.reason);
    }
    if verdict.action == Action::Drop {
        return XDP_DROP;
    }
    // From here on all packets are alike: the verifier walks this once, and not once for each verdict.
    if packet.finish().is_err() {
        maps::count(Reason::RewriteFailed);
        return XDP_DROP;
    }
    if maps::to_send().is_some() {
        maps::call_driver_program(&ctx, maps::SEND);
        // Comes here only where it is missing.
        maps::count(Reason::BypassNoRoute);
    }
    XDP_PASS
}

/// A client's packet of the driver path, rewritten.
#[xdp(frags)]
#[inline(always)]
pub fn switcher_send(ctx: XdpContext) -> u32 {
    let verdict = driver::send(&mut XdpPacket::new(&ctx));
    let reason = match verdict.action {
        Action::ToRoute { .. } => maps::to_send().unwrap_or(Reason::ForwardBypass as u32),
        _ => verdict.reason as u32,
    };
    maps::count_number(reason);
    send_on(&ctx, verdict.action)
}

/// A backend's packet of the driver path.
#[xdp(frags)]
#[inline(always)]
pub fn switcher_reply(ctx: XdpContext) -> u32 {
    let mut packet = Deferred::new(XdpPacket::new(&ctx), XdpPlace);
    let verdict = driver::reply(&mut packet, &KernelTables);
    maps::count(verdict.reason);
    if packet.finish().is_err() {
        maps::count(Reason::RewriteFailed);
        return XDP_DROP;
    }
    send_on(&ctx, verdict.action)
}

#[inline(always)]
fn send_on(ctx: &XdpContext, action: Action) -> u32 {
    match action {
        Action::Pass => XDP_PASS,
        Action::ToRoute { .. } => xdp::depart(ctx).unwrap_or(XDP_DROP),
        _ => XDP_DROP,
    }
}

/// What leaves by an interface. Only what is rewritten here is counted here: the rest was counted where it came in.
#[classifier]
#[inline(always)]
pub fn switcher_egress(ctx: TcContext) -> i32 {
    let mut packet = SkbPacket::new(&ctx);
    let verdict = decide::egress(&mut packet, &KernelTables);
    match verdict.reason {
        Reason::ReplyStack | Reason::ReplySocket | Reason::IcmpError | Reason::RewriteFailed | Reason::Shielded => {
            maps::count(verdict.reason)
        }
        _ => {}
    }
    match verdict.action {
        Action::Drop => TC_ACT_SHOT,
        _ => TC_ACT_UNSPEC,
    }
}

/// What the agent sends in the name of a flow's end.
#[classifier]
#[inline(always)]
pub fn switcher_inject(ctx: TcContext) -> i32 {
    inject::inject(&ctx)
}

/// `TC_ACT_UNSPEC` lets other programs on the same hook see what passes.
#[inline(always)]
fn carry_out(ctx: &TcContext, verdict: &Verdict) -> (Reason, i32) {
    let outcome = match verdict.action {
        // The second is of XDP alone.
        Action::Pass | Action::ToReplyProgram => Ok(TC_ACT_UNSPEC),
        Action::Drop | Action::ToSocketProgram => Ok(TC_ACT_SHOT),
        Action::ToPeer { ifindex } => redirect::to_peer(ctx, ifindex),
        Action::ToRoute { ifindex } => redirect::to_route(ctx, ifindex),
    };
    match outcome {
        Ok(code) => (verdict.reason, code),
        Err(reason) => (reason, TC_ACT_UNSPEC),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that are used are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
