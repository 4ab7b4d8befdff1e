//! The flow table: records by slot, reached by two keys through an index.
//!
//! A record lives in the pending ring until its handshake is complete, then in the established region. Slots are taken
//! by cursors that only move on, so expired records are reclaimed by those who need room, without an agent:
//! - the pending ring gives the newest SYN the slot of the oldest: a flood of SYNs pushes out handshakes only;
//! - a promotion looks at up to [`ESTABLISHED_PROBES_MAX`] slots and takes one that is free or expired. None: the flow
//!   stays in the ring, counted `unpinned`.
//!
//! Every change of state is one compare-and-swap; a reader checks generation and identity against what led it there.

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{
    CLOSING_TIMEOUT_TICKS, CONVERSING_TIMEOUT_TICKS, CURSOR_ESTABLISHED, CURSOR_PENDING, ESTABLISHED_PROBES_MAX,
    ESTABLISHED_SLOTS, FlowIdentity, FlowKey, FlowRecord, FlowSide, IDLE_TIMEOUT_TICKS, IndexValue, PATH_LOCAL,
    PENDING_SLOTS, PENDING_TIMEOUT_TICKS, SOURCE_PORT_TRIES_MAX, State, StateWord, add,
};
use crate::choose::{Again, hash_flow};
use crate::latency::observe;
use crate::parse::{PROTOCOL_UDP, Transport};
use crate::reason::Reason;
use crate::tables::{IndexError, Tables};
use crate::track;

/// Slots of the ring that one SYN looks at: only those that another CPU is writing at this moment are passed over.
const PENDING_PROBES_MAX: u32 = 4;
/// Any odd number with its low 18 bits well mixed.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// First port that stands in for a client's own: above those that services use.
const SOURCE_PORT_FIRST: u16 = 32_768;
/// How many ports may stand in.
const SOURCE_PORTS: u16 = 28_232;

/// A flow that a packet belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its record.
    pub record: &'a FlowRecord,
    /// Who talks to whom.
    pub identity: FlowIdentity,
    /// The record's state when it was found.
    pub word: StateWord,
    /// Its slot.
    pub slot: u32,
    /// True when the packet is the backend's.
    pub is_reply: bool,
}

impl Found<'_> {
    /// The state when it was found, with `Moved` counted as established.
    #[inline(always)]
    #[must_use]
    pub fn state(&self) -> State {
        if self.word.is(State::Pending) {
            State::Pending
        } else if self.word.is(State::Closing) {
            State::Closing
        } else {
            State::Established
        }
    }
}

/// Finds the flow of a packet. A local client's is none of it: its packets are right as they are.
#[inline(always)]
pub fn find<'a, T: Tables>(tables: &'a T, key: &FlowKey) -> Option<Found<'a>> {
    let value = tables.index(key)?;
    let record = tables.record(value.slot())?;
    let word = StateWord(record.word.load(Relaxed));
    if word.generation() != value.generation() || !word.is_readable() {
        return None;
    }
    let id = record.identity.load();
    let same = if value.is_reply() {
        id.backend == key.source
            && id.client == key.destination
            && id.backend_port == key.source_port
            && id.source_port == key.destination_port
    } else {
        id.client == key.source
            && id.listener == key.destination
            && id.client_port == key.source_port
            && id.listener_port == key.destination_port
    };
    (same && id.path != PATH_LOCAL).then_some(Found {
        record,
        identity: id,
        word,
        slot: value.slot(),
        is_reply: value.is_reply(),
    })
}

/// A flow that is about to be.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The client's SYN or first datagram.
    pub transport: &'a Transport,
    /// Wire packets of it.
    pub packets: u32,
    /// Bytes of layer 3 of it.
    pub bytes: u32,
    /// Interface it came in by.
    pub ifindex: u32,
    /// Host-side veth of the backend.
    pub backend_ifindex: u32,
    /// Now.
    pub now_ns: u64,
    /// Whether another backend did not take the flow.
    pub again: Again,
}

