//! The ways past the host's stack.

use core::mem::{MaybeUninit, size_of};

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SKIP_NEIGH,
    bpf_check_mtu_flags::BPF_MTU_CHK_SEGS, bpf_fib_lookup as FibLookup, bpf_redir_neigh,
    bpf_redir_neigh__bindgen_ty_1 as NextHop,
};
use aya_ebpf::helpers::{bpf_check_mtu, bpf_fib_lookup, bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::programs::TcContext;
use switcher_ebpf::packet::ETHERTYPE_IPV4;
use switcher_ebpf::reason::Reason;

/// IPv4.
pub const AF_INET: u8 = 2;
/// IPv6.
pub const AF_INET6: u8 = 10;
const ETHERNET_HEADER: usize = 14;
const _: () = assert!(size_of::<FibLookup>().is_multiple_of(8) && align_of::<FibLookup>() <= align_of::<u64>());

/// Into the namespace behind a veth. `Err`: the stack has to carry it, and why.
#[inline(always)]
pub fn to_peer(ctx: &TcContext, ifindex: u32) -> Result<i32, Reason> {
    fits(ctx, ifindex)?;
    // SAFETY: plain numbers.
    Ok(unsafe { bpf_redirect_peer(ifindex, 0) } as i32)
}

/// By the route to the packet's destination, with the neighbour's present address.
#[inline(always)]
pub fn to_route(ctx: &TcContext, client_ifindex: u32) -> Result<i32, Reason> {
    let mut words = [const { MaybeUninit::<u64>::uninit() }; size_of::<FibLookup>() / 8];
    for word in &mut words {
        // SAFETY: our own array. Volatile, or the compiler makes one call of `memset` of it: before Linux 6.10 a call costs 32
        // of the 512 bytes of stack, which are not left here.
        unsafe { word.as_mut_ptr().write_volatile(0) };
    }
    // SAFETY: of the same size, less aligned, and all zeroes are a valid value of this plain C struct.
    let route = unsafe { &mut *words.as_mut_ptr().cast::<FibLookup>() };
    load_addresses(ctx, route)?;
    // SAFETY: the context and a buffer of the size that is told.
    let found = unsafe {
        route.ifindex = (*ctx.skb.skb).ifindex;
        bpf_fib_lookup(
            ctx.as_ptr(),
            route,
            size_of::<FibLookup>() as i32,
            BPF_FIB_LOOKUP_SKIP_NEIGH as u32,
        )
    };
    if found == BPF_FIB_LKUP_RET_FRAG_NEEDED as i64 {
        return Err(Reason::BypassTooBig);
    }
    if found == BPF_FIB_LKUP_RET_SUCCESS as i64 || found == BPF_FIB_LKUP_RET_NO_NEIGH as i64 {
        return Ok(by_next_hop(route));
    }
    // No forwarding on this host, or a kernel without the flag: the kernel looks up the route again on that interface.
    fits(ctx, client_ifindex)?;
    Ok(to_neighbour(client_ifindex))
}

/// By the route that the kernel finds for the packet on that interface.
#[inline(always)]
pub fn to_neighbour(ifindex: u32) -> i32 {
    // SAFETY: no parameters: a null pointer and length 0, as the helper's contract says.
    unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32 }
}

#[inline(always)]
fn by_next_hop(route: &FibLookup) -> i32 {
    // SAFETY: the lookup left the next hop where the destination was; every byte of the union is initialised.
    unsafe {
        let mut hop = bpf_redir_neigh {
            nh_family: route.family as u32,
            __bindgen_anon_1: NextHop {
                ipv6_nh: route.__bindgen_anon_4.ipv6_dst,
            },
        };
        bpf_redirect_neigh(route.ifindex, &mut hop, size_of::<bpf_redir_neigh>() as i32, 0) as i32
    }
}

/// The packet's addresses, as a question for its route.
#[inline(always)]
pub fn load_addresses(ctx: &TcContext, route: &mut FibLookup) -> Result<(), Reason> {
    // SAFETY: the context is valid while the program runs.
    let ethertype = u16::from_be(unsafe { (*ctx.skb.skb).protocol } as u16);
    let broken = |_| Reason::RewriteFailed;
    if ethertype == ETHERTYPE_IPV4 {
        route.family = AF_INET;
        let addresses: [u32; 2] = ctx.load(ETHERNET_HEADER + 12).map_err(broken)?;
        route.__bindgen_anon_3.ipv4_src = addresses[0];
        route.__bindgen_anon_4.ipv4_dst = addresses[1];
    } else {
        route.family = AF_INET6;
        route.__bindgen_anon_3.ipv6_src = ctx.load(ETHERNET_HEADER + 8).map_err(broken)?;
        route.__bindgen_anon_4.ipv6_dst = ctx.load(ETHERNET_HEADER + 24).map_err(broken)?;
    }
    Ok(())
}

/// A device that is gone does not fit either: redirecting there would lose the packet in silence.
#[inline(always)]
fn fits(ctx: &TcContext, ifindex: u32) -> Result<(), Reason> {
    let mut mtu = 0_u32;
    // SAFETY: the context and a word for the answer.
    match unsafe { bpf_check_mtu(ctx.as_ptr(), ifindex, &mut mtu, 0, BPF_MTU_CHK_SEGS as u64) } {
        0 => Ok(()),
        code if code > 0 => Err(Reason::BypassTooBig),
        _ => Err(Reason::BypassNoRoute),
    }
}
