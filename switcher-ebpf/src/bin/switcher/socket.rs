//! The host's own TCP sockets, in the network namespace of the hook's device.

use core::mem::size_of;

use aya_ebpf::bindings::{__sk_buff, BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple};
use aya_ebpf::helpers::{bpf_sk_assign, bpf_sk_release, bpf_skc_lookup_tcp};
use switcher_ebpf::packet::{Ends, SocketState};

// States of the kernel's tcp_states.h.
const TCP_TIME_WAIT: u32 = 6;
const TCP_LISTEN: u32 = 10;
const TCP_NEW_SYN_RECV: u32 = 12;

/// The first two members of `bpf_sock_tuple`, without the union around them.
#[repr(C)]
struct TupleV4 {
    source: u32,
    destination: u32,
    ports: [u16; 2],
}

#[repr(C)]
struct TupleV6 {
    source: [u32; 4],
    destination: [u32; 4],
    ports: [u16; 2],
}

/// What TCP has under a ends.
#[inline(always)]
pub fn state(skb: *mut __sk_buff, ends: Ends<'_>) -> SocketState {
    let socket = look_up(skb, ends);
    if socket.is_null() {
        return SocketState::Nothing;
    }
    // SAFETY: the verifier tracks the reference, which is given back once; `state` is there for sockets of any kind.
    let state = unsafe {
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        state
    };
    match state {
        TCP_LISTEN => SocketState::Nothing,
        TCP_NEW_SYN_RECV => SocketState::Handshake,
        TCP_TIME_WAIT => SocketState::Ended,
        _ => SocketState::Connection,
    }
}

/// Gives the packet to the socket that listens for the ends.
#[inline(always)]
pub fn assign_listener(skb: *mut __sk_buff, ends: Ends<'_>) -> bool {
    let socket = look_up(skb, ends);
    if socket.is_null() {
        return false;
    }
    // SAFETY: as above; the packet keeps a reference of its own.
    unsafe {
        let is_assigned = (*socket).state == TCP_LISTEN && bpf_sk_assign(skb.cast(), socket.cast(), 0) == 0;
        bpf_sk_release(socket.cast());
        is_assigned
    }
}

/// A reference to a socket of any kind, or null.
#[inline(always)]
fn look_up(skb: *mut __sk_buff, ends: Ends<'_>) -> *mut bpf_sock {
    let ports = [ends.source_port, ends.destination_port];
    // SAFETY: the tuple is one of the two shapes that the helper knows, and its size says which.
    unsafe {
        if ends.destination.is_v4() {
            let mut tuple = TupleV4 {
                source: ends.source.0[3],
                destination: ends.destination.0[3],
                ports,
            };
            look_up_tuple(skb, (&raw mut tuple).cast(), size_of::<TupleV4>() as u32)
        } else {
            let mut tuple = TupleV6 {
                source: ends.source.0,
                destination: ends.destination.0,
                ports,
            };
            look_up_tuple(skb, (&raw mut tuple).cast(), size_of::<TupleV6>() as u32)
        }
    }
}

#[inline(always)]
unsafe fn look_up_tuple(skb: *mut __sk_buff, tuple: *mut bpf_sock_tuple, size: u32) -> *mut bpf_sock {
    // SAFETY: the caller's tuple has that size.
    unsafe { bpf_skc_lookup_tcp(skb.cast(), tuple, size, BPF_F_CURRENT_NETNS as u64, 0) }
}
