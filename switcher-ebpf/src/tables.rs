//! What the packet logic needs of the maps.

use crate::abi::{FlowKey, FlowRecord, FlowTraffic, IndexValue, Row, SetCounters, SetLatencies, StateWord, Word64};

/// Why a key was not put into the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// The key is there already.
    Exists,
    /// No room.
    Full,
}

/// One image, held for one packet.
pub trait Image {
    /// A row; `None` past the end.
    fn row(&self, index: u32) -> Option<&Row>;
}

/// The maps.
pub trait Tables {
    /// The image a packet is decided by.
    type Image<'a>: Image
    where
        Self: 'a;

    /// The installed image. Invariant I1: called at most once a packet; two calls may see two images.
    fn image(&self) -> Option<Self::Image<'_>>;

    /// CLOCK_MONOTONIC in nanoseconds, as fine as a tick.
    fn coarse_now_ns(&self) -> u64;
    /// CLOCK_MONOTONIC in nanoseconds, exact; for new flows only, it costs more.
    fn exact_now_ns(&self) -> u64;
    /// Until when the interface indexes of the image are right.
    fn fresh_until_ns(&self) -> u64;

    /// The cookie of the agent's network namespace; 0: not known.
    fn home(&self) -> u64;

    /// What the index has for a key.
    fn index(&self, key: &FlowKey) -> Option<IndexValue>;
    /// Puts in a key that is not there.
    fn index_insert(&self, key: &FlowKey, value: IndexValue) -> Result<(), IndexError>;
    /// Changes a key that is there.
    fn index_replace(&self, key: &FlowKey, value: IndexValue) -> Result<(), IndexError>;
    /// Takes a key out; nothing happens where it is not there.
    fn index_remove(&self, key: &FlowKey);

    /// A flow record; `None` past [`crate::abi::FLOW_SLOTS`].
    fn record(&self, slot: u32) -> Option<&FlowRecord>;
    /// What the flow in a slot carried; `None` past [`crate::abi::FLOW_SLOTS`].
    fn traffic(&self, slot: u32) -> Option<&FlowTraffic>;
    /// Changes a record's state if it is still `from`; true when it was.
    fn swap_state(&self, record: &FlowRecord, from: StateWord, to: StateWord) -> bool;
    /// Moves a cursor ([`crate::abi::CURSOR_PENDING`] …) on by `step`, and says where it was. Two CPUs may be told the
    /// same place: the slot's compare-and-swap decides who has it.
    fn advance(&self, cursor: u32, step: u64) -> u64;

    /// This CPU's counters of a set; `None` past [`crate::abi::SETS_MAX`].
    fn counters(&self, set_id: u32) -> Option<&SetCounters>;
    /// The latencies of a set, of all CPUs; `None` past [`crate::abi::SETS_MAX`].
    fn latencies(&self, set_id: u32) -> Option<&SetLatencies>;
    /// `bucket` of a [`crate::abi::Histogram`], in a way that the verifier sees to be one.
    fn bounded_bucket(&self, bucket: usize) -> usize;
    /// Adds to a word that several add to: CPUs, or on one CPU the program of a process and that of a packet, which may
    /// interrupt it.
    fn add_shared(&self, word: &Word64, amount: u64);
}
