//! Local clients: what the kernel tells of sockets in a cgroup, handed to the core, and addresses written back.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
    BPF_TCP_CLOSE, BPF_TCP_CLOSING, BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK, BPF_TCP_SYN_SENT,
    BPF_TCP_TIME_WAIT, bpf_sock, bpf_sock_addr, bpf_sock_ops,
};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, sock_ops};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext, SockContext, SockOpsContext};
use switcher_ebpf::abi::Address;
use switcher_ebpf::connect::{self, Before, Endpoint, Socket};
use switcher_ebpf::parse::{PROTOCOL_TCP, PROTOCOL_UDP};
use switcher_ebpf::waiting::{self, Asks};

use crate::maps::KernelTables;

/// What these programs always answer: the call goes on.
const GO_ON: i32 = 1;
/// The packet goes no further.
const DROP: i32 = 0;
const AF_INET: u32 = 2;

/// Reads a word of a context as one: the verifier takes no other width for most of them.
macro_rules! word {
    ($context:expr, $($field:tt)+) => {
        // SAFETY: the context is valid while the program runs.
        unsafe { (&raw const (*$context).$($field)+).read_volatile() }
    };
}

#[cgroup_sock_addr(connect4)]
pub fn switcher_connect4(ctx: SockAddrContext) -> i32 {
    let call = Call::<V4>::new(&ctx);
    call.answer(
        call.socket()
            .and_then(|socket| connect::connect(&KernelTables, &socket, &call.named())),
    )
}

#[cgroup_sock_addr(connect6)]
pub fn switcher_connect6(ctx: SockAddrContext) -> i32 {
    let call = Call::<V6>::new(&ctx);
    call.answer(
        call.socket()
            .and_then(|socket| connect::connect(&KernelTables, &socket, &call.named())),
    )
}

#[cgroup_sock_addr(sendmsg4)]
pub fn switcher_sendmsg4(ctx: SockAddrContext) -> i32 {
    let call = Call::<V4>::new(&ctx);
    call.answer(
        call.socket()
            .and_then(|socket| connect::send(&KernelTables, &socket, &call.named())),
    )
}

#[cgroup_sock_addr(sendmsg6)]
pub fn switcher_sendmsg6(ctx: SockAddrContext) -> i32 {
    let call = Call::<V6>::new(&ctx);
    call.answer(
        call.socket()
            .and_then(|socket| connect::send(&KernelTables, &socket, &call.named())),
    )
}

#[cgroup_sock_addr(recvmsg4)]
pub fn switcher_recvmsg4(ctx: SockAddrContext) -> i32 {
    let call = Call::<V4>::new(&ctx);
    call.answer(connect::receive(&KernelTables, call.cookie(), &call.named()))
}

#[cgroup_sock_addr(recvmsg6)]
pub fn switcher_recvmsg6(ctx: SockAddrContext) -> i32 {
    let call = Call::<V6>::new(&ctx);
    call.answer(connect::receive(&KernelTables, call.cookie(), &call.named()))
}

#[cgroup_sock_addr(getpeername4)]
pub fn switcher_getpeername4(ctx: SockAddrContext) -> i32 {
    let call = Call::<V4>::new(&ctx);
    call.answer(connect::peer(&KernelTables, call.cookie(), &call.named()))
}

#[cgroup_sock_addr(getpeername6)]
pub fn switcher_getpeername6(ctx: SockAddrContext) -> i32 {
    let call = Call::<V6>::new(&ctx);
    call.answer(connect::peer(&KernelTables, call.cookie(), &call.named()))
}

/// The last descriptor of a socket is closed.
#[cgroup_sock(sock_release)]
pub fn switcher_release(ctx: SockContext) -> i32 {
    let sock: *mut bpf_sock = ctx.sock;
    let protocol = word!(sock, protocol) as u8;
    // SAFETY: the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    connect::release(&KernelTables, cookie, protocol);
    GO_ON
}

/// The states of TCP.
#[sock_ops]
pub fn switcher_states(ctx: SockOpsContext) -> u32 {
    let ops: *mut bpf_sock_ops = ctx.ops;
    // SAFETY: the program's own context.
    let cookie = || unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    match word!(ops, op) {
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            if connect::handshake(&KernelTables, cookie(), &local(ops)) {
                let flags = word!(ops, bpf_sock_ops_cb_flags) | BPF_SOCK_OPS_STATE_CB_FLAG;
                let _ = ctx.set_cb_flags(flags as i32);
            }
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connect::established(&KernelTables, cookie()),
        BPF_SOCK_OPS_STATE_CB if word!(ops, __bindgen_anon_1.args[1]) == BPF_TCP_CLOSE => {
            let before = match word!(ops, __bindgen_anon_1.args[0]) {
                BPF_TCP_SYN_SENT => Before::Handshake,
                BPF_TCP_FIN_WAIT1 => Before::Closing,
                BPF_TCP_FIN_WAIT2 | BPF_TCP_CLOSING | BPF_TCP_LAST_ACK | BPF_TCP_TIME_WAIT => Before::Closed,
                _ => Before::Open,
            };
            connect::closed(&KernelTables, cookie(), before, word!(ops, total_retrans));
        }
        _ => {}
    }
    GO_ON as u32
}

