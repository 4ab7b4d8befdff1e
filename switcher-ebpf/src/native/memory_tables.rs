//! The maps in memory, with the kernel's own capacities unless a test asks for less.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::vec::Vec;

use crate::abi::{
    CURSOR_WORDS, FLOW_SLOTS, FlowKey, FlowRecord, FlowTraffic, INDEX_ENTRIES_MAX, IndexValue, Row, SETS_MAX,
    SetCounters, SetLatencies, StateWord, Word64,
};
use crate::tables::{Image, IndexError, Tables};

type KeyBytes = [u8; size_of::<FlowKey>()];

fn key_bytes(key: &FlowKey) -> KeyBytes {
    zerocopy::transmute!(*key)
}

/// The maps of one data path.
#[derive(Debug)]
pub struct MemoryTables {
    image: Vec<Row>,
    index: Mutex<HashMap<KeyBytes, IndexValue>>,
    records: Vec<FlowRecord>,
    traffic: Vec<FlowTraffic>,
    cursors: Vec<AtomicU64>,
    counters: Vec<SetCounters>,
    latencies: Vec<SetLatencies>,
    now_ns: AtomicU64,
    fresh_until_ns: AtomicU64,
    home: AtomicU64,
}

/// An image in memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryImage<'a>(&'a [Row]);

impl Image for MemoryImage<'_> {
    fn row(&self, index: u32) -> Option<&Row> {
        self.0.get(index as usize)
    }
}

impl Default for MemoryTables {
    fn default() -> Self {
        Self {
            image: Vec::new(),
            index: Mutex::new(HashMap::new()),
            records: (0..FLOW_SLOTS).map(|_| FlowRecord::default()).collect(),
            traffic: (0..FLOW_SLOTS).map(|_| FlowTraffic::default()).collect(),
            cursors: (0..CURSOR_WORDS).map(|_| AtomicU64::new(0)).collect(),
            counters: (0..SETS_MAX).map(|_| SetCounters::default()).collect(),
            latencies: (0..SETS_MAX).map(|_| SetLatencies::default()).collect(),
            now_ns: AtomicU64::new(1 << 40),
            fresh_until_ns: AtomicU64::new(u64::MAX),
            home: AtomicU64::new(0),
        }
    }
}

impl MemoryTables {
    /// Installs an image.
    pub fn install(&mut self, image: Vec<Row>) {
        self.image = image;
    }

    /// Sets the clock; nanoseconds.
    pub fn set_now_ns(&self, now_ns: u64) {
        self.now_ns.store(now_ns, Relaxed);
    }

    /// Sets until when interface indexes are right; nanoseconds.
    pub fn set_fresh_until_ns(&self, fresh_until_ns: u64) {
        self.fresh_until_ns.store(fresh_until_ns, Relaxed);
    }

    /// Sets the cookie of the agent's network namespace.
    pub fn set_home(&self, cookie: u64) {
        self.home.store(cookie, Relaxed);
    }

    /// Keys in the index.
    #[must_use]
    pub fn index_len(&self) -> usize {
        self.lock().len()
    }

    /// All records.
    #[must_use]
    pub fn records(&self) -> &[FlowRecord] {
        &self.records
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<KeyBytes, IndexValue>> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Tables for MemoryTables {
    type Image<'a> = MemoryImage<'a>;

    fn image(&self) -> Option<MemoryImage<'_>> {
        (!self.image.is_empty()).then_some(MemoryImage(&self.image))
    }

    fn coarse_now_ns(&self) -> u64 {
        self.now_ns.load(Relaxed)
    }

    fn exact_now_ns(&self) -> u64 {
        self.now_ns.load(Relaxed)
    }

    fn fresh_until_ns(&self) -> u64 {
        self.fresh_until_ns.load(Relaxed)
    }

    fn home(&self) -> u64 {
        self.home.load(Relaxed)
    }

    fn index(&self, key: &FlowKey) -> Option<IndexValue> {
        self.lock().get(&key_bytes(key)).copied()
    }

    fn index_insert(&self, key: &FlowKey, value: IndexValue) -> Result<(), IndexError> {
        let mut index = self.lock();
        if index.contains_key(&key_bytes(key)) {
            return Err(IndexError::Exists);
        }
        if index.len() >= INDEX_ENTRIES_MAX as usize {
            return Err(IndexError::Full);
        }
        index.insert(key_bytes(key), value);
        Ok(())
    }

    fn index_replace(&self, key: &FlowKey, value: IndexValue) -> Result<(), IndexError> {
        match self.lock().get_mut(&key_bytes(key)) {
            Some(old) => {
                *old = value;
                Ok(())
            }
            None => Err(IndexError::Full),
        }
    }

    fn index_remove(&self, key: &FlowKey) {
        self.lock().remove(&key_bytes(key));
    }

    fn record(&self, slot: u32) -> Option<&FlowRecord> {
        self.records.get(slot as usize)
    }

    fn traffic(&self, slot: u32) -> Option<&FlowTraffic> {
        self.traffic.get(slot as usize)
    }

    fn swap_state(&self, record: &FlowRecord, from: StateWord, to: StateWord) -> bool {
        record
            .word
            .atomic()
            .compare_exchange(from.0, to.0, Relaxed, Relaxed)
            .is_ok()
    }

    fn advance(&self, cursor: u32, step: u64) -> u64 {
        self.cursors[cursor as usize].fetch_add(step, Relaxed)
    }

    fn counters(&self, set_id: u32) -> Option<&SetCounters> {
        self.counters.get(set_id as usize)
    }

    fn latencies(&self, set_id: u32) -> Option<&SetLatencies> {
        self.latencies.get(set_id as usize)
    }

    fn bounded_bucket(&self, bucket: usize) -> usize {
        bucket
    }

    fn add_shared(&self, word: &Word64, amount: u64) {
        word.atomic().fetch_add(amount, Relaxed);
    }
}