/// Opens a flow in the pending ring. `identity.source_port` is changed where the backend has that port in use already.
#[inline(always)]
pub fn insert<T: Tables>(tables: &T, identity: &mut FlowIdentity, opening: &Opening<'_>) -> Result<(), Reason> {
    let (slot, record, claimed) = claim_pending(tables).ok_or(Reason::TableFailed)?;
    let free = claimed.with(State::Free);
    if let Err(reason) = reserve_backend_key(tables, identity, slot, claimed.generation()) {
        tables.swap_state(record, claimed, free);
        return Err(reason);
    }
    track::open(
        record,
        opening.transport,
        opening.now_ns,
        opening.ifindex,
        opening.backend_ifindex,
    );
    if let Some(since_us) = opening.again.since_us() {
        record.since_us.store(since_us, Relaxed);
        record.client.flags.store(FlowSide::SYN | FlowSide::WAITED, Relaxed);
    }
    record.identity.store(identity);
    if let Some(traffic) = tables.traffic(slot) {
        traffic.open(opening.now_ns);
        traffic.client.count(opening.packets, opening.bytes);
    }
    tables.swap_state(record, claimed, claimed.with(State::Pending));
    match tables.index_insert(
        &identity.client_key(),
        IndexValue::new(slot, claimed.generation(), false),
    ) {
        Ok(()) => Ok(()),
        Err(error) => {
            tables.index_remove(&identity.backend_key());
            tables.swap_state(record, claimed.with(State::Pending), free);
            Err(if error == IndexError::Exists {
                Reason::DuplicateSyn
            } else {
                Reason::TableFailed
            })
        }
    }
}

/// True when a key's slot was given to another flow since.
#[inline(always)]
fn is_stale<T: Tables>(tables: &T, key: &FlowKey) -> bool {
    let Some(value) = tables.index(key) else { return false };
    let Some(record) = tables.record(value.slot()) else {
        return true;
    };
    StateWord(record.word.load(Relaxed)).generation() != value.generation()
}

/// Puts the backend's key into the index; under another source port where two flows would look the same to the backend.
#[inline(always)]
fn reserve_backend_key<T: Tables>(
    tables: &T,
    identity: &mut FlowIdentity,
    slot: u32,
    generation: u32,
) -> Result<(), Reason> {
    let value = IndexValue::new(slot, generation, true);
    let hash = hash_flow(&identity.client_key());
    // A key that leads nowhere any more is taken over: nobody else would ever heal it. Before the loop: in it there would
    // be more states than the verifier of Linux 6.1 looks at (a million instructions).
    if is_stale(tables, &identity.backend_key()) {
        tables.index_remove(&identity.backend_key());
    }
    for attempt in 0..=SOURCE_PORT_TRIES_MAX {
        if attempt > 0 {
            identity.source_port = stand_in_port(hash, attempt as u32);
        }
        match tables.index_insert(&identity.backend_key(), value) {
            Ok(()) => return Ok(()),
            Err(IndexError::Full) => return Err(Reason::TableFailed),
            Err(IndexError::Exists) => {}
        }
    }
    Err(Reason::SourcePortsUsed)
}

/// A port, in network byte order, that may stand in for a client's own.
#[inline(always)]
#[must_use]
pub const fn stand_in_port(hash: u32, attempt: u32) -> u16 {
    let shifted = hash.wrapping_add(attempt.wrapping_mul(7_919)) % SOURCE_PORTS as u32;
    (SOURCE_PORT_FIRST + shifted as u16).to_be()
}

#[inline(always)]
fn claim_pending<T: Tables>(tables: &T) -> Option<(u32, &FlowRecord, StateWord)> {
    for _ in 0..PENDING_PROBES_MAX {
        let slot = (tables.advance(CURSOR_PENDING, 1) % PENDING_SLOTS as u64) as u32;
        let record = tables.record(slot)?;
        let word = StateWord(record.word.load(Relaxed));
        if word.is(State::Claimed) || !tables.swap_state(record, word, word.claimed_anew()) {
            continue;
        }
        if word.is(State::Pending) || word.is(State::Closing) {
            let identity = record.identity.load();
            if word.is(State::Pending) {
                count_timed_out(tables, record, identity.set_id);
            }
            remove_keys(tables, &identity, slot, word.generation());
        }
        return Some((slot, record, word.claimed_anew()));
    }
    None
}

/// True when the handshake of a record in the ring has completed: only its slot is one of the ring.
#[inline(always)]
#[must_use]
pub fn is_unpinned(record: &FlowRecord) -> bool {
    record.client.flags.load(Relaxed) & FlowSide::UNPINNED != 0
}

/// A pending record is given up. Invariant I9: each that was opened is counted once more when it is pending no longer.
#[inline(always)]
fn count_timed_out<T: Tables>(tables: &T, record: &FlowRecord, set_id: u32) {
    if !is_unpinned(record)
        && let Some(counters) = tables.counters(set_id)
    {
        add(&counters.flows_timed_out, 1);
    }
}

/// A tick of another CPU may lie a little ahead of this one's (about two seconds are forgiven): that is no idle time of 52
/// days.
const LEAD_MAX_TICKS: u32 = 2_048;

/// How long ago a tick was.
#[must_use]
#[inline(always)]
pub const fn idle_ticks(seen_ticks: u32, now_ticks: u32) -> u32 {
    let idle = now_ticks.wrapping_sub(seen_ticks);
    if idle > u32::MAX - LEAD_MAX_TICKS { 0 } else { idle }
}