/// What leaves the sockets of the cgroup, while an alias is held.
#[cgroup_skb(egress)]
pub fn switcher_leaves(ctx: SkBuffContext) -> i32 {
    let holds = asks(&ctx) == Asks::Open && waiting::holds(&KernelTables, packet_cookie(&ctx));
    if holds { DROP } else { GO_ON }
}

/// What comes to the sockets of the cgroup, while an alias is shielded.
#[cgroup_skb(ingress)]
pub fn switcher_arrives(ctx: SkBuffContext) -> i32 {
    let hides = asks(&ctx) == Asks::Reset && waiting::hides(&KernelTables, packet_cookie(&ctx));
    if hides { DROP } else { GO_ON }
}

#[inline(always)]
fn asks(ctx: &SkBuffContext) -> Asks {
    waiting::asks(|at| ctx.load::<u8>(at as usize).ok())
}

/// The cookie of the socket that a packet is of.
#[inline(always)]
fn packet_cookie(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the program's own context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn local(ops: *mut bpf_sock_ops) -> Endpoint {
    // All are read before one is chosen: from two branches the compiler makes one read at a computed place of the context,
    // which the verifier refuses.
    let v4 = word!(ops, local_ip4);
    let v6 = Address([
        word!(ops, local_ip6[0]),
        word!(ops, local_ip6[1]),
        word!(ops, local_ip6[2]),
        word!(ops, local_ip6[3]),
    ]);
    let is_v4 = word!(ops, family) == AF_INET;
    let address = if is_v4 { Address::v4(v4.to_ne_bytes()) } else { v6 };
    Endpoint {
        address,
        // This one, alone, is in the host's byte order.
        port: (word!(ops, local_port) as u16).to_be(),
    }
}

/// A call that names an address, which the program may change.
struct Call<F> {
    context: *mut bpf_sock_addr,
    family: core::marker::PhantomData<F>,
}

/// Where the address is, by the family of the call.
trait Family {
    fn address(context: *mut bpf_sock_addr) -> Address;
    fn set_address(context: *mut bpf_sock_addr, address: &Address);
}

struct V4;
struct V6;

impl Family for V4 {
    #[inline(always)]
    fn address(context: *mut bpf_sock_addr) -> Address {
        Address::v4(word!(context, user_ip4).to_ne_bytes())
    }

    #[inline(always)]
    fn set_address(context: *mut bpf_sock_addr, address: &Address) {
        // SAFETY: the context is valid while the program runs, and this field may be written.
        unsafe { (&raw mut (*context).user_ip4).write_volatile(address.0[3]) };
    }
}

impl Family for V6 {
    #[inline(always)]
    fn address(context: *mut bpf_sock_addr) -> Address {
        Address([
            word!(context, user_ip6[0]),
            word!(context, user_ip6[1]),
            word!(context, user_ip6[2]),
            word!(context, user_ip6[3]),
        ])
    }

    #[inline(always)]
    fn set_address(context: *mut bpf_sock_addr, address: &Address) {
        // SAFETY: the context is valid while the program runs, and this field may be written, a word at a time.
        unsafe {
            (&raw mut (*context).user_ip6[0]).write_volatile(address.0[0]);
            (&raw mut (*context).user_ip6[1]).write_volatile(address.0[1]);
            (&raw mut (*context).user_ip6[2]).write_volatile(address.0[2]);
            (&raw mut (*context).user_ip6[3]).write_volatile(address.0[3]);
        }
    }
}

impl<F: Family> Call<F> {
    #[inline(always)]
    fn new(ctx: &SockAddrContext) -> Self {
        Self {
            context: ctx.sock_addr,
            family: core::marker::PhantomData,
        }
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the program's own context.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    /// The socket, where Switcher carries its protocol.
    #[inline(always)]
    fn socket(&self) -> Option<Socket> {
        let protocol = word!(self.context, protocol);
        if protocol != PROTOCOL_TCP as u32 && protocol != PROTOCOL_UDP as u32 {
            return None;
        }
        Some(Socket {
            cookie: self.cookie(),
            // SAFETY: the program's own context.
            netns: unsafe { bpf_get_netns_cookie(self.context.cast()) },
            protocol: protocol as u8,
        })
    }

    /// The address that the call names.
    #[inline(always)]
    fn named(&self) -> Endpoint {
        Endpoint {
            address: F::address(self.context),
            port: word!(self.context, user_port) as u16,
        }
    }

    /// Puts another address in its place, or leaves it.
    #[inline(always)]
    fn answer(&self, instead: Option<Endpoint>) -> i32 {
        if let Some(instead) = instead {
            F::set_address(self.context, &instead.address);
            // SAFETY: the context is valid while the program runs, and this field may be written.
            unsafe { (&raw mut (*self.context).user_port).write_volatile(instead.port as u32) };
        }
        GO_ON
    }
}
