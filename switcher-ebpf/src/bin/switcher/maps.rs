//! The maps, and the only places that touch them.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use aya_ebpf::Global;
use aya_ebpf::bindings::{
    BPF_EXIST, BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST, bpf_fib_lookup as FibLookup,
};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::{TcContext, XdpContext};
use switcher_ebpf::abi::{
    CURSOR_WORDS, FLOW_SLOTS, FlowKey, FlowRecord, FlowTraffic, HISTOGRAM_BUCKETS, INDEX_ENTRIES_MAX, IndexValue,
    LIVENESS_FRESH_UNTIL, LIVENESS_HOME, LIVENESS_WORDS, Row, SETS_MAX, SetCounters, SetLatencies, StateWord,
    VERDICTS_MAX, Word64, XDP_DEVICES_MAX, XdpDevice,
};
use switcher_ebpf::deferred::{Pending, Place};
use switcher_ebpf::reason::Reason;
use switcher_ebpf::tables::{Image, IndexError, Tables};

const SEQ: AtomicOrdering = AtomicOrdering::SeqCst;

/// The words of a [`Row`]. Linux before 6.2 takes an inner map only if it is like this template in what the kernel looks for
/// in a *struct* of BTF (`timer_off`); the maps that the agent makes have no BTF. So the template's value is no struct.
type RowWords = [u64; size_of::<Row>() / 8];
type ImageMap = Array<RowWords, 16, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>;

