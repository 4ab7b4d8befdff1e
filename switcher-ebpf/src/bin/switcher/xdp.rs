//! A frame at the XDP hook as a packet. Reads and writes go through helpers, which cope with frames in several pieces.

use core::mem::{MaybeUninit, size_of};

use aya_ebpf::bindings::xdp_action::XDP_TX;
use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibLookup, xdp_md};
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_fib_lookup, bpf_redirect, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use switcher_ebpf::abi::XdpDevice;
use switcher_ebpf::deferred::{Place as _, Sums};
use switcher_ebpf::driver::{Route, Sendable};
use switcher_ebpf::packet::{Covers, Ends, Packet, PacketError, SocketState, TransportSum};
use switcher_ebpf::reason::Reason;
use switcher_ebpf::sum::updated;

use crate::maps::{self, Scratch, XdpPlace};
use crate::redirect::{AF_INET, AF_INET6};

/// The agent attaches to Ethernet devices only.
const ETHERNET_HEADER: u32 = 14;
const ETHERTYPE_OFFSET: u32 = 12;
const PIECE: u32 = size_of::<Scratch>() as u32;
/// Whole pieces of the largest packet.
const PIECES_MAX: u32 = 0x1_0000 / PIECE;

/// A frame as the driver has it.
pub struct XdpPacket {
    ctx: *mut xdp_md,
}

impl XdpPacket {
    /// The frame that the program runs for.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx }
    }

    /// Adds up one piece; `len` is 1 to [`PIECE`].
    #[inline(always)]
    fn add_piece(&self, scratch: *mut Scratch, offset: u32, len: u32, seed: u32) -> Option<u32> {
        // SAFETY: the helper writes `len` bytes into room for that many, or fails.
        if unsafe { bpf_xdp_load_bytes(self.ctx, offset, scratch.cast(), len) } != 0 {
            return None;
        }
        let words = ((len - 1) & (PIECE - 4)) + 4;
        // SAFETY: the helper reads so many bytes of the same room.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, scratch.cast(), words, seed) };
        u32::try_from(sum).ok()
    }
}

impl Sums for XdpPacket {
    #[inline(always)]
    fn sum(&self, offset: u32, len: u32) -> Option<u32> {
        let scratch = maps::scratch()?;
        let (mut at, mut left, mut sum) = (offset, len, 0);
        for _ in 0..PIECES_MAX {
            if left < PIECE {
                break;
            }
            sum = self.add_piece(scratch, at, PIECE, sum)?;
            at += PIECE;
            left -= PIECE;
        }
        if left >= PIECE {
            return None;
        }
        // SAFETY: our own word. Volatile, or the compiler leaves out the bound, which the verifier asks for.
        let left = unsafe { (&raw const left).read_volatile() } & (PIECE - 1);
        if left == 0 {
            return Some(sum);
        }
        // What does not fill a word is filled with zeroes.
        // SAFETY: `left` is 1 to 511, so the index is 0 to 127.
        unsafe { scratch.cast::<u32>().add(((left - 1) / 4) as usize).write(0) };
        self.add_piece(scratch, at, left, sum)
    }

    #[inline(always)]
    fn sum_words(&self, offset: u32, len: u32) -> Option<u32> {
        self.add_piece(maps::scratch()?, offset, len, 0)
    }
}

impl Sendable for XdpPacket {
    /// By the host's routes and neighbours, to a driver that takes part.
    #[inline(always)]
    fn find_way(&mut self, route: Route<'_>) -> Result<(), Reason> {
        // Not each driver that sends on takes a frame in several pieces.
        // SAFETY: the context is valid while the program runs.
        let in_one_piece = unsafe { (*self.ctx).data_end.wrapping_sub((*self.ctx).data) };
        if in_one_piece != self.byte_count() {
            return Err(Reason::BypassTooBig);
        }
        let way = maps::way().ok_or(Reason::BypassNoRoute)?;
        // SAFETY: this CPU's own room, of the size and alignment of this plain C struct, for which all zeroes are a value.
        let found = unsafe {
            way.write_bytes(0, 1);
            (*way).ifindex = self.ifindex();
            (*way).__bindgen_anon_1.tot_len = route.bytes as u16;
            if route.is_v4 {
                (*way).family = AF_INET;
                (*way).__bindgen_anon_3.ipv4_src = route.source.0[3];
                (*way).__bindgen_anon_4.ipv4_dst = route.destination.0[3];
            } else {
                (*way).family = AF_INET6;
                (*way).__bindgen_anon_3.ipv6_src = route.source.0;
                (*way).__bindgen_anon_4.ipv6_dst = route.destination.0;
            }
            bpf_fib_lookup(self.ctx.cast(), way, size_of::<FibLookup>() as i32, 0)
        };
        if found == BPF_FIB_LKUP_RET_FRAG_NEEDED as i64 {
            return Err(Reason::BypassTooBig);
        }
        // SAFETY: as above.
        let ifindex = unsafe { (*way).ifindex };
        let takes_part = XdpPlace.device(ifindex).is_some_and(XdpDevice::sends_on);
        if found == BPF_FIB_LKUP_RET_SUCCESS as i64 && takes_part {
            Ok(())
        } else {
            Err(Reason::BypassNoRoute)
        }
    }
}