/// True when an established flow is past its idle time-out, though its slot was not needed yet.
#[inline(always)]
#[must_use]
pub fn is_over(found: &Found<'_>, now_ticks: u32) -> bool {
    found.state() as u8 == State::Established as u8
        && is_expired(found.word, found.record.seen_ticks.load(Relaxed), now_ticks)
}

/// True when nobody will miss the record.
#[inline(always)]
#[must_use]
pub fn is_expired(word: StateWord, seen_ticks: u32, now_ticks: u32) -> bool {
    idle_ticks(seen_ticks, now_ticks) > timeout_ticks(word)
}

/// How long a record in this state waits for a packet.
#[inline(always)]
const fn timeout_ticks(word: StateWord) -> u32 {
    if word.is(State::Pending) {
        PENDING_TIMEOUT_TICKS
    } else if word.is(State::Closing) {
        CLOSING_TIMEOUT_TICKS
    } else if word.is(State::Conversing) {
        CONVERSING_TIMEOUT_TICKS
    } else {
        IDLE_TIMEOUT_TICKS
    }
}

/// An ended flow may lose its record to a living one this early: about a second for late retransmissions.
const CLOSING_LEAST_TICKS: u32 = 1_024;

/// Two CPUs may be told the same place of the cursor and choose the same slot: the slower one looks again.
const CLAIMS_MAX: u32 = 2;

/// Claims a slot for an established flow.
#[inline(always)]
fn claim_established<T: Tables>(tables: &T, now_ticks: u32) -> Option<(u32, &FlowRecord, StateWord)> {
    for _ in 0..CLAIMS_MAX {
        let slot = choose_slot(tables, now_ticks);
        let record = tables.record(slot)?;
        let word = StateWord(record.word.load(Relaxed));
        let idle = idle_ticks(record.seen_ticks.load(Relaxed), now_ticks);
        // No room; or another CPU was told the same place and has taken it, which the next look is not.
        if !is_free(word, idle) && !has_ended(word, idle) {
            continue;
        }
        if !tables.swap_state(record, word, word.claimed_anew()) {
            continue;
        }
        if !word.is(State::Free) {
            let identity = record.identity.load();
            if (word.is(State::Established) || word.is(State::Conversing))
                && let Some(counters) = tables.counters(identity.set_id)
            {
                add(&counters.flows_expired, 1);
            }
            remove_keys(tables, &identity, slot, word.generation());
        }
        return Some((slot, record, word.claimed_anew()));
    }
    None
}

/// A slot that is free or expired; else one whose flow has ended; else any. The caller looks at it again: an `Option` here
/// would be one more state at every probe to the verifier, and that of Linux 6.1 gives up at a million instructions.
#[inline(always)]
fn choose_slot<T: Tables>(tables: &T, now_ticks: u32) -> u32 {
    // Neighbours in time are spread over the table: flows that live long and began together would otherwise be one
    // block, in which every promotion of the next round finds no slot. The factor is odd, so each slot has its turn.
    let start = tables.advance(CURSOR_ESTABLISHED, 1).wrapping_mul(SPREAD);
    let mut chosen = established_slot(start);
    for probe in 0..ESTABLISHED_PROBES_MAX {
        let slot = established_slot(start.wrapping_add(probe as u64));
        let Some(record) = tables.record(slot) else { break };
        let word = StateWord(record.word.load(Relaxed));
        let idle = idle_ticks(record.seen_ticks.load(Relaxed), now_ticks);
        if is_free(word, idle) {
            return slot;
        }
        if has_ended(word, idle) {
            chosen = slot;
        }
    }
    chosen
}

#[inline(always)]
const fn established_slot(place: u64) -> u32 {
    PENDING_SLOTS + (place % ESTABLISHED_SLOTS as u64) as u32
}

/// Free, or nobody will miss it.
#[inline(always)]
const fn is_free(word: StateWord, idle_ticks: u32) -> bool {
    word.is(State::Free) || word.is_readable() && idle_ticks > timeout_ticks(word)
}

/// Its flow has ended, a while ago.
#[inline(always)]
const fn has_ended(word: StateWord, idle_ticks: u32) -> bool {
    word.is(State::Closing) && idle_ticks > CLOSING_LEAST_TICKS
}

/// Takes a record's keys out of the index, if they still lead to it.
#[inline(always)]
fn remove_keys<T: Tables>(tables: &T, identity: &FlowIdentity, slot: u32, generation: u32) {
    remove_key(tables, &identity.client_key(), IndexValue::new(slot, generation, false));
    remove_key(tables, &identity.backend_key(), IndexValue::new(slot, generation, true));
}

