//! Packets of the agent's own: what it needs to end a flow. This program is attached nowhere; the agent runs it, a packet a
//! run, and the copy that it makes takes the way of any other packet, through the programs that are attached.

use core::mem::{MaybeUninit, size_of};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_F_INGRESS, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup as FibLookup};
use aya_ebpf::helpers::{bpf_clone_redirect, bpf_fib_lookup, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;
use switcher_ebpf::abi::{INJECT_FAILED, INJECT_NO_NEIGHBOUR, INJECT_RECEIVED};

use crate::redirect::load_addresses;

/// Word 0 of the context's control block is an interface; word 1 says whether the packet comes in by it, or leaves.
#[inline(always)]
pub fn inject(ctx: &TcContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let (ifindex, way) = unsafe { ((*ctx.skb.skb).cb[0], (*ctx.skb.skb).cb[1]) };
    let flags = if way == INJECT_RECEIVED {
        BPF_F_INGRESS as u64
    } else {
        0
    };
    if way != INJECT_RECEIVED && to_neighbour(ctx, ifindex).is_none() {
        return INJECT_NO_NEIGHBOUR;
    }
    // SAFETY: the context and plain numbers.
    match unsafe { bpf_clone_redirect(ctx.skb.skb, ifindex, flags) } {
        0 => 0,
        _ => INJECT_FAILED,
    }
}

/// Writes both link-layer addresses; `None`: the neighbour's is not known.
#[inline(always)]
fn to_neighbour(ctx: &TcContext, ifindex: u32) -> Option<()> {
    let mut words = [const { MaybeUninit::<u64>::uninit() }; size_of::<FibLookup>() / 8];
    for word in &mut words {
        // SAFETY: our own array; see `redirect::to_route`.
        unsafe { word.as_mut_ptr().write_volatile(0) };
    }
    // SAFETY: of the same size, less aligned, and all zeroes are a valid value of this plain C struct.
    let route = unsafe { &mut *words.as_mut_ptr().cast::<FibLookup>() };
    load_addresses(ctx, route).ok()?;
    route.ifindex = ifindex;
    // SAFETY: the context and a buffer of the size that is told; the link-layer addresses in it are what it filled in.
    unsafe {
        let flags = BPF_FIB_LOOKUP_OUTPUT as u32;
        let found = bpf_fib_lookup(ctx.as_ptr(), route, size_of::<FibLookup>() as i32, flags);
        if found != BPF_FIB_LKUP_RET_SUCCESS as i64 {
            return None;
        }
        let skb = ctx.skb.skb;
        let theirs = bpf_skb_store_bytes(skb, 0, route.dmac.as_ptr().cast(), 6, 0);
        let own = bpf_skb_store_bytes(skb, 6, route.smac.as_ptr().cast(), 6, 0);
        (theirs == 0 && own == 0).then_some(())
    }
}