#[btf_map]
static IMAGE: ArrayOfMaps<ImageMap, 1> = ArrayOfMaps::new();
#[btf_map]
static FLOW_INDEX: HashMap<FlowKey, u64, { INDEX_ENTRIES_MAX as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
#[btf_map]
static FLOW_RECORDS: Array<FlowRecord, { FLOW_SLOTS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static FLOW_TRAFFIC: Array<FlowTraffic, { FLOW_SLOTS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static CURSORS: Array<u64, { CURSOR_WORDS as usize }> = Array::new();
#[btf_map]
static LIVENESS: Array<u64, { LIVENESS_WORDS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static SET_COUNTERS: PerCpuArray<SetCounters, { SETS_MAX as usize }> = PerCpuArray::new();
#[btf_map]
static SET_LATENCIES: Array<SetLatencies, { SETS_MAX as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static VERDICTS: PerCpuArray<u64, { VERDICTS_MAX as usize }> = PerCpuArray::new();

/// The compiler knows that no bucket is larger and leaves a mask out; the verifier does not know it. What is loaded from here
/// is a number to the verifier, and none to the compiler.
#[unsafe(no_mangle)]
static BUCKET_MASK: Global<u64> = Global::new(HISTOGRAM_BUCKETS as u64 - 1);
const _: () = assert!(HISTOGRAM_BUCKETS.is_power_of_two());

/// The program of the socket path, by its one index.
#[btf_map]
static PROGRAMS: ProgramArray<1> = ProgramArray::new();

/// Calls the program of the socket path; returns only where that fails.
#[inline(always)]
pub fn call_socket_program(ctx: &TcContext) {
    // SAFETY: the agent puts a program of the same kind there; nothing here has to be dropped.
    unsafe { PROGRAMS.tail_call(ctx, 0) };
}

/// Index of the program of what clients send, in [`XDP_PROGRAMS`].
pub const SEND: u32 = 0;
/// Index of the program of what backends answer.
pub const REPLY: u32 = 1;

/// The programs of the driver path. A map of programs holds one kind of them.
#[btf_map]
static XDP_PROGRAMS: ProgramArray<2> = ProgramArray::new();

/// Calls a program of the driver path; returns only where that fails.
#[inline(always)]
pub fn call_driver_program(ctx: &XdpContext, index: u32) {
    // SAFETY: the agent puts programs of the same kind there; nothing here has to be dropped.
    unsafe { XDP_PROGRAMS.tail_call(ctx, index) };
}

#[btf_map]
static XDP_WAY: PerCpuArray<[u64; size_of::<FibLookup>() / 8], 1> = PerCpuArray::new();

/// This CPU's own room for the question after a way, and its answer.
#[inline(always)]
pub fn way() -> Option<*mut FibLookup> {
    XDP_WAY.get_ptr_mut(0).map(|way| way.cast())
}

#[btf_map]
static XDP_DEVICES: HashMap<u32, XdpDevice, { XDP_DEVICES_MAX as usize }> = HashMap::new();
#[btf_map]
static XDP_SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Room for a piece of a packet: as much as `bpf_csum_diff` takes at once before Linux 6.13.
pub type Scratch = [u32; 128];

/// This CPU's own room.
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    XDP_SCRATCH.get_ptr_mut(0)
}

#[btf_map]
static XDP_PENDING: PerCpuArray<Pending, 1> = PerCpuArray::new();

/// The number of the reason for which this CPU's packet is to be sent on.
#[inline(always)]
pub fn to_send() -> Option<u32> {
    XDP_PENDING.get(0).and_then(Pending::send)
}

/// Where the XDP program finds what it knows of a packet.
pub struct XdpPlace;

impl Place for XdpPlace {
    #[inline(always)]
    fn device(&self, ifindex: u32) -> Option<&XdpDevice> {
        // SAFETY: the agent puts an entry in before it attaches, and takes it out after it has detached; what it changes
        // meanwhile are single words.
        unsafe { XDP_DEVICES.get(ifindex) }
    }

    /// This CPU's own slot: the program does not interrupt itself.
    #[inline(always)]
    fn pending(&self) -> Option<&Pending> {
        XDP_PENDING.get(0)
    }
}

/// Counts a verdict on this CPU.
#[inline(always)]
pub fn count(reason: Reason) {
    count_number(reason as u32);
}

/// The same by the reason's number.
#[inline(always)]
pub fn count_number(reason: u32) {
    if let Some(counter) = VERDICTS.get_ptr_mut(reason) {
        // SAFETY: the kernel gives this CPU's own slot, and programs on these hooks do not interrupt each other.
        unsafe { *counter += 1 };
    }
}

#[inline(always)]
fn agents_word(index: u32) -> u64 {
    LIVENESS.get_ptr(index).map_or(0, |word| {
        // SAFETY: the map's slot lives as long as the program; the agent stores an aligned word at once.
        unsafe { word.read_volatile() }
    })
}

/// The kernel's maps.
pub struct KernelTables;

/// One image, looked up once.
pub struct KernelImage<'a>(&'a ImageMap);

impl Image for KernelImage<'_> {
    #[inline(always)]
    fn row(&self, index: u32) -> Option<&Row> {
        // SAFETY: a row is any 64 bytes, aligned as words are (its type derives that), and lives as long as the image.
        self.0.get_ptr(index).map(|words| unsafe { &*words.cast::<Row>() })
    }
}

impl Tables for KernelTables {
    type Image<'a> = KernelImage<'a>;

    #[inline(always)]
    fn image(&self) -> Option<KernelImage<'_>> {
        IMAGE.get(0).map(KernelImage)
    }

    #[inline(always)]
    fn coarse_now_ns(&self) -> u64 {
        // SAFETY: takes nothing, reads a clock.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn exact_now_ns(&self) -> u64 {
        // SAFETY: takes nothing, reads a clock.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn fresh_until_ns(&self) -> u64 {
        agents_word(LIVENESS_FRESH_UNTIL)
    }

    #[inline(always)]
    fn home(&self) -> u64 {
        agents_word(LIVENESS_HOME)
    }

    #[inline(always)]
    fn index(&self, key: &FlowKey) -> Option<IndexValue> {
        FLOW_INDEX.get_ptr(key).map(|value| {
            // SAFETY: one aligned word, read once. The element may be freed or reused at any moment: then the word is
            // another flow's, and the reader finds that its record's identity is not the key's.
            IndexValue(unsafe { value.read_volatile() })
        })
    }

    #[inline(always)]
    fn index_insert(&self, key: &FlowKey, value: IndexValue) -> Result<(), IndexError> {
        const EEXIST: i32 = -17;
        match FLOW_INDEX.insert(key, value.0, BPF_NOEXIST as u64) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(IndexError::Exists),
            Err(_) => Err(IndexError::Full),
        }
    }

    #[inline(always)]
    fn index_replace(&self, key: &FlowKey, value: IndexValue) -> Result<(), IndexError> {
        FLOW_INDEX
            .insert(key, value.0, BPF_EXIST as u64)
            .map_err(|_| IndexError::Full)
    }

    #[inline(always)]
    fn index_remove(&self, key: &FlowKey) {
        let _ = FLOW_INDEX.remove(key);
    }

    #[inline(always)]
    fn record(&self, slot: u32) -> Option<&FlowRecord> {
        FLOW_RECORDS.get(slot)
    }

    #[inline(always)]
    fn traffic(&self, slot: u32) -> Option<&FlowTraffic> {
        FLOW_TRAFFIC.get(slot)
    }

    #[inline(always)]
    fn swap_state(&self, record: &FlowRecord, from: StateWord, to: StateWord) -> bool {
        // SAFETY: the word is an aligned u64 in a map that lives as long as the program.
        unsafe { atomic_cxchg::<u64, SEQ, SEQ>(record.word.as_ptr(), from.0, to.0).1 }
    }

    #[inline(always)]
    fn advance(&self, cursor: u32, step: u64) -> u64 {
        CURSORS.get_ptr_mut(cursor).map_or(0, |word| {
            // SAFETY: an aligned word in a map that lives as long as the program.
            unsafe {
                let now = word.read_volatile();
                atomic_cxchg::<u64, SEQ, SEQ>(word, now, now.wrapping_add(step));
                now
            }
        })
    }

    #[inline(always)]
    fn counters(&self, set_id: u32) -> Option<&SetCounters> {
        SET_COUNTERS.get(set_id)
    }

    #[inline(always)]
    fn latencies(&self, set_id: u32) -> Option<&SetLatencies> {
        SET_LATENCIES.get(set_id)
    }

    #[inline(always)]
    fn bounded_bucket(&self, bucket: usize) -> usize {
        bucket & BUCKET_MASK.load() as usize
    }

    #[inline(always)]
    fn add_shared(&self, word: &Word64, amount: u64) {
        // SAFETY: the word is an aligned u64 in a map that lives as long as the program.
        let _: u64 = unsafe { atomic_xadd::<u64, u64, SEQ>(word.as_ptr(), amount) };
    }
}