/// Takes a key out of the index, if it still leads there.
#[inline(always)]
pub(crate) fn remove_key<T: Tables>(tables: &T, key: &FlowKey, value: IndexValue) {
    if tables.index(key) == Some(value) {
        tables.index_remove(key);
    }
}

/// Ends a flow whose client begins anew on the same ports: its keys are free for the next decision.
#[inline(always)]
pub fn release<T: Tables>(tables: &T, found: &Found<'_>, now_ticks: u32) {
    if tables.swap_state(found.record, found.word, found.word.with(State::Claimed)) {
        if found.word.is(State::Pending) {
            count_timed_out(tables, found.record, found.identity.set_id);
        } else if is_over(found, now_ticks)
            && let Some(counters) = tables.counters(found.identity.set_id)
        {
            add(&counters.flows_expired, 1);
        }
        remove_keys(tables, &found.identity, found.slot, found.word.generation());
        tables.swap_state(
            found.record,
            found.word.with(State::Claimed),
            found.word.with(State::Free),
        );
    }
}

/// Gives a flow whose handshake is complete a slot that no SYN can take. Only one CPU does it; the others go on with
/// the pending record until the index leads to the new one. `after_us`: how long it took.
#[inline(always)]
pub fn promote<T: Tables>(tables: &T, found: &Found<'_>, now_ticks: u32, after_us: u32) {
    let record = found.record;
    let Some(counters) = tables.counters(found.identity.set_id) else {
        return;
    };
    // Found no room before: counted already, but room may have come since.
    let again = is_unpinned(record);
    if !tables.swap_state(record, found.word, found.word.with(State::Moved)) {
        return;
    }
    let is_udp = found.identity.protocol == PROTOCOL_UDP;
    if !again {
        add(&counters.flows_established, 1);
        if record.client.flags.load(Relaxed) & FlowSide::WAITED != 0 {
            add(&counters.flows_waited, 1);
        }
        observe(tables, found.identity.set_id, after_us, |latencies| {
            if is_udp {
                &latencies.first_reply
            } else {
                &latencies.handshake
            }
        });
    }
    let moved = move_to_established(tables, found, now_ticks, is_udp);
    if !moved {
        let flags = &record.client.flags;
        flags.store(flags.load(Relaxed) | FlowSide::UNPINNED, Relaxed);
        tables.swap_state(record, found.word.with(State::Moved), found.word);
        if !again {
            add(&counters.flows_unpinned, 1);
        }
    }
}

/// False: no room, or no memory for the index.
#[inline(always)]
fn move_to_established<T: Tables>(tables: &T, found: &Found<'_>, now_ticks: u32, is_udp: bool) -> bool {
    let Some((slot, target, claimed)) = claim_established(tables, now_ticks) else {
        return false;
    };
    copy(found.record, &found.identity, target);
    if let (Some(from), Some(to)) = (tables.traffic(found.slot), tables.traffic(slot)) {
        to.go_on(from);
    }
    let state = if is_udp { State::Conversing } else { State::Established };
    tables.swap_state(target, claimed, claimed.with(state));
    let turned = turn_keys(tables, found, slot, claimed.generation()).is_ok();
    if !turned {
        tables.swap_state(target, claimed.with(state), claimed.with(State::Free));
    }
    turned
}

/// Turns both keys to the new slot, or none.
#[inline(always)]
fn turn_keys<T: Tables>(tables: &T, found: &Found<'_>, slot: u32, generation: u32) -> Result<(), IndexError> {
    let (client, backend) = (found.identity.client_key(), found.identity.backend_key());
    tables.index_replace(&backend, IndexValue::new(slot, generation, true))?;
    let turned = tables.index_replace(&client, IndexValue::new(slot, generation, false));
    if turned.is_err() {
        let _ = tables.index_replace(&backend, IndexValue::new(found.slot, found.word.generation(), true));
    }
    turned
}

#[inline(always)]
fn copy(from: &FlowRecord, identity: &FlowIdentity, to: &FlowRecord) {
    to.seen_ticks.store(from.seen_ticks.load(Relaxed), Relaxed);
    to.since_us.store(from.since_us.load(Relaxed), Relaxed);
    copy_side(&from.client, &to.client);
    copy_side(&from.backend, &to.backend);
    to.identity.store(identity);
}

#[inline(always)]
fn copy_side(from: &FlowSide, to: &FlowSide) {
    to.next.store(from.next.load(Relaxed), Relaxed);
    to.acked.store(from.acked.load(Relaxed), Relaxed);
    to.flags.store(from.flags.load(Relaxed), Relaxed);
    to.ifindex.store(from.ifindex.load(Relaxed), Relaxed);
}