/// Sends the frame by the way that was found for it.
#[inline(always)]
pub fn depart(ctx: &XdpContext) -> Option<u32> {
    let way = maps::way()?;
    // SAFETY: this CPU's own room; the helper reads 12 bytes of it, where both addresses lie side by side.
    unsafe {
        let addresses = [(*way).dmac, (*way).smac];
        let failed = bpf_xdp_store_bytes(
            ctx.ctx,
            0,
            addresses.as_ptr().cast_mut().cast(),
            size_of_val(&addresses) as u32,
        );
        if failed != 0 {
            return None;
        }
        if (*way).ifindex == (*ctx.ctx).ingress_ifindex {
            return Some(XDP_TX);
        }
        Some(bpf_redirect((*way).ifindex, 0) as u32)
    }
}

impl Packet for XdpPacket {
    const CAN_BYPASS: bool = false;
    const IS_DRIVER: bool = true;

    /// What it is told by comes from the agent: see `Deferred`.
    #[inline(always)]
    fn sends_on(&self) -> bool {
        false
    }

    #[inline(always)]
    fn ethertype(&self) -> u16 {
        self.load(ETHERTYPE_OFFSET).map_or(0, u16::from_be_bytes)
    }

    /// What it is told by comes from the agent: see `Deferred`.
    #[inline(always)]
    fn is_for_host(&self) -> bool {
        true
    }

    /// A tag stands in the bytes here, and its EtherType is none of ours. One that the driver took off is not seen: the agent
    /// does not attach where something on this host would take it.
    #[inline(always)]
    fn is_vlan_tagged(&self) -> bool {
        false
    }

    #[inline(always)]
    fn l3_offset(&self) -> u32 {
        ETHERNET_HEADER
    }

    #[inline(always)]
    fn byte_count(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as u32 }
    }

    /// Large packets are put together after this hook, and taken apart before it.
    #[inline(always)]
    fn wire_segments(&self) -> u32 {
        1
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// Asked for a bypass only, which this hook has not.
    #[inline(always)]
    fn fits(&self, _: u32) -> bool {
        false
    }

    /// Asked by the socket path only, which this hook has not.
    #[inline(always)]
    fn socket(&self, _: Ends<'_>) -> SocketState {
        SocketState::Nothing
    }

    #[inline(always)]
    fn assign_listener(&mut self, _: Ends<'_>) -> bool {
        false
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes N bytes or fails; the verifier knows the buffer's size.
        unsafe {
            let failed = bpf_xdp_load_bytes(self.ctx, offset, bytes.as_mut_ptr().cast(), N as u32);
            if failed == 0 { Some(bytes.assume_init()) } else { None }
        }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError> {
        // SAFETY: the helper reads N bytes of the buffer.
        match unsafe { bpf_xdp_store_bytes(self.ctx, offset, bytes.as_ptr().cast_mut().cast(), N as u32) } {
            0 => Ok(()),
            _ => Err(PacketError),
        }
    }

    #[inline(always)]
    fn store_uncovered<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError> {
        self.store(offset, bytes)
    }

    #[inline(always)]
    fn add_to_header_sum(&mut self, offset: u32, difference: u32) -> Result<(), PacketError> {
        let old = u16::from_ne_bytes(self.load(offset).ok_or(PacketError)?);
        self.store(offset, &updated(old, difference as u64).to_ne_bytes())
    }

    /// `Deferred` does this.
    #[inline(always)]
    fn add_to_transport_sum(&mut self, sum: TransportSum, difference: u32, _: Covers) -> Result<(), PacketError> {
        let old = u16::from_ne_bytes(self.load(sum.offset).ok_or(PacketError)?);
        self.store(sum.offset, &updated(old, difference as u64).to_ne_bytes())
    }
}
