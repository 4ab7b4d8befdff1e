//! A socket buffer as a packet. Reads and writes go through helpers, which cope with paged data and shared headers.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_MARK_MANGLED_0;
use aya_ebpf::bindings::BPF_F_RECOMPUTE_CSUM;
use aya_ebpf::bindings::bpf_check_mtu_flags::BPF_MTU_CHK_SEGS;
use aya_ebpf::bindings::{__sk_buff, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::{
    bpf_check_mtu, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use core::mem::MaybeUninit;
use switcher_ebpf::packet::{Covers, Ends, Packet, PacketError, SocketState, TransportSum};

use crate::socket;

/// Of the kernel's if_packet.h: for this host.
const PACKET_HOST: u32 = 0;
/// The agent attaches to Ethernet devices only.
const ETHERNET_HEADER: u32 = 14;

/// `BPF_F_IPV6` where the kernel has it (6.16): without it the helper spoils the sum that hardware took of a whole IPv6
/// packet. Older kernels refuse the bit, so the agent sets it.
#[unsafe(no_mangle)]
static IPV6_SUM_FLAG: Global<u64> = Global::new(0);

/// A packet at a TC hook.
pub struct SkbPacket {
    skb: *mut __sk_buff,
}

impl SkbPacket {
    /// The packet that the program runs for.
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self { skb: ctx.skb.skb }
    }
}

impl Packet for SkbPacket {
    const CAN_BYPASS: bool = true;
    const IS_DRIVER: bool = false;

    #[inline(always)]
    fn sends_on(&self) -> bool {
        false
    }

    #[inline(always)]
    fn ethertype(&self) -> u16 {
        // SAFETY: the context is valid while the program runs.
        u16::from_be(unsafe { (*self.skb).protocol } as u16)
    }

    #[inline(always)]
    fn is_for_host(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.skb).pkt_type == PACKET_HOST }
    }

    #[inline(always)]
    fn is_vlan_tagged(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.skb).vlan_present != 0 }
    }

    #[inline(always)]
    fn l3_offset(&self) -> u32 {
        ETHERNET_HEADER
    }

    #[inline(always)]
    fn byte_count(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn wire_segments(&self) -> u32 {
        // SAFETY: as above.
        let (segments, size) = unsafe { ((*self.skb).gso_segs, (*self.skb).gso_size) };
        if segments != 0 {
            segments
        } else if size != 0 {
            // Some devices (virtio, tap) tell only how large each segment is.
            self.byte_count().div_ceil(size)
        } else {
            1
        }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn fits(&self, ifindex: u32) -> bool {
        let mut mtu = 0_u32;
        // SAFETY: the context and a word for the answer. A device that is gone is an error: nothing fits it.
        unsafe { bpf_check_mtu(self.skb.cast(), ifindex, &mut mtu, 0, BPF_MTU_CHK_SEGS as u64) == 0 }
    }

    #[inline(always)]
    fn socket(&self, ends: Ends<'_>) -> SocketState {
        socket::state(self.skb, ends)
    }

    #[inline(always)]
    fn assign_listener(&mut self, ends: Ends<'_>) -> bool {
        socket::assign_listener(self.skb, ends)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes N bytes or fails; the verifier knows the buffer's size.
        unsafe {
            let failed = bpf_skb_load_bytes(self.skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32);
            if failed == 0 { Some(bytes.assume_init()) } else { None }
        }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError> {
        // SAFETY: the helper reads N bytes of the buffer.
        done(unsafe { bpf_skb_store_bytes(self.skb, offset, bytes.as_ptr().cast(), N as u32, 0) })
    }

    #[inline(always)]
    fn store_uncovered<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), PacketError> {
        // SAFETY: the helper reads N bytes of the buffer. The flag keeps a sum that hardware took of the whole packet true.
        done(unsafe {
            bpf_skb_store_bytes(
                self.skb,
                offset,
                bytes.as_ptr().cast(),
                N as u32,
                BPF_F_RECOMPUTE_CSUM as u64,
            )
        })
    }

    #[inline(always)]
    fn add_to_header_sum(&mut self, offset: u32, difference: u32) -> Result<(), PacketError> {
        // SAFETY: the helper checks the offset. Size 0: `to` is a difference.
        done(unsafe { bpf_l3_csum_replace(self.skb, offset, 0, difference as u64, 0) })
    }

    #[inline(always)]
    fn add_to_transport_sum(&mut self, sum: TransportSum, difference: u32, covers: Covers) -> Result<(), PacketError> {
        let flags = match covers {
            Covers::Segment => 0,
            Covers::PseudoHeaderV4 => BPF_F_PSEUDO_HDR as u64,
            Covers::PseudoHeaderV6 => BPF_F_PSEUDO_HDR as u64 | IPV6_SUM_FLAG.load(),
        };
        let zero = if sum.zero_means_none() {
            BPF_F_MARK_MANGLED_0 as u64
        } else {
            0
        };
        // SAFETY: the helper checks the offset. Size 0: `to` is a difference.
        done(unsafe { bpf_l4_csum_replace(self.skb, sum.offset, 0, difference as u64, flags | zero) })
    }
}

#[inline(always)]
fn done(code: i64) -> Result<(), PacketError> {
    if code == 0 { Ok(()) } else { Err(PacketError) }
}
